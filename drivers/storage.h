/*
 * What the drivers of disks share: how a disk is made known, the watch over requests that never end, and the
 * few requests that are made while the machine starts.
 */
#pragma once

#include "io/block.h"
#include "kernel/timer.h"

/* A disk of a driver's. poll() does what its interrupt does, without one. */
struct disk {
    struct block_device block;
    void (*poll)(struct disk *disk);
};

/* Finds all disks of the machine. Boot CPU, once, when the other CPUs are online. */
void storage_init(void);

/*
 * A disk is ready: looks whether Plinth was started from it, says in the log that it is there, and gives it
 * to the block layer. Boot CPU.
 */
void storage_add(struct disk *disk);

/*
 * Ends a request that a driver took. One without a user is the driver layer's own, and the block layer knows
 * nothing of it. Any CPU, no lock held.
 */
static inline void storage_end(struct block_device *device, struct block_request *request, int status)
{
    if (likely(request->user != NULL))
        block_complete(device, request, status);
    else
        request->done(request, status);
}

/*
 * Requests that have ended while their queue's lock is held, in order; they are told when it is not, since
 * one that ends may bring the next. Begin with STORAGE_ENDED(name). A request's driver[0] has its status
 * meanwhile.
 */
struct storage_ended {
    struct block_request *first, **last;
};

#define STORAGE_ENDED(name) struct storage_ended name = { .last = &(name).first }

static inline void storage_note_end(struct storage_ended *ended, struct block_request *request, int status)
{
    request->driver[0] = (uint32_t)status;
    request->next = NULL;
    *ended->last = request;
    ended->last = &request->next;
}

/* The oldest one, which is no more in the list; NULL: there is none. */
static inline struct block_request *storage_next_end(struct storage_ended *ended)
{
    struct block_request *request = ended->first;

    if (request)
        ended->first = request->next;
    return request;
}

/* Tells all of them, which are the device's. No lock held. */
static inline void storage_tell(struct block_device *device, struct storage_ended *ended)
{
    struct block_request *request;

    while ((request = storage_next_end(ended)) != NULL)
        storage_end(device, request, (int)request->driver[0]);
}

/* A request's data into a buffer of the driver's, or from there. */
void storage_bounce(const struct block_request *request, uint8_t *buffer, bool to_buffer);

/*
 * Reads by polling: for before block_add(), when interrupts are not taken yet. -EIO, also after 5 seconds:
 * then `to`, which the device may still write to, must not be used for anything else, ever.
 */
int storage_read(struct disk *disk, uint64_t sector, void *to, uint32_t bytes) __must_check;

/* --- storage_text.c, which compiles on the host */

/*
 * What a device says of itself: `size` bytes, padded with blanks or zeroes, become trimmed printable ASCII.
 * `swapped`: the two bytes of each word change places (ATA).
 */
void storage_text(char to[BLOCK_SERIAL_MAX], const void *from, unsigned size, bool swapped);

/* Sector 64 of a disk: is it the descriptor of an ISO 9660 volume that tools/mkiso made? (ECMA-119, 8.4) */
bool storage_is_boot_medium(const uint8_t sector[BLOCK_SECTOR]);

/* --- watch.c */

/*
 * Looks after a controller once a second while it has requests: an interrupt may get lost, a device may stop
 * to answer. look() is called without a lock, on any CPU, one at a time; it takes the lock of each of the
 * controller's queues at least once and returns whether any has a request. Requests note `tick` when they
 * begin.
 */
struct watch {
    struct timer timer;
    bool active;
    uint32_t tick; /* counts seconds while active */
    bool (*look)(struct watch *watch);
};

#define WATCH_SECONDS 30 /* after which a request is given up */

void watch_init(struct watch *watch, bool (*look)(struct watch *watch));
void watch_begin(struct watch *watch);

/* A request has begun: called under the lock of its queue, after the request can be seen there. */
static inline void watch_request(struct watch *watch)
{
    if (unlikely(!__atomic_load_n(&watch->active, __ATOMIC_RELAXED)))
        watch_begin(watch);
}

/* Any CPU; a request that noted `tick` has been there for too long. */
static inline bool watch_overdue(const struct watch *watch, uint32_t tick)
{
    return __atomic_load_n(&watch->tick, __ATOMIC_RELAXED) - tick > WATCH_SECONDS;
}
