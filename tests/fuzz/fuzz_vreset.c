/* The reset ports. */
#include "devices/vreset.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vreset reset;
static unsigned resets;

static void device_reset(void)
{
    vreset_reset(&reset);
}

static void device_save(void *state)
{
    vreset_save(&reset, state);
}

static int device_check(const void *state)
{
    return vreset_check(state);
}

static void device_load(const void *state)
{
    vreset_load(&reset, state);
}

static void machine_reset(void *vm)
{
    ++*(unsigned *)vm;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0x60, 0x64, 0x92, 0x91 };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct vreset_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
    };

    host_log_quiet = true;
    board_init(&board);
    vreset_init(&reset, machine_reset, &resets);
    assert(vreset_attach(&reset, &board.ports) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
