/* What a vCPU asks of its interrupt controller, which is a device model and stands above vmx/. */
#pragma once

#include "lib/types.h"

/* The guest interrupt status (SDM vol. 3, 25.4.2): the highest vector requested, and in service; 0: none. */
struct vcpu_interrupt_status {
    uint8_t rvi, svi;
};

struct vcpu_intc {
    /* True if take() would give a vector. */
    bool (*pending)(void *context);
    /* The vCPU takes an interrupt: the vector to deliver, from now on in service; -1: there is none. */
    int (*take)(void *context);
    /* The guest wrote CR8: the task priority, 0 to 15. */
    void (*set_cr8)(void *context, uint8_t cr8);
    /* The highest vector that waits and that only the task priority holds back; -1: none. */
    int (*held)(void *context);
    /* IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC. -EINVAL: the guest gets #GP(0). */
    int (*msr_read)(void *context, uint32_t msr, uint64_t *value);
    int (*msr_write)(void *context, uint32_t msr, uint64_t value);
    /* The registers in xAPIC mode, at `offset` 0 to 0xfff of their page. */
    uint64_t (*read)(void *context, uint32_t offset, unsigned size);
    void (*write)(void *context, uint32_t offset, unsigned size, uint64_t value);
    /* Sends an IPI to the local APIC `id`; `icr`: mode and vector, as in ICR's low half. True if it took it.
     */
    bool (*send)(void *context, uint32_t id, uint32_t icr);
    /* Paravirtual EOI by an aligned word of guest memory; NULL: not any more. INIT and reset end it. */
    void (*set_eoi_word)(void *context, uint32_t *word);
    /* Whether that word lies in the `size` bytes at `host`. While the vCPU is off the CPUs. */
    bool (*uses)(void *context, const uint8_t *host, size_t size);
    /* PEND_TIMER was posted. */
    void (*timer_due)(void *context);
    /* The vCPU was reset by INIT. */
    void (*reset)(void *context);

    /*
     * For a CPU that delivers the local APIC's interrupts itself, from a virtual-APIC page (SDM vol. 3,
     * chapter 30). While a page is attached take() gives what the 8259 has, held() nothing, and pending()
     * answers from the page as well. The page may be touched only while the guest does not run.
     */

    /* Gives TPR, PPR, ISR and IRR to the page, and the other registers a mirror there; NULL takes them back.
     * A reset of the local APIC takes the page away, too. */
    void (*attach)(void *context, uint32_t *page);
    /* What was requested goes to the page; before each entry that finds PEND_EVENT. */
    void (*sync)(void *context, struct vcpu_interrupt_status *out);
    /* After sync(): true if the set of level-triggered vectors is another one than when asked last, or was
     * not asked for since attach(); bit per vector. */
    bool (*level_vectors)(void *context, uint64_t bitmap[4]);
    /* An APIC-write exit: the guest wrote to the page at `offset`, 0 to 0xfff. */
    void (*page_written)(void *context, uint32_t offset);
    /* An EOI-induced exit: the CPU has ended this vector. */
    void (*eoi_done)(void *context, uint8_t vector);
    /* True if the 8259 has an interrupt for this vCPU and the local APIC lets it pass. */
    bool (*external)(void *context);
};
