/* Four local APICs on a bus, with vCPUs that record: the fixture of their tests. After cmocka.h. */
#pragma once

#include <string.h>
#include "tests/unit/host/host.h"
#include "devices/vlapic.h"
#include "lib/errno.h"

#define CPUS 4

struct vcpu_record {
    unsigned interrupts, nmis, inits, startups, modes;
    uint8_t startup_vector, cr8;
};

static struct vlapic_bus bus;
static struct vlapic lapic[CPUS];
static struct vcpu_record vcpu[CPUS];
static struct timer_queue queue;
static struct vclock vclock;
static unsigned eois;
static uint8_t eoi_vector;

static inline void on_interrupt(void *record)
{
    __atomic_add_fetch(&((struct vcpu_record *)record)->interrupts, 1, __ATOMIC_SEQ_CST);
}

static inline void on_nmi(void *record)
{
    ((struct vcpu_record *)record)->nmis++;
}

static inline void on_init(void *record)
{
    ((struct vcpu_record *)record)->inits++;
}

static inline void on_startup(void *record, uint8_t vector)
{
    ((struct vcpu_record *)record)->startups++;
    ((struct vcpu_record *)record)->startup_vector = vector;
}

static inline void on_priority(void *record, uint8_t cr8)
{
    ((struct vcpu_record *)record)->cr8 = cr8;
}

static inline void on_mode(void *record)
{
    ((struct vcpu_record *)record)->modes++;
}

static const struct vlapic_up up = { on_interrupt, on_priority, on_nmi, on_init, on_startup, NULL, on_mode };

static inline void on_eoi(void *ioapic, uint8_t vector)
{
    assert_ptr_equal(ioapic, &bus);
    eois++;
    eoi_vector = vector;
}

static inline uint32_t get(unsigned cpu, uint32_t reg)
{
    return (uint32_t)vlapic_read(&lapic[cpu], reg, 4);
}

static inline void put(unsigned cpu, uint32_t reg, uint32_t value)
{
    vlapic_write(&lapic[cpu], reg, 4, value);
}

static inline uint64_t msr(unsigned cpu, uint32_t number)
{
    uint64_t value = 0;

    assert_int_equal(vlapic_msr_read(&lapic[cpu], number, &value), 0);
    return value;
}

static inline void set_msr(unsigned cpu, uint32_t number, uint64_t value)
{
    assert_int_equal(vlapic_msr_write(&lapic[cpu], number, value), 0);
}

static inline void refuses_read(unsigned cpu, uint32_t number)
{
    uint64_t value;

    assert_int_equal(vlapic_msr_read(&lapic[cpu], number, &value), -EINVAL);
}

static inline void refuses_write(unsigned cpu, uint32_t number, uint64_t value)
{
    assert_int_equal(vlapic_msr_write(&lapic[cpu], number, value), -EINVAL);
}

/* In either mode. */
static inline void eoi(unsigned cpu)
{
    if (vlapic_msr_write(&lapic[cpu], MSR_X2APIC(APIC_EOI), 0))
        vlapic_write(&lapic[cpu], APIC_EOI, 4, 0);
}

static inline int take(unsigned cpu)
{
    return vlapic_take(&lapic[cpu]);
}

static inline void enter_x2apic(unsigned cpu)
{
    set_msr(cpu, MSR_APIC_BASE, msr(cpu, MSR_APIC_BASE) | APIC_BASE_EXTD);
}

static inline int rig_setup(void **unused)
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
