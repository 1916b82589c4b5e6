/*
 * A console on a COM port of its own: what the guest sends goes there as it is, what comes from there is
 * typed. The port is looked after by the boot CPU, by interrupts, or by a timer where those do not come or
 * belong to another port.
 */
#include "shell/ports.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/ns16550.h"
#include "drivers/uart.h"
#include "guests/manager.h"
#include "kernel/heap.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/post.h"
#include "kernel/timer.h"
#include "lib/errno.h"
#include "lib/format.h"

#define POLL_MS       5
#define IRQ_TEST_MS   20
#define INTERRUPT_MAX 256   /* causes handled in one interrupt: a stuck line must not keep the CPU */
#define FLUSH_US      10000 /* a byte at 1200 baud takes 8.3 ms */
#define CHUNK         64
#define MARK          64

struct port {
    struct managed *vm;
    struct ns16550 uart;
    const struct machine *machine; /* whose console `at` counts in */
    uint64_t at;
    char text[MARK + CHUNK]; /* taken from the console and not sent yet: from `sent` to `length` */
    unsigned sent, length;
    bool by_timer;
    bool interrupted; /* an interrupt has come */
    bool sending;     /* the next one is asked for when the transmitter is empty; any CPU reads it */
    struct post post;
    struct timer poll;
};

static struct port *ports[CONFIG_MAX_VMS]; /* by the VM's index; NULL: its console is the wire's */

/* Takes the next of the console's output; false: there is none. */
static bool refill(struct port *port)
{
    const struct machine *machine = port->vm->machine;
    uint64_t lost;
    char text[CHUNK];
    size_t count;

    if (port->machine != machine ||
        (machine && port->at > console_end(&machine->console))) { /* one that was given back, and its
                                                                     successor, have nothing in common */
        port->machine = machine;
        port->at = 0;
    }
    port->sent = port->length = 0;
    if (!machine)
        return false;
    count = console_read(&machine->console, &port->at, text, sizeof(text), &lost);
    if (lost)
        port->length = (unsigned)format_text(port->text, MARK, "\r\n[%llu bytes of output dropped]\r\n",
                                             (unsigned long long)lost);
    for (size_t i = 0; i < count; i++)
        port->text[port->length++] = text[i];
    return port->length;
}

/* Fills the empty transmitter. */
static void send(struct port *port)
{
    for (unsigned i = 0; i < port->uart.fifo; i++) {
        if (port->sent == port->length && !refill(port))
            return;
        ns16550_write(&port->uart, UART_THR, (uint8_t)port->text[port->sent++]);
    }
}

static bool has_more(const struct port *port)
{
    const struct machine *machine = port->vm->machine;

    return port->sent < port->length ||
           (machine && (machine != port->machine || console_end(&machine->console) > port->at));
}

static void receive(struct port *port)
{
    for (unsigned i = 0; i < INTERRUPT_MAX && (ns16550_read(&port->uart, UART_LSR) & LSR_DATA_READY); i++) {
        char c = (char)ns16550_read(&port->uart, UART_RBR);

        if (port->vm->machine && port->vm->state == MANAGED_RUNNING)
            (void)machine_type(port->vm->machine, c);
    }
}

static void serve(struct port *port)
{
    receive(port);
    if (ns16550_read(&port->uart, UART_LSR) & LSR_THRE)
        send(port);
}

/* Says whether the empty transmitter is to interrupt; if it is empty now, it does at once. */
static void ask_for_more(struct port *port)
{
    bool more;

    /* First the flag, then the question: who writes to the console does it the other way round. */
    __atomic_store_n(&port->sending, false, __ATOMIC_SEQ_CST);
    more = has_more(port);
    if (more)
        __atomic_store_n(&port->sending, true, __ATOMIC_SEQ_CST);
    ns16550_write(&port->uart, UART_IER, more ? IER_RECEIVED | IER_TRANSMIT_EMPTY : IER_RECEIVED);
}

static void interrupted(void *context)
{
    struct port *port = context;

    port->interrupted = true;
    for (unsigned i = 0; i < INTERRUPT_MAX; i++) {
        if (ns16550_read(&port->uart, UART_IIR) & IIR_NONE)
            return;
        serve(port);
        ask_for_more(port);
    }
    /* The rest later: the line falls and rises again, for it is its edge that interrupts. */
    ns16550_write(&port->uart, UART_IER, 0);
    ask_for_more(port);
}

static void polled(struct timer *timer)
{
    serve(container_of(timer, struct port, poll));
    timer_arm(timer, tsc_now() + tsc_hz() / 1000 * POLL_MS);
}

static void posted(struct post *post)
{
    ask_for_more(container_of(post, struct port, post));
}

/* The guest has sent a byte. From any CPU. */
static void output_ready(void *vm)
{
    struct port *port = ports[(struct managed *)vm - manager_get(0)];

    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the byte, then the flag */
    if (!port->by_timer && !__atomic_load_n(&port->sending, __ATOMIC_RELAXED))
        post_boot(&port->post);
}

/* The line of an ISA interrupt has one owner: the I/O APIC sends it to one vector. */
static bool irq_is_taken(const struct port *port)
{
    int gsi = port->uart.config.gsi;

    if (uart_has_irq(gsi))
        return true;
    for (unsigned i = 0; i < manager_count(); i++)
        if (ports[i] && ports[i] != port && !ports[i]->by_timer && ports[i]->uart.config.gsi == gsi)
            return true;
    return false;
}

/* An empty transmitter interrupts as soon as that is allowed: whether the line works shows at once. */
static bool interrupts_come(struct port *port)
{
    uint64_t end = tsc_now() + tsc_hz() / 1000 * IRQ_TEST_MS;
    int gsi = port->uart.config.gsi;

    if (gsi < 0 || irq_is_taken(port) || irq_connect_isa((unsigned)gsi, interrupted, port))
        return false;
    ns16550_write(&port->uart, UART_IER, IER_RECEIVED | IER_TRANSMIT_EMPTY);
    while (!port->interrupted && tsc_now() < end)
        cpu_take_interrupts();
    return port->interrupted;
}

static void start(struct port *port)
{
    const char *name = port->vm->config->name;

    port->post.run = posted;
    log_info("vm %s: its console is on %s", name, port->vm->config->console);
    if (interrupts_come(port))
        return;
    log_info("vm %s: that port has no interrupt of its own: it is polled every %d ms", name, POLL_MS);
    port->by_timer = true;
    ns16550_write(&port->uart, UART_IER, 0);
    timer_init(&port->poll, &this_cpu()->timers, polled);
    polled(&port->poll);
}

/* Why not is said in vm->unfit. */
static struct port *open_port(struct managed *vm)
{
    const char *where = vm->config->console;
    struct uart_config config;
    struct port *port;

    if (uart_parse(&config, where)) /* the config was checked, but this costs nothing */
        return NULL;
    if (uart_same(&config)) {
        format_text(vm->unfit, sizeof(vm->unfit),
                    "its console is to be on %s, which is the wire's port; give it another one, or move the "
                    "wire by console= or [host]",
                    where);
        return NULL;
    }
    port = heap_alloc(sizeof(*port));
    if (!port) {
        format_text(vm->unfit, sizeof(vm->unfit), "no memory for its console");
        return NULL;
    }
    if (!ns16550_open(&port->uart, &config))
        return port;
    heap_free(port);
    format_text(vm->unfit, sizeof(vm->unfit),
                "no serial port answers at %s, where its console is to be; name one that this machine has, "
                "or take `console` out",
                where);
    return NULL;
}

void ports_open(void)
{
    for (unsigned i = 0; i < manager_count(); i++) {
        struct managed *vm = manager_get(i);
        struct port *port = vm->config->console[0] && vm->state != MANAGED_BROKEN ? open_port(vm) : NULL;

        if (!port)
            continue;
        port->vm = vm;
        ports[i] = port;
        vm->output_ready = output_ready;
        start(port);
    }
}

static bool wait_for(const struct port *port, uint8_t mask)
{
    uint64_t limit = tsc_now() + tsc_hz() / 1000000 * FLUSH_US;

    while (!(ns16550_read(&port->uart, UART_LSR) & mask)) {
        if (tsc_now() > limit)
            return false;
        cpu_pause();
    }
    return true;
}

void ports_flush(void)
{
    for (unsigned i = 0; i < manager_count(); i++) {
        struct port *port = ports[i];

        if (!port)
            continue;
        while (has_more(port) && wait_for(port, LSR_THRE))
            send(port);
        (void)wait_for(port, LSR_TEMT);
    }
}
