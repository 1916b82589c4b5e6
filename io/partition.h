/*
 * Finds the partitions of a disk, by GPT or MBR, and adds each to the block layer's list as a device of its
 * own. A scan is a small state machine: it asks for a piece of the disk, and goes on when that has come.
 * Compiles on the host.
 */
#pragma once

#include "io/block.h"
#include "io/partition_table.h"

#define PARTITION_MAX 128 /* of one disk */

/* One partition; its device's `whole` is the disk. It stays for good. */
struct partition {
    struct block_device device;
    unsigned number; /* from 1, as Linux counts */
    char label[PARTITION_LABEL_MAX];
    char uuid[PARTITION_UUID_MAX];
};

/* NULL for a whole disk. */
static inline struct partition *partition_of(struct block_device *device)
{
    return device->whole ? container_of(device, struct partition, device) : NULL;
}

enum partition_step {
    STEP_MEDIUM, /* reading the volume descriptor of an ISO 9660 file system, to know the boot medium */
    STEP_MBR,
    STEP_HEADER, /* of the GPT */
    STEP_ENTRIES,
    STEP_LOGICAL, /* a table in the chain of an extended partition of an MBR */
    STEP_END,
};

/* The scan of one disk. */
struct partition_scan {
    struct block_user user;
    struct block_request request;
    struct block_segment segment;
    enum partition_step step;
    bool came; /* what was asked for is there; set by any CPU */
    int status;
    uint8_t *buffer;      /* GPT_ENTRIES_BYTES */
    uint64_t sector;      /* the next piece, ... */
    uint32_t bytes, read; /* ... of so many bytes, of which these are there */
    uint32_t block;       /* bytes of a logical block */
    uint64_t blocks;      /* of the disk */
    uint8_t mbr[MBR_BYTES];
    struct gpt_header header;
    bool backup;                              /* it is the one at the end */
    const char *fault;                        /* of the first one */
    uint64_t extended, extended_blocks, link; /* the chain's range, and where the table being read is */
    unsigned links, logical;                  /* tables read; the last number given */
    unsigned count, wrong;                    /* partitions added; entries that make no sense */
};

/*
 * Begins a scan of a whole disk. `queue` is the CPU's. The scan ends by itself, also when the disk fails;
 * only a driver that never answers keeps it. -ENOMEM, or what block_open() says. Boot CPU, as all here.
 */
int partition_scan_begin(struct partition_scan *scan, struct block_device *disk,
                         struct timer_queue *queue) __must_check;

/* Goes on with it as far as it can; true: it waits for the disk, so ask again. After false `scan` is free. */
bool partition_scan_step(struct partition_scan *scan);
