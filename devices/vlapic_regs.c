/* The registers of the virtual local APIC: the page of xAPIC mode and the MSRs of x2APIC mode. */
#include "devices/vlapic.h"
#include "lib/errno.h"

#define VERSION           0x14u /* integrated APIC; SDM 11.4.8 */
#define SVR_BITS          (APIC_SVR_VECTOR | APIC_SVR_ENABLE | APIC_SVR_FOCUS)
#define ESR_BITS          (APIC_ESR_SEND_VECTOR | APIC_ESR_RECEIVE_VECTOR | APIC_ESR_REGISTER)
#define XAPIC_DESTINATION (UINT64_C(0xff) << 56)

/* The bits of each LVT entry that software can write (SDM figure 11-8). */
static const uint32_t lvt_bits[VLAPIC_LVT_COUNT] = {
    [VLAPIC_TIMER] = APIC_LVT_VECTOR | APIC_LVT_MASKED | APIC_LVT_TIMER_MODE,
    [VLAPIC_THERMAL] = APIC_LVT_VECTOR | APIC_LVT_MODE | APIC_LVT_MASKED,
    [VLAPIC_PERF] = APIC_LVT_VECTOR | APIC_LVT_MODE | APIC_LVT_MASKED,
    [VLAPIC_LINT0] = APIC_LVT_VECTOR | APIC_LVT_MODE | APIC_LVT_ACTIVE_LOW | APIC_LVT_LEVEL | APIC_LVT_MASKED,
    [VLAPIC_LINT1] = APIC_LVT_VECTOR | APIC_LVT_MODE | APIC_LVT_ACTIVE_LOW | APIC_LVT_LEVEL | APIC_LVT_MASKED,
    [VLAPIC_ERROR] = APIC_LVT_VECTOR | APIC_LVT_MASKED,
};

/* --- End of interrupt --- */

/* Nothing is in service; or only the page says what; or a promise hides it. */
static __attribute__((noinline)) void end_of_hidden(struct vlapic *lapic)
{
    unsigned class;

    if (lapic->page)
        vlapic_page_end(lapic);
    vlapic_eoi_settle(lapic);
    class = vlapic_highest_class(lapic);
    if (class)
        vlapic_end_class(lapic, class);
}

static __always_inline void end_of_interrupt(struct vlapic *lapic)
{
    unsigned class = vlapic_highest_class(lapic);

    if (likely(class))
        vlapic_end_class(lapic, class);
    else
        end_of_hidden(lapic);
}

/* --- Registers that both modes have --- */

/* SDM 11.6.2.4: what the P6 family arbitrates with. */
static uint32_t arbitration_priority(struct vlapic *lapic)
{
    uint32_t tpr = lapic->page ? lapic->page[APIC_TPR / 4] : lapic->state.tpr;
    uint32_t isr, irr = 0;

    vlapic_eoi_settle(lapic);
    isr = vlapic_highest_class(lapic) << 4;
    for (unsigned word = 0; word < 4; word++)
        if (lapic->state.irr[word])
            irr = (word * 64 + 63 - (uint32_t)__builtin_clzll(lapic->state.irr[word])) & 0xf0;
    if (lapic->page)
        vlapic_page_priorities(lapic, &isr, &irr);
    if ((tpr & 0xf0) >= irr && (tpr & 0xf0) > isr)
        return tpr;
    return (uint32_t)max_u64(tpr & isr & 0xf0, irr);
}

static uint32_t read_isr(const struct vlapic *lapic, unsigned index)
{
    uint32_t value = 0;

    if (lapic->page)
        return lapic->page[APIC_ISR / 4 + 4 * index];
    for (unsigned class = 2 * index; class < 2 * index + 2; class ++)
        if (class && (lapic->isr_classes & 1u << class)) /* class 0 stands for "none" */
            value |= 1u << (lapic->state.isr[class] & 31);
    return value;
}

static uint32_t read_irr(const struct vlapic *lapic, unsigned index)
{
    uint32_t value = (uint32_t)(lapic->state.irr[index / 2] >> index % 2 * 32);

    return lapic->page ? lapic->page[APIC_IRR / 4 + 4 * index] | value : value;
}

static uint32_t read_lvt(const struct vlapic *lapic, unsigned index)
{
    uint32_t lvt = lapic->state.lvt[index];

    if ((index == VLAPIC_LINT0 || index == VLAPIC_LINT1) &&
        (lapic->state.lint & VLAPIC_LINT_REMOTE(index - VLAPIC_LINT0)))
        lvt |= APIC_LVT_REMOTE_IRR;
    return lvt;
}

bool vlapic_read_register(struct vlapic *lapic, uint32_t reg, uint32_t *value)
{
    const struct vlapic_state *state = &lapic->state;
    unsigned index = reg >> 4 & 7;

    vlapic_eoi_settle(lapic);
    switch (reg) {
    case APIC_ID:
        *value = vlapic_x2apic(lapic) ? lapic->id : lapic->id << APIC_ID_SHIFT;
        return true;
    case APIC_VERSION:
        *value = VERSION | (VLAPIC_LVT_COUNT - 1) << 16;
        return true;
    case APIC_TPR:
        *value = lapic->page ? lapic->page[APIC_TPR / 4] : state->tpr;
        return true;
    case APIC_PPR:
        *value = lapic->page ? lapic->page[APIC_PPR / 4] : lapic->ppr;
        return true;
    case APIC_LDR:
        *value = vlapic_x2apic(lapic) ? (lapic->id >> 4) << 16 | 1u << (lapic->id & 0xf) : state->ldr;
        return true;
    case APIC_SVR:
        *value = state->svr;
        return true;
    case APIC_ISR ... APIC_ISR + 0x70:
        *value = read_isr(lapic, index);
        return true;
    case APIC_TMR ... APIC_TMR + 0x70:
        *value = (uint32_t)(state->tmr[index / 2] >> index % 2 * 32);
        return true;
    case APIC_IRR ... APIC_IRR + 0x70:
        *value = read_irr(lapic, index);
        return true;
    case APIC_ESR:
        *value = state->esr;
        return true;
    case APIC_ICR:
        *value = (uint32_t)vlapic_icr(lapic);
        return true;
    case APIC_LVT_TIMER ... APIC_LVT_ERROR:
        *value = read_lvt(lapic, (reg - APIC_LVT_TIMER) >> 4);
        return true;
    case APIC_TIMER_INITIAL:
        *value = state->initial_count;
        return true;
    case APIC_TIMER_CURRENT:
        *value = vlapic_timer_current(lapic);
        return true;
    case APIC_TIMER_DIVIDE:
        *value = state->divide;
        return true;
    default:
        return false;
    }
}

static void write_lvt(struct vlapic *lapic, unsigned index, uint32_t value)
{
    value &= lvt_bits[index];
    if (!(lapic->state.svr & APIC_SVR_ENABLE))
        value |= APIC_LVT_MASKED; /* SDM 11.4.7.2 */
    if (index == VLAPIC_TIMER) {
        /* Both mode bits are a reserved mode: taken as TSC-deadline. */
        if (value & APIC_LVT_TIMER_DEADLINE)
            value &= ~APIC_LVT_TIMER_PERIODIC;
        vlapic_timer_write_lvt(lapic, value);
        return;
    }
    lapic->state.lvt[index] = value;
    if (index == VLAPIC_LINT0 || index == VLAPIC_LINT1)
        vlapic_lint_review(lapic, index - VLAPIC_LINT0);
}

static void write_svr(struct vlapic *lapic, uint32_t value)
{
    lapic->state.svr = value & SVR_BITS;
    if (!(value & APIC_SVR_ENABLE))
        for (unsigned index = 0; index < VLAPIC_LVT_COUNT; index++)
            write_lvt(lapic, index, lapic->state.lvt[index]);
    if (lapic->page)
        vlapic_page_show_all(lapic);
}

/* A writable register, by its offset in the page; bits that it lacks are ignored. False: there is none. */
static bool write_register(struct vlapic *lapic, uint32_t reg, uint32_t value)
{
    switch (reg) {
    case APIC_EOI:
        end_of_interrupt(lapic);
        return true;
    case APIC_TPR:
        vlapic_set_tpr(lapic, value & 0xff);
        return true;
    case APIC_SVR:
        write_svr(lapic, value);
        break;
    case APIC_ESR: /* any write latches what was collected, SDM 11.5.3 */
        lapic->state.esr = __atomic_exchange_n(&lapic->state.errors, 0, __ATOMIC_SEQ_CST);
        break;
    case APIC_LVT_TIMER ... APIC_LVT_ERROR:
        write_lvt(lapic, (reg - APIC_LVT_TIMER) >> 4, value);
        break;
    case APIC_TIMER_INITIAL:
        vlapic_timer_write_initial(lapic, value);
        break;
    case APIC_TIMER_DIVIDE:
        vlapic_timer_write_divide(lapic, value & APIC_DIVIDE_MASK);
        break;
    default:
        return false;
    }
    vlapic_show(lapic, reg);
    return true;
}

/* --- xAPIC: the page --- */

static bool page_is_there(const struct vlapic *lapic, uint32_t offset, unsigned size)
{
    return vlapic_enabled(lapic) && !vlapic_x2apic(lapic) && size == 4 && is_aligned(offset, 16);
}

uint64_t vlapic_read(void *device, uint32_t offset, unsigned size)
{
    struct vlapic *lapic = device;
    uint32_t value = 0;

    if (!page_is_there(lapic, offset, size))
        return UINT64_MAX >> (64 - 8 * size);
    switch (offset) {
    case APIC_APR:
        return arbitration_priority(lapic);
    case APIC_DFR:
        return lapic->state.dfr;
    case APIC_ICR_HIGH:
        return vlapic_icr(lapic) >> 32;
    case APIC_EOI:
    case APIC_RRD:
        return 0;
    default:
        if (!vlapic_read_register(lapic, offset, &value))
            vlapic_error(lapic, APIC_ESR_REGISTER);
        return value;
    }
}

void vlapic_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vlapic *lapic = device;
    struct vlapic_state *state = &lapic->state;
    uint32_t low = (uint32_t)value, ignored;

    if (!page_is_there(lapic, offset, size))
        return;
    switch (offset) {
    case APIC_EOI:
        end_of_interrupt(lapic);
        return;
    case APIC_ICR:
        state->icr = (vlapic_icr(lapic) & XAPIC_DESTINATION) | (low & VLAPIC_ICR_LOW);
        vlapic_send_ipi(lapic);
        break;
    case APIC_ICR_HIGH:
        state->icr = (value << 32 & XAPIC_DESTINATION) | (uint32_t)vlapic_icr(lapic);
        break;
    case APIC_LDR:
        state->ldr = low & APIC_LDR_MASK;
        break;
    case APIC_DFR:
        state->dfr = low | APIC_DFR_RESERVED;
        break;
    case APIC_APR:
    case APIC_RRD:
        return;
    default: /* a write to a register that can only be read is ignored */
        if (!write_register(lapic, offset, low) && !vlapic_read_register(lapic, offset, &ignored))
            vlapic_error(lapic, APIC_ESR_REGISTER);
        return;
    }
    vlapic_show(lapic, offset);
}

/* --- x2APIC: the MSRs --- */

/* What WRMSR may set in a register without #GP, read-only bits included (SDM 11.12.1.3). */
static uint32_t x2apic_bits(uint32_t reg)
{
    switch (reg) {
    case APIC_TPR:
        return 0xff;
    case APIC_SVR:
        return SVR_BITS;
    case APIC_LVT_LINT0:
    case APIC_LVT_LINT1:
        return lvt_bits[VLAPIC_LINT0] | APIC_LVT_PENDING | APIC_LVT_REMOTE_IRR;
    case APIC_LVT_TIMER:
    case APIC_LVT_THERMAL:
    case APIC_LVT_PERF:
    case APIC_LVT_ERROR:
        return lvt_bits[(reg - APIC_LVT_TIMER) >> 4] | APIC_LVT_PENDING;
    case APIC_TIMER_INITIAL:
        return UINT32_MAX;
    case APIC_TIMER_DIVIDE:
        return APIC_DIVIDE_MASK;
    default:
        return 0; /* EOI and ESR take only 0 */
    }
}

static int write_x2apic_icr(struct vlapic *lapic, uint64_t value)
{
    uint32_t low = (uint32_t)value;

    /* This mode has no delivery status, yet CPUs let software write the bit. */
    if (low & ~(VLAPIC_ICR_LOW | APIC_ICR_PENDING))
        return -EINVAL;
    lapic->state.icr = value & ~(uint64_t)APIC_ICR_PENDING;
    if (unlikely(lapic->page))
        vlapic_page_ipi(lapic);
    else
        vlapic_send_ipi(lapic);
    return 0;
}

static int write_self_ipi(struct vlapic *lapic, uint64_t value)
{
    if (value > 0xff)
        return -EINVAL;
    if (unlikely(value < 16))
        vlapic_error(lapic, APIC_ESR_SEND_VECTOR);
    else if (likely(lapic->state.svr & APIC_SVR_ENABLE))
        vlapic_request(lapic, (uint8_t)value, false);
    return 0;
}

/* The changes of mode of SDM figure 11-27. Another address is refused, too: the page cannot be moved. */
static int write_base(struct vlapic *lapic, uint64_t value)
{
    uint64_t old = lapic->state.base, change = old ^ value;

    if ((value & ~(APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN)) != APIC_BASE_DEFAULT)
        return -EINVAL;
    if ((value & APIC_BASE_EXTD) && (!(value & APIC_BASE_EN) || !(old & APIC_BASE_EN)))
        return -EINVAL;
    if ((old & APIC_BASE_EXTD) && (value & APIC_BASE_EN) && !(value & APIC_BASE_EXTD))
        return -EINVAL;
    if (change & APIC_BASE_EXTD)
        lapic->state.icr = (uint32_t)vlapic_icr(lapic); /* the destination field has another form */
    lapic->state.base = value;
    if (change & APIC_BASE_EN)
        vlapic_reset_registers(lapic);
    lapic->up->interrupt(lapic->vcpu); /* the 8259 may reach the CPU now */
    if (!(change & (APIC_BASE_EN | APIC_BASE_EXTD)))
        return 0;
    if (lapic->page) {
        vlapic_page_show_all(lapic);
        vlapic_page_show(lapic, APIC_ICR);
    }
    lapic->up->mode(lapic->vcpu);
    return 0;
}

int vlapic_msr_read(void *context, uint32_t msr, uint64_t *value)
{
    struct vlapic *lapic = context;
    uint32_t reg = (msr - MSR_X2APIC_FIRST) << 4, low;

    if (msr == MSR_APIC_BASE) {
        *value = lapic->state.base;
        return 0;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = vlapic_timer_read_deadline(lapic);
        return 0;
    }
    if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !vlapic_x2apic(lapic))
        return -EINVAL;
    if (reg == APIC_ICR) {
        *value = lapic->state.icr;
        return 0;
    }
    if (!vlapic_read_register(lapic, reg, &low))
        return -EINVAL;
    *value = low;
    return 0;
}

static __attribute__((noinline)) int write_other_msr(struct vlapic *lapic, uint32_t msr, uint64_t value)
{
    uint32_t reg = (msr - MSR_X2APIC_FIRST) << 4;

    if (msr == MSR_APIC_BASE)
        return write_base(lapic, value);
    if (msr == MSR_TSC_DEADLINE) {
        vlapic_timer_write_deadline(lapic, value);
        return 0;
    }
    if (!vlapic_x2apic(lapic) || msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST)
        return -EINVAL;
    if (value & ~(uint64_t)x2apic_bits(reg))
        return -EINVAL;
    return write_register(lapic, reg, (uint32_t)value) ? 0 : -EINVAL;
}

/* What guests write all the time, in x2APIC mode. Each comparison costs all that come behind it. */
static inline int write_hot_msr(struct vlapic *lapic, uint32_t msr, uint64_t value)
{
    if (msr == MSR_X2APIC(APIC_EOI) && !value) {
        end_of_interrupt(lapic);
        return 0;
    }
    if (msr == MSR_X2APIC(APIC_TPR) && value <= 0xff) {
        vlapic_set_tpr(lapic, (uint32_t)value);
        return 0;
    }
    if (msr == MSR_TSC_DEADLINE) {
        vlapic_timer_write_deadline(lapic, value);
        return 0;
    }
    if (msr == MSR_X2APIC(APIC_SELF_IPI))
        return write_self_ipi(lapic, value);
    if (msr == MSR_X2APIC(APIC_ICR))
        return write_x2apic_icr(lapic, value);
    return write_other_msr(lapic, msr, value);
}

int vlapic_msr_write(void *context, uint32_t msr, uint64_t value)
{
    struct vlapic *lapic = context;

    if (likely(vlapic_x2apic(lapic)))
        return write_hot_msr(lapic, msr, value);
    return write_other_msr(lapic, msr, value);
}

/* --- Saved states --- */

static int check_base(uint64_t base)
{
    if ((base & ~(APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN)) != APIC_BASE_DEFAULT)
        return -EINVAL;
    return (base & APIC_BASE_EXTD) && !(base & APIC_BASE_EN) ? -EINVAL : 0;
}

static int check_vectors(const struct vlapic_state *state)
{
    if ((state->irr[0] | state->tmr[0]) & 0xffff) /* illegal vectors are never requested */
        return -EINVAL;
    for (unsigned class = 0; class < ARRAY_SIZE(state->isr); class ++)
        if (state->isr[class] && state->isr[class] >> 4 != class)
            return -EINVAL;
    return state->isr[0] ? -EINVAL : 0;
}

static int check_timer(const struct vlapic_state *state)
{
    uint32_t mode = state->lvt[VLAPIC_TIMER] & APIC_LVT_TIMER_MODE;

    if (mode == APIC_LVT_TIMER_MODE || (state->divide & ~APIC_DIVIDE_MASK))
        return -EINVAL;
    if (mode == APIC_LVT_TIMER_DEADLINE)
        return state->timer_deadline ? -EINVAL : 0;
    return state->tsc_deadline || (state->timer_deadline && !state->initial_count) ? -EINVAL : 0;
}

int vlapic_check(const struct vlapic_state *state)
{
    uint64_t icr_bits = VLAPIC_ICR_LOW |
                        (state->base & APIC_BASE_EXTD ? UINT64_MAX << 32 : XAPIC_DESTINATION);
    int err;

    if ((err = check_base(state->base)) || (err = check_vectors(state)) || (err = check_timer(state)))
        return err;
    for (unsigned index = 0; index < VLAPIC_LVT_COUNT; index++) {
        if (state->lvt[index] & ~lvt_bits[index])
            return -EINVAL;
        if (!(state->svr & APIC_SVR_ENABLE) && !(state->lvt[index] & APIC_LVT_MASKED))
            return -EINVAL;
    }
    if ((state->icr & ~icr_bits) || (state->ldr & ~APIC_LDR_MASK) || (state->svr & ~SVR_BITS) ||
        state->tpr > 0xff)
        return -EINVAL;
    if ((state->dfr & APIC_DFR_RESERVED) != APIC_DFR_RESERVED || ((state->esr | state->errors) & ~ESR_BITS))
        return -EINVAL;
    return state->lint & ~(VLAPIC_LINT_PINS | VLAPIC_LINT_REMOTES) ? -EINVAL : 0;
}
