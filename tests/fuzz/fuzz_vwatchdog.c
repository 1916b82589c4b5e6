/* The watchdog on its bus: configuration by ports, its registers and pauses as events. */
#include "devices/vwatchdog.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board board;
static struct vpci pci;
static struct vreset reset;
static struct vwatchdog dog;
static unsigned ends;

static void device_reset(void)
{
    vwatchdog_reset(&dog);
    vpci_reset(&pci);
}

static void device_save(void *state)
{
    vwatchdog_save(&dog, state);
}

static int device_check(const void *state)
{
    return vwatchdog_check(&dog, state);
}

static void device_load(const void *state)
{
    vwatchdog_load(&dog, state);
}

static void device_event(uint8_t what)
{
    static const struct {
        uint8_t offset, size;
        uint32_t value;
    } writes[] = { { 0x0c, 2, 0x80 }, { 0x0c, 2, 0x86 },    { 0x0c, 2, 0x100 },     { 0x0c, 4, 0x300 },
                   { 0x00, 4, 0 },    { 0x04, 4, 0xffff },  { 0x00, 2, 0x8000 },    { 0x05, 1, 0xff },
                   { 0x08, 1, 1 },    { 0x0c, 4, 0x86 },    { 0x0c, 1, 0x80 },      { 0x0d, 1, 1 },
                   { 0x0e, 2, 0x80 }, { 0x04, 4, 1 << 20 }, { 0x08, 4, UINT32_MAX } };
    uint64_t base = dog.function.config[4] & ~UINT32_C(15);
    unsigned i = what % ARRAY_SIZE(writes);

    if (what == 0x80)
        vwatchdog_pause(&dog);
    else if (what == 0x81)
        vwatchdog_resume(&dog);
    else if (what & 0x40)
        iobus_read(&board.mmio, base + what % 16, writes[i].size);
    else
        iobus_write(&board.mmio, base + writes[i].offset, writes[i].size, writes[i].value);
    assert(dog.s.preload[0] <= 0xfffff && dog.s.preload[1] <= 0xfffff);
}

/* It comes once for each time that the counter was begun, and with no timer left. */
static void expired(void *vm, uint64_t ms)
{
    (void)ms;
    ++*(unsigned *)vm;
    assert(dog.s.stage == 0 && dog.s.timed_out && dog.s.paused_ns == UINT64_MAX && !vtimer_armed(&dog.timer));
}

static void machine_reset(void *vm)
{
    (void)vm;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = { 0xcf8, 0xcfc, 0xcfd, 0xcfe, 0xcff };
    static const struct fuzz_device device = {
        .ports = ports,
        .port_count = ARRAY_SIZE(ports),
        .state_size = sizeof(struct vwatchdog_state),
        .reset = device_reset,
        .save = device_save,
        .check = device_check,
        .load = device_load,
        .event = device_event,
    };

    host_log_quiet = true;
    board_init(&board);
    vreset_init(&reset, machine_reset, NULL);
    vpci_init(&pci, &reset);
    vwatchdog_init(&dog, &board.clock, &board.queue, expired, &ends);
    assert(vwatchdog_attach(&dog, &pci) == 0);
    assert(vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    fuzz_live(&device, &board, data, size);
    return 0;
}
