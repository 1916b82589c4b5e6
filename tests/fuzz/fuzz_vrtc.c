/* The real-time clock. Half of the inputs start in the last second of a century. */
#include "devices/vrtc.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vrtc rtc;

static void device_reset(void)
{
    vrtc_reset(&rtc);
}

static void device_save(void *state)
{
    vrtc_save(&rtc, state);
}

static int device_check(const void *state)
{
    return vrtc_check(state);
}

static void device_load(const void *state)
{
    vrtc_load(&rtc, state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0x70, 0x71, 0x71, 0x71 };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct vrtc_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
    };

    host_log_quiet = true;
    board_init(&board);
    vrtc_init(&rtc, &board.clock, &board.queue, board_line(&board, VRTC_IRQ),
              size % 2 ? UINT64_C(4102444799) : 951782400, GiB, size % 3 * GiB);
    assert(vrtc_attach(&rtc, &board.ports) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
