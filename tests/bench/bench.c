/*
 * Round trips through the hypervisor, in TSC ticks. Under `-icount shift=0` a tick is an instruction, so the
 * figures are lengths of software paths. Each round trip is measured alone; what the same lines take without
 * the instruction in question is subtracted.
 */
#include "lib/apic.h"

#define N      1000
#define COM1   0x3f8
#define VECTOR 0x81u
#define SLEEP  20000u /* ticks: longer than any path to HLT */

#define OTHER_VECTOR 0x82u
#define ICR_INIT     0x0500u
#define ICR_STARTUP  0x0600u
#define START_PAGE   8u /* 0x8000: tests/guest/smp.asm */
#define HC_YIELD     11 /* KVM's: let that vCPU run */

/* bench.asm */
void bench_isr(void);
void bench_eoi_dry(void);
void bench_other_isr(void);
extern volatile uint32_t eoi_start, eoi_end, handled, other_stamp;

/* tests/guest/smp.asm */
extern const char low_load[];
extern char low_start[], low_end[];
void ap_main(void) __attribute__((noreturn));

static volatile unsigned other_up, other_yields;

static uint32_t sample[N];

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

/* N times the TSC's low half around an instruction with its operands in place; all of it stays in registers.
 */
#define SAMPLE(instruction)                                                                                  \
    for (unsigned i = 0; i < N; i++) {                                                                       \
        uint32_t a = start_eax, b, c = start_ecx, d = start_edx, before, after;                              \
                                                                                                             \
        __asm__ volatile("rdtsc\n mov %%eax, %4\n mov %6, %%eax\n mov %7, %%edx\n" instruction               \
                         "\n rdtsc\n mov %%eax, %5"                                                          \
                         : "=&a"(a), "=&b"(b), "+&c"(c), "=&d"(d), "=&r"(before), "=&r"(after)               \
                         : "r"(start_eax), "r"(start_edx), "S"((uintptr_t)IOAPIC_BASE)                       \
                         : "memory");                                                                        \
        sample[i] = after - before - dry;                                                                    \
    }

/* One measure: first the lines around it, then with it. */
#define MEASURE(name, instruction, eax, ecx, edx)                                                            \
    do {                                                                                                     \
        const uint32_t start_eax = (eax), start_ecx = (ecx), start_edx = (edx);                              \
        uint32_t dry = 0;                                                                                    \
                                                                                                             \
        SAMPLE("");                                                                                          \
        sort(sample, N);                                                                                     \
        dry = sample[0];                                                                                     \
        SAMPLE(instruction);                                                                                 \
        report(name);                                                                                        \
    } while (0)

static void set_gate(unsigned vector, void (*isr)(void))
{
    uint64_t entry = (uintptr_t)isr;

    idt[vector].offset_low = (uint16_t)entry;
    idt[vector].offset_mid = (uint16_t)(entry >> 16);
}

/* Runs until the interrupt was handled. Returns when its EOI was done: the low half of the TSC. */
static uint32_t wait_handled(uint32_t before)
{
    while (handled == before)
        pause();
    return eoi_end;
}

static void self_ipi(void)
{
    uint32_t dry;

    sti();
    for (unsigned i = 0; i < N; i++) {
        uint32_t before = handled, start = (uint32_t)rdtsc();

        wrmsr(X2APIC_MSR(X2APIC_SELF), VECTOR);
        sample[i] = wait_handled(before) - start;
    }
    report("self_ipi");
    bench_eoi_dry();
    dry = eoi_end - eoi_start;
    for (unsigned i = 0; i < N; i++) {
        uint32_t before = handled;

        wrmsr(X2APIC_MSR(X2APIC_SELF), VECTOR);
        wait_handled(before);
        sample[i] = eoi_end - eoi_start - dry;
    }
    report("apic_eoi");
    cli();
}

/* Armed in the past: what is left is arming, expiry, delivery and EOI, without any waiting. */
static void deadline(void)
{
    wrmsr(X2APIC_MSR(APIC_LVT_TIMER), TIMER_DEADLINE | VECTOR);
    sti();
    for (unsigned i = 0; i < N; i++) {
        uint32_t before = handled;
        uint64_t start = rdtsc();

        wrmsr(MSR_TSC_DEADLINE, start + 1);
        sample[i] = wait_handled(before) - (uint32_t)start;
    }
    report("tsc_deadline");
    cli();
}

/* From arming to handled with a sleep in between, less the sleep: arming, HLT, wake-up, delivery and EOI. */
static void halt(void)
{
    for (unsigned i = 0; i < N; i++) {
        uint64_t start = rdtsc();

        wrmsr(MSR_TSC_DEADLINE, start + SLEEP);
        sti_hlt_cli();
        sample[i] = eoi_end - (uint32_t)start - SLEEP;
    }
    report("hlt_wakeup");
    wrmsr(X2APIC_MSR(APIC_LVT_TIMER), LVT_MASKED);
}

/* --- Two vCPUs on one CPU --- */

static bool is_intel(void)
{
    return cpuid(0, 0).ebx == 0x756e6547; /* "Genu" */
}

static void yield_to(unsigned id, bool intel)
{
    uint64_t rax = HC_YIELD;

    if (intel)
        __asm__ volatile("vmcall" : "+a"(rax) : "b"((uint64_t)id) : "memory");
    else
        __asm__ volatile("vmmcall" : "+a"(rax) : "b"((uint64_t)id) : "memory");
}

/* The second one answers interrupts out of HLT, or gives the CPU back as often as it gets it. */
void ap_main(void)
{
    bool intel = is_intel();

    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    apic_write(APIC_SPIV, SPIV_ENABLE | SPURIOUS_VECTOR);
    other_up = 1;
    while (!other_yields)
        sti_hlt_cli();
    for (;;) {
        other_stamp = (uint32_t)rdtsc();
        yield_to(0, intel);
    }
}

static void start_other(void)
{
    memcpy(low_start, low_load, (size_t)(low_end - low_start));
    apic_send(1, ICR_INIT | ICR_ASSERT);
    apic_send(1, ICR_STARTUP | ICR_ASSERT | START_PAGE);
    while (!other_up)
        pause();
}

/* From the sender's WRMSR to the handler's first instructions in the other vCPU. Both sleep in HLT. */
static void cross_ipi(void)
{
    for (unsigned i = 0; i < N; i++) {
        uint32_t start = (uint32_t)rdtsc();

        wrmsr(X2APIC_MSR(APIC_ICR), UINT64_C(1) << 32 | OTHER_VECTOR);
        sti_hlt_cli();
        sample[i] = other_stamp - start;
    }
    report("cross_ipi");
}

/* From one vCPU's hypercall to the next instruction of the other. */
static void vcpu_switch(void)
{
    bool intel = is_intel();

    other_yields = 1;
    wrmsr(X2APIC_MSR(APIC_ICR), UINT64_C(1) << 32 | OTHER_VECTOR);
    sti_hlt_cli();
    for (unsigned i = 0; i < N; i++) {
        uint32_t start = (uint32_t)rdtsc();

        yield_to(1, intel);
        sample[i] = other_stamp - start;
    }
    report("vcpu_switch");
}

void guest_main(void)
{
    apic_init();
    set_gate(VECTOR, bench_isr);
    set_gate(OTHER_VECTOR, bench_other_isr);
    MEASURE("cpuid", "cpuid", 0, 0, 0);
    MEASURE("cpuid_features", "cpuid", 1, 0, 0);
    if (is_intel())
        MEASURE("hypercall", "vmcall", 0xdead, 0, 0);
    else
        MEASURE("hypercall", "vmmcall", 0xdead, 0, 0);
    MEASURE("port_io", "inb %%dx, %%al", 0, 0, COM1 + 7);
    MEASURE("mmio", "movl (%%rsi), %%eax", 0, 0, 0);
    if (!(cpuid(1, 0).ecx >> 21 & 1) || !has_tsc_deadline()) {
        fail("x2APIC and TSC-deadline are offered", "the rest cannot be measured");
        return;
    }
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    apic_x2 = true;
    apic_init();
    MEASURE("msr_write", "wrmsr", 0, MSR_TSC_DEADLINE, 0);
    MEASURE("tpr_write", "wrmsr", 0, X2APIC_MSR(APIC_TPR), 0);
    self_ipi();
    deadline();
    halt();
    start_other();
    cross_ipi();
    vcpu_switch();
    check("all was measured", true);
}
