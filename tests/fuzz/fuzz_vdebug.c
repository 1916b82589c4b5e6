/* The debugging ports. */
#include "devices/vdebug.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vdebug debug;
static unsigned exits;

static void device_reset(void)
{
    vdebug_reset(&debug);
}

static void device_save(void *state)
{
    vdebug_save(&debug, state);
}

static int device_check(const void *state)
{
    return vdebug_check(state);
}

static void device_load(const void *state)
{
    vdebug_load(&debug, state);
}

static void machine_exit(void *vm, uint32_t code)
{
    *(unsigned *)vm += code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0x80, 0xe9, 0xf4, 0xf5, 0xf6, 0xf7 };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct vdebug_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
    };

    host_log_quiet = true;
    board_init(&board);
    vdebug_init(&debug, machine_exit, &exits);
    assert(vdebug_attach(&debug, &board.ports) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
