#include "kernel/share.h"

static enum share_verdict check(const struct share *s, const struct share_params *p)
{
    if (p->weight > SHARE_MAX_WEIGHT || (p->weight == 0 && p->reserve_us == 0))
        return SHARE_BAD_WEIGHT;
    if (p->cap > 100)
        return SHARE_BAD_CAP;
    if (p->pin && !(p->pin & s->online))
        return SHARE_BAD_PIN;
    if (p->reserve_us == 0)
        return SHARE_OK;
    if (p->period_us < SHARE_MIN_PERIOD_US || p->period_us > SHARE_MAX_PERIOD_US ||
        p->reserve_us < SHARE_MIN_RESERVE_US ||
        p->reserve_us > (uint64_t)p->period_us * SHARE_MAX_BOOKED / 1000000)
        return SHARE_BAD_RESERVE;
    if (p->cap && (uint64_t)p->reserve_us * 100 > (uint64_t)p->period_us * p->cap)
        return SHARE_CAP_TOO_LOW;
    return SHARE_OK;
}

/* The first CPU of the mask that has room for `booked` millionths once `e` has given back its own; else
 * SHARE_NO_CPU. */
static int find_home(const struct share *s, const struct share_entity *e, uint64_t mask, uint32_t booked)
{
    for (; mask; mask &= mask - 1) {
        unsigned cpu = (unsigned)__builtin_ctzll(mask);
        uint32_t own = e->booked && (e->allowed >> cpu & 1) ? e->booked : 0;

        if (s->cpu[cpu].booked - own + booked <= SHARE_MAX_BOOKED)
            return (int)cpu;
    }
    return SHARE_NO_CPU;
}

void share_unbook(struct share *s, struct share_entity *e)
{
    if (e->booked)
        s->cpu[__builtin_ctzll(e->allowed)].booked -= e->booked;
    e->booked = 0;
}

static void set_reserve(const struct share *s, struct share_entity *e, const struct share_params *p)
{
    uint64_t reserve = p->reserve_us * s->ticks_per_us,
             period = p->reserve_us ? p->period_us * s->ticks_per_us : 0;

    if (e->reserve == reserve && e->period == period)
        return;
    e->reserve = reserve;
    e->period = period;
    e->left = 0;
    e->deadline = 0; /* a period starts when it next runs */
}

enum share_verdict share_admit(struct share *s, struct share_entity *e, const struct share_params *p)
{
    uint64_t mask = p->pin ? p->pin & s->online : s->online;
    uint32_t booked = 0;
    int home;
    enum share_verdict verdict = check(s, p);

    if (verdict != SHARE_OK)
        return verdict;
    if (p->reserve_us) {
        booked = (uint32_t)(((uint64_t)p->reserve_us * 1000000 + p->period_us - 1) / p->period_us);
        home = find_home(s, e, mask, booked);
        if (home == SHARE_NO_CPU)
            return SHARE_NO_ROOM;
        mask = BIT((unsigned)home);
    }
    share_unbook(s, e);
    e->booked = booked;
    e->allowed = mask;
    if (booked)
        s->cpu[__builtin_ctzll(mask)].booked += booked;
    e->params = *p;
    e->inverse = p->weight ? (SHARE_WEIGHT << 20) / p->weight : 0;
    e->grain = (SHARE_GRAIN_US * s->ticks_per_us * e->inverse) >> 20;
    e->cap = SHARE_WINDOW_US * s->ticks_per_us * p->cap / 100;
    e->special = p->cap || p->reserve_us;
    e->bound = e->special || (mask & (mask - 1)) ? 0 : mask;
    set_reserve(s, e, p);
    return SHARE_OK;
}

const char *share_verdict_text(enum share_verdict verdict)
{
    static const char *const text[] = {
        [SHARE_OK] = "it fits",
        [SHARE_FULL] = "there are too many vCPUs already",
        [SHARE_BAD_WEIGHT] = "the weight is not 1 to 10000",
        [SHARE_BAD_CAP] = "the cap is above 100 percent",
        [SHARE_BAD_PIN] = "none of the CPUs that it is pinned to is there",
        [SHARE_BAD_RESERVE] = "the reservation is not 100 us to 95 % of a period of 1 ms to 1 s",
        [SHARE_CAP_TOO_LOW] = "the cap is below what is reserved",
        [SHARE_NO_ROOM] = "no CPU that it may use has so much left to reserve",
    };

    return text[verdict];
}
