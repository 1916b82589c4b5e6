/* A VMCS in memory with valid state for several kinds of guests: what tests and the fuzz target of the
 * VM-entry checker damage. It notes every read of a field that need not exist. */
#pragma once

#include <string.h>
#include "arch/x86_64/cpu.h"
#include "vmx/decode.h"
#include "vmx/intel/check.h"
#include "vmx/intel/ept.h"

#define RIG_FIELDS   0x200u
#define RIG_VAPIC    0x5000u
#define RIG_LINKED   0x9000u
#define RIG_REVISION 0x12u

enum rig_guest { RIG_LONG, RIG_PROTECTED, RIG_PAE, RIG_V8086, RIG_REAL, RIG_GUESTS };

struct rig {
    uint64_t value[RIG_FIELDS];
    bool defined[RIG_FIELDS];
    struct vmx_capabilities cap;
    uint32_t vtpr, revision; /* in memory, at RIG_VAPIC + 0x80 and RIG_LINKED */
    unsigned reads;
    enum vmcs_field illegal; /* a field that was read and need not exist; 0: none */
};

/* Fields that exist only on CPUs with a control, which is how the checker is to know that they do. */
struct rig_gate {
    enum vmcs_field first, last;
    enum vmx_control word;
    uint64_t bit;
};

static const struct rig_gate rig_gates[] = {
    { VMCS_VPID, VMCS_VPID, CONTROL_SECONDARY, SECONDARY_VPID },
    { VMCS_PI_NOTIFICATION_VECTOR, VMCS_PI_NOTIFICATION_VECTOR, CONTROL_PIN, PIN_POSTED_INTERRUPTS },
    { VMCS_GUEST_INTERRUPT_STATUS, VMCS_GUEST_INTERRUPT_STATUS, CONTROL_SECONDARY,
      SECONDARY_VIRTUAL_INTERRUPTS },
    { VMCS_IO_BITMAP_A, VMCS_IO_BITMAP_B, CONTROL_PRIMARY, PRIMARY_IO_BITMAPS },
    { VMCS_MSR_BITMAP, VMCS_MSR_BITMAP, CONTROL_PRIMARY, PRIMARY_MSR_BITMAPS },
    { VMCS_PML_ADDRESS, VMCS_PML_ADDRESS, CONTROL_SECONDARY, SECONDARY_PML },
    { VMCS_VIRTUAL_APIC_ADDRESS, VMCS_VIRTUAL_APIC_ADDRESS, CONTROL_PRIMARY, PRIMARY_TPR_SHADOW },
    { VMCS_APIC_ACCESS_ADDRESS, VMCS_APIC_ACCESS_ADDRESS, CONTROL_SECONDARY, SECONDARY_APIC_ACCESSES },
    { VMCS_PI_DESCRIPTOR_ADDRESS, VMCS_PI_DESCRIPTOR_ADDRESS, CONTROL_PIN, PIN_POSTED_INTERRUPTS },
    { VMCS_EPT_POINTER, VMCS_EPT_POINTER, CONTROL_SECONDARY, SECONDARY_EPT },
    { VMCS_VMREAD_BITMAP, VMCS_VMWRITE_BITMAP, CONTROL_SECONDARY, SECONDARY_VMCS_SHADOWING },
    { VMCS_VE_INFORMATION_ADDRESS, VMCS_VE_INFORMATION_ADDRESS, CONTROL_SECONDARY, SECONDARY_EPT_VE },
    { VMCS_TSC_MULTIPLIER, VMCS_TSC_MULTIPLIER, CONTROL_SECONDARY, SECONDARY_TSC_SCALING },
    { VMCS_GUEST_PAT, VMCS_GUEST_PAT, CONTROL_ENTRY, ENTRY_LOAD_PAT },
    { VMCS_GUEST_EFER, VMCS_GUEST_EFER, CONTROL_ENTRY, ENTRY_LOAD_EFER },
    { VMCS_GUEST_PDPTE0, (enum vmcs_field)(VMCS_GUEST_PDPTE0 + 6), CONTROL_SECONDARY, SECONDARY_EPT },
    { VMCS_HOST_PAT, VMCS_HOST_PAT, CONTROL_EXIT, EXIT_LOAD_PAT },
    { VMCS_HOST_EFER, VMCS_HOST_EFER, CONTROL_EXIT, EXIT_LOAD_EFER },
    { VMCS_TPR_THRESHOLD, VMCS_TPR_THRESHOLD, CONTROL_PRIMARY, PRIMARY_TPR_SHADOW },
    { VMCS_SECONDARY_CONTROLS, VMCS_SECONDARY_CONTROLS, CONTROL_PRIMARY, PRIMARY_SECONDARY },
};

/* A field's place, from the width, type and index in its encoding (25.11.2); RIG_FIELDS if it has none. */
static inline unsigned rig_index(enum vmcs_field field)
{
    unsigned f = (unsigned)field;

    return f & ~0x6c3eu ? RIG_FIELDS : (f >> 13) << 7 | (f >> 10 & 3) << 5 | (f >> 1 & 0x1f);
}

static inline uint64_t *rig_field(struct rig *rig, enum vmcs_field field)
{
    return &rig->value[rig_index(field)];
}

static inline void rig_set(struct rig *rig, enum vmcs_field field, uint64_t value)
{
    *rig_field(rig, field) = value;
    rig->defined[rig_index(field)] = true;
}

static inline bool rig_exists(struct rig *rig, enum vmcs_field field)
{
    static const enum vmcs_field words[VMX_CONTROLS] = { VMCS_PIN_CONTROLS, VMCS_PRIMARY_CONTROLS,
                                                         VMCS_SECONDARY_CONTROLS, VMCS_EXIT_CONTROLS,
                                                         VMCS_ENTRY_CONTROLS };

    if (rig_index(field) == RIG_FIELDS || !rig->defined[rig_index(field)])
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(rig_gates); i++) {
        const struct rig_gate *gate = &rig_gates[i];
        bool active = gate->word != CONTROL_SECONDARY ||
                      (*rig_field(rig, VMCS_PRIMARY_CONTROLS) & PRIMARY_SECONDARY);

        if (field >= gate->first && field <= gate->last)
            return active && (*rig_field(rig, words[gate->word]) & gate->bit);
    }
    return true;
}

static inline uint64_t rig_read(void *context, enum vmcs_field field)
{
    struct rig *rig = context;

    rig->reads++;
    if (rig_exists(rig, field))
        return *rig_field(rig, field);
    rig->illegal = field;
    return 0;
}

static inline bool rig_load(void *context, hpa_t address, uint32_t *value)
{
    const struct rig *rig = context;

    if (address.raw == RIG_VAPIC + 0x80)
        *value = rig->vtpr;
    else if (address.raw == RIG_LINKED)
        *value = rig->revision;
    else
        return false;
    return true;
}

static inline struct vmcs_view rig_view(struct rig *rig)
{
    return (struct vmcs_view){ .read = rig_read, .load = rig_load, .context = rig, .cap = &rig->cap };
}

static inline void rig_segment(struct rig *rig, unsigned n, uint64_t selector, uint64_t base, uint64_t limit,
                               uint64_t access)
{
    rig_set(rig, (enum vmcs_field)(VMCS_GUEST_ES_SELECTOR + 2 * n), selector);
    rig_set(rig, (enum vmcs_field)(VMCS_GUEST_ES_BASE + 2 * n), base);
    rig_set(rig, (enum vmcs_field)(VMCS_GUEST_ES_LIMIT + 2 * n), limit);
    rig_set(rig, (enum vmcs_field)(VMCS_GUEST_ES_ACCESS + 2 * n), access);
}

static inline uint64_t rig_control(uint64_t low, uint64_t high)
{
    return high << 32 | low;
}

/* As a CPU with everything that vmcs.h knows, 39 physical address bits and 48 linear ones. */
static inline void rig_capabilities(struct rig *rig)
{
    rig->cap = (struct vmx_capabilities){
        .basic = RIG_REVISION | VMX_BASIC_TRUE_CONTROLS,
        .misc = UINT64_C(7) << 6 | UINT64_C(4) << 16,
        .ept_vpid = EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_AD,
        .control = { rig_control(0x16, 0xff), rig_control(0x04006172, 0xfff9fffe), rig_control(0, 0x02f77fff),
                     rig_control(0x00036dfb, 0x007fffff), rig_control(0x000011fb, 0x0000ffff) },
        .cr0_fixed0 = CR0_PG | CR0_NE | CR0_PE,
        .cr0_fixed1 = 0xffffffff,
        .cr4_fixed0 = CR4_VMXE,
        .cr4_fixed1 = 0x00f727ff,
        .maxphyaddr = 39,
    };
}

static inline void rig_controls(struct rig *rig)
{
    rig_set(rig, VMCS_PIN_CONTROLS, 0x16 | PIN_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS);
    rig_set(rig, VMCS_PRIMARY_CONTROLS,
            0x04006172 | PRIMARY_TPR_SHADOW | PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS | PRIMARY_SECONDARY);
    rig_set(rig, VMCS_SECONDARY_CONTROLS, SECONDARY_EPT | SECONDARY_VPID | SECONDARY_UNRESTRICTED);
    rig_set(rig, VMCS_EXIT_CONTROLS,
            0x00036dfb | EXIT_HOST_64 | EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_LOAD_PAT | EXIT_LOAD_EFER);
    rig_set(rig, VMCS_ENTRY_CONTROLS, 0x000011fb | ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER);
    rig_set(rig, VMCS_VPID, 1);
    rig_set(rig, VMCS_PI_NOTIFICATION_VECTOR, 0xf2);
    rig_set(rig, VMCS_PI_DESCRIPTOR_ADDRESS, 0x8040);
    rig_set(rig, VMCS_IO_BITMAP_A, 0x1000);
    rig_set(rig, VMCS_IO_BITMAP_B, 0x2000);
    rig_set(rig, VMCS_MSR_BITMAP, 0x3000);
    rig_set(rig, VMCS_EXIT_MSR_STORE_ADDRESS, 0x4000);
    rig_set(rig, VMCS_EXIT_MSR_LOAD_ADDRESS, 0x4100);
    rig_set(rig, VMCS_ENTRY_MSR_LOAD_ADDRESS, 0x4200);
    rig_set(rig, VMCS_PML_ADDRESS, 0x6000);
    rig_set(rig, VMCS_VIRTUAL_APIC_ADDRESS, RIG_VAPIC);
    rig_set(rig, VMCS_APIC_ACCESS_ADDRESS, 0xfee00000);
    rig_set(rig, VMCS_EPT_POINTER, 0x700000 | 3 << 3 | 6);
    rig_set(rig, VMCS_VMREAD_BITMAP, 0xa000);
    rig_set(rig, VMCS_VMWRITE_BITMAP, 0xb000);
    rig_set(rig, VMCS_VE_INFORMATION_ADDRESS, 0xc000);
    rig_set(rig, VMCS_TSC_MULTIPLIER, UINT64_C(1) << 48);
    rig_set(rig, VMCS_CR3_TARGET_COUNT, 0);
    rig_set(rig, VMCS_EXIT_MSR_STORE_COUNT, 0);
    rig_set(rig, VMCS_EXIT_MSR_LOAD_COUNT, 0);
    rig_set(rig, VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    rig_set(rig, VMCS_ENTRY_INTERRUPTION, 0);
    rig_set(rig, VMCS_ENTRY_ERROR_CODE, 0);
    rig_set(rig, VMCS_ENTRY_INSTRUCTION_LENGTH, 0);
    rig_set(rig, VMCS_TPR_THRESHOLD, 0);
}

static inline void rig_host(struct rig *rig)
{
    static const enum vmcs_field zero[] = { VMCS_HOST_ES_SELECTOR, VMCS_HOST_SS_SELECTOR,
                                            VMCS_HOST_DS_SELECTOR, VMCS_HOST_FS_SELECTOR,
                                            VMCS_HOST_GS_SELECTOR };
    static const enum vmcs_field canonical[] = { VMCS_HOST_FS_BASE,      VMCS_HOST_GS_BASE,
                                                 VMCS_HOST_TR_BASE,      VMCS_HOST_GDTR_BASE,
                                                 VMCS_HOST_IDTR_BASE,    VMCS_HOST_SYSENTER_ESP,
                                                 VMCS_HOST_SYSENTER_EIP, VMCS_HOST_RIP };

    for (size_t i = 0; i < ARRAY_SIZE(zero); i++)
        rig_set(rig, zero[i], 0);
    for (size_t i = 0; i < ARRAY_SIZE(canonical); i++)
        rig_set(rig, canonical[i], UINT64_C(0xffff800000000000) + i);
    rig_set(rig, VMCS_HOST_CS_SELECTOR, 0x08);
    rig_set(rig, VMCS_HOST_TR_SELECTOR, 0x18);
    rig_set(rig, VMCS_HOST_CR0, CR0_PG | CR0_WP | CR0_NE | CR0_PE);
    rig_set(rig, VMCS_HOST_CR3, 0x1000);
    rig_set(rig, VMCS_HOST_CR4, CR4_VMXE | CR4_PAE);
    rig_set(rig, VMCS_HOST_PAT, UINT64_C(0x0007040600070406));
    rig_set(rig, VMCS_HOST_EFER, EFER_LMA | EFER_LME | EFER_NXE);
}

/* A 64-bit guest at CPL 0, with no event and nothing blocked. */
static inline void rig_guest_long(struct rig *rig)
{
    for (unsigned n = 0; n < SEG_COUNT; n++)
        rig_segment(rig, n, 0x18, 0, 0xffffffff, 0xc093);
    rig_segment(rig, SEG_CS, 0x10, 0, 0xffffffff, 0xa09b);
    rig_segment(rig, VMCS_LDTR, 0, 0, 0, ACCESS_UNUSABLE);
    rig_segment(rig, VMCS_TR, 0x20, UINT64_C(0xffffffff80001000), 0x67, 0x8b);
    rig_set(rig, VMCS_GUEST_CR0, CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE);
    rig_set(rig, VMCS_GUEST_CR3, 0x2000);
    rig_set(rig, VMCS_GUEST_CR4, CR4_VMXE | CR4_PAE);
    rig_set(rig, VMCS_GUEST_EFER, EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE);
    rig_set(rig, VMCS_GUEST_PAT, UINT64_C(0x0007040600070406));
    rig_set(rig, VMCS_GUEST_DEBUGCTL, 0);
    rig_set(rig, VMCS_GUEST_DR7, 0x400);
    rig_set(rig, VMCS_GUEST_RIP, UINT64_C(0xffffffff81000000));
    rig_set(rig, VMCS_GUEST_RFLAGS, RFLAGS_IF | 2);
    rig_set(rig, VMCS_GUEST_GDTR_BASE, UINT64_C(0xffffffff80000000));
    rig_set(rig, VMCS_GUEST_IDTR_BASE, UINT64_C(0xffffffff80002000));
    rig_set(rig, VMCS_GUEST_GDTR_LIMIT, 0x7f);
    rig_set(rig, VMCS_GUEST_IDTR_LIMIT, 0xfff);
    rig_set(rig, VMCS_GUEST_SYSENTER_ESP, 0);
    rig_set(rig, VMCS_GUEST_SYSENTER_EIP, 0);
    rig_set(rig, VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
    rig_set(rig, VMCS_GUEST_INTERRUPTIBILITY, 0);
    rig_set(rig, VMCS_GUEST_PENDING_DEBUG, 0);
    rig_set(rig, VMCS_LINK_POINTER, ~UINT64_C(0));
    for (unsigned i = 0; i < 4; i++)
        rig_set(rig, (enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i), 0x10001 + 0x1000 * i);
    *rig_field(rig, VMCS_ENTRY_CONTROLS) |= ENTRY_IA32E;
}

/* Ring 3 in flat 32-bit segments, paged, without "unrestricted guest". */
static inline void rig_guest_protected(struct rig *rig)
{
    rig_guest_long(rig);
    for (unsigned n = 0; n < SEG_COUNT; n++)
        rig_segment(rig, n, 0x23, 0, 0xffffffff, 0xc0f3);
    rig_segment(rig, SEG_CS, 0x1b, 0, 0xffffffff, 0xc0fb);
    rig_segment(rig, VMCS_LDTR, 0x28, 0x3000, 0xff, 0x82);
    rig_segment(rig, VMCS_TR, 0x30, 0x1000, 0x67, 0x8b);
    rig_set(rig, VMCS_GUEST_CR4, CR4_VMXE);
    rig_set(rig, VMCS_GUEST_EFER, 0);
    rig_set(rig, VMCS_GUEST_RIP, 0x401000);
    *rig_field(rig, VMCS_ENTRY_CONTROLS) &= ~ENTRY_IA32E;
    *rig_field(rig, VMCS_SECONDARY_CONTROLS) &= ~SECONDARY_UNRESTRICTED;
}

static inline void rig_guest_v8086(struct rig *rig)
{
    rig_guest_protected(rig);
    for (unsigned n = 0; n < SEG_COUNT; n++)
        rig_segment(rig, n, 0x1000 + n, (0x1000 + n) * 16, 0xffff, 0xf3);
    rig_set(rig, VMCS_GUEST_RFLAGS, BIT(17) | RFLAGS_IF | 2);
    rig_set(rig, VMCS_GUEST_RIP, 0x100);
}

static inline void rig_guest_real(struct rig *rig)
{
    rig_guest_protected(rig);
    for (unsigned n = 0; n < SEG_COUNT; n++)
        rig_segment(rig, n, 0, 0, 0xffff, 0x93);
    rig_segment(rig, SEG_CS, 0xf000, 0xf0000, 0xffff, 0x9b);
    rig_segment(rig, VMCS_LDTR, 0, 0, 0xffff, 0x82);
    rig_segment(rig, VMCS_TR, 0, 0, 0xffff, 0x83);
    rig_set(rig, VMCS_GUEST_CR0, CR0_NE | CR0_ET | CR0_NW | CR0_CD);
    rig_set(rig, VMCS_GUEST_RFLAGS, 2);
    rig_set(rig, VMCS_GUEST_RIP, 0xfff0);
    *rig_field(rig, VMCS_SECONDARY_CONTROLS) |= SECONDARY_UNRESTRICTED;
}

static inline void rig_init(struct rig *rig, enum rig_guest guest)
{
    memset(rig, 0, sizeof(*rig));
    rig->revision = RIG_REVISION;
    rig_capabilities(rig);
    rig_controls(rig);
    rig_host(rig);
    switch (guest) {
    case RIG_PROTECTED:
        rig_guest_protected(rig);
        break;
    case RIG_PAE:
        rig_guest_protected(rig);
        rig_set(rig, VMCS_GUEST_CR4, CR4_VMXE | CR4_PAE);
        break;
    case RIG_V8086:
        rig_guest_v8086(rig);
        break;
    case RIG_REAL:
        rig_guest_real(rig);
        break;
    default:
        rig_guest_long(rig);
    }
}
