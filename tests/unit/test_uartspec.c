/* Names of serial ports. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "lib/errno.h"
#include "lib/uartspec.h"

static void understands(void **state)
{
    static const struct {
        const char *text;
        uint64_t base;
        uint32_t baud;
        int gsi;
    } rows[] = {
        { "com1", 0x3f8, 115200, 4 },        { "com2", 0x2f8, 115200, 3 },  { "com3,9600", 0x3e8, 9600, 4 },
        { "com4,115200", 0x2e8, 115200, 3 }, { "0x2f8", 0x2f8, 115200, 3 }, { "0x2F8,1200", 0x2f8, 1200, 3 },
        { "0xe000", 0xe000, 115200, -1 },    { "0xfff8,1", 0xfff8, 1, -1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct uart_config config;

        assert_int_equal(uart_parse(&config, rows[i].text), 0);
        assert_int_equal(config.base, rows[i].base);
        assert_int_equal(config.baud, rows[i].baud);
        assert_int_equal(config.gsi, rows[i].gsi);
        assert_int_equal(config.isa, rows[i].gsi >= 0);
        assert_int_equal(config.stride, 1);
        assert_false(config.mmio);
    }
}

static void refuses(void **state)
{
    static const char *const rows[] = {
        "",      "com",    "com5",   "com0",       "com22",       "COM1",
        "com1,", "com1,0", "com1 ",  "com1,9600x", "com1,115201", "3f8",
        "0x",    "0x0",    "0xfff9", "0x10000",    "0x3f8;",      "0xffffffffffffffffffff"
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct uart_config config;

        assert_int_equal(uart_parse(&config, rows[i]), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(understands),
        cmocka_unit_test(refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
