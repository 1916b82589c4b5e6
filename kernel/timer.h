/*
 * One-shot timers in host TSC ticks. Each CPU has one queue, sorted by deadline; the CPU programs its
 * hardware timer with timer_queue_next() before it enters a guest or halts, and calls timer_queue_run()
 * when the interrupt comes. Compiles on the host.
 *
 * A timer is armed on the CPU that arms it, which so sees the new deadline itself; one that is armed
 * elsewhere moves. Its owner, who calls timer_arm() and timer_cancel(), is one CPU at a time (the holder of
 * the lock of what the timer belongs to). Another CPU may be firing it at that moment: fire() can come once
 * after timer_cancel() has returned, if that was called on another CPU than fire() is.
 */
#pragma once

#include "lib/types.h"
#include "kernel/lock.h"

#define TIMER_NEVER UINT64_MAX

struct timer {
    uint64_t deadline;         /* host TSC; TIMER_NEVER while not armed */
    struct timer_queue *queue; /* where it is armed, or was last */
    struct timer *next, *prev;
    void (*fire)(struct timer *timer);
};

/* The lock is for the list; nothing else is taken under it. fire() is called without it. */
struct timer_queue {
    struct lock lock;
    struct timer *first;
    uint64_t next;  /* deadline of `first`, TIMER_NEVER when empty; read on every guest entry */
    uint64_t floor; /* the earliest deadline that timer_arm() gives: now + 1 during a run, else 0 */
};

void timer_queue_init(struct timer_queue *queue);
void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(struct timer *));

/*
 * Arms, or moves an armed timer. A deadline in the past fires at the next timer_queue_run(); equal deadlines
 * fire in the order in which they were armed; TIMER_NEVER cancels.
 */
void timer_arm(struct timer *timer, uint64_t deadline);

/* Does nothing to a timer that is not armed. */
void timer_cancel(struct timer *timer);

static inline bool timer_armed(const struct timer *timer)
{
    return timer->deadline != TIMER_NEVER;
}

static inline uint64_t timer_queue_next(const struct timer_queue *queue)
{
    return queue->next;
}

/*
 * Fires, in order of deadline, every timer whose deadline is at or before `now` < TIMER_NEVER. A fired timer
 * is no longer armed when fire() is called and may arm itself again; one that a fire() arms at or before
 * `now` waits for the next run, so that a run is bounded. fire() may arm and cancel any timer of the queue,
 * but not run it.
 */
void timer_queue_run(struct timer_queue *queue, uint64_t now);
