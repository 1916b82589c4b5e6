/*
 * A queue of a virtio block device, by a split ring with indirect descriptors: each request is one entry.
 * Source: VIRTIO 1.2, 2.7 and 5.2. Compiles on the host, where a test is the device.
 */
#pragma once

#include "drivers/storage.h"
#include "drivers/virtio_ring.h"

#define VIRTIO_SLOTS 64u /* entries of a ring, a power of two */

struct virtio_disk;

/* What a request needs beside its data, seen by the device. */
struct virtio_slot_memory {
    struct virtq_desc table[BLOCK_MAX_SEGMENTS + 2]; /* header, data, status */
    struct virtio_blk_header header;
    struct virtio_blk_range range;
    uint8_t status;
    uint8_t reserved[31];
};

static_assert(sizeof(struct virtio_slot_memory) % VIRTQ_DESC_ALIGN == 0, "2.7: alignment");

/* All that a queue shares with the device, at least 4 KiB aligned. */
struct virtio_queue_memory {
    uint8_t ring[VIRTIO_RING_BYTES(VIRTIO_SLOTS)];
    struct virtio_slot_memory slot[VIRTIO_SLOTS];
};

static_assert(offsetof(struct virtio_queue_memory, slot) % VIRTQ_DESC_ALIGN == 0, "2.7: alignment");

struct virtio_queue {
    struct lock lock; /* guards all of it; under it only the watch's timer queue's is taken */
    struct virtio_disk *disk;
    struct virtio_queue_memory *memory;
    struct virtio_ring ring;
    bool refused;
    uint32_t free_count;
    uint8_t free[VIRTIO_SLOTS];
    struct {
        struct block_request *request;
        uint32_t tick;
        uint32_t sectors; /* of a DISCARD or WRITE_ZEROES that is done in parts: so many are still to come */
    } slot[VIRTIO_SLOTS];
};

enum virtio_state { VIRTIO_WORKS, VIRTIO_STOPPED, VIRTIO_LOST };

struct virtio_disk {
    struct disk disk;
    struct watch watch;
    enum virtio_state state;
    bool confused;                    /* the device ended a request that is not there */
    uint32_t max_discard, max_zeroes; /* sectors of one request */
    bool zeroes_may_unmap;
    unsigned queues;
    struct virtio_queue *queue[64];
};

/* All slots free, the ring empty; the pointers are set. */
void virtio_queue_init(struct virtio_queue *queue);

/* As block_ops.submit, for a chosen queue. Any CPU. */
int virtio_queue_submit(struct virtio_queue *queue, struct block_request *request) __must_check;

/* Ends what the device has completed; any CPU, no lock held. */
void virtio_queue_poll(struct virtio_queue *queue);

/* How many requests the queue has; *overdue becomes true if one of them is. Takes the lock. */
unsigned virtio_queue_load(struct virtio_queue *queue, bool *overdue);

/* Ends all requests of a device that touches no memory any more. */
void virtio_queue_end(struct virtio_queue *queue, int status);

/* A GET_ID of an idle queue by polling; poll-wait is the caller's: true once `to` has the answer. */
void virtio_queue_ask_id(struct virtio_queue *queue, char to[VIRTIO_BLK_ID_BYTES]);
bool virtio_queue_has_id(struct virtio_queue *queue);
