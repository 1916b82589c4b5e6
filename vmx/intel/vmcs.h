/*
 * The virtual-machine control structure: field encodings and the bits of its controls. Nobody but vmx/intel/
 * includes this. Source: Intel SDM vol. 3, chapter 25 and appendix B.
 */
#pragma once

#include "lib/types.h"

/* Segment registers are numbered as in enum seg, then LDTR and TR; each field is 2 * n from that of ES. */
#define VMCS_LDTR 6
#define VMCS_TR   7

/* clang-format off */
enum vmcs_field {
    /* 16-bit control fields (B.1.1) */
    VMCS_VPID                     = 0x0000,
    VMCS_PI_NOTIFICATION_VECTOR   = 0x0002,
    /* 16-bit guest state (B.1.2) */
    VMCS_GUEST_ES_SELECTOR        = 0x0800,
    VMCS_GUEST_CS_SELECTOR        = 0x0802,
    VMCS_GUEST_SS_SELECTOR        = 0x0804,
    VMCS_GUEST_LDTR_SELECTOR      = 0x080c,
    VMCS_GUEST_TR_SELECTOR        = 0x080e,
    VMCS_GUEST_INTERRUPT_STATUS   = 0x0810,
    /* 16-bit host state (B.1.3) */
    VMCS_HOST_ES_SELECTOR         = 0x0c00,
    VMCS_HOST_CS_SELECTOR         = 0x0c02,
    VMCS_HOST_SS_SELECTOR         = 0x0c04,
    VMCS_HOST_DS_SELECTOR         = 0x0c06,
    VMCS_HOST_FS_SELECTOR         = 0x0c08,
    VMCS_HOST_GS_SELECTOR         = 0x0c0a,
    VMCS_HOST_TR_SELECTOR         = 0x0c0c,
    /* 64-bit control fields (B.2.1) */
    VMCS_IO_BITMAP_A              = 0x2000,
    VMCS_IO_BITMAP_B              = 0x2002,
    VMCS_MSR_BITMAP               = 0x2004,
    VMCS_EXIT_MSR_STORE_ADDRESS   = 0x2006,
    VMCS_EXIT_MSR_LOAD_ADDRESS    = 0x2008,
    VMCS_ENTRY_MSR_LOAD_ADDRESS   = 0x200a,
    VMCS_PML_ADDRESS              = 0x200e,
    VMCS_TSC_OFFSET               = 0x2010,
    VMCS_VIRTUAL_APIC_ADDRESS     = 0x2012,
    VMCS_APIC_ACCESS_ADDRESS      = 0x2014,
    VMCS_PI_DESCRIPTOR_ADDRESS    = 0x2016,
    VMCS_EPT_POINTER              = 0x201a,
    VMCS_EOI_EXIT_BITMAP_0        = 0x201c, /* to _3, in steps of 2 */
    VMCS_VMREAD_BITMAP            = 0x2026,
    VMCS_VMWRITE_BITMAP           = 0x2028,
    VMCS_VE_INFORMATION_ADDRESS   = 0x202a,
    VMCS_TSC_MULTIPLIER           = 0x2032,
    /* 64-bit read-only data (B.2.2) */
    VMCS_GUEST_PHYSICAL_ADDRESS   = 0x2400,
    /* 64-bit guest state (B.2.3) */
    VMCS_LINK_POINTER             = 0x2800,
    VMCS_GUEST_DEBUGCTL           = 0x2802,
    VMCS_GUEST_PAT                = 0x2804,
    VMCS_GUEST_EFER               = 0x2806,
    VMCS_GUEST_PDPTE0             = 0x280a, /* to 3, in steps of 2 */
    /* 64-bit host state (B.2.4) */
    VMCS_HOST_PAT                 = 0x2c00,
    VMCS_HOST_EFER                = 0x2c02,
    /* 32-bit control fields (B.3.1) */
    VMCS_PIN_CONTROLS             = 0x4000,
    VMCS_PRIMARY_CONTROLS         = 0x4002,
    VMCS_EXCEPTION_BITMAP         = 0x4004,
    VMCS_PF_ERROR_MASK            = 0x4006,
    VMCS_PF_ERROR_MATCH           = 0x4008,
    VMCS_CR3_TARGET_COUNT         = 0x400a,
    VMCS_EXIT_CONTROLS            = 0x400c,
    VMCS_EXIT_MSR_STORE_COUNT     = 0x400e,
    VMCS_EXIT_MSR_LOAD_COUNT      = 0x4010,
    VMCS_ENTRY_CONTROLS           = 0x4012,
    VMCS_ENTRY_MSR_LOAD_COUNT     = 0x4014,
    VMCS_ENTRY_INTERRUPTION       = 0x4016,
    VMCS_ENTRY_ERROR_CODE         = 0x4018,
    VMCS_ENTRY_INSTRUCTION_LENGTH = 0x401a,
    VMCS_TPR_THRESHOLD            = 0x401c,
    VMCS_SECONDARY_CONTROLS       = 0x401e,
    VMCS_PLE_GAP                  = 0x4020,
    VMCS_PLE_WINDOW               = 0x4022,
    /* 32-bit read-only data (B.3.2) */
    VMCS_INSTRUCTION_ERROR        = 0x4400,
    VMCS_EXIT_REASON              = 0x4402,
    VMCS_EXIT_INTERRUPTION        = 0x4404,
    VMCS_EXIT_ERROR_CODE          = 0x4406,
    VMCS_IDT_VECTORING            = 0x4408,
    VMCS_IDT_VECTORING_ERROR_CODE = 0x440a,
    VMCS_EXIT_INSTRUCTION_LENGTH  = 0x440c,
    VMCS_EXIT_INSTRUCTION_INFO    = 0x440e,
    /* 32-bit guest state (B.3.3) */
    VMCS_GUEST_ES_LIMIT           = 0x4800,
    VMCS_GUEST_GDTR_LIMIT         = 0x4810,
    VMCS_GUEST_IDTR_LIMIT         = 0x4812,
    VMCS_GUEST_ES_ACCESS          = 0x4814,
    VMCS_GUEST_CS_ACCESS          = 0x4816,
    VMCS_GUEST_SS_ACCESS          = 0x4818,
    VMCS_GUEST_INTERRUPTIBILITY   = 0x4824,
    VMCS_GUEST_ACTIVITY           = 0x4826,
    VMCS_GUEST_SMBASE             = 0x4828,
    VMCS_GUEST_SYSENTER_CS        = 0x482a,
    VMCS_PREEMPTION_TIMER         = 0x482e,
    /* 32-bit host state (B.3.4) */
    VMCS_HOST_SYSENTER_CS         = 0x4c00,
    /* natural-width control fields (B.4.1) */
    VMCS_CR0_MASK                 = 0x6000,
    VMCS_CR4_MASK                 = 0x6002,
    VMCS_CR0_SHADOW               = 0x6004,
    VMCS_CR4_SHADOW               = 0x6006,
    /* natural-width read-only data (B.4.2) */
    VMCS_EXIT_QUALIFICATION       = 0x6400,
    VMCS_GUEST_LINEAR_ADDRESS     = 0x640a,
    /* natural-width guest state (B.4.3) */
    VMCS_GUEST_CR0                = 0x6800,
    VMCS_GUEST_CR3                = 0x6802,
    VMCS_GUEST_CR4                = 0x6804,
    VMCS_GUEST_ES_BASE            = 0x6806,
    VMCS_GUEST_CS_BASE            = 0x6808,
    VMCS_GUEST_GDTR_BASE          = 0x6816,
    VMCS_GUEST_IDTR_BASE          = 0x6818,
    VMCS_GUEST_DR7                = 0x681a,
    VMCS_GUEST_RSP                = 0x681c,
    VMCS_GUEST_RIP                = 0x681e,
    VMCS_GUEST_RFLAGS             = 0x6820,
    VMCS_GUEST_PENDING_DEBUG      = 0x6822,
    VMCS_GUEST_SYSENTER_ESP       = 0x6824,
    VMCS_GUEST_SYSENTER_EIP       = 0x6826,
    /* natural-width host state (B.4.4) */
    VMCS_HOST_CR0                 = 0x6c00,
    VMCS_HOST_CR3                 = 0x6c02,
    VMCS_HOST_CR4                 = 0x6c04,
    VMCS_HOST_FS_BASE             = 0x6c06,
    VMCS_HOST_GS_BASE             = 0x6c08,
    VMCS_HOST_TR_BASE             = 0x6c0a,
    VMCS_HOST_GDTR_BASE           = 0x6c0c,
    VMCS_HOST_IDTR_BASE           = 0x6c0e,
    VMCS_HOST_SYSENTER_ESP        = 0x6c10,
    VMCS_HOST_SYSENTER_EIP        = 0x6c12,
    VMCS_HOST_RSP                 = 0x6c14,
    VMCS_HOST_RIP                 = 0x6c16,
};
/* clang-format on */

/* Capability MSRs (appendix A) and what turns VMX on. */
#define MSR_FEATURE_CONTROL     0x03au
#define MSR_VMX_BASIC           0x480u
#define MSR_VMX_PIN             0x481u
#define MSR_VMX_PRIMARY         0x482u
#define MSR_VMX_EXIT            0x483u
#define MSR_VMX_ENTRY           0x484u
#define MSR_VMX_MISC            0x485u
#define MSR_VMX_CR0_FIXED0      0x486u
#define MSR_VMX_CR0_FIXED1      0x487u
#define MSR_VMX_CR4_FIXED0      0x488u
#define MSR_VMX_CR4_FIXED1      0x489u
#define MSR_VMX_SECONDARY       0x48bu
#define MSR_VMX_EPT_VPID        0x48cu
#define MSR_VMX_TRUE_PIN        0x48du
#define MSR_VMX_TRUE_PRIMARY    0x48eu
#define MSR_VMX_TRUE_EXIT       0x48fu
#define MSR_VMX_TRUE_ENTRY      0x490u
#define FEATURE_CONTROL_LOCK    BIT(0)
#define FEATURE_CONTROL_VMX     BIT(2) /* outside of SMX operation */
#define VMX_BASIC_REVISION      UINT64_C(0x7fffffff)
#define VMX_BASIC_32_BIT        BIT(48)
#define VMX_BASIC_TRUE_CONTROLS BIT(55)
#define VMX_BASIC_ANY_ERROR     BIT(56) /* exceptions may be injected with or without an error code */
#define VMX_MISC_TIMER_RATE     UINT64_C(0x1f)
#define VMX_MISC_ACTIVITY_HLT   BIT(6)
#define VMX_MISC_CR3_TARGETS(m) ((unsigned)((m) >> 16) & 0x1ff)
#define VMX_MISC_LENGTH_0       BIT(30) /* software events may be injected with an instruction length of 0 */
#define EPT_CAP_INVEPT          BIT(20)
#define EPT_CAP_INVEPT_SINGLE   BIT(25)
#define EPT_CAP_INVVPID         BIT(32)
#define EPT_CAP_INVVPID_SINGLE  BIT(41)

/* Pin-based controls (table 25-5). */
#define PIN_INTERRUPT_EXITING BIT(0)
#define PIN_NMI_EXITING       BIT(3)
#define PIN_VIRTUAL_NMIS      BIT(5)
#define PIN_PREEMPTION_TIMER  BIT(6)
#define PIN_POSTED_INTERRUPTS BIT(7)

/* Primary processor-based controls (table 25-6). */
#define PRIMARY_INTERRUPT_WINDOW BIT(2)
#define PRIMARY_TSC_OFFSETTING   BIT(3)
#define PRIMARY_HLT_EXITING      BIT(7)
#define PRIMARY_INVLPG_EXITING   BIT(9)
#define PRIMARY_MWAIT_EXITING    BIT(10)
#define PRIMARY_RDPMC_EXITING    BIT(11)
#define PRIMARY_RDTSC_EXITING    BIT(12)
#define PRIMARY_CR3_LOAD         BIT(15)
#define PRIMARY_CR3_STORE        BIT(16)
#define PRIMARY_CR8_LOAD         BIT(19)
#define PRIMARY_CR8_STORE        BIT(20)
#define PRIMARY_TPR_SHADOW       BIT(21)
#define PRIMARY_NMI_WINDOW       BIT(22)
#define PRIMARY_MOV_DR_EXITING   BIT(23)
#define PRIMARY_UNCONDITIONAL_IO BIT(24)
#define PRIMARY_IO_BITMAPS       BIT(25)
#define PRIMARY_MONITOR_TRAP     BIT(27)
#define PRIMARY_MSR_BITMAPS      BIT(28)
#define PRIMARY_MONITOR_EXITING  BIT(29)
#define PRIMARY_PAUSE_EXITING    BIT(30)
#define PRIMARY_SECONDARY        BIT(31)

/* Secondary processor-based controls (table 25-7). */
#define SECONDARY_APIC_ACCESSES      BIT(0)
#define SECONDARY_EPT                BIT(1)
#define SECONDARY_DESCRIPTOR_EXITING BIT(2)
#define SECONDARY_RDTSCP             BIT(3)
#define SECONDARY_X2APIC             BIT(4)
#define SECONDARY_VPID               BIT(5)
#define SECONDARY_WBINVD_EXITING     BIT(6)
#define SECONDARY_UNRESTRICTED       BIT(7)
#define SECONDARY_APIC_REGISTERS     BIT(8)
#define SECONDARY_VIRTUAL_INTERRUPTS BIT(9)
#define SECONDARY_PAUSE_LOOP         BIT(10)
#define SECONDARY_INVPCID            BIT(12)
#define SECONDARY_VMCS_SHADOWING     BIT(14)
#define SECONDARY_PML                BIT(17)
#define SECONDARY_EPT_VE             BIT(18)
#define SECONDARY_XSAVES             BIT(20)
#define SECONDARY_MODE_BASED_EXECUTE BIT(22)
#define SECONDARY_SUB_PAGE_WRITE     BIT(23)
#define SECONDARY_TSC_SCALING        BIT(25)

/* VM-exit controls (table 25-13). */
#define EXIT_SAVE_DEBUG            BIT(2)
#define EXIT_HOST_64               BIT(9)
#define EXIT_LOAD_PERF             BIT(12)
#define EXIT_ACKNOWLEDGE_INTERRUPT BIT(15)
#define EXIT_SAVE_PAT              BIT(18)
#define EXIT_LOAD_PAT              BIT(19)
#define EXIT_SAVE_EFER             BIT(20)
#define EXIT_LOAD_EFER             BIT(21)
#define EXIT_SAVE_PREEMPTION_TIMER BIT(22)

/* VM-entry controls (table 25-15). */
#define ENTRY_LOAD_DEBUG BIT(2)
#define ENTRY_IA32E      BIT(9)
#define ENTRY_SMM        BIT(10)
#define ENTRY_DUAL       BIT(11)
#define ENTRY_LOAD_PERF  BIT(13)
#define ENTRY_LOAD_PAT   BIT(14)
#define ENTRY_LOAD_EFER  BIT(15)

/* Interruption information, of VM entries, VM exits and IDT vectoring (tables 25-17, 25-20 and 25-21). */
#define INTERRUPTION_VECTOR      UINT32_C(0xff)
#define INTERRUPTION_TYPE_SHIFT  8
#define INTERRUPTION_TYPE        (UINT32_C(7) << INTERRUPTION_TYPE_SHIFT)
#define INTERRUPTION_ERROR       BIT(11)
#define INTERRUPTION_IRET        BIT(12) /* exits: NMIs were unblocked by the IRET that faulted */
#define INTERRUPTION_VALID       BIT(31)
#define INTERRUPTION_EXTERNAL    0u
#define INTERRUPTION_NMI         2u
#define INTERRUPTION_EXCEPTION   3u
#define INTERRUPTION_SOFTWARE    4u
#define INTERRUPTION_PRIVILEGED  5u /* INT1 */
#define INTERRUPTION_SOFTWARE_EX 6u /* INT3, INTO */
#define INTERRUPTION_OTHER       7u /* entries: with vector 0, a pending MTF VM exit */

/* Interruptibility state (table 25-3). */
#define BLOCKING_STI     BIT(0)
#define BLOCKING_MOV_SS  BIT(1)
#define BLOCKING_SMI     BIT(2)
#define BLOCKING_NMI     BIT(3)
#define BLOCKING_ENCLAVE BIT(4)

/* Activity state (25.4.2). */
#define ACTIVITY_ACTIVE   0u
#define ACTIVITY_HLT      1u
#define ACTIVITY_SHUTDOWN 2u
#define ACTIVITY_SIPI     3u /* wait-for-SIPI */

/* Segment access rights (table 25-2): as a descriptor, plus "unusable". */
#define ACCESS_TYPE(a)  ((unsigned)(a)&0xf)
#define ACCESS_S        BIT(4)
#define ACCESS_DPL(a)   ((unsigned)(a) >> 5 & 3)
#define ACCESS_P        BIT(7)
#define ACCESS_L        BIT(13)
#define ACCESS_DB       BIT(14)
#define ACCESS_G        BIT(15)
#define ACCESS_UNUSABLE BIT(16)

/* Pending debug exceptions (table 25-4). */
#define PENDING_DEBUG_ENABLED BIT(12)
#define PENDING_DEBUG_BS      BIT(14)
#define PENDING_DEBUG_RTM     BIT(16)

/* Basic exit reasons (appendix C). Bit 31: the VM entry failed. */
#define REASON_MASK                 0xffffu
#define REASON_ENTRY_FAILED         BIT(31)
#define REASON_EXCEPTION_OR_NMI     0u
#define REASON_EXTERNAL_INTERRUPT   1u
#define REASON_TRIPLE_FAULT         2u
#define REASON_INIT                 3u
#define REASON_STARTUP              4u
#define REASON_INTERRUPT_WINDOW     7u
#define REASON_NMI_WINDOW           8u
#define REASON_TASK_SWITCH          9u
#define REASON_CPUID                10u
#define REASON_GETSEC               11u
#define REASON_HLT                  12u
#define REASON_INVD                 13u
#define REASON_RDPMC                15u
#define REASON_VMCALL               18u
#define REASON_VMCLEAR              19u
#define REASON_VMXON                27u
#define REASON_CR_ACCESS            28u
#define REASON_MOV_DR               29u
#define REASON_IO                   30u
#define REASON_RDMSR                31u
#define REASON_WRMSR                32u
#define REASON_ENTRY_GUEST_STATE    33u
#define REASON_ENTRY_MSR_LOADING    34u
#define REASON_MWAIT                36u
#define REASON_MONITOR              39u
#define REASON_PAUSE                40u
#define REASON_ENTRY_MACHINE_CHECK  41u
#define REASON_TPR_BELOW_THRESHOLD  43u
#define REASON_APIC_ACCESS          44u
#define REASON_VIRTUALIZED_EOI      45u
#define REASON_EPT_VIOLATION        48u
#define REASON_EPT_MISCONFIGURATION 49u
#define REASON_INVEPT               50u
#define REASON_PREEMPTION_TIMER     52u
#define REASON_INVVPID              53u
#define REASON_WBINVD               54u
#define REASON_XSETBV               55u
#define REASON_APIC_WRITE           56u

/* Exit qualification of a control-register access (table 28-3). */
#define CR_ACCESS_NUMBER(q)   ((unsigned)(q)&0xf)
#define CR_ACCESS_TYPE(q)     ((unsigned)(q) >> 4 & 3)
#define CR_ACCESS_REGISTER(q) ((unsigned)(q) >> 8 & 0xf)
#define CR_ACCESS_LMSW(q)     ((uint16_t)((q) >> 16))
#define CR_ACCESS_TO          0u
#define CR_ACCESS_FROM        1u
#define CR_ACCESS_IS_CLTS     2u
#define CR_ACCESS_IS_LMSW     3u

/* Exit qualification of an I/O instruction (table 28-5). */
#define IO_SIZE(q) (((unsigned)(q)&7) + 1)
#define IO_IN      BIT(3)
#define IO_STRING  BIT(4)
#define IO_REP     BIT(5)
#define IO_PORT(q) ((uint16_t)((q) >> 16))

/* Exit qualification of an EPT violation (table 28-7). */
#define EPT_READ        BIT(0)
#define EPT_WRITE       BIT(1)
#define EPT_FETCH       BIT(2)
#define EPT_LINEAR      BIT(7) /* the guest linear-address field is valid */
#define EPT_FINAL       BIT(8) /* the access was to the translation of that address, not to a page table */
#define EPT_NMI_UNBLOCK BIT(12)

/* Exit qualification of an APIC access (table 28-6). */
#define APIC_ACCESS_OFFSET(q) ((unsigned)(q)&0xfff)
#define APIC_ACCESS_TYPE(q)   ((unsigned)(q) >> 12 & 0xf)
#define APIC_ACCESS_READ      0u
#define APIC_ACCESS_WRITE     1u
#define APIC_ACCESS_FETCH     2u
#define APIC_ACCESS_EVENT     3u
#define APIC_ACCESS_PHYSICAL  15u /* no linear address: a walk of the guest's page tables */

/* Exit qualification of a task switch (table 28-2). */
#define TASK_SELECTOR(q) ((uint16_t)(q))
#define TASK_SOURCE(q)   ((unsigned)(q) >> 30 & 3) /* enum task_source */
