/* Disks that lie: what they say of themselves, completions of an NVMe controller, registers of an AHCI port.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "drivers/ahci_port.h"
#include "drivers/nvme_queue.h"
#include "drivers/virtio_queue.h"
#include "lib/errno.h"
#include "tests/unit/host/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS 80

static const uint8_t *input;
static size_t left;
static struct block_request request[REQUESTS];
static bool under_way[REQUESTS];
static uint8_t memory[64 * 1024] __aligned(4096);
static uint32_t registers[AHCI_PORT_SIZE / 4];

static uint32_t next(void)
{
    uint32_t value = 0;
    size_t bytes = left < 4 ? left : 4;

    memcpy(&value, input, bytes);
    input += bytes;
    left -= bytes;
    return value;
}

void watch_begin(struct watch *watch)
{
    watch->active = true;
}

void ahci_delay_us(unsigned us)
{
    (void)us;
    registers[next() % ARRAY_SIZE(registers)] = next();
}

static void done(struct block_request *r, int status)
{
    assert(under_way[r - request]); /* each ends once */
    assert(status == 0 || status == -EIO || status == -ENOSPC || status == -EROFS || status == -ENODEV ||
           status == -EOPNOTSUPP);
    under_way[r - request] = false;
}

/* A request as the block layer lets them pass: NULL: none is free. */
static struct block_request *new_request(void)
{
    static struct block_segment segment[REQUESTS][4];
    unsigned n = 0, count = 1 + next() % 4;
    struct block_request *r;

    while (n < REQUESTS && under_way[n])
        n++;
    if (n == REQUESTS)
        return NULL;
    r = &request[n];
    *r = (struct block_request){
        .op = next() % BLOCK_OPS, .start = next(), .sectors = 4 * count, .done = done
    };
    for (unsigned i = 0; i < count; i++)
        segment[n][i] = (struct block_segment){ memory + next() % (sizeof(memory) - 2048) / 4 * 4, 2048 };
    if (r->op <= BLOCK_WRITE) {
        r->segment = segment[n];
        r->segments = count;
    } else if (r->op != BLOCK_FLUSH) {
        r->sectors = next() | 1;
    }
    return r;
}

static void nothing_is_left(void)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        assert(!under_way[i]);
}

static void fuzz_nvme(void)
{
    static struct nvme_completion completions[NVME_DEPTH];
    static struct nvme_command commands[NVME_DEPTH];
    static uint8_t lists[8 * PAGE_SIZE] __aligned(4096), bounce[NVME_MAX_BYTES] __aligned(4096);
    uint32_t tail_bell, head_bell;
    static struct nvme_namespace ns;
    static struct nvme nvme;
    struct nvme_queue queue = { .nvme = &nvme,
                                .commands = commands,
                                .completions = completions,
                                .tail_bell = &tail_bell,
                                .head_bell = &head_bell,
                                .lists = lists,
                                .lists_at = hpa((uint64_t)(uintptr_t)lists) };

    memset(completions, 0, sizeof(completions));
    ns = (struct nvme_namespace){ .nvme = &nvme, .nsid = 1, .shift = next() % 4 };
    nvme = (struct nvme){
        .queues = 1, .queue = { &queue }, .namespaces = 1, .ns = { &ns }, .bounce = bounce
    };
    nvme_queue_init(&queue);
    while (left) {
        uint32_t what = next();
        struct block_request *r;

        switch (what % 4) {
        case 0:
            r = new_request();
            if (r) {
                under_way[r - request] = true;
                if (nvme_queue_submit(&queue, &ns, r) != 0)
                    under_way[r - request] = false;
            }
            break;
        case 1:
            completions[what / 4 % NVME_DEPTH].status = next();
            break;
        case 2: /* what an honest one might say */
            completions[queue.head].status = (next() % 64) | queue.phase | (what & 0x100 ? 0x1020000u : 0);
            break;
        default:
            nvme_queue_poll(&queue);
        }
        assert(queue.tail < NVME_DEPTH && queue.head < NVME_DEPTH && queue.free_count <= NVME_SLOTS);
    }
    nvme_queue_end(&queue, -EIO);
    assert(queue.free_count == NVME_SLOTS);
    nothing_is_left();
}

static void fuzz_ahci(void)
{
    static uint8_t of_port[AHCI_PORT_BYTES] __aligned(4096);
    static struct ahci_port port;
    struct block_request *r;

    memset(registers, 0, sizeof(registers));
    port = (struct ahci_port){ .registers = (volatile uint8_t *)registers, .memory = of_port };
    port.slots = next() | 1;
    port.identity.has_48 = port.identity.has_trim = next() & 1;
    while (left) {
        uint32_t what = next();

        switch (what % 4) {
        case 0:
            r = new_request();
            if (r && r->op != BLOCK_WRITE_ZEROES) {
                under_way[r - request] = true;
                if (ahci_submit(&port, r) != 0)
                    under_way[r - request] = false;
            }
            break;
        case 1:
            registers[what / 4 % ARRAY_SIZE(registers)] = next();
            break;
        case 2:
            port.watch.tick += what / 4 % 64;
            (void)ahci_look(&port);
            break;
        default:
            ahci_poll(&port);
        }
        assert((port.busy & ~port.slots) == 0 && (port.pending & ~port.busy) == 0);
    }
    for (unsigned i = 0; i < 2000 && port.busy;
         i++) { /* all are given up, or end; a DISCARD has many parts */
        port.watch.tick += WATCH_SECONDS + 1;
        (void)ahci_look(&port);
    }
    nothing_is_left();
}

static void fuzz_virtio(void)
{
    static struct virtio_queue_memory shared __aligned(4096);
    static struct virtio_disk disk;
    static struct virtio_queue queue;
    volatile struct virtio_used *used;
    uint16_t bell;

    memset(&shared, 0, sizeof(shared));
    disk = (struct virtio_disk){
        .queues = 1, .queue = { &queue }, .max_discard = next() | 1, .max_zeroes = next() | 1
    };
    queue = (struct virtio_queue){ .disk = &disk, .memory = &shared, .ring = { .bell = &bell } };
    virtio_queue_init(&queue);
    used = queue.ring.used;
    while (left) {
        uint32_t what = next();
        struct block_request *r;

        switch (what % 4) {
        case 0:
            r = new_request();
            if (r) {
                under_way[r - request] = true;
                if (virtio_queue_submit(&queue, r) != 0)
                    under_way[r - request] = false;
            }
            break;
        case 1: /* anything that it can write */
            ((volatile uint8_t *)used)[what / 4 % VIRTQ_USED_BYTES(VIRTIO_SLOTS)] = (uint8_t)next();
            break;
        case 2: /* what an honest one might say */
            shared.slot[what / 4 % VIRTIO_SLOTS].status = (uint8_t)(what >> 16 & 3);
            used->ring[used->index++ % VIRTIO_SLOTS].id = what / 4 % VIRTIO_SLOTS;
            break;
        default:
            virtio_queue_poll(&queue);
        }
        assert(queue.free_count <= VIRTIO_SLOTS);
    }
    virtio_queue_end(&queue, -EIO);
    assert(queue.free_count == VIRTIO_SLOTS);
    nothing_is_left();
}

/* What is taken for a disk has numbers that the block layer can work with. */
static void fuzz_identity(void)
{
    static uint8_t page[NVME_IDENTIFY_BYTES];
    struct nvme_identity controller;
    struct ata_identity disk;
    struct nvme_shape shape;

    memset(page, 0, sizeof(page));
    memcpy(page, input, left < sizeof(page) ? left : sizeof(page));
    nvme_parse_controller(&controller, page, page[0] & 0xf);
    assert(controller.max_bytes >= PAGE_SIZE && controller.max_bytes <= NVME_MAX_BYTES);
    assert(strlen(controller.serial) < BLOCK_SERIAL_MAX && strlen(controller.model) < BLOCK_SERIAL_MAX);
    if (!nvme_parse_namespace(&shape, page))
        assert(shape.blocks && shape.shift >= 9 && shape.shift <= 12 &&
               shape.blocks << (shape.shift - 9) >= shape.blocks);
    if (!ata_parse(&disk, page)) {
        assert(disk.sectors && disk.shift <= 3 && disk.physical_block >= BLOCK_SECTOR << disk.shift);
        assert((disk.physical_block & (disk.physical_block - 1)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    host_log_quiet = true;
    input = data;
    left = size;
    memset(under_way, 0, sizeof(under_way));
    switch (next() % 4) {
    case 0:
        fuzz_nvme();
        break;
    case 1:
        fuzz_ahci();
        break;
    case 2:
        fuzz_virtio();
        break;
    default:
        fuzz_identity();
    }
    return 0;
}
