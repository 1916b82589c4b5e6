/* VM-entry checks on the host's state. Source: Intel SDM vol. 3, 27.2.2 to 27.2.4. */
#include "vmx/intel/check_rules.h"

#define NOT_RPL_TI (SELECTOR_RPL | SELECTOR_TI)

/* clang-format off */
static const struct field_rule rules[] = {
    /* 27.2.2 */
    { VMCS_HOST_CR3, "host CR3", RULE_ADDRESS, 0, 0, 0 },
    { VMCS_HOST_SYSENTER_ESP, "host IA32_SYSENTER_ESP", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_HOST_SYSENTER_EIP, "host IA32_SYSENTER_EIP", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_HOST_PAT, "host IA32_PAT", RULE_PAT, 0, CONTROL_EXIT, EXIT_LOAD_PAT },
    /* 27.2.3 */
    { VMCS_HOST_ES_SELECTOR, "host ES selector", RULE_ZERO, NOT_RPL_TI, 0, 0 },
    { VMCS_HOST_CS_SELECTOR, "host CS selector", RULE_ZERO, NOT_RPL_TI, 0, 0 },
    { VMCS_HOST_SS_SELECTOR, "host SS selector", RULE_ZERO, NOT_RPL_TI, 0, 0 },
    { VMCS_HOST_DS_SELECTOR, "host DS selector", RULE_ZERO, NOT_RPL_TI, 0, 0 },
    { VMCS_HOST_FS_SELECTOR, "host FS selector", RULE_ZERO, NOT_RPL_TI, 0, 0 },
    { VMCS_HOST_GS_SELECTOR, "host GS selector", RULE_ZERO, NOT_RPL_TI, 0, 0 },
    { VMCS_HOST_TR_SELECTOR, "host TR selector", RULE_ZERO, NOT_RPL_TI, 0, 0 },
    { VMCS_HOST_FS_BASE, "host FS base", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_HOST_GS_BASE, "host GS base", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_HOST_TR_BASE, "host TR base", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_HOST_GDTR_BASE, "host GDTR base", RULE_CANONICAL, 0, 0, 0 },
    { VMCS_HOST_IDTR_BASE, "host IDTR base", RULE_CANONICAL, 0, 0, 0 },
    /* 27.2.4 */
    { VMCS_HOST_RIP, "host RIP", RULE_CANONICAL, 0, 0, 0 },
};
/* clang-format on */

/* 27.2.2. The CPU never checks CR0.NW and CD, which a VM exit leaves alone. */
static bool check_control_registers(struct check *c)
{
    uint64_t cr0 = check_read(c, VMCS_HOST_CR0), cr4 = check_read(c, VMCS_HOST_CR4);

    if (!check_cr0(c, "host CR0", cr0, CR0_NW | CR0_CD) || !check_cr4(c, "host CR4", cr4))
        return false;
    if ((cr4 & CR4_CET) && !(cr0 & CR0_WP))
        return check_fail(c, "host CR4", cr4, "bit 23 (CET) wants host CR0.WP to be 1");
    return true;
}

/* 27.2.2: LMA and LME are both the control "host address-space size". */
static bool check_efer(struct check *c)
{
    uint64_t efer, expected;

    if (!check_on(c, CONTROL_EXIT, EXIT_LOAD_EFER))
        return true;
    efer = check_read(c, VMCS_HOST_EFER);
    expected = check_on(c, CONTROL_EXIT, EXIT_HOST_64) ? EFER_LMA | EFER_LME : 0;
    if (!check_efer_reserved(c, "host IA32_EFER", efer))
        return false;
    if ((efer & (EFER_LMA | EFER_LME)) != expected)
        return check_fail(c, "host IA32_EFER", efer,
                          "bits 8 (LME) and 10 (LMA) must be %u as \"host address-space size\" is",
                          expected != 0);
    return true;
}

/* 27.2.3. That SS must not be null either holds only for a 32-bit host. */
static bool check_null_selectors(struct check *c)
{
    if (check_read(c, VMCS_HOST_CS_SELECTOR) == 0)
        return check_fail(c, "host CS selector", 0, "must not be 0");
    if (check_read(c, VMCS_HOST_TR_SELECTOR) == 0)
        return check_fail(c, "host TR selector", 0, "must not be 0");
    return true;
}

/* 27.2.4, for a CPU that is in IA-32e mode, as it is whenever Plinth runs. */
static bool check_address_space(struct check *c)
{
    uint64_t cr4 = check_read(c, VMCS_HOST_CR4);

    if (!check_on(c, CONTROL_EXIT, EXIT_HOST_64))
        return check_fail(c, "VM-exit controls", c->control[CONTROL_EXIT],
                          "bit 9 (host address-space size) must be 1 as the CPU is in IA-32e mode");
    if (!(cr4 & CR4_PAE))
        return check_fail(c, "host CR4", cr4, "bit 5 (PAE) must be 1 as \"host address-space size\" is");
    return true;
}

bool check_host(struct check *c)
{
    return check_address_space(c) && check_control_registers(c) && check_efer(c) &&
           check_fields(c, rules, ARRAY_SIZE(rules)) && check_null_selectors(c);
}
