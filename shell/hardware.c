/* Commands that show what the machine has. */
#include "arch/x86_64/acpi.h"
#include "drivers/pci.h"
#include "kernel/irq.h"
#include "lib/format.h"
#include "lib/pciclass.h"
#include "shell/commands.h"
#include "shell/output.h"

/* --- pci */

static struct pci_address next; /* the function to be asked next */
static bool all_asked;

/* The function behind `at`, slot by slot and bus by bus. */
static void go_on(bool has_more_functions)
{
    if (has_more_functions && ++next.function < PCI_FUNCTIONS)
        return;
    next.function = 0;
    if (++next.slot < PCI_SLOTS)
        return;
    next.slot = 0;
    if (++next.bus == 0)
        all_asked = true;
}

static void pci_cells(struct pci_address at, uint32_t id)
{
    uint32_t class = pci_read(at, PCI_CLASS);
    char address[16], ids[16];

    format_text(address, sizeof(address), "%02x:%02x.%x", at.bus, at.slot, at.function);
    format_text(ids, sizeof(ids), "%04x:%04x", id & 0xffff, id >> 16);
    cell_text("address", 7, address);
    cell_text("id", 9, ids);
    format_text(ids, sizeof(ids), "%02x%02x", class >> 24, class >> 16 & 0xff);
    cell_text("class", 5, ids);
    cell_text("what", 0, pci_class_name((uint8_t)(class >> 24), (uint8_t)(class >> 16)));
}

/* One function that is there; at the end of a bus the CPU goes to others, since each question takes about a
 * microsecond. */
static enum output_more pci_row(unsigned row)
{
    if (row == 0) {
        next = (struct pci_address){ 0 };
        all_asked = false;
    }
    while (!all_asked) {
        struct pci_address at = next;
        uint32_t id = pci_read(at, PCI_ID);
        bool there = (id & 0xffff) != PCI_NO_VENDOR;

        go_on(at.function != 0 || (there && (pci_read(at, PCI_HEADER) & PCI_HEADER_SEVERAL)));
        if (there) {
            pci_cells(at, id);
            return OUTPUT_MORE;
        }
        if (next.bus != at.bus && !all_asked)
            return OUTPUT_LATER;
    }
    return OUTPUT_END;
}

void run_pci(int count, char *word[SHELL_ARGS])
{
    static const struct listing pci = { "functions", "ADDRESS ID        CLASS WHAT", pci_row };

    (void)count;
    (void)word;
    output_listing(&pci);
}

/* --- irq */

static const char *name_of(unsigned vector)
{
    if (vector <= IRQ_LAST)
        return "a message of a PCI device";
    switch (vector) {
    case IRQ_VECTOR_TIMER:
        return "the CPU's own timer";
    case IRQ_VECTOR_KICK:
        return "kicks from other CPUs";
    case IRQ_VECTOR_ERROR:
        return "errors that a local APIC found";
    case IRQ_VECTOR_SPURIOUS:
        return "spurious: taken back before the CPU took it";
    default:
        return "";
    }
}

/* The ISA interrupt that comes in there, or -1. */
static int isa_of(int gsi)
{
    for (int i = 0; i < ACPI_ISA_IRQS; i++)
        if (acpi.isa[i].gsi == (uint32_t)gsi)
            return i;
    return -1;
}

static enum output_more irq_row(unsigned at)
{
    unsigned vector = IRQ_FIRST + at;
    struct irq_info info;
    char text[64];

    if (vector > IRQ_VECTOR_SPURIOUS)
        return OUTPUT_END;
    info = irq_info(vector);
    if (!info.bound && !info.count)
        return OUTPUT_MORE;
    format_text(text, sizeof(text), "%02x", vector);
    cell_text("vector", 6, text);
    cell_number("count", 12, info.count);
    if (info.gsi < 0)
        format_text(text, sizeof(text), "%s",
                    info.bound || vector == IRQ_VECTOR_SPURIOUS ? name_of(vector) : "nobody asked for it");
    else if (isa_of(info.gsi) >= 0)
        format_text(text, sizeof(text), "I/O APIC input %d, ISA interrupt %d", info.gsi, isa_of(info.gsi));
    else
        format_text(text, sizeof(text), "I/O APIC input %d", info.gsi);
    cell_text("from", 0, text);
    return OUTPUT_MORE;
}

void run_irq(int count, char *word[SHELL_ARGS])
{
    static const struct listing irq = { "vectors", "VECTOR        COUNT FROM", irq_row };

    (void)count;
    (void)word;
    output_listing(&irq);
}
