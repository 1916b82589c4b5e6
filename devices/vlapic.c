/* The virtual local APIC: requests, priorities, pins, whole states. Its registers: vlapic_regs.c. */
#include "devices/vlapic.h"
#include "lib/errno.h"

#define FIRST_VECTOR 16 /* vectors 0 to 15 are illegal, SDM 11.5.2 */

/* --- Requests and priorities --- */

static void look_again(struct vlapic *lapic)
{
    lapic->up->interrupt(lapic->vcpu);
}

void vlapic_error(struct vlapic *lapic, uint32_t error)
{
    uint32_t lvt = lapic->state.lvt[VLAPIC_ERROR];

    if (__atomic_fetch_or(&lapic->state.errors, error, __ATOMIC_SEQ_CST) & error)
        return; /* also ends the recursion when the error interrupt's own vector is illegal */
    if (!(lvt & APIC_LVT_MASKED))
        vlapic_request(lapic, (uint8_t)lvt, false);
}

void vlapic_request(struct vlapic *lapic, uint8_t vector, bool level)
{
    unsigned n = vector, word = n / 64;
    uint64_t bit = BIT(n % 64);

    if (unlikely(n < FIRST_VECTOR)) {
        vlapic_error(lapic, APIC_ESR_RECEIVE_VECTOR);
        return;
    }
    if (unlikely(level))
        __atomic_fetch_or(&lapic->state.tmr[word], bit, __ATOMIC_SEQ_CST);
    else if (unlikely(lapic->state.tmr[word] >> n % 64 & 1))
        __atomic_fetch_and(&lapic->state.tmr[word], ~bit, __ATOMIC_SEQ_CST);
    if (__atomic_fetch_or(&lapic->state.irr[word], bit, __ATOMIC_SEQ_CST) & bit)
        return; /* whoever set it has told the vCPU */
    __atomic_store_n(&lapic->irr_used[word], 1, __ATOMIC_RELEASE);
    look_again(lapic);
}

/* Marks irr[word] by what it holds. A request may come at the same time: it sets the word, then the mark. */
static void mark_word(struct vlapic *lapic, unsigned word)
{
    __atomic_exchange_n(&lapic->irr_used[word], 0, __ATOMIC_SEQ_CST);
    if (unlikely(__atomic_load_n(&lapic->state.irr[word], __ATOMIC_SEQ_CST)))
        __atomic_store_n(&lapic->irr_used[word], 1, __ATOMIC_RELEASE);
}

/* The highest vector in IRR, whatever its priority; -1 if there is none. `any` is irr_any. */
static inline int highest_request(const struct vlapic *lapic, uint32_t any)
{
    while (any) {
        unsigned word = (31u ^ (unsigned)__builtin_clz(any)) / 8;
        uint64_t irr = __atomic_load_n(&lapic->state.irr[word], __ATOMIC_RELAXED);

        if (likely(irr))
            return (int)(word * 64 + (63u ^ (unsigned)__builtin_clzll(irr)));
        any &= ~(UINT32_MAX << 8 * word);
    }
    return -1;
}

/* It is deliverable: it exists, and its class is above PPR's. */
static inline bool is_deliverable(const struct vlapic *lapic, int vector)
{
    return vector > (int)(lapic->ppr | 0xf) && vlapic_enabled(lapic);
}

/* A promise is looked at by a function of its own, which goes on with the caller's question: a call in
 * between would cost all other callers a stack frame. */
static __attribute__((noinline)) int after_look(struct vlapic *lapic, int (*then)(struct vlapic *))
{
    vlapic_eoi_look(lapic);
    return then(lapic);
}

int vlapic_highest(struct vlapic *lapic)
{
    int vector;

    if (unlikely(lapic->promised_classes))
        return after_look(lapic, vlapic_highest);
    vector = highest_request(lapic, lapic->irr_any);
    if (is_deliverable(lapic, vector))
        return vector;
    return unlikely(lapic->page) ? vlapic_page_highest(lapic) : -1;
}

int vlapic_held(struct vlapic *lapic)
{
    int vector;

    if (likely(!lapic->irr_any) || unlikely(lapic->page))
        return -1;
    if (unlikely(lapic->promised_classes))
        return after_look(lapic, vlapic_held);
    vector = highest_request(lapic, lapic->irr_any);
    if (vector < 0 || !vlapic_enabled(lapic) || (unsigned)vector >> 4 <= vlapic_highest_class(lapic))
        return -1;
    return (uint32_t)vector >> 4 <= lapic->state.tpr >> 4 ? vector : -1;
}

/* From IRR to ISR. Its class is above PPR's, so above TPR's, too. */
static inline void accept(struct vlapic *lapic, unsigned vector)
{
    unsigned word = vector / 64, class = vector >> 4;

    if (!__atomic_and_fetch(&lapic->state.irr[word], ~BIT(vector % 64), __ATOMIC_SEQ_CST))
        mark_word(lapic, word);
    lapic->isr_classes |= 1u << class;
    lapic->state.isr[class] = (uint8_t)vector;
    lapic->ppr = vector & 0xf0u;
    if (unlikely(lapic->eoi_word))
        vlapic_eoi_promise(lapic, (uint8_t)vector);
}

int vlapic_take(struct vlapic *lapic)
{
    uint32_t any = __atomic_load_n(&lapic->irr_any, __ATOMIC_RELAXED);
    int vector;

    if (!any)
        return -1;
    if (unlikely(lapic->promised_classes))
        return after_look(lapic, vlapic_take);
    vector = highest_request(lapic, any);
    if (!is_deliverable(lapic, vector))
        return -1;
    accept(lapic, (unsigned)vector);
    return vector;
}

void vlapic_set_tpr(struct vlapic *lapic, uint32_t tpr)
{
    lapic->state.tpr = tpr;
    vlapic_update_ppr(lapic);
    lapic->up->priority(lapic->vcpu, (uint8_t)(tpr >> 4));
    if (lapic->irr_any) {
        if (unlikely(lapic->page))
            vlapic_page_set_tpr(lapic);
        look_again(lapic);
    }
}

uint8_t vlapic_cr8(const struct vlapic *lapic)
{
    uint32_t tpr = lapic->page ? lapic->page[APIC_TPR / 4] : lapic->state.tpr;

    return (uint8_t)(tpr >> 4 & 0xf);
}

void vlapic_set_cr8(struct vlapic *lapic, uint8_t cr8)
{
    vlapic_set_tpr(lapic, (uint32_t)(cr8 & 0xf) << 4);
}

/* --- LINT pins --- */

bool vlapic_takes_extint(const struct vlapic *lapic)
{
    const uint32_t unmasked_extint = APIC_MODE_EXTINT << APIC_LVT_MODE_SHIFT;
    uint32_t lvt = lapic->state.lvt[VLAPIC_LINT0];

    return !vlapic_enabled(lapic) || (lvt & (APIC_LVT_MASKED | APIC_LVT_MODE)) == unmasked_extint;
}

/* A rising edge of pin n, or a chance for its level to be seen again. */
static void lint_asserted(struct vlapic *lapic, unsigned n)
{
    uint32_t lvt = lapic->state.lvt[VLAPIC_LINT0 + n];
    uint32_t remote = VLAPIC_LINT_REMOTE(n);

    if (lvt & APIC_LVT_MASKED)
        return;
    switch ((lvt & APIC_LVT_MODE) >> APIC_LVT_MODE_SHIFT) {
    case APIC_MODE_FIXED:
        if ((lvt & APIC_LVT_LEVEL) &&
            (__atomic_fetch_or(&lapic->state.lint, remote, __ATOMIC_SEQ_CST) & remote))
            return;
        vlapic_request(lapic, (uint8_t)lvt, lvt & APIC_LVT_LEVEL);
        break;
    case APIC_MODE_NMI:
        lapic->up->nmi(lapic->vcpu);
        break;
    case APIC_MODE_INIT:
        lapic->up->init(lapic->vcpu);
        break;
    case APIC_MODE_EXTINT:
        look_again(lapic);
        break;
    default:
        break; /* SMI: there is no SMM */
    }
}

void vlapic_lint(struct vlapic *lapic, unsigned n, bool level)
{
    uint32_t pin = VLAPIC_LINT_PIN(n);

    if (!level) {
        __atomic_fetch_and(&lapic->state.lint, ~pin, __ATOMIC_SEQ_CST);
        return;
    }
    if (__atomic_fetch_or(&lapic->state.lint, pin, __ATOMIC_SEQ_CST) & pin)
        return;
    if (vlapic_enabled(lapic))
        lint_asserted(lapic, n);
    else if (n == 0) /* SDM 11.4.3: without the APIC the pins are INTR and NMI */
        look_again(lapic);
    else
        lapic->up->nmi(lapic->vcpu);
}

static bool lint_is_level(const struct vlapic *lapic, unsigned n)
{
    uint32_t lvt = lapic->state.lvt[VLAPIC_LINT0 + n];

    return (lvt & (APIC_LVT_LEVEL | APIC_LVT_MODE)) ==
           (APIC_LVT_LEVEL | APIC_MODE_FIXED << APIC_LVT_MODE_SHIFT);
}

void vlapic_lint_review(struct vlapic *lapic, unsigned n)
{
    if (!lint_is_level(lapic, n))
        __atomic_fetch_and(&lapic->state.lint, ~VLAPIC_LINT_REMOTE(n), __ATOMIC_SEQ_CST);
    else if (lapic->state.lint & VLAPIC_LINT_PIN(n))
        lint_asserted(lapic, n);
    if (vlapic_takes_extint(lapic))
        look_again(lapic);
}

void vlapic_end_level(struct vlapic *lapic, uint8_t vector)
{
    for (unsigned n = 0; n < 2; n++) {
        if (!(lapic->state.lint & VLAPIC_LINT_REMOTE(n)) ||
            (uint8_t)lapic->state.lvt[VLAPIC_LINT0 + n] != vector)
            continue;
        __atomic_fetch_and(&lapic->state.lint, ~VLAPIC_LINT_REMOTE(n), __ATOMIC_SEQ_CST);
        vlapic_lint_review(lapic, n);
    }
    if (lapic->bus->eoi)
        lapic->bus->eoi(lapic->bus->ioapic, vector);
    if (lapic->irr_any)
        look_again(lapic);
}

/* --- Whole states --- */

/* SDM 11.4.7.1. */
void vlapic_reset_registers(struct vlapic *lapic)
{
    struct vlapic_state *state = &lapic->state;

    vlapic_eoi_withdraw(lapic);
    __atomic_store_n(&lapic->page, NULL, __ATOMIC_RELAXED);
    for (unsigned word = 0; word < ARRAY_SIZE(state->irr); word++) {
        __atomic_store_n(&state->irr[word], 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&state->tmr[word], 0, __ATOMIC_SEQ_CST);
        mark_word(lapic, word);
    }
    for (unsigned class = 0; class < ARRAY_SIZE(state->isr); class ++)
        state->isr[class] = 0;
    for (unsigned index = 0; index < VLAPIC_LVT_COUNT; index++)
        state->lvt[index] = APIC_LVT_MASKED;
    __atomic_fetch_and(&state->lint, VLAPIC_LINT_PINS, __ATOMIC_SEQ_CST);
    __atomic_store_n(&state->errors, 0, __ATOMIC_SEQ_CST);
    state->esr = 0;
    state->icr = 0;
    state->tsc_deadline = 0;
    state->timer_deadline = 0;
    state->initial_count = 0;
    state->divide = 0;
    state->ldr = 0;
    state->dfr = UINT32_MAX;
    state->svr = APIC_SVR_VECTOR;
    state->tpr = 0;
    lapic->isr_classes = 1;
    vlapic_update_ppr(lapic);
    vlapic_timer_rearm(lapic);
}

void vlapic_init(struct vlapic *lapic, struct vlapic_bus *bus, uint32_t id, const struct vlapic_up *up,
                 void *vcpu, const struct vclock *clock, struct timer_queue *queue)
{
    *lapic = (struct vlapic){ .id = id, .up = up, .vcpu = vcpu, .bus = bus };
    vlapic_timer_init(lapic, clock, queue);
    bus->lapic[id] = lapic;
    if (bus->count <= id)
        bus->count = id + 1;
    vlapic_reset(lapic);
}

void vlapic_reset(struct vlapic *lapic)
{
    lapic->state.base = APIC_BASE_DEFAULT | APIC_BASE_EN | (lapic->id == 0 ? APIC_BASE_BSP : 0);
    __atomic_store_n(&lapic->state.lint, 0, __ATOMIC_SEQ_CST);
    vlapic_init_signal(lapic);
}

void vlapic_virtual_wire(struct vlapic *lapic)
{
    lapic->state.svr |= APIC_SVR_ENABLE;
    lapic->state.lvt[VLAPIC_LINT0] = APIC_MODE_EXTINT << APIC_LVT_MODE_SHIFT;
    lapic->state.lvt[VLAPIC_LINT1] = APIC_MODE_NMI << APIC_LVT_MODE_SHIFT;
    if (lapic->page)
        vlapic_page_show_all(lapic);
}

void vlapic_init_signal(struct vlapic *lapic)
{
    vlapic_reset_registers(lapic);
    lapic->eoi_word = NULL;
    lapic->up->mode(lapic->vcpu);
}

void vlapic_save(struct vlapic *lapic, struct vlapic_state *out)
{
    vlapic_eoi_settle(lapic);
    *out = lapic->state;
    if (lapic->page)
        vlapic_page_pull(lapic, out);
}

void vlapic_derive(struct vlapic *lapic)
{
    const struct vlapic_state *state = &lapic->state;

    lapic->isr_classes = 1;
    for (unsigned word = 0; word < ARRAY_SIZE(state->irr); word++)
        mark_word(lapic, word);
    for (unsigned class = 0; class < ARRAY_SIZE(state->isr); class ++)
        if (state->isr[class])
            lapic->isr_classes |= 1u << class;
    vlapic_update_ppr(lapic);
}

void vlapic_load(struct vlapic *lapic, const struct vlapic_state *state)
{
    vlapic_eoi_withdraw(lapic);
    __atomic_store_n(&lapic->page, NULL, __ATOMIC_RELAXED);
    lapic->state = *state;
    vlapic_derive(lapic);
    vlapic_timer_rearm(lapic);
    look_again(lapic);
    lapic->up->mode(lapic->vcpu);
}
