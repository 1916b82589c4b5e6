/* A guest's time. The maths needs products of 128 bits but no quotients of that size, which would need a
 * library call. */
#include "vmx/vclock.h"

#define FIXED_SHIFT 32

typedef unsigned __int128 uint128_t;

void vclock_init(struct vclock *clock, uint64_t tsc_hz)
{
    clock->origin = tsc_now();
    clock->tsc_hz = tsc_hz;
    clock->ns_per_tick = (NS_PER_S << FIXED_SHIFT) / tsc_hz;
    clock->ticks_per_ns = UINT64_MAX / clock->ns_per_tick;
}

/*
 * The inverse of vclock_ns_of_tsc(). A single multiplication would be off by microseconds after days, as
 * ticks_per_ns has 32 to 40 significant bits: so what the estimate leaves is converted again until it is too
 * little for that. Every estimate is rounded down, so it never passes the target.
 */
uint64_t vclock_tsc_of_ns(const struct vclock *clock, uint64_t ns)
{
    uint128_t target = (uint128_t)ns << FIXED_SHIFT, left = target, step;
    uint64_t tsc = 0;

    if (ns > INT64_MAX || ((uint128_t)ns * clock->ticks_per_ns) >> FIXED_SHIFT > INT64_MAX)
        return TIMER_NEVER;
    for (;;) {
        step = (left >> FIXED_SHIFT) * clock->ticks_per_ns >> FIXED_SHIFT;
        if (step == 0)
            return tsc + ((uint64_t)left + clock->ns_per_tick - 1) / clock->ns_per_tick;
        tsc += (uint64_t)step;
        left = target - (uint128_t)tsc * clock->ns_per_tick;
    }
}

static void vtimer_fire(struct timer *host)
{
    struct vtimer *timer = container_of(host, struct vtimer, host);

    if (!timer->lock) {
        timer->fire(timer->device);
        return;
    }
    lock_take(timer->lock);
    timer->fire(timer->device);
    lock_release(timer->lock);
}

void vtimer_init(struct vtimer *timer, const struct vclock *clock, struct timer_queue *queue,
                 void (*fire)(void *device), void *device)
{
    timer_init(&timer->host, queue, vtimer_fire);
    timer->clock = clock;
    timer->lock = clock->lock;
    timer->fire = fire;
    timer->device = device;
}

/*
 * Compared in guest time, because a restored clock's origin may lie before the host's TSC 0, that is, be
 * negative: then a deadline in the past may have no host time.
 */
void vtimer_arm_tsc(struct vtimer *timer, uint64_t guest_tsc)
{
    uint64_t origin = timer->clock->origin, now = tsc_now();
    uint64_t deadline = guest_tsc + origin;

    if (guest_tsc <= now - origin)
        deadline = now;
    else if (unlikely(deadline < now))
        deadline = TIMER_NEVER; /* it wrapped */
    timer_arm(&timer->host, deadline);
}

void vtimer_arm(struct vtimer *timer, uint64_t deadline_ns)
{
    uint64_t guest_tsc = vclock_tsc_of_ns(timer->clock, deadline_ns);

    if (guest_tsc == TIMER_NEVER)
        vtimer_cancel(timer);
    else
        vtimer_arm_tsc(timer, guest_tsc);
}
