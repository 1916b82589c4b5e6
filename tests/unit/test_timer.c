#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/timer.h"

static struct timer_queue queue;
static struct timer timers[4];
static unsigned fired[16], count;

static void note(struct timer *timer)
{
    assert_false(timer_armed(timer));
    fired[count++ % 16] = (unsigned)(timer - timers);
}

static int setup(void **state)
{
    (void)state;
    count = 0;
    timer_queue_init(&queue);
    for (unsigned i = 0; i < 4; i++)
        timer_init(&timers[i], &queue, note);
    return 0;
}

static void an_empty_queue_has_no_deadline(void **state)
{
    (void)state;
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
    timer_queue_run(&queue, TIMER_NEVER - 1);
    assert_int_equal(count, 0);
}

static void fires_in_order_of_deadline(void **state)
{
    (void)state;
    timer_arm(&timers[0], 30);
    timer_arm(&timers[1], 10);
    timer_arm(&timers[2], 20);
    timer_arm(&timers[3], 10); /* equal: after the one armed before */
    assert_int_equal(timer_queue_next(&queue), 10);
    timer_queue_run(&queue, 9);
    assert_int_equal(count, 0);
    timer_queue_run(&queue, 20);
    assert_int_equal(count, 3);
    assert_int_equal(fired[0], 1);
    assert_int_equal(fired[1], 3);
    assert_int_equal(fired[2], 2);
    assert_int_equal(timer_queue_next(&queue), 30);
    assert_true(timer_armed(&timers[0]));
}

static void arming_again_moves(void **state)
{
    (void)state;
    timer_arm(&timers[0], 10);
    timer_arm(&timers[1], 20);
    timer_arm(&timers[0], 30);
    assert_int_equal(timer_queue_next(&queue), 20);
    timer_queue_run(&queue, 40);
    assert_int_equal(count, 2);
    assert_int_equal(fired[0], 1);
    assert_int_equal(fired[1], 0);
}

static void cancel_takes_out_first_middle_and_last(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        timer_arm(&timers[i], 10 + i);
    timer_cancel(&timers[1]);
    timer_cancel(&timers[3]);
    timer_cancel(&timers[0]);
    timer_cancel(&timers[0]); /* not armed any more: nothing */
    assert_int_equal(timer_queue_next(&queue), 12);
    timer_arm(&timers[2], TIMER_NEVER); /* cancels, too */
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
    timer_queue_run(&queue, 100);
    assert_int_equal(count, 0);
}

static void rearm_in_the_past(struct timer *timer)
{
    note(timer);
    timer_arm(timer, 1);
}

static void one_that_rearms_itself_waits_for_the_next_run(void **state)
{
    (void)state;
    timer_init(&timers[0], &queue, rearm_in_the_past);
    timer_arm(&timers[0], 5);
    timer_arm(&timers[1], 8);
    timer_queue_run(&queue, 10);
    assert_int_equal(count, 2); /* once each, and the other one is not starved */
    assert_true(timer_armed(&timers[0]));
    assert_true(timer_queue_next(&queue) <= 11);
    timer_queue_run(&queue, 11);
    assert_int_equal(count, 3);
}

static void cancel_the_next_one(struct timer *timer)
{
    note(timer);
    timer_cancel(&timers[1]);
    timer_arm(&timers[2], 9);
}

static void firing_may_cancel_and_move_others(void **state)
{
    (void)state;
    timer_init(&timers[0], &queue, cancel_the_next_one);
    timer_arm(&timers[0], 5);
    timer_arm(&timers[1], 6);
    timer_arm(&timers[2], 50);
    timer_queue_run(&queue, 10);
    assert_int_equal(count, 1);
    timer_queue_run(&queue, 12);
    assert_int_equal(count, 2);
    assert_int_equal(fired[1], 2);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_queue_has_no_deadline, setup),
        cmocka_unit_test_setup(fires_in_order_of_deadline, setup),
        cmocka_unit_test_setup(arming_again_moves, setup),
        cmocka_unit_test_setup(cancel_takes_out_first_middle_and_last, setup),
        cmocka_unit_test_setup(one_that_rearms_itself_waits_for_the_next_run, setup),
        cmocka_unit_test_setup(firing_may_cancel_and_move_others, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
