#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "lib/crc32.h"

/* The check value of the catalogues, and values that any zlib gives. */
static void known_values(void **state)
{
    static const struct {
        const char *text;
        uint32_t crc;
    } cases[] = { { "", 0 },
                  { "a", 0xe8b7be43 },
                  { "abc", 0x352441c2 },
                  { "123456789", 0xcbf43926 },
                  { "The quick brown fox jumps over the lazy dog", 0x414fa339 } };
    static const uint8_t zeroes[32];

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(crc32(0, cases[i].text, strlen(cases[i].text)), cases[i].crc);
    assert_int_equal(crc32(0, zeroes, sizeof(zeroes)), 0x190a55ad);
}

static void pieces_are_as_the_whole(void **state)
{
    uint8_t data[256];

    (void)state;
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    assert_int_equal(crc32(0, data, sizeof(data)), 0x29058c73);
    for (unsigned cut = 0; cut <= sizeof(data); cut++)
        assert_int_equal(crc32(crc32(0, data, cut), data + cut, sizeof(data) - cut), 0x29058c73);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(pieces_are_as_the_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
