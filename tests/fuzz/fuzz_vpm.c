/* The ACPI power management block, with somebody pressing the power button. */
#include "devices/vpm.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vpm pm;
static unsigned power_offs;

static void device_reset(void)
{
    vpm_reset(&pm);
}

static void device_save(void *state)
{
    vpm_save(&pm, state);
}

static int device_check(const void *state)
{
    return vpm_check(state);
}

static void device_load(const void *state)
{
    vpm_load(&pm, state);
}

static void device_event(uint8_t what)
{
    (void)what;
    vpm_power_button(&pm);
}

static void power_off(void *vm)
{
    ++*(unsigned *)vm;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0x600, 0x601, 0x602, 0x603, 0x604, 0x605,
                                      0x606, 0x608, 0x60a, 0x60b, 0x5ff };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct vpm_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
        .event = device_event,
    };

    host_log_quiet = true;
    board_init(&board);
    vpm_init(&pm, &board.clock, &board.queue, board_line(&board, VPM_SCI), power_off, &power_offs);
    assert(vpm_attach(&pm, &board.ports) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
