/* Memory and interrupts of a PCI function. */
#include "drivers/pci.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "kernel/frames.h"
#include "kernel/log.h"
#include "lib/errno.h"

#define LINE_MAX 8 /* devices on one INTx line */

/* A device that says so lies, or firmware erred. */
static bool is_no_ram(uint64_t at)
{
    return frames_owner(hpa(align_down(at, PAGE_SIZE))) == FRAME_RESERVED;
}

volatile void *pci_map(const struct pci_device *device, unsigned n, uint64_t size)
{
    struct pci_bar bar = pci_bar(device, n);
    volatile void *at = NULL;

    if (bar.size >= size && size && !bar.io && is_no_ram(bar.base) && is_no_ram(bar.base + size - 1))
        at = map_device(hpa(bar.base), size);
    if (at)
        pci_command(device, PCI_COMMAND_MEMORY, 0);
    else
        log_warn("pci %02x:%02x.%x: BAR %u, at %llx with %llu bytes, cannot be used", device->at.bus,
                 device->at.slot, device->at.function, n, (unsigned long long)bar.base,
                 (unsigned long long)bar.size);
    return at;
}

/* --- MSI-X */

unsigned pci_msix_entries(const struct pci_device *device)
{
    return device->msix ? PCI_MSIX_LAST(pci_read(device->at, device->msix)) + 1 : 0;
}

/* Maps the table, every entry of it masked, and turns MSI-X on. */
static int msix_begin(struct pci_device *device)
{
    unsigned entries = pci_msix_entries(device);
    uint32_t where = pci_read(device->at, device->msix + PCI_MSIX_TABLE);
    volatile uint8_t *bar;

    bar = pci_map(device, PCI_MSIX_BAR(where), PCI_MSIX_OFFSET(where) + (uint64_t)entries * PCI_MSIX_ENTRY);
    if (!bar)
        return -ENODEV;
    device->msix_table = bar + PCI_MSIX_OFFSET(where);
    for (unsigned i = 0; i < entries; i++)
        *(volatile uint32_t *)(device->msix_table + i * PCI_MSIX_ENTRY +
                               PCI_MSIX_ENTRY_CONTROL) = PCI_MSIX_ENTRY_MASKED;
    pci_command(device, PCI_COMMAND_INTX_OFF, 0);
    pci_write(device->at, device->msix,
              (pci_read(device->at, device->msix) & (uint32_t)~PCI_MSIX_MASK_ALL) |
                  (uint32_t)PCI_MSIX_ENABLE);
    return 0;
}

int pci_msix(struct pci_device *device, unsigned entry, uint32_t apic_id, irq_handler *handler, void *context)
{
    volatile uint8_t *at;
    int vector, error;

    if (entry >= pci_msix_entries(device) || apic_id > PCI_MESSAGE_MAX_ID)
        return -ENODEV;
    if (!device->msix_table) {
        error = msix_begin(device);
        if (error)
            return error;
    }
    vector = irq_alloc(handler, context);
    if (vector < 0)
        return vector;
    at = device->msix_table + entry * PCI_MSIX_ENTRY;
    *(volatile uint32_t *)(at + PCI_MSIX_ENTRY_ADDRESS) = PCI_MESSAGE_ADDRESS(apic_id);
    *(volatile uint32_t *)(at + PCI_MSIX_ENTRY_UP) = 0;
    *(volatile uint32_t *)(at + PCI_MSIX_ENTRY_DATA) = (uint32_t)vector;
    *(volatile uint32_t *)(at + PCI_MSIX_ENTRY_CONTROL) = 0;
    return 0;
}

/* --- MSI, one message */

static int msi(struct pci_device *device, irq_handler *handler, void *context)
{
    uint32_t control = pci_read(device->at, device->msi);
    bool is_64 = control & PCI_MSI_64;
    unsigned data = device->msi + PCI_MSI_DATA(is_64);
    int vector;

    if (this_cpu()->apic_id > PCI_MESSAGE_MAX_ID)
        return -ENODEV;
    vector = irq_alloc(handler, context);
    if (vector < 0)
        return vector;
    pci_write(device->at, device->msi + PCI_MSI_ADDRESS, PCI_MESSAGE_ADDRESS(this_cpu()->apic_id));
    if (is_64)
        pci_write(device->at, device->msi + PCI_MSI_ADDRESS_UP, 0);
    pci_write(device->at, data, (pci_read(device->at, data) & 0xffff0000u) | (uint32_t)vector);
    pci_command(device, PCI_COMMAND_INTX_OFF, 0);
    pci_write(device->at, device->msi, (control & ~PCI_MSI_SEVERAL) | (uint32_t)PCI_MSI_ENABLE);
    return 0;
}

/* --- INTx */

static struct line {
    unsigned count;
    struct {
        irq_handler *handler;
        void *context;
    } device[LINE_MAX];
} lines[ACPI_ISA_IRQS];

static void line_interrupt(void *context)
{
    const struct line *line = context;

    for (unsigned i = 0; i < line->count; i++)
        line->device[i].handler(line->device[i].context);
}

static int intx(struct pci_device *device, irq_handler *handler, void *context)
{
    uint32_t interrupt = pci_read(device->at, PCI_INTERRUPT);
    unsigned number = interrupt & 0xff;
    struct line *line = &lines[number % ACPI_ISA_IRQS];
    int error;

    if ((interrupt & 0xff00) == 0 || number == 0 || number >= ACPI_ISA_IRQS)
        return -ENODEV;
    if (line->count == LINE_MAX)
        return -ENOSPC;
    line->device[line->count].handler = handler;
    line->device[line->count].context = context;
    if (line->count == 0) {
        error = irq_connect_isa(number, line_interrupt, line);
        if (error)
            return error;
    }
    line->count++;
    pci_command(device, 0, PCI_COMMAND_INTX_OFF);
    return 0;
}

int pci_interrupt(struct pci_device *device, irq_handler *handler, void *context)
{
    if (device->msix && pci_msix(device, 0, this_cpu()->apic_id, handler, context) == 0)
        return 0;
    if (device->msi && msi(device, handler, context) == 0)
        return 0;
    return intx(device, handler, context);
}
