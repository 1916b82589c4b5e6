#include "shell/wire.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/uart.h"
#include "io/line.h"
#include "kernel/post.h"
#include "lib/format.h"
#include "lib/keyname.h"
#include "lib/string.h"
#include "shell/echo.h"
#include "shell/ports.h"
#include "shell/shell.h"

#define RETRY_US 2000 /* how long to wait for the line when it is slower than the guest */

/* So much of a console's output may be on its way: 67 ms at 115200 baud with the chunk that goes beyond, for
 * the shell's answer is behind it when the user leaves. */
#define QUEUE 512

/* What a user who comes back sees again: a screenful, to know where he was. */
#define AGAIN_LINES 24
#define AGAIN_BYTES 4096

static struct {
    struct managed *attached; /* NULL: the shell */
    char prefix_key;
    char prefix_name[KEY_NAME_MAX];
    bool prefix;           /* it was typed */
    struct line_tail line; /* of the guest that is shown */
    struct timer retry;
    bool drawn[CONFIG_MAX_VMS]; /* this VM had drawn a screen when its console was left */
} wire;

/* For a terminal (ECMA-48: SGR, CUP, ED; DEC's DECTCEM): plain text and a cursor that is seen, at the lower
 * left; an empty screen. */
#define TERMINAL_LEAVE "\033[m\033[?25h\033[999;1H"
#define TERMINAL_CLEAR "\033[2J\033[H"

static const char help[] =
    "\r\nKeys: %s d or Ctrl-]: to Plinth's shell   %s n, p: next, previous VM's console\r\n"
    "      %s h: all output that is kept       %s a: a %s for the guest   %s ?: this help\r\n";

const char *wire_prefix(void)
{
    return wire.prefix_name;
}

/* Takes what stands on the line out of the way of a line of its own. */
static void leave_line(void)
{
    if (!wire.attached)
        shell_hide_line();
    else if (wire.line.length || wire.line.placed)
        uart_write("\r\n", 2);
}

/* Goes on with what stood on the line: a guest's unfinished line is shown again. */
static void resume_line(void)
{
    char text[LINE_TAIL + 1];

    if (!wire.attached)
        shell_show_line();
    else
        uart_write(text, line_tail_get(&wire.line, text));
}

static_assert(LINE_TAIL + 1 + 2 <= UART_FRAME_MAX, "both happen around a line of the log");

void wire_line(const char *text, size_t length)
{
    leave_line();
    uart_write(text, length);
    uart_write("\r\n", 2);
    resume_line();
}

static void say_lost(uint64_t lost)
{
    char text[64];
    int length = format_text(text, sizeof(text), "\r\n[%llu bytes of output dropped]\r\n",
                             (unsigned long long)lost);

    uart_write(text, (size_t)length);
}

/* Sends what the console holds, while less than `queue` bytes wait for the line and it has room. */
static void drain_to(size_t queue)
{
    struct console *console = wire.attached && wire.attached->machine ? &wire.attached->machine->console
                                                                      : NULL;
    char text[256];

    while (console) {
        size_t space = uart_space();
        uint64_t lost;
        size_t length;

        if (space < sizeof(text) + 64 || uart_queued() >= queue) {
            timer_arm(&wire.retry, tsc_now() + tsc_hz() / 1000000 * RETRY_US);
            return;
        }
        length = console_take(console, text, sizeof(text), &lost);
        if (lost)
            say_lost(lost);
        if (!length)
            return;
        uart_write(text, length);
        for (size_t i = 0; i < length; i++)
            line_tail_put(&wire.line, text[i]);
    }
}

static void drain(void)
{
    drain_to(QUEUE);
}

/* Nothing is to follow for which it would have to leave room. */
static void drain_last(void)
{
    drain_to(SIZE_MAX);
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

static bool *drawn(const struct managed *vm)
{
    return &wire.drawn[vm - manager_get(0)];
}

/* What comes next must not be written into the midst of a guest's screen, nor in its colours. */
static void leave_console(void)
{
    *drawn(wire.attached) = wire.line.placed;
    if (wire.line.placed)
        wire_print(TERMINAL_LEAVE);
    echo_shown(wire.attached);
}

void wire_attach(struct managed *vm)
{
    if (wire.attached)
        leave_console();
    wire.attached = vm;
    wire.line = (struct line_tail){ .length = 0 };
    if (!vm) {
        shell_prompt();
        return;
    }
    wire_print("%s\r\n[console of %s: %s d for Plinth's shell, %s ? for help]\r\n",
               *drawn(vm) ? TERMINAL_CLEAR : "", vm->config->name, wire_prefix(), wire_prefix());
    if (!vm->machine)
        return;
    if (*drawn(vm)) /* a screen has no last lines: its program may have drawn parts of it long ago */
        console_replay(&vm->machine->console);
    else
        console_rewind(&vm->machine->console, AGAIN_LINES, AGAIN_BYTES);
    vm->machine->console.output_context = vm;
    vm->machine->console.output_ready = output_ready;
    drain();
}

bool wire_in_shell(void)
{
    return !wire.attached;
}

bool wire_shows(const struct managed *vm)
{
    return wire.attached == vm;
}

/* All that the console still holds, once more. */
static void history(void)
{
    struct console *console = &wire.attached->machine->console;
    uint64_t gone = console_oldest(console);

    wire_print("\r\n[all output of %s that is kept; %llu bytes before it are gone]\r\n",
               wire.attached->config->name, (unsigned long long)gone);
    wire.line = (struct line_tail){ .length = 0 };
    console_replay(console);
    drain();
}

static void show_help(void)
{
    const char *prefix = wire_prefix();

    wire_print(help, prefix, prefix, prefix, prefix, prefix, prefix);
    if (wire.attached)
        resume_line();
    else
        shell_prompt();
}

/* The next or previous VM that has a console here. From the shell, which stands before the first and behind
 * the last: the first or the last one. */
static void attach_neighbour(bool next)
{
    unsigned count = manager_count(), step = next ? 1 : count - 1;
    unsigned at = wire.attached ? (unsigned)(wire.attached - manager_get(0)) : next ? count - 1 : 0;

    for (unsigned i = 0; i < count; i++) {
        at = (at + step) % count;
        if (manager_get(at)->machine && !manager_get(at)->output_ready) {
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
        attach_neighbour(true);
        break;
    case 'p':
        attach_neighbour(false);
        break;
    case 'a':
        if (wire.attached)
            to_guest(wire.prefix_key);
        break;
    case 'h':
        if (wire.attached && wire.attached->machine) {
            history();
            break;
        }
        /* fall through */
    default:
        show_help();
        break;
    }
}

static void received(void *context, char c)
{
    (void)context;
    if (wire.prefix) {
        wire.prefix = false;
        command_key(c == wire.prefix_key ? 'a' : c);
    } else if (c == wire.prefix_key) {
        wire.prefix = true;
    } else if (!wire.attached) {
        shell_input(c);
    } else if (c == KEY_CTRL_BRACKET) {
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
    drain_last();
    echo_flush();
    uart_flush();
    ports_flush();
}

/* Nobody wants to look at a console behind which nothing runs. */
static void vm_stopped(struct managed *vm)
{
    if (wire.attached != vm)
        return;
    drain_last();
    wire_attach(NULL);
}

void wire_init(void)
{
    const struct uart_log_frame frame = { .before = leave_line, .after = resume_line };

    wire.prefix_key = KEY_CTRL_A;
    key_name(wire.prefix_key, wire.prefix_name);
    uart_log_frame(&frame);
    timer_init(&wire.retry, &this_cpu()->timers, retry);
    uart_start(received, NULL);
    manager_on_stop(vm_stopped);
}

void wire_configure(const struct config *config)
{
    if (!config)
        return;
    wire.prefix_key = config->prefix;
    key_name(wire.prefix_key, wire.prefix_name);
    if (config->echo_consoles)
        echo_start();
}
