/*
 * What a CPU with APIC-register virtualisation and virtual-interrupt delivery does to the virtual-APIC page
 * (Intel SDM vol. 3, chapter 30). The includer defines REQUIRE(condition), which does not return if it is
 * false.
 */
#pragma once

#include <string.h>
#include "devices/vlapic.h"

struct apic_cpu {
    uint32_t page[1024];
    struct vlapic *lapic;
    uint64_t eoi_exits[4];
    uint8_t rvi, svi;
    uint8_t cr8; /* what `priority` said last */
    bool wanted; /* attach whenever the APIC is enabled */
    bool keeps;  /* the page while only x2APIC mode is entered */
    bool posted; /* `interrupt` was called since the last entry */
    bool fresh;  /* the first entry since it was attached */
};

static inline uint8_t cpu_highest(const struct apic_cpu *cpu, uint32_t reg)
{
    for (unsigned vector = 255; vector; vector--)
        if (cpu->page[reg / 4 + vector / 32 * 4] & 1u << vector % 32)
            return (uint8_t)vector;
    return 0;
}

static inline void cpu_set(struct apic_cpu *cpu, uint32_t reg, uint8_t vector, bool set)
{
    uint32_t *word = &cpu->page[reg / 4 + vector / 32 * 4];

    *word = set ? *word | 1u << vector % 32 : *word & ~(1u << vector % 32);
}

/* Back ends do this when `mode` is called, and when they like. */
static inline void cpu_mode(struct apic_cpu *cpu)
{
    bool attached = cpu->lapic->page;

    cpu->posted = cpu->posted && !attached;
    vlapic_detach(cpu->lapic);
    REQUIRE(!attached || (cpu->posted && cpu->cr8 == vlapic_cr8(cpu->lapic)));
    if (!cpu->wanted || !vlapic_enabled(cpu->lapic))
        return;
    memset(cpu->page, 0xa5, sizeof(cpu->page));
    cpu->fresh = true;
    cpu->posted = false;
    vlapic_attach(cpu->lapic, cpu->page);
    REQUIRE(cpu->posted);
}

/* SDM 30.1.3 */
static inline void cpu_ppr(struct apic_cpu *cpu)
{
    uint32_t tpr = cpu->page[APIC_TPR / 4];

    cpu->page[APIC_PPR / 4] = tpr >> 4 >= cpu->svi >> 4 ? tpr & 0xff : cpu->svi & 0xf0u;
}

/* The VM entry, and the work before it. */
static inline void cpu_enter(struct apic_cpu *cpu)
{
    uint32_t ppr = cpu->page[APIC_PPR / 4];

    if (cpu->posted) {
        struct vlapic_status status = vlapic_sync(cpu->lapic);
        bool changed = vlapic_level_vectors(cpu->lapic, cpu->eoi_exits);

        REQUIRE(changed || !cpu->fresh);
        cpu->rvi = status.rvi;
        cpu->svi = status.svi;
        cpu->posted = cpu->fresh = false;
        REQUIRE(!vlapic_level_vectors(cpu->lapic, cpu->eoi_exits));
        for (unsigned word = 0; word < 8; word++) {
            uint32_t tmr = (uint32_t)(cpu->lapic->state.tmr[word / 2] >> word % 2 * 32);

            REQUIRE(!(word % 2) || !cpu->lapic->state.irr[word / 2]);
            REQUIRE(cpu->page[APIC_TMR / 4 + 4 * word] == tmr);
            REQUIRE((uint32_t)(cpu->eoi_exits[word / 2] >> word % 2 * 32) == tmr);
        }
    }
    /* The CPU has copies, so that nothing may change without a word. */
    REQUIRE(cpu->rvi == cpu_highest(cpu, APIC_IRR));
    REQUIRE(cpu->svi == cpu_highest(cpu, APIC_ISR));
    cpu_ppr(cpu);
    REQUIRE(cpu->page[APIC_PPR / 4] == ppr);
}

/* The vector that is delivered; -1: none. SDM 30.2.2. */
static inline int cpu_deliver(struct apic_cpu *cpu)
{
    uint8_t vector = cpu->rvi;

    if (vector >> 4 <= cpu->page[APIC_PPR / 4] >> 4)
        return -1;
    cpu_set(cpu, APIC_ISR, vector, true);
    cpu->svi = vector;
    cpu->page[APIC_PPR / 4] = vector & 0xf0;
    cpu_set(cpu, APIC_IRR, vector, false);
    cpu->rvi = cpu_highest(cpu, APIC_IRR);
    return vector;
}

/* SDM 30.1.2 */
static inline void cpu_write_tpr(struct apic_cpu *cpu, uint32_t value)
{
    cpu->page[APIC_TPR / 4] = value & 0xff;
    cpu_ppr(cpu);
}

/* SDM 30.1.4 */
static inline void cpu_eoi(struct apic_cpu *cpu)
{
    uint8_t vector = cpu->svi;

    cpu->page[APIC_EOI / 4] = 0;
    cpu_set(cpu, APIC_ISR, vector, false);
    cpu->svi = cpu_highest(cpu, APIC_ISR);
    cpu_ppr(cpu);
    if (cpu->eoi_exits[vector / 64] & BIT(vector % 64))
        vlapic_eoi_done(cpu->lapic, vector);
}

/* SDM 30.1.5 */
static inline void cpu_self_ipi(struct apic_cpu *cpu, uint8_t vector)
{
    cpu_set(cpu, APIC_IRR, vector, true);
    cpu->rvi = vector > cpu->rvi ? vector : cpu->rvi;
}

/* The self-IPI of the CPU knows neither SVR nor TMR: left out where the other one would differ. */
static inline bool cpu_self_ipi_agrees(const struct apic_cpu *cpu, uint8_t vector)
{
    return vector >= 16 && (cpu->page[APIC_SVR / 4] & APIC_SVR_ENABLE) &&
           !(cpu->lapic->state.tmr[vector / 64] & BIT(vector % 64));
}

/* Whether the CPU does a write of xAPIC mode on the page (SDM 30.4.3.1), rather than exit before it. */
static inline bool cpu_takes_write(uint32_t offset)
{
    switch (offset) {
    case APIC_ID:
    case APIC_TPR:
    case APIC_EOI:
    case APIC_LDR:
    case APIC_DFR:
    case APIC_SVR:
    case APIC_ESR:
    case APIC_ICR:
    case APIC_ICR_HIGH:
    case APIC_TIMER_INITIAL:
    case APIC_TIMER_DIVIDE:
        return true;
    default:
        return offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR && !(offset & 0xf);
    }
}

/* SDM 30.4.3.2 and 30.4.3.3 */
static inline void cpu_write(struct apic_cpu *cpu, uint32_t offset, uint32_t value)
{
    cpu->page[offset / 4] = value;
    switch (offset) {
    case APIC_TPR:
        cpu_write_tpr(cpu, value);
        return;
    case APIC_EOI:
        cpu_eoi(cpu);
        return;
    case APIC_ICR_HIGH:
        cpu->page[offset / 4] &= 0xff000000;
        return;
    case APIC_ICR:
        if ((value & 0xffffb700) == APIC_ICR_SELF && cpu_self_ipi_agrees(cpu, (uint8_t)value))
            cpu_self_ipi(cpu, (uint8_t)value);
        else
            vlapic_page_written(cpu->lapic, offset);
        return;
    default:
        vlapic_page_written(cpu->lapic, offset);
        return;
    }
}

/* WRMSR in x2APIC mode (SDM 30.5); else as the exit would do it. */
static inline int cpu_wrmsr(struct apic_cpu *cpu, uint32_t msr, uint64_t value)
{
    if (msr == MSR_X2APIC(APIC_TPR) && value <= 0xff) {
        cpu_write_tpr(cpu, (uint32_t)value);
    } else if (msr == MSR_X2APIC(APIC_EOI) && !value) {
        cpu_eoi(cpu);
    } else if (msr == MSR_X2APIC(APIC_SELF_IPI) && cpu_self_ipi_agrees(cpu, (uint8_t)value) &&
               value <= 0xff) {
        cpu_self_ipi(cpu, (uint8_t)value);
    } else if (msr == MSR_X2APIC(APIC_SELF_IPI) && value < 16) {
        cpu->page[APIC_SELF_IPI / 4] = (uint32_t)value;
        vlapic_page_written(cpu->lapic, APIC_SELF_IPI);
    } else {
        return vlapic_msr_write(cpu->lapic, msr, value);
    }
    return 0;
}

static inline uint64_t cpu_rdmsr(const struct apic_cpu *cpu, uint32_t msr)
{
    uint32_t at = (msr & 0xff) << 2;

    return cpu->page[at] | (uint64_t)cpu->page[at + 1] << 32;
}
