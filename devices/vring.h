/*
 * A virtqueue, split or packed, as the device sees it (OASIS virtio 1.2, sections 2.7 and 2.8): chains of
 * descriptors out, used buffers in, and who wants to be notified of what.
 *
 * The ring lies in the guest's memory, which other vCPUs change meanwhile. Each field of it is loaded exactly
 * once, into a register or a local variable, and what was loaded is checked and used. A ring that breaks the
 * standard's rules is `broken`: nothing is taken from it or put into it any more until it is set up anew.
 */
#pragma once

#include "lib/types.h"
#include "hw/virtio.h"
#include "vmx/gmem.h"

/* A piece of a buffer, contiguous in the host. */
struct vring_segment {
    uint8_t *data;
    uint32_t bytes; /* > 0 */
};

/* A buffer that the driver made available. Give it back to vring_push(), in any order. */
struct vring_chain {
    uint16_t id;
    uint16_t descriptors;        /* places that it takes in the ring */
    unsigned readable, writable; /* segments: those that the device reads stand before those that it writes */
    uint64_t readable_bytes, writable_bytes;
};

/* What a save keeps: the rest is configuration. */
struct vring_state {
    uint16_t next_avail; /* split: counts without end; packed: a position */
    uint16_t next_used;
    uint16_t added;     /* how far next_used went since vring_should_notify() was last asked */
    uint16_t in_flight; /* descriptors of the ring that the device holds */
    uint8_t avail_wrap; /* packed only, 2.8.1; else 0 */
    uint8_t used_wrap;
    uint8_t broken;
};

/* Where the driver has put it, and what was negotiated. */
struct vring_config {
    uint64_t desc, driver, device; /* guest physical */
    uint16_t size;                 /* descriptors */
    bool packed, event_idx, indirect;
};

struct vring {
    struct vring_state s;
    struct vring_config config;
    const struct gmem *mem;
    bool peek; /* buffers are only to be known: what is away of them is passed over, and stays so */
};

/*
 * Begins with an empty ring. -EINVAL for a size that cannot be or an address that is not aligned, -EFAULT if
 * not all of it is RAM; the ring is broken then. All calls belong to the holder of the queue's lock.
 */
int vring_init(struct vring *ring, const struct gmem *mem, const struct vring_config *config) __must_check;

/* What was saved, into a ring that vring_init() has made. -EINVAL: no ring can be in that state. */
int vring_check(const struct vring_config *config, const struct vring_state *state) __must_check;

/*
 * Takes the next chain. 1: *chain and its segments, of which there are at most `max`; 0: there is none;
 * -EINVAL: the ring is broken. A chain of more segments breaks it: the device tells the driver its limits.
 * A buffer that the host has in several pieces makes several segments, one that joins its neighbour none.
 */
int vring_pop(struct vring *ring, struct vring_chain *chain, struct vring_segment *segment,
              unsigned max) __must_check;

/* Gives it back with `written` bytes in the writable part, from its start. Nothing happens on a broken ring.
 */
void vring_push(struct vring *ring, const struct vring_chain *chain, uint32_t written);

/* After a push, or some: whether the driver wants an interrupt for any of them. */
bool vring_should_notify(struct vring *ring) __must_check;

/*
 * The driver need not tell of new buffers while the device looks for them by itself; it may all the same.
 * Enabling returns true if there is one already, of which it will not tell: look again.
 */
void vring_disable_notify(struct vring *ring);
bool vring_enable_notify(struct vring *ring) __must_check;
