/* Every form of instruction on a device register in 32-bit code: segment bases, and paging off, 2-level, with
 * PSE, and PAE. */
#include "lib/forms.h"

#define PTE       0x3u
#define PTE_LARGE 0x83u
#define CR0_PG    0x80000000u
#define CR4_PSE   0x10u
#define CR4_PAE   0x20u
#define LAPIC     0xfee00000u

void run_form(const void *code, struct regs *regs);
extern uint64_t gdt[];

static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t low_tables[2][1024] __attribute__((aligned(4096)));
static uint32_t lapic_table[1024] __attribute__((aligned(4096)));
static uint32_t hole_table[1024] __attribute__((aligned(4096)));
static uint64_t pdpt[4] __attribute__((aligned(4096)));
static uint64_t pae_directory[4][512] __attribute__((aligned(4096)));

/* The target's page becomes the base of segment 0x18. */
static void aim(uintptr_t page)
{
    gdt[3] = 0x00cf93000000ffff | (uint64_t)(page & 0xffffff) << 16 | (uint64_t)(page >> 24) << 56;
}

static void registers(struct regs *regs, void *scratch)
{
    unsigned long *r = regs->reg;

    r[0] = 0x55667788;
    r[1] = 0x76543210;
    r[2] = 8;
    r[3] = FORM_OFFSET - 0x100;
    r[4] = FORM_OFFSET;
    r[5] = (uintptr_t)scratch;
    r[6] = FORM_OFFSET;
    r[7] = 0x2 | RFLAGS_CF;
}

static void paging(uint32_t cr3, uint32_t cr4)
{
    write_cr0(read_cr0() & ~CR0_PG);
    write_cr4((read_cr4() & ~(CR4_PSE | CR4_PAE)) | cr4);
    write_cr3(cr3);
    if (cr3)
        write_cr0(read_cr0() | CR0_PG);
}

static void fill_table(uint32_t *table, uint32_t base)
{
    for (uint32_t i = 0; i < 1024; i++)
        table[i] = (base + i * 4096) | PTE;
    directory[base >> 22] = (uint32_t)(uintptr_t)table | PTE;
}

/* What is in use lies in four ranges of 4 MiB: the guest itself (two), the local APIC, the hole. */
static void two_level(void)
{
    fill_table(low_tables[0], 0);
    fill_table(low_tables[1], 0x400000);
    fill_table(lapic_table, LAPIC & ~0x3fffffu);
    fill_table(hole_table, 0xd0000000);
    paging((uint32_t)(uintptr_t)directory, 0);
}

static void large_pages(void)
{
    for (uint32_t i = 0; i < 1024; i++)
        directory[i] = i << 22 | PTE_LARGE;
    paging((uint32_t)(uintptr_t)directory, CR4_PSE);
}

static void pae(void)
{
    for (uint32_t i = 0; i < 4; i++) {
        pdpt[i] = (uintptr_t)pae_directory[i] | 1;
        for (uint32_t j = 0; j < 512; j++)
            pae_directory[i][j] = (i << 30 | j << 21) | PTE_LARGE;
    }
    paging((uint32_t)(uintptr_t)pdpt, CR4_PAE);
}

void guest_main(void)
{
    static const struct form_setup setup = { aim, registers, run_form };

    forms_run("32-bit, paging off", &setup);
    two_level();
    forms_run("32-bit, 4 KiB pages", &setup);
    large_pages();
    forms_run("32-bit, 4 MiB pages", &setup);
    pae();
    forms_run("32-bit, PAE", &setup);
    paging(0, 0);
}
