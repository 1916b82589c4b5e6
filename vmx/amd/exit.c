/* One run of a guest on AMD-V, and what ended it, in neutral terms. AMD APM vol. 2, 15.6 to 15.9 and appendix
 * C. */
#include "vmx/amd/svm.h"
#include "vmx/fetch.h"
#include "kernel/panic.h"

/* The first bytes of instructions whose exits do not tell their length where there is no nRIP save. */
#define OPCODE_CPUID  0xa20f
#define OPCODE_RDMSR  0x320f
#define OPCODE_WRMSR  0x300f
#define OPCODE_HLT    0xf4
#define OPCODE_0F01   0x010f
#define OPCODE_INVD   0x080f
#define OPCODE_WBINVD 0x090f
#define OPCODE_PAUSE  0x90f3

/* Length of the instruction at RIP, which without prefixes has `opcode` in its first `opcode_size` bytes and
 * is `length` long. */
static inline uint8_t length_of(struct vcpu *vcpu, const struct vmcb *vmcb, uint16_t opcode,
                                unsigned opcode_size, uint8_t length)
{
    gva_t linear;

    if (svm_machine.features & SVM_FEATURE_NRIPS)
        return (uint8_t)(vmcb->nrip - vmcb->rip);
    /* CS.L means nothing outside of long mode; a guest that sets it there has its instruction looked for at
     * the wrong place. */
    linear = gva(likely(vmcb->cs.attributes & SEG_ATTR_L) ? vmcb->rip
                                                          : (uint32_t)(vmcb->cs.base + vmcb->rip));
    return fetch_length(vcpu, linear, opcode, opcode_size, length);
}

/* An event was being delivered when the exit came: it has to be delivered again (15.7.2). */
static __cold void note_interrupted_event(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    uint64_t info = vmcb->exitintinfo;

    vcpu->event = (struct vcpu_event){
        .valid = true,
        .type = (uint8_t)((info & EVENT_TYPE_MASK) >> EVENT_TYPE_SHIFT),
        .vector = (uint8_t)(info & EVENT_VECTOR_MASK),
        .has_error = info & EVENT_EV,
        .error = (uint32_t)(info >> EVENT_ERROR_SHIFT),
    };
    /* INT n, INT3 and INTO run again by themselves, from the RIP that the exit left. */
    if (vcpu->event.type == EVENT_SOFTWARE ||
        (vcpu->event.type == EVENT_EXCEPTION && (vcpu->event.vector == 3 || vcpu->event.vector == 4)))
        vcpu->event.valid = false;
    vcpu_note(vcpu, PEND_EVENT);
}

/* For the exits that can come in the middle of a delivery; those of an instruction cannot. */
static inline void keep_interrupted_event(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    if (unlikely(vmcb->exitintinfo & EVENT_V))
        note_interrupted_event(vcpu, vmcb);
}

static void decode_io(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    struct vmexit *exit = &vcpu->exit;
    uint64_t info = vmcb->exitinfo1;

    exit->reason = EXIT_IO;
    exit->length = (uint8_t)(vmcb->exitinfo2 - vmcb->rip);
    exit->io.port = IOIO_PORT(info);
    exit->io.size = IOIO_SIZE(info);
    exit->io.in = info & IOIO_IN;
    exit->io.string = info & IOIO_STRING;
    exit->io.rep = info & IOIO_REP;
}

static void decode_npf(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    struct vmexit *exit = &vcpu->exit;
    uint64_t info = vmcb->exitinfo1, at = vmcb->exitinfo2;

    keep_interrupted_event(vcpu, vmcb);
    exit->reason = EXIT_MEMORY;
    exit->memory.at = gpa(at);
    exit->address_low = (uint32_t)at;
    exit->memory.access = info & NPF_WRITE ? 1 : 0;
    if (unlikely((info & (NPF_FETCH | NPF_WALK)) || vcpu->event.valid)) {
        exit->memory.fetch = info & NPF_FETCH;
        exit->memory.walk = info & NPF_WALK;
        exit->memory.delivering = vcpu->event.valid;
    }
    exit->memory.bytes_count = svm_machine.features & SVM_FEATURE_DECODE ? vmcb->fetched_count & 0xf : 0;
    exit->memory.bytes = vmcb->fetched;
}

static void decode_exception(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    vcpu->exit.reason = EXIT_EXCEPTION;
    vcpu->exit.exception.vector = (uint8_t)(vmcb->exitcode - 0x40);
    vcpu->exit.exception.error = (uint32_t)vmcb->exitinfo1;
    if (vmcb->exitcode == VMEXIT_EXCEPTION_MC)
        panic("machine check while vm %s ran: the hardware reported an error that it could not correct",
              vcpu->vm->name);
}

static __attribute__((noinline)) void decode_msr_read(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    vcpu->exit.reason = EXIT_MSR_READ;
    vcpu->exit.msr = (uint32_t)vcpu->gpr[GPR_RCX];
    vcpu->exit.length = length_of(vcpu, vmcb, OPCODE_RDMSR, 2, 2);
}

static __cold void decode_rare(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    struct vmexit *exit = &vcpu->exit;

    keep_interrupted_event(vcpu, vmcb);
    switch (vmcb->exitcode) {
    case VMEXIT_EXCEPTION_DB:
    case VMEXIT_EXCEPTION_AC:
    case VMEXIT_EXCEPTION_MC:
        decode_exception(vcpu, vmcb);
        break;
    case VMEXIT_NMI:
    case VMEXIT_SMI:
    case VMEXIT_INIT:
        exit->reason = EXIT_INTERRUPT;
        break;
    case VMEXIT_IRET:
        exit->reason = EXIT_IRET;
        break;
    case VMEXIT_INVD:
        exit->reason = EXIT_SKIP;
        exit->length = length_of(vcpu, vmcb, OPCODE_INVD, 2, 2);
        break;
    case VMEXIT_WBINVD:
        exit->reason = EXIT_SKIP;
        exit->length = length_of(vcpu, vmcb, OPCODE_WBINVD, 2, 2);
        break;
    case VMEXIT_PAUSE:
        exit->reason = EXIT_PAUSE;
        exit->length = length_of(vcpu, vmcb, OPCODE_PAUSE, 2, 2);
        break;
    case VMEXIT_READ_DR0 ... VMEXIT_READ_DR0 + 7:
    case VMEXIT_WRITE_DR0 ... VMEXIT_WRITE_DR0 + 7:
        exit->reason = EXIT_DEBUG;
        break;
    case VMEXIT_XSETBV:
        exit->reason = EXIT_XSETBV;
        exit->length = length_of(vcpu, vmcb, OPCODE_0F01, 2, 3);
        break;
    case VMEXIT_RDPMC:
        exit->reason = EXIT_PROTECTED;
        break;
    case VMEXIT_SHUTDOWN:
        exit->reason = EXIT_SHUTDOWN;
        break;
    case VMEXIT_FERR:
        exit->reason = EXIT_FPU_FREEZE;
        break;
    case VMEXIT_INVLPGA:
    case VMEXIT_VMRUN:
    case VMEXIT_VMLOAD ... VMEXIT_SKINIT:
    case VMEXIT_MONITOR ... VMEXIT_MWAIT_CONDITIONAL:
    case VMEXIT_RDPRU:
        exit->reason = EXIT_UNDEFINED;
        break;
    default:
        /* QEMU's emulated CPU stores the low half of -1 only. */
        exit->reason = (uint32_t)vmcb->exitcode == (uint32_t)VMEXIT_INVALID ? EXIT_INVALID : EXIT_UNKNOWN;
        exit->raw.code = vmcb->exitcode;
        exit->raw.info1 = vmcb->exitinfo1;
        exit->raw.info2 = vmcb->exitinfo2;
        break;
    }
}

static inline void decode_msr(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    if (unlikely(!vmcb->exitinfo1)) {
        decode_msr_read(vcpu, vmcb);
        return;
    }
    vcpu->exit.reason = EXIT_MSR_WRITE;
    vcpu->exit.msr = (uint32_t)vcpu->gpr[GPR_RCX];
    vcpu->exit.length = length_of(vcpu, vmcb, OPCODE_WRMSR, 2, 2);
}

static inline void decode_exit(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    struct vmexit *exit = &vcpu->exit;

    /* Most exits that must be short are these two, so they do without the table. */
    if (vmcb->exitcode == VMEXIT_MSR) {
        decode_msr(vcpu, vmcb);
        return;
    }
    if (vmcb->exitcode == VMEXIT_NPF) {
        decode_npf(vcpu, vmcb);
        return;
    }
    switch (vmcb->exitcode) {
    case VMEXIT_INTR:
        keep_interrupted_event(vcpu, vmcb);
        exit->reason = EXIT_INTERRUPT;
        break;
    case VMEXIT_VINTR:
        keep_interrupted_event(vcpu, vmcb);
        exit->reason = EXIT_WINDOW;
        if (!(vmcb->vintr & VINTR_IGN_TPR) &&
            (vmcb->vintr & VINTR_PRIO_MASK) >> VINTR_PRIO_SHIFT == (vmcb->vintr & VINTR_TPR_MASK))
            svm_machine.vintr_inclusive = true;
        break;
    case VMEXIT_CPUID:
        exit->reason = EXIT_CPUID;
        exit->length = length_of(vcpu, vmcb, OPCODE_CPUID, 2, 2);
        break;
    case VMEXIT_HLT:
        exit->reason = EXIT_HLT;
        exit->length = length_of(vcpu, vmcb, OPCODE_HLT, 1, 1);
        break;
    case VMEXIT_IOIO:
        decode_io(vcpu, vmcb);
        break;
    case VMEXIT_VMMCALL:
        exit->reason = EXIT_HYPERCALL;
        exit->length = length_of(vcpu, vmcb, OPCODE_0F01, 2, 3);
        break;
    default:
        decode_rare(vcpu, vmcb);
        break;
    }
}

/* What VMRUN takes from the VMCB itself, not from a register. */
static inline void write_registers(const struct vcpu *vcpu, struct vmcb *vmcb)
{
    vmcb->rip = vcpu->rip;
    vmcb->rsp = vcpu->gpr[GPR_RSP];
    vmcb->rax = vcpu->gpr[GPR_RAX];
    vmcb->rflags = vcpu->rflags;
    vmcb->interrupt_shadow = vcpu->shadow;
}

static inline void read_registers(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    vcpu->rip = vmcb->rip;
    vcpu->gpr[GPR_RSP] = vmcb->rsp;
    vcpu->gpr[GPR_RAX] = vmcb->rax;
    vcpu->rflags = vmcb->rflags;
    vcpu->shadow = vmcb->interrupt_shadow;
}

/* The guest lowered or raised CR8 without an exit. */
static __cold void cr8_changed(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    vcpu->cr8 = vmcb->vintr & VINTR_TPR_MASK;
    vcpu->intc->set_cr8(vcpu->intc_context, vcpu->cr8);
}

/* V_TPR is not what it was, or V_IRQ is set. */
static __cold void vintr_changed(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    if ((uint8_t)vmcb->vintr != vcpu->cr8)
        cr8_changed(vcpu, vmcb);
    svm_keep_virq(vcpu);
}

bool svm_exit(struct vcpu *vcpu, void *context)
{
    struct vmcb *vmcb = context;

    read_registers(vcpu, vmcb);
    vmcb->clean = CLEAN_ALL;
    if (unlikely((uint16_t)vmcb->vintr != vcpu->cr8))
        vintr_changed(vcpu, vmcb);
    decode_exit(vcpu, vmcb);
    exit_handle(vcpu);
    if (unlikely(!vcpu_goes_on(vcpu)) && !vcpu_prepare(vcpu))
        return false;
    write_registers(vcpu, vmcb);
    return true;
}

void svm_enter(struct vcpu *vcpu)
{
    const struct svm_vcpu *svm = vcpu->backend;
    struct vmcb *vmcb = svm->vmcb;

    write_registers(vcpu, vmcb);
    svm_run(vcpu, vmcb, svm->vmcb_pa);
}
