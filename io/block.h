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
#include "kernel/timer.h"
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

/* Requests in the order in which they came. All zeroes: empty. */
struct block_queue {
    struct block_request *first, *last;
};

struct block_limits {
    uint64_t iops, bandwidth; /* requests and bytes a second; 0: no limit */
};

struct block_counts {
    uint64_t requests[BLOCK_OPS], sectors[BLOCK_OPS], errors;
    uint64_t latency[BLOCK_OPS][BLOCK_BUCKETS];
};

enum block_health { BLOCK_HEALTHY, BLOCK_FAILING /* it answers with errors */, BLOCK_GONE };

struct block_user;

/* A disk, filled in by its driver before block_add(); those marked (layer) are the block layer's. */
struct block_device {
    const struct block_ops *ops;
    void *driver;                  /* the driver's own */
    char name[BLOCK_NAME_MAX];     /* by which `disks` lists it: "nvme0", "ahci0.2", "ide0.0", "virtio0" */
    char serial[BLOCK_SERIAL_MAX]; /* trimmed printable ASCII; empty: it has none */
    char model[BLOCK_SERIAL_MAX];
    uint64_t sectors;        /* size in units of BLOCK_SECTOR */
    uint32_t physical_block; /* bytes, a power of two >= 512: requests are multiples of logical_block */
    uint32_t logical_block;  /* bytes, a power of two >= 512 */
    uint32_t
        max_sectors; /* of one request of READ or WRITE; the layer splits none: vblk says it to the guest */
    unsigned max_segments;  /* <= BLOCK_MAX_SEGMENTS */
    uint32_t segment_align; /* each segment's address and size are multiples of it: 2 or 4 */
    bool readonly, has_flush, has_discard, has_write_zeroes;
    bool is_boot_medium;
    enum block_health health;   /* the layer itself makes it BLOCK_FAILING at the first -EIO */
    struct block_device *whole; /* (partition.h) the disk that this is a range of; NULL: it is a disk */
    uint64_t first;             /* its first sector there */
    struct block_device *next;  /* (layer) in the list of all; the boot CPU's, as `users` is */
    struct block_user *users;   /* (layer) who has opened this very device */
    /* (layer) Of a whole disk: guards what follows, that of its ranges and of all their users. Taken by no
     * one else; only a timer queue's lock is taken under it. */
    struct lock lock;
    struct block_queue waiting; /* refused by submit() with -EBUSY */
    unsigned readies;           /* calls of block_ready() so far */
    bool dispatching;           /* some CPU is giving the driver what waits */
    struct block_counts past;   /* of users that have closed it; block_count() tells the whole */
};

/* One of a user's limits: a bucket of time that fills by itself and that requests empty. */
struct block_bucket {
    uint64_t cost; /* TSC ticks of one request; of one sector, in 1/65536; 0: no limit */
    uint64_t due;  /* the TSC at which the next may go */
};

/* Who has opened a device. Its fields are for reading; vblk tells the guest of `sectors` and `readonly`. */
struct block_user {
    struct block_device *device; /* the whole disk: its blocks, limits and abilities are this user's too */
    struct block_device *opened; /* that, or the range that was opened */
    uint64_t first, sectors;     /* its range on the disk */
    bool readonly;
    char name[BLOCK_NAME_MAX]; /* the VM's */
    struct block_limits limits;
    struct block_user *next; /* among the users of `opened` */
    uint32_t in_flight;      /* requests whose done() has not returned; atomic */
    struct block_counts counts;
    /* Under the lock of `device`. */
    struct block_bucket requests, bandwidth;
    struct block_queue held; /* over the limit: they wait for `timer` */
    struct timer timer;
    bool releasing; /* some CPU is giving on what was held */
};

/*
 * Opens `device` for `name`; limits may be NULL. `queue` is the caller's CPU's, for the limits' timer.
 * Whether others use it is not looked at: disks.h does that. -EROFS for a writer of what is read-only,
 * -ENODEV if it is gone. Boot CPU.
 */
int block_open(struct block_user *user, struct block_device *device, const char *name, bool readonly,
               const struct block_limits *limits, struct timer_queue *queue) __must_check;

/*
 * Ends with -ENODEV what waits for a limit or for the driver; what the driver has it goes on with. For a
 * VM's reset: it submits nothing meanwhile, and its memory may be wiped as soon as block_user_idle(). The
 * user stays open. No lock held that done() takes.
 */
void block_cancel(struct block_user *user);

/*
 * block_cancel(), and the user is no more among those of its device. Waits for nothing: the memory of `user`
 * and of its requests is needed until block_user_idle(), and until sched_barrier() has let a late timer pass.
 * Boot CPU; twice does no harm.
 */
void block_close(struct block_user *user);

/* No done() is to come any more, nor one running. Any CPU. */
static inline bool block_user_idle(const struct block_user *user)
{
    return __atomic_load_n(&user->in_flight, __ATOMIC_ACQUIRE) == 0;
}

/*
 * Takes a request; all that can be wrong with it is found here, and told by done(). Any CPU, with whatever
 * locks the caller has; done() may be called before this returns, then under them. A done() that submits
 * again uses more stack each time where the back end is memory: it rather leaves that to who called this.
 * Requests that one CPU makes reach the driver in their order.
 *
 * BLOCK_FLUSH is no barrier: writes that were completed before it was submitted are on stable storage when it
 * is, which is the device's duty; about others in flight it says nothing. That is what virtio-blk promises
 * (VIRTIO 1.2, 5.2.6.2). A device without has_flush keeps nothing back, and its flushes succeed at once.
 */
void block_submit(struct block_user *user, struct block_request *request);

/* Called by a driver that has found a disk. Boot CPU. */
void block_add(struct block_device *device);
/* Nobody has it open. Boot CPU. */
void block_remove(struct block_device *device);
/* All requests to it and to its ranges so far; what ends after its user's block_close() is left out. Boot
 * CPU.
 */
void block_count(struct block_device *device, struct block_counts *to);
/* From a driver, any CPU, no lock held: ends a request that it took. */
void block_complete(struct block_device *device, struct block_request *request, int status);
/* From a driver, any CPU, no lock held: after -EBUSY, there is room again. */
void block_ready(struct block_device *device);
/* The n-th, from 0, in the order of block_add(), each disk followed by its ranges; NULL: there is none. Boot
 * CPU. */
struct block_device *block_device(unsigned n);
