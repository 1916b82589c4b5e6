/* PCI configuration space, with one function beside the host bridge. */
#include "devices/vpci.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vpci pci;
static struct vreset reset;
static struct vpci_function function;
static unsigned resets;

static void device_reset(void)
{
    vpci_reset(&pci);
}

static void device_save(void *state)
{
    vpci_save(&pci, state);
}

static int device_check(const void *state)
{
    return vpci_check(state);
}

static void device_load(const void *state)
{
    vpci_load(&pci, state);
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
        .state_size = sizeof(struct vpci_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
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
    assert(vpci_attach(&pci, &board.ports) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
