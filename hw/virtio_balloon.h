/* virtio's memory balloon as the wire has it. Source: OASIS virtio 1.2, section 5.5. */
#pragma once

#include "lib/types.h"

/* 5.5.3: features. */
#define VIRTIO_BALLOON_F_MUST_TELL_HOST BIT(0)
#define VIRTIO_BALLOON_F_STATS_VQ       BIT(1)
#define VIRTIO_BALLOON_F_DEFLATE_ON_OOM BIT(2)
#define VIRTIO_BALLOON_F_FREE_PAGE_HINT BIT(3)
#define VIRTIO_BALLOON_F_PAGE_POISON    BIT(4)
#define VIRTIO_BALLOON_F_PAGE_REPORTING BIT(5)

/* 5.5.2: the first two queues. The statistics' is the next if there is one; see vballoon.c for the others. */
#define VIRTIO_BALLOON_INFLATEQ 0
#define VIRTIO_BALLOON_DEFLATEQ 1
#define VIRTIO_BALLOON_STATSQ   2

#define VIRTIO_BALLOON_PFN_SHIFT 12 /* 5.5.6: the number of a page of 4 KiB, whatever the guest's pages are  \
                                     */

/* 5.5.4: configuration, the part that does not belong to hints and poison. */
struct virtio_balloon_config {
    uint32_t num_pages; /* the device's: pages that the balloon is to have */
    uint32_t actual;    /* the driver's: pages that it has */
};
static_assert(sizeof(struct virtio_balloon_config) == 8, "5.5.4");

/* 5.5.6.3: one of the statistics. */
struct virtio_balloon_stat {
    uint16_t tag;
    uint64_t value;
} __packed;
static_assert(sizeof(struct virtio_balloon_stat) == 10, "5.5.6.3");

/* 5.5.6.4: their tags. */
#define VIRTIO_BALLOON_S_SWAP_IN  0 /* bytes */
#define VIRTIO_BALLOON_S_SWAP_OUT 1
#define VIRTIO_BALLOON_S_MAJFLT   2 /* faults */
#define VIRTIO_BALLOON_S_MINFLT   3
#define VIRTIO_BALLOON_S_MEMFREE  4 /* bytes */
#define VIRTIO_BALLOON_S_MEMTOT   5
#define VIRTIO_BALLOON_S_AVAIL    6
#define VIRTIO_BALLOON_S_CACHES   7
#define VIRTIO_BALLOON_S_COUNT    8 /* those that are kept here */
