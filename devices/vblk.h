/*
 * virtio's block device (OASIS virtio 1.2, section 5.2): a disk of the machine, or part of one, for a guest.
 * A request's data goes straight between the guest's memory and the back end.
 *
 *     doorbell → chains out of the ring → block_submit() → ... → done(), on any CPU → used ring → MSI-X
 *
 * A queue has VBLK_DEPTH requests, made beforehand. They and the ring belong to the holder of the queue's
 * lock, which is held neither during block_submit() nor while an interrupt is raised.
 */
#pragma once

#include "devices/vvirtio.h"
#include "io/block.h"

#define VBLK_MAX_QUEUES 8
#define VBLK_QUEUE_SIZE 256
#define VBLK_DEPTH      64                 /* requests in flight, of a queue */
#define VBLK_SEGMENTS   BLOCK_MAX_SEGMENTS /* of data */
#define VBLK_SERIAL     20                 /* bytes; shorter ones end with zeroes */

struct vblk_queue;

struct vblk_request {
    struct block_request block;
    struct vring_chain chain;
    struct vblk_queue *queue;
    struct vblk_request *next; /* in the list of those that are free */
    uint8_t *status;           /* the last byte that the device may write */
    struct block_segment data[VBLK_SEGMENTS];
};

/* One of its queues; the owner of the device allocates them. */
struct vblk_queue {
    struct vblk *disk;
    struct vvirtio_queue *virtio;
    struct vblk_request *free;
    bool running; /* someone is taking chains out */
    bool starved; /* chains were left in the ring: whoever ends a request goes on with them */
    struct vring_segment segment[VBLK_SEGMENTS + 4]; /* of the chain being read: data, header, status */
    struct vblk_request request[VBLK_DEPTH];
};

/* Kept while nothing is in flight. */
struct vblk_state {
    struct vvirtio_state virtio;
    uint64_t sectors; /* it can be loaded for a disk of this size only */
};

struct vblk {
    struct vvirtio virtio;
    struct vblk_queue *queue;
    unsigned queues;
    struct block_user *user;
    void (*later)(void *context, unsigned queue);
    void *context;
    char serial[VBLK_SERIAL];
    union {
        struct virtio_blk_config config;
        uint32_t config_dword[sizeof(struct virtio_blk_config) / 4];
    };
};

/*
 * A disk for `user`, which is open, with `queues` queues (1 to VBLK_MAX_QUEUES) that the caller has allocated
 * at `queue`. `serial` is what the guest sees as such, of which 20 bytes count. later(context, n) asks for a
 * call of vblk_run(vblk, n), soon and from elsewhere: it is called, on any CPU, when a back end is so fast
 * that the queue would not let go of this CPU.
 */
void vblk_init(struct vblk *vblk, struct block_user *user, const char *serial, struct vblk_queue *queue,
               unsigned queues, const struct gmem *mem, struct vlapic_bus *bus,
               void (*later)(void *context, unsigned queue), void *context);

/* Any CPU, no lock needed: goes on with a queue's requests. */
void vblk_run(struct vblk *vblk, unsigned queue);

/* Whether a request in flight has a buffer in the `size` bytes at `host`. Any CPU, no lock needed. */
bool vblk_uses(struct vblk *vblk, const uint8_t *host, size_t size);

/* Puts it on the bus, before vpci_attach(); errors are those of vpci_add(). */
int vblk_attach(struct vblk *vblk, struct vpci *pci, unsigned slot) __must_check;

/*
 * With vm.devices. vblk_reset() takes nothing more; the guest's memory is a request's until
 * vvirtio_is_idle(&vblk->virtio).
 */
void vblk_reset(struct vblk *vblk);
void vblk_save(struct vblk *vblk, struct vblk_state *out);
int vblk_check(const struct vblk *vblk, const struct vblk_state *state) __must_check;
void vblk_load(struct vblk *vblk, const struct vblk_state *state);
