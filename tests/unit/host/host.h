/* What host tests and fuzz targets can use beside the code under test. */
#pragma once

#include "lib/types.h"
#include "kernel/timer.h"
#include "vmx/gmem.h"

#define HOST_TSC_HZ UINT64_C(1000000000) /* one tick is one nanosecond in tests */

extern uint64_t host_tsc;
extern struct timer_queue host_timers; /* for timers that are made for no other */

/* The last line given to the log, and how many there were since the start. */
extern char host_log_last[256];
extern unsigned host_log_count;
extern bool host_log_quiet; /* true: not to standard error (fuzz targets) */

/* Winds the clock by `ticks`, firing the queue's timers at their deadlines in order. */
void host_advance(struct timer_queue *queue, uint64_t ticks);

/* Guest memory of `size` bytes (multiple of 2 MiB) at 0, with the legacy hole; freed by host_gmem_free(). */
void host_gmem_init(struct gmem *mem, uint64_t size);
void host_gmem_free(struct gmem *mem);

/* A line that records: level, edges seen. Give irq_line { host_irq_set, &record, pin }. */
struct host_irq {
    bool level;
    unsigned rises, falls, pin;
};
void host_irq_set(void *record, unsigned pin, bool level);
