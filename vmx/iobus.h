/*
 * The I/O bus: sorted regions of ports or of guest physical addresses, each with a device model behind it.
 * It checks width, alignment and bounds once, so a device's handlers see only accesses that its region
 * allows. Compiles on the host.
 */
#pragma once

#include "lib/types.h"

#define IOBUS_MAX_REGIONS 32

/* Access widths that a region allows: the OR of the sizes in bytes. */
#define IO_8  1u
#define IO_16 2u
#define IO_32 4u
#define IO_64 8u

/*
 * The two handlers of a device's region. `offset` is relative to the region's base; `size` is 1, 2, 4 or 8
 * and is one of the region's widths; offset is a multiple of size and offset + size lies inside the region.
 * A read returns the value zero-extended. They run on the CPU that executes the vCPU, interrupts off.
 */
typedef uint64_t io_read_fn(void *device, uint32_t offset, unsigned size);
typedef void io_write_fn(void *device, uint32_t offset, unsigned size, uint64_t value);

struct io_region {
    uint64_t base;   /* port or guest physical address */
    uint32_t size;   /* bytes, > 0, a multiple of the widest of `widths` */
    uint32_t widths; /* IO_8 | ... */
    io_read_fn *read;
    io_write_fn *write;
    void *device;
    const char *name;
};

struct iobus {
    unsigned count;
    struct io_region *last; /* the region that was hit last; in an empty bus one of size 0 */
    struct io_region region[IOBUS_MAX_REGIONS];
    uint64_t unclaimed; /* accesses that no region took, and those of a width or alignment that it refuses */
};

void iobus_init(struct iobus *bus);

/*
 * -EEXIST if it overlaps another region, -ENOSPC if the bus is full, -EINVAL if it is empty, wraps, has no
 * widths, or a size that is no multiple of the widest (so that an aligned access is either inside or
 * outside).
 */
int iobus_add(struct iobus *bus, const struct io_region *region) __must_check;

/* Takes away the region that begins at `base`; does nothing if there is none. Handlers of this bus may call
 * both. */
void iobus_remove(struct iobus *bus, uint64_t base);

/*
 * One access by the guest; size is 1, 2, 4 or 8. An access that no region takes reads as all ones and
 * writes nowhere, as on a PC's bus; one of a wider or unaligned form than its region allows, or across
 * regions, is split into the widest allowed pieces, lowest address first; the bytes for which even that is
 * impossible are unclaimed. `unclaimed` counts an access once.
 */
uint64_t iobus_read(struct iobus *bus, uint64_t address, unsigned size);
void iobus_write(struct iobus *bus, uint64_t address, unsigned size, uint64_t value);
