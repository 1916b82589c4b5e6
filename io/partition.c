#include "io/partition.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/crc32.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define MAX_LINKS 60 /* tables in a chain: more is a circle, or nonsense */

/* ECMA-119 8.4: the volume descriptor is in the 17th block of 2048 bytes. tools/mkiso names the volume. */
#define VOLUME_SECTOR 64
#define VOLUME_MARK   1
#define VOLUME_NAME   40
static const char volume_mark[] = "CD001";
static const char volume_name[] = "PLINTH ";

/* --- Reading */

static void came(struct block_request *request, int status)
{
    struct partition_scan *scan = container_of(request, struct partition_scan, request);

    scan->status = status;
    __atomic_store_n(&scan->came, true, __ATOMIC_RELEASE);
}

/* The next piece of what is being read. */
static void read_on(struct partition_scan *scan)
{
    uint64_t most = (uint64_t)scan->user.device->max_sectors * BLOCK_SECTOR;
    uint32_t bytes = scan->bytes - scan->read;

    if (bytes > most)
        bytes = (uint32_t)align_down(most, scan->block);
    scan->segment = (struct block_segment){ scan->buffer + scan->read, bytes };
    scan->request = (struct block_request){ .op = BLOCK_READ,
                                            .sector = scan->sector + scan->read / BLOCK_SECTOR,
                                            .sectors = bytes / BLOCK_SECTOR,
                                            .segment = &scan->segment,
                                            .segments = 1,
                                            .done = came };
    scan->came = false;
    block_submit(&scan->user, &scan->request);
}

/* Asks for `bytes` from a logical block on; what they hold is for `step`. They are on the disk. */
static void ask(struct partition_scan *scan, enum partition_step step, uint64_t block, uint32_t bytes)
{
    scan->step = step;
    scan->sector = block * (scan->block / BLOCK_SECTOR);
    scan->bytes = (uint32_t)align_up(bytes, scan->block);
    scan->read = 0;
    read_on(scan);
}

/* --- Adding */

static void add(struct partition_scan *scan, unsigned number, const struct partition_entry *entry)
{
    struct block_device *disk = scan->user.device;
    struct partition *part = scan->count < PARTITION_MAX ? heap_alloc(sizeof(*part)) : NULL;
    uint32_t per_block = scan->block / BLOCK_SECTOR;

    if (!part) {
        scan->wrong++;
        return;
    }
    scan->count++;
    part->number = number;
    memcpy(part->label, entry->label, sizeof(part->label));
    memcpy(part->uuid, entry->uuid, sizeof(part->uuid));
    part->device = (struct block_device){ .ops = disk->ops,
                                          .driver = disk->driver,
                                          .sectors = entry->blocks * per_block,
                                          .physical_block = disk->physical_block,
                                          .logical_block = disk->logical_block,
                                          .max_sectors = disk->max_sectors,
                                          .max_segments = disk->max_segments,
                                          .segment_align = disk->segment_align,
                                          .readonly = disk->readonly,
                                          .has_flush = disk->has_flush,
                                          .has_discard = disk->has_discard,
                                          .has_write_zeroes = disk->has_write_zeroes,
                                          .is_boot_medium = disk->is_boot_medium,
                                          .whole = disk,
                                          .first = entry->first * per_block };
    format_text(part->device.name, BLOCK_NAME_MAX, "%sp%u", disk->name, number);
    block_add(&part->device);
}

/* --- The steps */

static void end(struct partition_scan *scan)
{
    scan->step = STEP_END;
}

static void on_medium(struct partition_scan *scan)
{
    if (memcmp(scan->buffer + VOLUME_MARK, volume_mark, sizeof(volume_mark) - 1) == 0 &&
        memcmp(scan->buffer + VOLUME_NAME, volume_name, sizeof(volume_name) - 1) == 0)
        scan->user.device->is_boot_medium = true;
    ask(scan, STEP_MBR, 0, MBR_BYTES);
}

/* The tables of an extended partition are a chain: in each the first entry is a partition, the second the
 * next link. */
static void next_link(struct partition_scan *scan, uint64_t block)
{
    scan->link = block;
    if (scan->links++ < MAX_LINKS)
        ask(scan, STEP_LOGICAL, block, MBR_BYTES);
    else
        end(scan);
}

static void on_plain_mbr(struct partition_scan *scan)
{
    struct partition_entry entry;

    for (unsigned i = 0; i < MBR_ENTRIES; i++) {
        switch (mbr_read_entry(scan->mbr, i, 0, scan->blocks, &entry)) {
        case PARTITION_NONE:
            break;
        case PARTITION_WRONG:
            scan->wrong++;
            break;
        case PARTITION_FOUND:
            mbr_uuid(scan->mbr, i + 1, entry.uuid);
            add(scan, i + 1, &entry);
            break;
        case PARTITION_EXTENDED:
            scan->extended = entry.first;
            scan->extended_blocks = entry.blocks;
            break;
        }
    }
    scan->logical = MBR_ENTRIES;
    if (scan->extended)
        next_link(scan, scan->extended);
    else
        end(scan);
}

static void on_logical(struct partition_scan *scan)
{
    uint64_t limit = scan->extended + scan->extended_blocks;
    struct partition_entry entry;

    if (!mbr_is_there(scan->buffer)) {
        scan->wrong++;
        end(scan);
        return;
    }
    switch (mbr_read_entry(scan->buffer, 0, scan->link, limit, &entry)) {
    case PARTITION_FOUND:
        mbr_uuid(scan->mbr, ++scan->logical, entry.uuid);
        add(scan, scan->logical, &entry);
        break;
    case PARTITION_NONE:
        break;
    default:
        scan->wrong++;
        break;
    }
    if (mbr_read_entry(scan->buffer, 1, scan->extended, limit, &entry) == PARTITION_EXTENDED)
        next_link(scan, entry.first);
    else
        end(scan);
}

static void on_mbr(struct partition_scan *scan)
{
    memcpy(scan->mbr, scan->buffer, sizeof(scan->mbr));
    if (!mbr_is_there(scan->mbr))
        end(scan);
    else if (mbr_is_protective(scan->mbr) && scan->blocks > 2)
        ask(scan, STEP_HEADER, 1, scan->block);
    else
        on_plain_mbr(scan);
}

/* The first GPT is no good: its copy is at the end of the disk, or where it says itself. */
static void try_backup(struct partition_scan *scan, const char *fault, uint64_t block)
{
    const char *name = scan->user.device->name;

    if (scan->backup) {
        log_warn("disk %s: it has no partitions that can be used: its GPT %s, and the copy of it %s", name,
                 scan->fault, fault);
        end(scan);
        return;
    }
    scan->backup = true;
    scan->fault = fault;
    ask(scan, STEP_HEADER, block, scan->block);
}

static void on_header(struct partition_scan *scan)
{
    uint64_t block = scan->backup ? scan->sector / (scan->block / BLOCK_SECTOR) : 1;
    const char *fault = gpt_read_header(&scan->header, scan->buffer, scan->block, block, scan->blocks);

    if (fault)
        try_backup(scan, fault, scan->blocks - 1);
    else
        ask(scan, STEP_ENTRIES, scan->header.entries_block, gpt_entries_bytes(&scan->header));
}

static void on_entries(struct partition_scan *scan)
{
    const struct gpt_header *header = &scan->header;
    struct partition_entry entry;

    if (crc32(0, scan->buffer, gpt_entries_bytes(header)) != header->entries_crc) {
        uint64_t other = header->other_block;

        try_backup(scan, "has entries with a wrong checksum",
                   other > 1 && other < scan->blocks ? other : scan->blocks - 1);
        return;
    }
    if (scan->backup)
        log_warn("disk %s: its GPT %s: the copy of it is used; a partitioning tool can mend it (sgdisk -e)",
                 scan->user.device->name, scan->fault);
    for (unsigned i = 0; i < header->entries; i++) {
        enum partition_found found = gpt_read_entry(header, scan->buffer, i, &entry);

        if (found == PARTITION_FOUND)
            add(scan, i + 1, &entry);
        else if (found == PARTITION_WRONG)
            scan->wrong++;
    }
    end(scan);
}

static void (*const steps[STEP_END])(struct partition_scan *scan) = {
    [STEP_MEDIUM] = on_medium,   [STEP_MBR] = on_mbr,         [STEP_HEADER] = on_header,
    [STEP_ENTRIES] = on_entries, [STEP_LOGICAL] = on_logical,
};

/* A piece is there, or is not to be had. */
static void on_piece(struct partition_scan *scan)
{
    scan->read += scan->segment.bytes;
    if (scan->status && (scan->step == STEP_HEADER || scan->step == STEP_ENTRIES)) {
        try_backup(scan, "cannot be read", scan->blocks - 1);
    } else if (scan->status && scan->step == STEP_MEDIUM) {
        ask(scan, STEP_MBR, 0, MBR_BYTES);
    } else if (scan->status) {
        log_warn("disk %s: its partition table cannot be read", scan->user.device->name);
        end(scan);
    } else if (scan->read < scan->bytes) {
        read_on(scan);
    } else {
        steps[scan->step](scan);
    }
}

/* --- A scan */

static void finish(struct partition_scan *scan)
{
    if (scan->wrong)
        log_warn("disk %s: %u of its partition table's entries make no sense, or are too many: left out",
                 scan->user.device->name, scan->wrong);
    block_close(&scan->user);
    heap_free(scan->buffer);
    scan->buffer = NULL;
}

int partition_scan_begin(struct partition_scan *scan, struct block_device *disk, struct timer_queue *queue)
{
    int err;

    *scan = (struct partition_scan){ .block = disk->logical_block };
    if (scan->block > PAGE_SIZE || disk->max_sectors < scan->block / BLOCK_SECTOR)
        return -EINVAL;
    scan->blocks = disk->sectors / (scan->block / BLOCK_SECTOR);
    err = block_open(&scan->user, disk, "Plinth", true, NULL, queue);
    if (err)
        return err;
    scan->buffer = heap_alloc(GPT_ENTRIES_BYTES);
    if (!scan->buffer) {
        block_close(&scan->user);
        return -ENOMEM;
    }
    if (disk->sectors >= VOLUME_SECTOR + PAGE_SIZE / BLOCK_SECTOR)
        ask(scan, STEP_MEDIUM, VOLUME_SECTOR / (scan->block / BLOCK_SECTOR), scan->block);
    else if (scan->blocks)
        ask(scan, STEP_MBR, 0, MBR_BYTES);
    else
        end(scan);
    return 0;
}

bool partition_scan_step(struct partition_scan *scan)
{
    while (scan->step != STEP_END) {
        if (!__atomic_load_n(&scan->came, __ATOMIC_ACQUIRE) || !block_user_idle(&scan->user))
            return true;
        on_piece(scan);
    }
    finish(scan);
    return false;
}
