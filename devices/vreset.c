/* Ports that reset the machine. */
#include "devices/vreset.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CF9_RST_CPU                                                                                          \
    0x04u              /* a change from 0 to 1 resets; the bits beside it say how hard, all one to a VM      \
                        */
#define CF9_KEPT 0x0eu /* FULL_RST, RST_CPU, SYS_RST */

#define FAST_RESET 0x01u /* a change from 0 to 1 resets */
#define FAST_A20                                                                                             \
    0x02u /* the address line is always on, as on every 64-bit CPU's machine; the bit is kept                \
           */

#define KBD_PULSE                                                                                            \
    0xf0u /* commands 0xf0 to 0xff pulse those of the output lines 0 to 3 whose bit is 0 ...                 \
           */
#define KBD_PULSE_MASK  0xf0u
#define KBD_PULSE_RESET 0x01u /* ... and line 0 is the CPU's reset */

uint64_t vreset_cf9_read(void *device, uint32_t offset, unsigned size)
{
    const struct vreset *reset = device;

    (void)offset, (void)size;
    return reset->s.cf9;
}

void vreset_cf9_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vreset *reset = device;
    uint64_t rising = value & ~(uint64_t)reset->s.cf9;

    (void)offset, (void)size;
    reset->s.cf9 = value & CF9_KEPT;
    if (rising & CF9_RST_CPU)
        reset->reset(reset->vm);
}

static uint64_t fast_read(void *device, uint32_t offset, unsigned size)
{
    const struct vreset *reset = device;

    (void)offset, (void)size;
    return reset->s.fast;
}

static void fast_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vreset *reset = device;
    uint64_t rising = value & ~(uint64_t)reset->s.fast;

    (void)offset, (void)size;
    reset->s.fast = value & (FAST_RESET | FAST_A20);
    if (rising & FAST_RESET)
        reset->reset(reset->vm);
}

static uint64_t kbd_read(void *device, uint32_t offset, unsigned size)
{
    (void)device, (void)offset, (void)size;
    return 0xff;
}

static void kbd_data_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    (void)device, (void)offset, (void)size, (void)value;
}

static void kbd_command_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vreset *reset = device;

    (void)offset, (void)size;
    if ((value & KBD_PULSE_MASK) == KBD_PULSE && !(value & KBD_PULSE_RESET))
        reset->reset(reset->vm);
}

int vreset_attach(struct vreset *reset, struct iobus *ports)
{
    const struct io_region region[] = {
        { VRESET_KBD_DATA, 1, IO_8, kbd_read, kbd_data_write, reset, "keyboard" },
        { VRESET_KBD_STATUS, 1, IO_8, kbd_read, kbd_command_write, reset, "keyboard" },
        { VRESET_FAST_PORT, 1, IO_8, fast_read, fast_write, reset, "port 92" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(region); i++) {
        int error = iobus_add(ports, &region[i]);

        if (error)
            return error;
    }
    return 0;
}

void vreset_init(struct vreset *reset, void (*call)(void *vm), void *vm)
{
    memset(reset, 0, sizeof(*reset));
    reset->reset = call;
    reset->vm = vm;
    vreset_reset(reset);
}

void vreset_reset(struct vreset *reset)
{
    reset->s = (struct vreset_state){ .fast = FAST_A20 };
}

void vreset_save(const struct vreset *reset, struct vreset_state *out)
{
    *out = reset->s;
}

int vreset_check(const struct vreset_state *state)
{
    if ((state->cf9 & ~CF9_KEPT) || (state->fast & ~(FAST_RESET | FAST_A20)))
        return -EINVAL;
    return 0;
}

void vreset_load(struct vreset *reset, const struct vreset_state *state)
{
    reset->s = *state;
}
