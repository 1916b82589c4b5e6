/*
 * Events on their way into the guest, and the windows that say when it can take one. APM vol.
 * 2, 15.20, 15.21.
 *
 * The CPU delivers what EVENTINJ holds as part of VMRUN. In QEMU's emulated CPU that has a flaw: it can
 * deliver an interrupt twice (docs/debugging.md, "QEMU"). There, interrupts are injected by V_IRQ.
 */
#include "vmx/amd/svm.h"
#include "arch/x86_64/cpu.h"

/* V_IRQ has two uses: with its intercept it is a window, without it an injection. */
static bool virq_injects(const struct vmcb *vmcb)
{
    return (vmcb->vintr & VINTR_IRQ) && !(vmcb->intercept_3 & INTERCEPT_VINTR);
}

/* The guest takes it before its next instruction, and the CPU then clears V_IRQ (15.21.4). */
static void inject_by_virq(struct vmcb *vmcb, uint8_t vector)
{
    vmcb->vintr = (vmcb->vintr & (VINTR_TPR_MASK | VINTR_INTR_MASKING)) | VINTR_IRQ | VINTR_PRIO_MASK |
                  VINTR_IGN_TPR | (uint64_t)vector << VINTR_VECTOR_SHIFT;
    vmcb->intercept_3 &= ~(uint32_t)INTERCEPT_VINTR;
    vmcb->clean &= ~(uint32_t)(CLEAN_INTERCEPTS | CLEAN_TPR);
}

void svm_keep_virq(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    if (!virq_injects(vmcb))
        return;
    vcpu->event = (struct vcpu_event){ .valid = true,
                                       .type = EVENT_INTERRUPT,
                                       .vector = (uint8_t)(vmcb->vintr >> VINTR_VECTOR_SHIFT) };
    vcpu_note(vcpu, PEND_EVENT);
    vmcb->vintr &= ~VINTR_IRQ;
    vmcb->clean &= ~(uint32_t)CLEAN_TPR;
}

/* The CPU clears EVENTINJ on #VMEXIT (APM vol. 3, VMRUN). */
void svm_inject_interrupt(struct vcpu *vcpu, uint8_t vector)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    if (svm_machine.inject_by_virq)
        inject_by_virq(vmcb, vector);
    else
        vmcb->eventinj = EVENT_V | vector | (uint64_t)EVENT_INTERRUPT << EVENT_TYPE_SHIFT;
}

void svm_inject(struct vcpu *vcpu, const struct vcpu_event *event)
{
    uint64_t inject = EVENT_V | event->vector | (uint64_t)event->type << EVENT_TYPE_SHIFT;
    struct vmcb *vmcb = vmcb_of(vcpu);

    if (event->type == EVENT_INTERRUPT) {
        svm_inject_interrupt(vcpu, event->vector);
        return;
    }
    /* The CPU pushes what EV asks for, also in real mode, where a handler expects none (APM vol. 2, 8.2). */
    if (event->has_error && (vmcb->cr0 & CR0_PE))
        inject |= EVENT_EV | (uint64_t)event->error << EVENT_ERROR_SHIFT;
    vmcb->eventinj = inject;
}

/* A virtual interrupt that never reaches the guest: when it could, the exit by VINTR comes instead (15.21.4).
 */
void svm_request_window(struct vcpu *vcpu, bool wanted)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    /* There is one V_IRQ, and the interrupt on its way has it: what waits behind is looked at again at the
     * next exit. That is the end of this interrupt at the latest, unless its handler lets others in before
     * that.
     */
    if (virq_injects(vmcb)) {
        if (wanted)
            vcpu_note(vcpu, PEND_EVENT);
        return;
    }
    vmcb->vintr &= ~(VINTR_IRQ | VINTR_PRIO_MASK | VINTR_IGN_TPR);
    vmcb->intercept_3 &= ~(uint32_t)INTERCEPT_VINTR;
    if (wanted) {
        int held = vcpu->intc->held(vcpu->intc_context);

        /* What only the task priority holds back arrives when the guest lowers CR8. */
        vmcb->vintr |= VINTR_IRQ;
        vmcb->vintr |= held < 0 ? VINTR_PRIO_MASK | VINTR_IGN_TPR
                                : (((uint64_t)held >> 4) - svm_machine.vintr_inclusive) << VINTR_PRIO_SHIFT;
        vmcb->intercept_3 |= (uint32_t)INTERCEPT_VINTR;
    }
    vmcb->clean &= ~(uint32_t)(CLEAN_INTERCEPTS | CLEAN_TPR);
}

void svm_nmi_window(struct vcpu *vcpu, bool wanted)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    vmcb->intercept_3 = (uint32_t)(wanted ? vmcb->intercept_3 | INTERCEPT_IRET
                                          : vmcb->intercept_3 & ~INTERCEPT_IRET);
    vmcb->clean &= ~(uint32_t)CLEAN_INTERCEPTS;
}

void svm_set_cr8(struct vcpu *vcpu, uint8_t cr8)
{
    struct vmcb *vmcb = vmcb_of(vcpu);

    vmcb->vintr = (vmcb->vintr & ~VINTR_TPR_MASK) | cr8;
    vmcb->clean &= ~(uint32_t)CLEAN_TPR;
}
