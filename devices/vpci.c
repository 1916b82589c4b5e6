/* PCI configuration mechanism #1, and the enhanced one. Section numbers are those of PCI Local Bus 3.0. */
#include "devices/vpci.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/guestmap.h"

/* CONFIG_ADDRESS, figure 3-2. Bits 30 to 24 and 1 to 0 read as 0. */
#define ADDRESS_ENABLE   BIT(31)
#define ADDRESS_KEPT     0x80fffffcu
#define ADDRESS_BUS(a)   (((a) >> 16) & 0xff)
#define ADDRESS_SLOT(a)  (((a) >> 11) & 0x1f)
#define ADDRESS_FUNC(a)  (((a) >> 8) & 7)
#define ADDRESS_DWORD(a) (((a) >> 2) & 0x3f)

/* PCI Express Base 3.0, 7.2.2: an offset into the enhanced configuration space. */
#define ECAM_BUS(o)  ((o) >> 20)
#define ECAM_SLOT(o) (((o) >> 15) & 0x1f)
#define ECAM_FUNC(o) (((o) >> 12) & 7)
#define ECAM_REG(o)  ((o)&0xfff)

#define CONFIG_DATA 4 /* offset from CONFIG_ADDRESS */
#define CF9_OFFSET  (VRESET_CF9_PORT - VPCI_PORT)

/* The host bridge: an Intel 82441FX, the chip that every PC operating system knows. Header: section 6.1. */
#define BRIDGE_ID      0x12378086u
#define BRIDGE_COMMAND 0x00000006u /* memory space and bus master are on and cannot be turned off */
#define BRIDGE_CLASS   0x06000002u /* class 06.00.00, revision 2 */
#define HEADER_ID      0
#define HEADER_COMMAND 1
#define HEADER_CLASS   2
#define HEADER_BAR     4
#define HEADER_PIN     15

#define PIN_INTA 0x100u /* 6.2.4 */
#define PIN_LINE 0xffu  /* where firmware notes the interrupt */

#define COMMAND_IO     0x1u /* 6.2.2 */
#define COMMAND_MEMORY 0x2u

#define BAR_IO           1u /* 6.2.5.1: the bits that only say what the BAR is */
#define BAR_MEM64        4u
#define BAR_PREFETCHABLE 8u
#define BAR_MIN_MEMORY   16u
#define BAR_MIN_IO       4u
#define BAR_MAX_IO       256u

static struct vpci_function *selected(const struct vpci *pci)
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

/* `function` may be NULL: nothing answers. */
static uint32_t read_config(const struct vpci_function *function, unsigned dword, unsigned byte,
                            unsigned size)
{
    uint32_t value;

    if (!function)
        return size_mask(size);
    value = function->read ? function->read(function->device, dword) : function->config[dword];
    return (value >> (8 * byte)) & size_mask(size);
}

uint64_t vpci_read(void *device, uint32_t offset, unsigned size)
{
    const struct vpci *pci = device;

    if (offset < CONFIG_DATA) {
        /* Only the dword is the register; narrower accesses go past it to the ports below (3.2.2.3.2). */
        if (size == 4)
            return pci->s.address;
        if (size == 1 && offset == CF9_OFFSET)
            return vreset_cf9_read(pci->reset, 0, size);
        return size_mask(size);
    }
    return read_config(selected(pci), ADDRESS_DWORD(pci->s.address), offset - CONFIG_DATA, size);
}

/* Whose space it is, NULL: nobody's. There is no extended part: behind the 256 bytes nothing answers. */
static struct vpci_function *ecam_function(const struct vpci *pci, uint32_t offset)
{
    if (ECAM_BUS(offset) != 0 || ECAM_FUNC(offset) != 0 || ECAM_REG(offset) >= 4 * VPCI_CONFIG_DWORDS)
        return NULL;
    return pci->slot[ECAM_SLOT(offset)];
}

uint64_t vpci_ecam_read(void *device, uint32_t offset, unsigned size)
{
    return read_config(ecam_function(device, offset), ECAM_REG(offset) / 4, offset % 4, size);
}

/* --- Base address registers
 * ----------------------------------------------------------------------------------------------- */

static bool is_header_bar(unsigned dword)
{
    return dword >= HEADER_BAR && dword < HEADER_BAR + VPCI_BARS;
}

/* Where the guest has put it. */
static uint64_t bar_base(const struct vpci_function *function, unsigned index)
{
    unsigned dword = HEADER_BAR + index;
    uint64_t base = function->config[dword] & function->writable[dword];

    if (function->bar[index].space == VPCI_MEM64)
        base |= (uint64_t)function->config[dword + 1] << 32;
    return base;
}

static void set_bar_base(struct vpci_function *function, unsigned index, uint64_t base)
{
    unsigned dword = HEADER_BAR + index;
    uint32_t *config = function->config;

    config[dword] = (config[dword] & ~function->writable[dword]) | (uint32_t)base;
    if (function->bar[index].space == VPCI_MEM64)
        config[dword + 1] = (uint32_t)(base >> 32);
}

/* Whether the host bridge passes accesses there on to the bus at all: RAM, the APICs and the board's ports
 * are not behind it. */
static bool is_decoded(const struct vpci_function *function, unsigned index)
{
    const struct vpci_bar *bar = &function->bar[index];
    uint64_t base = bar_base(function, index), size = bar->region.size;

    if (bar->space == VPCI_IO)
        return (function->config[HEADER_COMMAND] & COMMAND_IO) && base >= VPCI_IO_BASE &&
               base <= VPCI_IO_END - size;
    return bar->space != VPCI_NONE && (function->config[HEADER_COMMAND] & COMMAND_MEMORY) &&
           base >= GUEST_PCI_BASE && base <= GUEST_PCI_BASE + GUEST_PCI_SIZE - size;
}

static struct iobus *bus_of(const struct vpci *pci, const struct vpci_bar *bar)
{
    return bar->space == VPCI_IO ? pci->ports : pci->mmio;
}

static void unmap_bars(struct vpci *pci, struct vpci_function *function)
{
    for (unsigned i = 0; i < VPCI_BARS; i++) {
        struct vpci_bar *bar = &function->bar[i];

        if (bar->mapped)
            iobus_remove(bus_of(pci, bar), bar->region.base);
        bar->mapped = false;
    }
}

/* One for which there is no room on the bus is not reachable: -EEXIST if the place is taken, or -ENOSPC. */
static void map_bars(struct vpci *pci, struct vpci_function *function)
{
    for (unsigned i = 0; i < VPCI_BARS; i++) {
        struct vpci_bar *bar = &function->bar[i];

        if (!is_decoded(function, i))
            continue;
        bar->region.base = bar_base(function, i);
        bar->mapped = iobus_add(bus_of(pci, bar), &bar->region) == 0;
    }
}

/*
 * All of them anew, lowest slot first: so what the guest reaches follows from the registers' present values
 * alone, not from the order in which they were written, and is the same after a load.
 */
static void remap(struct vpci *pci)
{
    if (!pci->mmio)
        return;
    for (unsigned i = 0; i < VPCI_SLOTS; i++)
        if (pci->slot[i])
            unmap_bars(pci, pci->slot[i]);
    for (unsigned i = 0; i < VPCI_SLOTS; i++)
        if (pci->slot[i])
            map_bars(pci, pci->slot[i]);
}

static bool is_possible(const struct vpci_function *function, unsigned index)
{
    const struct vpci_bar *bar = &function->bar[index];
    uint32_t size = bar->region.size;

    if (bar->space == VPCI_NONE)
        return true;
    if (size == 0 || (size & (size - 1)) != 0)
        return false;
    if (bar->space == VPCI_IO)
        return size >= BAR_MIN_IO && size <= BAR_MAX_IO;
    if (bar->space == VPCI_MEM64 && (index == VPCI_BARS - 1 || function->bar[index + 1].space != VPCI_NONE))
        return false;
    return size >= BAR_MIN_MEMORY;
}

static void make_bar(struct vpci_function *function, unsigned index)
{
    const struct vpci_bar *bar = &function->bar[index];
    uint32_t *config = &function->config[HEADER_BAR + index],
             fixed = bar->prefetchable ? BAR_PREFETCHABLE : 0;
    uint32_t *writable = &function->writable[HEADER_BAR + index];

    if (bar->space == VPCI_NONE)
        return;
    if (bar->space == VPCI_IO)
        fixed = BAR_IO;
    else if (bar->space == VPCI_MEM64)
        fixed |= BAR_MEM64;
    *config = fixed;
    *writable = ~(bar->region.size - 1);
    if (bar->space == VPCI_MEM64) {
        config[1] = 0;
        writable[1] = UINT32_MAX;
    }
    function->writable[HEADER_COMMAND] |= bar->space == VPCI_IO ? COMMAND_IO : COMMAND_MEMORY;
}

/* Gives each BAR of the function a place behind those that have one; 0 if none is left. */
static void place_bars(struct vpci_function *function, uint64_t *memory, uint64_t *port)
{
    for (unsigned i = 0; i < VPCI_BARS; i++) {
        const struct vpci_bar *bar = &function->bar[i];
        uint64_t *next = bar->space == VPCI_IO ? port : memory;
        uint64_t end = bar->space == VPCI_IO ? VPCI_IO_END : GUEST_PCI_BASE + GUEST_PCI_SIZE;
        uint64_t base;

        if (bar->space == VPCI_NONE)
            continue;
        base = align_up(*next, bar->region.size);
        if (base > end - bar->region.size)
            base = 0;
        else
            *next = base + bar->region.size;
        set_bar_base(function, i, base);
        function->config[HEADER_COMMAND] |= bar->space == VPCI_IO ? COMMAND_IO : COMMAND_MEMORY;
    }
}

int vpci_check_config(const struct vpci_function *function, const uint32_t config[VPCI_CONFIG_DWORDS])
{
    for (unsigned i = 0; i < VPCI_CONFIG_DWORDS; i++)
        if ((config[i] ^ function->config[i]) & ~function->writable[i])
            return -EINVAL;
    return 0;
}

void vpci_load_config(struct vpci_function *function, const uint32_t config[VPCI_CONFIG_DWORDS])
{
    memcpy(function->config, config, sizeof(function->config));
    remap(function->bus);
}

/* --- Interrupt pins
 * ---------------------------------------------------------------------------------------------------- */

void vpci_connect(struct vpci *pci, const struct irq_line line[VPCI_LINES], void (*later)(void *context),
                  void *context)
{
    memcpy(pci->line, line, sizeof(pci->line));
    pci->later = later;
    pci->context = context;
}

void vpci_update_pins(struct vpci *pci)
{
    bool level[VPCI_LINES] = { false };

    for (unsigned i = 0; i < VPCI_SLOTS; i++) {
        const struct vpci_function *function = pci->slot[i];

        if (function && function->asserts_pin && function->asserts_pin(function->device))
            level[i % VPCI_LINES] = true;
    }
    for (unsigned i = 0; i < VPCI_LINES; i++)
        irq_line_set(&pci->line[i], level[i]);
}

void vpci_pin_rose(struct vpci *pci)
{
    if (pci->later)
        pci->later(pci->context);
}

/* --- Configuration space
 * ----------------------------------------------------------------------------------------------- */

/* `function` may be NULL. */
static void write_config(struct vpci *pci, struct vpci_function *function, unsigned dword, uint32_t mask,
                         uint32_t value)
{
    uint32_t before;

    if (!function)
        return;
    mask &= function->writable[dword];
    before = function->config[dword];
    function->config[dword] = (before & ~mask) | (value & mask);
    if (function->config[dword] != before && (dword == HEADER_COMMAND || is_header_bar(dword)))
        remap(pci);
    if (function->written)
        function->written(function->device, dword);
    if (function->asserts_pin)
        vpci_update_pins(pci);
}

void vpci_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vpci *pci = device;
    unsigned shift = 8 * (offset % 4);

    if (offset >= CONFIG_DATA)
        write_config(pci, selected(pci), ADDRESS_DWORD(pci->s.address), size_mask(size) << shift,
                     (uint32_t)value << shift);
    else if (size == 4)
        pci->s.address = value & ADDRESS_KEPT;
    else if (size == 1 && offset == CF9_OFFSET)
        vreset_cf9_write(pci->reset, 0, size, value);
}

void vpci_ecam_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    unsigned shift = 8 * (offset % 4);

    write_config(device, ecam_function(device, offset), ECAM_REG(offset) / 4, size_mask(size) << shift,
                 (uint32_t)value << shift);
}

int vpci_add(struct vpci *pci, unsigned slot, struct vpci_function *function)
{
    if (slot >= VPCI_SLOTS)
        return -EINVAL;
    if (pci->slot[slot])
        return -EEXIST;
    for (unsigned i = 0; i < VPCI_BARS; i++)
        if (!is_possible(function, i))
            return -EINVAL;
    for (unsigned i = 0; i < VPCI_BARS; i++)
        make_bar(function, i);
    if (function->asserts_pin) {
        function->config[HEADER_PIN] = PIN_INTA;
        function->writable[HEADER_PIN] = PIN_LINE;
    }
    function->bus = pci;
    pci->slot[slot] = function;
    return 0;
}

int vpci_attach(struct vpci *pci, struct iobus *ports, struct iobus *mmio)
{
    const struct io_region region = { VPCI_PORT, VPCI_SIZE, IO_8 | IO_16 | IO_32, vpci_read, vpci_write,
                                      pci,       "PCI" };
    const struct io_region ecam = {
        GUEST_ECAM_BASE, GUEST_ECAM_SIZE, IO_8 | IO_16 | IO_32, vpci_ecam_read, vpci_ecam_write, pci, "PCI"
    };
    int err = iobus_add(ports, &region);

    if (!err)
        err = iobus_add(mmio, &ecam);
    if (err)
        return err;
    pci->ports = ports;
    pci->mmio = mmio;
    vpci_reset(pci);
    return 0;
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
    uint64_t memory = GUEST_PCI_BASE, port = VPCI_IO_BASE;

    pci->s.address = 0;
    for (unsigned i = 0; i < VPCI_SLOTS; i++) {
        struct vpci_function *function = pci->slot[i];

        if (!function)
            continue;
        function->config[HEADER_COMMAND] &= ~function->writable[HEADER_COMMAND];
        if (function->asserts_pin)
            function->config[HEADER_PIN] = PIN_INTA | vpci_irq(i);
        place_bars(function, &memory, &port);
    }
    remap(pci);
    vpci_update_pins(pci);
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
