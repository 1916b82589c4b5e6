#include "kernel/log.h"
#include "kernel/lock.h"
#include "kernel/recorder.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "lib/format.h"
#include "lib/string.h"

#define RING_SIZE 65536
#define STAMP_MAX 32
#define LINE_MAX  (LOG_LINE_MAX - STAMP_MAX - 1)

/*
 * Each line in the ring is one byte with its level, then its text up to and with the newline. The lock orders
 * lines of several CPUs and is the last in rank: nothing else is taken under it. The sinks are called without
 * it, by the boot CPU only, since serial line and screen belong to it: another CPU leaves its line in the
 * ring and asks the boot CPU to show it. In a crash the one CPU that still runs does without the lock, and
 * shows its lines itself.
 */
static struct lock lock;
static char ring[RING_SIZE];
static uint64_t head; /* bytes ever written */
static uint64_t tail; /* start of the oldest whole line */
static uint64_t start_tsc;
static bool crashed;

/* Touched by the CPU that shows lines only. */
static uint64_t shown_to; /* a position: the sinks have what is before it */
static struct log_sink *sinks;
static enum log_level shown = LOG_INFO;

static void take(void)
{
    if (!crashed)
        lock_take(&lock);
}

static void release(void)
{
    if (!crashed)
        lock_release(&lock);
}

static char ring_at(uint64_t position)
{
    return ring[position % RING_SIZE];
}

static void drop_oldest_line(void)
{
    while (tail < head && ring_at(tail) != '\n')
        tail++;
    tail++;
}

static void ring_add(enum log_level level, const char *text, size_t length)
{
    while (head + 1 + length - tail > RING_SIZE)
        drop_oldest_line();
    ring[head++ % RING_SIZE] = (char)level;
    for (size_t i = 0; i < length; i++)
        ring[head++ % RING_SIZE] = text[i];
}

/*
 * Copies the line at `position` without its level byte; returns
 * its length. The caller has room for the longest.
 */
static size_t ring_line(uint64_t position, char *to)
{
    size_t length = 0;

    for (position++; position < head; position++) {
        to[length++] = ring_at(position);
        if (to[length - 1] == '\n')
            break;
    }
    return length;
}

/* "[    0.123456] ": seconds since the first line, 0 while the TSC's frequency is not known. */
static size_t stamp(char *to)
{
    uint64_t hz = tsc_hz(), now = tsc_now();

    if (start_tsc == 0)
        start_tsc = now;

    uint64_t ticks = now - start_tsc;
    uint64_t seconds = hz ? ticks / hz : 0;
    uint64_t micros = hz ? ticks % hz * 1000000 / hz : 0;

    return (size_t)format_text(to, STAMP_MAX, "[%5llu.%06llu] ", (unsigned long long)seconds,
                               (unsigned long long)micros);
}

void log_line_v(enum log_level level, const char *fmt, va_list args)
{
    char line[LOG_LINE_MAX];
    size_t length = stamp(line), stamped = length;
    int wanted = format_text_v(line + length, LINE_MAX, fmt, args);

    length += min_u64(wanted < 0 ? 0 : (uint64_t)wanted, LINE_MAX - 1);
    for (size_t i = 0; i < length; i++)
        if (line[i] == '\n')
            line[i] = ' '; /* one call, one line: what is between them is the ring's structure */
    recorder_log(line + stamped, length - stamped);
    line[length++] = '\n';

    take();
    ring_add(level, line, length);
    release();
    if (this_slot() == 0 || crashed)
        log_show();
    else if (this_cpu()->has_lapic)
        smp_kick(smp_cpu(0)); /* else it is starting, and the boot CPU waits for it */
}

/* Copies the line at *at, or the oldest one, and moves *at behind it; 0 if that is `end`. */
static size_t next_line(uint64_t *at, uint64_t end, enum log_level *level, char *to)
{
    size_t length = 0;

    take();
    *at = max_u64(*at, tail);
    if (*at < min_u64(head, end)) {
        *level = (enum log_level)ring_at(*at);
        length = ring_line(*at, to);
        *at += 1 + length;
    }
    release();
    return length;
}

void log_show(void)
{
    char line[LOG_LINE_MAX];
    enum log_level level = LOG_DEBUG;
    size_t length;

    if (__atomic_load_n(&head, __ATOMIC_RELAXED) == shown_to)
        return;
    while ((length = next_line(&shown_to, UINT64_MAX, &level, line)) != 0)
        for (struct log_sink *sink = sinks; sink && level <= shown; sink = sink->next)
            sink->write(sink, line, length);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    log_line_v(level, fmt, args);
    va_end(args);
}

void log_add_sink(struct log_sink *sink)
{
    char line[LOG_LINE_MAX];
    enum log_level level = LOG_DEBUG;
    struct log_sink **last = &sinks;
    size_t length;

    log_show();
    for (uint64_t at = 0; (length = next_line(&at, shown_to, &level, line)) != 0;)
        if (level <= shown)
            sink->write(sink, line, length);
    while (*last && *last != sink)
        last = &(*last)->next;
    *last = sink; /* in the order of their coming: in a crash the oldest and simplest speaks first */
}

size_t log_space(void)
{
    size_t space = SIZE_MAX;

    for (const struct log_sink *sink = sinks; sink; sink = sink->next)
        if (sink->space)
            space = min_u64(space, sink->space(sink));
    return space;
}

void log_set_level(enum log_level level)
{
    shown = level;
}

void log_crash(void)
{
    crashed = true;
    for (struct log_sink *sink = sinks; sink; sink = sink->next)
        if (sink->crash)
            sink->crash(sink);
}

uint64_t log_start_tsc(void)
{
    return start_tsc;
}

uint64_t log_end(void)
{
    return __atomic_load_n(&head, __ATOMIC_RELAXED);
}

size_t log_next(uint64_t *at, char to[LOG_LINE_MAX])
{
    enum log_level level;

    return next_line(at, UINT64_MAX, &level, to);
}
