#include "shell/wire.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/uart.h"
#include "kernel/post.h"
#include "lib/format.h"
#include "lib/string.h"
#include "shell/shell.h"

#define RETRY_US 2000 /* how long to wait for the line when it is slower than the guest */

static struct {
    struct managed *attached; /* NULL: the shell */
    bool prefix;              /* Ctrl-A was typed */
    struct timer retry;
} wire;

static const char help[] =
    "\r\nKeys: Ctrl-A d or Ctrl-]: to Plinth's shell   Ctrl-A n, p: next, previous VM's console\r\n"
    "      Ctrl-A a: a Ctrl-A for the guest         Ctrl-A ?: this help\r\n";

static void say_lost(uint64_t lost)
{
    char text[64];
    int length = format_text(text, sizeof(text), "\r\n[%llu bytes of output dropped]\r\n",
                             (unsigned long long)lost);

    uart_write(text, (size_t)length);
}

/* Sends what the console holds, as far as the line takes it. */
static void drain(void)
{
    struct console *console = wire.attached && wire.attached->machine ? &wire.attached->machine->console
                                                                      : NULL;
    char text[256];

    while (console) {
        size_t space = uart_space();
        uint64_t lost;
        size_t length;

        if (space < sizeof(text) + 64) {
            timer_arm(&wire.retry, tsc_now() + tsc_hz() / 1000000 * RETRY_US);
            return;
        }
        length = console_take(console, text, sizeof(text), &lost);
        if (lost)
            say_lost(lost);
        if (!length)
            return;
        uart_write(text, length);
    }
}

static void drain_posted(struct post *post)
{
    (void)post;
    if (!timer_armed(&wire.retry))
        drain();
}

/* From any CPU; the line is the boot CPU's. */
static void output_ready(void *context)
{
    static struct post post = { .run = drain_posted };

    if (__atomic_load_n(&wire.attached, __ATOMIC_RELAXED) == context)
        post_boot(&post);
}

static void retry(struct timer *timer)
{
    (void)timer;
    drain();
}

void wire_attach(struct managed *vm)
{
    wire.attached = vm;
    if (!vm) {
        shell_prompt();
        return;
    }
    wire_print("\r\n[console of %s: Ctrl-A d for Plinth's shell, Ctrl-A ? for help]\r\n", vm->config->name);
    if (!vm->machine)
        return;
    vm->machine->console.output_context = vm;
    vm->machine->console.output_ready = output_ready;
    drain();
}

bool wire_in_shell(void)
{
    return !wire.attached;
}

/* The next or previous VM that has a console. */
static void attach_neighbour(unsigned step)
{
    unsigned count = manager_count();
    unsigned at = wire.attached ? (unsigned)(wire.attached - manager_get(0)) : count - step;

    for (unsigned i = 0; i < count; i++) {
        at = (at + step) % count;
        if (manager_get(at)->machine) {
            wire_attach(manager_get(at));
            return;
        }
    }
}

static void to_guest(char c)
{
    if (wire.attached->machine && wire.attached->state == MANAGED_RUNNING)
        (void)machine_type(wire.attached->machine, c);
}

static void command_key(char c)
{
    switch (c) {
    case 'd':
        wire_attach(NULL);
        break;
    case 'n':
        attach_neighbour(1);
        break;
    case 'p':
        attach_neighbour(manager_count() > 1 ? manager_count() - 1 : 1);
        break;
    case 'a':
    case WIRE_PREFIX:
        if (wire.attached)
            to_guest(WIRE_PREFIX);
        break;
    default:
        uart_write(help, sizeof(help) - 1);
        if (!wire.attached)
            shell_prompt();
        break;
    }
}

static void received(void *context, char c)
{
    (void)context;
    if (wire.prefix) {
        wire.prefix = false;
        command_key(c);
    } else if (c == WIRE_PREFIX) {
        wire.prefix = true;
    } else if (!wire.attached) {
        shell_input(c);
    } else if (c == WIRE_DETACH) {
        wire_attach(NULL);
    } else {
        to_guest(c);
    }
}

void wire_print(const char *fmt, ...)
{
    char text[512];
    va_list args;
    int length;

    va_start(args, fmt);
    length = format_text_v(text, sizeof(text), fmt, args);
    va_end(args);
    uart_write(text, min_u64((uint64_t)length, sizeof(text) - 1));
}

void wire_flush(void)
{
    drain();
    uart_flush();
}

/* The log interrupts the shell's input line; it stands among a guest's output as it comes. */
static void before_log(void)
{
    if (!wire.attached)
        shell_hide_line();
}

static void after_log(void)
{
    if (!wire.attached)
        shell_show_line();
}

/* Nobody wants to look at a console behind which nothing runs. */
static void vm_stopped(struct managed *vm)
{
    if (wire.attached != vm)
        return;
    drain();
    wire_attach(NULL);
}

void wire_init(void)
{
    const struct uart_log_frame frame = { .before = before_log, .after = after_log };

    uart_log_frame(&frame);
    timer_init(&wire.retry, &this_cpu()->timers, retry);
    uart_start(received, NULL);
    manager_on_stop(vm_stopped);
}
