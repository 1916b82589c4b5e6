/* Restarts of a VM: who is started again, after how long, and when that is given up. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "guests/supervise.h"

#define S UINT64_C(1000000000)

static const struct supervise_policy always = { true, true, 5 }, no_limit = { true, true, 0 };

static struct supervise vm;

static int begin(void **state)
{
    (void)state;
    supervise_begin(&vm, 0);
    return 0;
}

static void expect_restart(const struct supervise_policy *policy, enum supervise_event event, uint64_t now,
                           uint64_t delay)
{
    struct supervise_decision decision = supervise_stopped(&vm, policy, event, now);

    assert_int_equal(decision.verdict, SUPERVISE_RESTART);
    assert_int_equal(decision.delay_ns, delay);
}

static void expect_loop(enum supervise_event event, uint64_t now, const char *happened)
{
    struct supervise_decision decision = supervise_stopped(&vm, &always, event, now);

    assert_int_equal(decision.verdict, SUPERVISE_LOOP);
    assert_string_equal(decision.happened, happened);
}

static void follows_the_policy(void **state)
{
    const struct supervise_policy crashes = { true, false, 5 }, resets = { false, true, 5 };

    (void)state;
    expect_restart(&crashes, SUPERVISE_CRASH, 1 * S, 0);
    assert_int_equal(supervise_stopped(&vm, &crashes, SUPERVISE_RESET, 2 * S).verdict, SUPERVISE_STOP);
    expect_restart(&resets, SUPERVISE_RESET, 3 * S, 0);
    assert_int_equal(supervise_stopped(&vm, &resets, SUPERVISE_CRASH, 4 * S).verdict, SUPERVISE_STOP);
}

static void waits_longer_after_each_crash(void **state)
{
    static const uint64_t seconds[] = { 0, 1, 2, 4, 8, 16, 32, 32, 32 };
    uint64_t now = 5 * S;

    (void)state;
    for (unsigned i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        expect_restart(&no_limit, SUPERVISE_CRASH, now, seconds[i] * S);
        now += seconds[i] * S + S / 10;
    }
}

static void forgets_after_a_good_run(void **state)
{
    (void)state;
    expect_restart(&always, SUPERVISE_CRASH, 1 * S, 0);
    expect_restart(&always, SUPERVISE_CRASH, 2 * S, 1 * S); /* runs again from 3 s on */
    expect_restart(&always, SUPERVISE_CRASH, 63 * S - 1, 2 * S);
    expect_restart(&always, SUPERVISE_CRASH, 65 * S - 1 + 60 * S, 0);
    expect_restart(&always, SUPERVISE_CRASH, 126 * S, 1 * S);
}

static void never_delays_a_reset(void **state)
{
    (void)state;
    expect_restart(&always, SUPERVISE_CRASH, 1 * S, 0);
    expect_restart(&always, SUPERVISE_CRASH, 2 * S, 1 * S);
    expect_restart(&always, SUPERVISE_RESET, 4 * S, 0);
    expect_restart(&always, SUPERVISE_CRASH, 5 * S, 2 * S);
}

static void breaks_a_loop(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        expect_restart(&always, SUPERVISE_RESET, i * S, 0);
    expect_loop(SUPERVISE_RESET, 60 * S, "reset"); /* the first of the five was 60 s ago */
}

static void lets_slow_ones_go_on(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        expect_restart(&always, SUPERVISE_RESET, i * S, 0);
    for (unsigned i = 0; i < 100; i++) /* never five in 60 s */
        expect_restart(&always, SUPERVISE_RESET, 60 * S + 1 + i * 16 * S, 0);
}

static void says_what_went_round(void **state)
{
    (void)state;
    expect_restart(&always, SUPERVISE_RESET, 0, 0);
    expect_restart(&always, SUPERVISE_CRASH, 0, 0);
    expect_restart(&always, SUPERVISE_CRASH, 1 * S, 1 * S);
    expect_restart(&always, SUPERVISE_CRASH, 3 * S, 2 * S);
    expect_loop(SUPERVISE_CRASH, 6 * S, "crashed or reset");
    expect_loop(SUPERVISE_CRASH, 7 * S, "crashed"); /* the last five only */
}

static void counts_from_a_start_by_hand(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        expect_restart(&always, SUPERVISE_RESET, i * S, 0);
    expect_loop(SUPERVISE_RESET, 5 * S, "reset");
    supervise_begin(&vm, 6 * S);
    expect_restart(&always, SUPERVISE_CRASH, 7 * S, 0);
}

static void goes_by_any_limit(void **state)
{
    const struct supervise_policy one = { true, true, 1 }, most = { true, true, SUPERVISE_MAX_LIMIT };

    (void)state;
    assert_int_equal(supervise_stopped(&vm, &one, SUPERVISE_RESET, 0).verdict, SUPERVISE_LOOP);
    supervise_begin(&vm, 0);
    for (unsigned i = 0; i < 1000; i++)
        expect_restart(&no_limit, SUPERVISE_RESET, i, 0);
    supervise_begin(&vm, 0);
    for (unsigned i = 1; i < SUPERVISE_MAX_LIMIT; i++)
        expect_restart(&most, SUPERVISE_RESET, i, 0);
    assert_int_equal(supervise_stopped(&vm, &most, SUPERVISE_RESET, S).verdict, SUPERVISE_LOOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(follows_the_policy, begin),
        cmocka_unit_test_setup(waits_longer_after_each_crash, begin),
        cmocka_unit_test_setup(forgets_after_a_good_run, begin),
        cmocka_unit_test_setup(never_delays_a_reset, begin),
        cmocka_unit_test_setup(breaks_a_loop, begin),
        cmocka_unit_test_setup(lets_slow_ones_go_on, begin),
        cmocka_unit_test_setup(says_what_went_round, begin),
        cmocka_unit_test_setup(counts_from_a_start_by_hand, begin),
        cmocka_unit_test_setup(goes_by_any_limit, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
