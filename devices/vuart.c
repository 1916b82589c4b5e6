/* A 16550A UART. The data sheet's sections are cited by their titles. */
#include "devices/vuart.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Summary of Registers; those in brackets while LCR.DLAB is 1. */
#define RBR_THR 0 /* receiver buffer (read), transmitter holding (write) [DLL] */
#define IER     1 /* interrupt enable [DLM] */
#define IIR_FCR 2 /* interrupt identification (read), FIFO control (write) */
#define LCR     3 /* line control */
#define MCR     4 /* modem control */
#define LSR     5 /* line status */
#define MSR     6 /* modem status */
#define SCR     7 /* scratch */

#define IER_ERBFI 0x01u /* received data available and character timeout */
#define IER_ETBEI 0x02u /* transmitter holding register empty */
#define IER_ELSI  0x04u /* receiver line status */
#define IER_EDSSI 0x08u /* modem status */
#define IER_ALL   0x0fu

#define IIR_MSR     0x00u /* Interrupt Control Functions, lowest priority first */
#define IIR_THRE    0x02u
#define IIR_RDA     0x04u
#define IIR_TIMEOUT 0x0cu
#define IIR_RLS     0x06u
#define IIR_NONE    0x01u
#define IIR_FIFOS   0xc0u

#define FCR_ENABLE   0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_KEPT     0xc9u /* enable, DMA mode, trigger level; the others clear themselves */

#define LCR_WLS  0x03u /* word length: 5 to 8 bits */
#define LCR_STB  0x04u /* two stop bits */
#define LCR_PEN  0x08u /* parity */
#define LCR_DLAB 0x80u

#define MCR_DTR  0x01u
#define MCR_RTS  0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_ALL  0x1fu

#define LSR_DR   0x01u
#define LSR_OE   0x02u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u

#define MSR_DELTAS 0x0fu
#define MSR_DCTS   0x01u
#define MSR_DDSR   0x02u
#define MSR_TERI   0x04u
#define MSR_DDCD   0x08u
#define MSR_CTS    0x10u
#define MSR_DSR    0x20u
#define MSR_RI     0x40u
#define MSR_DCD    0x80u

#define BAUD_BASE 115200u /* 1.8432 MHz / 16: the rate with a divisor of 1 */

static bool fifos_on(const struct vuart_state *s)
{
    return s->fcr & FCR_ENABLE;
}

static unsigned capacity(const struct vuart_state *s)
{
    return fifos_on(s) ? VUART_FIFO : 1;
}

/* FIFO Control Register: the number of characters that make "received data available". */
static unsigned trigger_level(const struct vuart_state *s)
{
    static const uint8_t level[4] = { 1, 4, 8, 14 };

    return fifos_on(s) ? level[s->fcr >> 6] : 1;
}

static unsigned interrupt_id(const struct vuart_state *s)
{
    if ((s->ier & IER_ELSI) && (s->lsr & LSR_OE))
        return IIR_RLS;
    if ((s->ier & IER_ERBFI) && s->count >= trigger_level(s))
        return IIR_RDA;
    if ((s->ier & IER_ERBFI) && s->timeout_pending)
        return IIR_TIMEOUT;
    if ((s->ier & IER_ETBEI) && s->thre_pending)
        return IIR_THRE;
    if ((s->ier & IER_EDSSI) && (s->msr & MSR_DELTAS))
        return IIR_MSR;
    return IIR_NONE;
}

/* A PC's serial port passes the interrupt on only while OUT2 is active; loopback makes it inactive. */
static void update_line(struct vuart *uart)
{
    const struct vuart_state *s = &uart->s;

    irq_line_set(&uart->irq, (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && interrupt_id(s) != IIR_NONE);
}

/* FIFO Interrupt Mode Operation: four character times. A divisor of 0 counts as 1. */
static uint64_t timeout_length_ns(const struct vuart_state *s)
{
    uint64_t divisor = (uint64_t)s->dlm << 8 | s->dll;
    unsigned bits = 1 + 5 + (s->lcr & LCR_WLS) + !!(s->lcr & LCR_PEN) + 1 + !!(s->lcr & LCR_STB);

    return 4 * bits * max_u64(divisor, 1) * NS_PER_S / BAUD_BASE;
}

static bool timeout_wanted(const struct vuart_state *s)
{
    return fifos_on(s) && (s->ier & IER_ERBFI) && !s->timeout_pending && s->count > 0 &&
           s->count < trigger_level(s);
}

static void stop_timeout(struct vuart *uart)
{
    uart->s.timeout_ns = UINT64_MAX;
    vtimer_cancel(&uart->timeout);
}

/* A character came or went: the four character times begin anew. */
static void restart_timeout(struct vuart *uart)
{
    struct vuart_state *s = &uart->s;

    if (!timeout_wanted(s)) {
        stop_timeout(uart);
        return;
    }
    s->timeout_ns = vclock_ns(uart->timeout.clock) + timeout_length_ns(s);
    vtimer_arm(&uart->timeout, s->timeout_ns);
}

static void timeout_fired(void *device)
{
    struct vuart *uart = device;

    uart->s.timeout_ns = UINT64_MAX;
    uart->s.timeout_pending = 1;
    update_line(uart);
}

static void clear_receiver(struct vuart *uart)
{
    uart->s.count = uart->s.head = uart->s.timeout_pending = 0;
    uart->s.lsr &= (uint8_t)~LSR_DR;
    stop_timeout(uart);
}

/* One character off the wire. Without room it is lost: a full FIFO keeps what it has, a single register does
 * not
 * (Line Status Register). */
static void receive(struct vuart *uart, uint8_t c)
{
    struct vuart_state *s = &uart->s;

    if (s->count == capacity(s)) {
        s->lsr |= LSR_OE;
        if (!fifos_on(s))
            s->fifo[s->head] = c;
        return;
    }
    s->fifo[(s->head + s->count) % VUART_FIFO] = c;
    s->count++;
    s->lsr |= LSR_DR;
}

/*
 * Takes what was typed, as far as there is room, if it is for this device; loopback cuts the receiver off the
 * wire.
 */
static void pull_input(struct vuart *uart)
{
    char c;

    if ((uart->s.mcr & MCR_LOOP) || !console_listens(uart->console, uart))
        return;
    while (uart->s.count < capacity(&uart->s) && console_get(uart->console, &c))
        receive(uart, (uint8_t)c);
}

void vuart_input(void *device)
{
    struct vuart *uart = device;
    unsigned before = uart->s.count;

    pull_input(uart);
    if (uart->s.count == before)
        return;
    restart_timeout(uart);
    update_line(uart);
}

static uint8_t read_rbr(struct vuart *uart)
{
    struct vuart_state *s = &uart->s;
    uint8_t c = s->fifo[s->head];

    if (s->count > 0) {
        s->head = (uint8_t)((s->head + 1) % VUART_FIFO);
        s->count--;
    }
    s->timeout_pending = 0;
    pull_input(uart);
    if (s->count == 0)
        s->lsr &= (uint8_t)~LSR_DR;
    restart_timeout(uart);
    update_line(uart);
    return c;
}

/* Reading it acknowledges "transmitter empty", if that is what it says. */
static uint8_t read_iir(struct vuart *uart)
{
    unsigned id = interrupt_id(&uart->s);

    if (id == IIR_THRE) {
        uart->s.thre_pending = 0;
        update_line(uart);
    }
    return (uint8_t)(id | (fifos_on(&uart->s) ? IIR_FIFOS : 0));
}

static uint8_t read_lsr(struct vuart *uart)
{
    uint8_t lsr = uart->s.lsr;

    if (unlikely(lsr & LSR_OE)) {
        uart->s.lsr &= (uint8_t)~LSR_OE;
        update_line(uart);
    }
    return lsr;
}

static uint8_t read_msr(struct vuart *uart)
{
    uint8_t msr = uart->s.msr;

    if (msr & MSR_DELTAS) {
        uart->s.msr &= (uint8_t)~MSR_DELTAS;
        update_line(uart);
    }
    return msr;
}

uint64_t vuart_read(void *device, uint32_t offset, unsigned size)
{
    struct vuart *uart = device;
    const struct vuart_state *s = &uart->s;

    (void)size;
    switch (offset) {
    case RBR_THR:
        return s->lcr & LCR_DLAB ? s->dll : read_rbr(uart);
    case IER:
        return s->lcr & LCR_DLAB ? s->dlm : s->ier;
    case IIR_FCR:
        return read_iir(uart);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        return read_lsr(uart);
    case MSR:
        return read_msr(uart);
    default:
        return s->scr;
    }
}

/*
 * The character leaves at once, so the holding register is full for no time: writing it acknowledges the
 * interrupt, and its being empty again makes a new one, with an edge between the two.
 */
static void write_thr(struct vuart *uart, uint8_t c)
{
    struct vuart_state *s = &uart->s;

    c &= (uint8_t)(0xff >> (3 - (s->lcr & LCR_WLS)));
    if (s->mcr & MCR_LOOP) {
        receive(uart, c);
        restart_timeout(uart);
    } else {
        console_put(uart->console, (char)c);
        if (unlikely(!console_listens(uart->console, uart)))
            console_listen(uart->console, vuart_input, uart);
    }
    s->thre_pending = 0;
    update_line(uart);
    s->thre_pending = 1;
    update_line(uart);
}

/* FIFO Interrupt Mode Operation: enabling the transmitter's interrupt while the register is empty raises it
 * at once. */
static void write_ier(struct vuart *uart, uint8_t value)
{
    struct vuart_state *s = &uart->s;
    uint8_t changed = s->ier ^ (value & IER_ALL);

    s->ier = value & IER_ALL;
    if (changed & s->ier & IER_ETBEI)
        s->thre_pending = 1;
    if (changed & IER_ERBFI)
        restart_timeout(uart);
    update_line(uart);
}

/* FIFO Control Register: changing the enable bit empties both FIFOs; the other bits count only when it is
 * written as 1.
 */
static void write_fcr(struct vuart *uart, uint8_t value)
{
    struct vuart_state *s = &uart->s;
    uint8_t kept = value & FCR_ENABLE ? value & FCR_KEPT : 0;

    if (((s->fcr ^ kept) & FCR_ENABLE) || ((kept & FCR_ENABLE) && (value & FCR_CLEAR_RX)))
        clear_receiver(uart);
    s->fcr = kept;
    pull_input(uart);
    restart_timeout(uart);
    update_line(uart);
}

/* Modem Status Register: the modem inputs, and in the low half what changed since the last read. */
static void set_modem_inputs(struct vuart_state *s, uint8_t inputs)
{
    uint8_t changed = (s->msr ^ inputs) & (MSR_CTS | MSR_DSR | MSR_DCD);
    uint8_t ring_ended = s->msr & ~inputs & MSR_RI;

    s->msr = (uint8_t)((s->msr & MSR_DELTAS) | inputs | changed >> 4 | ring_ended >> 4);
}

/* The other end of the wire is always there and ready; loopback wires our own outputs to our inputs. */
static uint8_t modem_inputs(const struct vuart_state *s)
{
    if (!(s->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                     (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct vuart *uart, uint8_t value)
{
    uart->s.mcr = value & MCR_ALL;
    set_modem_inputs(&uart->s, modem_inputs(&uart->s));
    vuart_input(uart); /* loopback may have ended */
    update_line(uart);
}

void vuart_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vuart *uart = device;
    struct vuart_state *s = &uart->s;
    uint8_t byte = (uint8_t)value;

    (void)size;
    switch (offset) {
    case RBR_THR:
        if (s->lcr & LCR_DLAB)
            s->dll = byte;
        else
            write_thr(uart, byte);
        break;
    case IER:
        if (s->lcr & LCR_DLAB)
            s->dlm = byte;
        else
            write_ier(uart, byte);
        break;
    case IIR_FCR:
        write_fcr(uart, byte);
        break;
    case LCR:
        s->lcr = byte;
        break;
    case MCR:
        write_mcr(uart, byte);
        break;
    case SCR:
        s->scr = byte;
        break;
    default: /* LSR and MSR are for reading; writing them is for factory tests */
        break;
    }
}

int vuart_attach(struct vuart *uart, struct iobus *ports, uint16_t base)
{
    const struct io_region region = { .base = base,
                                      .size = 8,
                                      .widths = IO_8,
                                      .read = vuart_read,
                                      .write = vuart_write,
                                      .device = uart,
                                      .name = "uart" };

    return iobus_add(ports, &region);
}

void vuart_init(struct vuart *uart, const struct vclock *clock, struct timer_queue *queue,
                struct irq_line irq, struct console *console)
{
    memset(uart, 0, sizeof(*uart));
    uart->irq = irq;
    uart->console = console;
    vtimer_init(&uart->timeout, clock, queue, timeout_fired, uart);
    console->input_ready = vuart_input;
    console->input_context = uart;
    vuart_reset(uart);
}

/* UART Reset Configuration; the divisor, which it leaves alone, becomes that of 9600 baud. */
void vuart_reset(struct vuart *uart)
{
    vtimer_cancel(&uart->timeout);
    uart->s = (struct vuart_state){
        .timeout_ns = UINT64_MAX,
        .dll = 12,
        .lsr = LSR_THRE | LSR_TEMT,
        .msr = MSR_CTS | MSR_DSR | MSR_DCD,
    };
    update_line(uart);
    vuart_input(uart); /* what was typed meanwhile waits for the guest's next life */
}

void vuart_save(const struct vuart *uart, struct vuart_state *out)
{
    *out = uart->s;
}

int vuart_check(const struct vuart_state *s)
{
    if ((s->ier & ~IER_ALL) || (s->fcr & ~FCR_KEPT) || (s->mcr & ~MCR_ALL) || (!fifos_on(s) && s->fcr))
        return -EINVAL;
    if ((s->lsr & ~(LSR_DR | LSR_OE)) != (LSR_THRE | LSR_TEMT) || (s->msr & 0xf0) != modem_inputs(s))
        return -EINVAL;
    if (s->thre_pending > 1 || s->timeout_pending > 1)
        return -EINVAL;
    if (s->count > capacity(s) || s->head >= VUART_FIFO || (s->count > 0) != !!(s->lsr & LSR_DR))
        return -EINVAL;
    if (s->timeout_ns != UINT64_MAX && !timeout_wanted(s))
        return -EINVAL;
    return 0;
}

void vuart_load(struct vuart *uart, const struct vuart_state *state)
{
    uart->s = *state;
    vtimer_arm(&uart->timeout, state->timeout_ns);
    update_line(uart);
    vuart_input(uart);
}
