/* The interval timer. */
#include "devices/vpit.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vpit pit;

static void device_reset(void)
{
    vpit_reset(&pit);
}

static void device_save(void *state)
{
    vpit_save(&pit, state);
}

static int device_check(const void *state)
{
    return vpit_check(state);
}

static void device_load(const void *state)
{
    vpit_load(&pit, state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0x40, 0x41, 0x42, 0x43, 0x43, 0x43, 0x61, 0x3f };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct vpit_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
    };

    host_log_quiet = true;
    board_init(&board);
    vpit_init(&pit, &board.clock, &board.queue, board_line(&board, VPIT_IRQ));
    assert(vpit_attach(&pit, &board.ports) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
