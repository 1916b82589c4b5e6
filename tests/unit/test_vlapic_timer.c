/* The timer of the local APIC: one-shot, periodic, TSC-deadline. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/vlapic_rig.h"

static void timer_one_shot(void **unused)
{
    (void)unused;
    put(0, APIC_LVT_TIMER, 0x40);
    put(0, APIC_TIMER_DIVIDE, 0x3); /* by 16 */
    put(0, APIC_TIMER_INITIAL, 1000);
    assert_int_equal(get(0, APIC_TIMER_CURRENT), 1000);
    host_advance(&queue, 15999);
    assert_int_equal(get(0, APIC_TIMER_CURRENT), 1);
    assert_int_equal(vlapic_pending(&lapic[0]), -1);
    host_advance(&queue, 1);
    assert_int_equal(take(0), 0x40);
    assert_int_equal(get(0, APIC_TIMER_CURRENT), 0);
    assert_int_equal(get(0, APIC_TIMER_INITIAL), 1000);
    put(0, APIC_EOI, 0);
    host_advance(&queue, 1000000);
    assert_int_equal(take(0), -1);
    put(0, APIC_TIMER_INITIAL, 1000);
    put(0, APIC_TIMER_INITIAL, 0);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
}

static void timer_divisors(void **unused)
{
    (void)unused;
    static const uint8_t divide[8] = { 0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa };

    put(0, APIC_LVT_TIMER, 0x40);
    for (unsigned shift = 0; shift < 8; shift++) {
        uint64_t start = host_tsc;

        put(0, APIC_TIMER_DIVIDE, divide[shift]);
        put(0, APIC_TIMER_INITIAL, 1000);
        assert_int_equal(timer_queue_next(&queue) - start, 1000u << shift);
    }
    /* The rate changes, the count does not. */
    host_advance(&queue, 100u << 7);
    put(0, APIC_TIMER_DIVIDE, 0xb);
    assert_int_equal(get(0, APIC_TIMER_CURRENT), 900);
    assert_int_equal(timer_queue_next(&queue), host_tsc + 900);
}

static void timer_periodic_does_not_drift(void **unused)
{
    (void)unused;
    unsigned taken = 0;

    put(0, APIC_LVT_TIMER, APIC_LVT_TIMER_PERIODIC | 0x40);
    put(0, APIC_TIMER_DIVIDE, 0xb);
    put(0, APIC_TIMER_INITIAL, 1000003);
    for (uint64_t start = host_tsc; host_tsc < start + 100 * UINT64_C(1000003);) {
        host_advance(&queue, 7919);
        if (take(0) == 0x40) {
            taken++;
            put(0, APIC_EOI, 0);
        }
    }
    assert_int_equal(taken, 100);
    /* A host that comes late by many periods delivers once and stays on the grid. */
    uint64_t due = timer_queue_next(&queue);

    host_tsc = due + 10 * UINT64_C(1000003) + 5;
    timer_queue_run(&queue, host_tsc);
    assert_int_equal(take(0), 0x40);
    assert_int_equal(timer_queue_next(&queue), due + 11 * UINT64_C(1000003));
}

static void timer_periodic_cannot_storm(void **unused)
{
    (void)unused;
    put(0, APIC_LVT_TIMER, APIC_LVT_TIMER_PERIODIC | 0x40);
    put(0, APIC_TIMER_DIVIDE, 0xb);
    put(0, APIC_TIMER_INITIAL, 1);
    assert_int_equal(timer_queue_next(&queue), host_tsc + VLAPIC_MIN_PERIOD_NS);
    host_advance(&queue, VLAPIC_MIN_PERIOD_NS);
    assert_int_equal(take(0), 0x40);
    assert_int_equal(timer_queue_next(&queue), host_tsc + VLAPIC_MIN_PERIOD_NS);
    assert_int_equal(get(0, APIC_TIMER_CURRENT), 1);
}

static void timer_masked_is_not_armed(void **unused)
{
    (void)unused;
    put(0, APIC_LVT_TIMER, APIC_LVT_MASKED | APIC_LVT_TIMER_PERIODIC | 0x40);
    put(0, APIC_TIMER_DIVIDE, 0xb);
    put(0, APIC_TIMER_INITIAL, 1000000);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
    host_advance(&queue, 2500000);
    assert_int_equal(get(0, APIC_TIMER_CURRENT), 500000);
    put(0, APIC_LVT_TIMER, APIC_LVT_TIMER_PERIODIC | 0x40);
    assert_int_equal(take(0), -1);
    assert_int_equal(timer_queue_next(&queue), host_tsc + 500000);
    put(0, APIC_SVR, 0xff);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
}

static void timer_tsc_deadline(void **unused)
{
    (void)unused;
    set_msr(0, MSR_TSC_DEADLINE, 5000); /* not in this mode */
    assert_int_equal(msr(0, MSR_TSC_DEADLINE), 0);
    put(0, APIC_LVT_TIMER, APIC_LVT_TIMER_DEADLINE | 0x40);
    put(0, APIC_TIMER_INITIAL, 1000);
    assert_int_equal(get(0, APIC_TIMER_INITIAL), 0);
    set_msr(0, MSR_TSC_DEADLINE, 5000);
    assert_int_equal(msr(0, MSR_TSC_DEADLINE), 5000);
    host_advance(&queue, 4999);
    assert_int_equal(take(0), -1);
    host_advance(&queue, 1);
    assert_int_equal(take(0), 0x40);
    assert_int_equal(msr(0, MSR_TSC_DEADLINE), 0);
    put(0, APIC_EOI, 0);
    set_msr(0, MSR_TSC_DEADLINE, 10);
    host_advance(&queue, 0);
    assert_int_equal(take(0), 0x40); /* a past deadline is due at once */
    put(0, APIC_EOI, 0);
    set_msr(0, MSR_TSC_DEADLINE, UINT64_MAX);
    set_msr(0, MSR_TSC_DEADLINE, 9000);
    set_msr(0, MSR_TSC_DEADLINE, 0);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
    set_msr(0, MSR_TSC_DEADLINE, 9000);
    put(0, APIC_LVT_TIMER, 0x40); /* a change of mode disarms */
    put(0, APIC_LVT_TIMER, APIC_LVT_TIMER_DEADLINE | 0x40);
    assert_int_equal(msr(0, MSR_TSC_DEADLINE), 0);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
    set_msr(0, MSR_TSC_DEADLINE, 9000);
    put(0, APIC_LVT_TIMER, APIC_LVT_MASKED | APIC_LVT_TIMER_DEADLINE | 0x40);
    host_advance(&queue, 10000);
    put(0, APIC_LVT_TIMER, APIC_LVT_TIMER_DEADLINE | 0x40);
    host_advance(&queue, 1);
    assert_int_equal(take(0), -1); /* it passed while masked */
    assert_int_equal(msr(0, MSR_TSC_DEADLINE), 0);
}

static void reset_stops_the_timer(void **unused)
{
    (void)unused;
    put(0, APIC_LVT_TIMER, 0x40);
    put(0, APIC_TIMER_INITIAL, 1000);
    vlapic_reset(&lapic[0]);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
    assert_int_equal(get(0, APIC_TIMER_CURRENT), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timer_one_shot, rig_setup),
        cmocka_unit_test_setup(timer_divisors, rig_setup),
        cmocka_unit_test_setup(timer_periodic_does_not_drift, rig_setup),
        cmocka_unit_test_setup(timer_periodic_cannot_storm, rig_setup),
        cmocka_unit_test_setup(timer_masked_is_not_armed, rig_setup),
        cmocka_unit_test_setup(timer_tsc_deadline, rig_setup),
        cmocka_unit_test_setup(reset_stops_the_timer, rig_setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
