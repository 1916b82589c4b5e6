/* plinth.toml: when a VM starts and starts again, and what it has of the CPUs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/config_share.h"
#include "tests/unit/config_rig.h"

static void checks_supervision(void **state)
{
    static const struct {
        const char *line, *error;
    } rows[] = {
        { "restart-limit = 64", "" },
        { "restart-limit = 65", "4:17 restart-limit must be 0 to 64\n" },
        { "restart-limit = -1", "4:17 restart-limit must be 0 to 64\n" },
        { "restart-limit = true", "4:17 restart-limit must be an integer such as 5, not a boolean\n" },
        { "on-crash = 'reboot'", "4:12 on-crash must be \"stop\" or \"restart\"\n" },
        { "on-reboot = false", "4:13 on-reboot must be a string such as \"restart\", not a boolean\n" },
        { "on-rebot = 'stop'", "4:1 unknown key 'on-rebot' in [vm.a]; did you mean 'on-reboot'?\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        expect_in_vm(rows[i].line, rows[i].error);
}

static void reads_supervision(void **state)
{
    (void)state;
    expect_in_vm("on-crash = 'restart'\non-reboot = 'stop'\nrestart-limit = 0", "");
    assert_int_equal(config.vm[0].on_crash, RESTART_YES);
    assert_int_equal(config.vm[0].on_reboot, RESTART_NO);
    assert_int_equal(config.vm[0].restart_limit, 0);
    expect_in_vm("on-crash = 'stop'\non-reboot = 'restart'", "");
    assert_int_equal(config.vm[0].on_crash, RESTART_NO);
    assert_int_equal(config.vm[0].on_reboot, RESTART_YES);
}

static void reads_shares(void **state)
{
    (void)state;
    expect_in_vm("cpus = 4\nweight = 250\ncap = 130\npin = '0,2-3,63'\nreserve = '2ms/10ms'", "");
    const struct config_share *share = &config.vm[0].share;
    assert_int_equal(share->weight, 250);
    assert_int_equal(share->cap, 130);
    assert_int_equal(share->pin, BIT(0) | BIT(2) | BIT(3) | BIT(63));
    assert_int_equal(share->reserve_us, 2000);
    assert_int_equal(share->period_us, 10000);

    struct share_params each = config_share_of_vcpu(share, 4);
    assert_int_equal(each.weight, 625);
    assert_int_equal(each.cap, 32);
    assert_int_equal(each.pin, share->pin);
    assert_int_equal(each.reserve_us, 2000);
    assert_int_equal(each.period_us, 10000);
    each = config_share_of_vcpu(&(struct config_share){ .weight = 1 }, 16);
    assert_int_equal(each.weight, 1);
    each = config_share_of_vcpu(&(struct config_share){ .weight = CONFIG_MAX_WEIGHT }, 1);
    assert_int_equal(each.weight, SHARE_MAX_WEIGHT);
}

#define PIN_FAULT     "4:7 pin must be CPU numbers from 0 to 63 such as \"0,2-3\"\n"
#define RESERVE_FAULT "4:11 reserve must be a time in each period, in ms or us, such as \"2ms/10ms\"\n"
#define PERIOD_FAULT  "4:11 reserve has a period (behind the '/') that is not 1ms to 1000ms\n"

static void checks_weights_and_caps(void **state)
{
    static const struct vm_row rows[] = {
        { "weight = 1", "" },
        { "weight = 1000", "" },
        { "weight = 0", "4:10 weight must be 1 to 1000\n" },
        { "weight = 1001", "4:10 weight must be 1 to 1000\n" },
        { "weight = '5'", "4:10 weight must be an integer such as 100, not a string\n" },
        { "weigth = 5", "4:1 unknown key 'weigth' in [vm.a]; did you mean 'weight'?\n" },
        { "cap = 0", "" },
        { "cap = 100", "" },
        { "cap = 101", "4:1 cap is 101, but 1 vCPU can use 100 percent; write less, or 0 for no cap\n" },
        { "cap = 200\ncpus = 2", "" },
        { "cap = 201\ncpus = 2",
          "4:1 cap is 201, but 2 vCPUs can use 200 percent; write less, or 0 for no cap\n" },
        { "cap = 2\ncpus = 2", "" },
        { "cap = 1\ncpus = 2",
          "4:1 cap must be at least 2, 1 percent for each of the 2 vCPUs, or 0 for none\n" },
        { "cap = -1", "4:7 cap must be 0 to 1600\n" },
        { "cap = 201\ncpus = 99", "5:8 cpus must be 1 to 16\n" },
    };

    (void)state;
    expect_rows(rows, ARRAY_SIZE(rows));
}

static void checks_pins(void **state)
{
    static const struct vm_row rows[] = {
        { "pin = '0'", "" },
        { "pin = ' 0 , 2-3,3-3 '", "" },
        { "pin = '0-63'", "" },
        { "pin = ''", PIN_FAULT },
        { "pin = ','", PIN_FAULT },
        { "pin = '0,'", PIN_FAULT },
        { "pin = '64'", PIN_FAULT },
        { "pin = '4294967296'", PIN_FAULT },
        { "pin = '99999999999999999999999'", PIN_FAULT },
        { "pin = '3-2'", PIN_FAULT },
        { "pin = '1-'", PIN_FAULT },
        { "pin = '-1'", PIN_FAULT },
        { "pin = '1 2'", PIN_FAULT },
        { "pin = 'all'", PIN_FAULT },
        { "pin = 1", "4:7 pin must be a string such as \"0,2-3\", not an integer\n" },
    };
    char text[400];

    (void)state;
    expect_rows(rows, ARRAY_SIZE(rows));
    /* longer than what is read of it: its beginning must not count */
    snprintf(text, sizeof(text), "pin = '%0300d'", 7);
    expect_in_vm(text, PIN_FAULT);
}

static void checks_reserves(void **state)
{
    static const struct vm_row rows[] = {
        { "reserve = '100us/1ms'", "" },
        { "reserve = '950ms/1000000us'", "" },
        { "reserve = ' 2 ms / 10 ms '", "" },
        { "reserve = ''", RESERVE_FAULT },
        { "reserve = '2/10'", RESERVE_FAULT },
        { "reserve = '2ms'", RESERVE_FAULT },
        { "reserve = '2ms/'", RESERVE_FAULT },
        { "reserve = '2ms/10s'", RESERVE_FAULT },
        { "reserve = '2m/10ms'", RESERVE_FAULT },
        { "reserve = '2ms/10ms/'", RESERVE_FAULT },
        { "reserve = '1.5ms/10ms'", RESERVE_FAULT },
        { "reserve = 2", "4:11 reserve must be a string such as \"2ms/10ms\", not an integer\n" },
        { "reserve = '200us/999us'", PERIOD_FAULT },
        { "reserve = '200us/1001ms'", PERIOD_FAULT },
        { "reserve = '200us/99999999999999999999ms'", PERIOD_FAULT },
        { "reserve = '99us/10ms'", "4:11 reserve is too little: at least 100us can be reserved\n" },
        { "reserve = '9501us/10ms'",
          "4:11 reserve is too much: at most 95 percent of the period can be reserved\n" },
        { "reserve = '9500us/10ms'", "" },
        { "cap = 20\nreserve = '2ms/10ms'", "" },
        { "cap = 19\nreserve = '2ms/10ms'",
          "4:1 cap leaves each vCPU 19 percent of a CPU, less than its reserve; raise it\n" },
        { "cap = 39\ncpus = 2\nreserve = '2ms/10ms'",
          "4:1 cap leaves each vCPU 19 percent of a CPU, less than its reserve; raise it\n" },
    };

    (void)state;
    expect_rows(rows, ARRAY_SIZE(rows));
}

/* VMs a, b and c in lines 1, 2 and 3, each with its `after`. */
static void expect_order(const char *a, const char *b, const char *c, const char *expected)
{
    static const char vm[] = "vm.%s = { memory = '2M', kernel = 'k', after = [%s] }\n";
    char text[1024];
    size_t length = (size_t)snprintf(text, sizeof(text), vm, "a", a);

    length += (size_t)snprintf(text + length, sizeof(text) - length, vm, "b", b);
    snprintf(text + length, sizeof(text) - length, vm, "c", c);
    expect_errors(text, expected);
}

static void reads_the_order_of_starts(void **state)
{
    (void)state;
    expect_order("'c'", "'a', \"c\"", "", "");
    assert_int_equal(config.vm[0].after_count, 1);
    assert_int_equal(config.vm[0].after[0].vm, 2);
    assert_int_equal(config.vm[1].after_count, 2);
    assert_string_equal(config.vm[1].after[0].name, "a");
    assert_int_equal(config.vm[1].after[0].vm, 0);
    assert_int_equal(config.vm[1].after[1].vm, 2);
    assert_int_equal(config.vm[1].after[1].place.line, 2);
    assert_int_equal(config.vm[2].after_count, 0);
    expect_in_vm("after = []", "");
}

static void refuses_orders_that_cannot_be(void **state)
{
    (void)state;
    expect_in_vm("after = 'db'", "4:9 after must be an array such as [\"db\"], not a string\n");
    expect_in_vm("after = [1]", "4:10 after must name VMs, such as [\"db\"], not an integer\n");
    expect_in_vm("after = [['a']]", "4:10 after must name VMs, such as [\"db\"], not an array\n");
    expect_in_vm("after = ['']", "4:10 after names no VM here: a name has 1 to 31 characters\n");
    expect_in_vm("after = ['abcdefghijklmnopqrstuvwxyz012345']",
                 "4:10 after names no VM here: a name has 1 to 31 characters\n");
    expect_in_vm("after = ['db']", "4:10 after names 'db', but there is no [vm.db]\n");
    expect_in_vm("after = ['a']", "4:10 'a' cannot wait for itself; take it out\n");
    expect_errors(
        "[vm.web]\nmemory = '2M'\nkernel = 'k'\nafter = ['bd']\n[vm.db]\nmemory = '2M'\nkernel = 'k'",
        "4:10 after names 'bd', which is no VM; did you mean 'db'?\n");
    assert_true(config.vm[0].broken);
    assert_false(config.vm[1].broken);
    expect_in_vm("after = ['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a']",
                 "4:10 'a' cannot wait for itself; take it out\n4:50 a VM waits for at most 8 others\n");
}

static void refuses_circles_once_each(void **state)
{
    (void)state;
    expect_order("'b'", "'a'", "",
                 "1:48 'a' waits for 'b', and that for 'a'; take one of these out of its after\n");
    expect_order("'b'", "'c'", "'a'",
                 "1:48 'a' waits for 'b', and that for 'a'; take one of these out of its after\n");
    assert_true(config.vm[0].broken);
    assert_false(config.vm[1].broken);
    /* a waits for the circle but is not in it */
    expect_order("'b'", "'c'", "'b'",
                 "2:48 'b' waits for 'c', and that for 'b'; take one of these out of its after\n");
    assert_false(config.vm[0].broken);
    expect_order("'b'", "'c', 'a'", "'c'",
                 "1:48 'a' waits for 'b', and that for 'a'; take one of these out of its after\n"
                 "3:48 'c' cannot wait for itself; take it out\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_supervision),
        cmocka_unit_test(reads_supervision),
        cmocka_unit_test(reads_shares),
        cmocka_unit_test(checks_weights_and_caps),
        cmocka_unit_test(checks_pins),
        cmocka_unit_test(checks_reserves),
        cmocka_unit_test(reads_the_order_of_starts),
        cmocka_unit_test(refuses_orders_that_cannot_be),
        cmocka_unit_test(refuses_circles_once_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
