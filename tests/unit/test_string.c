/* lib/string.c itself, under other names: the host library leaves it out because libc has the real ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define memcpy  plinth_memcpy
#define memmove plinth_memmove
#define memset  plinth_memset
#define memcmp  plinth_memcmp
#define strlen  plinth_strlen
#define strnlen plinth_strnlen
#define strcmp  plinth_strcmp
#define strncmp plinth_strncmp
#define strchr  plinth_strchr
#include "lib/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr

#define SIZE 48

static void fill(unsigned char *buffer)
{
    for (unsigned i = 0; i < SIZE; i++)
        buffer[i] = (unsigned char)(i + 1);
}

/* Every overlap of every length against libc. */
static void test_memmove(void **state)
{
    (void)state;
    for (unsigned from = 0; from < SIZE; from += 3)
        for (unsigned to = 0; to < SIZE; to++)
            for (unsigned size = 0; size + (from > to ? from : to) <= SIZE; size++) {
                unsigned char got[SIZE], expected[SIZE];

                fill(got);
                fill(expected);
                memmove(expected + to, expected + from, size);
                assert_ptr_equal(plinth_memmove(got + to, got + from, size), got + to);
                assert_memory_equal(got, expected, SIZE);
            }
}

static void test_memcpy_memset(void **state)
{
    unsigned char got[SIZE], source[SIZE], expected[SIZE];

    (void)state;
    fill(source);
    memset(expected, 0xee, SIZE);
    memset(got, 0xee, SIZE);
    memcpy(expected + 5, source + 2, 17);
    assert_ptr_equal(plinth_memcpy(got + 5, source + 2, 17), got + 5);
    assert_memory_equal(got, expected, SIZE);
    memset(expected + 7, 0x5a, 9);
    assert_ptr_equal(plinth_memset(got + 7, 0x5a5a, 9), got + 7);
    assert_memory_equal(got, expected, SIZE);
}

static int sign(int x)
{
    return (x > 0) - (x < 0);
}

static void test_compare(void **state)
{
    static const char *const words[] = { "",
                                         "a",
                                         "ab",
                                         "abc",
                                         "abd",
                                         "b",
                                         "\x80",
                                         "\xff"
                                         "a" };

    (void)state;
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (unsigned j = 0; j < sizeof(words) / sizeof(words[0]); j++) {
            const char *a = words[i], *b = words[j];

            assert_int_equal(sign(plinth_strcmp(a, b)), sign(strcmp(a, b)));
            for (size_t max = 0; max < 5; max++)
                assert_int_equal(sign(plinth_strncmp(a, b, max)), sign(strncmp(a, b, max)));
        }
    assert_int_equal(plinth_memcmp("a\0b", "a\0c", 2), 0);
    assert_true(plinth_memcmp("a\0b", "a\0c", 3) < 0);
    assert_true(plinth_memcmp("\x80", "\x7f", 1) > 0);
}

static void test_length_and_search(void **state)
{
    const char *word = "plinth";
    char unterminated[4] = { 'a', 'b', 'c', 'd' };

    (void)state;
    assert_int_equal(plinth_strlen(""), 0);
    assert_int_equal(plinth_strlen(word), 6);
    assert_int_equal(plinth_strnlen(word, 3), 3);
    assert_int_equal(plinth_strnlen(word, 60), 6);
    assert_int_equal(plinth_strnlen(unterminated, 4), 4);
    assert_ptr_equal(plinth_strchr(word, 'i'), word + 2);
    assert_ptr_equal(plinth_strchr(word, 0), word + 6);
    assert_null(plinth_strchr(word, 'x'));
}

static void test_names(void **state)
{
    const char *list = "one,,a-long-name,two";
    char name[8];

    (void)state;
    assert_non_null(list = next_name(list, name, sizeof(name)));
    assert_string_equal(name, "one");
    assert_non_null(list = next_name(list, name, sizeof(name)));
    assert_string_equal(name, "");
    assert_non_null(list = next_name(list, name, sizeof(name)));
    assert_string_equal(name, "a-long-");
    assert_non_null(list = next_name(list, name, sizeof(name)));
    assert_string_equal(name, "two");
    assert_null(next_name(list, name, sizeof(name)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memmove), cmocka_unit_test(test_memcpy_memset),
        cmocka_unit_test(test_compare), cmocka_unit_test(test_length_and_search),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
