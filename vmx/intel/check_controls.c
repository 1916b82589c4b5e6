/* VM-entry checks on the VMX controls. Source: Intel SDM vol. 3, 27.2.1. */
#include "vmx/intel/check_rules.h"
#include "vmx/intel/ept.h"

#define EPTP_TYPE(p) ((unsigned)(p)&7)
#define EPTP_WALK(p) ((unsigned)(p) >> 3 & 7)
#define EPTP_AD      BIT(6)
#define EPTP_SSS     BIT(7) /* supervisor shadow-stack pages */
#define EPT_TYPE_UC  0u
#define EPT_TYPE_WB  6u
#define VTPR         0x80u /* in the virtual-APIC page */
#define VECTOR_NMI   2u

static const struct {
    enum vmcs_field field;
    const char *name, *msr, *true_msr;
} words[VMX_CONTROLS] = {
    [CONTROL_PIN] = { VMCS_PIN_CONTROLS, "pin-based controls", "IA32_VMX_PINBASED_CTLS",
                      "IA32_VMX_TRUE_PINBASED_CTLS" },
    [CONTROL_PRIMARY] = { VMCS_PRIMARY_CONTROLS, "primary processor-based controls",
                          "IA32_VMX_PROCBASED_CTLS", "IA32_VMX_TRUE_PROCBASED_CTLS" },
    [CONTROL_SECONDARY] = { VMCS_SECONDARY_CONTROLS, "secondary processor-based controls",
                            "IA32_VMX_PROCBASED_CTLS2", "IA32_VMX_PROCBASED_CTLS2" },
    [CONTROL_EXIT] = { VMCS_EXIT_CONTROLS, "VM-exit controls", "IA32_VMX_EXIT_CTLS",
                       "IA32_VMX_TRUE_EXIT_CTLS" },
    [CONTROL_ENTRY] = { VMCS_ENTRY_CONTROLS, "VM-entry controls", "IA32_VMX_ENTRY_CTLS",
                        "IA32_VMX_TRUE_ENTRY_CTLS" },
};

/* A control that, when it is 1, wants another to be 1, or 0. */
struct dependency {
    enum vmx_control word;
    uint64_t bit;
    const char *name;
    enum vmx_control other_word;
    uint64_t other_bit;
    const char *other_name;
    bool must_be; /* what the other one is to be */
};

/* clang-format off */
static const struct dependency dependencies[] = {
    /* 27.2.1.1 */
    { CONTROL_PIN, PIN_VIRTUAL_NMIS, "virtual NMIs", CONTROL_PIN, PIN_NMI_EXITING, "NMI exiting", true },
    { CONTROL_PRIMARY, PRIMARY_NMI_WINDOW, "NMI-window exiting",
      CONTROL_PIN, PIN_VIRTUAL_NMIS, "virtual NMIs", true },
    { CONTROL_SECONDARY, SECONDARY_X2APIC, "virtualize x2APIC mode",
      CONTROL_PRIMARY, PRIMARY_TPR_SHADOW, "use TPR shadow", true },
    { CONTROL_SECONDARY, SECONDARY_APIC_REGISTERS, "APIC-register virtualization",
      CONTROL_PRIMARY, PRIMARY_TPR_SHADOW, "use TPR shadow", true },
    { CONTROL_SECONDARY, SECONDARY_VIRTUAL_INTERRUPTS, "virtual-interrupt delivery",
      CONTROL_PRIMARY, PRIMARY_TPR_SHADOW, "use TPR shadow", true },
    { CONTROL_SECONDARY, SECONDARY_X2APIC, "virtualize x2APIC mode",
      CONTROL_SECONDARY, SECONDARY_APIC_ACCESSES, "virtualize APIC accesses", false },
    { CONTROL_SECONDARY, SECONDARY_VIRTUAL_INTERRUPTS, "virtual-interrupt delivery",
      CONTROL_PIN, PIN_INTERRUPT_EXITING, "external-interrupt exiting", true },
    { CONTROL_PIN, PIN_POSTED_INTERRUPTS, "process posted interrupts",
      CONTROL_SECONDARY, SECONDARY_VIRTUAL_INTERRUPTS, "virtual-interrupt delivery", true },
    { CONTROL_PIN, PIN_POSTED_INTERRUPTS, "process posted interrupts",
      CONTROL_EXIT, EXIT_ACKNOWLEDGE_INTERRUPT, "acknowledge interrupt on exit", true },
    { CONTROL_SECONDARY, SECONDARY_PML, "enable PML", CONTROL_SECONDARY, SECONDARY_EPT, "enable EPT", true },
    { CONTROL_SECONDARY, SECONDARY_UNRESTRICTED, "unrestricted guest",
      CONTROL_SECONDARY, SECONDARY_EPT, "enable EPT", true },
    { CONTROL_SECONDARY, SECONDARY_MODE_BASED_EXECUTE, "mode-based execute control for EPT",
      CONTROL_SECONDARY, SECONDARY_EPT, "enable EPT", true },
    { CONTROL_SECONDARY, SECONDARY_SUB_PAGE_WRITE, "sub-page write permissions for EPT",
      CONTROL_SECONDARY, SECONDARY_EPT, "enable EPT", true },
    /* 27.2.1.2 */
    { CONTROL_EXIT, EXIT_SAVE_PREEMPTION_TIMER, "save VMX-preemption timer value",
      CONTROL_PIN, PIN_PREEMPTION_TIMER, "activate VMX-preemption timer", true },
};

/* 27.2.1.1 */
static const struct field_rule execution_rules[] = {
    { VMCS_IO_BITMAP_A, "address of I/O bitmap A", RULE_ADDRESS, PAGE_MASK,
      CONTROL_PRIMARY, PRIMARY_IO_BITMAPS },
    { VMCS_IO_BITMAP_B, "address of I/O bitmap B", RULE_ADDRESS, PAGE_MASK,
      CONTROL_PRIMARY, PRIMARY_IO_BITMAPS },
    { VMCS_MSR_BITMAP, "address of MSR bitmaps", RULE_ADDRESS, PAGE_MASK,
      CONTROL_PRIMARY, PRIMARY_MSR_BITMAPS },
    { VMCS_VIRTUAL_APIC_ADDRESS, "virtual-APIC address", RULE_ADDRESS, PAGE_MASK,
      CONTROL_PRIMARY, PRIMARY_TPR_SHADOW },
    { VMCS_APIC_ACCESS_ADDRESS, "APIC-access address", RULE_ADDRESS, PAGE_MASK,
      CONTROL_SECONDARY, SECONDARY_APIC_ACCESSES },
    { VMCS_PI_NOTIFICATION_VECTOR, "posted-interrupt notification vector", RULE_ZERO, BITS(15, 8),
      CONTROL_PIN, PIN_POSTED_INTERRUPTS },
    { VMCS_PI_DESCRIPTOR_ADDRESS, "posted-interrupt descriptor address", RULE_ADDRESS, BITS(5, 0),
      CONTROL_PIN, PIN_POSTED_INTERRUPTS },
    { VMCS_PML_ADDRESS, "PML address", RULE_ADDRESS, PAGE_MASK, CONTROL_SECONDARY, SECONDARY_PML },
    { VMCS_VMREAD_BITMAP, "VMREAD-bitmap address", RULE_ADDRESS, PAGE_MASK,
      CONTROL_SECONDARY, SECONDARY_VMCS_SHADOWING },
    { VMCS_VMWRITE_BITMAP, "VMWRITE-bitmap address", RULE_ADDRESS, PAGE_MASK,
      CONTROL_SECONDARY, SECONDARY_VMCS_SHADOWING },
    { VMCS_VE_INFORMATION_ADDRESS, "virtualization-exception information address", RULE_ADDRESS, PAGE_MASK,
      CONTROL_SECONDARY, SECONDARY_EPT_VE },
};

/* 27.2.1.2 and 27.2.1.3 */
static const struct {
    enum vmcs_field count, address;
    const char *name;
} msr_areas[] = {
    { VMCS_EXIT_MSR_STORE_COUNT, VMCS_EXIT_MSR_STORE_ADDRESS, "VM-exit MSR-store address" },
    { VMCS_EXIT_MSR_LOAD_COUNT, VMCS_EXIT_MSR_LOAD_ADDRESS, "VM-exit MSR-load address" },
    { VMCS_ENTRY_MSR_LOAD_COUNT, VMCS_ENTRY_MSR_LOAD_ADDRESS, "VM-entry MSR-load address" },
};
/* clang-format on */

/* Reserved bits (27.2.1.1 to 27.2.1.3): 1 where the capability MSR's low half is, 0 where its high half is.
 */
static bool check_reserved(struct check *c)
{
    for (unsigned i = 0; i < VMX_CONTROLS; i++) {
        uint64_t value = c->control[i];
        uint64_t low = (uint32_t)c->cap->control[i] & ~value, high = value & ~(c->cap->control[i] >> 32);

        if (i == CONTROL_SECONDARY && !check_on(c, CONTROL_PRIMARY, PRIMARY_SECONDARY))
            continue;
        if (low || high)
            return check_fail(c, words[i].name, value, "bit %u must be %u (%s)", check_bit(low ? low : high),
                              low != 0,
                              c->cap->basic & VMX_BASIC_TRUE_CONTROLS ? words[i].true_msr : words[i].msr);
    }
    return true;
}

static bool check_dependencies(struct check *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(dependencies); i++) {
        const struct dependency *d = &dependencies[i];

        if (check_on(c, d->word, d->bit) && check_on(c, d->other_word, d->other_bit) != d->must_be)
            return check_fail(c, words[d->word].name, c->control[d->word],
                              "bit %u (%s) wants bit %u (%s) of the %s to be %u", check_bit(d->bit), d->name,
                              check_bit(d->other_bit), d->other_name, words[d->other_word].name, d->must_be);
    }
    return true;
}

static bool check_tpr_threshold(struct check *c)
{
    uint64_t threshold;
    uint32_t vtpr;

    if (!check_on(c, CONTROL_PRIMARY, PRIMARY_TPR_SHADOW) ||
        check_on(c, CONTROL_SECONDARY, SECONDARY_VIRTUAL_INTERRUPTS))
        return true;
    threshold = check_read(c, VMCS_TPR_THRESHOLD);
    if (threshold & BITS(31, 4))
        return check_fail(c, "TPR threshold", threshold, "bits 31:4 must be 0");
    if (check_on(c, CONTROL_SECONDARY, SECONDARY_APIC_ACCESSES) || !c->vmcs->load ||
        !c->vmcs->load(c->vmcs->context, hpa(check_read(c, VMCS_VIRTUAL_APIC_ADDRESS) + VTPR), &vtpr))
        return true;
    if (threshold > (vtpr >> 4 & 0xf))
        return check_fail(c, "TPR threshold", threshold, "is above bits 7:4 of VTPR 0x%x", vtpr);
    return true;
}

static bool check_eptp(struct check *c)
{
    uint64_t cap = c->cap->ept_vpid, eptp = check_read(c, VMCS_EPT_POINTER);
    uint64_t reserved = eptp & (BITS(11, 8) | check_beyond_physical(c));
    unsigned type = EPTP_TYPE(eptp), walk = EPTP_WALK(eptp) + 1;

    if (!(type == EPT_TYPE_UC && (cap & EPT_CAP_UC)) && !(type == EPT_TYPE_WB && (cap & EPT_CAP_WB)))
        return check_fail(c, "EPT pointer", eptp, "memory type %u (bits 2:0) is not in IA32_VMX_EPT_VPID_CAP",
                          type);
    if (!(walk == 4 && (cap & EPT_CAP_WALK_4)) && !(walk == 5 && (cap & EPT_CAP_WALK_5)))
        return check_fail(c, "EPT pointer", eptp,
                          "a walk of %u levels (bits 5:3) is not in IA32_VMX_EPT_VPID_CAP", walk);
    if ((eptp & EPTP_AD) && !(cap & EPT_CAP_AD))
        return check_fail(c, "EPT pointer", eptp,
                          "bit 6 (accessed and dirty flags) is not in IA32_VMX_EPT_VPID_CAP");
    if ((eptp & EPTP_SSS) && !(cap & EPT_CAP_SHADOW_STACK))
        return check_fail(c, "EPT pointer", eptp,
                          "bit 7 (shadow-stack pages) is not in IA32_VMX_EPT_VPID_CAP");
    if (reserved)
        return check_fail(c, "EPT pointer", eptp, "bit %u is reserved", check_bit(reserved));
    return true;
}

/* 27.2.1.1, what is no rule of one field. */
static bool check_execution(struct check *c)
{
    uint64_t targets = check_read(c, VMCS_CR3_TARGET_COUNT);
    unsigned most = VMX_MISC_CR3_TARGETS(c->cap->misc);

    if (targets > most)
        return check_fail(c, "CR3-target count", targets, "must not be above %u (IA32_VMX_MISC)", most);
    if (!check_tpr_threshold(c))
        return false;
    if (check_on(c, CONTROL_SECONDARY, SECONDARY_VPID) && check_read(c, VMCS_VPID) == 0)
        return check_fail(c, "VPID", 0, "must not be 0");
    if (check_on(c, CONTROL_SECONDARY, SECONDARY_EPT) && !check_eptp(c))
        return false;
    if (check_on(c, CONTROL_SECONDARY, SECONDARY_TSC_SCALING) && check_read(c, VMCS_TSC_MULTIPLIER) == 0)
        return check_fail(c, "TSC multiplier", 0, "must not be 0");
    return true;
}

static bool check_msr_areas(struct check *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(msr_areas); i++) {
        struct field_rule rule = { msr_areas[i].address, msr_areas[i].name, RULE_ADDRESS, BITS(3, 0), 0, 0 };
        uint64_t count = check_read(c, msr_areas[i].count), address;

        if (count == 0)
            continue;
        if (!check_fields(c, &rule, 1))
            return false;
        address = check_read(c, msr_areas[i].address);
        if ((address + count * 16 - 1) & check_beyond_physical(c))
            return check_fail(c, rule.name, address,
                              "its %llu entries end beyond the CPU's physical-address width",
                              (unsigned long long)count);
    }
    return true;
}

/* #DF, #TS, #NP, #SS, #GP, #PF and #AC push an error code. */
static bool has_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* Whether an error code is delivered (27.2.1.3). In real mode no exception has one. */
static bool check_error_code(struct check *c, uint64_t info)
{
    static const char name[] = "VM-entry interruption information";
    bool delivers = info & INTERRUPTION_ERROR, protected = check_read(c, VMCS_GUEST_CR0) & CR0_PE;
    bool free_choice = c->cap->basic & VMX_BASIC_ANY_ERROR;
    unsigned vector = info & INTERRUPTION_VECTOR;
    uint64_t code;

    if (!check_injects(info, INTERRUPTION_EXCEPTION) && delivers)
        return check_fail(c, name, info, "bit 11 (deliver error code) must be 0 but for hardware exceptions");
    if (!protected && delivers)
        return check_fail(c, name, info, "bit 11 (deliver error code) must be 0 as guest CR0.PE is 0");
    if (check_injects(info, INTERRUPTION_EXCEPTION) && protected && !free_choice &&
        has_error_code(vector) != delivers)
        return check_fail(c, name, info, "bit 11 (deliver error code) must be %u for exception %u", !delivers,
                          vector);
    if (!delivers)
        return true;
    code = check_read(c, VMCS_ENTRY_ERROR_CODE);
    if (code & BITS(31, 16))
        return check_fail(c, "VM-entry exception error code", code, "bits 31:16 must be 0");
    return true;
}

static bool check_instruction_length(struct check *c, unsigned type)
{
    uint64_t length;

    if (type != INTERRUPTION_SOFTWARE && type != INTERRUPTION_PRIVILEGED && type != INTERRUPTION_SOFTWARE_EX)
        return true;
    length = check_read(c, VMCS_ENTRY_INSTRUCTION_LENGTH);
    if (length > 15)
        return check_fail(c, "VM-entry instruction length", length, "must not be above 15");
    if (length == 0 && !(c->cap->misc & VMX_MISC_LENGTH_0))
        return check_fail(c, "VM-entry instruction length", length, "must not be 0 (IA32_VMX_MISC[30])");
    return true;
}

/* Event injection (27.2.1.3). */
static bool check_injection(struct check *c)
{
    static const char name[] = "VM-entry interruption information";
    uint64_t info = check_read(c, VMCS_ENTRY_INTERRUPTION), reserved = info & BITS(30, 12);
    unsigned vector = info & INTERRUPTION_VECTOR;
    unsigned type = (unsigned)(info & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT;
    bool has_mtf = c->cap->control[CONTROL_PRIMARY] >> 32 & PRIMARY_MONITOR_TRAP;

    if (!(info & INTERRUPTION_VALID))
        return true;
    if (type == 1 || (type == INTERRUPTION_OTHER && !has_mtf))
        return check_fail(c, name, info, "type %u (bits 10:8) is reserved", type);
    if (type == INTERRUPTION_NMI && vector != VECTOR_NMI)
        return check_fail(c, name, info, "vector %u (bits 7:0) must be 2 for an NMI", vector);
    if (type == INTERRUPTION_EXCEPTION && vector > 31)
        return check_fail(c, name, info, "vector %u (bits 7:0) must not be above 31 for a hardware exception",
                          vector);
    if (type == INTERRUPTION_OTHER && vector != 0)
        return check_fail(c, name, info, "vector %u (bits 7:0) must be 0 for type 7", vector);
    if (reserved)
        return check_fail(c, name, info, "bit %u is reserved", check_bit(reserved));
    return check_error_code(c, info) && check_instruction_length(c, type);
}

/* Plinth never runs in SMM, where alone these may be 1 (27.2.1.3). */
static bool check_smm(struct check *c)
{
    uint64_t bits = c->control[CONTROL_ENTRY] & (ENTRY_SMM | ENTRY_DUAL);

    if (bits)
        return check_fail(c, words[CONTROL_ENTRY].name, c->control[CONTROL_ENTRY],
                          "bit %u (%s) must be 0 outside of SMM", check_bit(bits),
                          bits & ENTRY_SMM ? "entry to SMM" : "deactivate dual-monitor treatment");
    return true;
}

bool check_controls(struct check *c)
{
    return check_reserved(c) && check_dependencies(c) &&
           check_fields(c, execution_rules, ARRAY_SIZE(execution_rules)) && check_execution(c) &&
           check_msr_areas(c) && check_injection(c) && check_smm(c);
}
