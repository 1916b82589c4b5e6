/* format_text() against what C17 7.21.6.1 says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "lib/format.h"
#include "lib/types.h"

#define EXPECT(text, ...)                                                                                    \
    do {                                                                                                     \
        char got[128];                                                                                       \
        int length = format_text(got, sizeof(got), __VA_ARGS__);                                             \
        assert_string_equal(got, text);                                                                      \
        assert_int_equal(length, strlen(text));                                                              \
    } while (0)

static void test_integers(void **state)
{
    (void)state;
    EXPECT("0", "%d", 0);
    EXPECT("-2147483648", "%d", INT_MIN);
    EXPECT("-9223372036854775808", "%lld", LLONG_MIN);
    EXPECT("18446744073709551615", "%lu", UINT64_MAX);
    EXPECT("18446744073709551615", "%zu", SIZE_MAX);
    EXPECT("deadbeef", "%x", 0xdeadbeefu);
    EXPECT("DEADBEEFCAFEF00D", "%lX", 0xdeadbeefcafef00dul);
    EXPECT("-1 255", "%hhd %hhu", -1, 255);
    EXPECT("-1 65535", "%hd %hu", -1, 65535);
    EXPECT("7", "%i", 7);
}

static void test_flags_width_precision(void **state)
{
    (void)state;
    EXPECT("   42|42   |00042", "%5d|%-5d|%05d", 42, 42, 42);
    EXPECT("+42| 42|+0042", "%+d|% d|%+05d", 42, 42, 42);
    EXPECT("-0042", "%05d", -42);
    EXPECT("0x2a|0X2A|0|0x00002a", "%#x|%#X|%#x|%#08x", 42, 42, 0, 42);
    EXPECT("  0042|0042", "%6.4d|%.4d", 42, 42);
    EXPECT("", "%.0d", 0);
    EXPECT("  042|42   ", "%*.*d|%*d", 5, 3, 42, -5, 42);
    EXPECT("42", "%.*d", -3, 42);
}

static void test_text(void **state)
{
    char unterminated[3] = { 'a', 'b', 'c' };
    const char *volatile null = NULL; /* hidden from the format check */

    (void)state;
    EXPECT("a|  a|a  ", "%c|%3c|%-3c", 'a', 'a', 'a');
    EXPECT("word|  word|word  |wo", "%s|%6s|%-6s|%.2s", "word", "word", "word", "word");
    EXPECT("abc", "%.3s", unterminated);
    EXPECT("(null)", "%s", null);
    EXPECT("100%", "%d%%", 100);
    EXPECT("0x1000", "%p", (void *)0x1000);
    EXPECT("", "%s", "");
}

static void test_bounds(void **state)
{
    char buffer[8];
    volatile int huge = INT_MAX, negative = INT_MIN; /* hidden from the format check */

    (void)state;
    memset(buffer, 'z', sizeof(buffer));
    assert_int_equal(format_text(buffer, 4, "%s", "abcdef"), 6);
    assert_memory_equal(buffer, "abc\0zzzz", 8);
    assert_int_equal(format_text(buffer, 4, "%10d", 5), 10);
    assert_memory_equal(buffer, "   \0zzzz", 8);
    assert_int_equal(format_text(buffer, 1, "%d", 123), 3);
    assert_memory_equal(buffer, "\0", 1);
    buffer[0] = 'q';
    assert_int_equal(format_text(buffer, 0, "%d", 123), 3);
    assert_int_equal(buffer[0], 'q');
    assert_int_equal(format_text(NULL, 0, "abc"), 3);
    /* A width near INT_MAX must take no time and write only what fits. */
    assert_int_equal(format_text(buffer, 4, "%*d%*d", huge, 1, huge, 1), INT_MAX);
    assert_memory_equal(buffer, "   \0", 4);
    assert_int_equal(format_text(buffer, 4, "%*d", negative, 1), INT_MAX);
    assert_memory_equal(buffer, "1  \0", 4);
}

static uint64_t seed = 1;

static uint32_t random_32(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* libc's snprintf is the model. */
static void test_against_libc(void **state)
{
    static const char *const length[] = { "hh", "h", "", "l", "ll", "z" };

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        char fmt[32], expected[128], got[128];
        char *p = fmt;
        uint64_t value = ((uint64_t)random_32() << 32 | random_32()) >> random_32() % 64;
        size_t size = random_32() % 40;
        int expected_length, got_length;

        *p++ = '%';
        for (const char *flag = "-0+ #"; *flag; flag++)
            if (random_32() % 3 == 0 && (*flag != '#'))
                *p++ = *flag;
        if (random_32() % 2)
            p += sprintf(p, "%u", 1 + random_32() % 30);
        if (random_32() % 2)
            p += sprintf(p, ".%u", random_32() % 30);
        sprintf(p, "%s%c", length[random_32() % ARRAY_SIZE(length)], "diuxX"[random_32() % 5]);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
        expected_length = snprintf(expected, size, fmt, value);
        got_length = format_text(got, size, fmt, value);
#pragma GCC diagnostic pop
        assert_int_equal(got_length, expected_length);
        if (size)
            assert_string_equal(got, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),     cmocka_unit_test(test_flags_width_precision),
        cmocka_unit_test(test_text),         cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_against_libc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
