/* Exceptions reach the guest's own handlers with the right vector and error code, single-stepping and
 * interrupt shadows hold over instructions that the hypervisor emulates, and interrupts keep their order.
 * Source: AMD APM vol. 2, 8.2 and 8.5. */
#include "lib/apic.h"

#define V_HIGH 0x91u
#define COM1   0x3f8

extern uint64_t page_pd[];

/* One guarded instruction sequence; some end ring 0's assumptions, guarded() mends CS and SS. */
#define RAISE(name, code)                                                                                    \
    static void name(void *argument)                                                                         \
    {                                                                                                        \
        (void)argument;                                                                                      \
        __asm__ volatile(code ::: "memory", "rax", "rcx", "rdx");                                            \
    }

RAISE(divide, "xor %%edx, %%edx; xor %%ecx, %%ecx; mov $1, %%eax; div %%ecx")
RAISE(breakpoint, "int3")
RAISE(overflow, "int $4")
RAISE(undefined, "ud2")
RAISE(not_canonical, "mov $0x8000000000000000, %%rax; mov (%%rax), %%eax")
RAISE(stack_not_present, "mov $0x40, %%eax; mov %%eax, %%ss")
RAISE(bad_selector, "mov $0x2b8, %%eax; mov %%eax, %%es")
RAISE(not_present, "mov $0x40, %%eax; mov %%eax, %%es")
RAISE(gate_beyond, "int $0x91")
RAISE(x87_absent, "fnop")
RAISE(x87_error, "fninit; push $0x0340; fldcw (%%rsp); pop %%rax; fld1; fldz; fdivrp; fwait")
RAISE(read_nothing, "mov 0x40000000, %%eax")
RAISE(write_nothing, "movl $1, 0x40000000")
RAISE(execute_nothing, "mov $0x40000000, %%eax; call *%%rax")
RAISE(xsetbv_bad, "xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%eax, %%eax; xsetbv")

static void expect(const char *what, void (*function)(void *), int vector, uint32_t error)
{
    int got = guarded(function, NULL);

    check_equal(what, (uint64_t)got, (uint64_t)vector);
    if (got == vector && error != UINT32_MAX)
        check_equal("  its error code", fault_error, error);
}

static void test_vectors(void)
{
    expect("#DE", divide, VECTOR_DE, 0);
    expect("#BP", breakpoint, VECTOR_BP, 0);
    expect("#OF by INT 4", overflow, VECTOR_OF, 0);
    expect("#UD", undefined, VECTOR_UD, 0);
    expect("#GP: address not canonical", not_canonical, VECTOR_GP, 0);
    expect("#SS: stack segment not present", stack_not_present, VECTOR_SS, 0x40);
    expect("#GP: selector beyond the GDT", bad_selector, VECTOR_GP, 0x2b8);
    expect("#NP: segment not present", not_present, VECTOR_NP, 0x40);
    idt[0x91].type = 0x0e;
    expect("#NP: gate not present", gate_beyond, VECTOR_NP, UINT32_MAX);
    idt[0x91].type = 0x8e;
    write_cr0(read_cr0() | BIT(3));
    expect("#NM: CR0.TS", x87_absent, VECTOR_NM, 0);
    write_cr0((read_cr0() & ~BIT(3)) | BIT(5));
    expect("#MF: x87 error", x87_error, VECTOR_MF, 0);
    __asm__ volatile("fninit");
    expect("XSETBV without OSXSAVE: #UD", xsetbv_bad, VECTOR_UD, 0);
    if (cpuid(1, 0).ecx >> 26 & 1) {
        write_cr4(read_cr4() | BIT(18));
        expect("XSETBV of 0: #GP", xsetbv_bad, VECTOR_GP, 0);
        write_cr4(read_cr4() & ~BIT(18));
    }
}

static void test_page_faults(void)
{
    static uint64_t table[512] __attribute__((aligned(4096)));
    static uint8_t page[4096] __attribute__((aligned(4096)));

    page_pd[512] = 0;
    invlpg(0x40000000);
    expect("#PF: read, not present", read_nothing, VECTOR_PF, 0);
    check_equal("  its CR2", fault_cr2, 0x40000000);
    expect("#PF: write, not present", write_nothing, VECTOR_PF, 2);
    expect("#PF: fetch, not present", execute_nothing, VECTOR_PF, 0x10);
    page_pd[512] = (uintptr_t)table | 3;
    table[0] = (uintptr_t)page | 1;
    invlpg(0x40000000);
    expect("#PF: write to a read-only page", write_nothing, VECTOR_PF, 3);
    table[0] = (uintptr_t)page | 3 | BIT(63);
    invlpg(0x40000000);
    expect("#PF: fetch from a page that is not executable", execute_nothing, VECTOR_PF, 0x11);
}

/* A double fault: #PF whose gate is not present. */
static void test_double_fault(void)
{
    page_pd[512] = 0;
    invlpg(0x40000000);
    idt[VECTOR_PF].type = 0x0e;
    idt[VECTOR_DF].ist = 1;
    expect("#DF: a fault while another is delivered", read_nothing, VECTOR_DF, 0);
    idt[VECTOR_PF].type = 0x8e;
    idt[VECTOR_DF].ist = 0;
}

static unsigned long trap_ip[8];
static volatile unsigned traps;

static void step(struct frame *frame)
{
    if (traps < ARRAY_SIZE(trap_ip))
        trap_ip[traps] = frame->ip;
    traps++;
    write_dr6(0xffff0ff0);
}

static void interrupt(struct frame *frame)
{
    step(frame);
    apic_write(APIC_EOI, 0);
}

/* Registers of the probed instruction: RSI a device register, ECX an MSR, DX a port, EAX 0. `after` gets its
 * end. */
#define PROBE(before, instruction, behind)                                                                   \
    do {                                                                                                     \
        uint64_t a = 0, b, c = MSR_APIC_BASE, d = COM1 + 7, si = APIC_BASE_ADDRESS + APIC_TPR;               \
                                                                                                             \
        traps = 0;                                                                                           \
        __asm__ volatile(before instruction "\n1: nop\n" behind "lea 1b(%%rip), %5"                          \
                         : "+a"(a), "=&b"(b), "+c"(c), "+d"(d), "+S"(si), "=&r"(after)                       \
                         :                                                                                   \
                         : "memory", "rdi");                                                                 \
    } while (0)

/* TF on; the instruction, NOP, PUSHFQ, AND and POPFQ each end in a trap. */
#define STEP_OVER(what, instruction)                                                                         \
    do {                                                                                                     \
        PROBE("pushfq\n orl $0x100, (%%rsp)\n popfq\n", instruction,                                         \
              "pushfq\n andl $~0x100, (%%rsp)\n popfq\n");                                                   \
        check_equal("single step over " what ": the trap comes right after it", trap_ip[0], after);          \
        check_equal("  and after each of the next four", traps, 5);                                          \
    } while (0)

static void test_single_step(void)
{
    unsigned long after;

    trap_set(VECTOR_DB, step);
    STEP_OVER("NOP", "nop");
    STEP_OVER("CPUID", "cpuid");
    STEP_OVER("RDMSR", "rdmsr");
    STEP_OVER("IN", "inb %%dx, %%al");
    STEP_OVER("OUT", "outb %%al, %%dx");
    STEP_OVER("a device read", "movl (%%rsi), %%eax");
    STEP_OVER("a device write", "movl %%eax, (%%rsi)");
    STEP_OVER("a device read-modify-write", "orl %%eax, (%%rsi)");
    STEP_OVER("WBINVD", "wbinvd");
    STEP_OVER("MOV from CR0", "mov %%cr0, %%rax");
    STEP_OVER("MOV to CR8", "mov %%rax, %%cr8");
    if (!on_plain_qemu() && cpuid(0, 0).ebx == 0x68747541) /* "Auth" */
        STEP_OVER("a hypercall", "vmmcall");
    else if (!on_plain_qemu())
        STEP_OVER("a hypercall", "vmcall");
    trap_set(VECTOR_DB, NULL);
}

/* An interrupt is pending when STI runs: it comes one instruction later, whatever that is. */
#define STI_THEN(what, instruction)                                                                          \
    do {                                                                                                     \
        apic_self(V_HIGH);                                                                                   \
        PROBE("sti\n", instruction, "cli\n");                                                                \
        check_equal("STI, " what ": the interrupt comes after both", trap_ip[0], after);                     \
        check_equal("  and once", traps, 1);                                                                 \
    } while (0)

static void test_shadow(void)
{
    unsigned long after;

    cli();
    trap_set(V_HIGH, interrupt);
    STI_THEN("NOP", "nop");
    STI_THEN("CPUID", "cpuid");
    STI_THEN("RDMSR", "rdmsr");
    STI_THEN("IN", "inb %%dx, %%al");
    STI_THEN("a device read", "movl (%%rsi), %%eax");
    STI_THEN("a device write", "movl %%eax, (%%rsi)");
    STI_THEN("HLT", "hlt");
}

static volatile unsigned nmi_depth, nmi_deepest;

static void on_nmi(struct frame *frame)
{
    (void)frame;
    if (++nmi_depth > nmi_deepest)
        nmi_deepest = nmi_depth;
    if (trap_count[VECTOR_NMI] == 1) {
        apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
        delay_us(200);
        cpuid(0, 0); /* an exit must not let it in early */
    }
    nmi_depth--;
}

static void test_nmi(void)
{
    trap_set(VECTOR_NMI, on_nmi);
    apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
    check("an NMI inside the NMI handler comes", wait_count(&trap_count[VECTOR_NMI], 2, 100));
    check_equal("after the handler's IRET", nmi_deepest, 1);
    trap_set(VECTOR_NMI, NULL);
}

static volatile unsigned woken_by;

static void on_nmi_halt(struct frame *frame)
{
    (void)frame;
    if (trap_count[VECTOR_NMI] != 1)
        return;
    apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
    apic_write(APIC_LVT_TIMER, V_HIGH);
    apic_write(APIC_INITIAL, 1000000);
    sti_hlt_cli();
    woken_by = trap_count[V_HIGH];
}

static void on_nmi_step(struct frame *frame)
{
    if (trap_count[VECTOR_NMI] != 1)
        return;
    apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
    frame->flags |= 0x100;
}

static void stop_stepping(struct frame *frame)
{
    step(frame);
    frame->flags &= ~0x100ul;
}

static void test_nmi_held_back(void)
{
    trap_set(V_HIGH, interrupt);
    trap_set(VECTOR_DB, stop_stepping);
    trap_set(VECTOR_NMI, on_nmi_halt);
    apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
    check("both NMIs come", wait_count(&trap_count[VECTOR_NMI], 2, 100));
    if (!on_plain_qemu())
        check_equal("HLT does not end by an NMI that is held back", woken_by, 1);
    trap_set(VECTOR_NMI, on_nmi_step);
    apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
    check("both NMIs come", wait_count(&trap_count[VECTOR_NMI], 2, 100));
    check_equal("a single step set by the first one's IRET is made after the second", trap_count[VECTOR_DB],
                1);
    trap_set(VECTOR_NMI, NULL);
    trap_set(VECTOR_DB, NULL);
}

static void on_breakpoint(struct frame *frame)
{
    step(frame);
    frame->flags |= 0x10000; /* RF: let the instruction run now */
}

static void test_breakpoint_register(void)
{
    unsigned long dr7, at;

    trap_set(VECTOR_DB, on_breakpoint);
    traps = 0;
    __asm__ volatile("lea 1f(%%rip), %0\n mov %0, %%dr0\n mov $0x402, %%ecx\n mov %%rcx, %%dr7\n 1: cpuid\n"
                     : "=&D"(at)
                     :
                     : "memory", "rax", "rbx", "rcx", "rdx");
    dr7 = read_dr7();
    write_dr7(0x400);
    check_equal("DR0: a breakpoint on CPUID comes before it", trap_ip[0], at);
    check_equal("  and once", traps, 1);
    check_equal("DR7 keeps its value over an exit", dr7, 0x402);
    trap_set(VECTOR_DB, NULL);
}

void guest_main(void)
{
    tsc_khz();
    apic_init();
    test_vectors();
    test_page_faults();
    test_double_fault();
    test_single_step();
    test_shadow();
    test_nmi();
    test_nmi_held_back();
    test_breakpoint_register();
}
