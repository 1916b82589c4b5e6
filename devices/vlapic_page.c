/*
 * The virtual local APIC in page mode: the CPU owns TPR, PPR, ISR and IRR, in the virtual-APIC page. What it
 * does to them: Intel SDM vol. 3, chapter 30 (TPR, PPR and EOI virtualisation, virtual-interrupt delivery).
 *
 * Only the owner CPU touches the page, and not while the guest runs. Other CPUs read PPR there to arbitrate
 * (vlapic_bus.c), and may read an old value.
 */
#include "devices/vlapic.h"
#include "lib/string.h"

#define FIRST_VECTOR 16

/* In page mode `ppr` is such that no vector's class is above it: vlapic_take() finds none. */
#define PPR_OF_PAGE_MODE 0xffu

/* The registers that the page only mirrors, beside ICR: they change when they are written. */
static const uint16_t mirrored[] = {
    APIC_ID,        APIC_VERSION,   APIC_LDR,           APIC_DFR,         APIC_SVR,
    APIC_ESR,       APIC_LVT_TIMER, APIC_LVT_THERMAL,   APIC_LVT_PERF,    APIC_LVT_LINT0,
    APIC_LVT_LINT1, APIC_LVT_ERROR, APIC_TIMER_INITIAL, APIC_TIMER_DIVIDE
};

/* The highest vector in ISR or IRR, not above word `word` of its 8; 0 if there is none. */
static inline uint32_t highest(const uint32_t *page, uint32_t reg, unsigned word)
{
    const uint32_t *first = &page[reg / 4], *at = first + 4 * word;

    while (!*at && at != first)
        at -= 4;
    return *at ? (uint32_t)(at - first) * 8 + (31u ^ (uint32_t)__builtin_clz(*at)) : 0;
}

/* 64 vectors of ISR, TMR or IRR. */
static inline uint64_t get_word(const uint32_t *page, uint32_t reg, unsigned word)
{
    const uint32_t *low = &page[reg / 4 + 8 * word];

    return low[0] | (uint64_t)low[4] << 32;
}

static inline void set_word(uint32_t *page, uint32_t reg, unsigned word, uint64_t bits)
{
    uint32_t *low = &page[reg / 4 + 8 * word];

    low[0] = (uint32_t)bits;
    low[4] = (uint32_t)(bits >> 32);
}

/* --- Priorities --- */

/* SDM 30.1.3 */
static uint32_t priority(const uint32_t *page)
{
    uint32_t tpr = page[APIC_TPR / 4] & 0xff, in_service = highest(page, APIC_ISR, 7) & 0xf0;

    return tpr > in_service ? tpr : in_service;
}

static uint32_t highest_request(const struct vlapic *lapic)
{
    uint32_t vector = highest(lapic->page, APIC_IRR, 7);

    for (unsigned word = 4; word--;) {
        uint64_t irr = __atomic_load_n(&lapic->state.irr[word], __ATOMIC_RELAXED);

        if (irr) {
            uint32_t requested = word * 64 + (63u ^ (uint32_t)__builtin_clzll(irr));

            return requested > vector ? requested : vector;
        }
    }
    return vector;
}

int vlapic_page_highest(const struct vlapic *lapic)
{
    uint32_t vector = highest_request(lapic);

    return vector >> 4 > priority(lapic->page) >> 4 && vlapic_enabled(lapic) ? (int)vector : -1;
}

void vlapic_page_priorities(const struct vlapic *lapic, uint32_t *isr, uint32_t *irr)
{
    *isr = highest(lapic->page, APIC_ISR, 7) & 0xf0;
    *irr = highest_request(lapic) & 0xf0;
}

void vlapic_page_set_tpr(struct vlapic *lapic)
{
    lapic->page[APIC_TPR / 4] = lapic->state.tpr;
    lapic->page[APIC_PPR / 4] = priority(lapic->page);
    lapic->ppr = PPR_OF_PAGE_MODE;
}

/* --- End of interrupt --- */

void vlapic_eoi_done(struct vlapic *lapic, uint8_t vector)
{
    if (__atomic_load_n(&lapic->state.tmr[vector / 64], __ATOMIC_RELAXED) & BIT(vector % 64))
        vlapic_end_level(lapic, vector);
}

void vlapic_page_end(struct vlapic *lapic)
{
    uint32_t vector = highest(lapic->page, APIC_ISR, 7);

    if (!vector)
        return;
    lapic->page[APIC_ISR / 4 + 4 * (vector / 32)] &= ~(1u << vector % 32);
    lapic->page[APIC_PPR / 4] = priority(lapic->page);
    vlapic_eoi_done(lapic, (uint8_t)vector);
    lapic->up->interrupt(lapic->vcpu); /* the CPU's copy of the highest vector in service is to change */
}

/* --- Before an entry --- */

static inline void hand_over(struct vlapic *lapic, unsigned word)
{
    uint64_t irr = __atomic_exchange_n(&lapic->state.irr[word], 0, __ATOMIC_SEQ_CST);
    uint32_t *low = &lapic->page[APIC_IRR / 4 + 8 * word];

    low[0] |= (uint32_t)irr;
    low[4] |= (uint32_t)(irr >> 32);
}

static __cold void show_tmr(struct vlapic *lapic)
{
    for (unsigned word = 0; word < ARRAY_SIZE(lapic->page_tmr); word++) {
        uint64_t tmr = __atomic_load_n(&lapic->state.tmr[word], __ATOMIC_SEQ_CST);

        lapic->page_tmr[word] = tmr;
        set_word(lapic->page, APIC_TMR, word, tmr);
    }
    lapic->tmr_changed = true;
}

static inline void follow_tmr(struct vlapic *lapic)
{
    const uint64_t *tmr = lapic->state.tmr, *shown = lapic->page_tmr;

    if (unlikely((tmr[0] ^ shown[0]) | (tmr[1] ^ shown[1]) | (tmr[2] ^ shown[2]) | (tmr[3] ^ shown[3])))
        show_tmr(lapic);
}

/* Remote IRR of the LINT pins is seen in their LVT entries. */
static __cold void show_lint(struct vlapic *lapic)
{
    lapic->page_lint = __atomic_load_n(&lapic->state.lint, __ATOMIC_SEQ_CST) & VLAPIC_LINT_REMOTES;
    vlapic_page_show(lapic, APIC_LVT_LINT0);
    vlapic_page_show(lapic, APIC_LVT_LINT1);
}

struct vlapic_status vlapic_sync(struct vlapic *lapic)
{
    const uint32_t *page = lapic->page;
    uint32_t ppr = page[APIC_PPR / 4];
    uint32_t marks = __atomic_load_n(&lapic->irr_any, __ATOMIC_ACQUIRE) & ~0xffu;

    if (lapic->state.irr[0]) /* whose mark is always set */
        hand_over(lapic, 0);
    for (; marks; marks &= marks - 1) {
        unsigned word = (unsigned)__builtin_ctz(marks) / 8;

        /* In this order: a request sets the bit, then the mark. */
        __atomic_store_n(&lapic->irr_used[word], 0, __ATOMIC_RELAXED);
        hand_over(lapic, word);
    }
    follow_tmr(lapic);
    if (unlikely((lapic->state.lint & VLAPIC_LINT_REMOTES) != lapic->page_lint))
        show_lint(lapic);
    /* PPR's class is at least that of what is in service, so no word of ISR above it is in use. */
    return (struct vlapic_status){ .rvi = (uint8_t)highest(page, APIC_IRR, 7),
                                   .svi = ppr < FIRST_VECTOR
                                              ? 0
                                              : (uint8_t)highest(page, APIC_ISR, ppr >> 5 & 7) };
}

bool vlapic_level_vectors(struct vlapic *lapic, uint64_t bitmap[4])
{
    follow_tmr(lapic);
    if (likely(!lapic->tmr_changed))
        return false;
    lapic->tmr_changed = false;
    for (unsigned word = 0; word < ARRAY_SIZE(lapic->page_tmr); word++)
        bitmap[word] = lapic->page_tmr[word];
    return true;
}

/* --- The mirror --- */

void vlapic_page_ipi(struct vlapic *lapic)
{
    vlapic_page_show(lapic, APIC_ICR);
    vlapic_send_ipi(lapic);
}

uint64_t vlapic_page_icr(const struct vlapic *lapic)
{
    return (uint64_t)(lapic->page[APIC_ICR_HIGH / 4] & 0xff000000) << 32 |
           (lapic->page[APIC_ICR / 4] & VLAPIC_ICR_LOW);
}

/*
 * In xAPIC mode the page is ICR's owner: a self-IPI is done by the CPU alone. The CPU's RDMSR of x2APIC mode
 * reads 64 bits at 0x300 (SDM 30.5); 0x310 has the high half in either mode.
 */
static void show_icr(struct vlapic *lapic)
{
    lapic->page[APIC_ICR / 4] = (uint32_t)lapic->state.icr;
    lapic->page[APIC_ICR_HIGH / 4] = (uint32_t)(lapic->state.icr >> 32);
    lapic->page[APIC_ICR / 4 + 1] = vlapic_x2apic(lapic) ? (uint32_t)(lapic->state.icr >> 32) : 0;
}

void vlapic_page_show(struct vlapic *lapic, uint32_t reg)
{
    uint32_t value = 0; /* of what cannot be read */

    switch (reg) {
    case APIC_ICR:
    case APIC_ICR_HIGH:
        show_icr(lapic);
        return;
    case APIC_DFR:
        value = lapic->state.dfr;
        break;
    default:
        (void)vlapic_read_register(lapic, reg, &value);
        break;
    }
    lapic->page[reg / 4] = value;
}

void vlapic_page_show_all(struct vlapic *lapic)
{
    for (unsigned i = 0; i < ARRAY_SIZE(mirrored); i++)
        vlapic_page_show(lapic, mirrored[i]);
}

static bool is_mirrored(uint32_t reg)
{
    for (unsigned i = 0; i < ARRAY_SIZE(mirrored); i++)
        if (mirrored[i] == reg)
            return true;
    return false;
}

void vlapic_page_written(struct vlapic *lapic, uint32_t offset)
{
    uint32_t reg = offset & 0xff0, value;

    if (!lapic->page)
        return;
    value = lapic->page[reg / 4];
    if (!vlapic_x2apic(lapic))
        vlapic_write(lapic, reg, 4, value);
    else if (reg == APIC_SELF_IPI && (value & 0xff) < FIRST_VECTOR) /* the CPU does the legal ones itself */
        vlapic_error(lapic, APIC_ESR_SEND_VECTOR);
    if (is_mirrored(reg))
        vlapic_page_show(lapic, reg);
    else if (reg == APIC_EOI || reg == APIC_SELF_IPI)
        lapic->page[reg / 4] = 0;
}

/* --- Giving the registers to the CPU, and taking them back --- */

/* The one vector that each class can have in service, SDM 30.2.2: only one above PPR's class is delivered. */
static void pull_isr(const uint32_t *page, uint8_t isr[16])
{
    for (uint32_t class = 0; class < 16; class ++) {
        uint32_t bits = page[APIC_ISR / 4 + 4 * (class / 2)] >> class % 2 * 16 & 0xffff;

        isr[class] = class && bits ? (uint8_t)(class << 4 | (31u ^ (uint32_t)__builtin_clz(bits))) : 0;
    }
}

void vlapic_page_pull(const struct vlapic *lapic, struct vlapic_state *state)
{
    const uint32_t *page = lapic->page;

    state->tpr = page[APIC_TPR / 4] & 0xff;
    state->icr = vlapic_icr(lapic);
    pull_isr(page, state->isr);
    for (unsigned word = 0; word < ARRAY_SIZE(state->irr); word++)
        __atomic_fetch_or(&state->irr[word], get_word(page, APIC_IRR, word), __ATOMIC_SEQ_CST);
    __atomic_fetch_and(&state->irr[0], UINT64_MAX << FIRST_VECTOR, __ATOMIC_SEQ_CST);
}

void vlapic_detach(struct vlapic *lapic)
{
    if (!lapic->page)
        return;
    vlapic_page_pull(lapic, &lapic->state);
    __atomic_store_n(&lapic->page, NULL, __ATOMIC_RELAXED);
    vlapic_derive(lapic);
    lapic->up->priority(lapic->vcpu, vlapic_cr8(lapic));
    lapic->up->interrupt(lapic->vcpu);
}

static void push(struct vlapic *lapic, uint32_t *page)
{
    struct vlapic_state *state = &lapic->state;

    memset(page, 0, PAGE_SIZE);
    page[APIC_TPR / 4] = state->tpr;
    for (unsigned class = 1; class < ARRAY_SIZE(state->isr); class ++)
        if (state->isr[class])
            page[APIC_ISR / 4 + 4 * (class / 2)] |= 1u << state->isr[class] % 32;
    for (unsigned class = 0; class < ARRAY_SIZE(state->isr); class ++)
        state->isr[class] = 0;
    page[APIC_PPR / 4] = priority(page);
}

void vlapic_attach(struct vlapic *lapic, uint32_t *page)
{
    vlapic_detach(lapic);
    vlapic_eoi_settle(lapic);
    push(lapic, page);
    lapic->isr_classes = 1; /* nothing is in service here: an end of interrupt looks at the page */
    lapic->ppr = PPR_OF_PAGE_MODE;
    __atomic_store_n(&lapic->page, page, __ATOMIC_RELEASE);
    __atomic_store_n(&lapic->irr_used[0], 1, __ATOMIC_SEQ_CST);
    for (unsigned word = 0; word < ARRAY_SIZE(lapic->state.irr); word++)
        hand_over(lapic, word);
    show_icr(lapic); /* before vlapic_icr() looks there */
    vlapic_page_show_all(lapic);
    show_tmr(lapic);
    show_lint(lapic);
    lapic->up->interrupt(lapic->vcpu);
}
