/* Debugging ports. */
#include "devices/vdebug.h"
#include "lib/string.h"

static uint64_t absent_read(void *device, uint32_t offset, unsigned size)
{
    (void)device, (void)offset;
    return UINT32_MAX >> (32 - 8 * size);
}

static void absent_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    (void)device, (void)offset, (void)size, (void)value;
}

static void exit_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vdebug *debug = device;

    (void)size;
    if (offset == 0)
        debug->exit(debug->vm, (uint32_t)value);
}

static uint64_t post_read(void *device, uint32_t offset, unsigned size)
{
    const struct vdebug *debug = device;

    (void)offset, (void)size;
    return debug->s.post;
}

static void post_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vdebug *debug = device;

    (void)offset, (void)size;
    debug->s.post = (uint8_t)value;
}

int vdebug_attach(struct vdebug *debug, struct iobus *ports)
{
    const struct io_region exit_port = { VDEBUG_EXIT_PORT, VDEBUG_EXIT_SIZE, IO_8 | IO_16 | IO_32,
                                         absent_read,      exit_write,       debug,
                                         "debug exit" };
    const struct io_region console = { VDEBUG_CONSOLE_PORT, 1,     IO_8,           absent_read,
                                       absent_write,        debug, "debug console" };
    const struct io_region post = { VDEBUG_POST_PORT, 1, IO_8, post_read, post_write, debug, "POST code" };
    int error = debug->exit ? iobus_add(ports, &exit_port) : 0;

    if (!error)
        error = iobus_add(ports, &console);
    if (!error)
        error = iobus_add(ports, &post);
    return error;
}

void vdebug_init(struct vdebug *debug, void (*exit)(void *vm, uint32_t code), void *vm)
{
    memset(debug, 0, sizeof(*debug));
    debug->exit = exit;
    debug->vm = vm;
}

void vdebug_reset(struct vdebug *debug)
{
    debug->s = (struct vdebug_state){ 0 };
}

void vdebug_save(const struct vdebug *debug, struct vdebug_state *out)
{
    *out = debug->s;
}

/* Any code may have been written. */
int vdebug_check(const struct vdebug_state *state)
{
    (void)state;
    return 0;
}

void vdebug_load(struct vdebug *debug, const struct vdebug_state *state)
{
    debug->s = *state;
}
