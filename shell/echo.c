#include "shell/echo.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/uart.h"
#include "io/line.h"
#include "lib/format.h"
#include "shell/wire.h"

#define PERIOD_MS   20
#define CHUNK       128 /* bytes taken from one console before the next one's turn */
#define CHUNKS      32  /* in one period: bounds the time it takes */
#define QUEUE       2048 /* bytes on their way beyond which the echo waits: the shell's answer is behind them */
#define FLUSH_QUEUE 12288

static struct {
    bool on;
    unsigned next; /* whose turn it is */
    struct timer timer;
    struct {
        const struct machine *machine; /* whose console `at` counts in */
        uint64_t at;
        struct line line;
    } vm[CONFIG_MAX_VMS];
} echo;

/* What was left out, and the line: one that has ended, or what there is of it. */
static void say(unsigned index, bool whole)
{
    const char *name = manager_get(index)->config->name;
    struct line *line = &echo.vm[index].line;
    char text[CONFIG_NAME_MAX + LINE_MAX + 48];
    uint64_t lost = line_lost(line);

    if (lost)
        wire_line(text, (size_t)format_text(text, sizeof(text), "%s: [%llu bytes left out]", name,
                                            (unsigned long long)lost));
    if (whole || line->length)
        wire_line(text, line_format(line, name, text, sizeof(text)));
    line_next(line);
}

/* A machine that was given back, and its successor, have nothing to do with each other. */
static void begin(unsigned index, const struct machine *machine)
{
    echo.vm[index].machine = machine;
    echo.vm[index].at = 0;
    echo.vm[index].line = (struct line){ .length = 0 };
}

/* True if there was something: at most CHUNK bytes, and at most one line. */
static bool take(unsigned index)
{
    const struct managed *vm = manager_get(index);
    struct line *line = &echo.vm[index].line;
    uint64_t at, lost;
    char text[CHUNK];
    size_t count;

    if (echo.vm[index].machine != vm->machine)
        begin(index, vm->machine);
    if (!vm->machine || wire_shows(vm))
        return false;
    at = echo.vm[index].at;
    count = console_read(&vm->machine->console, &at, text, sizeof(text), &lost);
    line_gap(line, lost);
    at -= count;
    for (size_t i = 0; i < count; i++) {
        at++;
        if (line_put(line, text[i])) {
            say(index, true);
            break;
        }
    }
    echo.vm[index].at = at;
    if (!count && vm->state == MANAGED_STOPPED && (line->length || line->lost))
        say(index, false); /* it will never finish its last line */
    return count != 0;
}

/* In turn, until there is nothing more or a limit is reached. */
static void take_turns(unsigned chunks, size_t queue)
{
    unsigned count = manager_count();

    for (unsigned idle = 0; idle < count && chunks && uart_queued() < queue;) {
        if (take(echo.next)) {
            idle = 0;
            chunks--;
        } else {
            idle++;
        }
        echo.next = (echo.next + 1) % count;
    }
}

static void tick(struct timer *timer)
{
    take_turns(CHUNKS, QUEUE);
    timer_arm(timer, tsc_now() + tsc_hz() / 1000 * PERIOD_MS);
}

void echo_start(void)
{
    echo.on = true;
    timer_init(&echo.timer, &this_cpu()->timers, tick);
    tick(&echo.timer);
}

void echo_shown(const struct managed *vm)
{
    unsigned index = (unsigned)(vm - manager_get(0));

    if (!echo.on || !vm->machine)
        return;
    if (echo.vm[index].machine != vm->machine)
        begin(index, vm->machine);
    line_next(&echo.vm[index].line);
    echo.vm[index].at = max_u64(echo.vm[index].at, vm->machine->console.out_seen);
}

void echo_flush(void)
{
    if (echo.on)
        take_turns(CONFIG_MAX_VMS * CONSOLE_OUT / CHUNK, FLUSH_QUEUE);
}
