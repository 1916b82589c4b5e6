/* Lines out of a guest's bytes: what is kept of them, and what a guest cannot do with them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "io/line.h"

static struct line line;
static struct line_tail tail;

static int setup(void **state)
{
    (void)state;
    memset(&line, 0, sizeof(line));
    memset(&tail, 0, sizeof(tail));
    return 0;
}

static bool put(const char *text)
{
    bool ended = false;

    for (; *text; text++)
        ended = line_put(&line, *text);
    return ended;
}

static void expect_line(const char *text, const char *expected)
{
    char got[LINE_MAX + 80];
    size_t length;

    assert_true(put(text));
    length = line_format(&line, "vm", got, sizeof(got));
    assert_string_equal(got, expected);
    assert_int_equal(length, strlen(expected));
    line_next(&line);
}

static void a_line_is_its_text(void **state)
{
    (void)state;
    assert_false(put("half"));
    expect_line(" and half\r\n", "vm: half and half");
    expect_line("\n", "vm: ");
    expect_line("a\tb\n", "vm: a\tb");
}

static void control_characters_are_left_out(void **state)
{
    (void)state;
    expect_line("a\001\b\a\177z\n", "vm: az");
    expect_line("\033[31;1mred\033[0m \033[?25lx\033(By\n", "vm: red xy");
    expect_line("\033]0;title\a1\033Ppayload\033\\2\033cx\n", "vm: 12x");
    expect_line("a\033[3\0304b\n", "vm: a4b");
}

static void no_sequence_swallows_the_next_line(void **state)
{
    (void)state;
    expect_line("a\033]never ended\n", "vm: a");
    expect_line("b\033[1;2\n", "vm: b");
    expect_line("c\033\n", "vm: c");
    expect_line("d\n", "vm: d");
}

static void only_utf8_comes_through(void **state)
{
    (void)state;
    expect_line("gr\303\274n \342\202\254\n", "vm: gr\303\274n \342\202\254");
    expect_line("\233"
                "31m\303\n",
                "vm: ?31m?"); /* a CSI of one byte; a character cut short */
    expect_line("x\302\23331m\302\240y\n", "vm: x?31m\302\240y"); /* the same in UTF-8; U+00A0 is text */
}

static void a_long_line_is_cut(void **state)
{
    char text[LINE_MAX + 8], expected[LINE_MAX + 40];

    (void)state;
    memset(text, 'x', sizeof(text));
    strcpy(text + LINE_MAX, "\n");
    snprintf(expected, sizeof(expected), "vm: %.*s", LINE_MAX, text);
    expect_line(text, expected);
    strcpy(text + LINE_MAX, "abc\n");
    snprintf(expected, sizeof(expected), "vm: %.*s [3 bytes cut]", LINE_MAX, text);
    expect_line(text, expected);
    expect_line("short\n", "vm: short");
}

static void a_gap_takes_both_broken_lines(void **state)
{
    (void)state;
    line_gap(&line, 0);
    assert_int_equal(line_lost(&line), 0);
    assert_false(put("1234"));
    line_gap(&line, 100);
    assert_false(put("567\n"));
    expect_line("whole\n", "vm: whole");
    assert_int_equal(line_lost(&line), 108);
    assert_int_equal(line_lost(&line), 0);
}

static void feed(const char *text)
{
    for (; *text; text++)
        line_tail_put(&tail, *text);
}

static void expect_tail(const char *expected)
{
    char got[LINE_TAIL + 2];

    got[line_tail_get(&tail, got)] = '\0';
    assert_string_equal(got, expected);
}

static void the_tail_is_the_unfinished_line(void **state)
{
    (void)state;
    expect_tail("");
    feed("a whole line\r\nlogin: ");
    expect_tail("login: ");
    feed("rooo\b \bt");
    expect_tail("login: root");
    feed("\r\n");
    expect_tail("");
    feed("\033[6n\033[1m$ \033[0m\a");
    expect_tail("$ ");
    feed("\n\303\274\b");
    expect_tail("");
    feed("\b\bx");
    expect_tail("x");
}

static void the_tail_knows_carriage_return(void **state)
{
    (void)state;
    feed("50 %\r");
    expect_tail("50 %\r");
    feed("60");
    expect_tail("60");
    feed("\r\n\r");
    expect_tail("");
}

static void the_tail_is_not_of_a_drawn_screen(void **state)
{
    (void)state;
    feed("x\033[2J\033[H# ");
    assert_false(tail.placed); /* cleared, as by a shell */
    expect_tail("# ");
    feed("ls\033[7mm\033[12;40Hmenu");
    assert_true(tail.placed);
    expect_tail("");
    feed("\rmore \033[0m");
    assert_true(tail.placed);
    feed("\n$ ");
    assert_false(tail.placed);
    expect_tail("$ ");
    feed("\033[3;4ftext");
    assert_true(tail.placed);
    feed("\033[H$ ");
    assert_false(tail.placed);
    expect_tail("$ ");
}

static void the_tail_is_bounded(void **state)
{
    char got[LINE_TAIL + 1];
    unsigned length;

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        feed("\303\274");
    feed("!");
    length = line_tail_get(&tail, got);
    assert_in_range(length, LINE_TAIL / 2 - 1, LINE_TAIL);
    assert_memory_equal(got, "\303\274", 2);
    assert_memory_equal(got + length - 3, "\303\274!", 3);
    feed("\n");
    for (unsigned i = 0; i < LINE_TAIL + 1; i++)
        feed("\274"); /* never a first byte */
    assert_int_equal(line_tail_get(&tail, got), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_line_is_its_text, setup),
        cmocka_unit_test_setup(control_characters_are_left_out, setup),
        cmocka_unit_test_setup(no_sequence_swallows_the_next_line, setup),
        cmocka_unit_test_setup(only_utf8_comes_through, setup),
        cmocka_unit_test_setup(a_long_line_is_cut, setup),
        cmocka_unit_test_setup(a_gap_takes_both_broken_lines, setup),
        cmocka_unit_test_setup(the_tail_is_the_unfinished_line, setup),
        cmocka_unit_test_setup(the_tail_knows_carriage_return, setup),
        cmocka_unit_test_setup(the_tail_is_not_of_a_drawn_screen, setup),
        cmocka_unit_test_setup(the_tail_is_bounded, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
