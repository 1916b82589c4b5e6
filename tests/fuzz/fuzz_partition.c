/*
 * Any bytes as a disk with a partition table. The first byte says how the disk behaves (bit 0: blocks of 4096
 * bytes; bit 1: it takes one block at a time; bit 2: it takes its time; bit 3: the checksums of GPT headers
 * and entries are made right; bits 4-7: a part that cannot be read); the rest is its content. Each partition
 * that is found must lie within the disk.
 */
#include <assert.h>
#include <stdarg.h>
#include "io/partition.h"
#include "tests/unit/disk_rig.h"
#include "tests/unit/host/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t load(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* As far as what they cover is on the disk. */
static void sign(uint8_t *image, uint64_t blocks, uint32_t block, uint64_t at)
{
    uint8_t *header = image + at * block;
    uint64_t array = load(header + 72), bytes = (uint64_t)load(header + 80) * load(header + 84);

    if (array < blocks && bytes <= (blocks - array) * block)
        put32(header + 88, crc32(0, image + array * block, bytes));
    put32(header + 16, 0);
    if (load(header + 12) <= block)
        put32(header + 16, crc32(0, header, load(header + 12)));
}

static void check(struct rig_disk *disk)
{
    for (unsigned i = 1; block_device(i); i++) {
        struct partition *part = partition_of(block_device(i));

        assert(part && part->device.whole == &disk->device && part->number >= 1);
        assert(part->device.sectors > 0 && part->device.first > 0 &&
               part->device.first >= disk->device.logical_block / 512);
        assert(part->device.first < disk->device.sectors);
        assert(part->device.sectors <= disk->device.sectors - part->device.first);
        assert(is_aligned(part->device.first | part->device.sectors, disk->device.logical_block / 512));
        assert(memchr(part->label, 0, sizeof(part->label)));
        assert(memchr(part->uuid, 0, sizeof(part->uuid)) && part->uuid[0]);
        assert(i <= PARTITION_MAX);
    }
}

static void forget(void)
{
    struct block_device *device;

    while ((device = block_device(0)) != NULL) {
        struct partition *part = partition_of(device);

        block_remove(device);
        heap_free(part);
    }
    assert(heap_used() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig_disk disk;
    static struct partition_scan scan;
    static struct timer_queue queue;
    unsigned how = size ? data[0] : 0;
    uint32_t block = how & 1 ? 4096 : 512;
    uint64_t blocks = size ? (size - 1) / block : 0;
    uint8_t *image = malloc(blocks * block); /* exactly: so that a read beyond the end is seen */

    if (!host_memory) {
        host_log_quiet = true;
        assert(rig_memory() == 0);
    }
    if (blocks)
        memcpy(image, data + 1, blocks * block);
    if ((how & 8) && blocks > 2) {
        sign(image, blocks, block, 1);
        sign(image, blocks, block, blocks - 1);
    }
    rig_disk(&disk, "disk0", image, blocks * block, block);
    if (how & 2)
        disk.device.max_sectors = block / BLOCK_SECTOR;
    disk.defer = how & 4;
    disk.bad_sector = how >> 4;
    assert(partition_scan_begin(&scan, &disk.device, &queue) == 0);
    while (partition_scan_step(&scan))
        rig_complete(&disk);
    assert(!disk.device.users && block_user_idle(&scan.user));
    check(&disk);
    forget();
    free(image);
    return 0;
}
