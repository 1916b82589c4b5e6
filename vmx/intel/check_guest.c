/* VM-entry checks on the guest's state but segments. Source: Intel SDM vol. 3, 27.3.1. */
#include "vmx/intel/check_rules.h"
#include "vmx/decode.h"

/* Bit 2 of IA32_DEBUGCTL and bit 11 of the pending exceptions exist on CPUs that detect bus locks, which no
 * guest is told of. */
#define DEBUGCTL_RESERVED      (BITS(5, 2) | BITS(63, 16))
#define PENDING_DEBUG_RESERVED (BITS(11, 4) | BIT(13) | BIT(15) | BITS(63, 17))
#define RFLAGS_RESERVED        (BIT(3) | BIT(5) | BIT(15) | BITS(63, 22))
#define RFLAGS_ONE             BIT(1)
#define PDPTE_P                BIT(0)
#define PDPTE_RESERVED         (BITS(2, 1) | BITS(8, 5))
#define VECTOR_DB              1u
#define VECTOR_MC              18u
#define LINK_NONE              (~UINT64_C(0))
#define REVISION_SHADOW        BIT(31)

/* clang-format off */
/* 27.3.1.1 */
static const struct field_rule register_rules[] = {
    { VMCS_GUEST_DEBUGCTL, "guest IA32_DEBUGCTL", RULE_ZERO, DEBUGCTL_RESERVED,
      CONTROL_ENTRY, ENTRY_LOAD_DEBUG },
    { VMCS_GUEST_CR3, "guest CR3", RULE_ADDRESS, 0, 0, 0 },
    { VMCS_GUEST_DR7, "guest DR7", RULE_ZERO, HIGH_HALF, CONTROL_ENTRY, ENTRY_LOAD_DEBUG },
    { VMCS_GUEST_SYSENTER_ESP, "guest IA32_SYSENTER_ESP", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_GUEST_SYSENTER_EIP, "guest IA32_SYSENTER_EIP", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_GUEST_PAT, "guest IA32_PAT", RULE_PAT, 0, CONTROL_ENTRY, ENTRY_LOAD_PAT },
};

/* 27.3.1.3 */
static const struct field_rule table_rules[] = {
    { VMCS_GUEST_GDTR_BASE, "guest GDTR base", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_GUEST_IDTR_BASE, "guest IDTR base", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_GUEST_GDTR_LIMIT, "guest GDTR limit", RULE_ZERO, BITS(31, 16), 0, 0 },
    { VMCS_GUEST_IDTR_LIMIT, "guest IDTR limit", RULE_ZERO, BITS(31, 16), 0, 0 },
};
/* clang-format on */

/* 27.3.1.1. The CPU never checks CR0.NW and CD, which a VM entry leaves alone. */
static bool check_control_registers(struct check *c)
{
    uint64_t cr0 = check_read(c, VMCS_GUEST_CR0), cr4 = check_read(c, VMCS_GUEST_CR4);
    bool ia32e = check_on(c, CONTROL_ENTRY, ENTRY_IA32E);
    uint64_t ignore = CR0_NW | CR0_CD;

    if (check_on(c, CONTROL_SECONDARY, SECONDARY_UNRESTRICTED))
        ignore |= CR0_PE | CR0_PG;
    if (!check_cr0(c, "guest CR0", cr0, ignore))
        return false;
    if ((cr0 & CR0_PG) && !(cr0 & CR0_PE))
        return check_fail(c, "guest CR0", cr0, "bit 0 (PE) must be 1 as bit 31 (PG) is");
    if (!check_cr4(c, "guest CR4", cr4))
        return false;
    if ((cr4 & CR4_CET) && !(cr0 & CR0_WP))
        return check_fail(c, "guest CR4", cr4, "bit 23 (CET) wants guest CR0.WP to be 1");
    if (ia32e && !(cr0 & CR0_PG))
        return check_fail(c, "guest CR0", cr0, "bit 31 (PG) must be 1 as \"IA-32e mode guest\" is");
    if (ia32e && !(cr4 & CR4_PAE))
        return check_fail(c, "guest CR4", cr4, "bit 5 (PAE) must be 1 as \"IA-32e mode guest\" is");
    if (!ia32e && (cr4 & CR4_PCIDE))
        return check_fail(c, "guest CR4", cr4, "bit 17 (PCIDE) must be 0 as \"IA-32e mode guest\" is");
    return true;
}

/* 27.3.1.1 */
static bool check_efer(struct check *c)
{
    bool ia32e = check_on(c, CONTROL_ENTRY, ENTRY_IA32E);
    uint64_t efer;

    if (!check_on(c, CONTROL_ENTRY, ENTRY_LOAD_EFER))
        return true;
    efer = check_read(c, VMCS_GUEST_EFER);
    if (!check_efer_reserved(c, "guest IA32_EFER", efer))
        return false;
    if (((efer & EFER_LMA) != 0) != ia32e)
        return check_fail(c, "guest IA32_EFER", efer, "bit 10 (LMA) must be %u as \"IA-32e mode guest\" is",
                          ia32e);
    if ((check_read(c, VMCS_GUEST_CR0) & CR0_PG) && ((efer & EFER_LME) != 0) != ia32e)
        return check_fail(c, "guest IA32_EFER", efer, "bit 8 (LME) must equal bit 10 (LMA) as CR0.PG is 1");
    return true;
}

/* 27.3.1.4 */
static bool check_rflags(struct check *c)
{
    uint64_t rflags = check_read(c, VMCS_GUEST_RFLAGS), info = check_read(c, VMCS_ENTRY_INTERRUPTION);

    if (rflags & RFLAGS_RESERVED)
        return check_fail(c, "guest RFLAGS", rflags, "bit %u must be 0", check_bit(rflags & RFLAGS_RESERVED));
    if (!(rflags & RFLAGS_ONE))
        return check_fail(c, "guest RFLAGS", rflags, "bit 1 must be 1");
    if ((rflags & RFLAGS_VM) && check_on(c, CONTROL_ENTRY, ENTRY_IA32E))
        return check_fail(c, "guest RFLAGS", rflags, "bit 17 (VM) must be 0 as \"IA-32e mode guest\" is 1");
    if ((rflags & RFLAGS_VM) && !(check_read(c, VMCS_GUEST_CR0) & CR0_PE))
        return check_fail(c, "guest RFLAGS", rflags, "bit 17 (VM) must be 0 as CR0.PE is");
    if (!(rflags & RFLAGS_IF) && check_injects(info, INTERRUPTION_EXTERNAL))
        return check_fail(c, "guest RFLAGS", rflags,
                          "bit 9 (IF) must be 1 as an external interrupt is injected");
    return true;
}

/* 27.3.1.4. In 64-bit mode RIP need not be canonical: the bit below those that must agree may differ. */
static bool check_rip(struct check *c)
{
    uint64_t rip = check_read(c, VMCS_GUEST_RIP);
    uint64_t cs = check_read(c, (enum vmcs_field)(VMCS_GUEST_ES_ACCESS + 2 * SEG_CS));
    unsigned bits = check_linear_bits(c);
    uint64_t high = rip >> bits;

    if (!check_on(c, CONTROL_ENTRY, ENTRY_IA32E) || !(cs & ACCESS_L)) {
        if (rip & HIGH_HALF)
            return check_fail(c, "guest RIP", rip, "bits 63:32 must be 0 outside of 64-bit mode");
    } else if (high != 0 && high != ~UINT64_C(0) >> bits) {
        return check_fail(c, "guest RIP", rip, "bits 63:%u must be all 0 or all 1", bits);
    }
    return true;
}

/* What may be injected into an inactive CPU (27.3.1.5). */
static bool may_wake(uint64_t info, uint64_t activity)
{
    unsigned vector = info & INTERRUPTION_VECTOR;
    bool machine_check = check_injects(info, INTERRUPTION_EXCEPTION) && vector == VECTOR_MC;

    switch (activity) {
    case ACTIVITY_ACTIVE:
        return true;
    case ACTIVITY_HLT:
        return machine_check || check_injects(info, INTERRUPTION_EXTERNAL) ||
               check_injects(info, INTERRUPTION_NMI) ||
               (check_injects(info, INTERRUPTION_EXCEPTION) && vector == VECTOR_DB) ||
               check_injects(info, INTERRUPTION_OTHER);
    case ACTIVITY_SHUTDOWN:
        return machine_check || check_injects(info, INTERRUPTION_NMI);
    default:
        return false;
    }
}

/* 27.3.1.5; IA32_VMX_MISC[8:6] are the activity states 1 to 3 (A.6). */
static bool check_activity(struct check *c)
{
    uint64_t activity = check_read(c, VMCS_GUEST_ACTIVITY), info = check_read(c, VMCS_ENTRY_INTERRUPTION);
    uint64_t ss = check_read(c, VMCS_GUEST_SS_ACCESS), blocking = check_read(c, VMCS_GUEST_INTERRUPTIBILITY);

    if (activity > ACTIVITY_SIPI)
        return check_fail(c, "guest activity state", activity, "must be 0 to 3");
    if (activity != ACTIVITY_ACTIVE && !(c->cap->misc >> (5 + activity) & 1))
        return check_fail(c, "guest activity state", activity, "is not in IA32_VMX_MISC[8:6]");
    if (activity == ACTIVITY_HLT && ACCESS_DPL(ss) != 0)
        return check_fail(c, "guest activity state", activity, "must not be HLT as the DPL of SS is %u",
                          ACCESS_DPL(ss));
    if (activity != ACTIVITY_ACTIVE && (blocking & (BLOCKING_STI | BLOCKING_MOV_SS)))
        return check_fail(c, "guest activity state", activity,
                          "must be 0 as STI or MOV SS blocks interrupts");
    if ((info & INTERRUPTION_VALID) && !may_wake(info, activity))
        return check_fail(c, "guest activity state", activity, "does not allow the injection 0x%x",
                          (unsigned)info);
    return true;
}

/* 27.3.1.5. That blocking by STI forbids an NMI is so on some CPUs only; as no code may rely on others, it is
 * a breach here. */
static bool check_interruptibility(struct check *c)
{
    static const char name[] = "guest interruptibility state";
    uint64_t state = check_read(c, VMCS_GUEST_INTERRUPTIBILITY),
             info = check_read(c, VMCS_ENTRY_INTERRUPTION);
    bool nmi = check_injects(info, INTERRUPTION_NMI);

    if (state & BITS(31, 5))
        return check_fail(c, name, state, "bits 31:5 must be 0");
    if ((state & BLOCKING_STI) && (state & BLOCKING_MOV_SS))
        return check_fail(c, name, state, "bits 0 (STI) and 1 (MOV SS) must not both be 1");
    if ((state & BLOCKING_STI) && !(check_read(c, VMCS_GUEST_RFLAGS) & RFLAGS_IF))
        return check_fail(c, name, state, "bit 0 (STI) must be 0 as RFLAGS.IF is");
    if ((state & (BLOCKING_STI | BLOCKING_MOV_SS)) && check_injects(info, INTERRUPTION_EXTERNAL))
        return check_fail(c, name, state,
                          "bits 0 (STI) and 1 (MOV SS) must be 0 as an external interrupt is injected");
    if ((state & BLOCKING_MOV_SS) && nmi)
        return check_fail(c, name, state, "bit 1 (MOV SS) must be 0 as an NMI is injected");
    if (state & BLOCKING_SMI)
        return check_fail(c, name, state, "bit 2 (SMI) must be 0 outside of SMM");
    if ((state & BLOCKING_STI) && nmi)
        return check_fail(c, name, state, "bit 0 (STI) must be 0 on some CPUs as an NMI is injected");
    if ((state & BLOCKING_NMI) && nmi && check_on(c, CONTROL_PIN, PIN_VIRTUAL_NMIS))
        return check_fail(c, name, state,
                          "bit 3 (NMI) must be 0 as an NMI is injected with \"virtual NMIs\"");
    if ((state & BLOCKING_ENCLAVE) && (state & BLOCKING_MOV_SS))
        return check_fail(c, name, state, "bits 4 (enclave) and 1 (MOV SS) must not both be 1");
    return true;
}

/* Bit 14 (BS), where a single step would be pending if there was one (27.3.1.5). */
static bool check_pending_step(struct check *c, uint64_t pending)
{
    bool stepping = (check_read(c, VMCS_GUEST_RFLAGS) & RFLAGS_TF) &&
                    !(check_read(c, VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

    if (!(check_read(c, VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS)) &&
        check_read(c, VMCS_GUEST_ACTIVITY) != ACTIVITY_HLT)
        return true;
    if (((pending & PENDING_DEBUG_BS) != 0) != stepping)
        return check_fail(
            c, "guest pending debug exceptions", pending,
            "bit 14 (BS) must be %u by RFLAGS.TF and IA32_DEBUGCTL.BTF, in HLT or blocked by STI or "
            "MOV SS",
            stepping);
    return true;
}

/* 27.3.1.5 */
static bool check_pending_debug(struct check *c)
{
    static const char name[] = "guest pending debug exceptions";
    uint64_t pending = check_read(c, VMCS_GUEST_PENDING_DEBUG);
    uint64_t others = pending & ~(PENDING_DEBUG_RTM | PENDING_DEBUG_ENABLED);

    if (pending & PENDING_DEBUG_RESERVED)
        return check_fail(c, name, pending, "bit %u must be 0", check_bit(pending & PENDING_DEBUG_RESERVED));
    if (!check_pending_step(c, pending))
        return false;
    if (!(pending & PENDING_DEBUG_RTM))
        return true;
    if (others)
        return check_fail(c, name, pending, "bit %u must be 0 as bit 16 (RTM) is 1", check_bit(others));
    if (!(pending & PENDING_DEBUG_ENABLED))
        return check_fail(c, name, pending, "bit 12 must be 1 as bit 16 (RTM) is");
    if (check_read(c, VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_MOV_SS)
        return check_fail(c, name, pending, "bit 16 (RTM) must be 0 as MOV SS blocks interrupts");
    return true;
}

/* 27.3.1.5 */
static bool check_link_pointer(struct check *c)
{
    static const struct field_rule rule = {
        VMCS_LINK_POINTER, "VMCS link pointer", RULE_ADDRESS, PAGE_MASK, 0, 0
    };
    uint64_t link = check_read(c, VMCS_LINK_POINTER);
    bool shadowing = check_on(c, CONTROL_SECONDARY, SECONDARY_VMCS_SHADOWING);
    uint32_t revision;

    if (link == LINK_NONE)
        return true;
    if (!check_fields(c, &rule, 1))
        return false;
    if (!c->vmcs->load || !c->vmcs->load(c->vmcs->context, hpa(link), &revision))
        return true;
    if ((revision & REVISION_MASK) != (c->cap->basic & VMX_BASIC_REVISION))
        return check_fail(c, rule.name, link, "revision 0x%x there is not the CPU's", revision);
    if (((revision & REVISION_SHADOW) != 0) != shadowing)
        return check_fail(c, rule.name, link,
                          "bit 31 of the revision 0x%x there must be %u as \"VMCS shadowing\" is", revision,
                          shadowing);
    return true;
}

/* 27.3.1.6, with EPT; without, the CPU reads the entries from memory. */
static bool check_pdptes(struct check *c)
{
    static const char *const names[] = { "guest PDPTE 0", "guest PDPTE 1", "guest PDPTE 2", "guest PDPTE 3" };
    bool pae = (check_read(c, VMCS_GUEST_CR0) & CR0_PG) && (check_read(c, VMCS_GUEST_CR4) & CR4_PAE) &&
               !check_on(c, CONTROL_ENTRY, ENTRY_IA32E);

    if (!pae || !check_on(c, CONTROL_SECONDARY, SECONDARY_EPT))
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        struct field_rule rule = {
            (enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i), names[i], RULE_ADDRESS, PDPTE_RESERVED, 0, 0
        };

        if ((check_read(c, rule.field) & PDPTE_P) && !check_fields(c, &rule, 1))
            return false;
    }
    return true;
}

/* In the manual's order, but RFLAGS come before the segments, whose rules they choose. */
bool check_guest(struct check *c)
{
    return check_control_registers(c) && check_fields(c, register_rules, ARRAY_SIZE(register_rules)) &&
           check_efer(c) && check_rflags(c) && check_segments(c) &&
           check_fields(c, table_rules, ARRAY_SIZE(table_rules)) && check_rip(c) && check_activity(c) &&
           check_interruptibility(c) && check_pending_debug(c) && check_link_pointer(c) && check_pdptes(c);
}
