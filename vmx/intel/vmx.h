/* What the files of the VT-x back end share. Source: Intel SDM vol. 3, chapters 24 to 31. */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/percpu.h"
#include "kernel/panic.h"
#include "vmx/intel/controls.h"
#include "vmx/intel/vmcs.h"
#include "vmx/msr.h"
#include "vmx/vcpu.h"

/* STAR, LSTAR, CSTAR and FMASK, which follow each other. Neither the VMCS nor vcpu.c switches them. */
#define MSR_STAR         0xc0000081u
#define VMX_SYSCALL_MSRS 4

/* One vCPU's part that only VT-x knows. Owned by the CPU that runs the vCPU. */
struct vmx_vcpu {
    hpa_t vmcs;
    bool launched;         /* VMRESUME, not VMLAUNCH */
    const struct cpu *cpu; /* whose host state is in the VMCS, and whose TLB is known; NULL: nobody's */
    bool loaded;           /* between load and unload: CR2 and DR6 are in the CPU */
    uint16_t vpid;         /* 0: the CPU has none */
    uint32_t primary;      /* the controls as they are in the VMCS */
    uint32_t interruption; /* what the last exit acknowledged; 0: nothing */
    uint64_t rsp, rflags, interruptibility; /* as they are in the VMCS */
    uint64_t cr2, dr6;
    uint64_t syscall_msr[VMX_SYSCALL_MSRS];
    uint64_t kernel_gs_base; /* while the CPU does not have it */
    hpa_t apic_page_pa;
    uint32_t *apic_page; /* the virtual-APIC page; NULL without TPR shadow */
    uint32_t
        *tpr_shadow; /* where a guest changes CR8 without an exit; NULL: nowhere, or its page is attached */
    bool apic_stale; /* the controls are to be chosen anew for the APIC's mode */
};

/* One CPU's part. */
struct vmx_cpu {
    hpa_t vmxon;
    struct vmx_vcpu *current;               /* whose VMCS VMREAD reads */
    struct vmx_vcpu *live;                  /* whose KERNEL_GS_BASE is in the CPU */
    uint64_t syscall_msr[VMX_SYSCALL_MSRS]; /* as they are in the CPU */
};

/* The same on all CPUs; set once by vmx_cpu_enable(). */
struct vmx_machine {
    bool apicv;          /* APIC-register virtualisation and virtual-interrupt delivery are used */
    bool timer;          /* the preemption timer is used */
    unsigned timer_rate; /* it counts once in 2^rate TSC ticks */
    uint64_t slice;      /* how long a run lasts at most, in TSC ticks */
    struct vmx_capabilities cap;
    struct vmx_controls controls;
    hpa_t io_bitmap[2], msr_bitmap; /* of all VMs: everything exits, but for the MSRs that are switched */
    hpa_t msr_bitmap_x2apic;        /* and but for the x2APIC registers that the CPU virtualises */
};

extern struct vmx_machine vmx_machine;

/* Of the current VMCS. A field that the CPU lacks is Plinth's own error, which debug builds stop at. */
static __always_inline uint64_t vmcs_read(enum vmcs_field field)
{
    uint64_t value;
    bool failed;

    __asm__ volatile("vmread %2, %0" : "=r"(value), "=@ccbe"(failed) : "r"((uint64_t)field) : "memory");
    ASSERT(!failed);
    return value;
}

static __always_inline void vmcs_write(enum vmcs_field field, uint64_t value)
{
    bool failed;

    __asm__ volatile("vmwrite %1, %2" : "=@ccbe"(failed) : "rm"(value), "r"((uint64_t)field) : "memory");
    ASSERT(!failed);
}

/* The n-th of a row of fields: segments, PDPTEs, EOI-exit bitmaps. */
static __always_inline enum vmcs_field vmcs_nth(enum vmcs_field first, unsigned n)
{
    return first + 2 * n;
}

/* enable.c: members of struct vmx_ops. */
bool vmx_present(void);
int vmx_without(const char *feature);
int vmx_cpu_enable(struct cpu *cpu);

/*
 * Makes the vCPU's VMCS the current one; returns whose was that before. A caller whose vCPU may not be loaded
 * gives that back when it is done: another one may be loaded, and in the middle of an exit. A vCPU that is
 * not at home on this CPU then leaves nothing here.
 */
struct vmx_vcpu *vmx_use(struct vmx_vcpu *vmx);
void vmx_give_back(const struct vcpu *vcpu, struct vmx_vcpu *before);

/* Drops what the TLB holds of this vCPU's own translations (30.4.3.1). */
void vmx_flush(const struct vmx_vcpu *vmx);

/*
 * run.asm: runs the guest with its general registers, and vcpu->on_exit() after each exit, for as long as
 * that returns true.
 */
void vmx_run(struct vcpu *vcpu, bool launched);

/* exit.c: struct vmx_ops.exit; it uses no context. */
bool vmx_exit(struct vcpu *vcpu, void *context);
/*
 * entry_failure.c: the VM stops, and its log says which field breaks which rule. Refused: VMLAUNCH or
 * VMRESUME itself failed and nothing of the guest was loaded; else guest state was being loaded (exit
 * reason).
 */
void vmx_entry_refused(struct vcpu *vcpu);
void vmx_entry_failed(struct vcpu *vcpu, uint32_t reason);
/* struct vmx_ops.enter */
void vmx_enter(struct vcpu *vcpu);

/* control_registers.c: MOV to CR0 and CR4 where they exit, MOV to and from CR8 without a TPR shadow. */
void vmx_cr_access(struct vcpu *vcpu, uint64_t qualification);
uint64_t vmx_cr0(void); /* as the guest sees it; of the current VMCS */
uint64_t vmx_cr4(void);
void vmx_set_cr0(uint64_t cr0);
void vmx_set_cr4(uint64_t cr4);
/* Loads the four entries from guest memory where PAE paging is on. -EINVAL if one has reserved bits set. */
int vmx_load_pdptes(const struct vcpu *vcpu) __must_check;

/*
 * apic.c. init: after the controls and bitmaps. create, destroy: the VM's part, after its nested tables are
 * made and before they go; -ENOMEM. load: on each load. access: decodes the exit. mode, sync: members of
 * struct vmx_ops.
 */
int vmx_apic_init(void) __must_check;
int vmx_apic_create(struct vm *vm) __must_check;
void vmx_apic_destroy(struct vm *vm);
void vmx_apic_load(struct vcpu *vcpu);
bool vmx_apic_is_virtual(void);
void vmx_apic_mode(struct vcpu *vcpu);
void vmx_apic_sync(struct vcpu *vcpu);
void vmx_apic_access(struct vcpu *vcpu, uint64_t qualification);

/* msr.c */
#define VMX_MSR_RULES 5
extern const struct msr_rule vmx_msr_rules[VMX_MSR_RULES];

/* state.c: members of struct vmx_ops */
void vmx_get_system(const struct vcpu *vcpu, struct vcpu_system *out);
void vmx_set_system(struct vcpu *vcpu, const struct vcpu_system *in);
unsigned vmx_cpl(const struct vcpu *vcpu);
void vmx_paging(const struct vcpu *vcpu, struct gva_mode *out);
void vmx_segment(const struct vcpu *vcpu, enum seg seg, struct emu_segment *out);
enum code_size vmx_code_size(const struct vcpu *vcpu);
uint64_t vmx_get_cr4(const struct vcpu *vcpu);
void vmx_set_cr2(struct vcpu *vcpu, uint64_t cr2);
void vmx_set_dr6(struct vcpu *vcpu, uint64_t set);
int vmx_msr_get(const struct vcpu *vcpu, uint32_t msr, uint64_t *value);
int vmx_msr_set(struct vcpu *vcpu, uint32_t msr, uint64_t value);
