/*
 * The driver's side of a split virtqueue, whatever it is for. The device's part is its own to write: what is
 * taken from there is read once, and to be checked by the caller. Source: VIRTIO 1.2, 2.7.
 */
#pragma once

#include "hw/virtio.h"
#include "lib/string.h"

struct virtio_avail {
    uint16_t flags, index, ring[];
};

struct virtio_used_entry {
    uint32_t id, bytes;
};

struct virtio_used {
    uint16_t flags, index;
    struct virtio_used_entry ring[];
};

/* Where the parts of a ring with n entries are in its memory, and how much that is; they share no cache
 * lines. */
#define VIRTIO_RING_ALIGN    128u
#define VIRTIO_RING_AVAIL(n) ((n) * (unsigned)sizeof(struct virtq_desc))
#define VIRTIO_RING_USED(n)                                                                                  \
    ((VIRTIO_RING_AVAIL(n) + VIRTQ_AVAIL_BYTES(n) + VIRTIO_RING_ALIGN - 1) & ~(VIRTIO_RING_ALIGN - 1))
#define VIRTIO_RING_BYTES(n)                                                                                 \
    ((VIRTIO_RING_USED(n) + VIRTQ_USED_BYTES(n) + VIRTIO_RING_ALIGN - 1) & ~(VIRTIO_RING_ALIGN - 1))

struct virtio_ring {
    struct virtq_desc *desc;
    struct virtio_avail *avail;
    volatile struct virtio_used *used;
    volatile uint16_t *bell; /* set with `number` by virtio_device_queue() */
    uint16_t number;         /* of the queue */
    uint16_t size;           /* entries, a power of two */
    uint16_t given;          /* buffers put into avail, told or not */
    uint16_t seen;           /* of used->index: so many came back */
};

/* An empty ring in `memory`, VIRTIO_RING_BYTES(size) aligned to VIRTIO_RING_ALIGN, which no device reaches.
 */
static inline void virtio_ring_place(struct virtio_ring *ring, uint8_t *memory, unsigned size)
{
    memset(memory, 0, VIRTIO_RING_BYTES(size));
    ring->desc = (void *)memory;
    ring->avail = (void *)(memory + VIRTIO_RING_AVAIL(size));
    ring->used = (void *)(memory + VIRTIO_RING_USED(size));
    ring->size = (uint16_t)size;
    ring->given = ring->seen = 0;
}

/* The chain that begins with this descriptor becomes the device's at the next virtio_ring_tell(). */
static inline void virtio_ring_put(struct virtio_ring *ring, unsigned id)
{
    ring->avail->ring[ring->given++ & (ring->size - 1u)] = (uint16_t)id;
}

/* The device may want no bell (2.7.10). */
static inline void virtio_ring_tell(struct virtio_ring *ring)
{
    __atomic_store_n(&ring->avail->index, ring->given, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(ring->used->flags & VIRTQ_NO_NOTIFY))
        *ring->bell = ring->number;
}

/* Whether a chain came back. */
static inline bool virtio_ring_has(const struct virtio_ring *ring)
{
    return __atomic_load_n(&ring->used->index, __ATOMIC_ACQUIRE) != ring->seen;
}

/* The next chain that came back, as the device says; false: none. */
static inline bool virtio_ring_take(struct virtio_ring *ring, struct virtio_used_entry *out)
{
    const volatile struct virtio_used_entry *entry = &ring->used->ring[ring->seen & (ring->size - 1u)];

    if (!virtio_ring_has(ring))
        return false;
    out->id = entry->id;
    out->bytes = entry->bytes;
    ring->seen++;
    return true;
}

/* Whether the device should interrupt when chains come back: it may all the same (2.7.7). */
static inline void virtio_ring_interrupts(struct virtio_ring *ring, bool wanted)
{
    __atomic_store_n(&ring->avail->flags, wanted ? 0 : VIRTQ_NO_INTERRUPT, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* before the ring is looked at again */
}
