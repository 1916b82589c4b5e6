/* MSI-X: what is sent, what waits, and what is no message. A real local APIC receives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "devices/vlapic.h"
#include "devices/vmsix.h"
#include "lib/errno.h"
#include "tests/unit/board.h"

#define ENABLE 0x80000000u
#define MASK   0x40000000u

static struct board board;
static struct vlapic_bus bus;
static struct vlapic lapic[2];
static struct vmsix msix;
static unsigned nmis;

static void none(void *vcpu)
{
    (void)vcpu;
}

static void none_8(void *vcpu, uint8_t what)
{
    (void)vcpu;
    (void)what;
}

static void on_nmi(void *vcpu)
{
    (void)vcpu;
    nmis++;
}

static const struct vlapic_up up = { none, none_8, on_nmi, none, none_8, NULL, none };

static void entry(unsigned i, uint32_t address, uint32_t high, uint32_t data, uint32_t control)
{
    vmsix_write_table(&msix, 16 * i, 4, address);
    vmsix_write_table(&msix, 16 * i + 4, 4, high);
    vmsix_write_table(&msix, 16 * i + 8, 4, data);
    vmsix_write_table(&msix, 16 * i + 12, 4, control);
}

static int setup(void **state)
{
    (void)state;
    board_init(&board);
    memset(&bus, 0, sizeof(bus));
    nmis = 0;
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        vlapic_init(&lapic[cpu], &bus, cpu, &up, NULL, &board.clock, &board.queue);
        vlapic_write(&lapic[cpu], APIC_SVR, 4, 0x1ff);
        vlapic_write(&lapic[cpu], APIC_LDR, 4, 0x01000000u << cpu);
    }
    vmsix_init(&msix, &bus, 3);
    vmsix_control(&msix, ENABLE);
    for (unsigned i = 0; i < 3; i++)
        entry(i, 0xfee00000, 0, 0x50 + i, 0);
    return 0;
}

static bool came(unsigned cpu, unsigned vector)
{
    uint64_t *irr = &lapic[cpu].state.irr[vector / 64], bit = BIT(vector % 64), old = *irr;

    *irr &= ~bit;
    return old & bit;
}

static void messages_go_where_they_say(void **state)
{
    (void)state;
    vmsix_raise(&msix, 1);
    assert_true(came(0, 0x51));
    assert_false(came(0, 0x50));
    entry(2, 0xfee01000, 0, 0x60, 0); /* id 1 */
    vmsix_raise(&msix, 2);
    assert_true(came(1, 0x60));
    assert_false(came(0, 0x60));
    entry(2, 0xfee03004, 0, 0x61, 0); /* logical: both */
    vmsix_raise(&msix, 2);
    assert_true(came(0, 0x61));
    assert_true(came(1, 0x61));
    entry(2, 0xfeeff000, 0, 0x62, 0); /* everyone */
    vmsix_raise(&msix, 2);
    assert_true(came(0, 0x62));
    assert_true(came(1, 0x62));
    entry(2, 0xfee00000, 0, 0x400, 0); /* NMI */
    vmsix_raise(&msix, 2);
    assert_int_equal(nmis, 1);
}

static void what_is_no_message_goes_nowhere(void **state)
{
    static const uint32_t address[][2] = {
        { 0xfed00000, 0 }, { 0x1000, 0 }, { 0xfee00000, 1 }, { 0xfef00000, 0 }
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(address); i++) {
        entry(0, address[i][0], address[i][1], 0x70, 0);
        vmsix_raise(&msix, 0);
        assert_false(came(0, 0x70));
    }
    vmsix_raise(&msix, 3);
    vmsix_raise(&msix, 0xffff);
    assert_int_equal(vmsix_read_pending(&msix, 0, 4), 0);
}

static void a_masked_vector_waits(void **state)
{
    (void)state;
    vmsix_write_table(&msix, 12, 4, 1);
    vmsix_raise(&msix, 0);
    vmsix_raise(&msix, 0);
    assert_false(came(0, 0x50));
    assert_int_equal(vmsix_read_pending(&msix, 0, 4), 1);
    vmsix_raise(&msix, 1); /* the others do not */
    assert_true(came(0, 0x51));
    vmsix_write_table(&msix, 12, 4, 0);
    assert_true(came(0, 0x50));
    assert_int_equal(vmsix_read_pending(&msix, 0, 1), 0);
    vmsix_control(&msix, ENABLE | MASK);
    vmsix_raise(&msix, 2);
    vmsix_write_table(&msix, 44, 4, 0);
    assert_false(came(0, 0x52));
    vmsix_control(&msix, ENABLE);
    assert_true(came(0, 0x52));
}

static void disabled_it_is_silent(void **state)
{
    (void)state;
    vmsix_control(&msix, 0);
    assert_false(vmsix_enabled(&msix));
    vmsix_raise(&msix, 0);
    assert_false(came(0, 0x50));
    vmsix_control(&msix, ENABLE);
    assert_false(came(0, 0x50));
    vmsix_reset(&msix);
    vmsix_control(&msix, ENABLE);
    vmsix_raise(&msix, 0); /* masked, and empty */
    assert_int_equal(vmsix_read_pending(&msix, 0, 4), 1);
    assert_int_equal(vmsix_read_table(&msix, 12, 4), 1);
}

static void the_table_takes_dwords_only(void **state)
{
    (void)state;
    vmsix_write_table(&msix, 8, 1, 0xff);
    vmsix_write_table(&msix, 8, 2, 0xffff);
    vmsix_write_table(&msix, 48, 4, 0xff); /* behind its end */
    assert_int_equal(vmsix_read_table(&msix, 8, 4), 0x50);
    assert_int_equal(vmsix_read_table(&msix, 48, 4), 0);
    entry(0, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
    assert_int_equal(vmsix_read_table(&msix, 0, 4), 0xfffffffc);
    assert_int_equal(vmsix_read_table(&msix, 12, 4), 1);
    assert_int_equal(vmsix_read_table(&msix, 9, 1), 0xff);
}

static void its_capability(void **state)
{
    struct vpci_function function = { 0 };

    (void)state;
    vmsix_capability(&msix, &function, 16, 0x50, 1, 0x4000, 0x5000);
    assert_int_equal(function.config[16], 0x00025011);
    assert_int_equal(function.config[17], 0x4001);
    assert_int_equal(function.config[18], 0x5001);
    assert_int_equal(function.writable[16], 0xc0000000);
}

static void its_state_goes_elsewhere(void **state)
{
    struct vmsix_state saved, bad;

    (void)state;
    vmsix_write_table(&msix, 12, 4, 1);
    vmsix_raise(&msix, 0);
    vmsix_save(&msix, &saved);
    assert_int_equal(vmsix_check(&msix, &saved), 0);
    vmsix_reset(&msix);
    vmsix_load(&msix, &saved);
    vmsix_control(&msix, ENABLE);
    assert_false(came(0, 0x50));
    vmsix_write_table(&msix, 12, 4, 0);
    assert_true(came(0, 0x50));
#define REFUSED(change)                                                                                      \
    bad = saved;                                                                                             \
    change;                                                                                                  \
    assert_int_equal(vmsix_check(&msix, &bad), -EINVAL)
    REFUSED(bad.pending = 8);
    REFUSED(bad.table[3][2] = 1);
    REFUSED(bad.table[0][0] |= 1);
    REFUSED(bad.table[0][3] = 2);
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(messages_go_where_they_say, setup),
        cmocka_unit_test_setup(what_is_no_message_goes_nowhere, setup),
        cmocka_unit_test_setup(a_masked_vector_waits, setup),
        cmocka_unit_test_setup(disabled_it_is_silent, setup),
        cmocka_unit_test_setup(the_table_takes_dwords_only, setup),
        cmocka_unit_test_setup(its_capability, setup),
        cmocka_unit_test_setup(its_state_goes_elsewhere, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
