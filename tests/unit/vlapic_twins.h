/*
 * Two machines that get the same accesses, interrupts and time. In `paged` vCPUs may have a virtual-APIC
 * page, and the CPU of vlapic_cpu.h; `plain` has none. They must never differ. REQUIRE as in vlapic_cpu.h.
 */
#pragma once

#include <stddef.h>
#include "tests/unit/host/host.h"
#include "tests/unit/vlapic_cpu.h"

#define TWINS 3

struct twin_vcpu {
    struct apic_cpu *cpu; /* NULL: in the plain machine */
    unsigned nmis, inits, startups, modes;
};

struct twin {
    struct vlapic_bus bus;
    struct vlapic lapic[TWINS];
    struct twin_vcpu vcpu[TWINS];
    struct timer_queue queue;
    struct vclock clock;
    unsigned eois;
};

static struct twin plain, paged;
static struct apic_cpu cpus[TWINS];

static inline void twin_interrupt(void *vcpu)
{
    if (((struct twin_vcpu *)vcpu)->cpu)
        ((struct twin_vcpu *)vcpu)->cpu->posted = true;
}

static inline void twin_priority(void *vcpu, uint8_t cr8)
{
    if (((struct twin_vcpu *)vcpu)->cpu)
        ((struct twin_vcpu *)vcpu)->cpu->cr8 = cr8;
}

static inline void twin_nmi(void *vcpu)
{
    ((struct twin_vcpu *)vcpu)->nmis++;
}

static inline void twin_init(void *vcpu)
{
    ((struct twin_vcpu *)vcpu)->inits++;
}

static inline void twin_startup(void *vcpu, uint8_t vector)
{
    ((struct twin_vcpu *)vcpu)->startups += 1u + vector;
}

static inline void twin_mode(void *vcpu)
{
    struct apic_cpu *cpu = ((struct twin_vcpu *)vcpu)->cpu;

    ((struct twin_vcpu *)vcpu)->modes++;
    if (cpu && !(cpu->keeps && cpu->lapic->page))
        cpu_mode(cpu);
}

static const struct vlapic_up twin_up = { twin_interrupt, twin_priority, twin_nmi, twin_init,
                                          twin_startup,   NULL,          twin_mode };

static inline void twin_eoi(void *twin, uint8_t vector)
{
    ((struct twin *)twin)->eois += 1u + vector;
}

static inline void twin_start(struct twin *twin)
{
    memset(twin, 0, sizeof(*twin));
    timer_queue_init(&twin->queue);
    vclock_init(&twin->clock, HOST_TSC_HZ);
    twin->bus.eoi = twin_eoi;
    twin->bus.ioapic = twin;
    for (unsigned i = 0; i < TWINS; i++) {
        twin->vcpu[i].cpu = twin == &paged ? &cpus[i] : NULL;
        cpus[i].lapic = &paged.lapic[i];
        vlapic_init(&twin->lapic[i], &twin->bus, i, &twin_up, &twin->vcpu[i], &twin->clock, &twin->queue);
    }
}

static inline void twins_start(void)
{
    host_tsc = 1;
    memset(cpus, 0, sizeof(cpus));
    twin_start(&plain);
    twin_start(&paged);
}

/* --- What must be the same --- */

/* A register that the CPU reads from the page, as software reads it. False: the CPU does not, or not always.
 */
static inline bool twin_readable(struct vlapic *lapic, uint32_t reg, uint64_t *value)
{
    if (reg == APIC_TIMER_CURRENT || (reg >= APIC_TMR && reg < APIC_ESR))
        return false;
    if (vlapic_x2apic(lapic))
        return !vlapic_msr_read(lapic, MSR_X2APIC(reg), value);
    if (!cpu_takes_write(reg) && reg != APIC_VERSION && reg != APIC_PPR &&
        (reg < APIC_ISR || reg >= APIC_TMR))
        return false;
    *value = vlapic_read(lapic, reg, 4);
    return true;
}

static inline void twin_check_page(unsigned i)
{
    struct vlapic *lapic = &plain.lapic[i];
    uint32_t remotes = VLAPIC_LINT_REMOTES;

    REQUIRE(paged.lapic[i].page == (cpus[i].wanted && vlapic_enabled(lapic) ? cpus[i].page : NULL));
    if (!paged.lapic[i].page)
        return;
    REQUIRE(vlapic_held(&paged.lapic[i]) == -1 && vlapic_take(&paged.lapic[i]) == -1);
    for (uint32_t reg = 0; reg < 0x400; reg += 0x10) {
        uint64_t value;
        bool lint = reg == APIC_LVT_LINT0 || reg == APIC_LVT_LINT1;

        if (!twin_readable(lapic, reg, &value))
            continue;
        if (lint && (cpus[i].posted || (lapic->state.lint & remotes) != paged.lapic[i].page_lint))
            continue; /* its remote IRR is shown at the next entry */
        REQUIRE((vlapic_x2apic(lapic) ? cpu_rdmsr(&cpus[i], MSR_X2APIC(reg)) : cpus[i].page[reg / 4]) ==
                value);
    }
}

static inline void twins_check(void)
{
    struct vlapic_state first, second;

    REQUIRE(plain.eois == paged.eois);
    for (unsigned i = 0; i < TWINS; i++) {
        const struct twin_vcpu *one = &plain.vcpu[i], *other = &paged.vcpu[i];

        REQUIRE(one->nmis == other->nmis && one->inits == other->inits && one->startups == other->startups);
        REQUIRE(one->modes == other->modes);
        REQUIRE(vlapic_pending(&plain.lapic[i]) == vlapic_pending(&paged.lapic[i]));
        REQUIRE(vlapic_cr8(&plain.lapic[i]) == vlapic_cr8(&paged.lapic[i]));
        vlapic_save(&plain.lapic[i], &first);
        vlapic_save(&paged.lapic[i], &second);
        REQUIRE(!memcmp(&first, &second, offsetof(struct vlapic_state, isr) + sizeof(first.isr)));
        REQUIRE(!vlapic_check(&second));
        twin_check_page(i);
    }
}

/* --- What happens to both --- */

static inline uint64_t twin_msr_read(struct vlapic *lapic, uint32_t msr)
{
    uint64_t value;

    return vlapic_msr_read(lapic, msr, &value) ? UINT64_MAX : value;
}

static inline void twins_write(unsigned i, bool by_cpu, uint32_t offset, uint32_t value)
{
    vlapic_write(&plain.lapic[i], offset, 4, value);
    if (by_cpu && cpu_takes_write(offset) && paged.lapic[i].page && !vlapic_x2apic(&paged.lapic[i])) {
        cpu_enter(&cpus[i]);
        cpu_write(&cpus[i], offset, value);
    } else {
        vlapic_write(&paged.lapic[i], offset, 4, value);
    }
}

static inline void twins_wrmsr(unsigned i, bool by_cpu, uint32_t msr, uint64_t value)
{
    int err = vlapic_msr_write(&plain.lapic[i], msr, value);

    if (by_cpu && paged.lapic[i].page && vlapic_x2apic(&paged.lapic[i])) {
        cpu_enter(&cpus[i]);
        REQUIRE(cpu_wrmsr(&cpus[i], msr, value) == err);
    } else {
        REQUIRE(vlapic_msr_write(&paged.lapic[i], msr, value) == err);
    }
}

static inline void twins_cr8(unsigned i, bool by_cpu, uint8_t cr8)
{
    vlapic_set_cr8(&plain.lapic[i], cr8);
    if (by_cpu && paged.lapic[i].page) {
        cpu_enter(&cpus[i]);
        cpu_write_tpr(&cpus[i], (uint32_t)cr8 << 4);
    } else {
        vlapic_set_cr8(&paged.lapic[i], cr8);
    }
}

/* The vector; -1: none. */
static inline int twins_deliver(unsigned i)
{
    int vector = vlapic_take(&plain.lapic[i]);

    if (paged.lapic[i].page) {
        cpu_enter(&cpus[i]);
        REQUIRE(cpu_deliver(&cpus[i]) == vector);
    } else {
        REQUIRE(vlapic_take(&paged.lapic[i]) == vector);
    }
    return vector;
}

static inline void twins_send(const struct apic_message *message)
{
    REQUIRE(vlapic_bus_send(&plain.bus, message) == vlapic_bus_send(&paged.bus, message));
}

static inline void twins_advance(uint64_t ticks)
{
    uint64_t from = host_tsc;

    host_advance(&plain.queue, ticks);
    host_tsc = from;
    host_advance(&paged.queue, ticks);
}

/* Saves, changes one byte, and loads if that is a state that may be. */
static inline void twins_load(unsigned i, uint64_t at, uint8_t change)
{
    struct vlapic_state state;

    vlapic_save(&paged.lapic[i], &state);
    ((uint8_t *)&state)[at % sizeof(state)] ^= change;
    if (vlapic_check(&state))
        return;
    vlapic_load(&plain.lapic[i], &state);
    vlapic_load(&paged.lapic[i], &state);
}

static inline void twins_attach(unsigned i, bool wanted)
{
    cpus[i].wanted = wanted;
    cpu_mode(&cpus[i]);
}

static inline void twins_message(uint64_t a, uint64_t b)
{
    struct apic_message message = { .destination = (uint32_t)a,
                                    .vector = (uint8_t)b,
                                    .mode = b >> 8 & 7,
                                    .logical = b >> 11 & 1,
                                    .level = b >> 12 & 1,
                                    .assert = b >> 13 & 1 };

    twins_send(&message);
}

/* Accesses that only software makes. */
static inline void twins_software(uint8_t op, unsigned i, uint64_t a, uint64_t b)
{
    struct vlapic *one = &plain.lapic[i], *other = &paged.lapic[i];
    uint32_t offset = (uint32_t)(a & 0xff) << 4, msr = MSR_X2APIC_FIRST + (uint32_t)(a & 0xff);
    uint64_t base = APIC_BASE_DEFAULT | (a & 0xd) << 8;

    switch (op) {
    case 0:
        REQUIRE(vlapic_read(one, offset, 4) == vlapic_read(other, offset, 4));
        break;
    case 1:
        REQUIRE(twin_msr_read(one, msr) == twin_msr_read(other, msr));
        break;
    case 2:
        REQUIRE(vlapic_msr_write(one, MSR_APIC_BASE, base) == vlapic_msr_write(other, MSR_APIC_BASE, base));
        break;
    case 3:
        b = a & 1 ? b : vclock_tsc(&plain.clock) + b;
        REQUIRE(vlapic_msr_write(one, MSR_TSC_DEADLINE, b) == vlapic_msr_write(other, MSR_TSC_DEADLINE, b));
        break;
    case 4:
        vlapic_lint(one, a & 1, b & 1);
        vlapic_lint(other, a & 1, b & 1);
        REQUIRE(vlapic_takes_extint(one) == vlapic_takes_extint(other));
        break;
    default:
        if (a & 1) {
            vlapic_init_signal(one);
            vlapic_init_signal(other);
        } else {
            vlapic_reset(one);
            vlapic_reset(other);
            vlapic_virtual_wire(one);
            vlapic_virtual_wire(other);
        }
        break;
    }
}

/* One thing happens to both; `op` 0 to 15 says which. */
static inline void twins_act(uint8_t op, unsigned i, bool by_cpu, uint64_t a, uint64_t b)
{
    switch (op & 0xf) {
    case 6:
        twins_write(i, by_cpu, (uint32_t)(a & 0xff) << 4, (uint32_t)b);
        break;
    case 7:
        twins_wrmsr(i, by_cpu, MSR_X2APIC_FIRST + (uint32_t)(a & 0xff), b);
        break;
    case 8:
        twins_cr8(i, by_cpu, a & 0xf);
        break;
    case 9:
        twins_deliver(i);
        break;
    case 10:
        twins_write(i, by_cpu, APIC_EOI, 0);
        twins_wrmsr(i, by_cpu, MSR_X2APIC(APIC_EOI), 0);
        break;
    case 11:
        twins_message(a, b);
        break;
    case 12:
        twins_attach(i, a & 1);
        cpus[i].keeps = a & 2;
        break;
    case 13:
        twins_load(i, a << 8 | b, 0);
        break;
    case 14:
        twins_load(i, a, (uint8_t)b);
        break;
    case 15:
        twins_advance(b & 0xffffff); /* 17 ms */
        break;
    default:
        twins_software(op, i, a, b);
        break;
    }
    twins_check();
}
