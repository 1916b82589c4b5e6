#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "io/console.h"

static struct console console;
static unsigned calls;

static void note(void *context)
{
    assert_ptr_equal(context, &calls);
    calls++;
}

static int setup(void **state)
{
    (void)state;
    console_init(&console);
    calls = 0;
    return 0;
}

static void output_is_taken_in_order(void **state)
{
    char text[8];
    uint64_t lost;

    (void)state;
    assert_int_equal(console_take(&console, text, sizeof(text), &lost), 0);
    for (const char *c = "hello"; *c; c++)
        console_put(&console, *c);
    assert_int_equal(console_take(&console, text, 3, &lost), 3);
    assert_memory_equal(text, "hel", 3);
    assert_int_equal(console_take(&console, text, sizeof(text), &lost), 2);
    assert_memory_equal(text, "lo", 2);
    assert_int_equal(lost, 0);
}

static void the_oldest_output_gives_way(void **state)
{
    static char text[CONSOLE_OUT + 1];
    uint64_t lost;

    (void)state;
    for (unsigned i = 0; i < CONSOLE_OUT + 1000; i++)
        console_put(&console, (char)(i % 251));
    assert_int_equal(console_take(&console, text, sizeof(text), &lost), CONSOLE_OUT - 1);
    assert_int_equal(lost, 1001);
    for (unsigned i = 0; i < CONSOLE_OUT - 1; i++)
        assert_int_equal((uint8_t)text[i], (i + 1001) % 251);
    console_put(&console, 'x');
    assert_int_equal(console_take(&console, text, sizeof(text), &lost), 1);
    assert_int_equal(lost, 0);
}

static void scrollback_stays_after_it_is_taken(void **state)
{
    char text[4];
    uint64_t lost;

    (void)state;
    console_put(&console, 'a');
    assert_int_equal(console_take(&console, text, sizeof(text), &lost), 1);
    assert_int_equal(console.out_head, 1);
    assert_int_equal(console.out[0], 'a');
}

static void typed_input_waits_for_the_device(void **state)
{
    char c;

    (void)state;
    assert_false(console_has_input(&console));
    assert_false(console_get(&console, &c));
    for (unsigned i = 0; i < CONSOLE_IN; i++)
        assert_true(console_type(&console, (char)i));
    assert_false(console_type(&console, 'x')); /* full: refused, nothing is overwritten */
    for (unsigned i = 0; i < CONSOLE_IN; i++) {
        assert_true(console_has_input(&console));
        assert_true(console_get(&console, &c));
        assert_int_equal((uint8_t)c, i % 256);
    }
    assert_false(console_get(&console, &c));
    assert_true(console_type(&console, 'x'));
}

static void indices_may_wrap(void **state)
{
    char c;

    (void)state;
    console.in_head = console.in_tail = UINT32_MAX - 1;
    for (unsigned i = 0; i < 4; i++)
        assert_true(console_type(&console, (char)i));
    for (unsigned i = 0; i < 4; i++) {
        assert_true(console_get(&console, &c));
        assert_int_equal(c, i);
    }
}

static void each_side_hears_of_the_other(void **state)
{
    (void)state;
    console.output_ready = console.input_ready = note;
    console.output_context = console.input_context = &calls;
    console_put(&console, 'a');
    assert_int_equal(calls, 1);
    assert_true(console_type(&console, 'b'));
    assert_int_equal(calls, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(output_is_taken_in_order, setup),
        cmocka_unit_test_setup(the_oldest_output_gives_way, setup),
        cmocka_unit_test_setup(scrollback_stays_after_it_is_taken, setup),
        cmocka_unit_test_setup(typed_input_waits_for_the_device, setup),
        cmocka_unit_test_setup(indices_may_wrap, setup),
        cmocka_unit_test_setup(each_side_hears_of_the_other, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
