/*
 * Physical memory by frames: a buddy allocator whose every frame has exactly one recorded owner.
 * Compiles on the host. Blocks are naturally aligned powers of two from 4 KiB to 1 GiB.
 */
#pragma once

#include "lib/types.h"

/* Orders: a block of order n is PAGE_SIZE << n bytes. */
#define FRAME_ORDER_4K 0
#define FRAME_ORDER_2M 9
#define FRAME_ORDER_1G 18
#define FRAME_ORDERS   19

/* Owners. A VM's frames bear FRAME_VM + its index. */
enum frame_owner {
    FRAME_RESERVED = 0, /* not RAM, firmware's, or not known to the allocator */
    FRAME_FREE,
    FRAME_IMAGE,  /* the hypervisor's code and data */
    FRAME_FRAMES, /* the frame records themselves */
    FRAME_PTAB,   /* the hypervisor's page tables */
    FRAME_HEAP,
    FRAME_PERCPU, /* per-CPU areas and stacks; the page that CPUs start in */
    FRAME_MODULE, /* boot modules: config and images */
    FRAME_VM = 16,
};

#define FRAME_MAX_VMS 1024

/* One range of usable RAM: both ends multiples of 4 KiB. */
struct frame_range {
    hpa_t start;
    uint64_t size;
};

/*
 * Sets the allocator up over `usable` (sorted, not overlapping), with `reserved` ranges (any order, may
 * overlap, may lie outside) taken out; where they overlap, the first one names the owner. Frame 0 is never
 * given. `pointer` gives the address of physical memory: the direct map, or a test's buffer. Its records take
 * 4 bytes per frame, cut from the usable ranges themselves. -ENOMEM if they do not fit, -EINVAL on unsorted
 * or misaligned input. Called once, by the first CPU; all other functions may be called by any CPU.
 */
struct frame_setup {
    const struct frame_range *usable;
    unsigned usable_count;
    const struct frame_range *reserved;
    const enum frame_owner *reserved_owner; /* one for each reserved range */
    unsigned reserved_count;
    void *(*pointer)(hpa_t at);
};

int frames_init(const struct frame_setup *setup) __must_check;

/* hpa(0) when no block of that order is free. Not zeroed. */
hpa_t frames_alloc(unsigned order, unsigned owner);

/* The block must have been given by frames_alloc() with this order and owner (checked: panics if not). */
void frames_free(hpa_t block, unsigned order, unsigned owner);

unsigned frames_owner(hpa_t frame); /* FRAME_RESERVED for what is not RAM */
unsigned frames_order(hpa_t frame); /* order of the block that the frame is in; 0 for what is not RAM */
uint64_t frames_count(
    unsigned owner);         /* frames that bear this owner; O(1) for owners below FRAME_VM + FRAME_MAX_VMS */
uint64_t frames_total(void); /* frames of usable RAM */
uint64_t frames_free_blocks(unsigned order); /* blocks of at least this order, as counted in that order */

/* Recounts every frame and free list; 0, or -EFAULT after logging each contradiction (at most 8). */
int frames_audit(void) __must_check;
