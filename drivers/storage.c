#include "drivers/storage.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/ahci.h"
#include "drivers/ata.h"
#include "drivers/nvme.h"
#include "drivers/pci.h"
#include "drivers/virtio_blk.h"
#include "kernel/log.h"
#include "lib/errno.h"

#define READ_SECONDS  5
#define VOLUME_SECTOR 64 /* where an ISO 9660 medium says what it is */
#define BUFFER        4096
#define UNFINISHED    1

static int read_status; /* of storage_read(): one at a time */

static void read_done(struct block_request *request, int status)
{
    (void)request;
    read_status = status;
}

int storage_read(struct disk *disk, uint64_t sector, void *to, uint32_t bytes)
{
    static struct block_segment segment;
    static struct block_request request; /* static, as a device that hangs may come back */
    uint64_t end = tsc_now() + READ_SECONDS * tsc_hz();
    int error;

    if (read_status == UNFINISHED)
        return -EIO; /* one hung for good */
    segment = (struct block_segment){ .data = to, .bytes = bytes };
    request = (struct block_request){ .op = BLOCK_READ,
                                      .sectors = bytes / BLOCK_SECTOR,
                                      .start = sector,
                                      .segment = &segment,
                                      .segments = 1,
                                      .done = read_done };
    read_status = UNFINISHED;
    error = disk->block.ops->submit(&disk->block, &request);
    if (error) {
        read_status = 0;
        return error;
    }
    while (read_status == UNFINISHED && tsc_now() < end) {
        cpu_pause();
        disk->poll(disk);
    }
    return read_status == UNFINISHED ? -EIO : read_status;
}

/* The loader's word for where it came from is a number of the BIOS', which tells nothing of this disk. */
static bool find_boot_medium(struct disk *disk)
{
    static uint8_t buffer[BUFFER] __aligned(4096);

    return disk->block.sectors > VOLUME_SECTOR + BUFFER / BLOCK_SECTOR &&
           storage_read(disk, VOLUME_SECTOR, buffer, BUFFER) == 0 && storage_is_boot_medium(buffer);
}

void storage_add(struct disk *disk)
{
    struct block_device *block = &disk->block;

    block->is_boot_medium = find_boot_medium(disk);
    log_info("%s: %s, serial number %s, %llu MiB%s%s", block->name, block->model,
             block->serial[0] ? block->serial : "unknown",
             (unsigned long long)(block->sectors / (MiB / BLOCK_SECTOR)),
             block->readonly ? ", read-only" : "",
             block->is_boot_medium ? ", which Plinth was started from" : "");
    block_add(block);
}

void storage_init(void)
{
    static const struct pci_driver *const drivers[] = { &nvme_driver, &ahci_driver, &ata_driver,
                                                        &virtio_blk_driver, &virtio_blk_driver_transitional };

    pci_probe(drivers, ARRAY_SIZE(drivers));
}
