#include "arch/x86_64/lapic.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "hw/apic.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/panic.h"

#define CALIBRATE_US 5000
#define DEADLINE_US  100
#define ICR_TRIES    100000 /* the delivery bit is not worth a hang */

/* The same on all CPUs; written by lapic_init() on the boot CPU. */
static bool x2apic;
static bool use_deadline;
static volatile uint8_t *registers; /* xAPIC: its page */
static uint64_t timer_ratio;        /* APIC timer ticks per TSC tick, 32.32 fixed point */
static uint64_t timer_range;        /* TSC ticks that make less than 2^32 - 1 of the APIC timer's */

static uint32_t lapic_read(uint32_t reg)
{
    if (x2apic)
        return (uint32_t)rdmsr(MSR_X2APIC(reg));
    return *(volatile uint32_t *)(registers + reg);
}

static void lapic_write(uint32_t reg, uint32_t value)
{
    if (x2apic)
        wrmsr(MSR_X2APIC(reg), value);
    else
        *(volatile uint32_t *)(registers + reg) = value;
}

static void enable(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if (x2apic || (base & APIC_BASE_EXTD) != 0) {
        x2apic = true;
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN); /* from disabled, by way of xAPIC mode (SDM 11.12.5) */
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_EXTD);
        return;
    }
    wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN);
    if (!registers)
        registers = map_device(hpa(base & APIC_BASE_ADDRESS), PAGE_SIZE);
    if (!registers)
        panic("no memory to map the local APIC");
}

static void mask_lvt(void)
{
    static const uint32_t entries[] = { APIC_LVT_TIMER, APIC_LVT_LINT0,   APIC_LVT_LINT1, APIC_LVT_ERROR,
                                        APIC_LVT_PERF,  APIC_LVT_THERMAL, APIC_LVT_CMCI };
    uint32_t max = APIC_VERSION_MAX_LVT(lapic_read(APIC_VERSION)); /* which of them exist: SDM 11.4.8 */

    for (unsigned i = 0; i < ARRAY_SIZE(entries) && i <= max; i++)
        lapic_write(entries[i], APIC_LVT_MASKED);
}

/* The error register must be written before it is read (SDM 11.5.3). */
static void lapic_error(void *context)
{
    static bool logged; /* on any CPU */

    (void)context;
    lapic_write(APIC_ESR, 0);

    uint32_t error = lapic_read(APIC_ESR);

    if (!__atomic_exchange_n(&logged, true, __ATOMIC_RELAXED))
        log_warn("lapic: error status %02x; further ones are not shown", error);
}

static void calibrate(void)
{
    uint32_t left;
    uint64_t start;

    lapic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
    lapic_write(APIC_TIMER_INITIAL, UINT32_MAX);
    start = tsc_now();
    tsc_delay_us(CALIBRATE_US);
    left = lapic_read(APIC_TIMER_CURRENT);

    uint64_t ticks = tsc_now() - start;

    lapic_write(APIC_TIMER_INITIAL, 0);
    timer_ratio = ((uint64_t)(UINT32_MAX - left) << 32) / ticks;
    if (timer_ratio == 0)
        panic("the local APIC's timer does not count");
    timer_range = (UINT64_MAX - UINT32_MAX - 1) / timer_ratio;
}

static void init_timer(void)
{
    uint32_t mode = use_deadline ? APIC_LVT_TIMER_DEADLINE : APIC_LVT_TIMER_ONESHOT;

    lapic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
    lapic_write(APIC_LVT_TIMER, IRQ_VECTOR_TIMER | mode);
    __asm__ volatile("mfence"
                     :
                     :
                     : "memory"); /* xAPIC: the mode must be set before the deadline is (SDM 11.5.4.1) */
}

static bool is_requested(unsigned vector)
{
    return lapic_read(APIC_IRR + vector / 32 * 0x10) >> vector % 32 & 1;
}

/*
 * Whether the timer waits for the TSC to reach the deadline. Where something else than a reset has moved the
 * TSC on, or back, some CPUs and emulators do not: the interrupt would come again and again. One that came
 * too early stays requested, and does no harm.
 */
static bool keeps_deadline(void)
{
    bool early;

    wrmsr(MSR_TSC_DEADLINE, tsc_now() + tsc_hz() / 1000000 * 2 * DEADLINE_US);
    tsc_delay_us(DEADLINE_US);
    early = is_requested(IRQ_VECTOR_TIMER);
    wrmsr(MSR_TSC_DEADLINE, 0);
    return !early;
}

/* On the boot CPU, for all. */
static void choose_timer(void)
{
    init_timer();
    if (use_deadline && !keeps_deadline()) {
        log_info("lapic: the TSC-deadline timer comes too early: not used");
        use_deadline = false;
        init_timer(); /* in the other mode */
    }
    if (!use_deadline)
        calibrate();
}

static void init_shared(void)
{
    x2apic = cpu_has(CPU_X2APIC);
    use_deadline = cpu_has(CPU_TSC_DEADLINE);
    irq_bind(IRQ_VECTOR_ERROR, lapic_error, NULL);
}

void lapic_init(void)
{
    bool first = this_cpu()->index == 0;

    if (first)
        init_shared();
    enable();
    lapic_write(APIC_SVR, APIC_SVR_ENABLE | IRQ_VECTOR_SPURIOUS);
    lapic_write(APIC_TPR, 0);
    mask_lvt();
    if (acpi.nmi_lint >= 0)
        lapic_write(acpi.nmi_lint == 0 ? APIC_LVT_LINT0 : APIC_LVT_LINT1,
                    APIC_MODE_NMI << APIC_LVT_MODE_SHIFT | (acpi.nmi_active_low ? APIC_LVT_ACTIVE_LOW : 0));
    lapic_write(APIC_ESR, 0);
    lapic_write(APIC_LVT_ERROR, IRQ_VECTOR_ERROR);
    if (first)
        choose_timer();
    init_timer();
    this_cpu()->apic_id = lapic_id();
    this_cpu()->has_lapic = true;
    if (first)
        log_info("lapic: id %u, %s, timer %s", lapic_id(), x2apic ? "x2APIC" : "xAPIC",
                 use_deadline ? "by TSC deadline" : "one-shot");
}

void lapic_eoi(void)
{
    lapic_write(APIC_EOI, 0);
}

uint32_t lapic_id(void)
{
    if (x2apic)
        return cpuid(0xb).edx; /* the same number (SDM 11.12.8.1), and some emulators lack the MSR */
    return lapic_read(APIC_ID) >> APIC_ID_SHIFT;
}

void lapic_timer_program(uint64_t deadline)
{
    struct cpu *cpu = this_cpu();
    uint64_t now, left;

    cpu->timer_programmed = deadline;
    if (deadline == cpu->lapic_deadline)
        return;
    cpu->lapic_deadline = deadline;
    if (use_deadline) {
        wrmsr(MSR_TSC_DEADLINE, deadline == TIMER_NEVER ? 0 : deadline);
        return;
    }
    if (deadline == TIMER_NEVER) {
        lapic_write(APIC_TIMER_INITIAL, 0);
        return;
    }
    now = tsc_now();
    left = deadline > now ? min_u64(deadline - now, timer_range) : 0;
    lapic_write(APIC_TIMER_INITIAL, (uint32_t)(left * timer_ratio >> 32) + 1);
}

/* Source: SDM 11.6.1 and 11.12.9. */
static void send(uint32_t apic_id, uint32_t command)
{
    command |= APIC_ICR_ASSERT;
    if (x2apic) {
        __asm__ volatile("mfence; lfence"
                         :
                         :
                         : "memory"); /* the write to the ICR does not order stores (SDM 11.12.3) */
        wrmsr(MSR_X2APIC(APIC_ICR), (uint64_t)apic_id << 32 | command);
        return;
    }
    for (unsigned i = 0; i < ICR_TRIES && (lapic_read(APIC_ICR) & APIC_ICR_PENDING) != 0; i++)
        cpu_pause();
    lapic_write(APIC_ICR_HIGH, apic_id << APIC_ID_SHIFT);
    lapic_write(APIC_ICR, command);
}

void lapic_send_ipi(uint32_t apic_id, unsigned vector)
{
    send(apic_id, vector | APIC_MODE_FIXED << APIC_ICR_MODE_SHIFT);
}

void lapic_send_nmi(uint32_t apic_id)
{
    send(apic_id, APIC_MODE_NMI << APIC_ICR_MODE_SHIFT);
}

void lapic_send_init(uint32_t apic_id)
{
    send(apic_id, APIC_MODE_INIT << APIC_ICR_MODE_SHIFT);
}

void lapic_send_startup(uint32_t apic_id, hpa_t page)
{
    send(apic_id, (uint32_t)(page.raw >> PAGE_SHIFT) | APIC_MODE_STARTUP << APIC_ICR_MODE_SHIFT);
}

bool lapic_reaches(uint32_t apic_id)
{
    return x2apic ? apic_id != APIC_BROADCAST_32 : apic_id < APIC_BROADCAST_8;
}
