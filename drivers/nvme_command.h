/* Commands and answers of an NVMe controller, without the controller. Compiles on the host. */
#pragma once

#include "hw/nvme.h"
#include "io/block.h"

/*
 * A PRP list begins in its slot's share of a page and never leaves it, so that lists are not chained. With
 * the first page in PRP 1 this describes LIST_ENTRIES pages, wherever in a page the data begins.
 */
#define NVME_LIST_ENTRIES 64u
#define NVME_LIST_BYTES   (NVME_LIST_ENTRIES * 8u)
#define NVME_MAX_BYTES    (NVME_LIST_ENTRIES * (uint32_t)PAGE_SIZE)

static_assert(PAGE_SIZE % NVME_LIST_BYTES == 0, "a list does not leave its page");

/*
 * Describes the segments by the command's PRPs (4.3); `list` has NVME_LIST_ENTRIES, at `list_at` in the
 * machine's memory. -EINVAL: PRPs cannot, as a piece in the middle does not begin and end with a page, or
 * there are too many.
 */
int nvme_prps(struct nvme_command *command, const struct block_segment *segment, unsigned segments,
              uint64_t *list, hpa_t list_at) __must_check;

/* 0, or what the block layer is told of this status field (NVME_STATUS_CODE). */
int nvme_error(uint32_t code);

struct nvme_identity {
    char serial[BLOCK_SERIAL_MAX], model[BLOCK_SERIAL_MAX];
    uint32_t max_bytes; /* of a transfer: at least a page, at most NVME_MAX_BYTES */
    bool has_cache, has_dataset, has_zeroes;
};

/* `page_min`: NVME_CAP_PAGE_MIN. */
void nvme_parse_controller(struct nvme_identity *to, const uint8_t from[NVME_IDENTIFY_BYTES],
                           unsigned page_min);

struct nvme_shape {
    uint64_t blocks;
    unsigned shift; /* a block has 2^shift bytes, 512 to 4096 */
    bool readonly;
};

/* NULL, or why this namespace cannot be a disk. */
const char *nvme_parse_namespace(struct nvme_shape *to, const uint8_t from[NVME_IDENTIFY_BYTES]) __must_check;
