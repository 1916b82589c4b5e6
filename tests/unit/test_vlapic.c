/* The virtual local APIC: priorities, end of interrupt, modes, registers, pins, saved states. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/vlapic_rig.h"

/* --- Requests, priorities, end of interrupt --- */

static void power_on(void **unused)
{
    (void)unused;
    vlapic_reset(&lapic[0]);
    vlapic_reset(&lapic[1]);
    assert_int_equal(msr(0, MSR_APIC_BASE), 0xfee00900);
    assert_int_equal(msr(1, MSR_APIC_BASE), 0xfee00800);
    assert_int_equal(get(0, APIC_SVR), 0xff);
    assert_int_equal(get(0, APIC_DFR), 0xffffffff);
    assert_int_equal(get(1, APIC_ID), 1u << 24);
    assert_int_equal(get(0, APIC_VERSION), 0x50014);
    for (uint32_t reg = APIC_LVT_TIMER; reg <= APIC_LVT_ERROR; reg += 0x10)
        assert_int_equal(get(0, reg), APIC_LVT_MASKED);
    assert_int_equal(vlapic_pending(&lapic[0]), -1);
}

static void higher_class_preempts(void **unused)
{
    (void)unused;
    vlapic_request(&lapic[0], 0x41, false);
    assert_int_equal(vcpu[0].interrupts, 1);
    vlapic_request(&lapic[0], 0x45, false);
    assert_int_equal(take(0), 0x45);
    assert_int_equal(take(0), -1); /* 0x41 is of the same class */
    assert_int_equal(get(0, APIC_PPR), 0x40);
    vlapic_request(&lapic[0], 0x91, false);
    assert_int_equal(take(0), 0x91);
    assert_int_equal(get(0, APIC_ISR + 0x20), 1u << 5);
    assert_int_equal(get(0, APIC_ISR + 0x40), 1u << 17);
    assert_int_equal(get(0, APIC_IRR + 0x20), 1u << 1);
    put(0, APIC_EOI, 0); /* 0x91 */
    assert_int_equal(get(0, APIC_PPR), 0x40);
    assert_int_equal(take(0), -1);
    vcpu[0].interrupts = 0;
    put(0, APIC_EOI, 0); /* 0x45 */
    assert_int_equal(vcpu[0].interrupts, 1);
    assert_int_equal(take(0), 0x41);
    put(0, APIC_EOI, 0);
    put(0, APIC_EOI, 0); /* none in service: nothing happens */
    assert_int_equal(get(0, APIC_PPR), 0);
    assert_int_equal(eois, 0);
}

static void all_vectors_in_order(void **unused)
{
    (void)unused;
    for (unsigned vector = 16; vector < 256; vector++)
        vlapic_request(&lapic[0], (uint8_t)vector, false);
    for (int vector = 255; vector >= 16; vector--) {
        assert_int_equal(take(0), vector);
        put(0, APIC_EOI, 0);
    }
    assert_int_equal(take(0), -1);
    assert_int_equal(lapic[0].irr_any, 0);
}

static void tpr_holds_back(void **unused)
{
    (void)unused;
    vlapic_set_cr8(&lapic[0], 5);
    assert_int_equal(get(0, APIC_TPR), 0x50);
    vlapic_request(&lapic[0], 0x5f, false);
    assert_int_equal(vlapic_pending(&lapic[0]), -1);
    vlapic_request(&lapic[0], 0x60, false);
    assert_int_equal(vlapic_pending(&lapic[0]), 0x60);
    put(0, APIC_TPR, 0x6c);
    assert_int_equal(vlapic_cr8(&lapic[0]), 6);
    assert_int_equal(vcpu[0].cr8, 6); /* the vCPU was told */
    assert_int_equal(vlapic_pending(&lapic[0]), -1);
    assert_int_equal(get(0, APIC_PPR), 0x6c);
    assert_int_equal(get(0, APIC_APR), 0x6c);
    vcpu[0].interrupts = 0;
    put(0, APIC_TPR, 0x4f);
    assert_int_equal(vcpu[0].interrupts, 1);
    assert_int_equal(take(0), 0x60);
    assert_int_equal(get(0, APIC_PPR), 0x60);
    assert_int_equal(get(0, APIC_APR), 0x50);
}

/* Only what a lower task priority would let through: what waits for an end of interrupt is not meant. */
static void held_by_tpr_alone(void **unused)
{
    (void)unused;
    assert_int_equal(vlapic_held(&lapic[0]), -1);
    vlapic_request(&lapic[0], 0x51, false);
    assert_int_equal(vlapic_held(&lapic[0]), -1); /* deliverable */
    put(0, APIC_TPR, 0x50);
    assert_int_equal(vlapic_held(&lapic[0]), 0x51);
    put(0, APIC_TPR, 0);
    assert_int_equal(take(0), 0x51);
    vlapic_request(&lapic[0], 0x52, false);
    put(0, APIC_TPR, 0x50);
    assert_int_equal(vlapic_held(&lapic[0]), -1); /* its class is in service */
    eoi(0);
    assert_int_equal(vlapic_held(&lapic[0]), 0x52);
}

static void level_eoi_is_broadcast(void **unused)
{
    (void)unused;
    struct apic_message message = { .destination = 0, .vector = 0x33, .level = true, .assert = true };

    assert_true(vlapic_bus_send(&bus, &message));
    assert_int_equal(get(0, APIC_TMR + 0x10), 1u << 19);
    assert_int_equal(take(0), 0x33);
    put(0, APIC_EOI, 0);
    assert_int_equal(eois, 1);
    assert_int_equal(eoi_vector, 0x33);
    message.level = false;
    assert_true(vlapic_bus_send(&bus, &message));
    assert_int_equal(get(0, APIC_TMR + 0x10), 0);
    assert_int_equal(take(0), 0x33);
    put(0, APIC_EOI, 0);
    assert_int_equal(eois, 1);
}

/* --- Modes and registers --- */

static void mode_changes(void **unused)
{
    (void)unused;
    const uint64_t off = APIC_BASE_DEFAULT | APIC_BASE_BSP, x = off | APIC_BASE_EN, x2 = x | APIC_BASE_EXTD;

    refuses_write(0, MSR_APIC_BASE, off | APIC_BASE_EXTD);
    refuses_write(0, MSR_APIC_BASE, x | 1);
    refuses_write(0, MSR_APIC_BASE, (x & ~APIC_BASE_ADDRESS) | 0xfed00000);
    put(0, APIC_TPR, 0x20);
    put(0, APIC_ICR_HIGH, 0x03000000);
    set_msr(0, MSR_APIC_BASE, x2);
    assert_int_equal(msr(0, MSR_X2APIC(APIC_ICR)), 0);
    assert_int_equal(msr(0, MSR_X2APIC(APIC_TPR)), 0x20);
    assert_int_equal(get(0, APIC_TPR), UINT32_MAX);
    put(0, APIC_TPR, 0x90); /* the page is not there */
    assert_int_equal(msr(0, MSR_X2APIC(APIC_TPR)), 0x20);
    refuses_write(0, MSR_APIC_BASE, x);
    refuses_write(0, MSR_APIC_BASE, off | APIC_BASE_EXTD);
    set_msr(0, MSR_APIC_BASE, off);
    refuses_read(0, MSR_X2APIC(APIC_TPR));
    refuses_write(0, MSR_APIC_BASE, x2);
    set_msr(0, MSR_APIC_BASE, x);
    assert_int_equal(get(0, APIC_TPR), 0);
    refuses_read(0, MSR_X2APIC(APIC_TPR));
    refuses_write(0, MSR_X2APIC(APIC_EOI), 0);
}

static void x2apic_faults(void **unused)
{
    (void)unused;
    static const uint32_t read_only[] = { APIC_ID,  APIC_VERSION,    APIC_PPR, APIC_LDR,
                                          APIC_ISR, APIC_TMR + 0x70, APIC_IRR, APIC_TIMER_CURRENT };
    static const uint32_t absent[] = { 0x000,         APIC_APR, APIC_RRD, APIC_DFR, APIC_LVT_CMCI,
                                       APIC_ICR_HIGH, 0x3a0,    0x400,    0xff0 };

    enter_x2apic(0);
    for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++) {
        msr(0, MSR_X2APIC(read_only[i]));
        refuses_write(0, MSR_X2APIC(read_only[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        refuses_read(0, MSR_X2APIC(absent[i]));
        refuses_write(0, MSR_X2APIC(absent[i]), 0);
    }
    refuses_read(0, MSR_X2APIC(APIC_EOI));
    refuses_read(0, MSR_X2APIC(APIC_SELF_IPI));
    refuses_read(0, 0x900);
    refuses_write(0, 0x900, 0);
    refuses_write(0, 0x7ff, 0);
    refuses_write(0, MSR_X2APIC(APIC_EOI), 1);
    refuses_write(0, MSR_X2APIC(APIC_ESR), 1);
    refuses_write(0, MSR_X2APIC(APIC_SELF_IPI), 0x100);
    refuses_write(0, MSR_X2APIC(APIC_TPR), 0x100);
    refuses_write(0, MSR_X2APIC(APIC_TPR), BIT(32));
    refuses_write(0, MSR_X2APIC(APIC_SVR), APIC_SVR_SUPPRESS_EOI | 0x1ff);
    refuses_write(0, MSR_X2APIC(APIC_LVT_TIMER), 0x100);
    refuses_write(0, MSR_X2APIC(APIC_LVT_ERROR), 0x400);
    refuses_write(0, MSR_X2APIC(APIC_LVT_LINT0), 0x800);
    refuses_write(0, MSR_X2APIC(APIC_TIMER_DIVIDE), 0x4);
    refuses_write(0, MSR_X2APIC(APIC_TIMER_INITIAL), BIT(32));
    refuses_write(0, MSR_X2APIC(APIC_ICR), BIT(13));
    refuses_write(0, MSR_X2APIC(APIC_ICR), BIT(20));
    set_msr(0, MSR_X2APIC(APIC_LVT_LINT0), 0x1f7ff);
    assert_int_equal(msr(0, MSR_X2APIC(APIC_LVT_LINT0)), 0x1a7ff);
}

static void page_access_rules(void **unused)
{
    (void)unused;
    assert_int_equal(vlapic_read(&lapic[0], APIC_VERSION + 4, 4), 0xffffffff);
    assert_int_equal(vlapic_read(&lapic[0], APIC_VERSION, 2), 0xffff);
    assert_int_equal(vlapic_read(&lapic[0], APIC_VERSION, 8), UINT64_MAX);
    vlapic_write(&lapic[0], APIC_TPR, 1, 0x50);
    vlapic_write(&lapic[0], APIC_TPR + 4, 4, 0x50);
    assert_int_equal(get(0, APIC_TPR), 0);
    put(0, APIC_LVT_PERF, UINT32_MAX);
    assert_int_equal(get(0, APIC_LVT_PERF), 0x107ff);
    put(0, APIC_LVT_TIMER, UINT32_MAX);
    assert_int_equal(get(0, APIC_LVT_TIMER), 0x500ff);
    put(0, APIC_SVR, UINT32_MAX);
    assert_int_equal(get(0, APIC_SVR), 0x3ff);
}

static void software_disable_masks(void **unused)
{
    (void)unused;
    put(0, APIC_LVT_LINT1, APIC_MODE_NMI << APIC_LVT_MODE_SHIFT);
    put(0, APIC_SVR, 0xff);
    assert_int_equal(get(0, APIC_LVT_LINT1), APIC_LVT_MASKED | 0x400);
    put(0, APIC_LVT_LINT1, 0x400);
    assert_int_equal(get(0, APIC_LVT_LINT1), APIC_LVT_MASKED | 0x400);
    put(0, APIC_SVR, 0x1ff);
    put(0, APIC_LVT_LINT1, 0x400);
    assert_int_equal(get(0, APIC_LVT_LINT1), 0x400);
}

static void init_keeps_the_mode(void **unused)
{
    (void)unused;
    enter_x2apic(2);
    set_msr(2, MSR_X2APIC(APIC_TPR), 0x30);
    vlapic_request(&lapic[2], 0x50, false);
    vlapic_init_signal(&lapic[2]);
    assert_int_equal(msr(2, MSR_APIC_BASE), APIC_BASE_DEFAULT | APIC_BASE_EN | APIC_BASE_EXTD);
    assert_int_equal(msr(2, MSR_X2APIC(APIC_TPR)), 0);
    assert_int_equal(vlapic_pending(&lapic[2]), -1);
    assert_int_equal(msr(2, MSR_X2APIC(APIC_SVR)), 0xff);
}

/* --- Pins --- */

static void lint0_carries_the_8259(void **unused)
{
    (void)unused;
    assert_false(vlapic_takes_extint(&lapic[0]));
    vlapic_lint(&lapic[0], 0, true);
    assert_int_equal(vcpu[0].interrupts, 0);
    put(0, APIC_LVT_LINT0, APIC_MODE_EXTINT << APIC_LVT_MODE_SHIFT);
    assert_true(vlapic_takes_extint(&lapic[0]));
    assert_int_equal(vcpu[0].interrupts, 1); /* INTR has been high */
    vlapic_lint(&lapic[0], 0, false);
    vlapic_lint(&lapic[0], 0, true);
    assert_int_equal(vcpu[0].interrupts, 2);
    put(0, APIC_LVT_LINT0, APIC_LVT_MASKED | APIC_MODE_EXTINT << APIC_LVT_MODE_SHIFT);
    assert_false(vlapic_takes_extint(&lapic[0]));
    set_msr(0, MSR_APIC_BASE, APIC_BASE_DEFAULT);
    assert_true(vlapic_takes_extint(&lapic[0]));
}

static void lint1_is_nmi(void **unused)
{
    (void)unused;
    vlapic_lint(&lapic[0], 1, true);
    vlapic_lint(&lapic[0], 1, false);
    assert_int_equal(vcpu[0].nmis, 0);
    put(0, APIC_LVT_LINT1, APIC_MODE_NMI << APIC_LVT_MODE_SHIFT);
    vlapic_lint(&lapic[0], 1, true);
    vlapic_lint(&lapic[0], 1, true);
    assert_int_equal(vcpu[0].nmis, 1);
    vlapic_lint(&lapic[0], 1, false);
    set_msr(0, MSR_APIC_BASE, APIC_BASE_DEFAULT);
    vlapic_lint(&lapic[0], 1, true);
    assert_int_equal(vcpu[0].nmis, 2);
}

static void lint_level_comes_again(void **unused)
{
    (void)unused;
    put(0, APIC_LVT_LINT0, APIC_LVT_LEVEL | 0x61);
    vlapic_lint(&lapic[0], 0, true);
    assert_int_equal(take(0), 0x61);
    assert_int_equal(get(0, APIC_LVT_LINT0), APIC_LVT_LEVEL | APIC_LVT_REMOTE_IRR | 0x61);
    assert_int_equal(take(0), -1);
    put(0, APIC_EOI, 0);
    assert_int_equal(take(0), 0x61);
    vlapic_lint(&lapic[0], 0, false);
    put(0, APIC_EOI, 0);
    assert_int_equal(take(0), -1);
    assert_int_equal(get(0, APIC_LVT_LINT0), APIC_LVT_LEVEL | 0x61);
}

/* --- Saved states --- */

static void save_and_load(void **unused)
{
    (void)unused;
    struct vlapic_state state;

    put(0, APIC_LVT_TIMER, 0x40);
    put(0, APIC_TIMER_DIVIDE, 0xb);
    put(0, APIC_TIMER_INITIAL, 1000);
    vlapic_request(&lapic[0], 0x55, true);
    take(0);
    vlapic_request(&lapic[0], 0x71, false);
    vlapic_save(&lapic[0], &state);
    assert_int_equal(vlapic_check(&state), 0);
    vlapic_reset(&lapic[0]);
    vcpu[0].interrupts = 0;
    vlapic_load(&lapic[0], &state);
    assert_int_equal(vcpu[0].interrupts, 1);
    assert_int_equal(take(0), 0x71);
    put(0, APIC_EOI, 0);
    assert_int_equal(get(0, APIC_PPR), 0x50);
    put(0, APIC_EOI, 0);
    assert_int_equal(eoi_vector, 0x55);
    host_advance(&queue, 1000);
    assert_int_equal(take(0), 0x40);
}

static void check_refuses(void **unused)
{
    (void)unused;
    struct vlapic_state good, bad;

#define REFUSES(change)                                                                                      \
    do {                                                                                                     \
        bad = good;                                                                                          \
        bad.change;                                                                                          \
        assert_int_equal(vlapic_check(&bad), -EINVAL);                                                       \
    } while (0)

    vlapic_save(&lapic[0], &good);
    assert_int_equal(vlapic_check(&good), 0);
    REFUSES(base = 0xfed00800);
    REFUSES(base = 0xfee00400);
    REFUSES(irr[0] = 1);
    REFUSES(tmr[0] = 0x8000);
    REFUSES(isr[4] = 0x51);
    REFUSES(isr[0] = 0x01);
    REFUSES(icr = BIT(12));
    REFUSES(tsc_deadline = 5);
    REFUSES(timer_deadline = 5);
    REFUSES(divide = 4);
    REFUSES(ldr = 1);
    REFUSES(dfr = 0);
    REFUSES(svr = 0x1000);
    REFUSES(lvt[VLAPIC_TIMER] = 0x60040);
    REFUSES(lvt[VLAPIC_ERROR] = 0x400);
    REFUSES(esr = 1);
    REFUSES(errors = 1);
    REFUSES(lint = 0x10);
    REFUSES(tpr = 0x100);
    good.svr = 0xff;
    assert_int_equal(vlapic_check(&good), 0);
    REFUSES(lvt[VLAPIC_PERF] = 0x40);
#undef REFUSES
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(power_on, rig_setup),
        cmocka_unit_test_setup(higher_class_preempts, rig_setup),
        cmocka_unit_test_setup(all_vectors_in_order, rig_setup),
        cmocka_unit_test_setup(tpr_holds_back, rig_setup),
        cmocka_unit_test_setup(held_by_tpr_alone, rig_setup),
        cmocka_unit_test_setup(level_eoi_is_broadcast, rig_setup),
        cmocka_unit_test_setup(mode_changes, rig_setup),
        cmocka_unit_test_setup(x2apic_faults, rig_setup),
        cmocka_unit_test_setup(page_access_rules, rig_setup),
        cmocka_unit_test_setup(software_disable_masks, rig_setup),
        cmocka_unit_test_setup(init_keeps_the_mode, rig_setup),
        cmocka_unit_test_setup(lint0_carries_the_8259, rig_setup),
        cmocka_unit_test_setup(lint1_is_nmi, rig_setup),
        cmocka_unit_test_setup(lint_level_comes_again, rig_setup),
        cmocka_unit_test_setup(save_and_load, rig_setup),
        cmocka_unit_test_setup(check_refuses, rig_setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
