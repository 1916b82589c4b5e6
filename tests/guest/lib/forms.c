#include "lib/forms.h"
#include "lib/apic.h"

#define HOLE_PAGE  UINT32_C(0xd0000000) /* no RAM, no device */
#define FIRST      0xf0a53c96u          /* what the target holds before each form */
#define PAGE_WORDS 1024

static uint32_t ram_page[PAGE_WORDS] __attribute__((aligned(4096)));
static uint32_t scratch[PAGE_WORDS];

struct outcome {
    struct regs regs;
    uint32_t memory;
    uint32_t scratch[PAGE_WORDS];
};

static struct outcome on_ram, on_device;

/* One run in `page`, whose operand was prepared by the caller. */
static void run(const struct form_setup *setup, const struct form *form, uintptr_t page, struct outcome *out)
{
    for (unsigned i = 0; i < PAGE_WORDS; i++)
        scratch[i] = 0x01234567 * i + 0x89abcdef;
    memset(&out->regs, 0, sizeof(out->regs));
    setup->aim(page);
    setup->registers(&out->regs, scratch);
    setup->run(form->code, &out->regs);
    out->memory = mmio_read32(page + FORM_OFFSET);
    memcpy(out->scratch, scratch, sizeof(scratch));
}

static const char *difference(const struct form *form, bool memory)
{
    for (unsigned i = 0; i < FORM_REGS - 1; i++)
        if (on_ram.regs.reg[i] != on_device.regs.reg[i])
            return "a register";
    if ((on_ram.regs.reg[FORM_REGS - 1] ^ on_device.regs.reg[FORM_REGS - 1]) & form->flags)
        return "the flags";
    if (memory && on_ram.memory != on_device.memory)
        return "the memory operand";
    for (unsigned i = 0; i < PAGE_WORDS; i++)
        if (on_ram.scratch[i] != on_device.scratch[i])
            return "the other operand in RAM";
    return NULL;
}

static void report(const char *mode, const char *target, const struct form *form, const char *differs)
{
    print("NOTE: %s, %s: %s:\n", mode, target, form->name);
    for (unsigned i = 0; i < FORM_REGS; i++)
        if (on_ram.regs.reg[i] != on_device.regs.reg[i])
            print("NOTE:   register %u is 0x%lx on RAM, 0x%lx on the device\n", i, on_ram.regs.reg[i],
                  on_device.regs.reg[i]);
    print("NOTE:   memory is 0x%x on RAM, 0x%x on the device\n", on_ram.memory, on_device.memory);
    fail(form->name, differs);
}

static void run_all(const char *mode, const struct form_setup *setup, const char *target, uintptr_t page,
                    bool is_device)
{
    unsigned tried = 0, good = 0;
    uint32_t first = is_device ? FIRST
                               : mmio_read32(page + FORM_OFFSET); /* a hole reads the same everywhere */

    for (const struct form *form = form_table; form < form_table_end; form++) {
        const char *differs;

        if (is_device && !form->on_device)
            continue;
        for (unsigned i = 0; i < PAGE_WORDS; i++)
            ram_page[i] = first;
        if (is_device)
            mmio_write32(page + FORM_OFFSET, first);
        run(setup, form, (uintptr_t)ram_page, &on_ram);
        run(setup, form, page, &on_device);
        differs = difference(form, is_device);
        tried++;
        good += !differs;
        if (differs)
            report(mode, target, form, differs);
    }
    print("NOTE: %s, %s: %u forms\n", mode, target, tried);
    check("all forms agree with RAM", good == tried && tried > 0);
}

void forms_run(const char *mode, const struct form_setup *setup)
{
    cli();
    apic_write(APIC_LVT_TIMER, LVT_MASKED); /* one-shot: the initial count is then a plain 32-bit register */
    run_all(mode, setup, "APIC timer's initial count", APIC_BASE_ADDRESS, true);
    run_all(mode, setup, "hole", HOLE_PAGE, false);
}
