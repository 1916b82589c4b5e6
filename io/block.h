/*
 * The block layer: where the disks that guests see meet those that the machine has. Requests are asynchronous
 * and carry a scatter-gather list straight to guest memory; nothing is copied on the way unless a back end
 * is itself memory. Compiles on the host.
 *
 *     vblk → block_submit() → a user's checks and limits → struct block_ops.submit of a driver
 *     driver's interrupt → block_complete() → request->done() → vblk
 *
 * A struct block_device is a whole disk, or a range of one (partition.h). A struct block_user is one who has
 * opened it: a VM's disk. Sectors have 512 bytes everywhere, whatever the device's own size is.
 */
#pragma once

#include "kernel/lock.h"
#include "lib/types.h"

#define BLOCK_SECTOR       512u
#define BLOCK_MAX_SEGMENTS 128u /* of a request */
#define BLOCK_NAME_MAX     32
#define BLOCK_SERIAL_MAX   40
#define BLOCK_BUCKETS      24 /* of the latency histograms: bucket n counts 2^n .. 2^(n+1)-1 microseconds */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_OPS };

/* A piece of memory, contiguous in the machine: its address in the hypervisor's map. */
struct block_segment {
    uint8_t *data;
    uint32_t bytes; /* a multiple of 2, > 0; the sum over a request is sectors * BLOCK_SECTOR */
};

/*
 * One request. The submitter fills in the first part and leaves all of it alone until done() is called,
 * exactly once, from block_submit() itself or from an interrupt, on any CPU, without a lock held:
 * `status` is 0, or -EIO (the device failed), -EINVAL (not within the disk), -EROFS, -EOPNOTSUPP, -ENOSPC,
 * -ENODEV (the device is gone).
 */
struct block_request {
    enum block_op op;
    uint64_t sector;  /* of the user's device; BLOCK_FLUSH: 0 */
    uint32_t sectors; /* BLOCK_FLUSH: 0; DISCARD and WRITE_ZEROES have no segments */
    const struct block_segment *segment;
    unsigned segments; /* <= BLOCK_MAX_SEGMENTS */
    void (*done)(struct block_request *request, int status);

    /* From here on the block layer's, then the driver's. */
    struct block_user *user;
    struct block_request *next; /* in whatever queue it waits */
    uint64_t begun;             /* TSC */
    uint64_t start;             /* the sector on the whole disk */
    uint32_t driver[4];         /* for the driver: its slot, its progress */
};

struct block_device;

/*
 * A driver, or a range of another device. All may be called on any CPU, also from inside done(). submit()
 * gets a request that is checked against the fields of block_device; it returns 0 and calls block_complete()
 * later or at once, or -EBUSY without having taken it: the layer keeps it, in order, and tries again when the
 * driver calls block_ready().
 */
struct block_ops {
    int (*submit)(struct block_device *device, struct block_request *request);
};

struct block_limits {
    uint64_t iops, bandwidth; /* requests and bytes a second; 0: no limit */
};

struct block_counts {
    uint64_t requests[BLOCK_OPS], sectors[BLOCK_OPS], errors;
    uint64_t latency[BLOCK_OPS][BLOCK_BUCKETS];
};

enum block_health { BLOCK_HEALTHY, BLOCK_FAILING /* it answers with errors */, BLOCK_GONE };

/* A disk, filled in by its driver before block_add(); those marked (layer) are the block layer's. */
struct block_device {
    const struct block_ops *ops;
    void *driver;                  /* the driver's own */
    char name[BLOCK_NAME_MAX];     /* by which `disks` lists it: "nvme0", "ahci0.2", "ide0.0", "virtio0" */
    char serial[BLOCK_SERIAL_MAX]; /* trimmed printable ASCII; empty: it has none */
    char model[BLOCK_SERIAL_MAX];
    uint64_t sectors;         /* size in units of BLOCK_SECTOR */
    uint32_t physical_block;  /* bytes, a power of two >= 512: requests are multiples of logical_block */
    uint32_t logical_block;   /* bytes, a power of two >= 512 */
    uint32_t max_sectors;     /* of one request of READ or WRITE; the layer splits none: vblk says it to the guest */
    unsigned max_segments;    /* <= BLOCK_MAX_SEGMENTS */
    uint32_t segment_align;   /* each segment's address and size are multiples of it: 2 or 4 */
    bool readonly, has_flush, has_discard, has_write_zeroes;
    bool is_boot_medium;
    enum block_health health;
    struct block_device *next; /* (layer) in the list of all */
    struct lock lock;          /* (layer) guards what follows; taken by no one else */
    struct block_request *waiting, **waiting_tail; /* refused by submit() with -EBUSY */
    struct block_counts counts;
};

/* Called by a driver that has found a disk. Boot CPU. */
void block_add(struct block_device *device);
/* From a driver, any CPU, no lock held: ends a request that it took. */
void block_complete(struct block_device *device, struct block_request *request, int status);
/* From a driver, any CPU, no lock held: after -EBUSY, there is room again. */
void block_ready(struct block_device *device);
/* The n-th disk, from 0, in the order of block_add(); NULL: there is none. */
struct block_device *block_device(unsigned n);
