#include "drivers/uart.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/timer.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

/* Registers. Source: PC16550D data sheet, table II. */
#define UART_RBR 0 /* read: received byte */
#define UART_THR 0 /* write: byte to send */
#define UART_DLL 0 /* divisor, low byte, while LCR.DLAB */
#define UART_IER 1
#define UART_DLM 1 /* divisor, high byte, while LCR.DLAB */
#define UART_IIR 2 /* read */
#define UART_FCR 2 /* write */
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define UART_MSR 6
#define UART_SCR 7

#define IER_RECEIVED       0x01
#define IER_TRANSMIT_EMPTY 0x02
#define IIR_NONE           0x01
#define IIR_FIFOS          0xc0 /* both set: a 16550A, its FIFOs are on */
#define FCR_ENABLE         0x01
#define FCR_CLEAR          0x06 /* both FIFOs */
#define FCR_TRIGGER_8      0x80
#define LCR_8N1            0x03
#define LCR_DLAB           0x80
#define MCR_DTR_RTS        0x03
#define MCR_OUT2           0x08 /* on a PC: connects the interrupt line */
#define LSR_DATA_READY     0x01
#define LSR_THRE           0x20
#define LSR_TEMT           0x40

#define UART_CLOCK    1843200u
#define FIFO_SIZE     16
#define RING_SIZE     16384
#define WAIT_US       10000  /* a byte at 1200 baud takes 8.3 ms */
#define WAIT_READS    200000 /* the bound while the TSC's frequency is not known */
#define POLL_MS       5
#define MARK_SPACE    1024 /* a mark about lost bytes waits for so much room: a few lines follow it */
#define IRQ_TEST_MS   20
#define INTERRUPT_MAX 256 /* causes handled in one interrupt: a stuck line must not keep the CPU */

static_assert(UART_NOT_FOR_LOG < RING_SIZE / 4 * 3, "the log wants some room, too");

static struct {
    struct uart_config config;
    volatile uint8_t *registers; /* MMIO only */
    bool present;
    bool stuck;   /* it did not take a byte in time; cleared when it does */
    bool wanted;  /* uart_start() was called */
    bool started; /* the ring is drained by interrupts, or by the timer */
    bool by_timer;
    bool interrupted; /* an interrupt has come */
    unsigned fifo;    /* bytes that an empty transmitter takes */
    char ring[RING_SIZE];
    uint32_t head, tail;      /* free-running */
    uint64_t lost, lost_said; /* bytes; those that a mark has told of */
    void (*received)(void *context, char c);
    void *context;
    struct timer poll;
} uart;

static uint8_t uart_read(unsigned reg)
{
    volatile uint8_t *at;

    if (!uart.registers)
        return in8((uint16_t)(uart.config.base + reg * uart.config.stride));
    at = uart.registers + reg * uart.config.stride;
    return uart.config.stride == 4 ? (uint8_t) * (volatile uint32_t *)at : *at;
}

static void uart_set(unsigned reg, uint8_t value)
{
    volatile uint8_t *at;

    if (!uart.registers) {
        out8((uint16_t)(uart.config.base + reg * uart.config.stride), value);
        return;
    }
    at = uart.registers + reg * uart.config.stride;
    if (uart.config.stride == 4)
        *(volatile uint32_t *)at = value;
    else
        *at = value;
}

/* Parses digits of `base`; NULL if there are none or the value exceeds max. */
static const char *parse_number(const char *text, unsigned base, uint32_t max, uint32_t *value)
{
    const char *start = text;
    uint64_t number = 0;

    for (;; text++) {
        unsigned digit;

        if (*text >= '0' && *text <= '9')
            digit = (unsigned)(*text - '0');
        else if ((*text | 0x20) >= 'a' && (*text | 0x20) <= 'f')
            digit = (unsigned)((*text | 0x20) - 'a') + 10;
        else
            break;
        if (digit >= base)
            break;
        number = number * base + digit;
        if (number > max)
            return NULL;
    }
    *value = (uint32_t)number;
    return text == start ? NULL : text;
}

int uart_parse(struct uart_config *config, const char *text)
{
    static const struct {
        char name[5];
        uint16_t port;
        uint8_t irq;
    } ports[] = { { "com1", 0x3f8, 4 }, { "com2", 0x2f8, 3 }, { "com3", 0x3e8, 4 }, { "com4", 0x2e8, 3 } };
    uint32_t number;

    *config = (struct uart_config){ .stride = 1, .baud = UART_DEFAULT_BAUD, .gsi = -1 };
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        if (strncmp(text, ports[i].name, 4) == 0)
            config->base = ports[i].port;
    }
    if (config->base) {
        text += 4;
    } else {
        if (strncmp(text, "0x", 2) != 0 || !(text = parse_number(text + 2, 16, 0xfff8, &number)) ||
            number == 0)
            return -EINVAL;
        config->base = number;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        if (config->base == ports[i].port) {
            config->gsi = ports[i].irq;
            config->isa = true;
        }
    }
    if (*text == ',') {
        if (!(text = parse_number(text + 1, 10, UART_DEFAULT_BAUD, &number)) || number == 0)
            return -EINVAL;
        config->baud = number;
    }
    return *text == '\0' ? 0 : -EINVAL;
}

/* Floating lines read as ones; the scratch register keeps two patterns that differ in each bit (8.11). */
static bool uart_answers(void)
{
    uart_set(UART_SCR, 0x5a);
    if (uart_read(UART_SCR) != 0x5a)
        return false;
    uart_set(UART_SCR, 0xa5);
    return uart_read(UART_SCR) == 0xa5 && uart_read(UART_LSR) != 0xff;
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

static void set_up(void)
{
    uart_set(UART_IER, 0);
    if (uart.config.baud) {
        uint32_t divisor = UART_CLOCK / 16 / uart.config.baud;

        uart_set(UART_LCR, LCR_8N1 | LCR_DLAB);
        uart_set(UART_DLL, (uint8_t)divisor);
        uart_set(UART_DLM, (uint8_t)(divisor >> 8));
    }
    uart_set(UART_LCR, LCR_8N1);
    uart_set(UART_FCR, FCR_ENABLE | FCR_CLEAR | FCR_TRIGGER_8);
    uart.fifo = (uart_read(UART_IIR) & IIR_FIFOS) == IIR_FIFOS ? FIFO_SIZE : 1;
    uart_set(UART_MCR, MCR_DTR_RTS | MCR_OUT2);
}

static int open(const struct uart_config *config)
{
    uart.config = *config;
    uart.registers = NULL;
    if (config->mmio) {
        uart.registers = map_device(hpa(config->base), 8u * config->stride);
        if (!uart.registers)
            return -ENOMEM;
    }
    if (!uart_answers())
        return -ENODEV;
    set_up();
    uart.present = true;
    return 0;
}

int uart_init(const struct uart_config *config)
{
    struct uart_config old = uart.config;
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
    return uart.present && uart.config.mmio == config->mmio && uart.config.base == config->base;
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
    for (unsigned i = 0; i < uart.fifo && uart.tail != uart.head; i++)
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

    if (uart.config.gsi >= 0 && uart.config.isa)
        error = irq_connect_isa((unsigned)uart.config.gsi, uart_interrupt, NULL);
    else if (uart.config.gsi >= 0)
        error = irq_connect_gsi((unsigned)uart.config.gsi, uart_interrupt, NULL);
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
             (unsigned long long)uart.config.base, POLL_MS);
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
