/* The virtual local APIC: priorities, end of interrupt, IPIs, modes, pins, timer, saved states. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/unit/host/host.h"
#include "devices/vlapic.h"
#include "lib/errno.h"

#define CPUS 4

struct vcpu_record {
    unsigned interrupts, nmis, inits, startups;
    uint8_t startup_vector;
};

static struct vlapic_bus bus;
static struct vlapic lapic[CPUS];
static struct vcpu_record vcpu[CPUS];
static struct timer_queue queue;
static struct vclock vclock;
static unsigned eois;
static uint8_t eoi_vector;

static void on_interrupt(void *record)
{
    ((struct vcpu_record *)record)->interrupts++;
}

static void on_nmi(void *record)
{
    ((struct vcpu_record *)record)->nmis++;
}

static void on_init(void *record)
{
    ((struct vcpu_record *)record)->inits++;
}

static void on_startup(void *record, uint8_t vector)
{
    ((struct vcpu_record *)record)->startups++;
    ((struct vcpu_record *)record)->startup_vector = vector;
}

static const struct vlapic_up up = { on_interrupt, on_nmi, on_init, on_startup };

static void on_eoi(void *ioapic, uint8_t vector)
{
    assert_ptr_equal(ioapic, &bus);
    eois++;
    eoi_vector = vector;
}

static uint32_t get(unsigned cpu, uint32_t reg)
{
    return (uint32_t)vlapic_read(&lapic[cpu], reg, 4);
}

static void put(unsigned cpu, uint32_t reg, uint32_t value)
{
    vlapic_write(&lapic[cpu], reg, 4, value);
}

static uint64_t msr(unsigned cpu, uint32_t number)
{
    uint64_t value = 0;

    assert_int_equal(vlapic_msr_read(&lapic[cpu], number, &value), 0);
    return value;
}

static void set_msr(unsigned cpu, uint32_t number, uint64_t value)
{
    assert_int_equal(vlapic_msr_write(&lapic[cpu], number, value), 0);
}

static void refuses_read(unsigned cpu, uint32_t number)
{
    uint64_t value;

    assert_int_equal(vlapic_msr_read(&lapic[cpu], number, &value), -EINVAL);
}

static void refuses_write(unsigned cpu, uint32_t number, uint64_t value)
{
    assert_int_equal(vlapic_msr_write(&lapic[cpu], number, value), -EINVAL);
}

/* In either mode. */
static void eoi(unsigned cpu)
{
    if (vlapic_msr_write(&lapic[cpu], MSR_X2APIC(APIC_EOI), 0))
        vlapic_write(&lapic[cpu], APIC_EOI, 4, 0);
}

static int take(unsigned cpu)
{
    int vector = vlapic_pending(&lapic[cpu]);

    if (vector >= 0)
        vlapic_accept(&lapic[cpu], (uint8_t)vector);
    return vector;
}

static void enter_x2apic(unsigned cpu)
{
    set_msr(cpu, MSR_APIC_BASE, msr(cpu, MSR_APIC_BASE) | APIC_BASE_EXTD);
}

static int setup(void **unused)
{
    (void)unused;
    host_tsc = 1000;
    timer_queue_init(&queue);
    vclock_init(&vclock, HOST_TSC_HZ);
    memset(&bus, 0, sizeof(bus));
    memset(vcpu, 0, sizeof(vcpu));
    bus.eoi = on_eoi;
    bus.ioapic = &bus;
    eois = 0;
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        vlapic_init(&lapic[cpu], &bus, cpu, &up, &vcpu[cpu], &vclock, &queue);
        put(cpu, APIC_SVR, APIC_SVR_ENABLE | 0xff);
    }
    return 0;
}

/* --- Requests, priorities, end of interrupt
 * ------------------------------------------------------------------- */

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

/* --- Messages and IPIs
 * ---------------------------------------------------------------------------------------- */

static unsigned requested(uint8_t vector)
{
    unsigned set = 0;

    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        if (vlapic_pending(&lapic[cpu]) == vector) {
            set |= 1u << cpu;
            vlapic_accept(&lapic[cpu], vector);
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

/* --- Modes and registers
 * -------------------------------------------------------------------------------------- */

static void mode_changes(void **unused)
{
    (void)unused;
    const uint64_t off = APIC_BASE_DEFAULT | APIC_BASE_BSP, x = off | APIC_BASE_EN, x2 = x | APIC_BASE_EXTD;

    refuses_write(0, MSR_APIC_BASE, off | APIC_BASE_EXTD);
    refuses_write(0, MSR_APIC_BASE, x | 1);
    refuses_write(0, MSR_APIC_BASE, (x & ~APIC_BASE_ADDRESS) | 0xfed00000);
    put(0, APIC_TPR, 0x20);
    set_msr(0, MSR_APIC_BASE, x2);
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

/* --- Pins
 * ----------------------------------------------------------------------------------------------------- */

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

/* --- Timer
 * ---------------------------------------------------------------------------------------------------- */

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

/* --- Saved states
 * --------------------------------------------------------------------------------------------- */

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
        cmocka_unit_test_setup(power_on, setup),
        cmocka_unit_test_setup(higher_class_preempts, setup),
        cmocka_unit_test_setup(all_vectors_in_order, setup),
        cmocka_unit_test_setup(tpr_holds_back, setup),
        cmocka_unit_test_setup(level_eoi_is_broadcast, setup),
        cmocka_unit_test_setup(physical_and_shorthand, setup),
        cmocka_unit_test_setup(logical_destinations, setup),
        cmocka_unit_test_setup(x2apic_destinations, setup),
        cmocka_unit_test_setup(lowest_priority_mode, setup),
        cmocka_unit_test_setup(nmi_init_startup, setup),
        cmocka_unit_test_setup(globally_disabled_hears_nothing, setup),
        cmocka_unit_test_setup(errors_are_latched, setup),
        cmocka_unit_test_setup(mode_changes, setup),
        cmocka_unit_test_setup(x2apic_faults, setup),
        cmocka_unit_test_setup(page_access_rules, setup),
        cmocka_unit_test_setup(software_disable_masks, setup),
        cmocka_unit_test_setup(init_keeps_the_mode, setup),
        cmocka_unit_test_setup(lint0_carries_the_8259, setup),
        cmocka_unit_test_setup(lint1_is_nmi, setup),
        cmocka_unit_test_setup(lint_level_comes_again, setup),
        cmocka_unit_test_setup(timer_one_shot, setup),
        cmocka_unit_test_setup(timer_divisors, setup),
        cmocka_unit_test_setup(timer_periodic_does_not_drift, setup),
        cmocka_unit_test_setup(timer_periodic_cannot_storm, setup),
        cmocka_unit_test_setup(timer_masked_is_not_armed, setup),
        cmocka_unit_test_setup(timer_tsc_deadline, setup),
        cmocka_unit_test_setup(reset_stops_the_timer, setup),
        cmocka_unit_test_setup(save_and_load, setup),
        cmocka_unit_test_setup(check_refuses, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
