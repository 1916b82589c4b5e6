/* Whole machines, simulated: 10,000 random mixes of what may run, and each promise of docs/scheduler.md. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "share_sim.h"

#define SLACK 20 /* ms: two slices */

static struct sim sim;

static uint32_t random_weight(struct sim *m)
{
    static const uint32_t usual[] = { 50, 100, 100, 200, 400, 1000 };

    if (sim_random(m, 3))
        return usual[sim_random(m, ARRAY_SIZE(usual))];
    return (uint32_t)(1 + sim_random(m, UINT64_C(1) << (1 + sim_random(m, 13))));
}

/*
 * What an always-busy task without pin should get, as a part of one CPU: weighted max-min fairness. Nobody
 * gets more than his limit; what he leaves goes to the others by weight.
 */
static void water_fill(const struct sim *m, double *ideal)
{
    bool full[SIM_TASKS] = { false };
    double left = m->cpus;

    for (bool again = true; again;) {
        double weights = 0;

        again = false;
        for (unsigned i = 0; i < m->tasks; i++)
            weights += full[i] ? 0 : m->task[i].e.params.weight;
        double level = left / weights;
        for (unsigned i = 0; i < m->tasks; i++) {
            const struct share_params *p = &m->task[i].e.params;
            double limit = p->cap ? p->cap / 100.0 : 1.0;

            if (full[i])
                continue;
            ideal[i] = level * p->weight;
            if (ideal[i] >= limit) {
                ideal[i] = limit;
                full[i] = true;
                again = true;
            }
        }
        left = m->cpus;
        for (unsigned i = 0; i < m->tasks; i++)
            left -= full[i] ? ideal[i] : 0;
    }
}

/*
 * Caps hold in windows, so those with a cap run early in a window and are out later. If then somebody else
 * reaches his limit of one CPU, what is left over goes to the lighter ones, who cannot give it back in the
 * next window: no work-conserving scheduler comes closer. Such mixes have a tolerance of their own.
 */
static bool has_phases(const struct sim *m)
{
    double weights = 0, most = 0;
    bool caps = false;

    for (unsigned i = 0; i < m->tasks; i++) {
        const struct share_params *p = &m->task[i].e.params;

        caps |= p->cap > 0;
        weights += p->cap ? 0 : p->weight;
        most = !p->cap && p->weight > most ? p->weight : most;
    }
    return caps && most * m->cpus > weights;
}

static struct {
    double loose;
    double error, relative, wait;
    uint64_t events, looks;
} worst;

/* Each always-busy task got its share within 2 % of it or one slice, whichever is more. */
static void check_shares(struct sim *m, uint64_t ticks)
{
    double ideal[SIM_TASKS];
    bool loose = has_phases(m);

    water_fill(m, ideal);
    for (unsigned i = 0; i < m->tasks; i++) {
        double want = ideal[i] * (double)ticks, error = (double)m->task[i].got - want;

        error = error < 0 ? -error : error;
        if (loose) {
            worst.loose = error / (double)ticks > worst.loose ? error / (double)ticks : worst.loose;
            continue;
        }
        worst.error = error > worst.error ? error : worst.error;
        if (want > 500 * SIM_MS && error / want > worst.relative)
            worst.relative = error / want;
        if (error > want * 0.02 && error > SLACK * SIM_MS) {
            printf("task %u got %.2f ms instead of %.2f\n", i, (double)m->task[i].got / SIM_MS,
                   want / SIM_MS);
            sim_fail(m, "shares", __LINE__);
        }
    }
}

/* Nobody waits longer than the page says: a slice of his own, paid back by all others, and 30 ms for each of
 * them. */
static void check_waits(struct sim *m)
{
    double weights = 0;
    bool reserved = false;

    for (unsigned i = 0; i < m->tasks; i++) {
        weights += m->task[i].e.params.weight;
        reserved |= m->task[i].e.params.reserve_us > 0;
    }
    for (unsigned i = 0; i < m->tasks; i++) {
        const struct sim_task *t = &m->task[i];
        double bound = 11.0 * weights / t->e.params.weight + 30.0 * m->tasks;
        double wait = (double)t->worst_wait / SIM_MS;

        if (t->e.params.weight == 0)
            continue;
        bound *= reserved ? 20 : 1; /* at least 5 % of each CPU is left */
        worst.wait = wait / bound > worst.wait ? wait / bound : worst.wait;
        if (wait > bound) {
            printf("task %u waited %.2f ms, bound %.2f\n", i, wait, bound);
            sim_fail(m, "waits", __LINE__);
        }
    }
}

static void busy_mix(uint64_t seed, uint64_t ticks)
{
    struct sim *m = &sim;

    sim_init(m, 1 + (unsigned)(seed % SIM_CPUS), seed);
    unsigned tasks = 1 + (unsigned)sim_random(m, SIM_TASKS);
    for (unsigned i = 0; i < tasks; i++) {
        struct share_params p = { .weight = random_weight(m) };

        if (sim_random(m, 4) == 0)
            p.cap = 1 + (uint32_t)sim_random(m, 100);
        assert_non_null(sim_add(m, &p, 0, 0, 0));
    }
    sim_run(m, ticks);
    check_shares(m, ticks);
    check_waits(m);
    worst.events += m->events;
    worst.looks += m->looks;
}

static void report(const char *what)
{
    printf("%s: loose %.3f largest error %.2f ms, %.2f %% of a share; longest wait %.2f of its bound; %llu "
           "events, %llu "
           "looks\n",
           what, worst.loose, worst.error / SIM_MS, worst.relative * 100, worst.wait,
           (unsigned long long)worst.events, (unsigned long long)worst.looks);
    memset(&worst, 0, sizeof(worst));
}

static void busy_ones_get_their_shares(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5000; seed++)
        busy_mix(seed, 500 * SIM_MS);
    report("busy");
}

static void busy_ones_get_their_shares_in_the_long_run(void **state)
{
    (void)state;
    for (uint64_t seed = 100001; seed <= 100040; seed++)
        busy_mix(seed, 20000 * SIM_MS);
    report("busy, long");
}

static struct share_params random_params(struct sim *m)
{
    static const uint32_t periods[] = { 1000, 4000, 5000, 10000, 10000, 20000, 33333, 100000 };
    struct share_params p = { .weight = random_weight(m) };

    if (sim_random(m, 4) == 0)
        p.cap = 1 + (uint32_t)sim_random(m, 100);
    if (sim_random(m, 3) == 0)
        p.pin = sim_random(m, BIT(m->cpus));
    if (sim_random(m, 4) == 0) {
        p.period_us = periods[sim_random(m, ARRAY_SIZE(periods))];
        p.reserve_us = 100 + (uint32_t)sim_random(m, p.period_us * 3 / 4);
        if (sim_random(m, 4) == 0)
            p.weight = 0;
    }
    return p;
}

static void any_mix(uint64_t seed, uint64_t ticks)
{
    struct sim *m = &sim;

    sim_init(m, 1 + (unsigned)(seed % SIM_CPUS), seed);
    unsigned tasks = 1 + (unsigned)sim_random(m, SIM_TASKS);
    for (unsigned i = 0; i < tasks; i++) {
        struct share_params p = random_params(m);
        uint64_t work = SIM_TICKS * (1 + sim_random(m, UINT64_C(1) << (7 + sim_random(m, 9))));
        uint64_t rest = sim_random(m, 2)
                            ? SIM_TICKS * (1 + sim_random(m, UINT64_C(1) << (7 + sim_random(m, 9))))
                            : 0;

        (void)sim_add(m, &p, work, rest, sim_random(m, 2) ? sim_random(m, 50 * SIM_MS) : 0);
    }
    sim_run(m, ticks);
    check_waits(m);
    worst.events += m->events;
    worst.looks += m->looks;
}

static void any_mix_keeps_the_promises(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5000; seed++)
        any_mix(seed, 200 * SIM_MS);
    report("any");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_ones_get_their_shares),
        cmocka_unit_test(busy_ones_get_their_shares_in_the_long_run),
        cmocka_unit_test(any_mix_keeps_the_promises),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
