/*
 * Round trips through the hypervisor, in TSC ticks. Under `-icount shift=0` a tick is an instruction, so the
 * figures are lengths of software paths. Each round trip is measured alone; the cost of measuring is
 * subtracted.
 */
#include "lib/apic.h"

#define N      1000
#define COM1   0x3f8
#define VECTOR 0x81u

static uint32_t sample[N];
static uint32_t overhead;
static volatile uint64_t handled_at;

static void sort(uint32_t *values, unsigned count)
{
    for (unsigned gap = count / 2; gap; gap /= 2)
        for (unsigned i = gap; i < count; i++) {
            uint32_t value = values[i];
            unsigned j = i;

            for (; j >= gap && values[j - gap] > value; j -= gap)
                values[j] = values[j - gap];
            values[j] = value;
        }
}

static void report(const char *name)
{
    sort(sample, N);
    print("BENCH %s min=%u median=%u max=%u\n", name, sample[0], sample[N / 2], sample[N - 1]);
}

/* Two RDTSCs around the statement; `overhead` is what two RDTSCs around nothing take. */
#define MEASURE(name, statement)                                                                             \
    do {                                                                                                     \
        for (unsigned i = 0; i < N; i++) {                                                                   \
            uint64_t start = rdtsc(), end;                                                                   \
                                                                                                             \
            statement;                                                                                       \
            end = rdtsc();                                                                                   \
            sample[i] = (uint32_t)(end - start) - overhead;                                                  \
        }                                                                                                    \
        report(name);                                                                                        \
    } while (0)

static void measure_overhead(void)
{
    overhead = 0;
    for (unsigned i = 0; i < N; i++) {
        uint64_t start = rdtsc();

        sample[i] = (uint32_t)(rdtsc() - start);
    }
    sort(sample, N);
    overhead = sample[0];
}

static void hypercall(void)
{
    uint64_t number = 0xdead;

    if (cpuid(0, 0).ebx == 0x756e6547) /* "Genu" */
        MEASURE("hypercall", __asm__ volatile("vmcall" : "+a"(number)::"memory"));
    else
        MEASURE("hypercall", __asm__ volatile("vmmcall" : "+a"(number)::"memory"));
}

static void acknowledge(struct frame *frame)
{
    (void)frame;
    wrmsr(X2APIC_MSR(APIC_EOI), 0);
    handled_at = rdtsc();
}

static uint32_t eoi_cost;

/* The EOI alone, inside the handler of an edge interrupt in service. */
static void acknowledge_measured(struct frame *frame)
{
    uint64_t start = rdtsc();

    (void)frame;
    wrmsr(X2APIC_MSR(APIC_EOI), 0);
    eoi_cost = (uint32_t)(rdtsc() - start) - overhead;
}

static void self_ipi(void)
{
    volatile unsigned *count = &trap_count[VECTOR];
    unsigned before;

    trap_set(VECTOR, acknowledge);
    sti();
    for (unsigned i = 0; i < N; i++) {
        uint64_t start;

        before = *count;
        start = rdtsc();
        wrmsr(X2APIC_MSR(X2APIC_SELF), VECTOR);
        while (*count == before)
            pause();
        sample[i] = (uint32_t)(handled_at - start) - overhead;
    }
    report("self_ipi");
    trap_set(VECTOR, acknowledge_measured);
    for (unsigned i = 0; i < N; i++) {
        before = *count;
        wrmsr(X2APIC_MSR(X2APIC_SELF), VECTOR);
        while (*count == before)
            pause();
        sample[i] = eoi_cost;
    }
    report("apic_eoi");
    cli();
}

/* Armed in the past: what is left is arming, expiry, delivery and EOI, without any waiting. */
static void deadline(void)
{
    volatile unsigned *count = &trap_count[VECTOR];

    trap_set(VECTOR, acknowledge);
    wrmsr(X2APIC_MSR(APIC_LVT_TIMER), TIMER_DEADLINE | VECTOR);
    sti();
    for (unsigned i = 0; i < N; i++) {
        unsigned before = *count;
        uint64_t start = rdtsc();

        wrmsr(MSR_TSC_DEADLINE, start + 1);
        while (*count == before)
            pause();
        sample[i] = (uint32_t)(handled_at - start) - overhead;
    }
    report("tsc_deadline");
    cli();
}

#define SLEEP 20000u /* ticks: longer than any path to HLT */

/* From arming to handled, with a sleep in between, less the sleep: arming, HLT, wake-up, delivery and EOI. */
static void halt(void)
{
    trap_set(VECTOR, acknowledge);
    for (unsigned i = 0; i < N; i++) {
        uint64_t start = rdtsc();

        wrmsr(MSR_TSC_DEADLINE, start + SLEEP);
        sti_hlt_cli();
        sample[i] = (uint32_t)(handled_at - start) - SLEEP - overhead;
    }
    report("hlt_wakeup");
    wrmsr(X2APIC_MSR(APIC_LVT_TIMER), LVT_MASKED);
}

void guest_main(void)
{
    apic_init();
    measure_overhead();
    print("BENCH overhead min=%u median=%u max=%u\n", overhead, sample[N / 2], sample[N - 1]);
    MEASURE("cpuid", cpuid(0, 0));
    MEASURE("cpuid_features", cpuid(1, 0));
    hypercall();
    MEASURE("port_io", inb(COM1 + 7));
    MEASURE("mmio", mmio_read32(APIC_BASE_ADDRESS + APIC_ID));
    if (!(cpuid(1, 0).ecx >> 21 & 1) || !has_tsc_deadline()) {
        fail("x2APIC and TSC-deadline are offered", "the rest cannot be measured");
        return;
    }
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    apic_x2 = true;
    apic_init();
    MEASURE("msr_write", wrmsr(X2APIC_MSR(APIC_TPR), 0));
    self_ipi();
    deadline();
    halt();
    check("all was measured", true);
}
