/* The timer of a virtual local APIC. A count is kept as the time at which it reaches 0. */
#include "devices/vlapic_timer.h"
#include "devices/vlapic.h"

static uint32_t mode(const struct vlapic *lapic)
{
    return lapic->state.lvt[VLAPIC_TIMER] & APIC_LVT_TIMER_MODE;
}

static uint64_t period_ns(const struct vlapic *lapic)
{
    uint64_t ns = (uint64_t)lapic->state.initial_count << apic_divide_shift(lapic->state.divide);

    return mode(lapic) == APIC_LVT_TIMER_PERIODIC ? max_u64(ns, VLAPIC_MIN_PERIOD_NS) : ns;
}

static void expire(struct vlapic *lapic)
{
    uint32_t lvt = lapic->state.lvt[VLAPIC_TIMER];

    if (!(lvt & APIC_LVT_MASKED))
        vlapic_request(lapic, (uint8_t)lvt, false);
}

/* Brings the state up to now: a deadline that has passed has its effect, also if the host timer is late. */
static void catch_up(struct vlapic *lapic)
{
    struct vlapic_state *state = &lapic->state;
    const struct vclock *clock = lapic->timer.clock;

    if (state->tsc_deadline && vclock_tsc(clock) >= state->tsc_deadline) {
        state->tsc_deadline = 0;
        expire(lapic);
    }
    if (state->timer_deadline) {
        uint64_t now = vclock_ns(clock);

        if (now < state->timer_deadline)
            return;
        /* Missed periods are skipped, and the next deadline stays on the grid of the first: no drift. */
        if (mode(lapic) == APIC_LVT_TIMER_PERIODIC) {
            uint64_t period = period_ns(lapic);

            state->timer_deadline += ((now - state->timer_deadline) / period + 1) * period;
        } else {
            state->timer_deadline = 0;
        }
        expire(lapic);
    }
}

void vlapic_timer_rearm(struct vlapic *lapic)
{
    const struct vlapic_state *state = &lapic->state;

    if (state->lvt[VLAPIC_TIMER] & APIC_LVT_MASKED)
        vtimer_cancel(&lapic->timer);
    else if (state->tsc_deadline)
        vtimer_arm_tsc(&lapic->timer, state->tsc_deadline);
    else if (state->timer_deadline)
        vtimer_arm(&lapic->timer, state->timer_deadline);
    else
        vtimer_cancel(&lapic->timer);
}

static __attribute__((noinline)) void other_due(struct vlapic *lapic)
{
    catch_up(lapic);
    vlapic_timer_rearm(lapic);
}

void vlapic_timer_due(struct vlapic *lapic)
{
    struct vlapic_state *state = &lapic->state;

    /* What other_due() does for it: it is the timer that systems use. */
    if (likely(state->tsc_deadline && !vtimer_armed(&lapic->timer) &&
               vclock_tsc(lapic->timer.clock) >= state->tsc_deadline)) {
        state->tsc_deadline = 0;
        expire(lapic);
    } else {
        other_due(lapic);
    }
}

/* The devices' lock is not for this one. */
static void fire(struct timer *host)
{
    struct vlapic *lapic = container_of(host, struct vlapic, timer.host);

    if (likely(lapic->up->timer))
        lapic->up->timer(lapic->vcpu);
    else
        vlapic_timer_due(lapic);
}

void vlapic_timer_init(struct vlapic *lapic, const struct vclock *clock, struct timer_queue *queue)
{
    timer_init(&lapic->timer.host, queue, fire);
    lapic->timer.clock = clock;
}

uint32_t vlapic_timer_current(struct vlapic *lapic)
{
    const struct vlapic_state *state = &lapic->state;
    unsigned shift = apic_divide_shift(state->divide);
    uint64_t left;

    catch_up(lapic);
    if (!state->timer_deadline)
        return 0;
    left = state->timer_deadline - min_u64(vclock_ns(lapic->timer.clock), state->timer_deadline);
    /* Rounded up: 0 only when it has expired. A stretched period shows the full count for longer. */
    return (uint32_t)min_u64((left + BIT(shift) - 1) >> shift, state->initial_count);
}

void vlapic_timer_write_initial(struct vlapic *lapic, uint32_t count)
{
    struct vlapic_state *state = &lapic->state;

    if (mode(lapic) == APIC_LVT_TIMER_DEADLINE)
        return; /* SDM 11.5.4.1 */
    catch_up(lapic);
    state->initial_count = count;
    state->timer_deadline = count ? vclock_ns(lapic->timer.clock) + period_ns(lapic) : 0;
    vlapic_timer_rearm(lapic);
}

/* A running count goes on from where it is, at the new rate. */
void vlapic_timer_write_divide(struct vlapic *lapic, uint32_t divide)
{
    struct vlapic_state *state = &lapic->state;
    uint64_t count = vlapic_timer_current(lapic);

    state->divide = divide;
    if (state->timer_deadline) {
        state->timer_deadline = vclock_ns(lapic->timer.clock) + (count << apic_divide_shift(divide));
        vlapic_timer_rearm(lapic);
    }
}

void vlapic_timer_write_lvt(struct vlapic *lapic, uint32_t lvt)
{
    struct vlapic_state *state = &lapic->state;
    uint32_t change = lvt ^ state->lvt[VLAPIC_TIMER];

    catch_up(lapic);
    state->lvt[VLAPIC_TIMER] = lvt;
    /*
     * SDM 11.5.4.1: a change of mode disarms the timer. Between one-shot and periodic that is not done, as
     * older CPUs and AMD's (APM 16.4.1) go on counting and there are guests that write the count before the
     * mode.
     */
    if (change & APIC_LVT_TIMER_DEADLINE) {
        state->tsc_deadline = 0;
        state->timer_deadline = 0;
    }
    vlapic_timer_rearm(lapic);
}

uint64_t vlapic_timer_read_deadline(struct vlapic *lapic)
{
    catch_up(lapic);
    return lapic->state.tsc_deadline;
}

void vlapic_timer_write_deadline(struct vlapic *lapic, uint64_t guest_tsc)
{
    uint32_t lvt = lapic->state.lvt[VLAPIC_TIMER] & (APIC_LVT_TIMER_MODE | APIC_LVT_MASKED);

    if (likely(lvt == APIC_LVT_TIMER_DEADLINE && guest_tsc)) {
        lapic->state.tsc_deadline = guest_tsc;
        vtimer_arm_tsc(&lapic->timer, guest_tsc);
    } else if ((lvt & APIC_LVT_TIMER_MODE) == APIC_LVT_TIMER_DEADLINE) {
        lapic->state.tsc_deadline = guest_tsc;
        vlapic_timer_rearm(lapic);
    }
}
