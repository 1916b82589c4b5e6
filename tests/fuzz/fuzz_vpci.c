/* PCI configuration space: a plain function, and two with BARs, which must never get out of the window. */
#include "devices/vpci.h"
#include "tests/fuzz/device.h"
#include "vmx/guestmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vpci pci;
static struct vreset reset;
static struct vpci_function function;
static struct vpci_function bars[2];
static unsigned resets;

struct saved {
    struct vpci_state bus;
    uint32_t config[VPCI_CONFIG_DWORDS]; /* of bars[0] */
};

/* Each bus holds what it held at first, and the mapped BARs; these lie where BARs may. */
static void check_buses(void)
{
    unsigned ports = 2, memory = 3;

    for (unsigned i = 0; i < ARRAY_SIZE(bars); i++) {
        for (unsigned j = 0; j < VPCI_BARS; j++) {
            const struct vpci_bar *bar = &bars[i].bar[j];
            uint64_t first = bar->space == VPCI_IO ? VPCI_IO_BASE : GUEST_PCI_BASE;
            uint64_t end = bar->space == VPCI_IO ? VPCI_IO_END : GUEST_PCI_BASE + GUEST_PCI_SIZE;

            if (!bar->mapped)
                continue;
            ports += bar->space == VPCI_IO;
            memory += bar->space != VPCI_IO;
            assert(bar->region.base >= first && bar->region.base + bar->region.size <= end);
            assert(bar->region.base % bar->region.size == 0);
            assert(bars[i].config[1] & (bar->space == VPCI_IO ? 1 : 2));
        }
    }
    assert(board.ports.count == ports && board.mmio.count == memory);
    for (unsigned i = 1; i < memory; i++)
        assert(board.mmio.region[i].base - board.mmio.region[i - 1].base >= board.mmio.region[i - 1].size);
}

static void device_reset(void)
{
    vpci_reset(&pci);
    check_buses();
}

static void device_save(void *state)
{
    struct saved *saved = state;

    vpci_save(&pci, &saved->bus);
    memcpy(saved->config, bars[0].config, sizeof(saved->config));
}

static int device_check(const void *state)
{
    const struct saved *saved = state;

    return vpci_check(&saved->bus) ? -1 : vpci_check_config(&bars[0], saved->config);
}

static void device_load(const void *state)
{
    const struct saved *saved = state;

    vpci_load(&pci, &saved->bus);
    vpci_load_config(&bars[0], saved->config);
    check_buses();
}

/* What stays where it is says so, whatever BARs are around it. */
static uint64_t fixed_read(void *device, uint32_t offset, unsigned size)
{
    (void)device, (void)offset, (void)size;
    return 0x5a;
}

static void fixed_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    (void)device, (void)offset, (void)size, (void)value;
}

static uint64_t bar_read(void *device, uint32_t offset, unsigned size)
{
    const struct vpci_bar *bar = device;

    assert(bar->mapped && offset + size <= bar->region.size);
    return 0;
}

static void bar_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    (void)value;
    bar_read(device, offset, size);
}

/* The guest uses a BAR, mapped or not, or a device of the board. */
static void device_event(uint8_t what)
{
    const struct vpci_bar *bar = &bars[what & 1].bar[(what >> 1) % VPCI_BARS];
    struct iobus *bus = bar->space == VPCI_IO ? &board.ports : &board.mmio;

    check_buses();
    iobus_read(bus, bar->region.base + what % 16, 4);
    iobus_write(bus, bar->region.base, 8, what);
    assert(iobus_read(&board.mmio, GUEST_IOAPIC_BASE, 1) == 0x5a);
    assert(iobus_read(&board.mmio, 0xd0000000, 1) == 0x5a && iobus_read(&board.ports, 0x3000, 1) == 0x5a);
}

static void set_bar(struct vpci_bar *bar, enum vpci_space space, uint32_t size)
{
    bar->space = space;
    bar->region = (struct io_region){ 0, size, IO_8 | IO_32, bar_read, bar_write, bar, "BAR" };
}

static void add_bars(void)
{
    static const struct io_region fixed[] = {
        { GUEST_IOAPIC_BASE, 4096, IO_8, fixed_read, fixed_write, NULL, "fixed" },
        { 0xd0000000, 4096, IO_8, fixed_read, fixed_write, NULL, "fixed" },
        { 0x3000, 16, IO_8, fixed_read, fixed_write, NULL, "fixed" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
        assert(iobus_add(i < 2 ? &board.mmio : &board.ports, &fixed[i]) == 0);
    memset(bars, 0, sizeof(bars));
    set_bar(&bars[0].bar[0], VPCI_MEM32, 4096);
    set_bar(&bars[0].bar[1], VPCI_IO, 64);
    set_bar(&bars[0].bar[2], VPCI_MEM64, 1 << 20);
    set_bar(&bars[0].bar[5], VPCI_MEM32, 16);
    set_bar(&bars[1].bar[0], VPCI_IO, 256);
    set_bar(&bars[1].bar[4], VPCI_MEM64, 0x80000000);
    set_bar(&bars[1].bar[1], VPCI_MEM32, 1 << 16);
    assert(vpci_add(&pci, 2, &bars[0]) == 0);
    assert(vpci_add(&pci, 3, &bars[1]) == 0);
}

static void machine_reset(void *vm)
{
    ++*(unsigned *)vm;
}

/* Nothing but the writable bits ever changes. */
static void check_masks(void *device, unsigned dword)
{
    (void)device;
    assert(dword < VPCI_CONFIG_DWORDS);
    assert(((function.config[dword] ^ 0x5a5a5a5a) & ~function.writable[dword]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0xcf8, 0xcf8, 0xcf9, 0xcfa, 0xcfb, 0xcfc, 0xcfd, 0xcfe, 0xcff, 0xd00 };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct saved),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
        .event = device_event,
    };

    host_log_quiet = true;
    board_init(&board);
    vreset_init(&reset, machine_reset, &resets);
    vpci_init(&pci, &reset);
    function = (struct vpci_function){ .written = check_masks };
    memset(function.config, 0x5a, sizeof(function.config));
    function.writable[1] = 0xffff;
    function.writable[4] = 0xfffff000;
    assert(vpci_add(&pci, 1, &function) == 0);
    add_bars();
    assert(vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
