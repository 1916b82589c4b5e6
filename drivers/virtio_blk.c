#include "drivers/virtio_blk.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "drivers/virtio_device.h"
#include "drivers/virtio_queue.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define WANTED                                                                                               \
    (VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_RO | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |                   \
     VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_MQ | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES |            \
     VIRTIO_F_INDIRECT | VIRTIO_F_VERSION_1)
#define NEEDED       (VIRTIO_F_INDIRECT | VIRTIO_F_VERSION_1)
#define MEMORY_ORDER 6
#define ID_MS        1000u
#define BLOCK_MAX    4096u
#define MAX_SECTORS  1024u

static_assert(sizeof(struct virtio_queue_memory) <= PAGE_SIZE << MEMORY_ORDER, "a queue's memory");

struct controller {
    struct virtio_disk disk; /* first: one is found from the other */
    struct virtio_device device;
    unsigned number;
    struct virtio_blk_config said;
};

/* The widths of the fields of struct virtio_blk_config; `geometry` has three. */
static const uint8_t said_widths[] = { 8, 4, 4, 2, 1, 1, 4, 1, 1, 2, 4, 1, 1, 2, 4, 4, 4, 4, 4, 1 };

static unsigned controllers;

/* --- Start (3.1) */

static void queue_interrupt(void *queue)
{
    virtio_queue_poll(queue);
}

static void poll_all(void *context)
{
    struct virtio_disk *disk = context;

    for (unsigned i = 0; i < disk->queues; i++)
        virtio_queue_poll(disk->queue[i]);
}

/* Queue n; `vector`: of MSI-X, or VIRTIO_NO_VECTOR. */
static int add_queue(struct controller *c, unsigned n, unsigned vector)
{
    struct virtio_queue *queue = heap_alloc(sizeof(*queue));
    void *memory = virtio_device_pages(MEMORY_ORDER);

    if (!queue || !memory)
        return -ENOMEM; /* what there is is lost; so little memory is no state to go on in */
    queue->disk = &c->disk;
    queue->memory = memory;
    virtio_queue_init(queue);
    if (vector != VIRTIO_NO_VECTOR &&
        pci_msix(&c->device.pci, vector, smp_cpu(n)->apic_id, queue_interrupt, queue) != 0)
        return -ENODEV;
    if (virtio_device_queue(&c->device, &queue->ring, n, vector) != 0)
        return -ENODEV;
    c->disk.queue[n] = queue;
    c->disk.queues = n + 1;
    return 0;
}

/* The line may be shared. */
static void line_interrupt(void *context)
{
    struct controller *c = context;

    if (virtio_device_isr(&c->device) & VIRTIO_ISR_QUEUE)
        poll_all(&c->disk);
}

/* A queue for each CPU, as far as queues and vectors go; without MSI-X one, with the line. */
static int add_queues(struct controller *c)
{
    unsigned most = c->device.features & VIRTIO_BLK_F_MQ ? c->said.num_queues : 1;
    unsigned wanted = (unsigned)min_u64(min_u64(most, smp_online()), ARRAY_SIZE(c->disk.queue));

    wanted = (unsigned)min_u64(wanted, pci_msix_entries(&c->device.pci));
    for (unsigned n = 0; n < wanted && add_queue(c, n, n) == 0; n++)
        ;
    if (c->disk.queues)
        return 0;
    if (c->device.pci.msix || pci_interrupt(&c->device.pci, line_interrupt, c) != 0)
        log_warn("virtio%u: gives no interrupts: it is asked once a second", c->number);
    return add_queue(c, 0, VIRTIO_NO_VECTOR);
}

/* --- Requests */

static int submit(struct block_device *device, struct block_request *request)
{
    struct virtio_disk *disk = device->driver;
    unsigned index = this_cpu()->index;

    while (unlikely(index >= disk->queues))
        index -= disk->queues;
    return virtio_queue_submit(disk->queue[index], request);
}

static void poll(struct disk *disk)
{
    poll_all(container_of(disk, struct virtio_disk, disk));
}

/* It is reset, and its bus mastering turned off: a second later it touches no memory any more (2.4.1). */
static void fail(struct controller *c, const char *why, enum virtio_state state)
{
    log_error("virtio%u: %s: its requests fail", c->number, why);
    __atomic_store_n(&c->disk.state, state, __ATOMIC_SEQ_CST);
    c->disk.disk.block.health = state == VIRTIO_LOST ? BLOCK_GONE : BLOCK_FAILING;
    virtio_device_stop(&c->device);
}

static bool look(struct watch *watch)
{
    struct controller *c = container_of(watch, struct controller, disk.watch);
    unsigned status = virtio_device_status(&c->device);
    bool overdue = false;
    unsigned load = 0;

    if (c->disk.state != VIRTIO_WORKS) {
        for (unsigned i = 0; i < c->disk.queues; i++)
            virtio_queue_end(c->disk.queue[i], c->disk.state == VIRTIO_LOST ? -ENODEV : -EIO);
        return false;
    }
    for (unsigned i = 0; i < c->disk.queues; i++) {
        virtio_queue_poll(c->disk.queue[i]);
        load += virtio_queue_load(c->disk.queue[i], &overdue);
    }
    if (status == 0xff)
        fail(c, "is gone", VIRTIO_LOST);
    else if (status & VIRTIO_NEEDS_RESET)
        fail(c, "the device failed", VIRTIO_STOPPED);
    else if (c->disk.confused)
        fail(c, "it ended a request that it was not given", VIRTIO_STOPPED);
    else if (overdue)
        fail(c, "a request did not end in time", VIRTIO_STOPPED);
    return load != 0;
}

/* --- What it is */

static void ask_serial(struct controller *c)
{
    static char id[VIRTIO_BLK_ID_BYTES]; /* static, as a device that hangs may come back */
    struct virtio_queue *queue = c->disk.queue[0];

    memset(id, 0, sizeof(id));
    virtio_queue_ask_id(queue, id);
    for (unsigned ms = 0; ms < ID_MS; ms++) {
        if (virtio_queue_has_id(queue)) {
            storage_text(c->disk.disk.block.serial, id, sizeof(id), false);
            return;
        }
        tsc_delay_us(1000);
    }
}

static const char *describe(struct controller *c)
{
    static const struct block_ops ops = { submit };
    uint32_t size = c->device.features & VIRTIO_BLK_F_BLK_SIZE ? c->said.blk_size : BLOCK_SECTOR;
    unsigned shift = c->device.features & VIRTIO_BLK_F_TOPOLOGY ? c->said.physical_block_exp : 0;
    uint32_t most = c->device.features & VIRTIO_BLK_F_SEG_MAX ? c->said.seg_max : 1;
    struct block_device *block = &c->disk.disk.block;

    if (size < BLOCK_SECTOR || size > BLOCK_MAX || (size & (size - 1)) || c->said.capacity == 0 || most == 0)
        return "its shape makes no sense";
    *block = (struct block_device){ .ops = &ops,
                                    .driver = &c->disk,
                                    .model = "virtio disk",
                                    .sectors = align_down(c->said.capacity, size / BLOCK_SECTOR),
                                    .logical_block = size,
                                    .physical_block = size << (shift <= 8 ? shift : 0),
                                    .max_sectors = MAX_SECTORS,
                                    .max_segments = (unsigned)min_u64(most, BLOCK_MAX_SEGMENTS),
                                    .segment_align = 2,
                                    .readonly = c->device.features & VIRTIO_BLK_F_RO,
                                    .has_flush = c->device.features & VIRTIO_BLK_F_FLUSH };
    c->disk.max_discard = (uint32_t)align_down(c->said.max_discard_sectors, size / BLOCK_SECTOR);
    c->disk.max_zeroes = (uint32_t)align_down(c->said.max_write_zeroes_sectors, size / BLOCK_SECTOR);
    c->disk.zeroes_may_unmap = c->said.write_zeroes_may_unmap;
    block->has_discard = (c->device.features & VIRTIO_BLK_F_DISCARD) && c->disk.max_discard;
    block->has_write_zeroes = (c->device.features & VIRTIO_BLK_F_WRITE_ZEROES) && c->disk.max_zeroes;
    format_text(block->name, sizeof(block->name), "virtio%u", c->number);
    return NULL;
}

static const char *start(struct controller *c, const struct pci_device *pci)
{
    const char *wrong = virtio_device_map(&c->device, pci);

    if (!wrong)
        wrong = virtio_device_begin(&c->device, WANTED, NEEDED);
    if (wrong)
        return wrong;
    virtio_device_config(&c->device, &c->said, said_widths, ARRAY_SIZE(said_widths));
    wrong = describe(c);
    if (wrong)
        return wrong;
    if (add_queues(c) != 0)
        return "its queues cannot be used";
    virtio_device_go(&c->device);
    return NULL;
}

static int probe(struct pci_device *pci)
{
    struct controller *c = heap_alloc(sizeof(*c));
    const char *wrong;

    if (!c)
        return -ENOMEM;
    *c = (struct controller){ .number = controllers++, .disk = { .disk = { .poll = poll } } };
    watch_init(&c->disk.watch, look);
    wrong = start(c, pci);
    if (wrong) {
        log_warn("virtio%u: not used: %s", c->number, wrong);
        pci_command(pci, 0, (uint32_t)PCI_COMMAND_MASTER);
        return -ENODEV; /* its memory is not given back: who knows what the device still does */
    }
    ask_serial(c);
    log_info("virtio%u: pci %02x:%02x.%x, %u queues", c->number, pci->at.bus, pci->at.slot, pci->at.function,
             c->disk.queues);
    storage_add(&c->disk.disk);
    return 0;
}

const struct pci_driver virtio_blk_driver = { .name = "virtio-blk",
                                              .vendor = VIRTIO_PCI_VENDOR,
                                              .device = VIRTIO_PCI_DEVICE(VIRTIO_ID_BLOCK),
                                              .probe = probe };
const struct pci_driver virtio_blk_driver_transitional = { .name = "virtio-blk, transitional",
                                                           .vendor = VIRTIO_PCI_VENDOR,
                                                           .device = VIRTIO_PCI_TRANSITIONAL_BLOCK,
                                                           .probe = probe };
