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

static void put(const char *text)
{
    for (; *text; text++)
        console_put(&console, *text);
}

static void expect_taken(const char *expected)
{
    static char text[CONSOLE_OUT];
    uint64_t lost;
    size_t count = console_take(&console, text, sizeof(text) - 1, &lost);

    text[count] = '\0';
    assert_string_equal(text, expected);
    assert_int_equal(lost, 0);
}

static void the_last_lines_come_again(void **state)
{
    (void)state;
    console_rewind(&console, 2, 100);
    expect_taken("");
    put("one\ntwo\nthree\n");
    console_rewind(&console, 2, 100); /* nothing was seen */
    expect_taken("one\ntwo\nthree\n");
    put("new\n");
    console_rewind(&console, 2, 100);
    expect_taken("two\nthree\nnew\n");
    put("half");
    expect_taken("half");
    console_rewind(&console, 2, 100);
    expect_taken("new\nhalf");
    console_rewind(&console, 99, 6); /* bytes are a bound as well */
    expect_taken("w\nhalf");
    console_rewind(&console, 99, 100);
    expect_taken("one\ntwo\nthree\nnew\nhalf");
}

static void all_that_is_kept_comes_again(void **state)
{
    char text[8];
    uint64_t lost;

    (void)state;
    put("one\ntwo\n");
    console_replay(&console);
    expect_taken("one\ntwo\n");
    console_replay(&console);
    assert_int_equal(console_take(&console, text, 2, &lost), 2);
    console_rewind(&console, 1, 100); /* what was seen before stays seen */
    expect_taken("two\n");
    for (unsigned i = 0; i < CONSOLE_OUT + 100; i++)
        console_put(&console, '.');
    assert_int_equal(console_oldest(&console), 8 + 101);
    console_rewind(&console, 24, 4096); /* the seen lines are gone, and some that were not seen */
    assert_int_equal(console_take(&console, text, 2, &lost), 2);
    assert_int_equal(lost, 101);
}

static void a_second_reader_takes_nothing_away(void **state)
{
    static char text[CONSOLE_OUT];
    uint64_t at = 0, lost;

    (void)state;
    put("abc");
    assert_int_equal(console_read(&console, &at, text, 2, &lost), 2);
    assert_memory_equal(text, "ab", 2);
    assert_int_equal(at, 2);
    expect_taken("abc");
    assert_int_equal(console_read(&console, &at, text, 2, &lost), 1);
    for (unsigned i = 0; i < CONSOLE_OUT; i++)
        console_put(&console, '.');
    assert_int_equal(console_read(&console, &at, text, sizeof(text), &lost), CONSOLE_OUT - 1);
    assert_int_equal(lost, 1);
    assert_int_equal(at, 3 + CONSOLE_OUT);
    at += 5; /* of another console, perhaps */
    assert_int_equal(console_read(&console, &at, text, sizeof(text), &lost), 0);
    assert_int_equal(lost, 0);
    assert_int_equal(at, 3 + CONSOLE_OUT);
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

static void many_bytes_are_told_once(void **state)
{
    (void)state;
    console.output_ready = note;
    console.output_context = &calls;
    console_write(&console, "abc", 3);
    assert_int_equal(calls, 1);
    console_write(&console, "d", 0);
    assert_int_equal(calls, 1);
    expect_taken("abc");
}

static void take_all(void *context)
{
    char *to = context;

    while (console_get(&console, to))
        to++;
}

static void one_device_listens(void **state)
{
    char first[8] = { 0 }, second[8] = { 0 };

    (void)state;
    assert_true(console_type(&console, 'a')); /* nobody does */
    console_listen(&console, take_all, first);
    assert_string_equal(first, "a");
    assert_true(console_listens(&console, first));
    console_listen(&console, note, &calls);
    assert_int_equal(calls, 0); /* nothing waits */
    assert_true(console_type(&console, 'b'));
    assert_int_equal(calls, 1);
    console_listen(&console, take_all, second);
    assert_string_equal(second, "b");
    assert_string_equal(first, "a");
    assert_false(console_listens(&console, first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(output_is_taken_in_order, setup),
        cmocka_unit_test_setup(the_oldest_output_gives_way, setup),
        cmocka_unit_test_setup(scrollback_stays_after_it_is_taken, setup),
        cmocka_unit_test_setup(the_last_lines_come_again, setup),
        cmocka_unit_test_setup(all_that_is_kept_comes_again, setup),
        cmocka_unit_test_setup(a_second_reader_takes_nothing_away, setup),
        cmocka_unit_test_setup(typed_input_waits_for_the_device, setup),
        cmocka_unit_test_setup(indices_may_wrap, setup),
        cmocka_unit_test_setup(each_side_hears_of_the_other, setup),
        cmocka_unit_test_setup(many_bytes_are_told_once, setup),
        cmocka_unit_test_setup(one_device_listens, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
