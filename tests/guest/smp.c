/* Two CPUs: INIT and start-up, interrupts between them, atomic operations. Source: AMD APM vol. 2, 16.5;
 * Intel SDM vol. 3, 9.4.4. */
#include "lib/apic.h"

#define ICR_INIT    0x0500u
#define ICR_STARTUP 0x0600u
#define START_PAGE  8u /* 0x8000: smp.asm */
#define V_TO_AP     0x61u
#define V_TO_BSP    0x71u
#define V_TLB       0x81u
#define ROUNDS      10000u
#define NOWHERE     0x700000000000ul /* canonical addresses without code */
#define DR7_L0      0x401

extern const char low_load[];
extern char low_start[], low_end[];
void ap_main(void) __attribute__((noreturn));

static volatile unsigned started, ap_interrupts, ap_nmis, ap_done;
static volatile uint32_t ap_id, ap_initial_id;
static volatile uint64_t ap_tsc;
static volatile bool go, debug;
static volatile unsigned ap_rounds, ap_wrong;
static volatile unsigned shared;

static void add_shared(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        __atomic_fetch_add(&shared, 1, __ATOMIC_SEQ_CST);
}

static void set_breakpoints(uint64_t at)
{
    write_dr0(at);
    write_dr1(at + 1);
    write_dr2(at + 2);
    write_dr3(at + 3);
}

/* They are not what set_breakpoints() made them. */
static bool wrong_breakpoints(uint64_t at)
{
    return read_dr0() != at || read_dr1() != at + 1 || read_dr2() != at + 2 || read_dr3() != at + 3;
}

/* They are 0 when it starts; then its own. */
static void ap_breakpoints(void)
{
    if (ap_rounds++)
        ap_wrong += wrong_breakpoints(NOWHERE + 0x100);
    else
        ap_wrong += (read_dr0() | read_dr1() | read_dr2() | read_dr3()) != 0;
    set_breakpoints(NOWHERE + 0x100);
}

void ap_main(void)
{
    apic_write(APIC_SPIV, SPIV_ENABLE | SPURIOUS_VECTOR);
    ap_id = apic_id();
    ap_initial_id = cpuid(1, 0).ebx >> 24;
    ap_tsc = rdtsc();
    __atomic_fetch_add(&started, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        sti_hlt_cli();
        if (go) {
            go = false;
            add_shared();
            ap_done++;
        }
        if (debug) {
            debug = false;
            ap_breakpoints();
            ap_done++;
        }
    }
}

static void on_ap(struct frame *frame)
{
    (void)frame;
    ap_interrupts++;
    apic_write(APIC_EOI, 0);
    apic_send(0, ICR_ASSERT | V_TO_BSP);
}

static void on_nmi(struct frame *frame)
{
    (void)frame;
    ap_nmis++;
}

static void test_start(void)
{
    uint64_t tsc;

    memcpy(low_start, low_load, (size_t)(low_end - low_start));
    apic_send(1, ICR_INIT | ICR_ASSERT);
    delay_us(10000);
    check_equal("INIT alone starts nothing", started, 0);
    apic_send(1, ICR_STARTUP | ICR_ASSERT | START_PAGE);
    check("start-up IPI: the second CPU runs", wait_count(&started, 1, 1000));
    tsc = rdtsc();
    apic_send(1, ICR_STARTUP | ICR_ASSERT | START_PAGE);
    delay_us(10000);
    check_equal("a second start-up IPI is ignored", started, 1);
    check_equal("its APIC ID", ap_id, 1);
    check_equal("its initial APIC ID by CPUID", ap_initial_id, 1);
    check_range("its TSC is this CPU's (ms apart)", (tsc - ap_tsc + tsc_khz() * 10ull) / tsc_khz(), 0, 1100);
}

static void test_interrupts(void)
{
    trap_set(V_TO_AP, on_ap);
    trap_set(V_TO_BSP, apic_handler);
    sti();
    for (unsigned i = 0; i < 100; i++) {
        apic_send(1, ICR_ASSERT | V_TO_AP);
        if (!wait_count(&trap_count[V_TO_BSP], i + 1, 1000))
            break;
    }
    check_equal("100 interrupts to the other CPU and back", trap_count[V_TO_BSP], 100);
    check_equal("each was handled there", ap_interrupts, 100);
    apic_send(0, ICR_OTHERS | ICR_ASSERT | V_TO_AP);
    check("shorthand: all but this one", wait_count(&trap_count[V_TO_BSP], 101, 1000));
    cli();
    trap_set(VECTOR_NMI, on_nmi);
    apic_send(1, ICR_NMI | ICR_ASSERT);
    check("an NMI to the other CPU", wait_count(&ap_nmis, 1, 1000));
}

static void test_atomic(void)
{
    trap_set(V_TLB, apic_handler);
    shared = 0;
    go = true;
    apic_send(1, ICR_ASSERT | V_TLB);
    add_shared();
    check("both CPUs add", wait_count(&ap_done, 1, 5000));
    check_equal("no addition is lost", shared, 2 * ROUNDS);
}

/* With one CPU for both, each gets its own back whenever it runs: enabled or not, touched since or not. */
static void test_breakpoints(void)
{
    unsigned wrong = 0;

    ap_done = 0;
    set_breakpoints(NOWHERE);
    for (unsigned i = 0; i < 8; i++) {
        write_dr7(i & 2 ? DR7_L0 : 0x400);
        debug = true;
        apic_send(1, ICR_ASSERT | V_TLB);
        if (!wait_count(&ap_done, i + 1, 1000))
            break;
        if (i != 4) /* one turn without touching them */
            wrong += wrong_breakpoints(NOWHERE);
    }
    write_dr7(0x400);
    check_equal("breakpoint addresses: 8 rounds", ap_rounds, 8);
    check_equal("  the first CPU's stay", wrong, 0);
    check_equal("  the second CPU's stay", ap_wrong, 0);
}

static void test_restart(void)
{
    apic_send(1, ICR_INIT | ICR_ASSERT);
    delay_us(10000);
    trap_set(V_TO_AP, on_ap);
    apic_send(1, ICR_ASSERT | V_TO_AP);
    delay_us(10000);
    check_equal("after INIT it takes no interrupt", ap_interrupts, 101);
    apic_send(1, ICR_STARTUP | ICR_ASSERT | START_PAGE);
    check("and starts again", wait_count(&started, 2, 1000));
}

void guest_main(void)
{
    tsc_khz();
    apic_init();
    if ((cpuid(1, 0).ebx >> 16 & 0xff) < 2) {
        fail("there are two CPUs", "CPUID says one");
        return;
    }
    test_start();
    if (!started)
        return;
    test_interrupts();
    test_atomic();
    test_breakpoints();
    test_restart();
}
