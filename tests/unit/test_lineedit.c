#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "shell/lineedit.h"
#include "tests/unit/terminal.h"

#define LEFT   "\033[D"
#define RIGHT  "\033[C"
#define UP     "\033[A"
#define DOWN   "\033[B"
#define DELETE "\033[3~"

static struct lineedit edit;
static struct terminal terminal;
static char taken[LINEEDIT_MAX];

static void to_terminal(void *context, const char *text, size_t length)
{
    assert_ptr_equal(context, &terminal);
    for (size_t i = 0; i < length; i++)
        terminal_byte(&terminal, text[i]);
}

/* The first word is a command; what follows depends on it. */
static const char *word(void *context, const struct lineedit *e, unsigned start, unsigned index)
{
    static const char *const commands[] = { "start", "stats", "list", "shutdown", NULL };
    static const char *const names[] = { "web", "web2", NULL };

    assert_ptr_equal(context, &terminal);
    if (start == 0)
        return commands[index];
    return strncmp(e->line, "start ", 6) == 0 ? names[index] : NULL;
}

static int setup(void **state)
{
    (void)state;
    memset(&terminal, 0, sizeof(terminal));
    memset(taken, 0, sizeof(taken));
    lineedit_init(&edit);
    edit.prompt = "> ";
    edit.write = to_terminal;
    edit.word = word;
    edit.context = &terminal;
    lineedit_show(&edit);
    return 0;
}

/* Types bytes; finished lines are taken, and the prompt comes again. */
static unsigned type(const char *text)
{
    unsigned lines = 0;

    for (; *text; text++) {
        if (!lineedit_input(&edit, *text))
            continue;
        lineedit_take(&edit, taken);
        lineedit_show(&edit);
        lines++;
    }
    return lines;
}

/* The editor and the terminal both have this line, with the cursor at '|'. */
static void expect(const char *line)
{
    char text[LINEEDIT_MAX + 2], row[LINEEDIT_MAX + 8];
    const char *cursor = strchr(line, '|');
    unsigned at = (unsigned)(cursor - line);

    assert_non_null(cursor);
    snprintf(text, sizeof(text), "%.*s%s", (int)at, line, cursor + 1);
    assert_string_equal(edit.line, text);
    assert_int_equal(edit.length, strlen(text));
    assert_int_equal(edit.cursor, at);
    snprintf(row, sizeof(row), "> %s", text);
    for (size_t end = strlen(row); end && row[end - 1] == ' ';)
        row[--end] = '\0';
    terminal_trim(&terminal);
    assert_string_equal(terminal.row, row);
    assert_int_equal(terminal.column, at + 2);
    assert_false(terminal.wrong);
}

static void text_goes_in_at_the_cursor(void **state)
{
    (void)state;
    type("lst" LEFT LEFT "i");
    expect("li|st");
    type(RIGHT RIGHT RIGHT "!");
    expect("list!|");
    type("\x02\x02\x02\x02\x02\x02>\x06<");
    expect(">l<|ist!");
    assert_int_equal(type("\r"), 1);
    assert_string_equal(taken, ">l<ist!");
    expect("|");
}

static void home_and_end_have_many_names(void **state)
{
    static const char *const home[] = { "\033[H", "\033OH", "\033[1~", "\033[7~" };
    static const char *const end[] = { "\033[F", "\033OF", "\033[4~", "\033[8~", "\x05" };

    (void)state;
    type("abc");
    for (size_t i = 0; i < ARRAY_SIZE(home); i++) {
        type(home[i]);
        expect("|abc");
        type("\x05");
        expect("abc|");
    }
    for (size_t i = 0; i < ARRAY_SIZE(end); i++) {
        type("\033[H");
        type(end[i]);
        expect("abc|");
    }
}

static void characters_go_at_the_cursor(void **state)
{
    (void)state;
    type("abcdef" LEFT LEFT "\b");
    expect("abc|ef");
    type("\x7f");
    expect("ab|ef");
    type(DELETE);
    expect("ab|f");
    type(DELETE DELETE DELETE);
    expect("ab|");
    type("\b\b\b\b");
    expect("|");
}

static void words_and_ends_go_at_once(void **state)
{
    (void)state;
    type("one two  three  \x17");
    expect("one two  |");
    type("\x17");
    expect("one |");
    type("two" LEFT "\x17");
    expect("one |o");
    type("\x0b");
    expect("one |");
    type("two" LEFT LEFT "\x15");
    expect("|wo");
    type("\x05 more" LEFT LEFT "\x03");
    expect("|");
    type("\x17\x0b\x15\x03");
    expect("|");
}

static void other_keys_type_nothing(void **state)
{
    (void)state;
    /* F5, Insert, Page up, Ctrl-Right, Alt-x, a long number, and UTF-8 */
    type("a\033[15~\033[2~\033[5~\033[1;5C\033[1;5D\033x\033[99999999999999999999~\xc3\xa4\x01\x04\x1d"
         "b");
    expect("ab|");
    /* A sequence that a control character breaks off: that one counts. */
    type("\033[\x02"
         "c");
    expect("ac|b");
    type("\033\033[Dd");
    expect("ad|cb");
    type("\033[1\xc3~");
    expect("ad~|cb");
}

static void a_line_ends_once(void **state)
{
    (void)state;
    assert_int_equal(type("one\r\ntwo\n\n"), 3);
    assert_int_equal(type("\r\r\n\r"), 3);
    assert_string_equal(terminal.above, "> one\n> two\n>\n>\n>\n>\n");
}

static void a_full_line_takes_no_more(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LINEEDIT_MAX + 5; i++)
        type("x");
    assert_int_equal(edit.length, LINEEDIT_MAX - 1);
    type("\033[Hy");
    assert_int_equal(edit.length, LINEEDIT_MAX - 1);
    assert_int_equal(edit.line[0], 'x');
    assert_int_equal(terminal.column, 2);
    assert_false(terminal.wrong);
    type(DELETE "y");
    assert_int_equal(edit.length, LINEEDIT_MAX - 1);
    assert_int_equal(edit.line[0], 'y');
}

static void history_is_leafed_through(void **state)
{
    (void)state;
    type(UP DOWN);
    expect("|");
    type("one\rtwo\rtwo\r   \r\rthr");
    type(UP);
    expect("two|");
    type("\033OA");
    expect("one|");
    type(UP UP);
    expect("one|");
    type("!");
    expect("one!|"); /* changes the line, not the history */
    type(DOWN);
    expect("two|");
    type(DOWN DOWN);
    expect("thr|");
    type(UP UP "\r");
    assert_string_equal(taken, "one");
    type(UP);
    expect("one|");
    type(UP);
    expect("two|");
    type("\x03");
    expect("|");
    type(UP);
    expect("one|");
}

static void history_keeps_the_newest(void **state)
{
    char line[8];

    (void)state;
    for (unsigned i = 0; i < LINEEDIT_HISTORY + 3; i++) {
        snprintf(line, sizeof(line), "c%u\r", i);
        type(line);
    }
    for (unsigned i = 0; i < LINEEDIT_HISTORY + 3; i++)
        type(UP);
    expect("c3|");
    for (unsigned i = 0; i < LINEEDIT_HISTORY - 1; i++)
        type(DOWN);
    expect("c18|");
}

static void tab_completes(void **state)
{
    (void)state;
    type("li\t");
    expect("list |");
    type("\t\t");
    expect("list |");
    type("\x03x\t");
    expect("x|");
    type("\x03"
         "s\t");
    expect("s|");
    type("t\t");
    expect("sta|"); /* start and stats agree that far */
    assert_string_equal(terminal.above, "");
    type("\t");
    expect("sta|");
    assert_string_equal(terminal.above, "> sta\nstart  stats\n");
    type("r\tw\t");
    expect("start web|");
    type("2\t");
    expect("start web2 |");
    type("\t\t"); /* all of them */
    expect("start web2 web|");
}

static void tab_completes_inside_a_line(void **state)
{
    (void)state;
    type("li web\033[H\x06\x06\t");
    expect("list |web"); /* no second blank */
    type("\x03");
    type("shweb\033[H\x06\x06\t");
    expect("shutdown |web");
    edit.word = NULL;
    type("\t");
    expect("shutdown |web");
}

static void a_second_tab_must_follow_the_first(void **state)
{
    (void)state;
    type("s\tx\b\t");
    assert_string_equal(terminal.above, "");
    type("\t");
    assert_string_equal(terminal.above, "> s\nstart  stats  shutdown\n");
    expect("s|");
}

static void a_completion_that_does_not_fit_is_cut(void **state)
{
    (void)state;
    type("start ");
    while (edit.length < LINEEDIT_MAX - 3)
        type("x");
    type(" w\t\t");
    assert_int_equal(edit.length, LINEEDIT_MAX - 1);
    assert_false(terminal.wrong);
}

static void the_row_is_hidden_and_shown(void **state)
{
    (void)state;
    type("list" LEFT LEFT);
    lineedit_hide(&edit);
    assert_string_equal(terminal.row, "");
    assert_int_equal(terminal.column, 0);
    lineedit_show(&edit);
    expect("li|st");
    type("\x0c");
    expect("li|st");
    assert_int_equal(terminal.cleared, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(text_goes_in_at_the_cursor, setup),
        cmocka_unit_test_setup(home_and_end_have_many_names, setup),
        cmocka_unit_test_setup(characters_go_at_the_cursor, setup),
        cmocka_unit_test_setup(words_and_ends_go_at_once, setup),
        cmocka_unit_test_setup(other_keys_type_nothing, setup),
        cmocka_unit_test_setup(a_line_ends_once, setup),
        cmocka_unit_test_setup(a_full_line_takes_no_more, setup),
        cmocka_unit_test_setup(history_is_leafed_through, setup),
        cmocka_unit_test_setup(history_keeps_the_newest, setup),
        cmocka_unit_test_setup(tab_completes, setup),
        cmocka_unit_test_setup(tab_completes_inside_a_line, setup),
        cmocka_unit_test_setup(a_second_tab_must_follow_the_first, setup),
        cmocka_unit_test_setup(a_completion_that_does_not_fit_is_cut, setup),
        cmocka_unit_test_setup(the_row_is_hidden_and_shown, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
