/* The virtual machine control block. Source: AMD APM vol. 2 (24593, rev. 3.40), appendix B and chapter 15. */
#pragma once

#include "lib/types.h"
#include "vmx/ops.h"

/* Intercept vector 1 (offset 004h): reads of DR0 to DR3; writes of them and of DR7, which also is DR5. */
#define INTERCEPT_DR 0x00af000fu

/* Intercept vector 3 (offset 00Ch). */
#define INTERCEPT_INTR      BIT(0)
#define INTERCEPT_NMI       BIT(1)
#define INTERCEPT_SMI       BIT(2)
#define INTERCEPT_INIT      BIT(3)
#define INTERCEPT_VINTR     BIT(4)
#define INTERCEPT_RDPMC     BIT(15)
#define INTERCEPT_CPUID     BIT(18)
#define INTERCEPT_IRET      BIT(20)
#define INTERCEPT_INVD      BIT(22)
#define INTERCEPT_PAUSE     BIT(23)
#define INTERCEPT_HLT       BIT(24)
#define INTERCEPT_INVLPGA   BIT(26)
#define INTERCEPT_IOIO_PROT BIT(27)
#define INTERCEPT_MSR_PROT  BIT(28)
#define INTERCEPT_FERR      BIT(30)
#define INTERCEPT_SHUTDOWN  BIT(31)

/* Intercept vector 4 (offset 010h). */
#define INTERCEPT_VMRUN   BIT(0)
#define INTERCEPT_VMMCALL BIT(1)
#define INTERCEPT_VMLOAD  BIT(2)
#define INTERCEPT_VMSAVE  BIT(3)
#define INTERCEPT_STGI    BIT(4)
#define INTERCEPT_CLGI    BIT(5)
#define INTERCEPT_SKINIT  BIT(6)
#define INTERCEPT_WBINVD  BIT(9)
#define INTERCEPT_MONITOR BIT(10)
#define INTERCEPT_MWAIT   BIT(11)
#define INTERCEPT_XSETBV  BIT(13)
#define INTERCEPT_RDPRU   BIT(14)

/* TLB_CONTROL (05Ch). */
#define TLB_CONTROL_NOTHING   0u
#define TLB_CONTROL_FLUSH_ALL 1u

/* Virtual interrupt control (060h). */
#define VINTR_TPR_MASK     UINT64_C(0x0f)
#define VINTR_IRQ          BIT(8)
#define VINTR_PRIO_SHIFT   16
#define VINTR_PRIO_MASK    (UINT64_C(0xf) << VINTR_PRIO_SHIFT)
#define VINTR_IGN_TPR      BIT(20)
#define VINTR_INTR_MASKING BIT(24)
#define VINTR_VECTOR_SHIFT 32
#define VINTR_VECTOR_MASK  (UINT64_C(0xff) << VINTR_VECTOR_SHIFT)

/* EVENTINJ and EXITINTINFO: 15.20, 15.7.2. */
#define EVENT_VECTOR_MASK UINT64_C(0xff)
#define EVENT_TYPE_SHIFT  8
#define EVENT_TYPE_MASK   (UINT64_C(7) << EVENT_TYPE_SHIFT)
#define EVENT_EV          BIT(11) /* an error code is pushed */
#define EVENT_V           BIT(31)
#define EVENT_ERROR_SHIFT 32

/* VMCB clean field (0C0h), 15.15.3: a set bit says that the CPU may use what it cached. */
#define CLEAN_INTERCEPTS BIT(0)
#define CLEAN_IOPM       BIT(1) /* IOPM and MSRPM bases */
#define CLEAN_ASID       BIT(2)
#define CLEAN_TPR        BIT(3) /* the virtual interrupt control */
#define CLEAN_NP         BIT(4)
#define CLEAN_CRX        BIT(5)
#define CLEAN_DRX        BIT(6)
#define CLEAN_DT         BIT(7)
#define CLEAN_SEG        BIT(8)
#define CLEAN_CR2        BIT(9)
#define CLEAN_LBR        BIT(10)
#define CLEAN_AVIC       BIT(11)
#define CLEAN_ALL        UINT32_C(0xfff)

/* Exit codes, appendix C. */
#define VMEXIT_READ_DR0          0x20u
#define VMEXIT_WRITE_DR0         0x30u
#define VMEXIT_EXCEPTION_DB      0x41u
#define VMEXIT_EXCEPTION_AC      0x51u
#define VMEXIT_EXCEPTION_MC      0x52u
#define VMEXIT_INTR              0x60u
#define VMEXIT_NMI               0x61u
#define VMEXIT_SMI               0x62u
#define VMEXIT_INIT              0x63u
#define VMEXIT_VINTR             0x64u
#define VMEXIT_RDPMC             0x6fu
#define VMEXIT_CPUID             0x72u
#define VMEXIT_IRET              0x74u
#define VMEXIT_PAUSE             0x77u
#define VMEXIT_INVD              0x76u
#define VMEXIT_HLT               0x78u
#define VMEXIT_INVLPGA           0x7au
#define VMEXIT_IOIO              0x7bu
#define VMEXIT_MSR               0x7cu
#define VMEXIT_FERR              0x7eu
#define VMEXIT_SHUTDOWN          0x7fu
#define VMEXIT_VMRUN             0x80u
#define VMEXIT_VMMCALL           0x81u
#define VMEXIT_VMLOAD            0x82u
#define VMEXIT_SKINIT            0x86u
#define VMEXIT_WBINVD            0x89u
#define VMEXIT_MONITOR           0x8au
#define VMEXIT_MWAIT             0x8bu
#define VMEXIT_MWAIT_CONDITIONAL 0x8cu
#define VMEXIT_XSETBV            0x8du
#define VMEXIT_RDPRU             0x8eu
#define VMEXIT_NPF               0x400u
#define VMEXIT_INVALID           UINT64_MAX

/* EXITINFO1 of an I/O exit, 15.10.2. */
#define IOIO_IN       BIT(0)
#define IOIO_STRING   BIT(2)
#define IOIO_REP      BIT(3)
#define IOIO_SIZE(x)  (((x) >> 4) & 7)
#define IOIO_ASIZE(x) (((x) >> 7) & 7)
#define IOIO_PORT(x)  ((uint16_t)((x) >> 16))

/* EXITINFO1 of a nested page fault, 15.25.6. */
#define NPF_PRESENT BIT(0)
#define NPF_WRITE   BIT(1)
#define NPF_FETCH   BIT(4)
#define NPF_FINAL   BIT(32)
#define NPF_WALK    BIT(33)

struct vmcb_segment {
    uint16_t selector, attributes;
    uint32_t limit;
    uint64_t base;
};

struct vmcb {
    /* Control area. */
    uint32_t intercept_cr, intercept_dr, intercept_exceptions, intercept_3, intercept_4, intercept_5;
    uint8_t reserved_018[0x3c - 0x18];
    uint16_t pause_threshold, pause_count;
    uint64_t iopm_base, msrpm_base, tsc_offset;
    uint32_t asid;
    uint32_t tlb_control;
    uint64_t vintr;
    uint64_t interrupt_shadow;
    uint64_t exitcode, exitinfo1, exitinfo2, exitintinfo;
    uint64_t np_enable;
    uint8_t reserved_098[0xa8 - 0x98];
    uint64_t eventinj, n_cr3;
    uint64_t lbr_control;
    uint32_t clean, reserved_0c4;
    uint64_t nrip;
    uint8_t fetched_count;
    uint8_t fetched[15];
    uint8_t reserved_0e0[0x400 - 0xe0];

    /* State save area. */
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved_4a0[0x4cb - 0x4a0];
    uint8_t cpl;
    uint32_t reserved_4cc;
    uint64_t efer;
    uint8_t reserved_4d8[0x548 - 0x4d8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved_580[0x5d8 - 0x580];
    uint64_t rsp;
    uint8_t reserved_5e0[0x5f8 - 0x5e0];
    uint64_t rax, star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    uint8_t reserved_648[0x668 - 0x648];
    uint64_t g_pat, dbgctl, br_from, br_to, lastexcp_from, lastexcp_to;
    uint8_t reserved_698[0x1000 - 0x698];
};

static_assert(offsetof(struct vmcb, iopm_base) == 0x40, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, asid) == 0x58, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, vintr) == 0x60, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, exitcode) == 0x70, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, np_enable) == 0x90, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, eventinj) == 0xa8, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, clean) == 0xc0, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, nrip) == 0xc8, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, fetched) == 0xd1, "APM vol. 2, table B-1");
static_assert(offsetof(struct vmcb, es) == 0x400, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, efer) == 0x4d0, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, cr4) == 0x548, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, rip) == 0x578, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, rax) == 0x5f8, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, cr2) == 0x640, "APM vol. 2, table B-2");
static_assert(offsetof(struct vmcb, g_pat) == 0x668, "APM vol. 2, table B-2");
static_assert(sizeof(struct vmcb) == 0x1000, "APM vol. 2, 15.5");
