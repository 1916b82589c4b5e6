/*
 * Paravirtual end of interrupt: a promise in a word of the guest's memory that spares it an exit. The word is
 * hostile: any vCPU of the guest may write anything there at any time, and it is only asked whether bit 0 is
 * set.
 */
#include "devices/vlapic.h"

#define EOI_WORD_SET 1u

void vlapic_eoi_promise(struct vlapic *lapic, uint8_t vector)
{
    /* A request that comes from now on makes the vCPU look again before it is entered, or ends its run. */
    if (lapic->irr_any || (lapic->state.tmr[vector / 64] & BIT(vector % 64)))
        return;
    __atomic_fetch_or(lapic->eoi_word, EOI_WORD_SET, __ATOMIC_SEQ_CST);
    lapic->promised_classes = lapic->isr_classes;
    lapic->isr_classes = 1;
}

/* No promise is left. True if the guest made use of it. */
static bool take_back(struct vlapic *lapic)
{
    lapic->isr_classes = lapic->promised_classes;
    lapic->promised_classes = 0;
    return !(__atomic_fetch_and(lapic->eoi_word, ~EOI_WORD_SET, __ATOMIC_SEQ_CST) & EOI_WORD_SET);
}

void vlapic_eoi_look(struct vlapic *lapic)
{
    if (take_back(lapic))
        vlapic_end_class(lapic, vlapic_highest_class(lapic));
    else
        vlapic_update_ppr(lapic); /* which a change of TPR may have made without what was hidden */
}

void vlapic_eoi_withdraw(struct vlapic *lapic)
{
    if (lapic->promised_classes)
        (void)take_back(lapic);
}

void vlapic_set_eoi_word(struct vlapic *lapic, uint32_t *word)
{
    vlapic_eoi_settle(lapic);
    lapic->eoi_word = word;
}
