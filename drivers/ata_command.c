#include "drivers/ata_command.h"
#include "arch/x86_64/paging.h"
#include "drivers/storage.h"
#include "lib/errno.h"
#include "lib/string.h"

#define SHIFT_MAX    3 /* 4096 bytes */
#define PHYSICAL_MAX 8 /* a physical sector has at most 2^8 logical ones here */

static uint16_t word(const uint8_t *from, unsigned n)
{
    return (uint16_t)(from[2 * n] | from[2 * n + 1] << 8);
}

/* Bytes of a logical sector, 0 if that makes no sense; and of a physical one. */
static void parse_blocks(struct ata_identity *to, const uint8_t *from)
{
    uint32_t logical = BLOCK_SECTOR, blocks = word(from, ATA_ID_BLOCKS), together = 0;

    if (ATA_ID_VALID(blocks)) {
        if (blocks & BIT(12))
            logical = 2 * (word(from, ATA_ID_BLOCK) | (uint32_t)word(from, ATA_ID_BLOCK + 1) << 16);
        if (blocks & BIT(13))
            together = blocks & 0xf;
    }
    for (to->shift = 0; to->shift <= SHIFT_MAX && logical != BLOCK_SECTOR << to->shift; to->shift++)
        ;
    to->physical_block = logical << (together <= PHYSICAL_MAX ? together : 0);
}

const char *ata_parse(struct ata_identity *to, const uint8_t from[ATA_IDENTIFY])
{
    uint32_t able = word(from, ATA_ID_ABLE), commands = word(from, ATA_ID_COMMANDS);
    uint64_t sectors = word(from, ATA_ID_SECTORS) | (uint32_t)word(from, ATA_ID_SECTORS + 1) << 16;

    if (!ATA_ID_VALID(commands))
        commands = 0;
    storage_text(to->serial, from + 2 * ATA_ID_SERIAL, 20, true);
    storage_text(to->model, from + 2 * ATA_ID_MODEL, 40, true);
    to->has_48 = commands & BIT(10);
    to->has_flush = commands & BIT(12);
    to->has_flush_ext = (commands & BIT(13)) && to->has_48;
    to->has_trim = (word(from, ATA_ID_DATASET) & 1) && to->has_48;
    if (to->has_48) {
        sectors = 0;
        for (unsigned i = 0; i < 3; i++)
            sectors |= (uint64_t)word(from, ATA_ID_SECTORS48 + i) << 16 * i;
    }
    parse_blocks(to, from);
    if (word(from, ATA_ID_GENERAL) & BIT(15))
        return "it is no ATA disk";
    if ((able & (BIT(8) | BIT(9))) != (BIT(8) | BIT(9)))
        return "it has no DMA or no LBA";
    if (to->shift > SHIFT_MAX)
        return "its block size is not supported";
    if (sectors == 0)
        return "it has no sectors";
    to->sectors = sectors << to->shift;
    return NULL;
}

void ata_describe(struct block_device *block, const struct ata_identity *identity)
{
    memcpy(block->serial, identity->serial, sizeof(block->serial));
    memcpy(block->model, identity->model, sizeof(block->model));
    block->sectors = identity->sectors;
    block->logical_block = BLOCK_SECTOR << identity->shift;
    block->physical_block = identity->physical_block;
    block->has_flush = identity->has_flush || identity->has_flush_ext;
    block->segment_align = 2;
    block->max_segments = BLOCK_MAX_SEGMENTS;
}

void ata_form(struct ata_taskfile *to, const struct ata_identity *identity,
              const struct block_request *request)
{
    bool has_48 = identity->has_48;

    *to = (struct ata_taskfile){ .device = ATA_DEVICE_LBA, .has_48 = has_48 };
    if (request->op == BLOCK_FLUSH) {
        to->has_48 = identity->has_flush_ext;
        to->command = identity->has_flush_ext ? ATA_FLUSH_EXT : ATA_FLUSH;
        return;
    }
    to->has_data = true;
    to->writes = request->op == BLOCK_WRITE;
    to->lba = request->start >> identity->shift;
    to->count = (uint16_t)(request->sectors >> identity->shift); /* the largest one is written as 0 */
    if (has_48) {
        to->command = to->writes ? ATA_WRITE_DMA_EXT : ATA_READ_DMA_EXT;
        return;
    }
    to->command = to->writes ? ATA_WRITE_DMA : ATA_READ_DMA;
    to->device |= (uint8_t)(to->lba >> 24 & 0xf);
}

int ata_regions(struct ata_region *to, unsigned most, const struct block_segment *segment, unsigned segments)
{
    unsigned count = 0;

    for (unsigned i = 0; i < segments; i++) {
        uint64_t at = virt_to_phys(segment[i].data).raw, end = at + segment[i].bytes;

        if (end > 4 * GiB)
            return -EINVAL;
        while (at < end) {
            uint64_t next = min_u64(end, align_down(at, ATA_REGION_BORDER) + ATA_REGION_BORDER);

            if (count == most)
                return -EINVAL;
            to[count++] = (struct ata_region){ (uint32_t)at, (uint16_t)(next - at), 0 };
            at = next;
        }
    }
    if (count)
        to[count - 1].last = ATA_REGION_LAST;
    return (int)count;
}
