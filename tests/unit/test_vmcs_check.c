/* The VM-entry checker: good state of every kind of guest passes; each rule on controls and host, broken
 * alone, is named. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/vmcs_damage.h"

/* clang-format off */
static const struct damage controls[] = {
    /* 27.2.1.1: reserved bits */
    { RIG_LONG, { OFF(PIN_CONTROLS, BIT(4)) },
      "pin-based controls 0x2f: bit 4 must be 1 (IA32_VMX_TRUE_PINBASED_CTLS)" },
    { RIG_LONG, { ON(PIN_CONTROLS, BIT(9)) },
      "pin-based controls 0x23f: bit 9 must be 0 (IA32_VMX_TRUE_PIN" },
    { RIG_LONG, { OFF(PRIMARY_CONTROLS, BIT(26)) },
      "primary processor-based controls 0x92206172: bit 26 must be 1" },
    { RIG_LONG, { ON(PRIMARY_CONTROLS, BIT(17)) },
      "primary processor-based controls 0x96226172: bit 17 must be 0" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, BIT(31)) },
      "secondary processor-based controls 0x800000a2: bit 31 must be 0 (IA32_VMX_PROCBASED_CTLS2)" },
    { RIG_LONG, { OFF(EXIT_CONTROLS, BIT(10)) }, "VM-exit controls 0x2bebfb: bit 10 must be 1" },
    { RIG_LONG, { OFF(ENTRY_CONTROLS, BIT(12)) }, "VM-entry controls 0xc3ff: bit 12 must be 1" },
    /* 27.2.1.1: controls that need others */
    { RIG_LONG, { OFF(PIN_CONTROLS, PIN_NMI_EXITING) },
      "pin-based controls 0x37: bit 5 (virtual NMIs) wants bit 3 (NMI exiting) of the pin-based controls to "
      "be 1" },
    { RIG_LONG, { OFF(PIN_CONTROLS, PIN_VIRTUAL_NMIS), ON(PRIMARY_CONTROLS, PRIMARY_NMI_WINDOW) },
      "primary processor-based controls 0x96606172: bit 22 (NMI-window exiting) wants bit 5" },
    { RIG_LONG, { OFF(PRIMARY_CONTROLS, PRIMARY_TPR_SHADOW), ON(SECONDARY_CONTROLS, SECONDARY_X2APIC) },
      "secondary processor-based controls 0xb2: bit 4 (virtualize x2APIC mode) wants bit 21" },
    { RIG_LONG, { OFF(PRIMARY_CONTROLS, PRIMARY_TPR_SHADOW),
                  ON(SECONDARY_CONTROLS, SECONDARY_APIC_REGISTERS) },
      "secondary processor-based controls 0x1a2: bit 8 (APIC-register virtualization) wants bit 21" },
    { RIG_LONG, { OFF(PRIMARY_CONTROLS, PRIMARY_TPR_SHADOW),
                  ON(SECONDARY_CONTROLS, SECONDARY_VIRTUAL_INTERRUPTS) },
      "secondary processor-based controls 0x2a2: bit 9 (virtual-interrupt delivery) wants bit 21" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_X2APIC | SECONDARY_APIC_ACCESSES) },
      "secondary processor-based controls 0xb3: bit 4 (virtualize x2APIC mode) wants bit 0 (virtualize APIC "
      "accesses) of the secondary processor-based controls to be 0" },
    { RIG_LONG, { OFF(PIN_CONTROLS, PIN_INTERRUPT_EXITING),
                  ON(SECONDARY_CONTROLS, SECONDARY_VIRTUAL_INTERRUPTS) },
      "secondary processor-based controls 0x2a2: bit 9 (virtual-interrupt delivery) wants bit 0 (external" },
    { RIG_LONG, { ON(PIN_CONTROLS, PIN_POSTED_INTERRUPTS) },
      "pin-based controls 0xbf: bit 7 (process posted interrupts) wants bit 9 (virtual-interrupt delivery)" },
    { RIG_LONG, { ON(PIN_CONTROLS, PIN_POSTED_INTERRUPTS),
                  ON(SECONDARY_CONTROLS, SECONDARY_VIRTUAL_INTERRUPTS),
                  OFF(EXIT_CONTROLS, EXIT_ACKNOWLEDGE_INTERRUPT) },
      "pin-based controls 0xbf: bit 7 (process posted interrupts) wants bit 15 (acknowledge interrupt on" },
    { RIG_PROTECTED, { OFF(SECONDARY_CONTROLS, SECONDARY_EPT), ON(SECONDARY_CONTROLS, SECONDARY_PML) },
      "secondary processor-based controls 0x20020: bit 17 (enable PML) wants bit 1 (enable EPT)" },
    { RIG_LONG, { OFF(SECONDARY_CONTROLS, SECONDARY_EPT) },
      "secondary processor-based controls 0xa0: bit 7 (unrestricted guest) wants bit 1" },
    { RIG_PROTECTED, { OFF(SECONDARY_CONTROLS, SECONDARY_EPT),
                       ON(SECONDARY_CONTROLS, SECONDARY_MODE_BASED_EXECUTE) },
      "secondary processor-based controls 0x400020: bit 22 (mode-based execute control for EPT)" },
    { RIG_PROTECTED, { OFF(SECONDARY_CONTROLS, SECONDARY_EPT),
                       ON(SECONDARY_CONTROLS, SECONDARY_SUB_PAGE_WRITE) },
      "secondary processor-based controls 0x800020: bit 23 (sub-page write permissions for EPT)" },
    /* 27.2.1.1: addresses */
    { RIG_LONG, { SET(IO_BITMAP_A, 0x1010) }, "address of I/O bitmap A 0x1010: bits 0x10 must be 0" },
    { RIG_LONG, { SET(IO_BITMAP_B, BEYOND) },
      "address of I/O bitmap B 0x8000000000: bit 39 is beyond the CPU's physical-address width" },
    { RIG_LONG, { SET(MSR_BITMAP, 0x3001) }, "address of MSR bitmaps 0x3001: bits 0x1 must be 0" },
    { RIG_LONG, { SET(VIRTUAL_APIC_ADDRESS, 0x5800) }, "virtual-APIC address 0x5800: bits 0x800 must be 0" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_APIC_ACCESSES), SET(APIC_ACCESS_ADDRESS, 0xfee00020) },
      "APIC-access address 0xfee00020: bits 0x20 must be 0" },
    { RIG_LONG, { ON(PIN_CONTROLS, PIN_POSTED_INTERRUPTS),
                  ON(SECONDARY_CONTROLS, SECONDARY_VIRTUAL_INTERRUPTS),
                  SET(PI_NOTIFICATION_VECTOR, 0x1f2) },
      "posted-interrupt notification vector 0x1f2: bits 0x100 must be 0" },
    { RIG_LONG, { ON(PIN_CONTROLS, PIN_POSTED_INTERRUPTS),
                  ON(SECONDARY_CONTROLS, SECONDARY_VIRTUAL_INTERRUPTS),
                  SET(PI_DESCRIPTOR_ADDRESS, 0x8060) },
      "posted-interrupt descriptor address 0x8060: bits 0x20 must be 0" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_PML), SET(PML_ADDRESS, 1) }, "PML address 0x1: bits 0x1" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_VMCS_SHADOWING), SET(VMREAD_BITMAP, BIT(63)) },
      "VMREAD-bitmap address 0x8000000000000000: bit 63 is beyond" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_VMCS_SHADOWING), SET(VMWRITE_BITMAP, 8) },
      "VMWRITE-bitmap address 0x8: bits 0x8" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_EPT_VE), SET(VE_INFORMATION_ADDRESS, 8) },
      "virtualization-exception information address 0x8: bits 0x8" },
    /* 27.2.1.1: the rest */
    { RIG_LONG, { SET(CR3_TARGET_COUNT, 5) }, "CR3-target count 0x5: must not be above 4 (IA32_VMX_MISC)" },
    { RIG_LONG, { SET(TPR_THRESHOLD, 0x10) }, "TPR threshold 0x10: bits 31:4 must be 0" },
    { RIG_LONG, { SET(TPR_THRESHOLD, 1) }, "TPR threshold 0x1: is above bits 7:4 of VTPR 0x0" },
    { RIG_LONG, { SET(VPID, 0) }, "VPID 0x0: must not be 0" },
    { RIG_LONG, { SET(EPT_POINTER, 0x70001c) },
      "EPT pointer 0x70001c: memory type 4 (bits 2:0) is not in IA32_VMX_EPT" },
    { RIG_LONG, { SET(EPT_POINTER, 0x700018) }, "EPT pointer 0x700018: memory type 0" },
    { RIG_LONG, { SET(EPT_POINTER, 0x700026) },
      "EPT pointer 0x700026: a walk of 5 levels (bits 5:3) is not in" },
    { RIG_LONG, { SET(EPT_POINTER, 0x70009e) }, "EPT pointer 0x70009e: bit 7 (shadow-stack pages)" },
    { RIG_LONG, { SET(EPT_POINTER, 0x70011e) }, "EPT pointer 0x70011e: bit 8 is reserved" },
    { RIG_LONG, { ON(EPT_POINTER, BEYOND) }, "EPT pointer 0x800070001e: bit 39 is reserved" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_TSC_SCALING), SET(TSC_MULTIPLIER, 0) },
      "TSC multiplier 0x0: must not be 0" },
    { RIG_LONG, { ON(SECONDARY_CONTROLS, SECONDARY_TSC_SCALING) }, NULL },
    /* 27.2.1.2 */
    { RIG_LONG, { ON(EXIT_CONTROLS, EXIT_SAVE_PREEMPTION_TIMER) },
      "VM-exit controls 0x6beffb: bit 22 (save VMX-preemption timer value) wants bit 6" },
    { RIG_LONG, { SET(EXIT_MSR_STORE_COUNT, 1), SET(EXIT_MSR_STORE_ADDRESS, 0x4008) },
      "VM-exit MSR-store address 0x4008: bits 0x8 must be 0" },
    { RIG_LONG, { SET(EXIT_MSR_LOAD_COUNT, 1), SET(EXIT_MSR_LOAD_ADDRESS, BEYOND) },
      "VM-exit MSR-load address 0x8000000000: bit 39 is beyond" },
    { RIG_LONG, { SET(EXIT_MSR_LOAD_COUNT, 2), SET(EXIT_MSR_LOAD_ADDRESS, BEYOND - 16) },
      "VM-exit MSR-load address 0x7ffffffff0: its 2 entries end beyond" },
    /* 27.2.1.3 */
    { RIG_LONG, { SET(ENTRY_MSR_LOAD_COUNT, 1), SET(ENTRY_MSR_LOAD_ADDRESS, 1) },
      "VM-entry MSR-load address 0x1:" },
    { RIG_LONG, { ON(ENTRY_CONTROLS, ENTRY_SMM) },
      "VM-entry controls 0xd7ff: bit 10 (entry to SMM) must be 0" },
    { RIG_LONG, { ON(ENTRY_CONTROLS, ENTRY_DUAL) },
      "VM-entry controls 0xdbff: bit 11 (deactivate dual-monitor" },
};

#define INFO "VM-entry interruption information "
static const struct damage events[] = {
    /* 27.2.1.3: type, vector, reserved bits */
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(1, 0)) }, INFO "0x80000100: type 1 (bits 10:8) is reserved" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(2, 3)) },
      INFO "0x80000203: vector 3 (bits 7:0) must be 2 for an NMI" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(3, 32)) },
      INFO "0x80000320: vector 32 (bits 7:0) must not be above 31" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(7, 1)) },
      INFO "0x80000701: vector 1 (bits 7:0) must be 0 for type 7" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(0, 32) | BIT(12)) }, INFO "0x80001020: bit 12 is reserved" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(0, 32) | BIT(30)) }, INFO "0xc0000020: bit 30 is reserved" },
    /* error code */
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(3, 14)) },
      INFO "0x8000030e: bit 11 (deliver error code) must be 1 for exception 14" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(3, 6) | BIT(11)) },
      INFO "0x80000b06: bit 11 (deliver error code) must be 0 for exception 6" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(0, 14) | BIT(11)) },
      INFO "0x8000080e: bit 11 (deliver error code) must be 0 but for hardware exceptions" },
    { RIG_REAL, { SET(ENTRY_INTERRUPTION, EVENT(3, 13) | BIT(11)) },
      INFO "0x80000b0d: bit 11 (deliver error code) must be 0 as guest CR0.PE is 0" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(3, 14) | BIT(11)), SET(ENTRY_ERROR_CODE, BIT(16)) },
      "VM-entry exception error code 0x10000: bits 31:16 must be 0" },
    /* instruction length */
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(4, 0x80)) },
      "VM-entry instruction length 0x0: must not be 0 (IA32_VMX_MISC[30])" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(5, 1)) }, "VM-entry instruction length 0x0: must not be 0" },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(6, 3)), SET(ENTRY_INSTRUCTION_LENGTH, 16) },
      "VM-entry instruction length 0x10: must not be above 15" },
    /* what is right */
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(0, 32)) }, NULL },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(0, 14)) }, NULL },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(2, 2)) }, NULL },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(3, 14) | BIT(11)), SET(ENTRY_ERROR_CODE, 0x8003) }, NULL },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(3, 6)) }, NULL },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(6, 3)), SET(ENTRY_INSTRUCTION_LENGTH, 15) }, NULL },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, EVENT(7, 0)) }, NULL },
    { RIG_REAL, { SET(ENTRY_INTERRUPTION, EVENT(3, 13)) }, NULL },
    { RIG_LONG, { SET(ENTRY_INTERRUPTION, 0x7fffffff) }, NULL }, /* not valid */
};

static const struct damage host[] = {
    /* 27.2.2 */
    { RIG_LONG, { OFF(HOST_CR0, CR0_NE) },
      "host CR0 0x80010001: bit 5 (NE) must be 1 (IA32_VMX_CR0_FIXED0)" },
    { RIG_LONG, { OFF(HOST_CR0, CR0_PG) }, "host CR0 0x10021: bit 31 (PG) must be 1 (IA32_VMX_CR0_FIXED0)" },
    { RIG_LONG, { ON(HOST_CR0, BIT(32)) },
      "host CR0 0x180010021: bit 32 (reserved) must be 0 (IA32_VMX_CR0_FIXED1)" },
    { RIG_LONG, { OFF(HOST_CR4, CR4_VMXE) }, "host CR4 0x20: bit 13 (VMXE) must be 1 (IA32_VMX_CR4_FIXED0)" },
    { RIG_LONG, { ON(HOST_CR4, BIT(12)) }, "host CR4 0x3020: bit 12 (LA57) must be 0 (IA32_VMX_CR4_FIXED1)" },
    { RIG_LONG, { ON(HOST_CR4, BIT(23)), OFF(HOST_CR0, CR0_WP) }, "host CR4 0x802020: bit 23 (CET) wants" },
    { RIG_LONG, { ON(HOST_CR3, BEYOND) }, "host CR3 0x8000001000: bit 39 is beyond" },
    { RIG_LONG, { SET(HOST_SYSENTER_ESP, NOT_CANONICAL) },
      "host IA32_SYSENTER_ESP 0x800000000000: must be a canonical address (48 bits)" },
    { RIG_LONG, { SET(HOST_SYSENTER_EIP, NOT_CANONICAL) }, "host IA32_SYSENTER_EIP 0x800000000000: must be" },
    { RIG_LONG, { SET(HOST_PAT, 0x0200) }, "host IA32_PAT 0x200: byte 1 is 2, not a memory type" },
    { RIG_LONG, { SET(HOST_PAT, 0x03) }, "host IA32_PAT 0x3: byte 0 is 3" },
    { RIG_LONG, { SET(HOST_PAT, UINT64_C(8) << 56) }, "host IA32_PAT 0x800000000000000: byte 7 is 8" },
    { RIG_LONG, { ON(HOST_EFER, EFER_SVME) }, "host IA32_EFER 0x1d00: bit 12 is reserved" },
    { RIG_LONG, { OFF(HOST_EFER, EFER_LMA) }, "host IA32_EFER 0x900: bits 8 (LME) and 10 (LMA) must be 1" },
    { RIG_LONG, { OFF(HOST_EFER, EFER_LME) }, "host IA32_EFER 0xc00: bits 8 (LME) and 10 (LMA) must be 1" },
    /* 27.2.3 */
    { RIG_LONG, { SET(HOST_ES_SELECTOR, 0x1b) }, "host ES selector 0x1b: bits 0x3 must be 0" },
    { RIG_LONG, { SET(HOST_CS_SELECTOR, 0x0c) }, "host CS selector 0xc: bits 0x4 must be 0" },
    { RIG_LONG, { SET(HOST_SS_SELECTOR, 0x11) }, "host SS selector 0x11: bits 0x1" },
    { RIG_LONG, { SET(HOST_DS_SELECTOR, 0x11) }, "host DS selector 0x11: bits 0x1" },
    { RIG_LONG, { SET(HOST_FS_SELECTOR, 0x11) }, "host FS selector 0x11: bits 0x1" },
    { RIG_LONG, { SET(HOST_GS_SELECTOR, 0x11) }, "host GS selector 0x11: bits 0x1" },
    { RIG_LONG, { SET(HOST_TR_SELECTOR, 0x1c) }, "host TR selector 0x1c: bits 0x4" },
    { RIG_LONG, { SET(HOST_CS_SELECTOR, 0) }, "host CS selector 0x0: must not be 0" },
    { RIG_LONG, { SET(HOST_TR_SELECTOR, 0) }, "host TR selector 0x0: must not be 0" },
    { RIG_LONG, { SET(HOST_FS_BASE, NOT_CANONICAL) }, "host FS base 0x800000000000: must be a canonical" },
    { RIG_LONG, { SET(HOST_GS_BASE, NOT_CANONICAL) }, "host GS base 0x800000000000: must be a canonical" },
    { RIG_LONG, { SET(HOST_TR_BASE, NOT_CANONICAL) }, "host TR base 0x800000000000: must be a canonical" },
    { RIG_LONG, { SET(HOST_GDTR_BASE, NOT_CANONICAL) },
      "host GDTR base 0x800000000000: must be a canonical" },
    { RIG_LONG, { SET(HOST_IDTR_BASE, UINT64_C(0xffff7fffffffffff)) },
      "host IDTR base 0xffff7fffffffffff: must be" },
    /* 27.2.4 */
    { RIG_LONG, { OFF(EXIT_CONTROLS, EXIT_HOST_64) },
      "VM-exit controls 0x2bedfb: bit 9 (host address-space size) must be 1 as the CPU is in IA-32e mode" },
    { RIG_LONG, { OFF(HOST_CR4, CR4_PAE) }, "host CR4 0x2000: bit 5 (PAE) must be 1" },
    { RIG_LONG, { SET(HOST_RIP, NOT_CANONICAL) }, "host RIP 0x800000000000: must be a canonical" },
    /* what is right, or not checked */
    { RIG_LONG, { ON(HOST_CR4, BIT(23)) }, NULL },
    { RIG_LONG, { OFF(HOST_CR0, CR0_WP) }, NULL },
    { RIG_LONG, { ON(HOST_CR0, CR0_NW | CR0_CD) }, NULL },
    { RIG_LONG, { OFF(EXIT_CONTROLS, EXIT_LOAD_PAT | EXIT_LOAD_EFER),
                  SET(HOST_PAT, ALL), SET(HOST_EFER, ALL) },
      NULL },
};

/* clang-format on */

static void test_valid(void **state)
{
    (void)state;
    for (unsigned guest = 0; guest < RIG_GUESTS; guest++) {
        rig_init(&rig, (enum rig_guest)guest);
        if (!check())
            fail_msg("guest %u: %s", guest, text);
    }
}

/* With as few controls as there can be, nothing that depends on one is read. */
static void test_few_controls(void **state)
{
    (void)state;
    rig_init(&rig, RIG_PAE);
    rig_set(&rig, VMCS_PIN_CONTROLS, 0x16);
    rig_set(&rig, VMCS_PRIMARY_CONTROLS, 0x04006172);
    rig_set(&rig, VMCS_SECONDARY_CONTROLS, ALL);
    rig_set(&rig, VMCS_EXIT_CONTROLS, 0x00036dfb | EXIT_HOST_64);
    rig_set(&rig, VMCS_ENTRY_CONTROLS, 0x000011fb);
    assert_true(check());
}

static void test_controls(void **state)
{
    (void)state;
    run(controls, ARRAY_SIZE(controls));
}

static void test_events(void **state)
{
    (void)state;
    run(events, ARRAY_SIZE(events));
}

static void test_host(void **state)
{
    (void)state;
    run(host, ARRAY_SIZE(host));
}

/* What the rules draw from the capability MSRs. */
static void test_capabilities(void **state)
{
    (void)state;
    rig_init(&rig, RIG_LONG);
    rig.cap.basic &= ~VMX_BASIC_TRUE_CONTROLS;
    *rig_field(&rig, VMCS_PIN_CONTROLS) &= ~BIT(1);
    expect("pin-based controls 0x3d: bit 1 must be 1 (IA32_VMX_PINBASED_CTLS)");

    rig_init(&rig, RIG_LONG);
    rig.cap.basic |= VMX_BASIC_32_BIT;
    rig_set(&rig, VMCS_MSR_BITMAP, BIT(32));
    expect("address of MSR bitmaps 0x100000000: bit 32 is beyond");

    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_ENTRY_INTERRUPTION, EVENT(3, 14));
    rig.cap.basic |= VMX_BASIC_ANY_ERROR;
    assert_true(check());
    rig_set(&rig, VMCS_ENTRY_INTERRUPTION, EVENT(3, 21) | BIT(11));
    assert_true(check());

    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_ENTRY_INTERRUPTION, EVENT(7, 0));
    rig.cap.control[CONTROL_PRIMARY] &= ~(PRIMARY_MONITOR_TRAP << 32);
    expect("VM-entry interruption information 0x80000700: type 7 (bits 10:8) is reserved");

    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_ENTRY_INTERRUPTION, EVENT(4, 0x80));
    rig.cap.misc |= VMX_MISC_LENGTH_0;
    assert_true(check());

    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_GUEST_ACTIVITY, ACTIVITY_SHUTDOWN);
    rig.cap.misc &= ~BIT(7);
    expect("guest activity state 0x2: is not in IA32_VMX_MISC[8:6]");

    rig_init(&rig, RIG_LONG);
    *rig_field(&rig, VMCS_EPT_POINTER) |= BIT(6);
    assert_true(check());
    *rig_field(&rig, VMCS_EPT_POINTER) |= BIT(7);
    rig.cap.ept_vpid |= EPT_CAP_SHADOW_STACK;
    assert_true(check());
    *rig_field(&rig, VMCS_EPT_POINTER) &= ~(BIT(6) | BIT(7));
    rig.cap.ept_vpid &= ~EPT_CAP_AD;
    assert_true(check());
    *rig_field(&rig, VMCS_EPT_POINTER) |= BIT(6);
    expect("EPT pointer 0x70005e: bit 6 (accessed and dirty flags) is not in IA32_VMX_EPT_VPID_CAP");
}

/* A CPU with 57 bits of linear address. */
static void test_wide_addresses(void **state)
{
    (void)state;
    rig_init(&rig, RIG_LONG);
    rig.cap.cr4_fixed1 |= BIT(12);
    rig_set(&rig, VMCS_GUEST_GDTR_BASE, NOT_CANONICAL);
    assert_true(check());
    rig_set(&rig, VMCS_GUEST_GDTR_BASE, BIT(56));
    expect("guest GDTR base 0x100000000000000: must be a canonical address (57 bits)");
    rig_set(&rig, VMCS_GUEST_GDTR_BASE, 0);
    rig_set(&rig, VMCS_GUEST_RIP, BIT(57));
    expect("guest RIP 0x200000000000000: bits 63:57 must be all 0 or all 1");
}

/* VTPR and a linked VMCS are in memory. */
static void test_memory(void **state)
{
    struct vmcs_view view = rig_view(&rig);

    (void)state;
    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_TPR_THRESHOLD, 4);
    rig.vtpr = 0x40;
    assert_true(check());
    rig.vtpr = 0x3f;
    expect("TPR threshold 0x4: is above bits 7:4 of VTPR 0x3f");
    view.load = NULL;
    assert_true(vmcs_check(&view, text, sizeof(text)));
    *rig_field(&rig, VMCS_SECONDARY_CONTROLS) |= SECONDARY_APIC_ACCESSES;
    assert_true(check());
    *rig_field(&rig, VMCS_SECONDARY_CONTROLS) ^= SECONDARY_APIC_ACCESSES | SECONDARY_VIRTUAL_INTERRUPTS;
    rig_set(&rig, VMCS_TPR_THRESHOLD, 0xff);
    assert_true(check());

    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_LINK_POINTER, RIG_LINKED);
    rig.revision = RIG_REVISION + 1;
    expect("VMCS link pointer 0x9000: revision 0x13 there is not the CPU's");
    rig.revision = RIG_REVISION | (uint32_t)BIT(31);
    expect("VMCS link pointer 0x9000: bit 31 of the revision 0x80000012 there must be 0");
    *rig_field(&rig, VMCS_SECONDARY_CONTROLS) |= SECONDARY_VMCS_SHADOWING;
    assert_true(check());
}

/* Controls are checked before the host, the host before the guest. */
static void test_order(void **state)
{
    (void)state;
    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_GUEST_CR4, 0);
    expect("guest CR4");
    rig_set(&rig, VMCS_HOST_CR4, 0x20);
    expect("host CR4");
    rig_set(&rig, VMCS_VPID, 0);
    expect("VPID");
}

/* Narrow fields are taken at their own width, whatever a reader returns above it. */
static void test_field_width(void **state)
{
    (void)state;
    rig_init(&rig, RIG_LONG);
    *rig_field(&rig, VMCS_HOST_CS_SELECTOR) |= UINT64_C(0xffff0000);
    *rig_field(&rig, VMCS_GUEST_ACTIVITY) |= UINT64_C(0xffffffff00000000);
    assert_true(check());
}

static void test_short_text(void **state)
{
    struct vmcs_view view = rig_view(&rig);
    char small[16];

    (void)state;
    rig_init(&rig, RIG_LONG);
    rig_set(&rig, VMCS_VPID, 0);
    memset(small, 'x', sizeof(small));
    assert_false(vmcs_check(&view, small, 0));
    assert_int_equal(small[0], 'x');
    assert_false(vmcs_check(&view, small, 4));
    assert_memory_equal(small, "VPI\0x", 5);
    assert_false(vmcs_check(&view, small, 13));
    assert_memory_equal(small, "VPID 0x0: mu\0x", 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),          cmocka_unit_test(test_few_controls),
        cmocka_unit_test(test_controls),       cmocka_unit_test(test_events),
        cmocka_unit_test(test_host),           cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_wide_addresses), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_order),          cmocka_unit_test(test_field_width),
        cmocka_unit_test(test_short_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
