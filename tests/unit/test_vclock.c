#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/host/host.h"
#include "vmx/vclock.h"

static struct vclock ticking;
static struct timer_queue queue;
static struct vtimer timer;
static unsigned fired;
static uint64_t fired_ns, fired_tsc;

static void note(void *device)
{
    assert_ptr_equal(device, &ticking);
    fired++;
    fired_ns = vclock_ns(&ticking);
    fired_tsc = vclock_tsc(&ticking);
}

static int setup(void **state)
{
    (void)state;
    fired = 0;
    host_tsc = 1000000;
    vclock_init(&ticking, HOST_TSC_HZ);
    timer_queue_init(&queue);
    vtimer_init(&timer, &ticking, &queue, note, &ticking);
    return 0;
}

static void time_starts_at_zero(void **state)
{
    (void)state;
    assert_int_equal(vclock_tsc(&ticking), 0);
    assert_int_equal(vclock_ns(&ticking), 0);
    host_tsc += 5;
    assert_int_equal(vclock_tsc(&ticking), 5);
    assert_int_equal(vclock_ns(&ticking), 5);
}

/* The first tick at which ns is reached: that tick reaches it and the one before does not. */
static void conversion_is_exact_at_every_frequency(void **state)
{
    static const uint64_t hz[] = { 1000000,    1193182,    999999937,   1000000000,
                                   2394230000, 4999999999, 100000000000 };
    static const uint64_t ns[] = {
        1, 2, 3, 999, 1000, 838, 1000000000, 86400000000123, 31536000000000007, INT64_MAX / 1000
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(hz); i++) {
        vclock_init(&ticking, hz[i]);
        assert_int_equal(vclock_tsc_of_ns(&ticking, 0), 0);
        for (unsigned j = 0; j < ARRAY_SIZE(ns); j++) {
            uint64_t tsc = vclock_tsc_of_ns(&ticking, ns[j]);

            assert_true(vclock_ns_of_tsc(&ticking, tsc) >= ns[j]);
            assert_true(vclock_ns_of_tsc(&ticking, tsc - 1) < ns[j]);
        }
    }
}

static void a_second_is_a_second(void **state)
{
    (void)state;
    for (uint64_t hz = 1000000; hz <= 100000000000; hz = hz * 7 / 2 + 1) {
        vclock_init(&ticking, hz);
        assert_in_range(vclock_ns_of_tsc(&ticking, hz * 1000), 999999000000,
                        1000000000000); /* within a ppm */
    }
}

static void out_of_range_is_never(void **state)
{
    (void)state;
    assert_int_equal(vclock_tsc_of_ns(&ticking, UINT64_MAX), TIMER_NEVER);
    vclock_init(&ticking, 100000000000);
    assert_int_equal(vclock_tsc_of_ns(&ticking, INT64_MAX), TIMER_NEVER);
    vtimer_arm(&timer, 100);
    vtimer_arm(&timer, UINT64_MAX); /* cancels what was armed */
    assert_false(vtimer_armed(&timer));
    vtimer_arm_tsc(&timer, UINT64_MAX);
    assert_false(vtimer_armed(&timer));
}

static void a_timer_never_fires_early(void **state)
{
    static const uint64_t hz[] = { 1000000, 1234567, 2394230000, 4999999999 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(hz); i++) {
        for (uint64_t ns = 1; ns < 1000000; ns = ns * 3 + 1) {
            vclock_init(&ticking, hz[i]);
            fired = 0;
            vtimer_arm(&timer, ns);
            host_advance(&queue, timer_queue_next(&queue) - host_tsc);
            assert_int_equal(fired, 1);
            assert_true(fired_ns >= ns);
            assert_false(vtimer_armed(&timer));
        }
    }
}

static void a_timer_in_ticks_fires_at_its_tick(void **state)
{
    (void)state;
    vtimer_arm_tsc(&timer, 100);
    host_advance(&queue, 99);
    assert_int_equal(fired, 0);
    host_advance(&queue, 1);
    assert_int_equal(fired, 1);
    assert_int_equal(fired_tsc, 100);
}

static void a_deadline_in_the_past_fires_at_once(void **state)
{
    (void)state;
    host_tsc += 1000;
    vtimer_arm(&timer, 10);
    host_advance(&queue, 0);
    assert_int_equal(fired, 1);
    vtimer_arm_tsc(&timer, 0);
    host_advance(&queue, 0);
    assert_int_equal(fired, 2);
}

/* A machine that has just started loads a VM that has run for an hour: guest time 0 was before host time 0.
 */
static void a_clock_may_be_older_than_its_host(void **state)
{
    uint64_t hour = 3600 * HOST_TSC_HZ;

    (void)state;
    ticking.origin = host_tsc - hour;
    assert_int_equal(vclock_ns(&ticking), hour);
    vtimer_arm(&timer, 5);
    host_advance(&queue, 0);
    assert_int_equal(fired, 1);
    vtimer_arm(&timer, hour + 50);
    host_advance(&queue, 49);
    assert_int_equal(fired, 1);
    host_advance(&queue, 1);
    assert_int_equal(fired, 2);
}

static void counters_are_exact(void **state)
{
    static const uint32_t hz[] = { 32768, 1193182, 3579545, 1000000000 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(hz); i++) {
        assert_int_equal(vclock_ticks(31536000 * NS_PER_S, hz[i]), UINT64_C(31536000) * hz[i]);
        for (uint64_t n = 1; n < UINT64_C(1) << 40; n = n * 5 + 3) {
            uint64_t ns = vclock_ns_of_ticks(n, hz[i]);

            assert_int_equal(vclock_ticks(ns, hz[i]), n);
            assert_int_equal(vclock_ticks(ns - 1, hz[i]), n - 1);
        }
    }
    assert_int_equal(vclock_ns_of_ticks(UINT64_MAX, 32768), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(time_starts_at_zero, setup),
        cmocka_unit_test_setup(conversion_is_exact_at_every_frequency, setup),
        cmocka_unit_test_setup(a_second_is_a_second, setup),
        cmocka_unit_test_setup(out_of_range_is_never, setup),
        cmocka_unit_test_setup(a_timer_never_fires_early, setup),
        cmocka_unit_test_setup(a_timer_in_ticks_fires_at_its_tick, setup),
        cmocka_unit_test_setup(a_deadline_in_the_past_fires_at_once, setup),
        cmocka_unit_test_setup(a_clock_may_be_older_than_its_host, setup),
        cmocka_unit_test_setup(counters_are_exact, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
