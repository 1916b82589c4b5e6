/* A disk that is an array of bytes, and what is needed to write partition tables into it. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/paging.h"
#include "io/block.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "lib/crc32.h"
#include "lib/errno.h"

#define RIG_ARENA (16 * MiB)

struct rig_disk {
    struct block_device device;
    uint8_t *image;
    struct block_request *late; /* deferred, until rig_complete() */
    bool defer, bad_all;
    uint64_t bad_sector; /* reads of it fail; 0: none */
    unsigned reads;
};

static int rig_submit(struct block_device *device, struct block_request *request)
{
    struct rig_disk *disk = device->driver;
    uint64_t at = request->start * BLOCK_SECTOR;
    bool bad = disk->bad_all || (disk->bad_sector && disk->bad_sector >= request->start &&
                                 disk->bad_sector < request->start + request->sectors);

    disk->reads++;
    for (unsigned i = 0; i < request->segments; i++) {
        const struct block_segment *segment = &request->segment[i];

        if (request->op == BLOCK_READ)
            memcpy(segment->data, disk->image + at, segment->bytes);
        else
            memcpy(disk->image + at, segment->data, segment->bytes);
        at += segment->bytes;
    }
    if (disk->defer)
        disk->late = request;
    else
        block_complete(device, request, bad ? -EIO : 0);
    return 0;
}

static const struct block_ops rig_ops = { .submit = rig_submit };

static inline void rig_complete(struct rig_disk *disk)
{
    struct block_request *request = disk->late;

    disk->late = NULL;
    block_complete(&disk->device, request, 0);
}

/* The device is added to the list; `image` has `bytes`. */
static inline void rig_disk(struct rig_disk *disk, const char *name, uint8_t *image, uint64_t bytes,
                            uint32_t block)
{
    *disk = (struct rig_disk){ .image = image };
    disk->device = (struct block_device){ .ops = &rig_ops,
                                          .driver = disk,
                                          .sectors = bytes / BLOCK_SECTOR,
                                          .physical_block = block,
                                          .logical_block = block,
                                          .max_sectors = 64,
                                          .max_segments = 4,
                                          .segment_align = 2 };
    strcpy(disk->device.name, name);
    block_add(&disk->device);
}

/* Memory for the heap. */
static inline int rig_memory(void)
{
    static const struct frame_range usable[] = { { { PAGE_SIZE }, RIG_ARENA - PAGE_SIZE } };
    const struct frame_setup frames = { .usable = usable, .usable_count = 1, .pointer = phys_to_virt };

    host_memory = aligned_alloc(4 * MiB, RIG_ARENA);
    return frames_init(&frames);
}

static inline void rig_memory_free(void)
{
    free(host_memory);
    host_memory = NULL;
}

/* --- Tables */

static inline void put16(uint8_t *at, uint64_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void put32(uint8_t *at, uint64_t value)
{
    put16(at, value);
    put16(at + 2, value >> 16);
}

static inline void put64(uint8_t *at, uint64_t value)
{
    put32(at, value);
    put32(at + 4, value >> 32);
}

static inline void rig_mbr_entry(uint8_t *sector, unsigned index, uint8_t type, uint32_t first,
                                 uint32_t count)
{
    uint8_t *at = sector + 446 + 16 * index;

    at[4] = type;
    put32(at + 8, first);
    put32(at + 12, count);
    put16(sector + 510, 0xaa55);
}

/* Makes the header's CRCs right; `entries` is its array. */
static inline void rig_gpt_sign(uint8_t *header, const uint8_t *entries, uint32_t bytes)
{
    put32(header + 88, crc32(0, entries, bytes));
    put32(header + 16, 0);
    put32(header + 16, crc32(0, header, 92));
}

struct rig_gpt {
    uint8_t *image;
    uint64_t blocks;
    uint32_t block, entries;
};

static inline uint8_t *rig_block(const struct rig_gpt *gpt, uint64_t block)
{
    return gpt->image + block * gpt->block;
}

static inline uint64_t rig_gpt_array_blocks(const struct rig_gpt *gpt)
{
    return (gpt->entries * 128 + gpt->block - 1) / gpt->block;
}

/* Copies the array to the end of the disk, and makes both headers. */
static inline void rig_gpt_finish(const struct rig_gpt *gpt)
{
    uint64_t array = rig_gpt_array_blocks(gpt), last = gpt->blocks - 1;

    memcpy(rig_block(gpt, last - array), rig_block(gpt, 2), array * gpt->block);
    for (unsigned backup = 0; backup < 2; backup++) {
        uint8_t *header = rig_block(gpt, backup ? last : 1);

        memcpy(header, "EFI PART", 8);
        put32(header + 8, 0x10000);
        put32(header + 12, 92);
        put64(header + 24, backup ? last : 1);
        put64(header + 32, backup ? 1 : last);
        put64(header + 40, 2 + array);
        put64(header + 48, last - array - 1);
        put64(header + 72, backup ? last - array : 2);
        put32(header + 80, gpt->entries);
        put32(header + 84, 128);
        rig_gpt_sign(header, rig_block(gpt, 2), gpt->entries * 128);
    }
    rig_mbr_entry(gpt->image, 0, 0xee, 1, (uint32_t)last);
}

/* The index-th entry; its type and UUID are made of its index. */
static inline void rig_gpt_entry(const struct rig_gpt *gpt, unsigned index, uint64_t first, uint64_t last,
                                 const char *label)
{
    uint8_t *entry = rig_block(gpt, 2) + 128 * index;

    memset(entry, 0, 128);
    memset(entry, 0x11, 16);
    for (unsigned i = 0; i < 16; i++)
        entry[16 + i] = (uint8_t)(0xa0 + i);
    entry[31] = (uint8_t)index;
    put64(entry + 32, first);
    put64(entry + 40, last);
    for (unsigned i = 0; label[i] && i < 36; i++)
        put16(entry + 56 + 2 * i, (uint8_t)label[i]);
}
