/*
 * The virtual local APIC, xAPIC (a page of registers) and x2APIC (MSRs). Intel SDM vol. 3, chapter 11; AMD
 * APM vol. 2, 16.
 *
 * It belongs to the CPU that runs its vCPU, and so does every function here; only vlapic_bus_send() and
 * vlapic_lint() may come from any CPU: what they change (IRR, TMR, errors, LINT pins) is changed by atomic
 * operations.
 *
 * In page mode (below) a CPU with virtual-interrupt delivery owns some of its registers.
 *
 * Offered: version 0x14, six LVT entries, no EOI-broadcast suppression (the I/O APIC is one without an EOI
 * register), fixed id. Not modelled: moving the register page, SMI, ExtINT messages, remote read.
 */
#pragma once

#include "lib/types.h"
#include "hw/apic.h"
#include "vmx/vclock.h"
#include "devices/vlapic_bus.h"
#include "devices/vlapic_timer.h"

/* LVT entries in the order of their registers. */
enum vlapic_lvt {
    VLAPIC_TIMER,
    VLAPIC_THERMAL,
    VLAPIC_PERF,
    VLAPIC_LINT0,
    VLAPIC_LINT1,
    VLAPIC_ERROR,
    VLAPIC_LVT_COUNT,
};

/* Calls up to the vCPU, which only note what is to be done: the vCPU may be running on another CPU. */
struct vlapic_up {
    void (*interrupt)(void *vcpu); /* something may have become deliverable: look again before entry */
    void (*priority)(void *vcpu, uint8_t cr8); /* its own register write changed the task priority */
    void (*nmi)(void *vcpu);
    void (*init)(void *vcpu); /* the vCPU's CPU then calls vlapic_init_signal() */
    void (*startup)(void *vcpu, uint8_t vector);
    /* The timer is due, on whichever CPU it was armed: vlapic_timer_due() is to be called on the vCPU's, at
     * once if that is this one. NULL: it always is. */
    void (*timer)(void *vcpu);
    /* The guest switched the APIC on, off or to x2APIC mode, or its registers were reset or loaded as a
     * whole. The last call of such a change, which finds all of the new state. On the vCPU's CPU. */
    void (*mode)(void *vcpu);
};

struct vlapic_state {
    uint64_t base;           /* IA32_APIC_BASE */
    uint64_t irr[4];         /* bit per vector; any CPU sets, the owner clears */
    uint64_t tmr[4];         /* bit per vector: level-triggered when accepted; any CPU */
    uint64_t icr;            /* both halves, as in x2APIC mode */
    uint64_t tsc_deadline;   /* guest TSC; 0: not armed */
    uint64_t timer_deadline; /* guest ns at which the count reaches 0; 0: the count is 0 */
    uint32_t initial_count;
    uint32_t divide;
    uint32_t ldr; /* xAPIC mode; that of x2APIC mode follows from the id */
    uint32_t dfr;
    uint32_t svr;
    uint32_t esr;
    uint32_t errors; /* since ESR was written last; any CPU */
    uint32_t lint;   /* VLAPIC_LINT_; any CPU */
    uint32_t lvt[VLAPIC_LVT_COUNT];
    uint32_t tpr;
    /*
     * The in-service vector of each priority class (vector >> 4), 0 if there is none. There is never a second
     * one: only a class above all that are in service is deliverable.
     */
    uint8_t isr[16];
};

/* Level of input pin n, and remote IRR of its LVT entry. */
#define VLAPIC_LINT_PIN(n)    (1u << (n))
#define VLAPIC_LINT_REMOTE(n) (4u << (n))
#define VLAPIC_LINT_PINS      (VLAPIC_LINT_PIN(0) | VLAPIC_LINT_PIN(1))
#define VLAPIC_LINT_REMOTES   (VLAPIC_LINT_REMOTE(0) | VLAPIC_LINT_REMOTE(1))

struct vlapic {
    /* What the state implies, ready for the hot paths. */
    union {
        uint32_t irr_any;    /* 0: no requests at all */
        uint8_t irr_used[4]; /* 1 if irr[n] may be non-zero, and surely if it is; any CPU sets, the owner
                                clears */
    };
    uint32_t isr_classes; /* bit n set if isr[n] is in use; bit 0 always, so that there is a highest one */
    uint32_t ppr;
    /*
     * Paravirtual EOI. While the guest may end the highest vector in service by its word, isr_classes is 1,
     * so that a write to the EOI register finds nothing at first, and this holds what it was; 0: it may not.
     */
    uint32_t promised_classes;
    uint32_t *eoi_word; /* in guest memory; NULL: not in use */

    uint32_t id;
    uint32_t *page; /* page mode: the virtual-APIC page; NULL: all registers are in `state` */
    const struct vlapic_up *up;
    void *vcpu;
    struct vlapic_bus *bus;
    struct vtimer timer;
    struct vlapic_state state;
    /* Page mode: what the page shows of TMR, and of the pins' remote IRR. */
    uint64_t page_tmr[4];
    uint32_t page_lint;
    bool tmr_changed; /* page_tmr did, since vlapic_level_vectors() was asked last */
};

/* Puts it on the bus, in power-on state. id: 0 to VLAPIC_BUS_MAX - 1; that of the boot processor is 0. */
void vlapic_init(struct vlapic *lapic, struct vlapic_bus *bus, uint32_t id, const struct vlapic_up *up,
                 void *vcpu, const struct vclock *clock, struct timer_queue *queue);

/* Power-on: enabled in xAPIC mode, software-disabled, everything masked. */
void vlapic_reset(struct vlapic *lapic);

/*
 * After vlapic_reset(), on the first CPU: the APIC as a PC's firmware hands it to the system, enabled and
 * with the 8259's output passing through LINT0 ("virtual wire mode", MultiProcessor
 * Specification 1.4, 3.6.2.2). LINT1 brings NMIs.
 */
void vlapic_virtual_wire(struct vlapic *lapic);

/* INIT was received: as power-on, but the mode stays (SDM 11.4.7.3 and 11.12.5.1). */
void vlapic_init_signal(struct vlapic *lapic);

/* The 4 KiB page of xAPIC mode: 32-bit accesses at multiples of 16. In other modes it is not there. */
uint64_t vlapic_read(void *lapic, uint32_t offset, unsigned size);
void vlapic_write(void *lapic, uint32_t offset, unsigned size, uint64_t value);

/* IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC's 0x800 to 0x8ff. -EINVAL: the guest gets #GP. */
int vlapic_msr_read(void *lapic, uint32_t msr, uint64_t *value) __must_check;
int vlapic_msr_write(void *lapic, uint32_t msr, uint64_t value) __must_check;

/* The part of vlapic_pending() for when there are requests. */
int vlapic_highest(struct vlapic *lapic);

/* The highest vector that is deliverable now, its class above PPR's; -1 if there is none. */
static inline int vlapic_pending(struct vlapic *lapic)
{
    if (likely(!__atomic_load_n(&lapic->irr_any, __ATOMIC_RELAXED)))
        return -1;
    return vlapic_highest(lapic);
}

/* The vCPU takes that vector: from IRR to ISR. In page mode, where the CPU does that, always -1. */
int vlapic_take(struct vlapic *lapic);

/* The highest vector that would be deliverable if the task priority were 0, and is not; -1 if there is none,
 * and in page mode, where the CPU sees to it. */
int vlapic_held(struct vlapic *lapic);

/* True if the 8259's INTR reaches this CPU: the APIC is off, or LINT0 is unmasked in ExtINT mode. */
bool vlapic_takes_extint(const struct vlapic *lapic);

/* CR8 is TPR[7:4] (SDM 11.8.6). */
uint8_t vlapic_cr8(const struct vlapic *lapic);

void vlapic_set_cr8(struct vlapic *lapic, uint8_t cr8);

/* Input pin LINT0 or LINT1 is asserted or released; the LVT entry's polarity does not matter. Any CPU. */
void vlapic_lint(struct vlapic *lapic, unsigned n, bool level);

/* A promise by the word of paravirtual EOI is taken back first: the word is no part of the state. */
void vlapic_save(struct vlapic *lapic, struct vlapic_state *out);
int vlapic_check(const struct vlapic_state *state) __must_check;
void vlapic_load(struct vlapic *lapic, const struct vlapic_state *state);

/*
 * KVM's paravirtual EOI (Linux, Documentation/virt/kvm/x86/msr.rst, MSR_KVM_EOI_EN). `word`: 4 bytes of guest
 * memory, aligned, there until the next call or reset; NULL: no longer. Bit 0 set by vlapic_take() says
 * that the guest may clear it instead of writing the EOI register: the vector is edge-triggered and no
 * request waits behind it. What the guest did is looked up when next it matters. INIT and reset end it; not
 * in page mode.
 */
void vlapic_set_eoi_word(struct vlapic *lapic, uint32_t *word);

/*
 * --- Page mode ---
 * With "virtual-interrupt delivery" (SDM vol. 3, chapter 30) the CPU owns TPR, PPR, ISR and IRR, in the 4 KiB
 * virtual-APIC page: each register at its offset in the page, in xAPIC and x2APIC mode alike. The page also
 * shows the other registers that can be read, but for the timer's current count. Requests still go to
 * `state`, from any CPU, until vlapic_sync() hands them over. All functions: vCPU's CPU only, while the guest
 * does not run.
 */

/* Gives the registers to `page`, whose content is replaced; it must be there until page mode ends. Calls
 * `interrupt`, since what waits is to be handed over. */
void vlapic_attach(struct vlapic *lapic, uint32_t *page);

/* Takes the registers back, and calls `priority` and `interrupt`. Without a page: nothing. A reset or a load
 * ends page mode as well, and what the page has is then lost. */
void vlapic_detach(struct vlapic *lapic);

/* The guest interrupt status (SDM 25.4.2): the highest vector requested, the highest in service; 0: none. */
struct vlapic_status {
    uint8_t rvi, svi;
};

/* Hands the requests over to the page; to be called when `interrupt` was. */
struct vlapic_status vlapic_sync(struct vlapic *lapic);

/* True if the level-triggered vectors (TMR), whose end the CPU is to report, are others than when it was
 * asked last, or it was not asked since vlapic_attach(); then `bitmap` has them. To be called after
 * vlapic_sync(), so that it covers all that was handed over. */
bool vlapic_level_vectors(struct vlapic *lapic, uint64_t bitmap[4]);

/* The guest wrote to the page at `offset`, and the CPU did no more (APIC-write exit, SDM 30.4.3.3). */
void vlapic_page_written(struct vlapic *lapic, uint32_t offset);

/* The CPU ended `vector` (EOI-induced exit, SDM 30.1.4): what else the end of a level-triggered one needs. */
void vlapic_eoi_done(struct vlapic *lapic, uint8_t vector);

/* --- Between the files of the local APIC --- */

static inline bool vlapic_enabled(const struct vlapic *lapic)
{
    return lapic->state.base & APIC_BASE_EN;
}

static inline bool vlapic_x2apic(const struct vlapic *lapic)
{
    return lapic->state.base & APIC_BASE_EXTD;
}

/* The highest priority class in service, 0 if there is none: vectors of class 0 are illegal. */
static inline unsigned vlapic_highest_class(const struct vlapic *lapic)
{
    return 31u ^ (unsigned)__builtin_clz(lapic->isr_classes);
}

/* SDM 11.8.3.1. The low half is TPR's where TPR's class is the higher one or they are equal. */
static inline void vlapic_update_ppr(struct vlapic *lapic)
{
    uint32_t in_service = vlapic_highest_class(lapic) << 4;

    lapic->ppr = lapic->state.tpr > in_service ? lapic->state.tpr : in_service;
}

/* vlapic_eoi.c. The vector just accepted may end by the word, if it can. */
void vlapic_eoi_promise(struct vlapic *lapic, uint8_t vector);
/* The guest did end it, or is to write the register. */
void vlapic_eoi_look(struct vlapic *lapic);
/* The registers are to be replaced: the guest is to write the register. */
void vlapic_eoi_withdraw(struct vlapic *lapic);

/* Before ISR, or what follows from it, is used or changed. */
static inline void vlapic_eoi_settle(struct vlapic *lapic)
{
    if (unlikely(lapic->promised_classes))
        vlapic_eoi_look(lapic);
}

/* A fixed interrupt arrives: into IRR, or into the ESR if the vector is below 16. Any CPU. */
void vlapic_request(struct vlapic *lapic, uint8_t vector, bool level);

/* Notes an APIC_ESR_ error and raises the error interrupt if it is a new one. Any CPU. */
void vlapic_error(struct vlapic *lapic, uint32_t error);

/* The rest of an end of interrupt, for a level-triggered vector. */
void vlapic_end_level(struct vlapic *lapic, uint8_t vector);

/* The end of a class in service, other than 0. Not in page mode. */
static __always_inline void vlapic_end_class(struct vlapic *lapic, unsigned class)
{
    unsigned vector = lapic->state.isr[class];

    lapic->isr_classes ^= 1u << class;
    lapic->state.isr[class] = 0;
    vlapic_update_ppr(lapic);
    if (unlikely(lapic->state.tmr[vector / 64] & BIT(vector % 64)))
        vlapic_end_level(lapic, (uint8_t)vector);
    else if (lapic->irr_any)
        lapic->up->interrupt(lapic->vcpu);
}

void vlapic_set_tpr(struct vlapic *lapic, uint32_t tpr);

/* What the state implies, after it was changed as a whole. */
void vlapic_derive(struct vlapic *lapic);

/* A register that both modes have, by its offset. False: there is none that can be read. */
bool vlapic_read_register(struct vlapic *lapic, uint32_t reg, uint32_t *value);

/* Power-on values; IA32_APIC_BASE and the levels of the LINT pins are not among them. Ends page mode. */
void vlapic_reset_registers(struct vlapic *lapic);

/* The LVT entry of pin n was written, or its level-triggered interrupt ended: looks at the pin again. */
void vlapic_lint_review(struct vlapic *lapic, unsigned n);

/* The bits of ICR's low half that software can write. */
#define VLAPIC_ICR_LOW                                                                                       \
    (APIC_ICR_VECTOR | APIC_ICR_MODE | APIC_ICR_LOGICAL | APIC_ICR_ASSERT | APIC_ICR_LEVEL |                 \
     APIC_ICR_SHORTHAND)

/* vlapic_page.c; all for page mode only. */
int vlapic_page_highest(const struct vlapic *lapic);
void vlapic_page_end(struct vlapic *lapic);     /* the highest vector in service */
void vlapic_page_set_tpr(struct vlapic *lapic); /* to state.tpr */
void vlapic_page_ipi(struct vlapic *lapic);     /* ICR was written in x2APIC mode: shows and executes it */
void vlapic_page_priorities(const struct vlapic *lapic, uint32_t *isr,
                            uint32_t *irr); /* highest classes, << 4 */
uint64_t vlapic_page_icr(const struct vlapic *lapic);
void vlapic_page_pull(const struct vlapic *lapic, struct vlapic_state *state); /* what the page owns */
void vlapic_page_show(struct vlapic *lapic, uint32_t reg); /* a register was written that is mirrored */
void vlapic_page_show_all(struct vlapic *lapic);

static inline void vlapic_show(struct vlapic *lapic, uint32_t reg)
{
    if (unlikely(lapic->page))
        vlapic_page_show(lapic, reg);
}

static inline uint64_t vlapic_icr(const struct vlapic *lapic)
{
    if (unlikely(lapic->page) && !vlapic_x2apic(lapic))
        return vlapic_page_icr(lapic);
    return lapic->state.icr;
}
