/* Every form of instruction on a device register in 16-bit code, real mode: the forms are in mmio16.asm. */
#include "lib/forms.h"

void run_form(const void *code, struct regs *regs);
extern uint64_t gdt[];
extern const char low_load[];
extern char low_start[], low_end[];

static uint64_t data_segment(uintptr_t base)
{
    return 0x00cf93000000ffff | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
}

/* Real mode keeps the bases and limits that these descriptors load. */
static void aim(uintptr_t page)
{
    gdt[3] = data_segment(page);
}

static void registers(struct regs *regs, void *scratch)
{
    unsigned long *r = regs->reg;

    gdt[6] = data_segment((uintptr_t)scratch);
    r[0] = 0x55667788;
    r[1] = 0x76543210;
    r[2] = 8;
    r[3] = FORM_OFFSET - 0x100;
    r[4] = FORM_OFFSET;
    r[5] = 0;
    r[6] = FORM_OFFSET;
    r[7] = 0x2 | RFLAGS_CF;
}

void guest_main(void)
{
    static const struct form_setup setup = { aim, registers, run_form };

    memcpy(low_start, low_load, (size_t)(low_end - low_start));
    forms_run("real mode", &setup);
}
