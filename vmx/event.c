/*
 * Events for the guest: which one is injected at the next entry. The order is the CPU's own: an interrupted
 * delivery or an exception, then NMI, then interrupts. Source: AMD APM vol. 2, 8.2.9, 8.5 and 15.20 to 15.21.
 */
#include "vmx/vcpu.h"

static bool is_contributory(uint8_t vector)
{
    return vector == 0 || (vector >= 10 && vector <= 13);
}

/* Two exceptions in one delivery: handled in series, or together as a double fault (APM vol. 2, table 8-2).
 */
static bool makes_double_fault(uint8_t first, uint8_t second)
{
    if (first == VECTOR_PF)
        return second == VECTOR_PF || is_contributory(second);
    return is_contributory(first) && is_contributory(second);
}

void vcpu_raise(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error)
{
    const struct vcpu_event *first = &vcpu->event;

    if (first->valid && first->type == EVENT_EXCEPTION) {
        if (first->vector == VECTOR_DF) {
            vm_die(vcpu->vm, "triple fault: exception %u while vCPU %u delivered a double fault", vector,
                   vcpu->index);
            return;
        }
        if (makes_double_fault(first->vector, vector)) {
            vector = VECTOR_DF;
            has_error = true;
            error = 0;
        }
    }
    vcpu->event = (struct vcpu_event){
        .valid = true, .type = EVENT_EXCEPTION, .vector = vector, .has_error = has_error, .error = error
    };
    vcpu_note(vcpu, PEND_EVENT);
}

void vcpu_raise_pf(struct vcpu *vcpu, uint64_t cr2, uint32_t error)
{
    vmx_ops->set_cr2(vcpu, cr2);
    vcpu_raise(vcpu, VECTOR_PF, true, error);
}

void vcpu_completed(struct vcpu *vcpu)
{
    vcpu->rflags &= ~RFLAGS_RF;
    if (!(vcpu->rflags & RFLAGS_TF) || vcpu->event.valid)
        return;
    vmx_ops->set_dr6(vcpu, BIT(14));
    vcpu_raise(vcpu, VECTOR_DB, false, 0);
}

static void set_window(struct vcpu *vcpu, bool wanted)
{
    vmx_ops->window(vcpu, wanted);
    vcpu->window = wanted;
}

static inline void record(struct vcpu *vcpu, enum event_type type, uint8_t vector)
{
    recorder_note(vcpu->cpu, RECORD_INJECT, (uint8_t)type, vcpu->exit.whose, vector, vcpu->rip);
}

static void inject(struct vcpu *vcpu, const struct vcpu_event *event)
{
    record(vcpu, event->type, event->vector);
    vmx_ops->inject(vcpu, event);
}

static __cold void inject_first(struct vcpu *vcpu)
{
    vcpu->event.valid = false;
    vcpu->shadow = 0; /* it covers the next instruction only, and that has just ended in this */
    inject(vcpu, &vcpu->event);
}

static __cold void inject_nmi(struct vcpu *vcpu)
{
    static const struct vcpu_event nmi = { .valid = true, .type = EVENT_NMI, .vector = 2 };

    vcpu_done(vcpu, PEND_NMI);
    vcpu->nmi_masked = true;
    vmx_ops->nmi_window(vcpu, true);
    inject(vcpu, &nmi);
}

/* What comes before interrupts. False if there is nothing, or the guest cannot take it now. */
static __always_inline bool inject_urgent(struct vcpu *vcpu)
{
    if (unlikely(vcpu->event.valid)) {
        inject_first(vcpu);
        return true;
    }
    if (unlikely(vcpu->pending & PEND_NMI) && !vcpu->nmi_masked && !(vcpu->shadow & 1)) {
        inject_nmi(vcpu);
        return true;
    }
    return false;
}

/* The highest interrupt, if the guest can take one. */
static __always_inline bool inject_interrupt(struct vcpu *vcpu)
{
    int vector;

    if (!(vcpu->rflags & RFLAGS_IF) || (vcpu->shadow & 1))
        return false;
    vector = vcpu->intc->take(vcpu->intc_context);
    if (vector < 0)
        return false;
    record(vcpu, EVENT_INTERRUPT, (uint8_t)vector);
    vmx_ops->inject_interrupt(vcpu, (uint8_t)vector);
    return true;
}

/* The CPU takes what the APIC has; left are exceptions, NMIs and the 8259s' interrupts. */
static __attribute__((noinline)) void deliver_beside_apic(struct vcpu *vcpu)
{
    bool more;

    vmx_ops->apic_sync(vcpu);
    if (!inject_urgent(vcpu) && unlikely(vcpu->intc->external(vcpu->intc_context)))
        inject_interrupt(vcpu);
    more = vcpu->intc->external(vcpu->intc_context);
    if (unlikely(more || vcpu->window))
        set_window(vcpu, more);
}

void event_deliver(struct vcpu *vcpu)
{
    bool more;

    vcpu_done(vcpu, PEND_EVENT);
    if (vcpu->virtual_apic) {
        deliver_beside_apic(vcpu);
        return;
    }
    if (!inject_urgent(vcpu) && inject_interrupt(vcpu))
        more = vcpu->intc->external(vcpu->intc_context); /* the APIC's others wait for the end of this */
    else
        more = vcpu->intc->pending(vcpu->intc_context) || vcpu->intc->held(vcpu->intc_context) >= 0;
    if (unlikely(more || vcpu->window))
        set_window(vcpu, more);
}

/*
 * The guest is about to execute the IRET of its NMI handler. Without another NMI waiting nothing more is to
 * be done; else that one may come only behind the IRET, so step over it.
 */
void event_iret(struct vcpu *vcpu)
{
    vmx_ops->nmi_window(vcpu, false);
    if (vcpu->pending & PEND_NMI) {
        vcpu->nmi_stepping = true;
        vcpu->rflags |= RFLAGS_TF | RFLAGS_RF;
    } else {
        vcpu->nmi_masked = false;
    }
}

/* The guest has left its NMI handler. */
void event_nmi_window(struct vcpu *vcpu)
{
    vmx_ops->nmi_window(vcpu, false);
    vcpu->nmi_masked = false;
    vcpu_note(vcpu, PEND_EVENT);
}

/* True if the #DB at hand was the end of that step, and not the guest's. TF is again what the IRET took from
 * the guest's stack. */
bool event_step_done(struct vcpu *vcpu)
{
    if (!vcpu->nmi_stepping)
        return false;
    vcpu->nmi_stepping = false;
    vcpu->nmi_masked = false;
    return true;
}
