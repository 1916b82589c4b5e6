/* Messages between local APICs: destinations, shorthands, delivery modes, errors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include "tests/unit/vlapic_rig.h"

static unsigned requested(uint8_t vector)
{
    unsigned set = 0;

    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        if (vlapic_pending(&lapic[cpu]) == vector) {
            set |= 1u << cpu;
            assert_int_equal(vlapic_take(&lapic[cpu]), vector);
            eoi(cpu);
        }
    return set;
}

static unsigned ipi(unsigned cpu, uint32_t destination, uint32_t command)
{
    put(cpu, APIC_ICR_HIGH, destination << 24);
    put(cpu, APIC_ICR, command | 0x77);
    return requested(0x77);
}

static void physical_and_shorthand(void **unused)
{
    (void)unused;
    assert_int_equal(ipi(0, 2, 0), 1 << 2);
    assert_int_equal(ipi(0, 0xff, 0), 0xf);
    assert_int_equal(ipi(0, 9, 0), 0);
    assert_int_equal(ipi(1, 9, APIC_ICR_SELF), 1 << 1);
    assert_int_equal(ipi(1, 9, APIC_ICR_ALL), 0xf);
    assert_int_equal(ipi(1, 9, APIC_ICR_OTHERS), 0xd);
    put(2, APIC_SVR, 0xff);
    assert_int_equal(ipi(1, 2, 0), 0);
    assert_int_equal(ipi(1, 9, APIC_ICR_OTHERS), 0x9);
    assert_int_equal(get(1, APIC_ICR), APIC_ICR_OTHERS | 0x77);
    assert_int_equal(get(1, APIC_ICR_HIGH), 9u << 24);
}

static void logical_destinations(void **unused)
{
    (void)unused;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        put(cpu, APIC_LDR, 1u << (24 + cpu));
    assert_int_equal(ipi(0, 0x0a, APIC_ICR_LOGICAL), 0xa);
    assert_int_equal(ipi(0, 0xff, APIC_ICR_LOGICAL), 0xf);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        put(cpu, APIC_DFR, 0x0fffffff);
        put(cpu, APIC_LDR, (cpu / 2 << 4 | 1u << cpu % 2) << 24);
    }
    assert_int_equal(get(0, APIC_DFR), 0x0fffffff);
    assert_int_equal(ipi(0, 0x12, APIC_ICR_LOGICAL), 0x8);
    assert_int_equal(ipi(0, 0x03, APIC_ICR_LOGICAL), 0x3);
    assert_int_equal(ipi(0, 0x0c, APIC_ICR_LOGICAL), 0);
    assert_int_equal(ipi(0, 0xff, APIC_ICR_LOGICAL), 0xf);
    put(3, APIC_DFR, 0x5fffffff);
    assert_int_equal(ipi(0, 0x12, APIC_ICR_LOGICAL), 0);
}

static void x2apic_destinations(void **unused)
{
    (void)unused;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        enter_x2apic(cpu);
    assert_int_equal(msr(3, MSR_X2APIC(APIC_LDR)), 0x8);
    set_msr(0, MSR_X2APIC(APIC_ICR), UINT64_C(3) << 32 | 0x77);
    assert_int_equal(requested(0x77), 0x8);
    set_msr(0, MSR_X2APIC(APIC_ICR), UINT64_C(0xff) << 32 | 0x77);
    assert_int_equal(requested(0x77), 0);
    set_msr(0, MSR_X2APIC(APIC_ICR), UINT64_C(0xffffffff) << 32 | 0x77);
    assert_int_equal(requested(0x77), 0xf);
    set_msr(0, MSR_X2APIC(APIC_ICR), UINT64_C(0x6) << 32 | APIC_ICR_LOGICAL | 0x77);
    assert_int_equal(requested(0x77), 0x6);
    set_msr(0, MSR_X2APIC(APIC_ICR), UINT64_C(0x10006) << 32 | APIC_ICR_LOGICAL | 0x77);
    assert_int_equal(requested(0x77), 0);
    set_msr(2, MSR_X2APIC(APIC_SELF_IPI), 0x77);
    assert_int_equal(requested(0x77), 0x4);
    set_msr(2, MSR_X2APIC(APIC_SVR), 0xff);
    set_msr(2, MSR_X2APIC(APIC_SELF_IPI), 0x77);
    assert_int_equal(requested(0x77), 0);
}

static void lowest_priority_mode(void **unused)
{
    (void)unused;
    uint32_t command = APIC_MODE_LOWEST << APIC_ICR_MODE_SHIFT | 0x77;

    vlapic_set_cr8(&lapic[0], 4);
    vlapic_set_cr8(&lapic[1], 2);
    vlapic_set_cr8(&lapic[2], 1);
    vlapic_set_cr8(&lapic[3], 1);
    assert_int_equal(ipi(0, 0xff, command), 0x4);
    put(2, APIC_SVR, 0xff);
    assert_int_equal(ipi(0, 0xff, command), 0x8);
    put(3, APIC_SVR, 0xff);
    assert_int_equal(ipi(0, 0xff, command), 0x2);
}

static void nmi_init_startup(void **unused)
{
    (void)unused;
    put(1, APIC_SVR, 0xff); /* taken whether or not software has enabled the APIC */
    put(0, APIC_ICR_HIGH, 1u << 24);
    put(0, APIC_ICR, APIC_MODE_NMI << APIC_ICR_MODE_SHIFT | 3);
    assert_int_equal(vcpu[1].nmis, 1);
    put(0, APIC_ICR, APIC_MODE_INIT << APIC_ICR_MODE_SHIFT | APIC_ICR_LEVEL | APIC_ICR_ASSERT);
    assert_int_equal(vcpu[1].inits, 1);
    put(0, APIC_ICR, APIC_MODE_INIT << APIC_ICR_MODE_SHIFT | APIC_ICR_LEVEL); /* de-assert */
    assert_int_equal(vcpu[1].inits, 1);
    put(0, APIC_ICR, APIC_MODE_INIT << APIC_ICR_MODE_SHIFT);
    assert_int_equal(vcpu[1].inits, 2);
    put(0, APIC_ICR, APIC_MODE_STARTUP << APIC_ICR_MODE_SHIFT | 0x9f);
    assert_int_equal(vcpu[1].startups, 1);
    assert_int_equal(vcpu[1].startup_vector, 0x9f);
    put(0, APIC_ICR, APIC_MODE_SMI << APIC_ICR_MODE_SHIFT);
    put(0, APIC_ICR, APIC_MODE_INIT << APIC_ICR_MODE_SHIFT | APIC_ICR_SELF); /* not a valid combination */
    put(0, APIC_ICR, APIC_MODE_NMI << APIC_ICR_MODE_SHIFT | APIC_ICR_ALL);
    assert_int_equal(vcpu[0].inits + vcpu[0].nmis, 0);
    assert_int_equal(vcpu[1].nmis, 1);
}

static void globally_disabled_hears_nothing(void **unused)
{
    (void)unused;
    struct apic_message message = { .destination = 1, .vector = 0x80, .mode = APIC_MODE_NMI };

    set_msr(1, MSR_APIC_BASE, APIC_BASE_DEFAULT);
    assert_false(vlapic_bus_send(&bus, &message));
    message.mode = APIC_MODE_FIXED;
    assert_false(vlapic_bus_send(&bus, &message));
    assert_int_equal(vcpu[1].nmis, 0);
    assert_int_equal(get(1, APIC_ID), UINT32_MAX); /* the page is not there */
    set_msr(1, MSR_APIC_BASE, APIC_BASE_DEFAULT | APIC_BASE_EN);
    assert_int_equal(get(1, APIC_SVR), 0xff); /* what was set before is lost */
}

static void errors_are_latched(void **unused)
{
    (void)unused;
    put(0, APIC_LVT_ERROR, 0xe0);
    put(0, APIC_ICR, APIC_ICR_SELF | 0x0f);
    assert_int_equal(take(0), 0xe0);
    assert_int_equal(get(0, APIC_ESR), 0);
    put(0, APIC_ESR, 0);
    assert_int_equal(get(0, APIC_ESR), APIC_ESR_SEND_VECTOR);
    get(0, 0x40);
    put(0, APIC_EOI, 0);
    assert_int_equal(take(0), 0xe0);
    vlapic_request(&lapic[0], 3, false);
    put(0, APIC_ESR, 0);
    assert_int_equal(get(0, APIC_ESR), APIC_ESR_REGISTER | APIC_ESR_RECEIVE_VECTOR);
    put(0, APIC_ESR, 0);
    assert_int_equal(get(0, APIC_ESR), 0);
    put(0, APIC_VERSION, 0); /* read only, but there */
    put(0, APIC_ESR, 0);
    assert_int_equal(get(0, APIC_ESR), 0);
    put(0, 0x3f0, 0x80); /* not in this mode */
    put(0, APIC_LVT_ERROR, 0x05);
    vlapic_request(&lapic[0], 3, false); /* whose error interrupt is illegal, too */
    put(0, APIC_ESR, 0);
    assert_int_equal(get(0, APIC_ESR), APIC_ESR_REGISTER | APIC_ESR_RECEIVE_VECTOR);
}

/* --- Requests from another CPU --- */

#define ROUNDS 20000

static unsigned sent[256], taken[256];
static bool sender_done;

static void *send_from_another_cpu(void *unused)
{
    static const uint8_t vectors[] = { 0x21, 0x3f, 0x40, 0x7f, 0x80, 0xfe };

    (void)unused;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct apic_message message = { .destination = 0, .vector = vectors[round % ARRAY_SIZE(vectors)] };

        __atomic_add_fetch(&sent[message.vector], 1, __ATOMIC_SEQ_CST);
        vlapic_bus_send(&bus, &message);
    }
    __atomic_store_n(&sender_done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void take_all(void)
{
    for (int vector; (vector = take(0)) >= 0; eoi(0))
        taken[vector] = __atomic_load_n(&sent[vector], __ATOMIC_SEQ_CST);
}

/* However accept and request meet, the last request of each vector is seen. */
static void no_request_is_lost(void **unused)
{
    (void)unused;
    pthread_t sender;

    assert_int_equal(pthread_create(&sender, NULL, send_from_another_cpu, NULL), 0);
    while (!__atomic_load_n(&sender_done, __ATOMIC_SEQ_CST))
        take_all();
    assert_int_equal(pthread_join(sender, NULL), 0);
    take_all();
    assert_memory_equal(taken, sent, sizeof(sent));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(physical_and_shorthand, rig_setup),
        cmocka_unit_test_setup(logical_destinations, rig_setup),
        cmocka_unit_test_setup(x2apic_destinations, rig_setup),
        cmocka_unit_test_setup(lowest_priority_mode, rig_setup),
        cmocka_unit_test_setup(nmi_init_startup, rig_setup),
        cmocka_unit_test_setup(globally_disabled_hears_nothing, rig_setup),
        cmocka_unit_test_setup(errors_are_latched, rig_setup),
        cmocka_unit_test_setup(no_request_is_lost, rig_setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
