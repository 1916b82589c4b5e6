/* ATA commands and answers, without a controller. For IDE and AHCI. Compiles on the host. */
#pragma once

#include "hw/ata.h"
#include "io/block.h"

struct ata_identity {
    char serial[BLOCK_SERIAL_MAX], model[BLOCK_SERIAL_MAX];
    uint64_t sectors; /* of BLOCK_SECTOR bytes */
    unsigned shift;   /* a logical sector has BLOCK_SECTOR << shift bytes */
    uint32_t physical_block;
    bool has_48, has_flush, has_flush_ext, has_trim;
};

/* NULL, or why this cannot be a disk. `from`: what IDENTIFY DEVICE answered, little endian. */
const char *ata_parse(struct ata_identity *to, const uint8_t from[ATA_IDENTIFY]) __must_check;

/* A device's fields of what they share. */
void ata_describe(struct block_device *block, const struct ata_identity *identity);

/* The registers of a command; counts and addresses are in logical sectors. */
struct ata_taskfile {
    uint8_t command, device; /* device: without the bit for the second one of a cable */
    bool has_48;             /* the upper halves are written, too */
    bool writes, has_data;
    uint16_t count;
    uint64_t lba;
};

/* A READ, WRITE or FLUSH of at most 65536 sectors, 256 for a disk without 48-bit addresses. */
void ata_form(struct ata_taskfile *to, const struct ata_identity *identity,
              const struct block_request *request);

/*
 * The regions of a bus master's table; returns how many, or -EINVAL: there are more than `most`, or one is
 * not below 4 GiB.
 */
int ata_regions(struct ata_region *to, unsigned most, const struct block_segment *segment,
                unsigned segments) __must_check;
