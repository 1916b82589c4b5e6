#include "drivers/uart.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/ns16550.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/timer.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define RING_SIZE     16384
#define WAIT_US       10000  /* a byte at 1200 baud takes 8.3 ms */
#define WAIT_READS    200000 /* the bound while the TSC's frequency is not known */
#define POLL_MS       5
#define MARK_SPACE    1024 /* a mark about lost bytes waits for so much room: a few lines follow it */
#define IRQ_TEST_MS   20
#define INTERRUPT_MAX 256 /* causes handled in one interrupt: a stuck line must not keep the CPU */

static_assert(UART_NOT_FOR_LOG < RING_SIZE / 4 * 3, "the log wants some room, too");

static struct {
    struct ns16550 port;
    bool present;
    bool stuck;   /* it did not take a byte in time; cleared when it does */
    bool wanted;  /* uart_start() was called */
    bool started; /* the ring is drained by interrupts, or by the timer */
    bool by_timer;
    bool interrupted; /* an interrupt has come */
    char ring[RING_SIZE];
    uint32_t head, tail;      /* free-running */
    uint64_t lost, lost_said; /* bytes; those that a mark has told of */
    void (*received)(void *context, char c);
    void *context;
    struct timer poll;
} uart;

static uint8_t uart_read(unsigned reg)
{
    return ns16550_read(&uart.port, reg);
}

static void uart_set(unsigned reg, uint8_t value)
{
    ns16550_write(&uart.port, reg, value);
}

/* Lets go of the UART in use: it is quiet from now on. */
static void close(void)
{
    if (!uart.present)
        return;
    uart_flush();
    uart_set(UART_IER, 0);
    if (uart.by_timer)
        timer_cancel(&uart.poll);
    uart.present = uart.started = uart.by_timer = uart.stuck = uart.interrupted = false;
}

static int open(const struct uart_config *config)
{
    int error = ns16550_open(&uart.port, config);

    uart.present = !error;
    return error;
}

int uart_init(const struct uart_config *config)
{
    struct uart_config old = uart.port.config;
    bool had_one = uart.present;
    int error;

    close();
    error = open(config);
    if (error && had_one)
        (void)open(&old); /* it answered before */
    if (uart.wanted)
        uart_start(uart.received, uart.context);
    return error;
}

bool uart_present(void)
{
    return uart.present;
}

bool uart_same(const struct uart_config *config)
{
    return uart.present && uart.port.config.mmio == config->mmio && uart.port.config.base == config->base;
}

bool uart_has_irq(int gsi)
{
    return uart.present && !uart.by_timer && uart.port.config.gsi == gsi;
}

static bool uart_wait(uint8_t mask)
{
    uint64_t limit = tsc_now() + tsc_hz() / 1000000 * WAIT_US;

    for (unsigned reads = 0; (uart_read(UART_LSR) & mask) == 0; reads++) {
        if (uart.stuck || (tsc_hz() ? tsc_now() > limit : reads > WAIT_READS)) {
            uart.stuck = true;
            return false;
        }
        cpu_pause();
    }
    uart.stuck = false;
    return true;
}

/* Moves up to a FIFO's worth from the ring into the UART, which has said that its FIFO is empty. */
static void fill_fifo(void)
{
    for (unsigned i = 0; i < uart.port.fifo && uart.tail != uart.head; i++)
        uart_set(UART_THR, (uint8_t)uart.ring[uart.tail++ % RING_SIZE]);
}

/* Sends the whole ring, polled; drops it if the UART does not take it. */
static void drain_polled(void)
{
    while (uart.tail != uart.head) {
        if (!uart_wait(LSR_THRE)) {
            uart.lost += uart.head - uart.tail;
            uart.tail = uart.head;
            return;
        }
        fill_fifo();
    }
}

static void receive(void)
{
    for (unsigned i = 0; i < INTERRUPT_MAX && (uart_read(UART_LSR) & LSR_DATA_READY) != 0; i++) {
        char c = (char)uart_read(UART_RBR);

        if (uart.received)
            uart.received(uart.context, c);
    }
}

/*
 * Looks after both directions: reads what came, refills an empty FIFO,
 * asks for the next interrupt only while there is more.
 */
static void service(void)
{
    receive();
    if ((uart_read(UART_LSR) & LSR_THRE) != 0) {
        uart.stuck = false;
        fill_fifo();
    }
    uart_set(UART_IER, uart.tail != uart.head ? IER_RECEIVED | IER_TRANSMIT_EMPTY : IER_RECEIVED);
}

static void uart_interrupt(void *context)
{
    (void)context;
    uart.interrupted = true;
    for (unsigned i = 0; i < INTERRUPT_MAX && (uart_read(UART_IIR) & IIR_NONE) == 0; i++)
        service();
}

static void uart_poll(struct timer *timer)
{
    receive();
    if ((uart_read(UART_LSR) & LSR_THRE) != 0)
        fill_fifo();
    timer_arm(timer, tsc_now() + tsc_hz() / 1000 * POLL_MS);
}

/* An empty transmitter interrupts as soon as that is allowed: whether the line works shows at once. */
static int try_interrupt(void)
{
    uint64_t end = tsc_now() + tsc_hz() / 1000 * IRQ_TEST_MS;
    int error = -ENODEV;

    if (uart.port.config.gsi >= 0 && uart.port.config.isa)
        error = irq_connect_isa((unsigned)uart.port.config.gsi, uart_interrupt, NULL);
    else if (uart.port.config.gsi >= 0)
        error = irq_connect_gsi((unsigned)uart.port.config.gsi, uart_interrupt, NULL);
    if (error)
        return error;
    uart_set(UART_IER, IER_RECEIVED | IER_TRANSMIT_EMPTY);
    while (!uart.interrupted && tsc_now() < end)
        cpu_take_interrupts();
    return uart.interrupted ? 0 : -ETIMEDOUT;
}

void uart_start(void (*received)(void *context, char c), void *context)
{
    uart.wanted = true;
    uart.received = received;
    uart.context = context;
    if (!uart.present)
        return;
    uart_flush();
    if (try_interrupt() == 0) {
        uart.started = true;
        return;
    }
    log_warn("uart: the serial port at 0x%llx gives no interrupts: it is polled every %d ms",
             (unsigned long long)uart.port.config.base, POLL_MS);
    uart_set(UART_IER, 0);
    uart.started = true;
    uart.by_timer = true;
    timer_init(&uart.poll, &this_cpu()->timers, uart_poll);
    uart_poll(&uart.poll);
}

static void put(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (uart.head - uart.tail == RING_SIZE) {
            if (uart.started) {
                uart.lost += length - i;
                break;
            }
            drain_polled();
        }
        uart.ring[uart.head++ % RING_SIZE] = text[i];
    }
}

/* What was lost is said where it is missing, once there is room again. */
static void mark_gap(void)
{
    char text[64];
    uint64_t lost = uart.lost - uart.lost_said;

    if (lost == 0 || (uart.started && uart_space() < MARK_SPACE))
        return;
    uart.lost_said = uart.lost;
    put(text, (size_t)format_text(text, sizeof(text), "\r\n[%llu bytes lost: the line is too slow]\r\n",
                                  (unsigned long long)lost));
}

void uart_write(const char *text, size_t length)
{
    if (!uart.present)
        return;
    mark_gap();
    put(text, length);
    if (!uart.started)
        drain_polled();
    else if (!uart.by_timer)
        uart_set(UART_IER, IER_RECEIVED | IER_TRANSMIT_EMPTY); /* an empty FIFO then interrupts at once */
}

size_t uart_space(void)
{
    return RING_SIZE - (uart.head - uart.tail);
}

size_t uart_queued(void)
{
    return uart.head - uart.tail;
}

uint64_t uart_lost(void)
{
    return uart.lost;
}

void uart_flush(void)
{
    if (!uart.present)
        return;
    drain_polled();
    (void)uart_wait(LSR_TEMT);
}

void uart_polled(void)
{
    uart.started = false;
    if (uart.present) {
        uart_set(UART_IER, 0);
        drain_polled();
    }
}

static struct uart_log_frame frame;

void uart_log_frame(const struct uart_log_frame *around)
{
    frame = *around;
}

static void send_line(const char *text, size_t length)
{
    uart_write(text, length - 1);
    uart_write("\r\n", 2);
}

/* A burst that outruns the wire loses whole lines, not parts of some; the log's ring still has them. */
static void log_write(struct log_sink *sink, const char *text, size_t length)
{
    static unsigned dropped;
    char note[80];

    (void)sink;
    if (uart.started && uart_space() < UART_NOT_FOR_LOG + length + 1 + sizeof(note) + UART_FRAME_MAX) {
        dropped++;
        return;
    }
    if (frame.before)
        frame.before();
    if (dropped) {
        int size = format_text(note, sizeof(note),
                               "... %u lines are only in the log: the serial line is slow\n", dropped);

        dropped = 0;
        send_line(note, (size_t)size);
    }
    send_line(text, length);
    if (frame.after)
        frame.after();
}

static void log_polled(struct log_sink *sink)
{
    (void)sink;
    frame = (struct uart_log_frame){ NULL, NULL }; /* a crash report relies on nothing above */
    uart_polled();
}

static size_t log_room(const struct log_sink *sink)
{
    (void)sink;
    return uart_space();
}

void uart_log(void)
{
    static struct log_sink sink = {
        .name = "serial", .write = log_write, .crash = log_polled, .space = log_room
    };

    log_add_sink(&sink);
}
