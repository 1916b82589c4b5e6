/* AMD-V: turning it on, and a vCPU's state in its VMCB. Source: AMD APM vol. 2, chapter 15. */
#include "vmx/amd/svm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/xstate.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/nested.h"

#define MSR_VM_CR       0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define VM_CR_SVMDIS    BIT(4)
#define PAT_RESET       UINT64_C(0x0007040600070406)
#define DR6_RESET       UINT64_C(0xffff0ff0)
#define DR7_RESET       UINT64_C(0x400)

/* PAUSEs until one exits, and the cycles between two that begin the count anew (15.14.4). */
#define PAUSE_COUNT 3000
#define PAUSE_GAP   128

#define IOPM_ORDER  2 /* 12 KiB, rounded up to a block of 16 */
#define MSRPM_ORDER 1 /* 8 KiB */

struct svm_machine svm_machine;

/* MSRs that VMRUN, VMLOAD and VMSAVE switch: the guest reads and writes them without an exit. */
static const uint32_t msr_switched[] = {
    0x174,      0x175,      0x176,                  /* SYSENTER_CS, _ESP, _EIP */
    0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, /* STAR, LSTAR, CSTAR, SFMASK */
    0xc0000100, 0xc0000101, 0xc0000102,             /* FS.Base, GS.Base, KernelGSBase */
};

/* Two bits an MSR, in three ranges of 8192 MSRs (15.11). */
static void msrpm_allow(uint8_t *map, uint32_t msr)
{
    uint32_t index = msr & 0x1fff;
    uint32_t range = msr < 0x2000 ? 0 : 0x800;

    map[range + index / 4] &= (uint8_t) ~(3u << (index % 4 * 2));
}

static int create_maps(void)
{
    uint8_t *map;

    svm_machine.iopm = frames_alloc(IOPM_ORDER, FRAME_HEAP);
    svm_machine.msrpm = frames_alloc(MSRPM_ORDER, FRAME_HEAP);
    if (!svm_machine.iopm.raw || !svm_machine.msrpm.raw) {
        log_error("AMD-V: no memory for the permission maps");
        return -ENOMEM;
    }
    memset(phys_to_virt(svm_machine.iopm), 0xff, PAGE_SIZE << IOPM_ORDER);
    map = phys_to_virt(svm_machine.msrpm);
    memset(map, 0xff, PAGE_SIZE << MSRPM_ORDER);
    for (size_t i = 0; i < ARRAY_SIZE(msr_switched); i++)
        msrpm_allow(map, msr_switched[i]);
    return 0;
}

/* AMD and Hygon CPUs have AMD-V; their vendor strings begin "Auth" and "Hygo" (CPUID leaf 0 EBX). */
static bool svm_present(void)
{
    uint32_t vendor = cpuid(0).ebx;

    return vendor == 0x68747541 || vendor == 0x6f677948;
}

/* QEMU without KVM names itself "TCGTCGTCGTCG" in CPUID leaf 4000_0000h. */
static bool is_emulated_by_qemu(void)
{
    return cpu_has(CPU_HYPERVISOR) && cpuid(0x40000000).ebx == 0x54474354;
}

/* Another CPU than the first: it must have what that one has. */
static int compare(struct cpuid leaf)
{
    if ((leaf.edx & svm_machine.features) == svm_machine.features && leaf.ebx >= svm_machine.asids)
        return 0;
    log_error(
        "AMD-V: this CPU has less than the boot CPU: features 0x%x instead of 0x%x, %u ASIDs instead of %u",
        leaf.edx, svm_machine.features, leaf.ebx, svm_machine.asids);
    return -ENODEV;
}

/* Reads the features; says why this CPU cannot be used. */
static int detect(bool first)
{
    struct cpuid r;
    uint64_t vm_cr = 0;

    r = cpuid(0x80000001);
    if (!(r.ecx & BIT(2))) {
        log_error("AMD-V: this CPU does not have it (CPUID 8000_0001h ECX.SVM is 0); virtual machines cannot "
                  "be started");
        return -ENODEV;
    }
    r = cpuid(0x8000000a);
    if (first) {
        svm_machine.features = r.edx;
        svm_machine.asids = r.ebx;
        svm_machine.inject_by_virq = is_emulated_by_qemu();
    }
    if (rdmsr_safe(MSR_VM_CR, &vm_cr) == 0 && (vm_cr & VM_CR_SVMDIS)) {
        log_error("AMD-V: the firmware has disabled it%s; enable SVM (AMD-V) in the firmware's setup",
                  r.edx & SVM_FEATURE_LOCK ? " with a lock" : "");
        return -EPERM;
    }
    if (!(r.edx & SVM_FEATURE_NP)) {
        log_error("AMD-V: this CPU has no nested paging (CPUID 8000_000Ah EDX.NP is 0), which Plinth needs");
        return -ENODEV;
    }
    if (svm_machine.asids < 2) {
        log_error("AMD-V: this CPU offers no address-space identifier for guests");
        return -ENODEV;
    }
    return first ? 0 : compare(r);
}

static int svm_cpu_enable(struct cpu *cpu)
{
    struct svm_cpu *svm;
    hpa_t hsave;
    bool first = cpu->index == 0;
    int err = detect(first);

    if (err)
        return err;
    if (first) {
        err = create_maps();
        if (err)
            return err;
        log_info("AMD-V: nested paging, %u ASIDs, nRIP save: %s, decode assists: %s, flush by ASID: %s",
                 svm_machine.asids, svm_machine.features & SVM_FEATURE_NRIPS ? "yes" : "no",
                 svm_machine.features & SVM_FEATURE_DECODE ? "yes" : "no",
                 svm_machine.features & SVM_FEATURE_FLUSH_BY_ASID ? "yes" : "no");
    }
    svm = heap_alloc(sizeof(*svm));
    hsave = frames_alloc(FRAME_ORDER_4K, FRAME_PERCPU);
    if (svm)
        svm->host_vmcb = frames_alloc(FRAME_ORDER_4K, FRAME_PERCPU);
    if (!svm || !hsave.raw || !svm->host_vmcb.raw) {
        log_error("AMD-V: no memory for CPU %u's host save area", cpu->index);
        return -ENOMEM;
    }
    memset(phys_to_virt(svm->host_vmcb), 0, PAGE_SIZE);
    memset(phys_to_virt(hsave), 0, PAGE_SIZE);
    svm->asid_generation = 1;
    svm->next_asid = 1;
    cpu->vmx = svm;
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    wrmsr(MSR_VM_HSAVE_PA, hsave.raw);
    svm_save_host(svm->host_vmcb);
    return 0;
}

/* Nested tables are long-mode tables, walked as user accesses (15.25.5). */
static int svm_memory_create(struct vm *vm)
{
    return nested_create(vm, &ptab_x86, PTAB_READ | PTAB_WRITE | PTAB_EXEC | PTAB_USER | PTAB_WB);
}

static void set_segment(struct vmcb_segment *to, const struct vcpu_segment *from)
{
    *to = (struct vmcb_segment){ from->selector, from->attributes, from->limit, from->base };
}

static void get_segment(struct vcpu_segment *to, const struct vmcb_segment *from)
{
    *to = (struct vcpu_segment){ from->selector, from->attributes, from->limit, from->base };
}

static void svm_set_system(struct vcpu *vcpu, const struct vcpu_system *in)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    for (unsigned i = 0; i < SEG_COUNT; i++)
        set_segment(&vmcb->es + i, &in->segment[i]);
    set_segment(&vmcb->ldtr, &in->ldtr);
    set_segment(&vmcb->tr, &in->tr);
    vmcb->gdtr.base = in->gdtr.base;
    vmcb->gdtr.limit = in->gdtr.limit;
    vmcb->idtr.base = in->idtr.base;
    vmcb->idtr.limit = in->idtr.limit;
    vmcb->cpl = in->segment[SEG_SS].attributes >> 5 & 3;
    vmcb->cr0 = in->cr0;
    vmcb->cr2 = in->cr2;
    vmcb->cr3 = in->cr3;
    vmcb->cr4 = in->cr4;
    vmcb->efer = in->efer | EFER_SVME;
    vmcb->dr6 = in->dr6;
    vmcb->dr7 = in->dr7;
    vmcb->clean = 0;
}

static void svm_get_system(const struct vcpu *vcpu, struct vcpu_system *out)
{
    const struct vmcb *vmcb = vmcb_of(vcpu);

    for (unsigned i = 0; i < SEG_COUNT; i++)
        get_segment(&out->segment[i], &vmcb->es + i);
    get_segment(&out->ldtr, &vmcb->ldtr);
    get_segment(&out->tr, &vmcb->tr);
    out->gdtr.base = vmcb->gdtr.base;
    out->gdtr.limit = (uint16_t)vmcb->gdtr.limit;
    out->idtr.base = vmcb->idtr.base;
    out->idtr.limit = (uint16_t)vmcb->idtr.limit;
    out->cr0 = vmcb->cr0;
    out->cr2 = vmcb->cr2;
    out->cr3 = vmcb->cr3;
    out->cr4 = vmcb->cr4;
    out->efer = vmcb->efer & ~EFER_SVME;
    out->dr6 = vmcb->dr6;
    out->dr7 = vmcb->dr7;
}

/* What does not change over the vCPU's life: which events exit. Everything that the guest must not do by
 * itself is here. */
static void set_controls(struct vcpu *vcpu, struct vmcb *vmcb)
{
    vmcb->intercept_dr = INTERCEPT_DR;
    vmcb->intercept_exceptions = (uint32_t)(BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(18));
    vmcb->intercept_3 = (uint32_t)(INTERCEPT_INTR | INTERCEPT_NMI | INTERCEPT_SMI | INTERCEPT_INIT |
                                   INTERCEPT_RDPMC | INTERCEPT_CPUID | INTERCEPT_INVD | INTERCEPT_HLT |
                                   INTERCEPT_INVLPGA | INTERCEPT_IOIO_PROT | INTERCEPT_MSR_PROT |
                                   INTERCEPT_FERR | INTERCEPT_SHUTDOWN);
    vmcb->intercept_4 = (uint32_t)(INTERCEPT_VMRUN | INTERCEPT_VMMCALL | INTERCEPT_VMLOAD | INTERCEPT_VMSAVE |
                                   INTERCEPT_STGI | INTERCEPT_CLGI | INTERCEPT_SKINIT | INTERCEPT_WBINVD |
                                   INTERCEPT_MONITOR | INTERCEPT_MWAIT | INTERCEPT_XSETBV | INTERCEPT_RDPRU);
    if (svm_machine.features & SVM_FEATURE_PAUSE_FILTER) {
        vmcb->intercept_3 |= (uint32_t)INTERCEPT_PAUSE;
        vmcb->pause_count = PAUSE_COUNT;
        vmcb->pause_threshold = svm_machine.features & SVM_FEATURE_PAUSE_GAP ? PAUSE_GAP : 0;
    }
    vmcb->iopm_base = svm_machine.iopm.raw;
    vmcb->msrpm_base = svm_machine.msrpm.raw;
    vmcb->tsc_offset = 0 - vcpu->vm->clock.origin;
    vmcb->vintr = VINTR_INTR_MASKING;
    vmcb->np_enable = 1;
    vmcb->n_cr3 = vcpu->vm->nested.root.raw;
    vmcb->g_pat = PAT_RESET;
}

/* Brings the back end's part to its state after power-on; the registers follow by set_system(). */
static void svm_vcpu_reset(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->backend;

    memset(svm->vmcb, 0, sizeof(*svm->vmcb));
    svm->asid_generation = 0;
    set_controls(vcpu, svm->vmcb);
}

static int svm_vcpu_create(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = heap_alloc(sizeof(*svm));

    if (!svm)
        return -ENOMEM;
    svm->vmcb_pa = frames_alloc(FRAME_ORDER_4K, FRAME_VM + vcpu->vm->index);
    if (!svm->vmcb_pa.raw) {
        heap_free(svm);
        return -ENOMEM;
    }
    svm->vmcb = phys_to_virt(svm->vmcb_pa);
    vcpu->backend = svm;
    svm_vcpu_reset(vcpu);
    return 0;
}

static void svm_vcpu_destroy(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->backend;

    frames_free(svm->vmcb_pa, FRAME_ORDER_4K, FRAME_VM + vcpu->vm->index);
    heap_free(svm);
    vcpu->backend = NULL;
}

/*
 * An ASID of this CPU's present generation, and a new one for a vCPU that was elsewhere, since what the TLB
 * holds for its old one is out of date; when they run out a new generation starts with an empty TLB. The
 * flush is owed by the CPU, not by this vCPU, which may be unloaded or reset before it is ever entered. It
 * stays asked for until the vCPU is unloaded: needless flushes, once in a generation.
 */
static void assign_asid(struct svm_cpu *cpu, struct svm_vcpu *svm)
{
    if (likely(svm->asid_generation == cpu->asid_generation && svm->cpu == cpu))
        return;
    if (cpu->next_asid == svm_machine.asids) {
        cpu->next_asid = 1;
        cpu->asid_generation++;
        cpu->tlb_control = TLB_CONTROL_FLUSH_ALL;
    }
    svm->vmcb->asid = cpu->next_asid++;
    svm->asid_generation = cpu->asid_generation;
    svm->cpu = cpu;
    svm->vmcb->clean &= ~(uint32_t)CLEAN_ASID;
}

static void svm_vcpu_load(struct vcpu *vcpu)
{
    struct svm_cpu *cpu = vcpu->cpu->vmx;
    struct svm_vcpu *svm = vcpu->backend;
    struct vmcb *vmcb = svm->vmcb;

    assign_asid(cpu, svm);
    vmcb->tlb_control = cpu->tlb_control;
    vmcb->clean = 0; /* the CPU may have cached another one's state */
    svm_load(svm->vmcb_pa);
}

static void svm_vcpu_unload(struct vcpu *vcpu)
{
    struct svm_cpu *cpu = vcpu->cpu->vmx;
    const struct svm_vcpu *svm = vcpu->backend;

    if (svm->vmcb->clean) /* set by an exit: it was entered, and has flushed what was to be flushed */
        cpu->tlb_control = TLB_CONTROL_NOTHING;
    vcpu->xcr0 = xstate_xcr0(); /* QEMU's emulated CPU has no exit by XSETBV */
    svm_unload(cpu->host_vmcb, svm->vmcb_pa);
}

/* What unload has left is in memory. */
static void svm_vcpu_put_away(struct vcpu *vcpu)
{
    (void)vcpu;
}

/* Its interrupt ends the guest's run. */
static void svm_set_deadline(struct vcpu *vcpu, uint64_t deadline)
{
    (void)vcpu;
    lapic_timer_program(deadline);
}

static void svm_take_interrupts(struct vcpu *vcpu)
{
    const struct svm_cpu *cpu = vcpu->cpu->vmx;
    const struct svm_vcpu *svm = vcpu->backend;

    svm_window(cpu->host_vmcb, svm->vmcb_pa);
}

static void svm_flush_tlb(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->backend;

    svm->cpu = NULL; /* a new ASID has an empty TLB */
}

static unsigned svm_cpl(const struct vcpu *vcpu)
{
    return vmcb_of(vcpu)->cpl;
}

static void svm_paging(const struct vcpu *vcpu, struct gva_mode *out)
{
    const struct vmcb *vmcb = vmcb_of(vcpu);

    out->cr0 = vmcb->cr0;
    out->cr3 = vmcb->cr3;
    out->cr4 = vmcb->cr4;
    out->efer = vmcb->efer;
    out->use_pdpte = false; /* read from memory under nested paging (15.25.10) */
    out->cpl = vmcb->cpl;
    out->rflags_ac = vcpu->rflags & BIT(18);
}

static void svm_segment(const struct vcpu *vcpu, enum seg seg, struct emu_segment *out)
{
    const struct svm_vcpu *svm = vcpu->backend;
    const struct vmcb_segment *s = &svm->vmcb->es + seg;
    bool code = s->attributes & SEG_ATTR_CODE, rw = s->attributes & SEG_ATTR_RW;

    *out = (struct emu_segment){
        .base = s->base,
        .limit = s->limit,
        .present = s->attributes & SEG_ATTR_P,
        .writable = !code && rw,
        .readable = !code || rw,
        .code = code,
        .expand_down = !code && (s->attributes & SEG_ATTR_DOWN),
        .big = s->attributes & SEG_ATTR_DB,
    };
    /* FS and GS are switched by VMLOAD: while the vCPU is loaded their bases are in the CPU. */
    if (seg == SEG_FS || seg == SEG_GS)
        out->base = rdmsr(seg == SEG_FS ? 0xc0000100 : 0xc0000101);
}

static uint64_t svm_cr4(const struct vcpu *vcpu)
{
    return vmcb_of(vcpu)->cr4;
}

static enum code_size svm_code_size(const struct vcpu *vcpu)
{
    const struct vmcb *vmcb = vmcb_of(vcpu);

    if ((vmcb->cs.attributes & SEG_ATTR_L) && (vmcb->efer & EFER_LMA))
        return CODE_64;
    return vmcb->cs.attributes & SEG_ATTR_DB ? CODE_32 : CODE_16;
}

static void svm_set_cr2(struct vcpu *vcpu, uint64_t cr2)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    vmcb->cr2 = cr2;
    vmcb->clean &= ~(uint32_t)CLEAN_CR2;
}

static void svm_set_dr6(struct vcpu *vcpu, uint64_t set)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    vmcb->dr6 |= set;
    vmcb->clean &= ~(uint32_t)CLEAN_DRX;
}

static void svm_debug_exits(struct vcpu *vcpu, bool wanted)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    vmcb->intercept_dr = wanted ? INTERCEPT_DR : 0;
    vmcb->clean &= ~(uint32_t)CLEAN_INTERCEPTS;
}

static uint64_t svm_dr7(const struct vcpu *vcpu)
{
    return vmcb_of(vcpu)->dr7;
}

/* EFER and PAT exit since their values need checks; msr.c has done them. */
static int svm_msr_get(const struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    const struct vmcb *vmcb = vmcb_of(vcpu);

    switch (msr) {
    case MSR_EFER:
        *value = vmcb->efer & ~EFER_SVME;
        return 0;
    case MSR_PAT:
        *value = vmcb->g_pat;
        return 0;
    default:
        return -EINVAL;
    }
}

static int svm_msr_set(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    switch (msr) {
    case MSR_EFER:
        vmcb->efer = value | EFER_SVME;
        vmcb->clean &= ~(uint32_t)CLEAN_CRX;
        return 0;
    case MSR_PAT:
        vmcb->g_pat = value;
        vmcb->clean &= ~(uint32_t)CLEAN_NP;
        return 0;
    default:
        return -EINVAL;
    }
}

/* ASID 0 is the hypervisor's own, and NW without CD does not exist (15.5.1). */
static void svm_spoil(struct vcpu *vcpu, bool control)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    if (control)
        vmcb->asid = 0;
    else
        vmcb->cr0 = (vmcb->cr0 & ~CR0_CD) | CR0_NW;
    vmcb->clean = 0;
}

const struct vmx_ops vmx_ops_amd = {
    .name = "AMD-V",
    .present = svm_present,
    .cpu_enable = svm_cpu_enable,
    .memory_create = svm_memory_create,
    .memory_destroy = nested_destroy,
    .vcpu_create = svm_vcpu_create,
    .vcpu_destroy = svm_vcpu_destroy,
    .vcpu_reset = svm_vcpu_reset,
    .load = svm_vcpu_load,
    .unload = svm_vcpu_unload,
    .put_away = svm_vcpu_put_away,
    .enter = svm_enter,
    .exit = svm_exit,
    .set_deadline = svm_set_deadline,
    .take_interrupts = svm_take_interrupts,
    .inject = svm_inject,
    .inject_interrupt = svm_inject_interrupt,
    .debug_exits = svm_debug_exits,
    .dr7 = svm_dr7,
    .window = svm_request_window,
    .nmi_window = svm_nmi_window,
    .flush_tlb = svm_flush_tlb,
    .flush_nested = svm_flush_tlb,
    .set_cr8 = svm_set_cr8,
    .get_system = svm_get_system,
    .set_system = svm_set_system,
    .cpl = svm_cpl,
    .paging = svm_paging,
    .segment = svm_segment,
    .cr4 = svm_cr4,
    .code_size = svm_code_size,
    .set_cr2 = svm_set_cr2,
    .set_dr6 = svm_set_dr6,
    .spoil = svm_spoil,
    .msr_rules = svm_msr_rules,
    .msr_rule_count = SVM_MSR_RULES,
    .msr_get = svm_msr_get,
    .msr_set = svm_msr_set,
};
