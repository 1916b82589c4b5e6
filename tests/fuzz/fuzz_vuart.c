/* The UART, with somebody typing. */
#include "devices/vuart.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct console console;
static struct vuart uart;

static void device_reset(void)
{
    vuart_reset(&uart);
}

static void device_save(void *state)
{
    vuart_save(&uart, state);
}

static int device_check(const void *state)
{
    return vuart_check(state);
}

static void device_load(const void *state)
{
    vuart_load(&uart, state);
}

static void device_event(uint8_t what)
{
    char text[64];
    uint64_t lost;

    if (what == 0)
        console_take(&console, text, sizeof(text), &lost);
    else if (console_type(&console, (char)what))
        assert(uart.s.count > 0 || (uart.s.mcr & 0x10));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0x3f8, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x3f7 };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct vuart_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
        .event = device_event,
    };

    host_log_quiet = true;
    board_init(&board);
    console_init(&console);
    vuart_init(&uart, &board.clock, &board.queue, board_line(&board, VUART_COM1_IRQ), &console);
    assert(vuart_attach(&uart, &board.ports, VUART_COM1_PORT) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
