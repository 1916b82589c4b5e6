/* What `set` and the config say of a VM's hold on the CPUs, and how it is written out. The config's own
 * checks of it are in test_config_life.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "kernel/config_share.h"

static void sets_shares(void **state)
{
    static const struct {
        const char *key, *value, *fault;
    } rows[] = {
        { "weight", "1", NULL },
        { "weight", "1000", NULL },
        { "weight", "0", "must be a number from 1 to 1000" },
        { "weight", "1001", "must be a number from 1 to 1000" },
        { "weight", "", "must be a number from 1 to 1000" },
        { "weight", "5x", "must be a number from 1 to 1000" },
        { "weight", "none", "must be a number from 1 to 1000" },
        { "weight", "99999999999999999999", "must be a number from 1 to 1000" },
        { "cap", "1600", NULL },
        { "cap", "1601", "must be percent of one CPU, up to 100 for each vCPU, or none" },
        { "cap", "all", "must be percent of one CPU, up to 100 for each vCPU, or none" },
        { "pin", "2-", "must be CPU numbers from 0 to 63 such as \"0,2-3\"" },
        { "pin", "none", "must be CPU numbers from 0 to 63 such as \"0,2-3\"" },
        { "reserve", "2ms", "must be a time in each period, in ms or us, such as \"2ms/10ms\"" },
        { "colour", "red", "" },
    };
    struct config_share share = { .weight = 7 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config_share before = share;
        const char *fault = config_set_share(&share, rows[i].key, rows[i].value);

        if (rows[i].fault)
            assert_string_equal(fault, rows[i].fault);
        else
            assert_null(fault);
        assert_true(!rows[i].fault == (memcmp(&before, &share, sizeof(share)) != 0));
    }
    assert_null(config_set_share(&share, "weight", "30"));
    assert_null(config_set_share(&share, "cap", "40"));
    assert_null(config_set_share(&share, "pin", "1,3"));
    assert_null(config_set_share(&share, "reserve", "1ms/9ms"));
    assert_int_equal(share.weight, 30);
    assert_int_equal(share.cap, 40);
    assert_int_equal(share.pin, BIT(1) | BIT(3));
    assert_int_equal(share.reserve_us, 1000);
    assert_int_equal(share.period_us, 9000);
    assert_null(config_set_share(&share, "cap", "none"));
    assert_null(config_set_share(&share, "pin", "all"));
    assert_null(config_set_share(&share, "reserve", "none"));
    assert_int_equal(share.cap, 0);
    assert_int_equal(share.pin, 0);
    assert_int_equal(share.reserve_us, 0);
    for (unsigned i = 0; config_share_key(i); i++) /* each is known, and "" is a value of none */
        assert_string_not_equal(config_set_share(&share, config_share_key(i), ""), "");
    assert_null(config_share_key(4));
}

static void writes_shares(void **state)
{
    static const struct {
        uint64_t pin;
        const char *text;
    } pins[] = { { 0, "all" },
                 { BIT(0), "0" },
                 { BIT(0) | BIT(2) | BIT(3), "0,2-3" },
                 { UINT64_MAX, "0-63" },
                 { BIT(62) | BIT(63), "62-63" } };
    static const struct {
        uint32_t reserve, period;
        const char *text;
    } reserves[] = { { 0, 0, "none" },
                     { 2000, 10000, "2ms/10ms" },
                     { 150, 1500, "150us/1500us" },
                     { 950000, 1000000, "950ms/1000ms" } };
    char text[CONFIG_PIN_TEXT];
    uint64_t pin;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
        assert_string_equal(config_pin_text(pins[i].pin, text), pins[i].text);
    config_pin_text(0x5555555555555555, text); /* the longest one */
    assert_null(config_read_pin(text, &pin));
    assert_true(pin == 0x5555555555555555);
    for (size_t i = 0; i < ARRAY_SIZE(reserves); i++) {
        struct share_params params = { .reserve_us = reserves[i].reserve, .period_us = reserves[i].period };
        assert_string_equal(config_reserve_text(&params, text), reserves[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_shares),
        cmocka_unit_test(writes_shares),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
