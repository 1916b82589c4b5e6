/* The TOML reader: what it finds is written down as text, one line for each event, and compared. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "lib/toml.h"

struct trace {
    char text[8192];
    size_t length;
};

static __printf(2, 3) void write_down(struct trace *trace, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int length = vsnprintf(trace->text + trace->length, sizeof(trace->text) - trace->length, fmt, args);
    va_end(args);
    assert_true(length >= 0 && trace->length + (size_t)length < sizeof(trace->text));
    trace->length += (size_t)length;
}

/* LINE:COLUMN PATH TYPE VALUE, with elements as #INDEX. */
static void record(void *context, const struct toml_event *event)
{
    struct trace *trace = context;
    char text[256];
    size_t length;

    write_down(trace, "%u:%u ", event->place.line, event->place.column);
    for (unsigned i = 0; i < event->depth; i++) {
        const struct toml_step *step = &event->path[i];
        if (step->element)
            write_down(trace, "#%u", step->index);
        else
            write_down(trace, "%s%s", i ? "." : "", step->key);
    }
    switch (event->type) {
    case TOML_TABLE:
        write_down(trace, event->header ? " header\n" : " table\n");
        break;
    case TOML_ARRAY:
        write_down(trace, " array\n");
        break;
    case TOML_STRING:
        length = toml_string(event, text, sizeof(text));
        assert_int_equal(length, strlen(text));
        write_down(trace, " '%s'\n", text);
        break;
    case TOML_INTEGER:
        write_down(trace, " %lld\n", (long long)event->integer);
        break;
    case TOML_BOOLEAN:
        write_down(trace, event->boolean ? " true\n" : " false\n");
        break;
    case TOML_ERROR:
        write_down(trace, "! %s\n", event->error);
        break;
    }
}

struct row {
    const char *text, *events;
};

static void check(const char *text, size_t size, const char *events)
{
    static struct trace trace;

    memset(&trace, 0, sizeof(trace));
    toml_parse(text, size, record, &trace);
    assert_string_equal(trace.text, events);
}

/* For texts that hold a NUL or are cut short. */
#define CHECK(text, events) check(text, sizeof(text) - 1, events)

#define CHECK_ROWS(rows)                                                                                     \
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)                                                            \
    check((rows)[i].text, strlen((rows)[i].text), (rows)[i].events)

static void reads_keys_and_tables(void **state)
{
    static const struct row rows[] = {
        { "", "" },
        { "\n  \n# only a comment", "" },
        { "a=1", "1:3 a 1\n" },
        { "[t]\na = 1 # c\n\n  b\t=\t2", "1:1 t header\n2:5 t.a 1\n4:7 t.b 2\n" },
        { "[ a . b ]\nc=1\n[d]\nc=2", "1:1 a.b header\n2:3 a.b.c 1\n3:1 d header\n4:3 d.c 2\n" },
        { "a . b.c = 1", "1:11 a.b.c 1\n" },
        { "\"a b\".'c.d' = 1", "1:15 a b.c.d 1\n" },
        { "\"\" = 1", "1:6  1\n" },
        { "1-2_x = 1", "1:9 1-2_x 1\n" },
        { "[x]", "1:1 x header\n" },
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void reads_strings(void **state)
{
    static const struct row rows[] = {
        { "a = \"\"", "1:5 a ''\n" },
        { "a = ''", "1:5 a ''\n" },
        { "a = \"x\\b\\t\\n\\f\\r\\\"\\\\y\"", "1:5 a 'x\b\t\n\f\r\"\\y'\n" },
        { "a = \"\\u00e9\\U0001F600\\u20AC\\u007f\"", "1:5 a '\u00e9\U0001F600\u20ac\x7f'\n" },
        { "a = 'C:\\u\\n # \"'", "1:5 a 'C:\\u\\n # \"'\n" },
        { "a = \"it's # no comment\" # one", "1:5 a 'it's # no comment'\n" },
        { "a = \"tab\there\"", "1:5 a 'tab\there'\n" },
        { "a = \"\u00e9\u20ac\U0001F600\"", "1:5 a '\u00e9\u20ac\U0001F600'\n" },
        { "a = \"\\q\"",
          "1:6 a! unknown escape; known are \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX \\UXXXXXXXX; 'single "
          "quotes' take a backslash as it is\n" },
        { "a = \"\\u00g0\"", "1:6 a! \\u needs 4 hexadecimal digits\n" },
        { "a = \"\\U0000\"", "1:6 a! \\U needs 8 hexadecimal digits\n" },
        { "a = \"\\ud7ff\\ue000\\U0010ffff\"", "1:5 a '\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf'\n" },
        { "a = \"\\udfff\"", "1:6 a! U+DFFF is not a Unicode character\n" },
        { "a = \"\\ud800\"", "1:6 a! U+D800 is not a Unicode character\n" },
        { "a = \"\\U00110000\"", "1:6 a! U+110000 is not a Unicode character\n" },
        { "a = \"\\u0000\"", "1:6 a! a string cannot hold the character U+0000\n" },
        { "a = \"x\nb = 1", "1:5 a! this string is not closed: \" is missing at its end\n2:5 b 1\n" },
        { "a = 'x", "1:5 a! this string is not closed: ' is missing at its end\n" },
        { "a = \"x\\", "1:8 a! expected an escape such as \\n or \\\", found the end of the file\n" },
        { "a = \"x\\\nb=1",
          "1:8 a! expected an escape such as \\n or \\\", found the end of the line\n2:3 b 1\n" },
        { "a = \"x\" y", "1:5 a 'x'\n1:9 a! expected the end of the line, found 'y'\n" },
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void reads_integers_and_booleans(void **state)
{
    static const char large[] = "! this number does not fit into 64 bits\n";
    static const struct {
        const char *value, *result;
    } rows[] = {
        { "0", " 0\n" },
        { "+7", " 7\n" },
        { "-0", " 0\n" },
        { "1_000_000", " 1000000\n" },
        { "0xdead_BEEF", " 3735928559\n" },
        { "0o17", " 15\n" },
        { "0b1010", " 10\n" },
        { "0x00ff", " 255\n" },
        { "9223372036854775807", " 9223372036854775807\n" },
        { "-9223372036854775808", " -9223372036854775808\n" },
        { "0x7fffffffffffffff", " 9223372036854775807\n" },
        { "true", " true\n" },
        { "false", " false\n" },
        { "9223372036854775808", large },
        { "-9223372036854775809", large },
        { "0x8000000000000000", large },
        { "99999999999999999999999999", large },
        { "007", "! a number cannot start with 0; octal is written 0o17\n" },
        { "-01", "! a number cannot start with 0; octal is written 0o17\n" },
    };
    static const char *const wrong[] = { "1__0", "_1",  "1_",   "0x",  "0xg", "0b2", "0o8",  "+0x1",
                                         "True", "yes", "256M", "a/b", "+",   "-",   "0x_1", "\u00e9" };
    char text[64], events[160];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), "a = %s", rows[i].value);
        snprintf(events, sizeof(events), "1:5 a%s", rows[i].result);
        check(text, strlen(text), events);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        snprintf(text, sizeof(text), "a = %s # c", wrong[i]);
        snprintf(events, sizeof(events),
                 "1:5 a! '%s' is no value: text needs quotes, numbers are digits only, booleans are true or "
                 "false\n",
                 wrong[i]);
        check(text, strlen(text), events);
    }
}

static void reads_arrays_and_inline_tables(void **state)
{
    static const struct row rows[] = {
        { "a = []", "1:5 a array\n" },
        { "a = [1, 2,]", "1:5 a array\n1:6 a#0 1\n1:9 a#1 2\n" },
        { "a = [ # c\n  'x' # d\n  , # e\n\n  [true],\n]\nb=1",
          "1:5 a array\n2:3 a#0 'x'\n5:3 a#1 array\n5:4 a#1#0 true\n7:3 b 1\n" },
        { "a = {} x", "1:5 a table\n1:8 a! expected the end of the line, found 'x'\n" },
        { "a = { b = 1, c.d = 'x' }", "1:5 a table\n1:11 a.b 1\n1:20 a.c.d 'x'\n" },
        { "a = [{b=[1]},'x']",
          "1:5 a array\n1:6 a#0 table\n1:9 a#0.b array\n1:10 a#0.b#0 1\n1:14 a#1 'x'\n" },
        { "a = {b=1,}\nc=1",
          "1:5 a table\n1:8 a.b 1\n1:10 a! an inline table takes no ',' after its last value\n2:3 c 1\n" },
        { "a = {\nb=1}\nc=1",
          "1:5 a table\n1:6 a! an inline table { } must be closed on the line where it began\n"
          "2:3 b 1\n2:4 b! expected the end of the line, found '}'\n3:3 c 1\n" },
        { "a = {b=1 c=2}",
          "1:5 a table\n1:8 a.b 1\n1:10 a! expected ',' or '}' in the inline table, found 'c'\n" },
        { "a = {b}", "1:5 a table\n1:7 a.b! expected '=' after the key, found '}'\n" },
        { "a = [,]", "1:5 a array\n1:6 a#0! expected a value, found ','\n" },
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void goes_on_after_an_array_with_an_error(void **state)
{
    static const struct row rows[] = {
        { "a = [1\nb = 2\n",
          "1:5 a array\n1:6 a#0 1\n2:1 a! expected ',' or ']' in the array, found 'b'\n2:5 b 2\n" },
        { "a = [\n'x,\n'y',\n{c=1},\n]\n[t]\nb = 2", "1:5 a array\n2:1 a#0! this string is not closed: ' is "
                                                     "missing at its end\n6:1 t header\n7:5 t.b 2\n" },
        { "a = [1.5,\n2]\nb=2", "1:5 a array\n1:6 a#0! floating-point numbers are not supported\n3:3 b 2\n" },
        { "a = [\n\"\"\"x,\nb = 1\n", "1:5 a array\n2:1 a#0! multi-line strings (\"\"\") are not supported; "
                                      "write it on one line\n3:5 b 1\n" },
        { "a = [\n1\n",
          "1:5 a array\n2:1 a#0 1\n3:1 a! expected ',' or ']' in the array, found the end of the file\n" },
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void names_what_is_not_supported(void **state)
{
    static const char real[] = "1:5 a! floating-point numbers are not supported\n";
    static const char date[] = "1:5 a! dates and times are not supported\n";
    static const struct row rows[] = {
        { "a = 1.5", real },
        { "a = -0.5", real },
        { "a = 1e6", real },
        { "a = 6.02E+23", real },
        { "a = inf", real },
        { "a = -nan", real },
        { "a = 1979-05-27", date },
        { "a = 1979-05-27T07:32:00Z", date },
        { "a = 07:32:00", date },
        { "a = \"\"\"\nb = 1\n\"\"\"\nc = 1",
          "1:5 a! multi-line strings (\"\"\") are not supported; write it on one line\n4:5 c 1\n" },
        { "a = '''x\nb = 1",
          "1:5 a! multi-line strings (''') are not supported; write it on one line\n2:5 b 1\n" },
        { "[[t]]\na=1\n[u]\nb=2",
          "1:1 ! arrays of tables ([[...]]) are not supported; give each table a name of its own\n"
          "3:1 u header\n4:3 u.b 2\n" },
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void goes_on_at_the_next_line(void **state)
{
    static const struct row rows[] = {
        { "'a = 1\nb=1", "1:1 ! this string is not closed: ' is missing at its end\n2:3 b 1\n" },
        { "a\nb=1", "1:2 a! expected '=' after the key, found the end of the line\n2:3 b 1\n" },
        { "a =\nb=1", "1:4 a! expected a value, found the end of the line\n2:3 b 1\n" },
        { "= 1\nb=1", "1:1 ! expected a key, found '='\n2:3 b 1\n" },
        { "a. = 1\nb=1", "1:4 a! expected a key, found '='\n2:3 b 1\n" },
        { "a = 1 2\nb=1", "1:5 a 1\n1:7 a! expected the end of the line, found '2'\n2:3 b 1\n" },
        { "[t\na=1\n[u]\nb=1", "1:3 t! expected ']' after the table's name, found the end of the line\n3:1 u "
                               "header\n4:3 u.b 1\n" },
        { "[]\na=1", "1:2 ! expected a key, found ']'\n" },
        { "[t] x\na=1", "1:5 t! expected the end of the line, found 'x'\n" },
        { "[t]\n[bad\na=!\n[t]\na=1",
          "1:1 t header\n2:5 bad! expected ']' after the table's name, found the end of the line\n"
          "3:3 a! '!' is no value: text needs quotes, numbers are digits only, booleans are true or false\n"
          "4:1 t header\n5:3 t.a 1\n" },
        { "\u00e9 = 1", "1:1 ! expected a key, found '\u00e9'\n" },
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void counts_characters_and_handles_line_ends(void **state)
{
    (void)state;
    CHECK("'\u00e9\u20ac\U0001F600' = x",
          "1:9 \u00e9\u20ac\U0001F600! 'x' is no value: text needs quotes, numbers are digits only, booleans "
          "are true or "
          "false\n");
    CHECK("\xef\xbb\xbf"
          "a = 1",
          "1:5 a 1\n");
    CHECK("a = 1\r\n[t]\r\nb = 'x'\r\n# c\r\n", "1:5 a 1\n2:1 t header\n3:5 t.b 'x'\n");
    CHECK("a = 1\rb = 2", "1:5 a 1\n1:6 a! control character U+000d is not allowed here\n");
}

static void refuses_bytes_that_are_no_text(void **state)
{
    (void)state;
    CHECK("# \xff\na=1", "1:3 ! byte 0xff is not valid UTF-8; save the file as UTF-8\n2:3 a 1\n");
    CHECK("a = '\xc3'\nb=1", "1:6 a! byte 0xc3 is not valid UTF-8; save the file as UTF-8\n2:3 b 1\n");
    CHECK("a = 'x\x01'", "1:7 a! control character U+0001 is not allowed here\n");
    CHECK("a = 'x\0y'", "1:7 a! control character U+0000 is not allowed here\n");
    CHECK("\0", "1:1 ! control character U+0000 is not allowed here\n");
    CHECK("a = [ # \x7f\n1]\nb=1",
          "1:5 a array\n1:9 a! control character U+007f is not allowed here\n3:3 b 1\n");
    CHECK("a = \xe2\x82", "1:5 a! byte 0xe2 is not valid UTF-8; save the file as UTF-8\n");
}

static void refuses_forms_that_utf8_excludes(void **state)
{
    static const char *const wrong[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80",
        "\xe2\x82x",
    };
    static const char *const right[] = { "\xc2\x80",         "\xdf\xbf",        "\xe0\xa0\x80",
                                         "\xed\x9f\xbf",     "\xee\x80\x80",    "\xef\xbf\xbf",
                                         "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf" };
    char text[32], events[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        snprintf(text, sizeof(text), "a = '%s'", wrong[i]);
        snprintf(events, sizeof(events), "1:6 a! byte 0x%02x is not valid UTF-8; save the file as UTF-8\n",
                 (unsigned)(uint8_t)wrong[i][0]);
        check(text, strlen(text), events);
    }
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        snprintf(text, sizeof(text), "a = '%s'\n?", right[i]);
        snprintf(events, sizeof(events), "1:5 a '%s'\n2:1 ! expected a key, found '?'\n", right[i]);
        check(text, strlen(text), events);
    }
}

static void shows_the_start_of_a_long_word(void **state)
{
    (void)state;
    CHECK("a = xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\u20acxx",
          "1:5 a! 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is no value: text needs quotes, numbers are "
          "digits only, "
          "booleans are true or false\n");
}

static void bounds_keys_and_nesting(void **state)
{
    char text[128], events[256];

    (void)state;
    memset(text, 'k', 63);
    strcpy(text + 63, "=1");
    snprintf(events, sizeof(events), "1:65 %.63s 1\n", text);
    check(text, strlen(text), events);
    memset(text, 'k', 64);
    strcpy(text + 64, "=1\nb=1");
    check(text, strlen(text), "1:1 ! this key is longer than 63 bytes\n2:3 b 1\n");

    CHECK("a.b.c.d.e.f.g.h=1", "1:17 a.b.c.d.e.f.g.h 1\n");
    CHECK("a.b.c.d.e.f.g.h.i=1\nj=1", "1:17 a.b.c.d.e.f.g.h! this is nested deeper than 8 levels\n2:3 j 1\n");
    CHECK("a=[[[[[[[1]]]]]]]",
          "1:3 a array\n1:4 a#0 array\n1:5 a#0#0 array\n1:6 a#0#0#0 array\n1:7 a#0#0#0#0 array\n"
          "1:8 a#0#0#0#0#0 array\n1:9 a#0#0#0#0#0#0 array\n1:10 a#0#0#0#0#0#0#0 1\n");
    CHECK("[a.b.c.d.e.f.g.h]\nx=1\n[y]",
          "1:1 a.b.c.d.e.f.g.h header\n2:1 a.b.c.d.e.f.g.h! this is nested deeper than 8 levels\n3:1 y "
          "header\n");
}

static void cut_string(void *context, const struct toml_event *event)
{
    char *to = context;

    assert_int_equal(toml_string(event, to, 4), 6);
}

static void cuts_a_string_to_the_buffer(void **state)
{
    char to[8] = "zzzzzzz";

    (void)state;
    toml_parse("a = \"1\\n3456\"", 13, cut_string, to);
    assert_string_equal(to, "1\n3");
    assert_int_equal(to[4], 'z');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_keys_and_tables),
        cmocka_unit_test(reads_strings),
        cmocka_unit_test(reads_integers_and_booleans),
        cmocka_unit_test(reads_arrays_and_inline_tables),
        cmocka_unit_test(goes_on_after_an_array_with_an_error),
        cmocka_unit_test(names_what_is_not_supported),
        cmocka_unit_test(goes_on_at_the_next_line),
        cmocka_unit_test(counts_characters_and_handles_line_ends),
        cmocka_unit_test(refuses_bytes_that_are_no_text),
        cmocka_unit_test(refuses_forms_that_utf8_excludes),
        cmocka_unit_test(shows_the_start_of_a_long_word),
        cmocka_unit_test(bounds_keys_and_nesting),
        cmocka_unit_test(cuts_a_string_to_the_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
