/* One run of a guest on VT-x, and what ended it, in neutral terms. Intel SDM vol. 3, 25.9, 28.2 and appendix
 * C. */
#include "vmx/intel/vmx.h"
#include "arch/x86_64/tsc.h"
#include "hw/apic.h"
#include "kernel/panic.h"
#include "vmx/guestmap.h"

/* Bits of DR6 in the exit qualification of a #DB (table 28-1). */
#define DEBUG_BREAKPOINTS UINT64_C(0xf)
#define DEBUG_BD          BIT(13)
#define DEBUG_BS          BIT(14)
#define DR7_GD            BIT(13)

static inline uint8_t instruction_length(void)
{
    return (uint8_t)vmcs_read(VMCS_EXIT_INSTRUCTION_LENGTH);
}

/* An event was being delivered when the exit came: it has to be delivered again (25.9.3, 28.2.4). */
static __cold void note_interrupted_event(struct vcpu *vcpu, uint32_t info)
{
    vcpu->event = (struct vcpu_event){
        .valid = true,
        .type = (uint8_t)((info & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT),
        .vector = (uint8_t)(info & INTERRUPTION_VECTOR),
        .has_error = info & INTERRUPTION_ERROR,
        .error = info & INTERRUPTION_ERROR ? (uint32_t)vmcs_read(VMCS_IDT_VECTORING_ERROR_CODE) : 0,
    };
    /* INT n, INT1, INT3 and INTO run again by themselves, from the RIP that the exit left. */
    if (vcpu->event.type >= INTERRUPTION_SOFTWARE)
        vcpu->event.valid = false;
    vcpu_note(vcpu, PEND_EVENT);
}

/* For the exits that can come in the middle of a delivery; those of an instruction cannot. */
static inline void keep_interrupted_event(struct vcpu *vcpu)
{
    uint32_t info = (uint32_t)vmcs_read(VMCS_IDT_VECTORING);

    if (unlikely(info & INTERRUPTION_VALID))
        note_interrupted_event(vcpu, info);
}

/* An IRET unblocked NMIs and then faulted: it will run again, and until then they are blocked (28.2.3). */
static inline void block_nmis_again(struct vcpu *vcpu, bool unblocked)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    if (likely(!unblocked) || vcpu->event.valid)
        return;
    vmx->interruptibility |= BLOCKING_NMI;
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmx->interruptibility);
}

static void decode_io(struct vcpu *vcpu)
{
    struct vmexit *exit = &vcpu->exit;
    uint64_t q = vmcs_read(VMCS_EXIT_QUALIFICATION);

    exit->reason = EXIT_IO;
    exit->length = instruction_length();
    exit->io.port = IO_PORT(q);
    exit->io.size = (uint8_t)IO_SIZE(q);
    exit->io.in = q & IO_IN;
    exit->io.string = q & IO_STRING;
    exit->io.rep = q & IO_REP;
}

static void decode_ept_violation(struct vcpu *vcpu)
{
    struct vmexit *exit = &vcpu->exit;
    uint64_t q = vmcs_read(VMCS_EXIT_QUALIFICATION);

    keep_interrupted_event(vcpu);
    block_nmis_again(vcpu, q & EPT_NMI_UNBLOCK);
    exit->reason = EXIT_MEMORY;
    exit->memory.at = gpa(vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS));
    exit->address_low = (uint32_t)exit->memory.at.raw;
    exit->memory.access = q & EPT_WRITE ? 1 : 0;
    if (unlikely((q & (EPT_FETCH | EPT_LINEAR | EPT_FINAL)) != (EPT_LINEAR | EPT_FINAL) ||
                 vcpu->event.valid)) {
        exit->memory.fetch = q & EPT_FETCH;
        exit->memory.walk = (q & (EPT_LINEAR | EPT_FINAL)) == EPT_LINEAR;
        exit->memory.delivering = vcpu->event.valid;
    }
    exit->memory.bytes_count = 0;
}

/* What the CPU has done of an APIC access: the qualification is a vector or a register (table 28-1). */
static void decode_apic(struct vcpu *vcpu, bool eoi)
{
    uint64_t q = vmcs_read(VMCS_EXIT_QUALIFICATION);

    vcpu->exit.reason = EXIT_APIC;
    vcpu->exit.apic.eoi = eoi;
    vcpu->exit.apic.vector = (uint8_t)q;
    vcpu->exit.apic.offset = (uint16_t)(q & 0xfff);
}

/* What the delivery of a #DB would have left in DR6 and DR7 (28.2.1). */
static void note_debug_exception(void)
{
    uint64_t q = vmcs_read(VMCS_EXIT_QUALIFICATION), dr6;

    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    dr6 = (dr6 & ~DEBUG_BREAKPOINTS) | (q & (DEBUG_BREAKPOINTS | DEBUG_BD | DEBUG_BS));
    __asm__ volatile("mov %0, %%dr6" : : "r"(dr6));
    if (q & DEBUG_BD)
        vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~DR7_GD);
}

static void decode_exception_or_nmi(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    uint32_t info = (uint32_t)vmcs_read(VMCS_EXIT_INTERRUPTION), vector = info & INTERRUPTION_VECTOR;

    keep_interrupted_event(vcpu);
    if ((info & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT == INTERRUPTION_NMI) {
        vmx->interruption = info;
        vcpu->exit.reason = EXIT_INTERRUPT;
        return;
    }
    if (vector == 18)
        panic("machine check while vm %s ran: the hardware reported an error that it could not correct",
              vcpu->vm->name);
    block_nmis_again(vcpu, info & INTERRUPTION_IRET);
    if (vector == VECTOR_DB)
        note_debug_exception();
    vcpu->exit.reason = EXIT_EXCEPTION;
    vcpu->exit.exception.vector = (uint8_t)vector;
    vcpu->exit.exception.error = info & INTERRUPTION_ERROR ? (uint32_t)vmcs_read(VMCS_EXIT_ERROR_CODE) : 0;
}

static void decode_instruction(struct vcpu *vcpu, enum vmexit_reason reason)
{
    vcpu->exit.reason = (uint8_t)reason;
    vcpu->exit.length = instruction_length();
}

/*
 * The CPU never switches tasks itself (26.4.2). An event that came through a task gate is in vcpu->event by
 * now, but for INT n, INT1, INT3 and INTO, whose length says where the old task goes on. NMIs are blocked for
 * the task that handles one, and open for what its IRET goes back to, whether the CPU has seen to that or
 * not.
 */
static void decode_task_switch(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    struct vmexit *exit = &vcpu->exit;
    uint64_t q = vmcs_read(VMCS_EXIT_QUALIFICATION);
    bool gate = TASK_SOURCE(q) == TASK_GATE, event = gate && vcpu->event.valid;

    exit->reason = EXIT_TASK_SWITCH;
    exit->length = event ? 0 : instruction_length();
    exit->task.selector = TASK_SELECTOR(q);
    exit->task.source = (uint8_t)TASK_SOURCE(q);
    exit->task.has_error = event && vcpu->event.has_error;
    exit->task.error = event ? vcpu->event.error : 0;
    if (event && vcpu->event.type == EVENT_NMI)
        vmx->interruptibility |= BLOCKING_NMI;
    else if (exit->task.source == TASK_IRET)
        vmx->interruptibility &= ~BLOCKING_NMI;
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmx->interruptibility);
}

static void decode_unknown(struct vcpu *vcpu, uint32_t reason)
{
    vcpu->exit.reason = EXIT_UNKNOWN;
    vcpu->exit.raw.code = reason;
    vcpu->exit.raw.info1 = vmcs_read(VMCS_EXIT_QUALIFICATION);
    vcpu->exit.raw.info2 = vmcs_read(VMCS_EXIT_INSTRUCTION_INFO);
}

static __cold void decode_rare(struct vcpu *vcpu, uint32_t reason)
{
    keep_interrupted_event(vcpu);
    switch (reason) {
    case REASON_INIT:
        vcpu->exit.reason = EXIT_INTERRUPT; /* INIT is blocked in VMX operation: there is nothing to take */
        break;
    case REASON_TRIPLE_FAULT:
        vcpu->exit.reason = EXIT_SHUTDOWN;
        break;
    case REASON_TASK_SWITCH:
        decode_task_switch(vcpu);
        break;
    case REASON_NMI_WINDOW:
        vcpu->exit.reason = EXIT_NMI_WINDOW;
        break;
    case REASON_APIC_ACCESS:
        vmx_apic_access(vcpu, vmcs_read(VMCS_EXIT_QUALIFICATION));
        break;
    case REASON_INVD:
    case REASON_WBINVD:
        decode_instruction(vcpu, EXIT_SKIP);
        break;
    case REASON_PAUSE:
        decode_instruction(vcpu, EXIT_PAUSE);
        break;
    case REASON_MOV_DR:
        vcpu->exit.reason = EXIT_DEBUG;
        break;
    case REASON_XSETBV:
        decode_instruction(vcpu, EXIT_XSETBV);
        break;
    case REASON_RDPMC:
        vcpu->exit.reason = EXIT_PROTECTED;
        break;
    case REASON_GETSEC:
    case REASON_VMCLEAR ... REASON_VMXON:
    case REASON_MWAIT:
    case REASON_MONITOR:
    case REASON_INVEPT:
    case REASON_INVVPID:
        vcpu->exit.reason = EXIT_UNDEFINED;
        break;
    default:
        decode_unknown(vcpu, reason);
        break;
    }
}

static inline void decode_exit(struct vcpu *vcpu, uint32_t reason)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    switch (reason) {
    case REASON_EXTERNAL_INTERRUPT:
        keep_interrupted_event(vcpu);
        vmx->interruption = (uint32_t)vmcs_read(VMCS_EXIT_INTERRUPTION);
        vcpu->exit.reason = EXIT_INTERRUPT;
        return;
    case REASON_EPT_VIOLATION:
        decode_ept_violation(vcpu);
        return;
    case REASON_CPUID:
        decode_instruction(vcpu, EXIT_CPUID);
        return;
    case REASON_HLT:
        decode_instruction(vcpu, EXIT_HLT);
        return;
    case REASON_IO:
        decode_io(vcpu);
        return;
    case REASON_WRMSR:
        decode_instruction(vcpu, EXIT_MSR_WRITE);
        vcpu->exit.msr = (uint32_t)vcpu->gpr[GPR_RCX];
        return;
    case REASON_RDMSR:
        decode_instruction(vcpu, EXIT_MSR_READ);
        vcpu->exit.msr = (uint32_t)vcpu->gpr[GPR_RCX];
        return;
    case REASON_VMCALL:
        decode_instruction(vcpu, EXIT_HYPERCALL);
        return;
    case REASON_VIRTUALIZED_EOI:
    case REASON_APIC_WRITE:
        decode_apic(vcpu, reason == REASON_VIRTUALIZED_EOI);
        return;
    case REASON_INTERRUPT_WINDOW:
    case REASON_TPR_BELOW_THRESHOLD:
        vcpu->exit.reason = EXIT_WINDOW;
        return;
    case REASON_PREEMPTION_TIMER:
        keep_interrupted_event(vcpu);
        vcpu->exit.reason = EXIT_TIMER;
        return;
    case REASON_EXCEPTION_OR_NMI:
        decode_exception_or_nmi(vcpu);
        return;
    case REASON_CR_ACCESS:
        vcpu->exit.length = instruction_length();
        vmx_cr_access(vcpu, vmcs_read(VMCS_EXIT_QUALIFICATION));
        vcpu->exit.reason = EXIT_BACKEND;
        return;
    default:
        decode_rare(vcpu, reason);
        return;
    }
}

static inline void read_registers(struct vcpu *vcpu, struct vmx_vcpu *vmx)
{
    vcpu->rip = vmcs_read(VMCS_GUEST_RIP);
    vcpu->gpr[GPR_RSP] = vmx->rsp = vmcs_read(VMCS_GUEST_RSP);
    vcpu->rflags = vmx->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    vmx->interruptibility = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
    vcpu->shadow = (vmx->interruptibility | vmx->interruptibility >> 1) & 1;
}

/* The instruction that the shadow covered is done, or its fault is being delivered. */
static __cold void end_shadow(struct vmx_vcpu *vmx)
{
    vmx->interruptibility &= ~(BLOCKING_STI | BLOCKING_MOV_SS);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmx->interruptibility);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
}

/*
 * Sets the preemption timer, rounded up, for the next run. Never beyond a slice since interrupts were taken
 * last: Bochs 2.7 lets no interrupt end the run of a guest that was entered with RFLAGS.IF clear, until that
 * guest touches IF.
 */
static inline void set_timer(const struct vcpu *vcpu)
{
    const struct cpu *cpu = vcpu->cpu;
    uint64_t left = min_u64(cpu->timers.next, cpu->interrupts_taken + vmx_machine.slice) - tsc_now();

    if (unlikely((int64_t)left < 0))
        left = 0;
    vmcs_write(VMCS_PREEMPTION_TIMER, (left >> vmx_machine.timer_rate) + 1);
}

static inline void write_registers(const struct vcpu *vcpu, struct vmx_vcpu *vmx)
{
    vmcs_write(VMCS_GUEST_RIP, vcpu->rip);
    if (unlikely(vcpu->gpr[GPR_RSP] != vmx->rsp))
        vmcs_write(VMCS_GUEST_RSP, vcpu->gpr[GPR_RSP]);
    if (unlikely(vcpu->rflags != vmx->rflags))
        vmcs_write(VMCS_GUEST_RFLAGS, vcpu->rflags);
    if (unlikely(vmx->interruptibility & (BLOCKING_STI | BLOCKING_MOV_SS)) && !vcpu->shadow)
        end_shadow(vmx);
    if (vmx_machine.timer)
        set_timer(vcpu);
}

/* The guest lowered or raised CR8 without an exit. */
static __cold void cr8_changed(struct vcpu *vcpu, uint8_t cr8)
{
    vcpu->cr8 = cr8;
    vcpu->intc->set_cr8(vcpu->intc_context, cr8);
}

bool vmx_exit(struct vcpu *vcpu, void *context)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    uint32_t reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
    bool again;

    (void)context;

    vmx->launched = true;
    read_registers(vcpu, vmx);
    if (vmx->tpr_shadow && unlikely(*vmx->tpr_shadow >> 4 != vcpu->cr8))
        cr8_changed(vcpu, (uint8_t)(*vmx->tpr_shadow >> 4));
    if (unlikely(reason & REASON_ENTRY_FAILED))
        vmx_entry_failed(vcpu, reason);
    else {
        decode_exit(vcpu, reason);
        exit_handle(vcpu);
    }
    again = likely(vcpu_goes_on(vcpu)) || vcpu_prepare(vcpu);
    if (again)
        write_registers(vcpu, vmx);
    return again;
}

void vmx_enter(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    write_registers(vcpu, vmx);
    vmx_run(vcpu, vmx->launched);
}
