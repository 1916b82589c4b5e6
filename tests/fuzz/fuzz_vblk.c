/*
 * The block device between a guest that writes anything into its rings, while they are read, and a disk that
 * answers at once, late, or from another CPU. Whatever is asked of the disk is within it, and each request
 * comes to an end; the disk reads and writes all of the data, so that no byte of it lies elsewhere.
 */
#include "devices/vblk.h"
#include "tests/fuzz/virtio_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define QUEUES  2
#define SECTORS 64u
#define START   0x180u /* bytes of each queue that the input begins with */

static struct vblk vblk;
static struct vblk_queue queues[QUEUES];
static struct block_device disk;
static struct block_user user;
static uint8_t content[SECTORS * BLOCK_SECTOR];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct block_request *waiting[QUEUES * VBLK_DEPTH];
static unsigned count, laters;
static bool at_once, stop;

static void transfer(struct block_request *request)
{
    uint8_t *at = content + request->start * BLOCK_SECTOR;
    uint64_t bytes = 0;

    assert(request->start <= SECTORS && request->sectors <= SECTORS - request->start);
    for (unsigned i = 0; i < request->segments; i++) {
        const struct block_segment *segment = &request->segment[i];

        bytes += segment->bytes;
        assert(bytes <= sizeof(content));
        if (request->op == BLOCK_READ)
            memcpy(segment->data, at, segment->bytes);
        else
            memcpy(at, segment->data, segment->bytes);
        at += segment->bytes;
    }
    assert(request->segments == 0 || bytes == (uint64_t)request->sectors * BLOCK_SECTOR);
}

static int submit(struct block_device *device, struct block_request *request)
{
    if (at_once) {
        transfer(request);
        block_complete(device, request, 0);
        return 0;
    }
    pthread_mutex_lock(&mutex);
    waiting[count++] = request;
    pthread_mutex_unlock(&mutex);
    return 0;
}

/* The newest first: a disk keeps no order. False: nothing waits. */
static bool answer(int status)
{
    struct block_request *request = NULL;

    pthread_mutex_lock(&mutex);
    if (count)
        request = waiting[--count];
    pthread_mutex_unlock(&mutex);
    if (!request)
        return false;
    if (!status)
        transfer(request);
    block_complete(&disk, request, status);
    return true;
}

static void *disk_thread(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        answer(0);
    return NULL;
}

static void later(void *context, unsigned queue)
{
    (void)context;
    laters |= 1u << queue;
}

static void make(uint8_t choices)
{
    static const struct block_ops ops = { submit };

    guest_init();
    at_once = choices & 4;
    disk = (struct block_device){ .ops = &ops,
                                  .sectors = SECTORS,
                                  .physical_block = 512,
                                  .logical_block = 512,
                                  .max_sectors = 64,
                                  .max_segments = 128,
                                  .segment_align = 2,
                                  .has_flush = true,
                                  .has_discard = true,
                                  .has_write_zeroes = true };
    memset(&user, 0, sizeof(user));
    assert(block_open(&user, &disk, "fuzz", choices & 8, NULL, &board.queue) == 0);
    count = laters = 0;
    vblk_init(&vblk, &user, "serial", queues, QUEUES, &mem, &apics, later, NULL);
    assert(vblk_attach(&vblk, &pci, 3) == 0 && vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    guest_start(&vblk.virtio, (choices & 1 ? VIRTIO_F_PACKED : 0) | (choices & 2 ? VIRTIO_F_EVENT_IDX : 0),
                QUEUES);
}

/* What the vCPU does, and the disk where it has no thread of its own. */
static void live(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] % 4 < 2)
            guest_kick(&vblk.virtio, data[i] % QUEUES);
        else if (data[i] % 4 == 2)
            answer(data[i] & 4 ? -5 : 0);
        else if (data[i] == 0xff)
            guest_start(&vblk.virtio, 0, QUEUES);
        for (unsigned q = 0; q < QUEUES; q++)
            if (laters & 1u << q) {
                laters &= ~(1u << q);
                vblk_run(&vblk, q);
            }
    }
}

/* Nothing is in flight: its state is one that can be loaded. */
static void end(void)
{
    static struct vblk_state before, after;

    while (answer(0))
        ;
    assert(vvirtio_is_idle(&vblk.virtio) && block_user_idle(&user));
    for (unsigned q = 0; q < QUEUES; q++) {
        unsigned free = 0;

        for (const struct vblk_request *r = queues[q].free; r; r = r->next)
            free++;
        assert(free == VBLK_DEPTH);
    }
    vblk_save(&vblk, &before);
    assert(vblk_check(&vblk, &before) == 0);
    vblk_load(&vblk, &before);
    vblk_save(&vblk, &after);
    assert(memcmp(&before, &after, sizeof(before)) == 0);
    block_close(&user);
}

/* A byte of choices, what each queue begins with, and then a third each for vCPU, guest's thread and ring. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct guest_material material = { .queues = QUEUES };
    pthread_t guest, disks;
    uint8_t choices;
    size_t part;

    if (size < 1 + QUEUES * START)
        return 0;
    choices = *data++;
    size--;
    make(choices);
    for (unsigned q = 0; q < QUEUES; q++)
        memcpy(gmem_ptr(&mem, gpa(GUEST_RING + q * GUEST_AREA), START), data + q * START, START);
    data += QUEUES * START;
    size -= QUEUES * START;
    part = min_u64(size / 2, 64);
    material.data = data + part;
    material.size = size - part;
    stop = false;
    if (pthread_create(&guest, NULL, guest_thread, &material))
        return 0;
    if (choices & 16 && pthread_create(&disks, NULL, disk_thread, NULL))
        choices &= (uint8_t)~16u;
    live(data, part);
    pthread_join(guest, NULL);
    live(data, part);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    if (choices & 16)
        pthread_join(disks, NULL);
    end();
    return 0;
}
