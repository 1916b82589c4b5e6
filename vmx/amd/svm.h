/* What the files of the AMD-V back end share. */
#pragma once

#include "lib/types.h"
#include "vmx/amd/vmcb.h"
#include "vmx/msr.h"
#include "vmx/vcpu.h"

/* CPUID 8000_000Ah EDX, APM vol. 3, E.4.9. */
#define SVM_FEATURE_NP            BIT(0)
#define SVM_FEATURE_LOCK          BIT(2)
#define SVM_FEATURE_NRIPS         BIT(3)
#define SVM_FEATURE_FLUSH_BY_ASID BIT(6)
#define SVM_FEATURE_DECODE        BIT(7)
#define SVM_FEATURE_PAUSE_FILTER  BIT(10)
#define SVM_FEATURE_PAUSE_GAP     BIT(12) /* PauseFilterThreshold */

/* One vCPU's part that only AMD-V knows. Owned by the CPU that runs the vCPU. */
struct svm_vcpu {
    struct vmcb *vmcb;
    hpa_t vmcb_pa;
    uint64_t asid_generation;
    const struct svm_cpu *cpu; /* whose generation that is: where it ran last */
};

/* One CPU's part. */
struct svm_cpu {
    hpa_t host_vmcb; /* FS, GS, TR, LDTR and syscall MSRs of the hypervisor, by VMSAVE */
    uint64_t asid_generation;
    uint32_t next_asid;
    uint32_t tlb_control; /* TLB_CONTROL_, for whichever vCPU is entered next; until one has been */
};

/* The same on all CPUs; set once by svm_cpu_enable(). */
struct svm_machine {
    uint32_t features; /* SVM_FEATURE_ */
    uint32_t asids;
    bool vintr_inclusive; /* V_IRQ also comes where its priority equals V_TPR, unlike 15.21.4 asks: QEMU's
                             emulated CPU */
    bool inject_by_virq;  /* interrupts, since EVENTINJ can deliver them twice: QEMU's emulated CPU
                             (docs/debugging.md) */
    hpa_t iopm, msrpm; /* shared by all VMs: everything exits, but for the MSRs that VMRUN or VMLOAD switch */
};

extern struct svm_machine svm_machine;

static inline struct vmcb *vmcb_of(const struct vcpu *vcpu)
{
    return ((const struct svm_vcpu *)vcpu->backend)->vmcb;
}

/*
 * run.asm: runs the guest with its general registers, and vcpu->on_exit() after each exit, for as long as
 * that returns true. GIF is clear and RFLAGS.IF set, before and after.
 */
void svm_run(struct vcpu *vcpu, struct vmcb *vmcb, hpa_t vmcb_pa);

/* exit.c: struct vmx_ops.exit; the context is the VMCB. */
bool svm_exit(struct vcpu *vcpu, void *vmcb);

/* inject.c: after an exit with V_IRQ still set: if that was an injection, it is to be done again. */
void svm_keep_virq(struct vcpu *vcpu);

/* inject.c: struct vmx_ops.inject, .inject_interrupt, .window, .nmi_window and .set_cr8 */
void svm_inject(struct vcpu *vcpu, const struct vcpu_event *event);
void svm_inject_interrupt(struct vcpu *vcpu, uint8_t vector);
void svm_request_window(struct vcpu *vcpu, bool wanted);
void svm_nmi_window(struct vcpu *vcpu, bool wanted);
void svm_set_cr8(struct vcpu *vcpu, uint8_t cr8);

/*
 * run.asm: the state that VMRUN does not switch, and the window in which physical interrupts are taken. The
 * hypervisor's never changes, so it is saved once.
 */
void svm_save_host(hpa_t host_vmcb);
void svm_load(hpa_t guest_vmcb);
void svm_unload(hpa_t host_vmcb, hpa_t guest_vmcb);
void svm_window(hpa_t host_vmcb, hpa_t guest_vmcb);

/* msr.c */
#define SVM_MSR_RULES 5
extern const struct msr_rule svm_msr_rules[SVM_MSR_RULES];

/* exit.c: struct vmx_ops.enter */
void svm_enter(struct vcpu *vcpu);
