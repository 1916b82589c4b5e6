#include "kernel/log.h"
#include "kernel/lock.h"
#include "arch/x86_64/tsc.h"
#include "lib/format.h"
#include "lib/string.h"

#define RING_SIZE  65536
#define STAMP_MAX  32
#define LINE_MAX   (LOG_LINE_MAX - STAMP_MAX - 1)
#define LOCK_TRIES 100000

/*
 * Each line in the ring is one byte with its level, then its text up to and with the newline. The lock orders
 * lines of several CPUs and is the last in rank: nothing else is taken under it. A crash report that comes in
 * the middle of a line goes on without it.
 */
static struct lock lock;
static char ring[RING_SIZE];
static uint64_t head; /* bytes ever written */
static uint64_t tail; /* start of the oldest whole line */
static uint64_t start_tsc;
static struct log_sink *sinks;
static enum log_level shown = LOG_INFO;

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
    size_t length = stamp(line);
    int wanted = format_text_v(line + length, LINE_MAX, fmt, args);

    length += min_u64(wanted < 0 ? 0 : (uint64_t)wanted, LINE_MAX - 1);
    for (size_t i = 0; i < length; i++)
        if (line[i] == '\n')
            line[i] = ' '; /* one call, one line: what is between them is the ring's structure */
    line[length++] = '\n';

    bool locked = lock_try(&lock);

    for (unsigned i = 0; !locked && i < LOCK_TRIES; i++)
        locked = lock_try(&lock);
    ring_add(level, line, length);
    if (level <= shown)
        for (struct log_sink *sink = sinks; sink; sink = sink->next)
            sink->write(sink, line, length);
    if (locked)
        lock_release(&lock);
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
    struct log_sink **last = &sinks;

    for (uint64_t at = tail; at < head;) {
        enum log_level level = (enum log_level)ring_at(at);
        size_t length = ring_line(at, line);

        if (level <= shown)
            sink->write(sink, line, length);
        at += 1 + length;
    }
    while (*last && *last != sink)
        last = &(*last)->next;
    *last = sink; /* in the order of their coming: in a crash the oldest and simplest speaks first */
}

void log_set_level(enum log_level level)
{
    shown = level;
}

void log_crash(void)
{
    for (struct log_sink *sink = sinks; sink; sink = sink->next)
        if (sink->crash)
            sink->crash(sink);
}

uint64_t log_end(void)
{
    return head;
}

size_t log_next(uint64_t *at, char to[LOG_LINE_MAX])
{
    size_t length = 0;

    *at = max_u64(*at, tail);
    if (*at < head) {
        length = ring_line(*at, to);
        *at += 1 + length;
    }
    return length;
}
