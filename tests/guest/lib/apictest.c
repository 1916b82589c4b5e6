/* Local APIC tests that hold in xAPIC and x2APIC mode alike. */
#include "lib/apic.h"

#define V_LOW  0x51u
#define V_MID  0x61u
#define V_HIGH 0x91u

static volatile unsigned order[8];
static volatile unsigned order_count;
static volatile uint32_t seen_ppr;
static volatile bool seen_isr, seen_irr, nested_high, nested_low;

static void record(struct frame *frame)
{
    order[order_count++ % ARRAY_SIZE(order)] = (unsigned)frame->vector;
    apic_write(APIC_EOI, 0);
}

static void look(struct frame *frame)
{
    seen_isr = apic_bit(APIC_ISR, (unsigned)frame->vector);
    seen_irr = apic_bit(APIC_IRR, (unsigned)frame->vector);
    seen_ppr = apic_read(APIC_PPR);
    apic_write(APIC_EOI, 0);
}

static void test_self_ipi(void)
{
    trap_set(V_MID, look);
    apic_self(V_MID);
    check("IPI to self with interrupts off: waits in the IRR", apic_bit(APIC_IRR, V_MID));
    check_equal("and does not come", trap_count[V_MID], 0);
    sti();
    check("comes with interrupts on", wait_count(&trap_count[V_MID], 1, 100));
    cli();
    check("inside: ISR bit set", seen_isr);
    check("inside: IRR bit clear", !seen_irr);
    check_equal("inside: PPR is the vector's class", seen_ppr & 0xf0, V_MID & 0xf0);
    check("after EOI: ISR bit clear", !apic_bit(APIC_ISR, V_MID));
    check_equal("after EOI: PPR is 0", apic_read(APIC_PPR), 0);
}

/* V_MID in service: V_HIGH nests, V_LOW waits for the EOI. */
static void nest(struct frame *frame)
{
    (void)frame;
    sti();
    apic_self(V_LOW);
    apic_self(V_HIGH);
    nested_high = wait_count(&trap_count[V_HIGH], 1, 100);
    nested_low = trap_count[V_LOW];
    cli();
    apic_write(APIC_EOI, 0);
}

static void test_priority(void)
{
    trap_set(V_LOW, record);
    trap_set(V_MID, record);
    trap_set(V_HIGH, record);
    order_count = 0;
    apic_self(V_LOW);
    apic_self(V_HIGH);
    apic_self(V_MID);
    apic_self(V_MID);
    sti();
    wait_count(&order_count, 3, 100);
    delay_us(100);
    cli();
    check_equal("pending ones come by priority: first", order[0], V_HIGH);
    check_equal("then", order[1], V_MID);
    check_equal("last", order[2], V_LOW);
    check_equal("one vector sent twice comes once", order_count, 3);

    trap_set(V_MID, nest);
    trap_set(V_LOW, record);
    trap_set(V_HIGH, record);
    apic_self(V_MID);
    sti();
    check("a lower one comes after the EOI", wait_count(&trap_count[V_LOW], 1, 100));
    cli();
    check("a higher one nests in a handler", nested_high);
    check("a lower one does not", !nested_low);
}

static void test_tpr(void)
{
    apic_write(APIC_TPR, 0x5f);
    check_equal("TPR reads back", apic_read(APIC_TPR), 0x5f);
    check_equal("PPR follows the TPR", apic_read(APIC_PPR), 0x5f);
#ifdef __x86_64__
    check_equal("CR8 is TPR's class", read_cr8(), 5);
    write_cr8(6);
    check_equal("a write to CR8 sets the TPR", apic_read(APIC_TPR), 0x60);
#else
    apic_write(APIC_TPR, 0x60);
#endif
    trap_set(V_MID, record);
    trap_set(V_HIGH, record);
    apic_self(V_MID);
    apic_self(V_HIGH);
    sti();
    check("a class above the TPR comes", wait_count(&trap_count[V_HIGH], 1, 100));
    delay_us(200);
    check_equal("a class not above it waits", trap_count[V_MID], 0);
    apic_write(APIC_TPR, 0);
    check("and comes when the TPR drops", wait_count(&trap_count[V_MID], 1, 100));
    cli();
}

static void test_destinations(void)
{
    trap_set(V_LOW, record);
    sti();
    apic_send(apic_id(), ICR_ASSERT | V_LOW);
    check("physical destination: own ID", wait_count(&trap_count[V_LOW], 1, 100));
    apic_send(0, ICR_ALL | ICR_ASSERT | V_LOW);
    check("shorthand: all including self", wait_count(&trap_count[V_LOW], 2, 100));
    apic_send(0, ICR_OTHERS | ICR_ASSERT | V_LOW);
    delay_us(200);
    check_equal("shorthand: all excluding self", trap_count[V_LOW], 2);
    apic_send(apic_x2 ? apic_read(APIC_LDR) : apic_read(APIC_LDR) >> 24, ICR_LOGICAL | ICR_ASSERT | V_LOW);
    check("logical destination: own LDR", wait_count(&trap_count[V_LOW], 3, 100));
    apic_send(apic_x2 ? 0xffffffff : 0xff, ICR_ASSERT | V_LOW);
    check("physical destination: broadcast", wait_count(&trap_count[V_LOW], 4, 100));
    apic_send(apic_x2 ? 0x1234 : 0x7e, ICR_ASSERT | V_LOW);
    delay_us(200);
    check_equal("physical destination: nobody", trap_count[V_LOW], 4);
    cli();
}

static void on_nmi(struct frame *frame)
{
    (void)frame;
}

static void test_nmi(void)
{
    trap_set(VECTOR_NMI, on_nmi);
    cli();
    apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
    check("NMI to self comes with interrupts off", wait_count(&trap_count[VECTOR_NMI], 1, 100));
    check_equal("and once", trap_count[VECTOR_NMI], 1);
}

static void test_one_shot(void)
{
    uint64_t start, ticks;
    uint32_t first;

    trap_set(V_HIGH, apic_handler);
    apic_write(APIC_DIVIDE, DIVIDE_BY_16);
    check_equal("divide configuration reads back", apic_read(APIC_DIVIDE), DIVIDE_BY_16);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | V_HIGH);
    apic_write(APIC_INITIAL, 0xffffffff);
    check_equal("initial count reads back", apic_read(APIC_INITIAL), 0xffffffff);
    first = apic_read(APIC_CURRENT);
    start = rdtsc();
    delay_us(10000);
    ticks = first - apic_read(APIC_CURRENT);
    check("current count falls", ticks > 100);
    note("timer ticks per second, divided by 16", ticks * tsc_khz() * 1000 / (rdtsc() - start));

    apic_write(APIC_LVT_TIMER, V_HIGH);
    sti();
    start = rdtsc();
    apic_write(APIC_INITIAL, (uint32_t)ticks);
    check("one-shot: fires", wait_count(&trap_count[V_HIGH], 1, 1000));
    check_range("one-shot: after its time (us)", (rdtsc() - start) * 1000 / tsc_khz(), 9000, 100000);
    check_equal("one-shot: current count is 0 then", apic_read(APIC_CURRENT), 0);
    delay_us(20000);
    check_equal("one-shot: fires once", trap_count[V_HIGH], 1);

    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    start = rdtsc();
    apic_write(APIC_INITIAL, (uint32_t)ticks * 16);
    check("divided by 1, 16 times the count: fires", wait_count(&trap_count[V_HIGH], 2, 1000));
    check_range("after the same time (us)", (rdtsc() - start) * 1000 / tsc_khz(), 9000, 100000);

    apic_write(APIC_INITIAL, (uint32_t)ticks * 16);
    apic_write(APIC_INITIAL, 0);
    delay_us(20000);
    check_equal("initial count 0 stops it", trap_count[V_HIGH], 2);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | V_HIGH);
    apic_write(APIC_INITIAL, (uint32_t)ticks);
    delay_us(20000);
    check_equal("masked: does not fire", trap_count[V_HIGH], 2);
    cli();
}

static void test_periodic(void)
{
    uint32_t count;
    uint64_t start;

    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_INITIAL, 0xffffffff);
    delay_us(2000);
    count = 0xffffffff - apic_read(APIC_CURRENT);
    trap_set(V_HIGH, apic_handler);
    apic_write(APIC_LVT_TIMER, TIMER_PERIODIC | V_HIGH);
    apic_write(APIC_INITIAL, count);
    sti();
    wait_count(&trap_count[V_HIGH], 1, 1000);
    start = rdtsc();
    check("periodic: goes on", wait_count(&trap_count[V_HIGH], 11, 1000));
    check_range("periodic: 10 periods of 2 ms (us)", (rdtsc() - start) * 1000 / tsc_khz(), 15000,
                400000); /* late on a busy host */
    check("periodic: the count is reloaded", apic_read(APIC_CURRENT) <= count);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | TIMER_PERIODIC | V_HIGH);
    cli();
    apic_write(APIC_INITIAL, 0);
    sti();
    cli();
}

static void test_deadline(void)
{
    uint64_t deadline, late;

    trap_set(V_HIGH, apic_handler);
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | V_HIGH);
    check_equal("deadline: nothing armed at first", rdmsr(MSR_TSC_DEADLINE), 0);
    sti();
    deadline = rdtsc() + 5ull * tsc_khz();
    wrmsr(MSR_TSC_DEADLINE, deadline);
    check_equal("deadline: reads back", rdmsr(MSR_TSC_DEADLINE), deadline);
    check("deadline: fires", wait_count(&trap_count[V_HIGH], 1, 1000));
    late = rdtsc();
    check("deadline: not early", late >= deadline);
    check_range("deadline: not late (us)", (late - deadline) * 1000 / tsc_khz(), 0, 50000);
    check_equal("deadline: disarmed after that", rdmsr(MSR_TSC_DEADLINE), 0);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1);
    check("deadline: in the past fires at once", wait_count(&trap_count[V_HIGH], 2, 100));
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 5ull * tsc_khz());
    wrmsr(MSR_TSC_DEADLINE, 0);
    delay_us(20000);
    check_equal("deadline: 0 disarms", trap_count[V_HIGH], 2);
    apic_write(APIC_INITIAL, 1000);
    check_equal("deadline: the initial count is ignored", apic_read(APIC_CURRENT), 0);

    /* HLT must wake for it. */
    cli();
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 2ull * tsc_khz());
    sti_hlt_cli();
    check_equal("deadline: wakes from HLT", trap_count[V_HIGH], 3);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

static void test_software_disable(void)
{
    apic_write(APIC_LVT_TIMER, V_HIGH);
    apic_write(APIC_SPIV, SPURIOUS_VECTOR);
    qemu_differs();
    check_equal("disabled by software: LVT gets masked", apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED);
    apic_write(APIC_LVT_TIMER, V_HIGH);
    qemu_differs();
    check_equal("and cannot be unmasked", apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED);
    apic_init();
}

void apic_common_tests(void)
{
    apic_init();
    test_self_ipi();
    test_priority();
    test_tpr();
    test_destinations();
    test_nmi();
    test_one_shot();
    test_periodic();
    if (has_tsc_deadline())
        test_deadline();
    test_software_disable();
}
