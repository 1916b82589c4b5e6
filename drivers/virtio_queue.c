#include "drivers/virtio_queue.h"
#include "arch/x86_64/paging.h"
#include "lib/errno.h"

#define NO_STATUS 0xff /* no device answers so */

void virtio_queue_init(struct virtio_queue *queue)
{
    virtio_ring_place(&queue->ring, queue->memory->ring, VIRTIO_SLOTS);
    queue->free_count = VIRTIO_SLOTS;
    for (unsigned i = 0; i < VIRTIO_SLOTS; i++)
        queue->free[i] = (uint8_t)(VIRTIO_SLOTS - 1 - i);
}

/* --- Submission */

static uint64_t address(const void *at)
{
    return virt_to_phys(at).raw;
}

/* Gives the device the slot's chain of `count` descriptors. */
static void offer(struct virtio_queue *queue, unsigned id, unsigned count)
{
    queue->ring.desc[id] = (struct virtq_desc){ .address = address(queue->memory->slot[id].table),
                                                .length = count * (uint32_t)sizeof(struct virtq_desc),
                                                .flags = VIRTQ_DESC_INDIRECT };
    virtio_ring_put(&queue->ring, id);
    virtio_ring_tell(&queue->ring);
}

static void describe(struct virtq_desc *desc, unsigned n, const void *at, uint32_t bytes, unsigned flags)
{
    desc[n] = (struct virtq_desc){ address(at), bytes, (uint16_t)flags, (uint16_t)(n + 1) };
}

/* The header in front of a chain, the status behind it. Returns the length of the chain. */
static unsigned frame(struct virtio_slot_memory *slot, uint32_t type, uint64_t sector, unsigned data)
{
    slot->header = (struct virtio_blk_header){ .type = type, .sector = sector };
    slot->status = NO_STATUS;
    describe(slot->table, 0, &slot->header, sizeof(slot->header), VIRTQ_DESC_NEXT);
    describe(slot->table, data + 1, &slot->status, 1, VIRTQ_DESC_WRITE);
    return data + 2;
}

/* The next part of a DISCARD or WRITE_ZEROES. */
static unsigned frame_range(struct virtio_queue *queue, unsigned id, const struct block_request *request)
{
    const struct virtio_disk *disk = queue->disk;
    struct virtio_slot_memory *slot = &queue->memory->slot[id];
    bool zeroes = request->op == BLOCK_WRITE_ZEROES;
    uint32_t left = queue->slot[id].sectors;
    uint32_t part = (uint32_t)min_u64(left, zeroes ? disk->max_zeroes : disk->max_discard);

    slot->range = (struct virtio_blk_range){ .sector = request->start + request->sectors - left,
                                             .sectors = part,
                                             .flags = zeroes && disk->zeroes_may_unmap };
    queue->slot[id].sectors = left - part;
    describe(slot->table, 1, &slot->range, sizeof(slot->range), VIRTQ_DESC_NEXT);
    return frame(slot, zeroes ? VIRTIO_BLK_T_WRITE_ZEROES : VIRTIO_BLK_T_DISCARD, 0, 1);
}

static unsigned frame_data(struct virtio_queue *queue, unsigned id, const struct block_request *request)
{
    struct virtio_slot_memory *slot = &queue->memory->slot[id];
    bool read = request->op == BLOCK_READ;

    for (unsigned i = 0; i < request->segments; i++)
        describe(slot->table, i + 1, request->segment[i].data, request->segment[i].bytes,
                 VIRTQ_DESC_NEXT | (read ? VIRTQ_DESC_WRITE : 0));
    return frame(slot, read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, request->start, request->segments);
}

static int submit(struct virtio_queue *queue, struct block_request *request)
{
    struct virtio_disk *disk = queue->disk;
    unsigned id, count;

    if (unlikely(__atomic_load_n(&disk->state, __ATOMIC_RELAXED) != VIRTIO_WORKS))
        return disk->state == VIRTIO_LOST ? -ENODEV : -EIO;
    if (unlikely(!queue->free_count)) {
        queue->refused = true;
        return -EBUSY;
    }
    id = queue->free[--queue->free_count];
    queue->slot[id].request = request;
    queue->slot[id].tick = disk->watch.tick;
    queue->slot[id].sectors = 0;
    if (likely(request->op <= BLOCK_WRITE)) {
        count = frame_data(queue, id, request);
    } else if (request->op == BLOCK_FLUSH) {
        count = frame(&queue->memory->slot[id], VIRTIO_BLK_T_FLUSH, 0, 0);
    } else {
        queue->slot[id].sectors = request->sectors;
        count = frame_range(queue, id, request);
    }
    watch_request(&disk->watch);
    offer(queue, id, count);
    return 0;
}

int virtio_queue_submit(struct virtio_queue *queue, struct block_request *request)
{
    int error;

    lock_take(&queue->lock);
    error = submit(queue, request);
    lock_release(&queue->lock);
    return error;
}

/* --- Completion */

static void free_slot(struct virtio_queue *queue, unsigned id, int status, struct storage_ended *ended)
{
    struct block_request *request = queue->slot[id].request;

    queue->slot[id].request = NULL;
    queue->free[queue->free_count++] = (uint8_t)id;
    storage_note_end(ended, request, status);
}

/* The device says that it is done with a chain. */
static void complete(struct virtio_queue *queue, uint32_t id, struct storage_ended *ended)
{
    uint8_t status;

    if (unlikely(id >= VIRTIO_SLOTS || !queue->slot[id].request)) {
        queue->disk->confused = true;
        return;
    }
    status = queue->memory->slot[id].status;
    if (unlikely(queue->slot[id].sectors) && status == VIRTIO_BLK_S_OK) {
        queue->slot[id].tick = queue->disk->watch.tick;
        offer(queue, id, frame_range(queue, id, queue->slot[id].request));
        return;
    }
    free_slot(queue, id,
              status == VIRTIO_BLK_S_OK       ? 0
              : status == VIRTIO_BLK_S_UNSUPP ? -EOPNOTSUPP
                                              : -EIO,
              ended);
}

/* Gives the lock back: a request that ends may bring the next one. */
static void tell(struct virtio_queue *queue, struct storage_ended *ended)
{
    struct block_device *block = &queue->disk->disk.block;
    bool ready = queue->refused && queue->free_count;

    queue->refused &= !ready;
    lock_release(&queue->lock);
    storage_tell(block, ended);
    if (ready)
        block_ready(block);
}

void virtio_queue_poll(struct virtio_queue *queue)
{
    struct virtio_used_entry entry;
    STORAGE_ENDED(ended);

    lock_take(&queue->lock);
    for (unsigned i = 0; i < VIRTIO_SLOTS; i++) { /* a device that is not broken has no more */
        if (!virtio_ring_take(&queue->ring, &entry))
            break;
        complete(queue, entry.id, &ended);
    }
    tell(queue, &ended);
}

unsigned virtio_queue_load(struct virtio_queue *queue, bool *overdue)
{
    unsigned load;

    lock_take(&queue->lock);
    load = VIRTIO_SLOTS - queue->free_count;
    for (unsigned i = 0; i < VIRTIO_SLOTS; i++)
        if (queue->slot[i].request && watch_overdue(&queue->disk->watch, queue->slot[i].tick))
            *overdue = true;
    lock_release(&queue->lock);
    return load;
}

void virtio_queue_end(struct virtio_queue *queue, int status)
{
    STORAGE_ENDED(ended);

    lock_take(&queue->lock);
    for (unsigned i = 0; i < VIRTIO_SLOTS; i++)
        if (queue->slot[i].request)
            free_slot(queue, i, status, &ended);
    tell(queue, &ended);
}

/* --- The serial number; slot 0 is free, and belongs to nobody meanwhile */

void virtio_queue_ask_id(struct virtio_queue *queue, char to[VIRTIO_BLK_ID_BYTES])
{
    struct virtio_slot_memory *slot = &queue->memory->slot[0];

    describe(slot->table, 1, to, VIRTIO_BLK_ID_BYTES, VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE);
    offer(queue, 0, frame(slot, VIRTIO_BLK_T_GET_ID, 0, 1));
}

bool virtio_queue_has_id(struct virtio_queue *queue)
{
    struct virtio_used_entry entry;

    return virtio_ring_take(&queue->ring, &entry) && queue->memory->slot[0].status == VIRTIO_BLK_S_OK;
}
