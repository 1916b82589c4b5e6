/* The I/O bus. Guests hit the same device many times in a row, so the region of the last hit is tried first.
 */
#include "vmx/iobus.h"
#include "lib/errno.h"
#include "lib/string.h"

void iobus_init(struct iobus *bus)
{
    memset(bus, 0, sizeof(*bus));
    bus->last = &bus->region[0];
}

/* Every width that it allows divides its size. */
static bool widths_ok(const struct io_region *region)
{
    for (unsigned width = IO_8; width <= IO_64; width *= 2)
        if ((region->widths & width) && region->size % width != 0)
            return false;
    return region->widths != 0 && (region->widths & ~(IO_8 | IO_16 | IO_32 | IO_64)) == 0;
}

int iobus_add(struct iobus *bus, const struct io_region *region)
{
    unsigned at = 0;

    if (region->size == 0 || region->base > UINT64_MAX - region->size || !widths_ok(region))
        return -EINVAL;
    if (bus->count == IOBUS_MAX_REGIONS)
        return -ENOSPC;
    while (at < bus->count && bus->region[at].base < region->base)
        at++;
    if (at > 0 && region->base - bus->region[at - 1].base < bus->region[at - 1].size)
        return -EEXIST;
    if (at < bus->count && bus->region[at].base - region->base < region->size)
        return -EEXIST;
    memmove(&bus->region[at + 1], &bus->region[at], (bus->count - at) * sizeof(*region));
    bus->region[at] = *region;
    bus->count++;
    return 0;
}

void iobus_remove(struct iobus *bus, uint64_t base)
{
    for (unsigned i = 0; i < bus->count; i++) {
        if (bus->region[i].base != base)
            continue;
        bus->count--;
        memmove(&bus->region[i], &bus->region[i + 1], (bus->count - i) * sizeof(bus->region[0]));
        bus->region[bus->count].size = 0; /* the last hit may be this one */
        return;
    }
}

/* Whether the region takes this very access, whole: aligned and beginning inside, it also ends inside
 * (widths_ok()). */
static __always_inline bool takes(const struct io_region *region, uint64_t address, unsigned size)
{
    uint64_t offset = address - region->base;

    return offset < region->size && (region->widths & size) && (offset & (size - 1)) == 0;
}

/* The region that holds the byte at `address`, also made the last one; NULL if none does. */
static struct io_region *find(struct iobus *bus, uint64_t address)
{
    unsigned low = 0, high = bus->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (bus->region[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || address - bus->region[low - 1].base >= bus->region[low - 1].size)
        return NULL;
    bus->last = &bus->region[low - 1];
    return bus->last;
}

/* The widest piece at the start of an access that one region takes; 0 when there is none. */
static unsigned widest_piece(const struct io_region *region, uint64_t address, unsigned left)
{
    unsigned size = 8;

    while (size > 0 && (size > left || !takes(region, address, size)))
        size /= 2;
    return size;
}

static __attribute__((noinline)) uint64_t read_slow(struct iobus *bus, uint64_t address, unsigned size)
{
    uint64_t value = 0;
    unsigned done = 0, refused = 0;

    while (done < size) {
        struct io_region *region = find(bus, address + done);
        unsigned piece = region ? widest_piece(region, address + done, size - done) : 0;
        uint64_t part = 0xff;

        if (piece)
            part = region->read(region->device, (uint32_t)(address + done - region->base), piece);
        else
            refused = piece = 1;
        value |= part << (8 * done);
        done += piece;
    }
    bus->unclaimed += refused;
    return value;
}

static __attribute__((noinline)) void write_slow(struct iobus *bus, uint64_t address, unsigned size,
                                                 uint64_t value)
{
    unsigned done = 0, refused = 0;

    while (done < size) {
        struct io_region *region = find(bus, address + done);
        unsigned piece = region ? widest_piece(region, address + done, size - done) : 0;
        uint64_t part = value >> (8 * done);

        if (piece)
            region->write(region->device, (uint32_t)(address + done - region->base), piece,
                          part & (UINT64_MAX >> (64 - 8 * piece)));
        else
            refused = piece = 1;
        done += piece;
    }
    bus->unclaimed += refused;
}

uint64_t iobus_read(struct iobus *bus, uint64_t address, unsigned size)
{
    const struct io_region *region = bus->last;

    if (likely(takes(region, address, size)))
        return region->read(region->device, (uint32_t)(address - region->base), size);
    return read_slow(bus, address, size);
}

void iobus_write(struct iobus *bus, uint64_t address, unsigned size, uint64_t value)
{
    const struct io_region *region = bus->last;

    if (likely(takes(region, address, size)))
        region->write(region->device, (uint32_t)(address - region->base), size, value);
    else
        write_slow(bus, address, size, value);
}
