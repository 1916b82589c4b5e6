#include "drivers/virtio_blk.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "drivers/virtio_queue.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "kernel/post.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define TRANSITIONAL 0x1001u
#define WANTED                                                                                               \
    (VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_RO | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |                   \
     VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_MQ | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES |            \
     VIRTIO_F_INDIRECT | VIRTIO_F_VERSION_1)
#define NEEDED       (VIRTIO_F_INDIRECT | VIRTIO_F_VERSION_1)
#define MEMORY_ORDER 6
#define CAPS_MAX     16u
#define RESET_MS     100u
#define ID_MS        1000u
#define BLOCK_MAX    4096u
#define MAX_SECTORS  1024u

static_assert(sizeof(struct virtio_queue_memory) <= PAGE_SIZE << MEMORY_ORDER, "a queue's memory");

struct controller {
    struct virtio_disk disk; /* first: one is found from the other */
    struct pci_device pci;
    struct post stop; /* turns bus mastering off, which the boot CPU has to do */
    unsigned number;
    volatile uint8_t *common, *notify, *isr, *config;
    uint32_t notify_size, notify_step, config_size;
    uint64_t features;
    struct virtio_blk_config said;
};

static unsigned controllers;

static uint8_t in8_at(const struct controller *c, unsigned at)
{
    return c->common[at];
}

static uint16_t in16_at(const struct controller *c, unsigned at)
{
    return *(const volatile uint16_t *)(c->common + at);
}

static void out16_at(struct controller *c, unsigned at, unsigned value)
{
    *(volatile uint16_t *)(c->common + at) = (uint16_t)value;
}

static void out32_at(struct controller *c, unsigned at, uint64_t value)
{
    *(volatile uint32_t *)(c->common + at) = (uint32_t)value;
}

static void out64_at(struct controller *c, unsigned at, uint64_t value)
{
    out32_at(c, at, value);
    out32_at(c, at + 4, value >> 32);
}

/* --- Finding its registers (4.1.4) */

static volatile uint8_t *map_part(struct controller *c, unsigned type, uint32_t least, uint32_t *size,
                                  uint32_t *extra)
{
    unsigned at = 0;

    for (unsigned i = 0; i < CAPS_MAX && (at = pci_capability(&c->pci, PCI_CAP_VENDOR, at)) != 0; i++) {
        uint32_t bar = pci_read(c->pci.at, at + 4) & 0xff, offset = pci_read(c->pci.at, at + 8);
        volatile uint8_t *base;

        if (pci_read(c->pci.at, at) >> 24 != type)
            continue;
        *size = pci_read(c->pci.at, at + 12);
        if (extra && at + 16 < 256)
            *extra = pci_read(c->pci.at, at + 16);
        if (*size < least)
            return NULL;
        *size = (uint32_t)min_u64(*size, 64 * KiB);
        base = pci_map(&c->pci, bar, (uint64_t)offset + *size);
        return base ? base + offset : NULL;
    }
    return NULL;
}

static const char *map(struct controller *c)
{
    uint32_t size;

    c->common = map_part(c, VIRTIO_PCI_COMMON, VIRTIO_COMMON_QUEUE_NOTIFY_DATA, &size, NULL);
    c->notify = map_part(c, VIRTIO_PCI_NOTIFY, 2, &c->notify_size, &c->notify_step);
    c->isr = map_part(c, VIRTIO_PCI_ISR, 1, &size, NULL);
    c->config = map_part(c, VIRTIO_PCI_DEVICE_CFG, 8, &c->config_size, NULL);
    return c->common && c->notify && c->isr && c->config ? NULL : "it has no modern registers";
}

/* --- Start (3.1) */

static int reset(struct controller *c)
{
    c->common[VIRTIO_COMMON_STATUS] = 0;
    for (unsigned ms = 0; in8_at(c, VIRTIO_COMMON_STATUS) != 0; ms++) {
        if (ms == RESET_MS)
            return -EIO;
        tsc_delay_us(1000);
    }
    return 0;
}

static const char *negotiate(struct controller *c)
{
    volatile uint8_t *status = c->common + VIRTIO_COMMON_STATUS;
    uint64_t offered = 0;

    if (reset(c) != 0)
        return "it does not come back from its reset";
    *status = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER;
    for (unsigned half = 0; half < 2; half++) {
        out32_at(c, VIRTIO_COMMON_DEVICE_FEATURE_SELECT, half);
        offered |= (uint64_t) * (volatile uint32_t *)(c->common + VIRTIO_COMMON_DEVICE_FEATURE) << 32 * half;
    }
    c->features = offered & WANTED;
    if ((c->features & NEEDED) != NEEDED)
        return "it has no indirect descriptors, or is of an older kind";
    for (unsigned half = 0; half < 2; half++) {
        out32_at(c, VIRTIO_COMMON_DRIVER_FEATURE_SELECT, half);
        out32_at(c, VIRTIO_COMMON_DRIVER_FEATURE, c->features >> 32 * half);
    }
    *status = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK;
    if (!(*status & VIRTIO_FEATURES_OK))
        return "it does not accept what it offered";
    for (unsigned i = 0; i < sizeof(c->said) && i < c->config_size; i++)
        ((uint8_t *)&c->said)[i] = c->config[i];
    return NULL;
}

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
    hpa_t memory = frames_alloc(MEMORY_ORDER, FRAME_HEAP);
    uint64_t bell;

    if (!queue || !memory.raw)
        return -ENOMEM; /* what there is is lost; so little memory is no state to go on in */
    out16_at(c, VIRTIO_COMMON_QUEUE_SELECT, n);
    bell = (uint64_t)in16_at(c, VIRTIO_COMMON_QUEUE_NOTIFY_OFF) * c->notify_step;
    if (in16_at(c, VIRTIO_COMMON_QUEUE_SIZE) < VIRTIO_SLOTS || bell + 2 > c->notify_size || (bell & 1))
        return -ENODEV;
    memset(phys_to_virt(memory), 0, PAGE_SIZE << MEMORY_ORDER);
    queue->disk = &c->disk;
    queue->memory = phys_to_virt(memory);
    queue->bell = (volatile uint16_t *)(c->notify + bell);
    queue->number = (uint16_t)n;
    virtio_queue_init(queue);
    if (vector != VIRTIO_NO_VECTOR &&
        pci_msix(&c->pci, vector, smp_cpu(n)->apic_id, queue_interrupt, queue) != 0)
        return -ENODEV;
    out16_at(c, VIRTIO_COMMON_QUEUE_VECTOR, vector);
    if (in16_at(c, VIRTIO_COMMON_QUEUE_VECTOR) != vector)
        return -ENODEV;
    out16_at(c, VIRTIO_COMMON_QUEUE_SIZE, VIRTIO_SLOTS);
    out64_at(c, VIRTIO_COMMON_QUEUE_DESC, memory.raw + offsetof(struct virtio_queue_memory, desc));
    out64_at(c, VIRTIO_COMMON_QUEUE_DRIVER, memory.raw + offsetof(struct virtio_queue_memory, avail));
    out64_at(c, VIRTIO_COMMON_QUEUE_DEVICE, memory.raw + offsetof(struct virtio_queue_memory, used));
    out16_at(c, VIRTIO_COMMON_QUEUE_ENABLE, 1);
    c->disk.queue[n] = queue;
    c->disk.queues = n + 1;
    return 0;
}

/* Reading what it has to say ends the interrupt (4.1.5.4). */
static void line_interrupt(void *context)
{
    struct controller *c = context;

    if (*c->isr & VIRTIO_ISR_QUEUE)
        poll_all(&c->disk);
}

/* A queue for each CPU, as far as queues and vectors go; without MSI-X one, with the line. */
static int add_queues(struct controller *c)
{
    unsigned most = c->features & VIRTIO_BLK_F_MQ ? c->said.num_queues : 1;
    unsigned wanted = (unsigned)min_u64(min_u64(most, smp_online()), ARRAY_SIZE(c->disk.queue));

    wanted = (unsigned)min_u64(wanted, pci_msix_entries(&c->pci));
    for (unsigned n = 0; n < wanted && add_queue(c, n, n) == 0; n++)
        ;
    if (c->disk.queues)
        return 0;
    if (c->pci.msix || pci_interrupt(&c->pci, line_interrupt, c) != 0)
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

static void stop_mastering(struct post *post)
{
    pci_command(&container_of(post, struct controller, stop)->pci, 0, (uint32_t)PCI_COMMAND_MASTER);
}

/* It is reset, and its bus mastering turned off: a second later it touches no memory any more (2.4.1). */
static void fail(struct controller *c, const char *why, enum virtio_state state)
{
    log_error("virtio%u: %s: its requests fail", c->number, why);
    __atomic_store_n(&c->disk.state, state, __ATOMIC_SEQ_CST);
    c->disk.disk.block.health = state == VIRTIO_LOST ? BLOCK_GONE : BLOCK_FAILING;
    c->common[VIRTIO_COMMON_STATUS] = 0;
    post_boot(&c->stop);
}

static bool look(struct watch *watch)
{
    struct controller *c = container_of(watch, struct controller, disk.watch);
    uint8_t status = in8_at(c, VIRTIO_COMMON_STATUS);
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
    uint32_t size = c->features & VIRTIO_BLK_F_BLK_SIZE ? c->said.blk_size : BLOCK_SECTOR;
    unsigned shift = c->features & VIRTIO_BLK_F_TOPOLOGY ? c->said.physical_block_exp : 0;
    uint32_t most = c->features & VIRTIO_BLK_F_SEG_MAX ? c->said.seg_max : 1;
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
                                    .readonly = c->features & VIRTIO_BLK_F_RO,
                                    .has_flush = c->features & VIRTIO_BLK_F_FLUSH };
    c->disk.max_discard = (uint32_t)align_down(c->said.max_discard_sectors, size / BLOCK_SECTOR);
    c->disk.max_zeroes = (uint32_t)align_down(c->said.max_write_zeroes_sectors, size / BLOCK_SECTOR);
    c->disk.zeroes_may_unmap = c->said.write_zeroes_may_unmap;
    block->has_discard = (c->features & VIRTIO_BLK_F_DISCARD) && c->disk.max_discard;
    block->has_write_zeroes = (c->features & VIRTIO_BLK_F_WRITE_ZEROES) && c->disk.max_zeroes;
    format_text(block->name, sizeof(block->name), "virtio%u", c->number);
    return NULL;
}

static const char *start(struct controller *c)
{
    const char *wrong = map(c);

    if (!wrong)
        wrong = negotiate(c);
    if (!wrong)
        wrong = describe(c);
    if (wrong)
        return wrong;
    pci_command(&c->pci, (uint32_t)PCI_COMMAND_MASTER, 0);
    if (add_queues(c) != 0)
        return "its queues cannot be used";
    c->common[VIRTIO_COMMON_STATUS] = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK |
                                      VIRTIO_DRIVER_OK;
    return NULL;
}

static int probe(struct pci_device *pci)
{
    struct controller *c = heap_alloc(sizeof(*c));
    const char *wrong;

    if (!c)
        return -ENOMEM;
    *c = (struct controller){ .pci = *pci,
                              .number = controllers++,
                              .stop = { .run = stop_mastering },
                              .disk = { .disk = { .poll = poll } } };
    watch_init(&c->disk.watch, look);
    wrong = start(c);
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
const struct pci_driver virtio_blk_driver_transitional = {
    .name = "virtio-blk, transitional", .vendor = VIRTIO_PCI_VENDOR, .device = TRANSITIONAL, .probe = probe
};
