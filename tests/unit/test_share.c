/* Whole machines, simulated: 10,000 random mixes of what may run, and each promise of docs/scheduler.md. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "share_sim.h"

#define SLACK 30  /* ms: three turns, at the start when all begin at once */
#define LOOSE 0.1 /* of a CPU: for mixes with phases */

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
    unsigned phases, loose; /* mixes with phases; those of them that were far off */
    double error, relative, wait;
    uint64_t events, looks;
} worst;

/* Each always-busy task got its share within 2 % of it or a few turns, whichever is more. */
static void check_shares(struct sim *m, uint64_t ticks)
{
    double ideal[SIM_TASKS];
    bool phases = has_phases(m), far = false;

    water_fill(m, ideal);
    for (unsigned i = 0; i < m->tasks; i++) {
        double want = ideal[i] * (double)ticks, error = (double)m->task[i].got - want;

        error = error < 0 ? -error : error;
        if (phases) {
            far = far || error > LOOSE * (double)ticks;
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
    worst.phases += phases;
    worst.loose += far;
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

        if ((seed / SIM_CPUS & 1) && sim_random(m, 4) == 0)
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
    printf("%s: %u of %u mixes with phases far off; largest error %.2f ms, %.2f %% of a share; longest wait "
           "%.2f of its bound; %llu "
           "events, %llu "
           "looks\n",
           what, worst.loose, worst.phases, worst.error / SIM_MS, worst.relative * 100, worst.wait,
           (unsigned long long)worst.events, (unsigned long long)worst.looks);
    memset(&worst, 0, sizeof(worst));
}

static void busy_ones_get_their_shares(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5000; seed++)
        busy_mix(seed, 500 * SIM_MS);
    assert_true(worst.phases > 1000 && worst.loose * 100 < worst.phases * 6);
    report("busy");
}

static void busy_ones_get_their_shares_in_the_long_run(void **state)
{
    (void)state;
    for (uint64_t seed = 100001; seed <= 100064; seed++)
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

static void any_mix(uint64_t seed, bool chaos, uint64_t ticks)
{
    struct sim *m = &sim;

    sim_init(m, 1 + (unsigned)(seed % SIM_CPUS), seed);
    m->chaos = chaos;
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
    if (!chaos)
        check_waits(m);
    worst.events += m->events;
    worst.looks += m->looks;
}

static void any_mix_keeps_the_promises(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4000; seed++)
        any_mix(seed, false, 200 * SIM_MS);
    report("any");
}

static void so_it_does_when_much_else_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++)
        any_mix(seed, true, 200 * SIM_MS);
    report("chaos");
}

static struct sim_task *add(const struct share_params *p, uint64_t work, uint64_t rest)
{
    struct sim_task *t = sim_add(&sim, p, work, rest, 0);

    assert_non_null(t);
    return t;
}

/* One that uses less than its share runs at once when it wakes, but for times when all others are owed more.
 */
static void a_light_sleeper_runs_at_once(void **state)
{
    uint64_t wakes = 0, waited = 0, longest = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        sim_init(&sim, 1 + (unsigned)seed % 4, seed);
        for (unsigned i = 0; i < 8; i++)
            add(&(struct share_params){ .weight = random_weight(&sim) }, 0, 0);
        struct sim_task *t = add(&(struct share_params){ .weight = 400 }, SIM_MS / 10, 20 * SIM_MS);
        sim_run(&sim, 1000 * SIM_MS);
        wakes += t->e.turns;
        waited += t->e.waited;
        longest = max_u64(longest, t->worst_wait);
    }
    printf("sleepers: %u turns, waited %u us on average, %u us at most\n", (unsigned)wakes,
           (unsigned)(waited / wakes / SIM_TICKS), (unsigned)(longest / SIM_TICKS));
    assert_true(wakes > 5000 && waited / wakes < SIM_MS / 5 && longest <= 30 * SIM_MS);
}

/* Shares cannot disturb a reservation, nor does it take more than it has reserved. */
static void a_reservation_is_exact(void **state)
{
    (void)state;
    sim_init(&sim, 1, 1);
    add(&(struct share_params){ .weight = 10000 }, 0, 0);
    struct sim_task *t = add(&(struct share_params){ .reserve_us = 2000, .period_us = 10000 }, 0, 0);
    sim_run(&sim, 1000 * SIM_MS);
    assert_true(t->got == 200 * SIM_MS && t->e.missed == 0);
    assert_true(t->e.ran == t->got && share_waited(&t->e, sim.now) == 800 * SIM_MS);
}

static void reservations_get_a_home_with_room(void **state)
{
    static struct share s;
    static struct share_entity e[6];
    struct share_params half = { .weight = 100, .reserve_us = 5000, .period_us = 10000 };
    struct share_params third = { .weight = 100, .reserve_us = 3000, .period_us = 9000 };

    (void)state;
    share_init(&s, 3, SIM_TICKS);
    assert_int_equal(share_add(&s, &e[0], &half, 0), SHARE_OK);
    assert_int_equal(share_add(&s, &e[1], &half, 0), SHARE_OK); /* with the first it would be 100 % */
    assert_int_equal(share_add(&s, &e[2], &third, 0), SHARE_OK);
    assert_int_equal(share_add(&s, &e[3], &half, 0), SHARE_NO_ROOM);
    assert_true(e[0].allowed == 1 && e[1].allowed == 2 && e[2].allowed == 1);
    assert_int_equal(s.entities, 3);
    half.pin = 2;
    assert_int_equal(share_edit(&s, &e[0], &half, 0), SHARE_NO_ROOM);
    assert_true(e[0].allowed == 1 && s.cpu[0].booked == 833334 && s.cpu[1].booked == 500000);
    half.reserve_us = 4000;
    assert_int_equal(share_edit(&s, &e[1], &half, 0), SHARE_OK); /* its own half counts no more */
    share_remove(&s, &e[1], 0);
    assert_int_equal(share_edit(&s, &e[0], &half, 0), SHARE_OK);
    assert_true(e[0].allowed == 2 && s.cpu[0].booked == 333334 && s.cpu[1].booked == 400000);
}

static void wrong_parameters_are_refused(void **state)
{
    static const struct {
        struct share_params p;
        enum share_verdict verdict;
    } cases[] = {
        { { .weight = 0 }, SHARE_BAD_WEIGHT },
        { { .weight = 10001 }, SHARE_BAD_WEIGHT },
        { { .weight = 100, .cap = 101 }, SHARE_BAD_CAP },
        { { .weight = 100, .pin = 12 }, SHARE_BAD_PIN },
        { { .weight = 100, .reserve_us = 100, .period_us = 999 }, SHARE_BAD_RESERVE },
        { { .weight = 100, .reserve_us = 100, .period_us = 1000001 }, SHARE_BAD_RESERVE },
        { { .weight = 100, .reserve_us = 99, .period_us = 1000 }, SHARE_BAD_RESERVE },
        { { .weight = 100, .reserve_us = 951, .period_us = 1000 }, SHARE_BAD_RESERVE },
        { { .weight = 100, .cap = 19, .reserve_us = 2000, .period_us = 10000 }, SHARE_CAP_TOO_LOW },
        { { .weight = 0, .cap = 20, .reserve_us = 2000, .period_us = 10000 }, SHARE_OK },
    };
    static struct share s;
    static struct share_entity e;

    (void)state;
    share_init(&s, 3, SIM_TICKS);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(share_add(&s, &e, &cases[i].p, 0), cases[i].verdict);
        assert_true(strlen(share_verdict_text(cases[i].verdict)) > 5);
    }
}

/* What slept on an idle CPU, and may not use it any more, starts elsewhere when that CPU has put it away. */
static void state_leaves_its_cpu_before_it_moves(void **state)
{
    static struct share s;
    static struct share_entity e;
    struct share_params p = { .weight = 100, .pin = 1 };

    (void)state;
    share_init(&s, 3, SIM_TICKS);
    assert_int_equal(share_add(&s, &e, &p, 0), SHARE_OK);
    assert_null(share_pick(&s, 0, 0));
    assert_null(share_pick(&s, 1, 0));
    share_wake(&s, &e, 10);
    assert_int_equal(share_kicks(&s), 1);
    assert_ptr_equal(share_pick(&s, 0, 10), &e);
    share_sleep(&s, &e, 20);
    assert_null(share_pick(&s, 0, 20));
    assert_ptr_equal(share_resident(&s, 0), &e);
    p.pin = 2;
    assert_int_equal(share_edit(&s, &e, &p, 30), SHARE_OK);
    share_wake(&s, &e, 40);
    assert_int_equal(share_kicks(&s), 1);
    assert_null(share_pick(&s, 1, 40));
    assert_null(share_pick(&s, 0, 41));
    assert_null(share_resident(&s, 0));
    assert_int_equal(share_kicks(&s), 2);
    assert_ptr_equal(share_pick(&s, 1, 42), &e);
}

/* Two that always yield to each other leave a third one its share. */
static void a_yield_is_directed_and_fair(void **state)
{
    static struct share s;
    static struct share_entity e[3];
    struct share_params p = { .weight = 100 };
    uint64_t now = 0;

    (void)state;
    share_init(&s, 1, SIM_TICKS);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(share_add(&s, &e[i], &p, now), SHARE_OK);
        share_wake(&s, &e[i], now);
    }
    struct share_entity *runs = share_pick(&s, 0, now);
    share_yield(&s, 0, runs == &e[2] ? &e[1] : &e[2]);
    assert_ptr_equal(share_pick(&s, 0, now), runs == &e[2] ? &e[1] : &e[2]);
    for (unsigned i = 0; i < 20000; i++) { /* 0 and 1 spin for 50 us, 2 computes */
        runs = share_pick(&s, 0, now);
        if (runs == &e[2]) {
            now = share_deadline(&s, 0, now);
            continue;
        }
        now += SIM_MS / 20;
        share_yield(&s, 0, runs == &e[0] ? &e[1] : &e[0]);
    }
    assert_true(e[2].ran > now * 32 / 100 && e[2].ran < now * 35 / 100);
    assert_true(e[0].turns + e[1].turns > 19000);
}

/* Two with one CPU, alike but that the second world has to look closely at all: nobody may see a difference.
 */
static void assert_same(const struct share *a, const struct share *b, const struct share_entity *x,
                        const struct share_entity *y)
{
    assert_int_equal(x->state, y->state);
    assert_int_equal(x->resident, y->resident);
    assert_int_equal(x->virtual_time, y->virtual_time);
    assert_int_equal(x->tag, y->tag);
    assert_int_equal(x->since, y->since);
    assert_int_equal(x->ran, y->ran);
    assert_int_equal(x->waited, y->waited);
    assert_int_equal(x->turns, y->turns);
    assert_int_equal(a->cpu[0].floor, b->cpu[0].floor);
    assert_int_equal(a->cpu[0].start, b->cpu[0].start);
    assert_int_equal(a->queued, b->queued);
    assert_int_equal(a->idle, b->idle);
}

static void a_short_cut_leads_to_the_same(void **state)
{
    static struct share s[2];
    static struct share_entity e[2][2];
    uint64_t now = 0;

    (void)state;
    sim.seed = 4711;
    for (unsigned i = 0; i < 2; i++) {
        share_init(&s[i], 1, SIM_TICKS);
        for (unsigned k = 0; k < 2; k++) {
            struct share_params p = { .weight = k ? 300 : 100 };

            assert_int_equal(share_add(&s[i], &e[i][k], &p, 0), SHARE_OK);
        }
    }
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(e[0][k].bound, 1);
        e[1][k].bound = 0;
        e[1][k].special = true; /* and yet without cap and reservation */
    }
    for (unsigned step = 0; step < 100000; step++) {
        unsigned what = (unsigned)sim_random(&sim, 8), k = (unsigned)sim_random(&sim, 2);

        now += sim_random(&sim, sim_random(&sim, 20) ? SIM_MS / 10 : 30 * SIM_MS);
        for (unsigned i = 0; i < 2; i++) {
            struct share_entity *current = s[i].cpu[0].current;

            if (what < 2)
                share_wake(&s[i], &e[i][k], now);
            else if (what == 2 && current)
                share_sleep(&s[i], current, now);
            else if (what < 6 && current)
                share_yield(&s[i], 0, what == 3 ? NULL : &e[i][k]);
            (void)share_pick(&s[i], 0, now);
            (void)share_kicks(&s[i]);
        }
        assert_int_equal(share_deadline(&s[0], 0, now), share_deadline(&s[1], 0, now));
        for (unsigned i = 0; i < 2; i++)
            assert_same(&s[0], &s[1], &e[0][i], &e[1][i]);
    }
    assert_true(e[0][0].turns > 1000 && e[0][1].turns > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_ones_get_their_shares),
        cmocka_unit_test(busy_ones_get_their_shares_in_the_long_run),
        cmocka_unit_test(any_mix_keeps_the_promises),
        cmocka_unit_test(so_it_does_when_much_else_happens),
        cmocka_unit_test(a_light_sleeper_runs_at_once),
        cmocka_unit_test(a_reservation_is_exact),
        cmocka_unit_test(reservations_get_a_home_with_room),
        cmocka_unit_test(wrong_parameters_are_refused),
        cmocka_unit_test(state_leaves_its_cpu_before_it_moves),
        cmocka_unit_test(a_yield_is_directed_and_fair),
        cmocka_unit_test(a_short_cut_leads_to_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
