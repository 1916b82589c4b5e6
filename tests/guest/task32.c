/* Hardware task switches: what is saved, loaded and marked, by each way there and back; which task gets a
 * fault. Where the CPU has AMD-V it does this itself; under VT-x Plinth does. Source: Intel SDM vol. 3, 8.2
 * to 8.6; AMD APM vol. 2, 12. */
#include "lib/apic.h"

#define CODE   0x08u
#define DATA   0x10u
#define MAIN   0x40u /* the TSS that this program runs in */
#define TASK   0x48u /* the one that it switches to */
#define GATE   0x50u
#define LDT    0x58u
#define CODE16 0x60u
#define DATA16 0x68u
#define CODE3  0x73u
#define DATA3  0x7bu
#define ABSENT 0x80u
#define SHORT  0x88u /* code of 4 KiB */
#define FIXER  0x90u /* the TSS of the task that takes faults */
#define BEYOND 0xf00u
#define LOCAL  0x0cu

#define TSS_FREE   0x89u
#define TSS_BUSY   0x8bu
#define TSS16_FREE 0x81u
#define LDT_TYPE   0x82u
#define TASK_GATE  0x85u

#define VECTOR_TS    10
#define VECTOR_INT   0x50
#define EFLAGS_START 0x893u /* with which each attempt begins */
#define NT           0x4000u
#define VM           0x20000u
#define CR0_TS       0x8u
#define CR0_PG       0x80000000u
#define CR4_PSE      0x10u
#define CR4_PAE      0x20u
#define DR6_BT       0x8000u

enum { BY_CALL, BY_JMP, BY_INT, BY_IRET, BY_FAULT };

struct tss {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, gpr[8];
    uint32_t es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, io_map;
};

struct tss16 {
    uint16_t link, stacks[6], ip, flags, gpr[8], es, cs, ss, ds, ldt;
};

struct seen {
    uint32_t gpr[8], flags;
    uint16_t es, cs, ss, ds, fs, gs, ldtr, tr;
    uint32_t cr0, cr3, dr7, top;
};

unsigned attempt(unsigned how);
unsigned task_run(void);
extern const char landing[], after_call[], after_jmp[], after_int[], at_call[], entry32[], entry16[],
    after_iret[];
extern uint32_t far_target[2], way_back[2], back_by_jmp, after[9];
extern struct seen seen;
extern uint64_t gdt[];

static uint64_t table[19], local_table[2];
static struct tss main_tss, task_tss, fixer_tss;
static struct tss fixed_tss; /* task_tss after the last fault */
static struct tss16 task_tss16;
static uint8_t task_stack[8192] __attribute__((aligned(16)));
static uint8_t fixer_stack[8192] __attribute__((aligned(16)));
static uint8_t kernel_stack[8192] __attribute__((aligned(16)));
static uint32_t directory[2][1024] __attribute__((aligned(4096)));
static uint64_t pdpt[2][4] __attribute__((aligned(32)));
static uint64_t pae_directory[512] __attribute__((aligned(4096)));

/* What the last fault was, and in which task. */
static struct {
    int vector;
    uint32_t error, ip, cs, flags;
    uint16_t tr;
} fault;

static unsigned (*body)(void); /* what the task does; returns the bytes that it takes from its stack */
static unsigned runs;
static uint8_t main_type, task_type; /* as the task found them */

/* With AMD-V the CPU itself switches. Here that is QEMU's, which does not mark the segments as accessed, does
 * not know the T bit, and takes the new task's faults at the old task's EIP. */
static bool qemu_switches(void)
{
    return cpuid(0, 0).ebx == 0x68747541;
}

static uint16_t task_register(void)
{
    uint16_t tr;

    __asm__ volatile("str %0" : "=r"(tr));
    return tr;
}

static void describe(unsigned selector, uintptr_t base, uint32_t limit, unsigned attributes)
{
    table[selector / 8] = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
                          (uint64_t)(attributes & 0xff) << 40 | (uint64_t)(limit >> 16) << 48 |
                          (uint64_t)(attributes >> 8) << 52 | (uint64_t)(base >> 24) << 56;
}

static uint8_t type_of(unsigned selector)
{
    return (uint8_t)(table[selector / 8] >> 40);
}

/* Whatever task this is: it is the main one from here. */
static void become_main(void)
{
    uint16_t fs = DATA, tr = MAIN, ldt = 0;

    describe(MAIN, (uintptr_t)&main_tss, sizeof(main_tss) - 1, TSS_FREE);
    __asm__ volatile("pushl $2; popfl; clts" ::: "memory", "cc");
    __asm__ volatile("mov %0, %%fs; mov %0, %%gs; ltr %1; lldt %2" ::"r"(fs), "r"(tr), "r"(ldt) : "memory");
}

/* A task like any other, and nothing of the last test left. */
static void prepare(void)
{
    become_main();
    describe(TASK, (uintptr_t)&task_tss, sizeof(task_tss) - 1, TSS_FREE);
    describe(SHORT, 0, 0xfff, 0x49b);
    describe(LDT, (uintptr_t)local_table, sizeof(local_table) - 1, LDT_TYPE);
    table[GATE / 8] = (uint64_t)TASK_GATE << 40 | (uint64_t)TASK << 16;
    main_tss = (struct tss){ .link = 0x5555, .cr3 = (uint32_t)read_cr3() };
    task_tss = (struct tss){ .cr3 = (uint32_t)read_cr3(),
                             .eip = (uintptr_t)entry32,
                             .eflags = 0x46,
                             .esp0 = (uintptr_t)kernel_stack + sizeof(kernel_stack),
                             .ss0 = DATA,
                             .gpr = { 0xc0, 0xc1, 0xc2, 0xc3, 0, 0xc5, 0xc6, 0xc7 },
                             .es = DATA,
                             .cs = CODE,
                             .ss = DATA,
                             .ds = DATA,
                             .fs = DATA,
                             .gs = 0,
                             .io_map = sizeof(task_tss) };
    task_tss.gpr[4] = (uintptr_t)task_stack + sizeof(task_stack) - 16;
    fixer_tss = task_tss;
    fixer_tss.gpr[4] = (uintptr_t)fixer_stack + sizeof(fixer_stack);
    describe(FIXER, (uintptr_t)&fixer_tss, sizeof(fixer_tss) - 1, TSS_FREE);
    far_target[0] = 0x12345678; /* an offset that nobody looks at */
    far_target[1] = TASK;
    way_back[1] = MAIN;
    back_by_jmp = 0;
    runs = 0;
    body = NULL;
    fault.vector = -1;
    memset(&seen, 0, sizeof(seen));
}

/* The task has been reached. */
unsigned task_run(void)
{
    runs++;
    main_type = type_of(MAIN);
    task_type = type_of(TASK);
    return body ? body() : 0;
}

static void on_fault(struct frame *frame)
{
    fault.vector = (int)frame->vector;
    fault.error = (uint32_t)frame->error;
    fault.ip = (uint32_t)frame->ip;
    fault.cs = (uint32_t)frame->cs;
    fault.flags = (uint32_t)frame->flags;
    fault.tr = task_register();
    frame->ds = frame->es = DATA;
    frame->cs = CODE;
    frame->ip = (uintptr_t)landing;
    frame->flags = 2;
}

static void idt_task(unsigned vector, unsigned selector)
{
    idt[vector] = (struct gate){ .selector = (uint16_t)selector, .type = TASK_GATE };
}

/* --- there and back --- */

static void check_seen(uint32_t flags, uint32_t pushed)
{
    bool good = true;

    for (unsigned i = 0; i < 8; i++)
        if (i != 4)
            good = good && seen.gpr[i] == 0xc0 + i;
    check("  the task has its registers", good);
    check_equal("  its stack", seen.gpr[4], (uintptr_t)task_stack + sizeof(task_stack) - 16 - pushed);
    check_equal("  its EFLAGS", seen.flags, flags);
    check("  its segments", seen.es == DATA && seen.cs == CODE && seen.ss == DATA && seen.ds == DATA &&
                                seen.fs == DATA && seen.gs == 0);
    check_equal("  TR", seen.tr, TASK);
    check_equal("  CR0.TS is set", seen.cr0 & CR0_TS, CR0_TS);
    check_equal("  its descriptor is busy", task_type, TSS_BUSY);
}

static void check_main_tss(const char *ip)
{
    check_equal("  the old EIP is saved", main_tss.eip, (uintptr_t)ip);
    check_equal("  the old EFLAGS", main_tss.eflags, EFLAGS_START);
    check("  the old registers", main_tss.gpr[0] == 0x11111111 && main_tss.gpr[1] == 0x22222222 &&
                                     main_tss.gpr[2] == 0x33333333 && main_tss.gpr[3] == 0x44444444 &&
                                     main_tss.gpr[5] == 0x66666666 && main_tss.gpr[6] == 0x77777777 &&
                                     main_tss.gpr[7] == 0x88888888);
    check("  the old segments", main_tss.es == DATA && main_tss.cs == CODE && main_tss.ss == DATA &&
                                    main_tss.ds == DATA && main_tss.fs == DATA && main_tss.gs == DATA);
    check_equal("  the old task's link is as it was", main_tss.link, 0x5555);
}

static void check_back(void)
{
    check("  back with the same registers", after[0] == 0x11111111 && after[1] == 0x22222222 &&
                                                after[2] == 0x33333333 && after[3] == 0x44444444 &&
                                                after[4] == main_tss.gpr[4] && after[5] == 0x66666666 &&
                                                after[6] == 0x77777777 && after[7] == 0x88888888);
    check_equal("  and the same EFLAGS", after[8], EFLAGS_START);
    check_equal("  in the main task", task_register(), MAIN);
    check_equal("  which is busy", type_of(MAIN), TSS_BUSY);
    check_equal("  the other one is not", type_of(TASK), TSS_FREE);
    check_equal("  CR0.TS is set again", read_cr0() & CR0_TS, CR0_TS);
}

static void nested(const char *what, unsigned how, const char *ip)
{
    print("-- %s\n", what);
    check_equal("came back", attempt(how), 0);
    check_equal("  the task ran once", runs, 1);
    check_seen(0x46 | NT, 0);
    check_equal("  its link is the old task", task_tss.link, MAIN);
    check_equal("  which stays busy", main_type, TSS_BUSY);
    check_main_tss(ip);
    check_back();
    check_equal("  the task's EIP is behind its IRET", task_tss.eip, (uintptr_t)after_iret);
    check_equal("  its NT is not saved", task_tss.eflags & NT, 0);
    check("  what it left is", task_tss.gpr[0] == 0xaaaaaaaa && task_tss.gpr[2] == 0xbbbbbbbb);
}

static void test_nested(void)
{
    prepare();
    nested("CALL and IRET", BY_CALL, after_call);
    attempt(BY_CALL);
    check_equal("  a second CALL goes on there", runs, 2);
    check_equal("  with its registers", seen.gpr[0], 0xaaaaaaaa);
    prepare();
    far_target[1] = GATE;
    nested("CALL through a task gate", BY_CALL, after_call);
    prepare();
    idt_task(VECTOR_INT, TASK);
    nested("INT through a task gate", BY_INT, after_int);
}

static void test_jmp(void)
{
    prepare();
    print("-- JMP and JMP\n");
    back_by_jmp = 1;
    check_equal("came back", attempt(BY_JMP), 0);
    check_seen(0x46, 0);
    check_equal("  no link", task_tss.link, 0);
    check_equal("  the old task is not busy", main_type, TSS_FREE);
    check_main_tss(after_jmp);
    check_back();
    prepare();
    far_target[1] = GATE;
    back_by_jmp = 1;
    attempt(BY_JMP);
    check_equal("JMP through a task gate", seen.tr, TASK);
}

static void test_debug_registers(void)
{
    prepare();
    write_dr7(0x400 | 0x1 | 0x8); /* L0 and G1: execution at 0, where nobody goes */
    attempt(BY_CALL);
    check_equal("DR7: the task has the global breakpoint only", seen.dr7 & 0xff, 0x8);
    check_equal("  and so has who comes back", read_dr7() & 0xff, 0x8);
    write_dr7(0x400);
}

static void test_ldt(void)
{
    prepare();
    local_table[1] = 0x00cf92000000ffff | 0x1000 << 16; /* not accessed */
    task_tss.ldt = LDT;
    task_tss.fs = LOCAL;
    attempt(BY_CALL);
    check_equal("LDT: the task has its own", seen.ldtr, LDT);
    check_equal("  and a segment of it", seen.fs, LOCAL);
    if (!qemu_switches())
        check_equal("  which is marked as accessed", local_table[1] >> 40 & 0xff, 0x93);
    check_equal("  the main task has none", main_tss.ldt, 0);
}

static void test_16_bit(void)
{
    prepare();
    task_tss16 = (struct tss16){ .ip = 0,
                                 .flags = 0x46,
                                 .gpr = { 0xc0, 0xc1, 0xc2, 0xc3, 0x1000, 0xc5, 0xc6, 0xc7 },
                                 .es = DATA,
                                 .cs = CODE16,
                                 .ss = DATA16,
                                 .ds = DATA };
    describe(TASK, (uintptr_t)&task_tss16, sizeof(task_tss16) - 1, TSS16_FREE);
    describe(CODE16, (uintptr_t)entry16, 0xffff, 0x49b);
    describe(DATA16, (uintptr_t)task_stack, 0xffff, 0x093);
    print("-- CALL of a 16-bit task\n");
    check_equal("came back", attempt(BY_CALL), 0);
    check_equal("  TR", seen.tr, TASK);
    check_equal("  CS", seen.cs, CODE16);
    check("  registers", (seen.gpr[0] & 0xffff) == 0xc0 && (seen.gpr[4] & 0xffff) == 0x1000 &&
                             (seen.gpr[7] & 0xffff) == 0xc7);
    check_equal("  EFLAGS", seen.flags, 0x46 | NT);
    check_equal("  link", task_tss16.link, MAIN);
    check_main_tss(after_call);
    check_equal("  back in the main task", task_register(), MAIN);
    check_equal("  the other one is free", type_of(TASK), TSS16_FREE);
}

/* --- events --- */

static unsigned take_error(void)
{
    main_tss.eip = (uintptr_t)landing;
    return 4;
}

static void test_exceptions(void)
{
    prepare();
    idt_task(VECTOR_GP, TASK);
    body = take_error;
    print("-- #GP through a task gate\n");
    check_equal("handled", attempt(BY_FAULT), 1);
    check_seen(0x46 | NT, 4);
    check_equal("  its error code is on the task's stack", seen.top, 0xfff8);
    check_equal("  back in the main task", task_register(), MAIN);
    prepare();
    idt[VECTOR_GP].type = 0x0e; /* an interrupt gate that is not present */
    idt_task(VECTOR_DF, TASK);
    body = take_error;
    print("-- #DF through a task gate\n");
    seen.top = 1;
    check_equal("handled", attempt(BY_FAULT), 1);
    check_equal("  TR", seen.tr, TASK);
    check_equal("  its error code", seen.top, 0);
    check_equal("  back in the main task", task_register(), MAIN);
    traps_init();
}

static unsigned take_interrupt(void)
{
    pic_eoi(0);
    return 0;
}

static void test_interrupt(void)
{
    prepare();
    pic_init();
    idt_task(PIC_BASE, TASK);
    body = take_interrupt;
    pic_unmask(0);
    pit_program(0, 0, 2000);
    print("-- an interrupt through a task gate\n");
    while (!runs)
        sti_hlt_cli();
    pic_mask(0);
    check_equal("came back in the main task", task_register(), MAIN);
    check_equal("  IF was saved", main_tss.eflags & RFLAGS_IF, RFLAGS_IF);
    check_equal("  interrupts were off in the task", seen.flags & RFLAGS_IF, 0);
    check_equal("  once", runs, 1);
    traps_init();
}

static unsigned second_nmi(void)
{
    if (runs == 1 && !qemu_switches())
        apic_send(apic_read(APIC_ID) >> 24, ICR_NMI | ICR_ASSERT);
    return 0;
}

/*
 * The IRET that leaves the task opens NMIs again. Not tried with AMD-V, where Plinth steps over that IRET by
 * TF when another NMI waits: the task would keep TF.
 */
static void test_nmi(void)
{
    prepare();
    idt_task(VECTOR_NMI, TASK);
    body = second_nmi;
    apic_send(apic_read(APIC_ID) >> 24, ICR_NMI | ICR_ASSERT);
    delay_us(100);
    check_equal("NMI through a task gate: one waits for the other", runs, qemu_switches() ? 1 : 2);
    check_equal("  in the main task", task_register(), MAIN);
    traps_init();
}

static void test_trap_bit(void)
{
    prepare();
    task_tss.trap = 1;
    write_dr6(0xffff0ff0);
    if (qemu_switches())
        return;
    check_equal("T bit: #DB", attempt(BY_CALL), 1);
    check_equal("  vector", (uint64_t)fault.vector, VECTOR_DB);
    check_equal("  in the new task", fault.tr, TASK);
    check_equal("  before its first instruction", fault.ip, (uintptr_t)entry32);
    check_equal("  DR6.BT", read_dr6() & DR6_BT, DR6_BT);
    write_dr6(0xffff0ff0);
}

/* --- faults --- */

static void old_fault(const char *what, unsigned how, int vector, uint32_t error)
{
    uint8_t type = type_of(TASK);

    check_equal(what, attempt(how), 1);
    check_equal("  vector", (uint64_t)fault.vector, (uint64_t)vector);
    check_equal("  error code", fault.error, error);
    check_equal("  in the old task", fault.tr, MAIN);
    if (how == BY_CALL)
        check_equal("  at the CALL", fault.ip, (uintptr_t)at_call);
    check("  nothing has changed", type_of(MAIN) == TSS_BUSY && type_of(TASK) == type && !main_tss.eip &&
                                       !task_tss.link && !(read_cr0() & CR0_TS));
    prepare();
}

static void test_old_faults(void)
{
    prepare();
    describe(TASK, (uintptr_t)&task_tss, sizeof(task_tss) - 1, TSS_FREE & ~0x80u);
    old_fault("CALL, not present: #NP", BY_CALL, VECTOR_NP, TASK);
    describe(TASK, (uintptr_t)&task_tss, sizeof(task_tss) - 1, TSS_FREE & ~0x80u);
    old_fault("JMP, not present: #NP", BY_JMP, VECTOR_NP, TASK);
    describe(TASK, (uintptr_t)&task_tss, 0x66, TSS_FREE);
    old_fault("CALL, limit 0x66: #TS", BY_CALL, VECTOR_TS, TASK);
    describe(TASK, (uintptr_t)&task_tss, 0x66, TSS_FREE);
    idt_task(VECTOR_INT, TASK);
    old_fault("INT, limit 0x66: #TS", BY_INT, VECTOR_TS, TASK);
    describe(TASK, (uintptr_t)&task_tss, sizeof(task_tss) - 1, TSS_BUSY);
    old_fault("CALL, busy: #GP", BY_CALL, VECTOR_GP, TASK);
    far_target[1] = MAIN;
    old_fault("JMP to itself: #GP", BY_JMP, VECTOR_GP, MAIN);
    far_target[1] = BEYOND;
    old_fault("CALL, beyond the GDT: #GP", BY_CALL, VECTOR_GP, BEYOND);
    main_tss.link = TASK;
    old_fault("IRET, not busy: #TS", BY_IRET, VECTOR_TS, TASK);
    main_tss.link = BEYOND;
    old_fault("IRET, beyond the GDT: #TS", BY_IRET, VECTOR_TS, BEYOND);
}

static void new_fault(const char *what, int vector, uint32_t error)
{
    check_equal(what, attempt(BY_CALL), 1);
    check_equal("  vector", (uint64_t)fault.vector, (uint64_t)vector);
    check_equal("  error code", fault.error, error);
    check_equal("  in the new task", fault.tr, TASK);
    if (!qemu_switches())
        check_equal("  at its first instruction", fault.ip, (uintptr_t)entry32);
    check_equal("  the task did not run", runs, 0);
    check_equal("  nested", task_tss.link, MAIN);
    if (!body)
        check_equal("  saved behind the CALL", main_tss.eip, (uintptr_t)after_call);
    fixed_tss = task_tss;
    prepare();
}

/* The fault comes to a task, which needs nothing of the one that it is about. */
static unsigned fix(void)
{
    fault.vector = VECTOR_TS;
    fault.error = seen.top;
    fault.tr = (uint16_t)fixer_tss.link;
    fault.ip = task_tss.eip;
    fixer_tss.link = MAIN;
    main_tss.eip = (uintptr_t)landing;
    runs--;
    return 4;
}

static void fixed(const char *what, uint32_t error)
{
    struct tss before = task_tss;

    body = fix;
    idt_task(VECTOR_TS, FIXER);
    new_fault(what, VECTOR_TS, error);
    traps_init();
    check("  its state was saved as it was loaded",
          fixed_tss.ds == before.ds && fixed_tss.ss == before.ss && fixed_tss.cs == before.cs &&
              fixed_tss.es == before.es && fixed_tss.gpr[0] == before.gpr[0] &&
              fixed_tss.gpr[4] == before.gpr[4] && (fixed_tss.eflags & 0xffff) == (before.eflags | NT));
}

static void test_new_faults(void)
{
    prepare();
    task_tss.ds = BEYOND;
    new_fault("DS beyond the GDT: #TS", VECTOR_TS, BEYOND);
    task_tss.es = ABSENT;
    new_fault("ES not present: #NP", VECTOR_NP, ABSENT);
    task_tss.fs = TASK;
    new_fault("FS not a segment: #TS", VECTOR_TS, TASK);
    task_tss.gs = LOCAL;
    new_fault("GS in the LDT without one: #TS", VECTOR_TS, LOCAL);
    task_tss.cs = SHORT;
    new_fault("EIP beyond its segment: #GP", VECTOR_GP, 0);
    task_tss.ds = BEYOND;
    fixed("DS, by way of a task gate", BEYOND);
    task_tss.ldt = DATA;
    fixed("LDTR not an LDT: #TS", DATA);
    task_tss.cs = DATA;
    fixed("CS not code: #TS", DATA);
    task_tss.cs = CODE | 3;
    task_tss.ss = task_tss.ds = task_tss.es = task_tss.fs =
        DATA3; /* in which order they are looked at is the CPU's */
    fixed("CS of another privilege: #TS", CODE);
    task_tss.ss = CODE;
    fixed("SS not data: #TS", CODE);
    task_tss.ss = DATA | 3;
    fixed("SS of another privilege: #TS", DATA);
}

/* The first instruction of the task is a HLT, which it may not. */
static void privileged(const char *what, uint32_t flags)
{
    task_tss.eflags = flags;
    check_equal(what, attempt(BY_CALL), 1);
    check_equal("  HLT is #GP", (uint64_t)fault.vector, VECTOR_GP);
    check_equal("  CS", fault.cs, task_tss.cs);
    check_equal("  EIP", fault.ip, task_tss.eip);
    check_equal("  EFLAGS", fault.flags & ~(uint32_t)0x10000, flags | NT);
    check_equal("  TR", fault.tr, TASK);
    prepare();
}

static void test_less_privileged(void)
{
    static const uint8_t hlt[] = { 0xf4 };

    prepare();
    *(volatile uint8_t *)(uintptr_t)0x9000 = 0xf4;
    task_tss.cs = 0x0900;
    task_tss.eip = 0;
    task_tss.ds = 0xffff;
    privileged("a virtual-8086 task", 0x2 | VM);
    task_tss.cs = CODE3;
    task_tss.ss = task_tss.ds = task_tss.es = task_tss.fs = DATA3;
    task_tss.eip = (uintptr_t)hlt;
    privileged("a task of CPL 3", 0x2);
}

/* --- paging --- */

static void paging(uint32_t cr3, uint32_t cr4)
{
    write_cr0(read_cr0() & ~CR0_PG);
    write_cr4((read_cr4() & ~(unsigned long)(CR4_PSE | CR4_PAE)) | cr4);
    write_cr3(cr3);
    if (cr4)
        write_cr0(read_cr0() | CR0_PG);
}

/* Below 1 GiB both tasks see the same, but for one page of 4 MiB (2 MiB) that only the new one has. */
#define PRIVATE 0x3fc00000u
#define BACKING 0x800000u

static unsigned look(void)
{
    return *(volatile uint32_t *)(uintptr_t)PRIVATE == 0xfeedbeef ? 0 : 8;
}

/* The error code of an exception goes to where only the new task has memory. */
static void error_on_own_stack(uint32_t its)
{
    prepare();
    task_tss.cr3 = its;
    task_tss.gpr[4] = PRIVATE + 0x1000;
    idt_task(VECTOR_GP, TASK);
    body = take_error;
    check_equal("#GP through a task gate", attempt(BY_FAULT), 1);
    check_equal("  its error code", seen.top, 0xfff8);
    traps_init();
}

static unsigned end_both(void)
{
    fault.tr = (uint16_t)fixer_tss.link;
    fixer_tss.link = MAIN;
    main_tss.eip = (uintptr_t)landing;
    return 0;
}

/* A program of CPL 3 needs no right to the GDT and the TSSs to be switched away. */
static void from_user(uint32_t its)
{
    static const uint8_t int_50[] = { 0xcd, VECTOR_INT };

    prepare();
    memcpy((void *)(uintptr_t)(BACKING + 16), int_50, sizeof(int_50));
    task_tss.cr3 = fixer_tss.cr3 = its;
    task_tss.cs = CODE3;
    task_tss.ss = task_tss.ds = task_tss.es = task_tss.fs = DATA3;
    task_tss.eip = PRIVATE + 16;
    idt_task(VECTOR_INT, FIXER);
    idt[VECTOR_INT].type |= 0x60;
    body = end_both;
    check_equal("INT from CPL 3 through a task gate", attempt(BY_CALL), 1);
    check_equal("  in that task", fault.tr, TASK);
    check_equal("  its EIP", task_tss.eip, PRIVATE + 18);
    check_equal("  its CS", task_tss.cs & 0xffff, CODE3);
    traps_init();
}

static void own_tables(const char *what, uint32_t mine, uint32_t its, uint32_t cr4)
{
    *(volatile uint32_t *)(uintptr_t)BACKING = 0xfeedbeef;
    paging(mine, cr4);
    prepare();
    task_tss.cr3 = its;
    body = look;
    print("-- %s\n", what);
    check_equal("came back", attempt(BY_CALL), 0);
    check_equal("  the task had its own CR3", seen.cr3, its);
    check_equal("  and ran", runs, 1);
    check_equal("  the main task has its own again", read_cr3(), mine);
    error_on_own_stack(its);
    from_user(its);
    prepare();
    task_tss.cr3 = its;
    task_tss.ds = BEYOND;
    new_fault("  #TS under the new CR3", VECTOR_TS, BEYOND);
    paging(0, 0);
}

static void test_paging(void)
{
    for (unsigned i = 0; i < 1024; i++)
        directory[0][i] = directory[1][i] = i << 22 | 0x83;
    directory[0][PRIVATE >> 22] = 0;
    directory[1][PRIVATE >> 22] = BACKING | 0x87; /* for CPL 3 too */
    own_tables("CR3, 4 MiB pages", (uintptr_t)directory[0], (uintptr_t)directory[1], CR4_PSE);
    for (unsigned i = 0; i < 512; i++)
        pae_directory[i] = i << 21 | 0x83;
    pae_directory[PRIVATE >> 21 & 511] = BACKING | 0x87;
    memcpy(directory[0], pae_directory, sizeof(pae_directory));
    ((uint64_t *)(void *)directory[0])[PRIVATE >> 21 & 511] = 0;
    pdpt[0][0] = (uintptr_t)directory[0] | 1;
    pdpt[1][0] = (uintptr_t)pae_directory | 1;
    own_tables("CR3, PAE", (uintptr_t)pdpt[0], (uintptr_t)pdpt[1], CR4_PAE);
}

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = { sizeof(table) - 1, (uintptr_t)table };

    memcpy(table, gdt, 7 * sizeof(table[0]));
    describe(CODE3 & ~3u, 0, 0xfffff, 0xcfb);
    describe(DATA3 & ~3u, 0, 0xfffff, 0xcf3);
    describe(ABSENT, 0, 0xfffff, 0xc13);
    __asm__ volatile("lgdt %0" ::"m"(pointer) : "memory");
    for (unsigned vector = VECTOR_TS; vector <= VECTOR_GP; vector++)
        trap_set(vector, on_fault);
    trap_set(VECTOR_DB, on_fault);
}

void guest_main(void)
{
    load_tables();
    test_nested();
    test_jmp();
    test_debug_registers();
    test_ldt();
    test_16_bit();
    test_exceptions();
    test_interrupt();
    test_nmi();
    test_trap_bit();
    test_old_faults();
    test_new_faults();
    test_less_privileged();
    test_paging();
}
