/* Guest memory: slots of RAM in chunks of 2 MiB. */
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/gmem.h"

uint64_t gmem_size(const struct gmem *mem)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < mem->count; i++)
        total += mem->slot[i].size;
    return total;
}

static inline uint8_t *find(const struct gmem *mem, gpa_t at, size_t size, bool fill)
{
    uint64_t in_chunk = at.raw % GMEM_CHUNK;

    if (size > GMEM_CHUNK - in_chunk || gmem_in_hole(mem, at, size))
        return NULL;
    for (unsigned i = 0; i < mem->count; i++) {
        const struct gmem_slot *slot = &mem->slot[i];
        uint64_t offset = at.raw - slot->base.raw;
        uint8_t *chunk;

        /* Slots are whole chunks, so a range inside one chunk that starts in the slot ends in it. */
        if (offset >= slot->size)
            continue;
        chunk = __atomic_load_n(&slot->chunk[offset / GMEM_CHUNK], __ATOMIC_ACQUIRE);
        if (unlikely(!chunk))
            chunk = fill && mem->fill ? mem->fill(mem, i, offset / GMEM_CHUNK) : NULL;
        return chunk ? chunk + in_chunk : NULL;
    }
    return NULL;
}

uint8_t *gmem_find(const struct gmem *mem, gpa_t at, size_t size)
{
    return find(mem, at, size, true);
}

uint8_t *gmem_peek(const struct gmem *mem, gpa_t at, size_t size)
{
    return find(mem, at, size, false);
}

bool gmem_is_away(const struct gmem *mem, gpa_t at)
{
    for (unsigned i = 0; i < mem->count; i++) {
        const struct gmem_slot *slot = &mem->slot[i];
        uint64_t offset = at.raw - slot->base.raw;

        if (offset < slot->size)
            return !__atomic_load_n(&slot->chunk[offset / GMEM_CHUNK], __ATOMIC_ACQUIRE);
    }
    return false;
}

/* The part of [at, at + size) that lies in the chunk of `at`. */
static size_t piece(gpa_t at, uint64_t size)
{
    return (size_t)min_u64(size, GMEM_CHUNK - at.raw % GMEM_CHUNK);
}

/* Asked of the whole range before the first byte is copied, so that a failed access changes nothing. */
static bool all_ram(const struct gmem *mem, gpa_t at, uint64_t size)
{
    while (size != 0) {
        size_t part = piece(at, size);

        if (!gmem_ptr(mem, at, part))
            return false;
        at.raw += part;
        size -= part;
    }
    return true;
}

int gmem_read(const struct gmem *mem, gpa_t at, void *to, size_t size)
{
    uint8_t *out = to;

    if (!all_ram(mem, at, size))
        return -EFAULT;
    while (size != 0) {
        size_t part = piece(at, size);

        memcpy(out, gmem_ptr(mem, at, part), part);
        at.raw += part;
        out += part;
        size -= part;
    }
    return 0;
}

int gmem_write(const struct gmem *mem, gpa_t at, const void *from, size_t size)
{
    const uint8_t *in = from;

    if (!all_ram(mem, at, size))
        return -EFAULT;
    while (size != 0) {
        size_t part = piece(at, size);

        memcpy(gmem_ptr(mem, at, part), in, part);
        at.raw += part;
        in += part;
        size -= part;
    }
    return 0;
}

int gmem_fill(const struct gmem *mem, gpa_t at, uint8_t byte, uint64_t size)
{
    if (!all_ram(mem, at, size))
        return -EFAULT;
    while (size != 0) {
        size_t part = piece(at, size);

        memset(gmem_ptr(mem, at, part), byte, part);
        at.raw += part;
        size -= part;
    }
    return 0;
}
