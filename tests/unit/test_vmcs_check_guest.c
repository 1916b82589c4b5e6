/* The VM-entry checker on the guest's state: each rule, broken alone, is named. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/vmcs_damage.h"

/* What vmcs.h does not name, as ES + 2 * n. */
#define VMCS_DS_SELECTOR       0x806
#define VMCS_FS_SELECTOR       0x808
#define VMCS_GUEST_CS_LIMIT    0x4802
#define VMCS_GUEST_SS_LIMIT    0x4804
#define VMCS_GUEST_TR_LIMIT    0x480e
#define VMCS_GUEST_LDTR_LIMIT  0x480c
#define VMCS_GUEST_DS_ACCESS   0x481a
#define VMCS_GUEST_FS_ACCESS   0x481c
#define VMCS_GUEST_GS_ACCESS   0x481e
#define VMCS_GUEST_LDTR_ACCESS 0x4820
#define VMCS_GUEST_TR_ACCESS   0x4822
#define VMCS_GUEST_SS_BASE     0x680a
#define VMCS_GUEST_DS_BASE     0x680c
#define VMCS_GUEST_FS_BASE     0x680e
#define VMCS_GUEST_GS_BASE     0x6810
#define VMCS_GUEST_LDTR_BASE   0x6812
#define VMCS_GUEST_TR_BASE     0x6814
#define VMCS_GUEST_PDPTE3      0x2810

/* clang-format off */
static const struct damage registers[] = {
    /* 27.3.1.1 */
    { RIG_LONG, { OFF(GUEST_CR0, CR0_NE) },
      "guest CR0 0x80010011: bit 5 (NE) must be 1 (IA32_VMX_CR0_FIXED0)" },
    { RIG_PROTECTED, { OFF(GUEST_CR0, CR0_PG) },
      "guest CR0 0x10031: bit 31 (PG) must be 1 (IA32_VMX_CR0_FIXED0)" },
    { RIG_PROTECTED, { OFF(GUEST_CR0, CR0_PE) },
      "guest CR0 0x80010030: bit 0 (PE) must be 1 (IA32_VMX_CR0_FIXED0)" },
    { RIG_REAL, { ON(GUEST_CR0, CR0_PG) }, "guest CR0 0xe0000030: bit 0 (PE) must be 1 as bit 31 (PG) is" },
    { RIG_LONG, { OFF(GUEST_CR4, CR4_VMXE) },
      "guest CR4 0x20: bit 13 (VMXE) must be 1 (IA32_VMX_CR4_FIXED0)" },
    { RIG_LONG, { ON(GUEST_CR4, BIT(15)) },
      "guest CR4 0xa020: bit 15 (reserved) must be 0 (IA32_VMX_CR4_FIXED1)" },
    { RIG_LONG, { ON(GUEST_CR4, BIT(40)) }, "guest CR4 0x10000002020: bit 40 (reserved) must be 0" },
    { RIG_LONG, { ON(GUEST_CR4, BIT(23)), OFF(GUEST_CR0, CR0_WP) },
      "guest CR4 0x802020: bit 23 (CET) wants" },
    { RIG_LONG, { OFF(GUEST_CR0, CR0_PG) },
      "guest CR0 0x10031: bit 31 (PG) must be 1 as \"IA-32e mode guest\" is" },
    { RIG_LONG, { OFF(GUEST_CR4, CR4_PAE) }, "guest CR4 0x2000: bit 5 (PAE) must be 1 as \"IA-32e" },
    { RIG_PAE, { ON(GUEST_CR4, CR4_PCIDE) }, "guest CR4 0x22020: bit 17 (PCIDE) must be 0" },
    { RIG_LONG, { SET(GUEST_CR3, BIT(52)) }, "guest CR3 0x10000000000000: bit 52 is beyond" },
    { RIG_LONG, { SET(GUEST_DEBUGCTL, BIT(5)) }, "guest IA32_DEBUGCTL 0x20: bits 0x20 must be 0" },
    { RIG_LONG, { SET(GUEST_DEBUGCTL, BIT(16)) }, "guest IA32_DEBUGCTL 0x10000: bits 0x10000 must be 0" },
    { RIG_LONG, { ON(GUEST_DR7, BIT(32)) }, "guest DR7 0x100000400: bits 0x100000000 must be 0" },
    { RIG_LONG, { SET(GUEST_SYSENTER_ESP, NOT_CANONICAL) },
      "guest IA32_SYSENTER_ESP 0x800000000000: must be" },
    { RIG_LONG, { SET(GUEST_SYSENTER_EIP, NOT_CANONICAL) },
      "guest IA32_SYSENTER_EIP 0x800000000000: must be" },
    { RIG_LONG, { SET(GUEST_PAT, 0x20000) }, "guest IA32_PAT 0x20000: byte 2 is 2" },
    { RIG_LONG, { ON(GUEST_EFER, BIT(14)) }, "guest IA32_EFER 0x4d01: bit 14 is reserved" },
    { RIG_LONG, { OFF(GUEST_EFER, EFER_LMA) }, "guest IA32_EFER 0x901: bit 10 (LMA) must be 1 as \"IA-32e" },
    { RIG_PROTECTED, { ON(GUEST_EFER, EFER_LMA) },
      "guest IA32_EFER 0x400: bit 10 (LMA) must be 0 as \"IA-32e" },
    { RIG_LONG, { OFF(GUEST_EFER, EFER_LME) }, "guest IA32_EFER 0xc01: bit 8 (LME) must equal bit 10 (LMA)" },
    { RIG_PROTECTED, { ON(GUEST_EFER, EFER_LME) },
      "guest IA32_EFER 0x100: bit 8 (LME) must equal bit 10 (LMA)" },
    { RIG_REAL, { ON(GUEST_EFER, EFER_LME) }, NULL }, /* before paging is turned on */
    { RIG_LONG, { ON(GUEST_CR4, CR4_PCIDE) }, NULL },
    { RIG_LONG, { ON(GUEST_CR4, BIT(23)) }, NULL },
    { RIG_LONG, { OFF(GUEST_CR0, CR0_WP) }, NULL },
    { RIG_LONG, { OFF(ENTRY_CONTROLS, ENTRY_LOAD_DEBUG), SET(GUEST_DEBUGCTL, BIT(5)), SET(GUEST_DR7, ALL) },
      NULL },
    { RIG_LONG, { OFF(ENTRY_CONTROLS, ENTRY_LOAD_PAT | ENTRY_LOAD_EFER),
                  SET(GUEST_PAT, 2), SET(GUEST_EFER, 0) },
      NULL },
    /* 27.3.1.3 */
    { RIG_LONG, { SET(GUEST_GDTR_BASE, NOT_CANONICAL) }, "guest GDTR base 0x800000000000: must be" },
    { RIG_LONG, { SET(GUEST_IDTR_BASE, NOT_CANONICAL) }, "guest IDTR base 0x800000000000: must be" },
    { RIG_LONG, { SET(GUEST_GDTR_LIMIT, 0x10000) }, "guest GDTR limit 0x10000: bits 0x10000 must be 0" },
    { RIG_LONG, { SET(GUEST_IDTR_LIMIT, BIT(31)) },
      "guest IDTR limit 0x80000000: bits 0x80000000 must be 0" },
    /* 27.3.1.4 */
    { RIG_LONG, { SET(GUEST_RIP, UINT64_C(0x1000000000000)) },
      "guest RIP 0x1000000000000: bits 63:48 must be all 0 or" },
    { RIG_LONG, { SET(GUEST_RIP, NOT_CANONICAL) }, NULL }, /* bit 47 alone does not matter */
    { RIG_LONG, { OFF(GUEST_CS_ACCESS, ACCESS_L) },
      "guest RIP 0xffffffff81000000: bits 63:32 must be 0 outside of 64" },
    { RIG_PROTECTED, { SET(GUEST_RIP, BIT(32)) },
      "guest RIP 0x100000000: bits 63:32 must be 0 outside of 64-bit" },
    { RIG_LONG, { ON(GUEST_RFLAGS, BIT(3)) }, "guest RFLAGS 0x20a: bit 3 must be 0" },
    { RIG_LONG, { ON(GUEST_RFLAGS, BIT(5)) }, "guest RFLAGS 0x222: bit 5 must be 0" },
    { RIG_LONG, { ON(GUEST_RFLAGS, BIT(15)) }, "guest RFLAGS 0x8202: bit 15 must be 0" },
    { RIG_LONG, { ON(GUEST_RFLAGS, BIT(22)) }, "guest RFLAGS 0x400202: bit 22 must be 0" },
    { RIG_LONG, { ON(GUEST_RFLAGS, BIT(63)) }, "guest RFLAGS 0x8000000000000202: bit 63 must be 0" },
    { RIG_LONG, { OFF(GUEST_RFLAGS, BIT(1)) }, "guest RFLAGS 0x200: bit 1 must be 1" },
    { RIG_LONG, { ON(GUEST_RFLAGS, BIT(17)) },
      "guest RFLAGS 0x20202: bit 17 (VM) must be 0 as \"IA-32e mode guest\"" },
    { RIG_REAL, { ON(GUEST_RFLAGS, BIT(17)) }, "guest RFLAGS 0x20002: bit 17 (VM) must be 0 as CR0.PE is" },
    { RIG_LONG, { OFF(GUEST_RFLAGS, RFLAGS_IF), SET(ENTRY_INTERRUPTION, EVENT(0, 32)) },
      "guest RFLAGS 0x2: bit 9 (IF) must be 1 as an external interrupt is injected" },
};

static const struct damage segments[] = {
    /* 27.3.1.2: selectors */
    { RIG_LONG, { SET(GUEST_TR_SELECTOR, 0x24) }, "guest TR selector 0x24: bit 2 (TI) must be 0" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_SELECTOR, 0x2c) }, "guest LDTR selector 0x2c: bit 2 (TI) must be 0" },
    { RIG_LONG, { SET(GUEST_LDTR_SELECTOR, 4) }, NULL }, /* not usable */
    { RIG_PROTECTED, { SET(GUEST_SS_SELECTOR, 0x22) },
      "guest SS selector 0x22: RPL 2 differs from the RPL 3 of CS" },
    { RIG_LONG, { SET(GUEST_SS_SELECTOR, 0x1b) }, NULL }, /* unrestricted */
    /* bases */
    { RIG_V8086, { SET(GUEST_DS_BASE, 0x10000) },
      "guest DS base 0x10000: must be 16 times the selector 0x1003" },
    { RIG_LONG, { SET(GUEST_TR_BASE, NOT_CANONICAL) }, "guest TR base 0x800000000000: must be a canonical" },
    { RIG_LONG, { SET(GUEST_FS_BASE, NOT_CANONICAL) }, "guest FS base 0x800000000000: must be a canonical" },
    { RIG_LONG, { SET(GUEST_GS_BASE, NOT_CANONICAL), ON(GUEST_GS_ACCESS, ACCESS_UNUSABLE) },
      "guest GS base 0x8000" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_BASE, NOT_CANONICAL) }, "guest LDTR base 0x800000000000: must be" },
    { RIG_LONG, { SET(GUEST_LDTR_BASE, NOT_CANONICAL) }, NULL },
    { RIG_LONG, { SET(GUEST_CS_BASE, BIT(32)) }, "guest CS base 0x100000000: bits 63:32 must be 0" },
    { RIG_LONG, { SET(GUEST_SS_BASE, BIT(32)) }, "guest SS base 0x100000000: bits 63:32 must be 0" },
    { RIG_LONG, { SET(GUEST_DS_BASE, BIT(32)) }, "guest DS base 0x100000000: bits 63:32 must be 0" },
    { RIG_LONG, { SET(GUEST_ES_BASE, BIT(32)) }, "guest ES base 0x100000000: bits 63:32 must be 0" },
    { RIG_LONG, { SET(GUEST_DS_BASE, BIT(32)), ON(GUEST_DS_ACCESS, ACCESS_UNUSABLE) }, NULL },
    { RIG_LONG, { SET(GUEST_FS_BASE, BIT(32)) }, NULL },
    /* virtual-8086 mode */
    { RIG_V8086, { SET(GUEST_SS_LIMIT, 0xfffff) },
      "guest SS limit 0xfffff: must be 0xffff in virtual-8086 mode" },
    { RIG_V8086, { SET(GUEST_CS_ACCESS, 0xfb) },
      "guest CS access rights 0xfb: must be 0xf3 in virtual-8086" },
    { RIG_V8086, { SET(GUEST_GS_ACCESS, 0x100f3) },
      "guest GS access rights 0x100f3: must be 0xf3 in virtual-8086" },
    /* type */
    { RIG_LONG, { SET(GUEST_CS_ACCESS, 0xa09a) },
      "guest CS access rights 0xa09a: type 10 must be 9, 11, 13 or 15 (accessed code), or 3" },
    { RIG_PROTECTED, { SET(GUEST_CS_ACCESS, 0xc0f3) },
      "guest CS access rights 0xc0f3: type 3 must be 9, 11, 13 or 15 (accessed code)" },
    { RIG_REAL, { SET(GUEST_CS_ACCESS, 0x93) }, NULL },
    { RIG_LONG, { SET(GUEST_SS_ACCESS, 0xc091) }, "guest SS access rights 0xc091: type 1 must be 3 or 7" },
    { RIG_LONG, { SET(GUEST_SS_ACCESS, 0xc09b) }, "guest SS access rights 0xc09b: type 11 must be 3 or 7" },
    { RIG_LONG, { SET(GUEST_SS_ACCESS, 0xc097) }, NULL },
    { RIG_LONG, { SET(GUEST_DS_ACCESS, 0xc092) },
      "guest DS access rights 0xc092: type 2 must have bit 0 (accessed)" },
    { RIG_LONG, { SET(GUEST_FS_ACCESS, 0xc099) },
      "guest FS access rights 0xc099: type 9 is code that is not readable" },
    { RIG_LONG, { SET(GUEST_FS_ACCESS, 0xc091) }, NULL },
    { RIG_LONG, { SET(GUEST_FS_ACCESS, 0xc09b) }, NULL },
    /* DPL */
    { RIG_PROTECTED, { SET(GUEST_SS_ACCESS, 0xc093) },
      "guest SS access rights 0xc093: DPL 0 differs from the selector's RPL 3" },
    { RIG_PROTECTED, { SET(GUEST_SS_ACCESS, 0xc093 | ACCESS_UNUSABLE) },
      "guest SS access rights 0x1c093: DPL 0 differs from the selector's RPL 3" },
    { RIG_REAL, { SET(GUEST_SS_ACCESS, 0xf3) },
      "guest SS access rights 0xf3: DPL 3 must be 0 as CR0.PE is 0" },
    { RIG_LONG, { SET(GUEST_CS_ACCESS, 0xc093), SET(GUEST_SS_ACCESS, 0xc0f3) },
      "guest SS access rights 0xc0f3: DPL 3 must be 0 as the type of CS is 3" },
    { RIG_LONG, { SET(GUEST_CS_ACCESS, 0xc0f3) },
      "guest CS access rights 0xc0f3: DPL 3 must be 0 as the type is 3" },
    { RIG_LONG, { SET(GUEST_CS_ACCESS, 0xa0fb) },
      "guest CS access rights 0xa0fb: DPL 3 differs from the DPL 0 of SS" },
    { RIG_PROTECTED, { SET(GUEST_CS_ACCESS, 0xc09b) },
      "guest CS access rights 0xc09b: DPL 0 differs from the DPL 3" },
    { RIG_LONG, { SET(GUEST_CS_ACCESS, 0xa0ff) },
      "guest CS access rights 0xa0ff: DPL 3 of conforming code is above the DPL 0 of SS" },
    { RIG_PROTECTED, { SET(GUEST_CS_ACCESS, 0xc09f) }, NULL },
    { RIG_PROTECTED, { SET(GUEST_DS_ACCESS, 0xc093) },
      "guest DS access rights 0xc093: DPL 0 is below the selector's RPL 3" },
    { RIG_PROTECTED, { SET(GUEST_DS_ACCESS, 0xc09f) }, NULL }, /* conforming */
    { RIG_PROTECTED, { SET(GUEST_DS_ACCESS, 0xc093 | ACCESS_UNUSABLE) }, NULL },
    { RIG_LONG, { SET(DS_SELECTOR, 3) }, NULL }, /* unrestricted */
    /* S, P, reserved bits, G, D/B */
    { RIG_LONG, { OFF(GUEST_CS_ACCESS, ACCESS_S) }, "guest CS access rights 0xa08b: bit 4 (S) must be 1" },
    { RIG_LONG, { OFF(GUEST_FS_ACCESS, ACCESS_S) }, "guest FS access rights 0xc083: bit 4 (S) must be 1" },
    { RIG_LONG, { OFF(GUEST_CS_ACCESS, ACCESS_P) }, "guest CS access rights 0xa01b: bit 7 (P) must be 1" },
    { RIG_LONG, { ON(GUEST_CS_ACCESS, ACCESS_UNUSABLE), OFF(GUEST_CS_ACCESS, ACCESS_P) },
      "guest CS access rights 0x1a01b: bit 7 (P) must be 1" }, /* CS: usable or not */
    { RIG_LONG, { ON(GUEST_SS_ACCESS, BIT(8)) }, "guest SS access rights 0xc193: bits 11:8 must be 0" },
    { RIG_LONG, { ON(GUEST_SS_ACCESS, BIT(17)) }, "guest SS access rights 0x2c093: bits 31:17 must be 0" },
    { RIG_LONG, { SET(GUEST_CS_LIMIT, 0xfffff) }, NULL },
    { RIG_LONG, { SET(GUEST_CS_LIMIT, 0xffffe) },
      "guest CS access rights 0xa09b: bit 15 (G) must be 0 as bits 11:0 of the limit 0xffffe are not all 1" },
    { RIG_LONG, { OFF(GUEST_SS_ACCESS, ACCESS_G) },
      "guest SS access rights 0x4093: bit 15 (G) must be 1 as bits 31:20 of the limit 0xffffffff are not" },
    { RIG_LONG, { ON(GUEST_CS_ACCESS, ACCESS_DB) }, "guest CS access rights 0xe09b: bit 14 (D/B) must be 0" },
    { RIG_LONG, { SET(GUEST_CS_ACCESS, 0xc09b), SET(GUEST_RIP, 0x1000) }, NULL },
    { RIG_PROTECTED, { ON(GUEST_CS_ACCESS, ACCESS_L) }, NULL },
    /* TR */
    { RIG_LONG, { SET(GUEST_TR_ACCESS, 0x83) }, "guest TR access rights 0x83: type 3 must be 11 (busy TSS)" },
    { RIG_PROTECTED, { SET(GUEST_TR_ACCESS, 0x89) },
      "guest TR access rights 0x89: type 9 must be 11 (busy TSS), or 3" },
    { RIG_PROTECTED, { SET(GUEST_TR_ACCESS, 0x83) }, NULL },
    { RIG_LONG, { ON(GUEST_TR_ACCESS, ACCESS_UNUSABLE) },
      "guest TR access rights 0x1008b: bit 16 (unusable) must be 0" },
    { RIG_LONG, { ON(GUEST_TR_ACCESS, ACCESS_S) }, "guest TR access rights 0x9b: bit 4 (S) must be 0" },
    { RIG_LONG, { OFF(GUEST_TR_ACCESS, ACCESS_P) }, "guest TR access rights 0xb: bit 7 (P) must be 1" },
    { RIG_LONG, { ON(GUEST_TR_ACCESS, BIT(11)) }, "guest TR access rights 0x88b: bits 11:8 must be 0" },
    { RIG_LONG, { ON(GUEST_TR_ACCESS, ACCESS_G) }, "guest TR access rights 0x808b: bit 15 (G) must be 0" },
    { RIG_LONG, { SET(GUEST_TR_LIMIT, BIT(20)) }, "guest TR access rights 0x8b: bit 15 (G) must be 1" },
    { RIG_LONG, { ON(GUEST_TR_ACCESS, BIT(31)) }, "guest TR access rights 0x8000008b: bits 31:17 must be 0" },
    /* LDTR */
    { RIG_PROTECTED, { SET(GUEST_LDTR_ACCESS, 0x83) },
      "guest LDTR access rights 0x83: type 3 must be 2 (LDT)" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_ACCESS, 0x92) }, "guest LDTR access rights 0x92: bit 4 (S) must be 0" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_ACCESS, 0x02) }, "guest LDTR access rights 0x2: bit 7 (P) must be 1" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_ACCESS, 0x282) },
      "guest LDTR access rights 0x282: bits 11:8 must be 0" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_ACCESS, 0x8082) },
      "guest LDTR access rights 0x8082: bit 15 (G) must be 0" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_LIMIT, 0x1fffff) },
      "guest LDTR access rights 0x82: bit 15 (G) must be 1" },
    { RIG_PROTECTED, { SET(GUEST_LDTR_ACCESS, 0x20082) },
      "guest LDTR access rights 0x20082: bits 31:17 must be 0" },
};

static const struct damage other[] = {
    /* 27.3.1.5: activity state */
    { RIG_LONG, { SET(GUEST_ACTIVITY, 4) }, "guest activity state 0x4: must be 0 to 3" },
    { RIG_PROTECTED, { SET(GUEST_ACTIVITY, ACTIVITY_HLT) },
      "guest activity state 0x1: must not be HLT as the DPL of SS is 3" },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI) },
      "guest activity state 0x1: must be 0 as STI or MOV SS blocks interrupts" },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), SET(GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS) },
      "guest activity state 0x2: must be 0 as STI or MOV SS blocks interrupts" },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(ENTRY_INTERRUPTION, EVENT(3, 6)) },
      "guest activity state 0x1: does not allow the injection 0x80000306" },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(ENTRY_INTERRUPTION, EVENT(4, 0x80)),
                  SET(ENTRY_INSTRUCTION_LENGTH, 2) },
      "guest activity state 0x1: does not allow the injection 0x80000480" },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), SET(ENTRY_INTERRUPTION, EVENT(0, 32)) },
      "guest activity state 0x2: does not allow the injection 0x80000020" },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_SIPI), SET(ENTRY_INTERRUPTION, EVENT(2, 2)) },
      "guest activity state 0x3: does not allow the injection 0x80000202" },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(ENTRY_INTERRUPTION, EVENT(0, 32)) }, NULL },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(ENTRY_INTERRUPTION, EVENT(2, 2)) }, NULL },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(ENTRY_INTERRUPTION, EVENT(3, 1)) }, NULL },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(ENTRY_INTERRUPTION, EVENT(3, 18)) }, NULL },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(ENTRY_INTERRUPTION, EVENT(7, 0)) }, NULL },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), SET(ENTRY_INTERRUPTION, EVENT(2, 2)) }, NULL },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), SET(ENTRY_INTERRUPTION, EVENT(3, 18)) }, NULL },
    { RIG_LONG, { SET(GUEST_ACTIVITY, ACTIVITY_SIPI) }, NULL },
    /* interruptibility */
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BIT(5)) },
      "guest interruptibility state 0x20: bits 31:5 must be 0" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, 3) },
      "guest interruptibility state 0x3: bits 0 (STI) and 1 (MOV SS) must not both be 1" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI), OFF(GUEST_RFLAGS, RFLAGS_IF) },
      "guest interruptibility state 0x1: bit 0 (STI) must be 0 as RFLAGS.IF is" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI), SET(ENTRY_INTERRUPTION, EVENT(0, 32)) },
      "guest interruptibility state 0x1: bits 0 (STI) and 1 (MOV SS) must be 0 as an external interrupt" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS), SET(ENTRY_INTERRUPTION, EVENT(0, 32)) },
      "guest interruptibility state 0x2: bits 0 (STI) and 1 (MOV SS) must be 0 as an external interrupt" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS), SET(ENTRY_INTERRUPTION, EVENT(2, 2)) },
      "guest interruptibility state 0x2: bit 1 (MOV SS) must be 0 as an NMI is injected" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI), SET(ENTRY_INTERRUPTION, EVENT(2, 2)) },
      "guest interruptibility state 0x1: bit 0 (STI) must be 0 on some CPUs as an NMI is injected" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_SMI) },
      "guest interruptibility state 0x4: bit 2 (SMI) must be 0 outside of SMM" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_NMI), SET(ENTRY_INTERRUPTION, EVENT(2, 2)) },
      "guest interruptibility state 0x8: bit 3 (NMI) must be 0 as an NMI is injected with \"virtual NMIs\"" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_NMI), SET(ENTRY_INTERRUPTION, EVENT(2, 2)),
                  OFF(PIN_CONTROLS, PIN_VIRTUAL_NMIS) }, NULL },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_ENCLAVE | BLOCKING_MOV_SS) },
      "guest interruptibility state 0x12: bits 4 (enclave) and 1 (MOV SS) must not both be 1" },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_ENCLAVE) }, NULL },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI) }, NULL },
    { RIG_LONG, { SET(GUEST_INTERRUPTIBILITY, BLOCKING_NMI | BLOCKING_MOV_SS) }, NULL },
    /* pending debug exceptions */
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, BIT(4)) },
      "guest pending debug exceptions 0x10: bit 4 must be 0" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, BIT(13)) },
      "guest pending debug exceptions 0x2000: bit 13 must be 0" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, BIT(15)) },
      "guest pending debug exceptions 0x8000: bit 15 must be 0" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, BIT(63)) },
      "guest pending debug exceptions 0x8000000000000000: bit 63 must be 0" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, BIT(17)) },
      "guest pending debug exceptions 0x20000: bit 17 must be 0" },
    { RIG_LONG, { ON(GUEST_RFLAGS, TF), SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI) },
      "guest pending debug exceptions 0x0: bit 14 (BS) must be 1" },
    { RIG_LONG, { ON(GUEST_RFLAGS, TF), SET(GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS) },
      "guest pending debug exceptions 0x0: bit 14 (BS) must be 1" },
    { RIG_LONG, { ON(GUEST_RFLAGS, TF), SET(GUEST_ACTIVITY, ACTIVITY_HLT) },
      "guest pending debug exceptions 0x0: bit 14 (BS) must be 1" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS), SET(GUEST_ACTIVITY, ACTIVITY_HLT) },
      "guest pending debug exceptions 0x4000: bit 14 (BS) must be 0" },
    { RIG_LONG, { ON(GUEST_RFLAGS, TF), SET(GUEST_DEBUGCTL, BIT(1)), SET(GUEST_ACTIVITY, ACTIVITY_HLT) },
      NULL },
    { RIG_LONG, { ON(GUEST_RFLAGS, TF), SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS),
                  SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI) }, NULL },
    { RIG_LONG, { ON(GUEST_RFLAGS, TF) }, NULL },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, 0x1100f) },
      "guest pending debug exceptions 0x1100f: bit 0 must be 0 as bit 16" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, BIT(16)) },
      "guest pending debug exceptions 0x10000: bit 12 must be 1 as" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, 0x11000), SET(GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS) },
      "guest pending debug exceptions 0x11000: bit 16 (RTM) must be 0 as MOV SS blocks" },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, 0x11000) }, NULL },
    { RIG_LONG, { SET(GUEST_PENDING_DEBUG, 0x100f) }, NULL },
    /* VMCS link pointer */
    { RIG_LONG, { SET(LINK_POINTER, RIG_LINKED + 8) }, "VMCS link pointer 0x9008: bits 0x8 must be 0" },
    { RIG_LONG, { SET(LINK_POINTER, BEYOND) }, "VMCS link pointer 0x8000000000: bit 39 is beyond" },
    { RIG_LONG, { SET(LINK_POINTER, RIG_LINKED), ON(SECONDARY_CONTROLS, SECONDARY_VMCS_SHADOWING) },
      "VMCS link pointer 0x9000: bit 31 of the revision 0x12 there must be 1 as \"VMCS shadowing\" is" },
    { RIG_LONG, { SET(LINK_POINTER, RIG_LINKED) }, NULL },
    /* 27.3.1.6 */
    { RIG_PAE, { ON(GUEST_PDPTE0, BIT(1)) }, "guest PDPTE 0 0x10003: bits 0x2 must be 0" },
    { RIG_PAE, { ON(GUEST_PDPTE3, BIT(8)) }, "guest PDPTE 3 0x13101: bits 0x100 must be 0" },
    { RIG_PAE, { ON(GUEST_PDPTE3, BIT(63)) }, "guest PDPTE 3 0x8000000000013001: bit 63 is beyond" },
    { RIG_PAE, { SET(GUEST_PDPTE3, 0x1e6) }, NULL }, /* not present */
    { RIG_PAE, { ON(GUEST_PDPTE0, 0xe18) }, NULL },
    { RIG_PAE, { ON(GUEST_PDPTE0, BIT(1)), OFF(SECONDARY_CONTROLS, SECONDARY_EPT) },
      NULL }, /* in memory then */
    { RIG_LONG, { ON(GUEST_PDPTE0, BIT(1)) }, NULL },
    { RIG_PROTECTED, { ON(GUEST_PDPTE0, BIT(1)) }, NULL },
};
/* clang-format on */

static void test_registers(void **state)
{
    (void)state;
    run(registers, ARRAY_SIZE(registers));
}

static void test_segments(void **state)
{
    (void)state;
    run(segments, ARRAY_SIZE(segments));
}

static void test_other_state(void **state)
{
    (void)state;
    run(other, ARRAY_SIZE(other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_other_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
