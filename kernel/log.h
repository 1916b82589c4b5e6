/* The log: one ring of lines, echoed to the consoles as it is written. */
#pragma once

#include <stdarg.h>
#include "lib/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/*
 * Adds one line (no trailing newline in fmt) to the ring with the time since start, and sends it to each
 * registered sink. Truncated at 255 bytes. Any CPU, in any context but that of an NMI, and a crash report.
 * What another CPU than the boot CPU says appears when the boot CPU next comes to log_show(); it is kicked
 * for that.
 */
void log_line(enum log_level level, const char *fmt, ...) __printf(2, 3);
void log_line_v(enum log_level level, const char *fmt, va_list args) __printf(2, 0);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/*
 * A place that shows the log: write() gets finished text, newline included, and must not call the log. It is
 * called on the boot CPU, or in a crash report.
 * A sink that is added later first gets everything that the ring still holds; so does one that is added again
 * (it now shows another place).
 */
struct log_sink {
    const char *name;
    void (*write)(struct log_sink *sink, const char *text, size_t length);
    void (*crash)(struct log_sink *sink); /* the hypervisor has crashed: from now on do without interrupts;
                                             NULL: no matter */
    size_t (*space)(const struct log_sink *sink); /* bytes that it takes now without loss; NULL: any number */
    struct log_sink *next;                        /* log.c */
};

void log_add_sink(struct log_sink *sink);

/* Gives the sinks what other CPUs have added to the ring. Boot CPU; where a sink's write() is not under way.
 */
void log_show(void);

/* Bytes that every sink takes now without loss: for who has much to say and can wait. Boot CPU. */
size_t log_space(void);

/* Lines above this level are kept out of the sinks; the ring keeps all. Default LOG_INFO. */
void log_set_level(enum log_level level);

/* For panic.c: this is the one CPU that still runs. Tells the sinks that nothing but polling works from now
 * on. */
void log_crash(void);

#define LOG_LINE_MAX 289 /* the longest line with its time and newline */

/* The TSC when the times of its lines began. */
uint64_t log_start_tsc(void);

/*
 * Reads the log line by line. Positions grow for ever; 0 is before the oldest line. log_next() copies the
 * line at *at, or the oldest one still there, and moves *at behind it; it returns the length with the
 * newline, 0 at the end.
 */
uint64_t log_end(void);
size_t log_next(uint64_t *at, char to[LOG_LINE_MAX]);
