/* What Plinth does about each kind of exit: one handler a reason, one table. */
#include "vmx/vcpu.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/tsc.h"
#include "arch/x86_64/xstate.h"
#include "hw/apic.h"

static void exit_interrupt(struct vcpu *vcpu)
{
    vmx_ops->take_interrupts(vcpu);
    if (vcpu->window) /* the guest may have come to where it can take what waits: that saves the exit for it
                       */
        vcpu_note(vcpu, PEND_EVENT);
    if (unlikely(__atomic_load_n(&vcpu->cpu->yield, __ATOMIC_RELAXED)))
        vcpu_note(vcpu, PEND_LEAVE);
}

/* No timer interrupt was needed. Others may wait, too. */
static void exit_timer(struct vcpu *vcpu)
{
    timer_queue_run(&this_cpu()->timers, tsc_now());
    exit_interrupt(vcpu);
}

static inline void set_cpuid(struct vcpu *vcpu, const struct cpuid_regs *regs)
{
    vcpu->gpr[GPR_RAX] = regs->eax;
    vcpu->gpr[GPR_RBX] = regs->ebx;
    vcpu->gpr[GPR_RCX] = regs->ecx;
    vcpu->gpr[GPR_RDX] = regs->edx;
}

/* Leaf 1 EDX bit 9 (APIC) shows whether the APIC is globally enabled (AMD APM vol. 2, 16.3.1). */
static uint32_t cpuid_apic(struct vcpu *vcpu)
{
    uint64_t base;

    if (vcpu->intc->msr_read(vcpu->intc_context, MSR_APIC_BASE, &base))
        return 0;
    return base & APIC_BASE_EN ? (uint32_t)BIT(9) : 0;
}

/* Leaves whose values depend on more than the leaf. */
static __attribute__((noinline)) void cpuid_dynamic(struct vcpu *vcpu, const struct cpuid_row *row)
{
    struct cpuid_regs regs = row->regs;

    if (row->fixup == CPUID_FEATURES) {
        regs.ecx |= cpuid_osxsave(vmx_ops->cr4(vcpu));
        regs.edx &= ~(uint32_t)BIT(9) | cpuid_apic(vcpu);
    } else {
        cpuid_fix(&vcpu->cpuid, row, (uint32_t)vcpu->gpr[GPR_RCX], xstate_xcr0(), &regs);
    }
    set_cpuid(vcpu, &regs);
    vcpu_advance(vcpu);
}

static void exit_cpuid(struct vcpu *vcpu)
{
    const struct cpuid_row *row = cpuid_find(&vcpu->cpuid, (uint32_t)vcpu->gpr[GPR_RAX]);

    if (row->fixup != CPUID_PLAIN) {
        cpuid_dynamic(vcpu, row);
        return;
    }
    set_cpuid(vcpu, &row->regs);
    vcpu_advance(vcpu);
}

/* No vCPU of the VM can ever run again by itself: all sleep with interrupts off. */
static bool all_dead_asleep(const struct vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        const struct vcpu *v = vm->vcpu[i];

        /* A kick comes before the state that it leads to, so it is looked for first: kvm_kick(),
         * vcpu_wake_up().
         */
        if (__atomic_load_n(&v->unhalted, __ATOMIC_SEQ_CST) || v->state == VCPU_RUNNABLE ||
            (v->state == VCPU_HALTED && (v->rflags & RFLAGS_IF)) ||
            (v->pending & (PEND_NMI | PEND_INIT | PEND_STARTUP)))
            return false;
    }
    return true;
}

static void exit_hlt(struct vcpu *vcpu)
{
    vcpu_advance(vcpu);
    vcpu->state = VCPU_HALTED;
    vcpu_note(vcpu, PEND_LEAVE);
    if (vcpu_wakes(vcpu)) {
        vcpu_wake_up(vcpu);
        vcpu_done(vcpu, PEND_LEAVE);
        vcpu_note(vcpu, PEND_EVENT);
        return;
    }
    if (unlikely(!(vcpu->rflags & RFLAGS_IF)) && all_dead_asleep(vcpu->vm))
        vm_die(vcpu->vm, "halted for good: HLT with interrupts off on its last running vCPU");
}

static void exit_apic(struct vcpu *vcpu)
{
    if (vcpu->exit.apic.eoi)
        vcpu->intc->eoi_done(vcpu->intc_context, vcpu->exit.apic.vector);
    else
        vcpu->intc->page_written(vcpu->intc_context, vcpu->exit.apic.offset);
}

static void exit_window(struct vcpu *vcpu)
{
    vcpu_note(vcpu, PEND_EVENT);
}

/*
 * A guest can make the delivery of #DB or #AC raise the same again, without end. No instruction of it then
 * completes, and it is between instructions that the CPU looks for physical interrupts: so look here.
 */
static void exit_exception(struct vcpu *vcpu)
{
    uint8_t vector = vcpu->exit.exception.vector;

    exit_interrupt(vcpu);
    if (vector == VECTOR_DB && event_step_done(vcpu)) {
        vcpu_note(vcpu, PEND_EVENT);
        return;
    }
    vcpu_raise(vcpu, vector, vector == VECTOR_AC, vcpu->exit.exception.error);
}

static void exit_iret(struct vcpu *vcpu)
{
    event_iret(vcpu);
}

static void exit_nmi_window(struct vcpu *vcpu)
{
    event_nmi_window(vcpu);
}

/* XCR0 takes x87 always, and AVX only with SSE (APM vol. 2, 11.5.2). */
static void exit_xsetbv(struct vcpu *vcpu)
{
    uint64_t value = (vcpu->gpr[GPR_RDX] << 32) | (uint32_t)vcpu->gpr[GPR_RAX];
    struct gva_mode mode;

    vmx_ops->paging(vcpu, &mode);
    if (!(mode.cr4 & CR4_OSXSAVE)) {
        vcpu_raise(vcpu, VECTOR_UD, false, 0);
        return;
    }
    if (mode.cpl || (uint32_t)vcpu->gpr[GPR_RCX] || !(value & 1) || (value & ~vcpu->cpuid.xcr0_allowed) ||
        (value & 6) == 4) {
        vcpu_raise_gp(vcpu);
        return;
    }
    vcpu->xcr0 = value;
    xstate_set_xcr0(value);
    vcpu_advance(vcpu);
}

static void exit_skip(struct vcpu *vcpu)
{
    vcpu_advance(vcpu);
}

/* It spins, perhaps for something that another vCPU has and cannot give back while it waits for a CPU. */
static void exit_pause(struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;
    struct vcpu *other = NULL;

    vcpu_advance(vcpu);
    for (unsigned i = 1; i < vm->vcpu_count && !other; i++) {
        struct vcpu *next = vm->vcpu[(vcpu->index + i) % vm->vcpu_count];

        if (__atomic_load_n(&next->task.share.state, __ATOMIC_RELAXED) == SHARE_WAITING)
            other = next;
    }
    sched_yield(other ? &other->task : NULL);
}

static void exit_undefined(struct vcpu *vcpu)
{
    vcpu_raise(vcpu, VECTOR_UD, false, 0);
}

static void exit_protected(struct vcpu *vcpu)
{
    vcpu_raise_gp(vcpu);
}

static void exit_shutdown(struct vcpu *vcpu)
{
    vm_die(vcpu->vm, "triple fault: vCPU %u could not deliver an exception near RIP 0x%llx", vcpu->index,
           (unsigned long long)vcpu->rip);
}

static void exit_fpu_freeze(struct vcpu *vcpu)
{
    vm_die(vcpu->vm,
           "vCPU %u met an x87 exception with CR0.NE = 0 at RIP 0x%llx; this PC reports them as #MF only",
           vcpu->index, (unsigned long long)vcpu->rip);
}

static void exit_invalid(struct vcpu *vcpu)
{
    vm_die(vcpu->vm, "the CPU refused the state of vCPU %u at RIP 0x%llx (invalid control or guest state)",
           vcpu->index, (unsigned long long)vcpu->rip);
}

static void exit_backend(struct vcpu *vcpu)
{
    (void)vcpu;
}

static void exit_unknown(struct vcpu *vcpu)
{
    vm_die(vcpu->vm, "vCPU %u left by an exit that Plinth did not ask for: code 0x%llx info 0x%llx 0x%llx",
           vcpu->index, (unsigned long long)vcpu->exit.raw.code, (unsigned long long)vcpu->exit.raw.info1,
           (unsigned long long)vcpu->exit.raw.info2);
}

/* clang-format off */
void (*const exit_handlers[EXIT_REASONS])(struct vcpu *) = {
    [EXIT_INTERRUPT] = exit_interrupt,
    [EXIT_TIMER] = exit_timer,
    [EXIT_CPUID] = exit_cpuid,
    [EXIT_MSR_READ] = exit_msr_read,
    [EXIT_MSR_WRITE] = exit_msr_write,
    [EXIT_IO] = exit_io,
    [EXIT_MEMORY] = exit_memory,
    [EXIT_HLT] = exit_hlt,
    [EXIT_HYPERCALL] = exit_hypercall,
    [EXIT_APIC] = exit_apic,
    [EXIT_WINDOW] = exit_window,
    [EXIT_EXCEPTION] = exit_exception,
    [EXIT_IRET] = exit_iret,
    [EXIT_NMI_WINDOW] = exit_nmi_window,
    [EXIT_TASK_SWITCH] = exit_task_switch,
    [EXIT_XSETBV] = exit_xsetbv,
    [EXIT_DEBUG] = exit_debug,
    [EXIT_SKIP] = exit_skip,
    [EXIT_PAUSE] = exit_pause,
    [EXIT_UNDEFINED] = exit_undefined,
    [EXIT_PROTECTED] = exit_protected,
    [EXIT_SHUTDOWN] = exit_shutdown,
    [EXIT_FPU_FREEZE] = exit_fpu_freeze,
    [EXIT_INVALID] = exit_invalid,
    [EXIT_BACKEND] = exit_backend,
    [EXIT_UNKNOWN] = exit_unknown,
};
/* clang-format on */
