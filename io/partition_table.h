/*
 * What is written in partition tables: GPT (UEFI 2.10, chapter 5) and MBR (5.2). Bytes in, facts out; the
 * bytes are hostile. Numbers are in logical blocks of the disk. Compiles on the host.
 */
#pragma once

#include "lib/types.h"

#define PARTITION_LABEL_MAX 112 /* 36 UTF-16 units as UTF-8, with a NUL */
#define PARTITION_UUID_MAX  37
#define GPT_ENTRIES_BYTES   (128 * KiB) /* a larger array of entries is refused */
#define MBR_BYTES           512u
#define MBR_ENTRIES         4

struct partition_entry {
    uint64_t first, blocks;
    char label[PARTITION_LABEL_MAX]; /* UTF-8 without control characters; MBR: empty */
    char uuid[PARTITION_UUID_MAX];   /* lower case, as Linux's PARTUUID */
};

struct gpt_header {
    uint64_t my_block, other_block; /* of this header; of its copy */
    uint64_t first_usable, last_usable;
    uint64_t entries_block;
    uint32_t entries, entry_bytes, entries_crc;
};

/*
 * Reads the header in the logical block `my_block`, which has `bytes` (>= 512) and is one of `blocks`. NULL,
 * or what is wrong with it.
 */
const char *gpt_read_header(struct gpt_header *header, const uint8_t *block, uint32_t bytes,
                            uint64_t my_block, uint64_t blocks);

/* Its array of entries, in bytes; at most GPT_ENTRIES_BYTES. */
static inline uint32_t gpt_entries_bytes(const struct gpt_header *header)
{
    return header->entries * header->entry_bytes;
}

enum partition_found {
    PARTITION_NONE,  /* an unused entry */
    PARTITION_WRONG, /* one that makes no sense */
    PARTITION_FOUND,
    PARTITION_EXTENDED, /* MBR: a range with a chain of tables in it */
};

/* The index-th of the header's entries, whose CRC was compared. */
enum partition_found gpt_read_entry(const struct gpt_header *header, const uint8_t *entries, unsigned index,
                                    struct partition_entry *to);

/* Is there a master boot record? Boot sectors of file systems have its signature too, but not its form. */
bool mbr_is_there(const uint8_t block[MBR_BYTES]);

/* It says that there is a GPT (UEFI 5.2.3). */
bool mbr_is_protective(const uint8_t block[MBR_BYTES]);

/*
 * The index-th entry (from 0) of a table of a disk with `blocks`; `base` is added to its first block.
 * The UUID is left empty: mbr_uuid() makes it of the table at the disk's start and a partition's number.
 */
enum partition_found mbr_read_entry(const uint8_t block[MBR_BYTES], unsigned index, uint64_t base,
                                    uint64_t blocks, struct partition_entry *to);
void mbr_uuid(const uint8_t block[MBR_BYTES], unsigned number, char to[PARTITION_UUID_MAX]);
