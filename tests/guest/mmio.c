/* Every form of instruction on a device register in 64-bit code: the forms are in mmio.asm, the comparison is
 * lib/forms.c. */
#include "lib/forms.h"
#include "lib/apic.h"

extern uint64_t page_pd[];
extern const char mmio_alias[];
void run_form(const void *code, struct regs *regs);

static uint64_t alias_table[512] __attribute__((aligned(4096)));

/* The alias lies at 1 GiB, near enough for RIP-relative operands. */
static void aim(uintptr_t page)
{
    uintptr_t alias = (uintptr_t)mmio_alias;

    alias_table[0] = page | 0x3;
    page_pd[alias >> 21] = (uintptr_t)alias_table | 0x3;
    invlpg(alias);
}

static void registers(struct regs *regs, void *scratch)
{
    uintptr_t target = (uintptr_t)mmio_alias;
    unsigned long *r = regs->reg;

    r[0] = 0x1122334455667788;
    r[1] = 0xfedcba9876543210;
    r[2] = 8;
    r[3] = target - 0x100;
    r[4] = target;
    r[7] = (uintptr_t)scratch;
    r[6] = r[8] = target;
    r[11] = r[12] = target;
    r[15] = 0x2 | RFLAGS_CF;
    wrmsr(MSR_FS_BASE, target - 0x40);
    wrmsr(MSR_GS_BASE, target - 0x40);
}

/* Two accesses that cross from RAM into a page without RAM and back: each byte from where it lies. */
static void test_crossing(void)
{
    static uint32_t page[1024] __attribute__((aligned(4096)));
    volatile uint32_t *across = (volatile uint32_t *)(((uintptr_t)mmio_alias & ~UINT64_C(0xfff)) + 0xffe);

    page[1023] = 0x12345678;
    aim((uintptr_t)page);
    alias_table[1] = 0xd0000000 | 0x3;
    invlpg((uintptr_t)mmio_alias + 4096);
    qemu_differs();
    check_equal("a read that crosses from RAM into a hole", *across, 0xffff1234);
    *across = 0xaabbccdd;
    check_equal("a write that crosses: the part in RAM", page[1023], 0xccdd5678);
}

/* CPL, alignment and the page table still rule: a fault is the guest's. */
static void read_not_mapped(void *at)
{
    *(volatile uint32_t *)at;
}

static void write_alias(void *at)
{
    *(volatile uint32_t *)at = 1;
}

static void test_faults(void)
{
    alias_table[0] = 0;
    invlpg((uintptr_t)mmio_alias);
    check_equal("not mapped: #PF", (uint64_t)guarded(read_not_mapped, (void *)(uintptr_t)mmio_alias),
                VECTOR_PF);
    alias_table[0] = APIC_BASE_ADDRESS | 0x1;
    invlpg((uintptr_t)mmio_alias);
    check_equal("mapped read-only: a write faults",
                (uint64_t)guarded(write_alias, (void *)(uintptr_t)mmio_alias), VECTOR_PF);
    check_equal("its error code", fault_error, 3);
    check_equal("its CR2", fault_cr2, (uintptr_t)mmio_alias);
}

void guest_main(void)
{
    static const struct form_setup setup = { aim, registers, run_form };

    forms_run("64-bit", &setup);
    test_crossing();
    test_faults();
}
