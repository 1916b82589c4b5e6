/* virtio's block device. Section numbers are those of OASIS virtio 1.2. */
#include "devices/vblk.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CLASS 0x010000u /* mass storage */

/* What is taken at once, so that a back end that answers at once does not keep the CPU: requests and bytes.
 */
#define TURN_REQUESTS 64u
#define TURN_BYTES    (1u << 20)

#define MAX_RANGE   (UINT32_C(1) << 22) /* sectors of one DISCARD or WRITE_ZEROES: 2 GiB */
#define SEGMENT_MAX (UINT32_C(1) << 20) /* bytes of a segment: it has two pieces in the host at most */

/* What became of a chain. */
enum verdict { SUBMIT, OK, IOERR, UNSUPP };

/* --- Parts of a chain: how the driver has cut it means nothing (2.7.4) ------------------------------------
 */

/* The first `bytes` of what the device reads, which are there. */
static void copy_in(const struct vring_segment *segment, void *to, uint32_t bytes)
{
    uint8_t *out = to;

    for (; bytes; segment++) {
        uint32_t piece = (uint32_t)min_u64(bytes, segment->bytes);

        memcpy(out, segment->data, piece);
        out += piece;
        bytes -= piece;
    }
}

static uint32_t copy_out(const struct block_segment *segment, unsigned count, const char *from,
                         uint32_t bytes)
{
    uint32_t done = 0;

    for (unsigned i = 0; i < count && done < bytes; i++) {
        uint32_t piece = (uint32_t)min_u64(bytes - done, segment[i].bytes);

        memcpy(segment[i].data, from + done, piece);
        done += piece;
    }
    return done;
}

/* `bytes` bytes from `skip` on as the request's data; how many pieces, or -1: too many. */
static int slice(const struct vring_segment *segment, uint32_t skip, uint32_t bytes, struct block_segment *to)
{
    int count = 0;

    for (; bytes; segment++) {
        uint32_t piece;

        if (skip >= segment->bytes) {
            skip -= segment->bytes;
            continue;
        }
        piece = (uint32_t)min_u64(bytes, segment->bytes - skip);
        if (count == VBLK_SEGMENTS)
            return -1;
        to[count++] = (struct block_segment){ segment->data + skip, piece };
        bytes -= piece;
        skip = 0;
    }
    return count;
}

/* --- From a chain to a request
 * ------------------------------------------------------------------------------
 */

/* 5.2.6.2: a range of one command; more were not offered. */
static enum verdict prepare_range(struct vblk_queue *queue, struct vblk_request *request, bool discard)
{
    struct {
        struct virtio_blk_header header;
        struct virtio_blk_range range;
    } both;
    struct block_request *block = &request->block;
    uint64_t feature = discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;

    if (!vvirtio_has(&queue->disk->virtio, feature))
        return UNSUPP;
    if (request->chain.readable_bytes != sizeof(both))
        return IOERR;
    copy_in(queue->segment, &both, sizeof(both));
    /* Of WRITE_ZEROES the flag is leave to unmap, of which no use is made. */
    if (both.range.flags & (discard ? UINT32_MAX : ~VIRTIO_BLK_RANGE_UNMAP))
        return UNSUPP;
    if (both.range.sectors > MAX_RANGE)
        return IOERR;
    block->op = discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
    block->sector = both.range.sector;
    block->sectors = both.range.sectors;
    return SUBMIT;
}

/* READ or WRITE of `bytes` bytes that lie behind the first `skip` of the chain's segments from `first` on. */
static enum verdict prepare_data(struct vblk_queue *queue, struct vblk_request *request, unsigned first,
                                 uint32_t skip, uint64_t bytes, uint64_t sector)
{
    struct block_request *block = &request->block;
    int count;

    count = slice(queue->segment + first, skip, (uint32_t)bytes, request->data);
    if (count < 0)
        return IOERR;
    block->op = first ? BLOCK_READ : BLOCK_WRITE;
    block->sector = sector;
    block->sectors = (uint32_t)(bytes / BLOCK_SECTOR);
    block->segments = (unsigned)count;
    return SUBMIT;
}

/* 5.2.6: 20 bytes, or as many as there is room for. */
static enum verdict give_id(struct vblk_queue *queue, struct vblk_request *request)
{
    const struct vring_chain *chain = &request->chain;
    uint32_t room = (uint32_t)min_u64(chain->writable_bytes - 1, VBLK_SERIAL);
    int count = slice(queue->segment + chain->readable, 0, room, request->data);

    copy_out(request->data, (unsigned)count, queue->disk->serial, room);
    return OK;
}

/* Reads the chain's header and makes the request that it asks for. */
static enum verdict prepare(struct vblk_queue *queue, struct vblk_request *request)
{
    const struct vring_chain *chain = &request->chain;
    const struct vring_segment *last = &queue->segment[chain->readable + chain->writable - 1];
    struct virtio_blk_header header;

    request->status = last->data + last->bytes - 1;
    request->block.sector = 0;
    request->block.sectors = 0;
    request->block.segments = 0;
    copy_in(queue->segment, &header, sizeof(header));
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        return prepare_data(queue, request, chain->readable, 0, chain->writable_bytes - 1, header.sector);
    case VIRTIO_BLK_T_OUT:
        return prepare_data(queue, request, 0, sizeof(header), chain->readable_bytes - sizeof(header),
                            header.sector);
    case VIRTIO_BLK_T_FLUSH:
        request->block.op = BLOCK_FLUSH;
        return SUBMIT;
    case VIRTIO_BLK_T_GET_ID:
        return give_id(queue, request);
    case VIRTIO_BLK_T_DISCARD:
        return prepare_range(queue, request, true);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return prepare_range(queue, request, false);
    default:
        return UNSUPP;
    }
}

/* --- Ends
 * -----------------------------------------------------------------------------------------------------
 */

/* The queue's lock is held. */
static void give_back(struct vblk_request *request, uint32_t written)
{
    struct vblk_queue *queue = request->queue;

    vvirtio_push(queue->virtio, &request->chain, written);
    request->next = queue->free;
    queue->free = request;
}

/* The same. Once the queue is being reset the guest's memory is not written any more. */
static void finish(struct vblk_request *request, enum verdict verdict)
{
    static const uint8_t status[] = {
        [OK] = VIRTIO_BLK_S_OK, [IOERR] = VIRTIO_BLK_S_IOERR, [UNSUPP] = VIRTIO_BLK_S_UNSUPP
    };

    if (request->queue->virtio->running)
        __atomic_store_n(request->status, status[verdict], __ATOMIC_RELAXED);
    give_back(request, (uint32_t)request->chain.writable_bytes);
}

/* 5.2.6.2: to a driver that knows of no flush, a write that has ended is safe. */
static bool needs_flush(const struct vblk_request *request, int status)
{
    return request->block.op == BLOCK_WRITE && !status &&
           !vvirtio_has(&request->queue->disk->virtio, VIRTIO_BLK_F_FLUSH) &&
           (request->queue->disk->virtio.features & VIRTIO_BLK_F_FLUSH);
}

static void run(struct vblk_queue *queue);

/* From block_submit() or from a disk's interrupt. */
static void done(struct block_request *block, int status)
{
    struct vblk_request *request = container_of(block, struct vblk_request, block);
    struct vblk_queue *queue = request->queue;
    bool go_on;

    if (unlikely(needs_flush(request, status))) {
        block->op = BLOCK_FLUSH;
        block->sector = 0;
        block->sectors = 0;
        block->segments = 0;
        block_submit(queue->disk->user, block);
        return;
    }
    lock_take(&queue->virtio->lock);
    finish(request, status == 0 ? OK : status == -EOPNOTSUPP ? UNSUPP : IOERR);
    go_on = queue->starved && !queue->running;
    lock_release(&queue->virtio->lock);
    vvirtio_interrupt(&queue->disk->virtio, queue->virtio);
    if (unlikely(go_on))
        run(queue);
}

/* --- Taking chains out
 * ----------------------------------------------------------------------------------------
 */

/*
 * Takes a chain for `request`; the queue's lock is held. True: the request is to be submitted. False: it is
 * free still, or again, and *more says whether to go on; *ended, that a chain was given back.
 */
static bool take(struct vblk_queue *queue, struct vblk_request *request, bool *more, bool *ended)
{
    struct vvirtio *virtio = &queue->disk->virtio;
    enum verdict verdict;

    *more = true;
    if (vvirtio_pop(virtio, queue->virtio, &request->chain, queue->segment, ARRAY_SIZE(queue->segment)) !=
        1) {
        *more = queue->virtio->running && vring_enable_notify(&queue->virtio->ring);
        return false;
    }
    queue->free = request->next;
    if (request->chain.readable_bytes < sizeof(struct virtio_blk_header) ||
        request->chain.writable_bytes == 0) {
        give_back(request, 0); /* no request at all, without a place to say so in */
        vvirtio_needs_reset(virtio);
        return false;
    }
    verdict = prepare(queue, request);
    if (verdict == SUBMIT)
        return true;
    finish(request, verdict);
    *ended = true;
    return false;
}

/*
 * Takes chains and submits them, for one turn. One CPU at a time does so; others leave it to that one, which
 * finds what they have made available before it stops, for it stops and looks under one taking of the lock.
 * A back end that answers at once ends requests in here, by done(), so that the ring might never be empty:
 * what a turn leaves, and what there is no request for, is left to the next done(), or else to later().
 */
static void run(struct vblk_queue *queue)
{
    struct lock *lock = &queue->virtio->lock;
    bool more = true, ended = false, later = false;
    uint64_t bytes = 0;

    lock_take(lock);
    if (queue->running || !queue->virtio->running) {
        lock_release(lock);
        return;
    }
    queue->running = true;
    queue->starved = false;
    vring_disable_notify(&queue->virtio->ring);
    for (unsigned turn = 0; more && queue->free && turn < TURN_REQUESTS && bytes < TURN_BYTES; turn++) {
        struct vblk_request *request = queue->free;

        if (!take(queue, request, &more, &ended))
            continue;
        bytes += (uint64_t)request->block.sectors * BLOCK_SECTOR;
        lock_release(lock);
        block_submit(queue->disk->user, &request->block);
        lock_take(lock);
    }
    queue->running = false;
    queue->starved = more && queue->virtio->held > 0;
    later = more && queue->virtio->held == 0;
    lock_release(lock);
    if (ended)
        vvirtio_interrupt(&queue->disk->virtio, queue->virtio);
    if (later)
        queue->disk->later(queue->disk->context, (unsigned)(queue - queue->disk->queue));
}

void vblk_run(struct vblk *vblk, unsigned queue)
{
    run(&vblk->queue[queue]);
}

static bool overlaps(const uint8_t *data, uint64_t bytes, const uint8_t *host, size_t size)
{
    return (uintptr_t)data < (uintptr_t)host + size && (uintptr_t)host < (uintptr_t)data + bytes;
}

static bool request_uses(const struct vblk_request *request, const uint8_t *host, size_t size)
{
    if (overlaps(request->status, 1, host, size))
        return true;
    for (unsigned i = 0; i < request->block.segments; i++)
        if (overlaps(request->data[i].data, request->data[i].bytes, host, size))
            return true;
    return false;
}

/* Those in flight are all that are not free. */
static bool queue_uses(const struct vblk_queue *queue, const uint8_t *host, size_t size)
{
    uint64_t idle = 0;

    static_assert(VBLK_DEPTH <= 64, "a bit for each");
    for (const struct vblk_request *request = queue->free; request; request = request->next)
        idle |= BIT(request - queue->request);
    for (unsigned i = 0; i < VBLK_DEPTH; i++)
        if (!(idle & BIT(i)) && request_uses(&queue->request[i], host, size))
            return true;
    return false;
}

bool vblk_uses(struct vblk *vblk, const uint8_t *host, size_t size)
{
    bool used = false;

    for (unsigned i = 0; i < vblk->queues && !used; i++) {
        lock_take(&vblk->queue[i].virtio->lock);
        used = queue_uses(&vblk->queue[i], host, size);
        lock_release(&vblk->queue[i].virtio->lock);
    }
    return used;
}

static void notified(void *device, unsigned index)
{
    vblk_run(device, index);
}

/* --- Configuration, 5.2.4
 * -------------------------------------------------------------------------------------
 */

static uint32_t config_read(void *device, unsigned index)
{
    const struct vblk *vblk = device;

    return vblk->config_dword[index];
}

/*
 * A segment of the guest is at most two pieces in the host, so it may have half of the segments that there
 * are; and all of them together must not be more than the disk takes at once.
 */
static void set_limits(struct virtio_blk_config *config, const struct block_device *device)
{
    uint64_t bytes = (uint64_t)device->max_sectors * BLOCK_SECTOR;
    uint64_t segments = min_u64(device->max_segments, VBLK_SEGMENTS) / 2;

    segments = max_u64(min_u64(segments, bytes / PAGE_SIZE), 1);
    config->seg_max = (uint32_t)segments;
    config->size_max = (uint32_t)max_u64(min_u64(align_down(bytes / segments, PAGE_SIZE), SEGMENT_MAX),
                                         PAGE_SIZE);
}

static void make_config(struct vblk *vblk)
{
    const struct block_device *device = vblk->user->device;
    uint32_t blocks = device->physical_block / device->logical_block;
    struct virtio_blk_config *config = &vblk->config;

    config->capacity = vblk->user->sectors;
    set_limits(config, device);
    config->blk_size = device->logical_block;
    config->physical_block_exp = (uint8_t)__builtin_ctz(blocks);
    config->min_io_size = (uint16_t)blocks;
    config->num_queues = (uint16_t)vblk->queues;
    if (device->has_discard) {
        config->max_discard_sectors = MAX_RANGE;
        config->max_discard_seg = 1;
        config->discard_sector_alignment = device->physical_block / BLOCK_SECTOR;
    }
    if (device->has_write_zeroes) {
        config->max_write_zeroes_sectors = MAX_RANGE;
        config->max_write_zeroes_seg = 1;
    }
}

static uint64_t features(const struct block_user *user, unsigned queues)
{
    const struct block_device *device = user->device;
    uint64_t set = VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_PACKED | VIRTIO_F_RING_RESET |
                   VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE |
                   VIRTIO_BLK_F_TOPOLOGY;

    set |= user->readonly ? VIRTIO_BLK_F_RO : 0;
    set |= device->has_flush ? VIRTIO_BLK_F_FLUSH : 0;
    set |= device->has_discard && !user->readonly ? VIRTIO_BLK_F_DISCARD : 0;
    set |= device->has_write_zeroes && !user->readonly ? VIRTIO_BLK_F_WRITE_ZEROES : 0;
    return set | (queues > 1 ? VIRTIO_BLK_F_MQ : 0);
}

/* --- Life
 * -----------------------------------------------------------------------------------------------------
 */

static void init_queue(struct vblk *vblk, unsigned index)
{
    struct vblk_queue *queue = &vblk->queue[index];

    memset(queue, 0, sizeof(*queue));
    queue->disk = vblk;
    queue->virtio = &vblk->virtio.queue[index];
    for (unsigned i = 0; i < VBLK_DEPTH; i++) {
        struct vblk_request *request = &queue->request[i];

        request->queue = queue;
        request->block.done = done;
        request->block.segment = request->data;
        request->next = queue->free;
        queue->free = request;
    }
}

void vblk_init(struct vblk *vblk, struct block_user *user, const char *serial, struct vblk_queue *queue,
               unsigned queues, const struct gmem *mem, struct vlapic_bus *bus,
               void (*later)(void *context, unsigned queue), void *context)
{
    static const struct vvirtio_ops ops = { .notified = notified, .config_read = config_read };
    const struct vvirtio_kind kind = {
        .id = VIRTIO_ID_BLOCK,
        .class_code = CLASS,
        .queues = queues,
        .queue_size = VBLK_QUEUE_SIZE,
        .features = features(user, queues),
        .config_size = sizeof(struct virtio_blk_config),
        .ops = &ops,
    };

    memset(vblk, 0, sizeof(*vblk));
    vblk->user = user;
    vblk->queue = queue;
    vblk->queues = queues;
    vblk->later = later;
    vblk->context = context;
    memcpy(vblk->serial, serial, strnlen(serial, VBLK_SERIAL));
    make_config(vblk);
    vvirtio_init(&vblk->virtio, &kind, mem, bus, vblk);
    for (unsigned i = 0; i < queues; i++)
        init_queue(vblk, i);
}

int vblk_attach(struct vblk *vblk, struct vpci *pci, unsigned slot)
{
    return vpci_add(pci, slot, &vblk->virtio.function);
}

void vblk_reset(struct vblk *vblk)
{
    vvirtio_reset(&vblk->virtio);
}

void vblk_save(struct vblk *vblk, struct vblk_state *out)
{
    vvirtio_save(&vblk->virtio, &out->virtio);
    out->sectors = vblk->config.capacity;
}

int vblk_check(const struct vblk *vblk, const struct vblk_state *state)
{
    return state->sectors != vblk->config.capacity ? -EINVAL : vvirtio_check(&vblk->virtio, &state->virtio);
}

void vblk_load(struct vblk *vblk, const struct vblk_state *state)
{
    vvirtio_load(&vblk->virtio, &state->virtio);
}
