/*
 * CPUID as the guest sees it: a table, built once per vCPU from the host's CPUID through a list of what may
 * pass. A bit that is not named in the list is not there. Compiles on the host.
 */
#pragma once

#include "lib/types.h"

struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};

/* What a row needs at the time of the exit. */
enum cpuid_fixup {
    CPUID_PLAIN,
    CPUID_FEATURES, /* leaf 1: OSXSAVE follows CR4 */
    CPUID_XSAVE,    /* leaf 0xd: EBX of subleaf 0 follows XCR0; subleaves */
    CPUID_SUBLEAF0, /* only subleaf 0 exists, others are zero */
    CPUID_TOPOLOGY, /* leaf 0xb: two subleaves */
};

struct cpuid_row {
    struct cpuid_regs regs;
    uint32_t fixup; /* enum cpuid_fixup */
};

#define CPUID_BASIC_MAX 0x0d
#define CPUID_KVM_MAX   0x10
#define CPUID_EXT_MAX   0x08

#define KVM_FEATURE_PV_EOI UINT32_C(0x40) /* leaf 0x40000001 EAX, bit 6; the others: cpuid.c */
#define CPUID_XSAVE_SUB    10             /* subleaves of leaf 0xd: XCR0 bits 0 to 9 */

struct cpuid_table {
    struct cpuid_row basic[CPUID_BASIC_MAX + 1];
    struct cpuid_row kvm[CPUID_KVM_MAX + 1];
    struct cpuid_row extended[CPUID_EXT_MAX + 1];
    struct cpuid_regs xsave[CPUID_XSAVE_SUB];
    uint32_t basic_max;
    uint32_t apic_id;
    uint64_t xcr0_allowed; /* the XCR0 bits that the guest may set; 0: no XSAVE */
    uint32_t phys_bits;
};

struct cpuid_config {
    uint32_t apic_id; /* of this vCPU */
    uint32_t vcpus;   /* in the VM */
    uint64_t tsc_hz;
    uint32_t apic_hz; /* of the local APIC's timer before its divider */
    bool pv_eoi;      /* paravirtual EOI is offered */
    void (*host)(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out);
};

void cpuid_build(struct cpuid_table *table, const struct cpuid_config *config);

extern const struct cpuid_row cpuid_zero;

/* The row of a leaf. One beyond the last of its range is all zero, as on AMD's CPUs. */
static inline const struct cpuid_row *cpuid_find(const struct cpuid_table *table, uint32_t leaf)
{
    if (leaf <= table->basic_max)
        return &table->basic[leaf];
    if (leaf - 0x40000000 <= CPUID_KVM_MAX)
        return &table->kvm[leaf - 0x40000000];
    if (leaf - 0x80000000 <= CPUID_EXT_MAX)
        return &table->extended[leaf - 0x80000000];
    return &cpuid_zero;
}

/* Leaf 1 ECX.OSXSAVE (bit 27) mirrors CR4.OSXSAVE (bit 18). */
static inline uint32_t cpuid_osxsave(uint64_t cr4)
{
    return (uint32_t)(cr4 & BIT(18)) << 9;
}

/* Finishes a row that depends on the subleaf or on XCR0. */
void cpuid_fix(const struct cpuid_table *table, const struct cpuid_row *row, uint32_t subleaf, uint64_t xcr0,
               struct cpuid_regs *out);
