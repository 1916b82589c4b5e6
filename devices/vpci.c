/* PCI configuration mechanism #1. Section numbers are those of PCI Local Bus 3.0. */
#include "devices/vpci.h"
#include "lib/errno.h"
#include "lib/string.h"

/* CONFIG_ADDRESS, figure 3-2. Bits 30 to 24 and 1 to 0 read as 0. */
#define ADDRESS_ENABLE   BIT(31)
#define ADDRESS_KEPT     0x80fffffcu
#define ADDRESS_BUS(a)   (((a) >> 16) & 0xff)
#define ADDRESS_SLOT(a)  (((a) >> 11) & 0x1f)
#define ADDRESS_FUNC(a)  (((a) >> 8) & 7)
#define ADDRESS_DWORD(a) (((a) >> 2) & 0x3f)

#define CONFIG_DATA 4 /* offset from CONFIG_ADDRESS */
#define CF9_OFFSET  (VRESET_CF9_PORT - VPCI_PORT)

/* The host bridge: an Intel 82441FX, the chip that every PC operating system knows. Header: section 6.1. */
#define BRIDGE_ID      0x12378086u
#define BRIDGE_COMMAND 0x00000006u /* memory space and bus master are on and cannot be turned off */
#define BRIDGE_CLASS   0x06000002u /* class 06.00.00, revision 2 */
#define HEADER_ID      0
#define HEADER_COMMAND 1
#define HEADER_CLASS   2

static const struct vpci_function *selected(const struct vpci *pci)
{
    uint32_t a = pci->s.address;

    if (!(a & ADDRESS_ENABLE) || ADDRESS_BUS(a) != 0 || ADDRESS_FUNC(a) != 0)
        return NULL;
    return pci->slot[ADDRESS_SLOT(a)];
}

static uint32_t size_mask(unsigned size)
{
    return UINT32_MAX >> (32 - 8 * size);
}

uint64_t vpci_read(void *device, uint32_t offset, unsigned size)
{
    const struct vpci *pci = device;
    const struct vpci_function *function;
    unsigned dword = ADDRESS_DWORD(pci->s.address);
    uint32_t value;

    if (offset < CONFIG_DATA) {
        /* Only the dword is the register; narrower accesses go past it to the ports below (3.2.2.3.2). */
        if (size == 4)
            return pci->s.address;
        if (size == 1 && offset == CF9_OFFSET)
            return vreset_cf9_read(pci->reset, 0, size);
        return size_mask(size);
    }
    function = selected(pci);
    if (!function)
        return size_mask(size);
    value = function->read ? function->read(function->device, dword) : function->config[dword];
    return (value >> (8 * (offset - CONFIG_DATA))) & size_mask(size);
}

static void write_config(struct vpci *pci, uint32_t mask, uint32_t value)
{
    unsigned dword = ADDRESS_DWORD(pci->s.address);
    struct vpci_function *function;

    if (!selected(pci))
        return;
    function = pci->slot[ADDRESS_SLOT(pci->s.address)];
    mask &= function->writable[dword];
    function->config[dword] = (function->config[dword] & ~mask) | (value & mask);
    if (function->written)
        function->written(function->device, dword);
}

void vpci_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vpci *pci = device;
    unsigned shift = 8 * (offset % 4);

    if (offset >= CONFIG_DATA)
        write_config(pci, size_mask(size) << shift, (uint32_t)value << shift);
    else if (size == 4)
        pci->s.address = value & ADDRESS_KEPT;
    else if (size == 1 && offset == CF9_OFFSET)
        vreset_cf9_write(pci->reset, 0, size, value);
}

int vpci_add(struct vpci *pci, unsigned slot, struct vpci_function *function)
{
    if (slot >= VPCI_SLOTS)
        return -EINVAL;
    if (pci->slot[slot])
        return -EEXIST;
    pci->slot[slot] = function;
    return 0;
}

int vpci_attach(struct vpci *pci, struct iobus *ports)
{
    const struct io_region region = { VPCI_PORT, VPCI_SIZE, IO_8 | IO_16 | IO_32, vpci_read, vpci_write,
                                      pci,       "PCI" };

    return iobus_add(ports, &region);
}

void vpci_init(struct vpci *pci, struct vreset *reset)
{
    memset(pci, 0, sizeof(*pci));
    pci->reset = reset;
    pci->bridge.config[HEADER_ID] = BRIDGE_ID;
    pci->bridge.config[HEADER_COMMAND] = BRIDGE_COMMAND;
    pci->bridge.config[HEADER_CLASS] = BRIDGE_CLASS;
    pci->slot[0] = &pci->bridge;
}

void vpci_reset(struct vpci *pci)
{
    pci->s.address = 0;
}

void vpci_save(const struct vpci *pci, struct vpci_state *out)
{
    *out = pci->s;
}

int vpci_check(const struct vpci_state *state)
{
    return state->address & ~ADDRESS_KEPT ? -EINVAL : 0;
}

void vpci_load(struct vpci *pci, const struct vpci_state *state)
{
    pci->s = *state;
}
