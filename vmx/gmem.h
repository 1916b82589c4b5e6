/*
 * Guest memory: the one way from a guest physical address to bytes. Every access is checked here, so the
 * callers (page walks, loaders, device models) need no checks of their own. Compiles on the host.
 */
#pragma once

#include "lib/types.h"

#define GMEM_MAX_SLOTS 4
#define GMEM_CHUNK     PAGE_2M /* RAM is found in chunks of this size, each contiguous in the host */

struct gmem_slot {
    gpa_t base;      /* multiple of 2 MiB */
    uint64_t size;   /* bytes, multiple of 2 MiB */
    uint8_t **chunk; /* size / GMEM_CHUNK host addresses; NULL: that one is away (vmx/reclaim.h) */
};

struct gmem {
    unsigned count;
    uint64_t direct; /* slot 0's size, if none of its chunks is ever away; 0 does for all, and is slower */
    struct gmem_slot slot[GMEM_MAX_SLOTS]; /* sorted by base, not overlapping */
    gpa_t hole_base;                       /* inside slot 0: legacy video memory, not RAM; both 0: none */
    uint64_t hole_size;
    /* Brings a chunk back that is away; NULL: that failed, and the VM is at its end. Any CPU. NULL: none ever
     * is. */
    uint8_t *(*fill)(const struct gmem *mem, unsigned slot, uint64_t chunk);
};

/* Total RAM in bytes, the hole included. */
uint64_t gmem_size(const struct gmem *mem);

/*
 * Host address of `size` bytes at `at`, or NULL where they are not all RAM inside one chunk. size >= 1.
 * Callers on any CPU; slots do not change while the VM runs. A chunk may be taken away as soon as the
 * caller's exit, interrupt or work is over: who keeps the address for longer is asked before
 * (guests/machine_balloon.c). The memory may change under the caller's eyes: read each value once.
 */
static inline uint8_t *gmem_ptr(const struct gmem *mem, gpa_t at, size_t size);

/* Copy across chunks. -EFAULT, with nothing copied, if any byte is not RAM. */
int gmem_read(const struct gmem *mem, gpa_t at, void *to, size_t size) __must_check;
int gmem_write(const struct gmem *mem, gpa_t at, const void *from, size_t size) __must_check;
int gmem_fill(const struct gmem *mem, gpa_t at, uint8_t byte, uint64_t size) __must_check;

/* gmem_ptr() wherever the range is. */
uint8_t *gmem_find(const struct gmem *mem, gpa_t at, size_t size);

/* The same, but what is away stays it: NULL. For those who only look around. */
uint8_t *gmem_peek(const struct gmem *mem, gpa_t at, size_t size);

/* True for RAM in a chunk that is away. */
bool gmem_is_away(const struct gmem *mem, gpa_t at);

/* True if [at, at + size) touches the hole. size <= GMEM_CHUNK: no sum wraps around an overlap. */
static inline bool gmem_in_hole(const struct gmem *mem, gpa_t at, size_t size)
{
    return at.raw + size - 1 - mem->hole_base.raw < mem->hole_size + size - 1;
}

static inline uint8_t *gmem_ptr(const struct gmem *mem, gpa_t at, size_t size)
{
    const struct gmem_slot *slot = &mem->slot[0];
    uint64_t offset = at.raw - slot->base.raw, in_chunk = at.raw % GMEM_CHUNK;

    if (unlikely(offset >= mem->direct || size > GMEM_CHUNK - in_chunk || gmem_in_hole(mem, at, size)))
        return gmem_find(mem, at, size);
    return slot->chunk[offset / GMEM_CHUNK] + in_chunk;
}
