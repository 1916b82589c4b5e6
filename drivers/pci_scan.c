/* The functions that a machine has, and what they say of themselves. Compiles on the host. */
#include "drivers/pci.h"

#define CONFIG_BYTES 256u
#define CAP_ALIGN    4u
#define CAPS_MAX     ((CONFIG_BYTES - PCI_CAP_FIRST) / CAP_ALIGN) /* more would be a loop */

unsigned pci_capability(const struct pci_device *device, unsigned id, unsigned after)
{
    unsigned at;

    if (!(pci_read(device->at, PCI_COMMAND) & PCI_STATUS_CAPS))
        return 0;
    at = after ? pci_read(device->at, after) >> 8 & 0xff : pci_read(device->at, PCI_CAPS) & 0xff;
    for (unsigned i = 0; i < CAPS_MAX; i++) {
        uint32_t word;

        at &= ~(CAP_ALIGN - 1); /* the two low bits are reserved (6.7) */
        if (at < PCI_CAP_FIRST)
            return 0;
        word = pci_read(device->at, at);
        if ((word & 0xff) == id)
            return at;
        at = word >> 8 & 0xff;
    }
    return 0;
}

bool pci_identify(struct pci_device *device, struct pci_address at)
{
    uint32_t id = pci_read(at, PCI_ID), class;

    if ((id & 0xffff) == PCI_NO_VENDOR || PCI_HEADER_TYPE(pci_read(at, PCI_HEADER)) != 0)
        return false;
    class = pci_read(at, PCI_CLASS);
    *device = (struct pci_device){
        .at = at,
        .vendor = (uint16_t)id,
        .device = (uint16_t)(id >> 16),
        .class = (uint16_t)(class >> 16),
        .interface = (uint8_t)(class >> 8),
        .revision = (uint8_t) class,
    };
    device->msi = (uint8_t)pci_capability(device, PCI_CAP_MSI, 0);
    device->msix = (uint8_t)pci_capability(device, PCI_CAP_MSIX, 0);
    return true;
}

void pci_command(const struct pci_device *device, uint32_t set, uint32_t clear)
{
    uint32_t command = pci_read(device->at, PCI_COMMAND) & PCI_COMMAND_MASK;

    pci_write(device->at, PCI_COMMAND, (command & ~clear) | set);
}

/* Which bits of a BAR are there (6.2.5.1): all are set, and come back. */
static uint32_t bits_of(struct pci_address at, unsigned offset, uint32_t *value)
{
    uint32_t bits;

    *value = pci_read(at, offset);
    pci_write(at, offset, 0xffffffff);
    bits = pci_read(at, offset);
    pci_write(at, offset, *value);
    return bits;
}

static void measure(struct pci_address at, unsigned n, struct pci_bar *bar)
{
    uint32_t low, up = 0, low_bits = bits_of(at, PCI_BAR(n), &low), up_bits = 0xffffffff;
    uint64_t bits;

    bar->io = low & PCI_BAR_IO;
    if (bar->io) {
        bar->base = low & PCI_BAR_IO_MASK;
        low_bits &= PCI_BAR_IO_MASK;
        bar->size = low_bits ? (~low_bits + 1) & 0xffff : 0; /* the upper half may be fixed to 0 */
        return;
    }
    bar->prefetchable = low & PCI_BAR_PREFETCH;
    if ((low & PCI_BAR_TYPE_MASK) == PCI_BAR_TYPE_64 && n + 1 < PCI_BARS)
        up_bits = bits_of(at, PCI_BAR(n + 1), &up);
    bar->base = (uint64_t)up << 32 | (low & PCI_BAR_MEMORY_MASK);
    bits = (uint64_t)up_bits << 32 | (low_bits & PCI_BAR_MEMORY_MASK);
    bar->size = ~bits + 1;
}

struct pci_bar pci_bar(const struct pci_device *device, unsigned n)
{
    struct pci_bar bar = { 0 };
    uint32_t decoded;

    if (n >= PCI_BARS)
        return bar;
    decoded = pci_read(device->at, PCI_COMMAND) & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    pci_command(device, 0, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    measure(device->at, n, &bar);
    pci_command(device, decoded, 0);
    /* What is no power of two, or not aligned to its size, is no BAR; nor is one that firmware gave no place.
     */
    if (bar.base == 0 || (bar.size & (bar.size - 1)) != 0 || (bar.size && !is_aligned(bar.base, bar.size)) ||
        (bar.io && bar.base > 0xffff))
        bar.size = 0;
    return bar;
}

static bool is_for(const struct pci_driver *driver, const struct pci_device *device)
{
    if (driver->by_class)
        return driver->class == device->class &&
               (device->interface & driver->interface_mask) == driver->interface;
    return driver->vendor == device->vendor && driver->device == device->device;
}

static void offer(struct pci_address at, const struct pci_driver *const *driver, unsigned drivers)
{
    struct pci_device device;

    if (!pci_identify(&device, at))
        return;
    for (unsigned i = 0; i < drivers; i++)
        if (is_for(driver[i], &device) && driver[i]->probe(&device) == 0)
            return;
}

void pci_probe(const struct pci_driver *const *driver, unsigned drivers)
{
    for (unsigned slot = 0; slot < PCI_BUSES * PCI_SLOTS; slot++) {
        struct pci_address at = { .bus = (uint8_t)(slot / PCI_SLOTS), .slot = (uint8_t)(slot % PCI_SLOTS) };
        unsigned functions;

        if ((pci_read(at, PCI_ID) & 0xffff) == PCI_NO_VENDOR)
            continue; /* function 0 is always there (3.2.2.3.4) */
        functions = pci_read(at, PCI_HEADER) & PCI_HEADER_SEVERAL ? PCI_FUNCTIONS : 1;
        for (unsigned function = 0; function < functions; function++) {
            at.function = (uint8_t)function;
            offer(at, driver, drivers);
        }
    }
}
