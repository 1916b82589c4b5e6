/*
 * A machine on which kernel/share.c schedules: a discrete-event simulation with accounts of its own, which is
 * asked after each event whether what docs/scheduler.md promises holds. Interrupts take no time here.
 */
#pragma once

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include "kernel/share.h"

#define SIM_TICKS 100 /* to the microsecond */
#define SIM_MS    (UINT64_C(1000) * SIM_TICKS)
#define SIM_CPUS  8
#define SIM_TASKS 24

#define SIM_MUST(what)                                                                                       \
    do {                                                                                                     \
        if (!(what))                                                                                         \
            sim_fail(m, #what, __LINE__);                                                                    \
    } while (0)

struct sim_task {
    struct share_entity e;   /* first: share_pick() gives its address */
    uint64_t work, rest;     /* mean ticks that it runs, then sleeps; rest 0: always busy */
    uint64_t todo;           /* ticks of CPU until it sleeps */
    uint64_t wakes;          /* at this time; SHARE_NEVER: it is awake */
    uint64_t got;            /* ticks of CPU */
    uint64_t woke, woke_got; /* when it woke, and `got` then */
    uint64_t window_used;    /* in the cap's window that began at `window` */
    uint64_t window;
    uint64_t edited; /* when its cap was changed */
    uint64_t waits;  /* since when; SHARE_NEVER: it does not, or may not run */
    uint64_t worst_wait;
    uint64_t period_end, period_got; /* always-busy reserved ones: periods in a row */
};

struct sim_cpu {
    struct sim_task *runs;       /* as share_pick() said */
    const struct sim_task *live; /* whose state is here */
    uint64_t deadline;
    uint64_t since; /* `runs` is accounted up to here */
    uint64_t away;  /* until then it does something else */
};

struct sim {
    struct share s;
    uint64_t now, seed, events, looks;
    unsigned cpus, tasks;
    bool chaos; /* yields, edits and CPUs that turn to something else in between */
    struct sim_cpu cpu[SIM_CPUS];
    struct sim_task task[SIM_TASKS];
    char what[200];
};

static inline _Noreturn void sim_fail(const struct sim *m, const char *what, int line)
{
    printf("mix %s, %u CPUs, %u tasks, at %llu us: share_sim.h:%d: %s\n", m->what, m->cpus, m->tasks,
           (unsigned long long)(m->now / SIM_TICKS), line, what);
    printf("  idle %llx kicked %llx\n", (unsigned long long)m->s.idle, (unsigned long long)m->s.kicked);
    for (unsigned i = 0; i < m->tasks; i++) {
        const struct sim_task *t = &m->task[i];
        printf(
            "  %u: state %d%s weight %u cap %u pin %llx reserve %u/%u last %u resident %d got %llu us left "
            "%llu\n",
            i, t->e.state, t->e.blocked ? " blocked" : "", t->e.params.weight, t->e.params.cap,
            (unsigned long long)t->e.allowed, t->e.params.reserve_us, t->e.params.period_us, t->e.last,
            t->e.resident, (unsigned long long)(t->got / SIM_TICKS), (unsigned long long)t->e.left);
    }
    fflush(stdout);
    abort();
}

static inline uint64_t sim_random(struct sim *m, uint64_t below)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return (m->seed * UINT64_C(0x2545f4914f6cdd1d) >> 20) % below;
}

static inline uint64_t sim_around(struct sim *m, uint64_t mean)
{
    return mean / 2 + sim_random(m, mean + 1) + 1;
}

static inline void sim_init(struct sim *m, unsigned cpus, uint64_t seed)
{
    *m = (struct sim){ .cpus = cpus, .seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };
    m->now = 1000 * SIM_MS + sim_random(m, 100 * SIM_MS);
    share_init(&m->s, BIT(cpus) - 1, SIM_TICKS);
    for (unsigned i = 0; i < cpus; i++)
        m->cpu[i].deadline = m->now;
    snprintf(m->what, sizeof(m->what), "%llu", (unsigned long long)seed);
}

/* Adds one that is asleep until `wakes` from now. NULL: not admitted. */
static inline struct sim_task *sim_add(struct sim *m, const struct share_params *params, uint64_t work,
                                       uint64_t rest, uint64_t wakes)
{
    struct sim_task *t = &m->task[m->tasks];

    *t = (struct sim_task){ .work = work, .rest = rest, .todo = SHARE_NEVER, .wakes = m->now + wakes };
    t->waits = SHARE_NEVER;
    if (share_add(&m->s, &t->e, params, m->now) != SHARE_OK)
        return NULL;
    m->tasks++;
    return t;
}

static inline bool sim_may(const struct sim_task *t)
{
    return t->e.state == SHARE_WAITING && !t->e.blocked;
}

/* It ran so long in the cap's window that begins there. A cap never cuts into a reservation. */
static inline void sim_window(struct sim *m, struct sim_task *t, uint64_t window, uint64_t ran)
{
    if (window != t->window)
        t->window_used = 0;
    t->window = window;
    t->window_used += ran;
    if (t->e.params.cap && t->e.params.reserve_us == 0 && window >= t->edited)
        SIM_MUST(t->window_used <= t->e.params.cap * SIM_MS / 10);
}

/* The simulator's own account of what ran on the CPU. */
static inline void sim_account(struct sim *m, unsigned cpu)
{
    struct sim_task *t = m->cpu[cpu].runs;
    uint64_t ran = m->now - m->cpu[cpu].since;

    m->cpu[cpu].since = m->now;
    if (!t || ran == 0)
        return;
    t->got += ran;
    t->period_got += ran;
    if (t->todo != SHARE_NEVER)
        t->todo -= ran;
    for (uint64_t at = m->now - ran, part; at < m->now; at += part) {
        uint64_t window = at - at % (10 * SIM_MS);

        part = min_u64(m->now, window + 10 * SIM_MS) - at;
        sim_window(m, t, window, part);
    }
}

/* An always-busy one has had its budget in each of the periods that began when it woke; others in all but
 * two. */
static inline void sim_periods(struct sim *m, struct sim_task *t)
{
    uint64_t period = t->e.params.period_us * (uint64_t)SIM_TICKS,
             budget = t->e.params.reserve_us * (uint64_t)SIM_TICKS;

    if (t->e.params.reserve_us == 0 || t->e.state == SHARE_SLEEPING)
        return;
    SIM_MUST(t->e.missed == 0);
    if (t->rest) {
        uint64_t periods = (m->now - t->woke) / period;
        SIM_MUST(periods < 2 || t->got - t->woke_got >= (periods - 1) * budget);
        return;
    }
    while (m->now >= t->period_end) {
        SIM_MUST(t->period_got >= budget);
        t->period_end += period;
        t->period_got = 0;
    }
}

static inline void sim_look(struct sim *m, unsigned cpu)
{
    struct sim_cpu *c = &m->cpu[cpu];
    struct sim_task *next;

    m->looks++;
    next = (struct sim_task *)share_pick(&m->s, cpu, m->now);
    c->deadline = share_deadline(&m->s, cpu, m->now);
    SIM_MUST(c->deadline > m->now);
    if (c->live && share_resident(&m->s, cpu) != &c->live->e)
        c->live = NULL; /* put away */
    SIM_MUST(!next || next->e.state == SHARE_RUNNING);
    SIM_MUST(!next || (next->e.allowed >> cpu & 1));
    for (unsigned i = 0; next && i < m->cpus; i++)
        SIM_MUST(i == cpu || m->cpu[i].live != next); /* its state is in another CPU */
    if (next)
        c->live = next;
    c->runs = next;
}

/* Something else happens on a CPU, or to one that has no reservation. */
static inline void sim_chaos(struct sim *m)
{
    unsigned cpu = (unsigned)sim_random(m, m->cpus);
    struct sim_task *t = m->tasks ? &m->task[sim_random(m, m->tasks)] : NULL;
    struct share_params p;

    switch (t ? sim_random(m, 40) : 0) {
    case 1:
        if (m->s.cpu[cpu].booked || m->cpu[cpu].away > m->now)
            return;
        share_leave(&m->s, cpu, m->now);
        m->cpu[cpu].live = NULL;
        m->cpu[cpu].runs = NULL;
        m->cpu[cpu].away = m->cpu[cpu].deadline = m->now + 1 + sim_random(m, SIM_MS / 5);
        return;
    case 2:
        share_yield(&m->s, cpu, &t->e);
        break;
    case 3:
        share_yield(&m->s, cpu, NULL);
        break;
    case 4:
        p = t->e.params;
        if (p.reserve_us)
            return;
        if (sim_random(m, 3) == 0)
            p.weight = 1 + (uint32_t)sim_random(m, 1000);
        if (sim_random(m, 3) == 0)
            p.cap = (uint32_t)sim_random(m, 101);
        if (sim_random(m, 3) == 0)
            p.pin = sim_random(m, BIT(m->cpus));
        SIM_MUST(share_edit(&m->s, &t->e, &p, m->now) == SHARE_OK);
        t->edited = m->now;
        return;
    default:
        return;
    }
    if (m->cpu[cpu].away <= m->now)
        sim_look(m, cpu);
}

static inline void sim_kicks(struct sim *m)
{
    uint64_t kicks;

    while ((kicks = share_kicks(&m->s)) != 0)
        for (; kicks; kicks &= kicks - 1)
            if (m->cpu[__builtin_ctzll(kicks)].away <= m->now)
                sim_look(m, (unsigned)__builtin_ctzll(kicks));
}

static inline void sim_sleep_wake(struct sim *m, struct sim_task *t)
{
    if (t->wakes <= m->now) {
        t->wakes = SHARE_NEVER;
        t->woke = m->now;
        t->woke_got = t->got;
        t->todo = t->rest ? sim_around(m, t->work) : SHARE_NEVER;
        t->period_end = m->now + t->e.params.period_us * (uint64_t)SIM_TICKS;
        t->period_got = 0;
        share_wake(&m->s, &t->e, m->now);
    } else if (t->todo == 0) {
        unsigned cpu = t->e.last;

        SIM_MUST(t->e.state == SHARE_RUNNING && m->cpu[cpu].runs == t);
        t->todo = SHARE_NEVER;
        t->wakes = m->now + sim_around(m, t->rest);
        share_sleep(&m->s, &t->e, m->now);
        m->cpu[cpu].runs = NULL;
        if (sim_random(m, 4) == 0)
            sim_kicks(m); /* others may look before this CPU does */
        sim_look(m, cpu);
    }
}

/* What has to hold between events, when all who were asked have looked. */
static inline void sim_check(struct sim *m)
{
    for (unsigned i = 0; i < m->tasks; i++) {
        struct sim_task *t = &m->task[i];

        for (unsigned cpu = 0; sim_may(t) && cpu < m->cpus; cpu++)
            SIM_MUST(!(t->e.allowed >> cpu & 1) || m->cpu[cpu].runs ||
                     m->cpu[cpu].away > m->now); /* nobody waits for an idle CPU */
        if (t->waits == SHARE_NEVER && sim_may(t))
            t->waits = m->now;
        if (t->waits != SHARE_NEVER) {
            if (m->now - t->waits > t->worst_wait)
                t->worst_wait = m->now - t->waits;
            if (!sim_may(t))
                t->waits = SHARE_NEVER;
        }
    }
    for (unsigned cpu = 0; cpu < m->cpus; cpu++)
        SIM_MUST(m->cpu[cpu].runs == (struct sim_task *)m->s.cpu[cpu].current);
}

static inline uint64_t sim_next(const struct sim *m)
{
    uint64_t at = SHARE_NEVER;

    for (unsigned cpu = 0; cpu < m->cpus; cpu++) {
        const struct sim_cpu *c = &m->cpu[cpu];

        at = min_u64(at, c->deadline);
        if (c->runs && c->runs->todo != SHARE_NEVER)
            at = min_u64(at, c->since + c->runs->todo);
    }
    for (unsigned i = 0; i < m->tasks; i++)
        at = min_u64(at, m->task[i].wakes);
    return at;
}

static inline void sim_run(struct sim *m, uint64_t ticks)
{
    uint64_t end = m->now + ticks;

    for (;;) {
        uint64_t at = sim_next(m);

        m->now = at < end ? at : end;
        m->events++;
        for (unsigned cpu = 0; cpu < m->cpus; cpu++)
            sim_account(m, cpu);
        for (unsigned i = 0; i < m->tasks; i++)
            sim_periods(m, &m->task[i]);
        if (m->now == end)
            return;
        for (unsigned i = 0; i < m->tasks; i++)
            sim_sleep_wake(m, &m->task[i]);
        for (unsigned cpu = 0; cpu < m->cpus; cpu++)
            if (m->cpu[cpu].deadline <= m->now)
                sim_look(m, cpu);
        if (m->chaos)
            sim_chaos(m);
        sim_kicks(m);
        sim_check(m);
    }
}
