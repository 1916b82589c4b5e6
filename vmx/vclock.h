/*
 * A guest's time: nanoseconds since the VM was started, and its TSC. Device models know no other time, so
 * that they can be saved, moved to another machine and tested with a clock that the test winds.
 */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/tsc.h"
#include "kernel/timer.h"

struct vclock {
    uint64_t origin;       /* host TSC at guest time 0; guest TSC = host TSC - origin */
    uint64_t tsc_hz;       /* frequency of both TSCs */
    uint64_t ns_per_tick;  /* 32.32 fixed point; this one defines the guest's nanoseconds */
    struct lock *lock;     /* held while a timer by this clock fires; NULL: none */
    uint64_t ticks_per_ns; /* 32.32 fixed point, the inverse of ns_per_tick rounded down: a first estimate */
};

/* Guest time 0 is now; `lock` stays. tsc_hz: 1 MHz to 100 GHz. */
void vclock_init(struct vclock *clock, uint64_t tsc_hz);

static inline uint64_t vclock_tsc(const struct vclock *clock)
{
    return tsc_now() - clock->origin;
}

static inline uint64_t vclock_ns_of_tsc(const struct vclock *clock, uint64_t guest_tsc)
{
    return (uint64_t)(((unsigned __int128)guest_tsc * clock->ns_per_tick) >> 32);
}

/* Nanoseconds of guest time, never going backwards. */
static inline uint64_t vclock_ns(const struct vclock *clock)
{
    return vclock_ns_of_tsc(clock, vclock_tsc(clock));
}

/*
 * The first guest TSC at which vclock_ns_of_tsc() has reached `ns`; TIMER_NEVER when that is out of range
 * (from 2^63 ticks or nanoseconds on: 92 years of a TSC of 3.2 GHz).
 */
uint64_t vclock_tsc_of_ns(const struct vclock *clock, uint64_t ns);

#define NS_PER_S UINT64_C(1000000000)

/* How often a counter of `hz` (at most 1 GHz; best a constant) has ticked since guest time 0. Exact. */
static inline uint64_t vclock_ticks(uint64_t ns, uint32_t hz)
{
    return ns / NS_PER_S * hz + ns % NS_PER_S * hz / NS_PER_S;
}

/* The first ns at which vclock_ticks() has reached `ticks`; UINT64_MAX when that is out of range. */
static inline uint64_t vclock_ns_of_ticks(uint64_t ticks, uint32_t hz)
{
    uint64_t seconds = ticks / hz;

    if (seconds >= UINT64_MAX / NS_PER_S)
        return UINT64_MAX;
    return seconds * NS_PER_S + (ticks % hz * NS_PER_S + hz - 1) / hz;
}

/*
 * A device's one-shot timer, in guest time. It never fires early. fire() gets the `device` pointer.
 * Saved state holds the deadline in ns, never the timer itself.
 */
struct vtimer {
    struct timer host;
    const struct vclock *clock;
    struct lock *lock; /* the clock's; its owner may take it away again */
    void (*fire)(void *device);
    void *device;
};

void vtimer_init(struct vtimer *timer, const struct vclock *clock, struct timer_queue *queue,
                 void (*fire)(void *device), void *device);

/*
 * Arms, or moves an armed timer. A deadline in the past fires at the next run of the queue, one that is out
 * of range never. On the CPU that owns the queue.
 */
void vtimer_arm(struct vtimer *timer, uint64_t deadline_ns);   /* guest ns */
void vtimer_arm_tsc(struct vtimer *timer, uint64_t guest_tsc); /* guest TSC ticks */

static inline void vtimer_cancel(struct vtimer *timer)
{
    timer_cancel(&timer->host);
}

static inline bool vtimer_armed(const struct vtimer *timer)
{
    return timer_armed(&timer->host);
}
