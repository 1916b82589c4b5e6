/*
 * Split and packed virtqueues. Section numbers are those of OASIS virtio 1.2.
 *
 * Memory order. The driver runs on another CPU. x86 keeps loads in order and stores in order, so that acquire
 * and release, which are promises of the compiler only, do for all but one case: a store that must be seen
 * before a later load is done. That is where each side tells the other something and then looks whether the
 * other has told it something meanwhile (2.7.7.2, 2.7.10, 2.8.21): used index and then the driver's flags,
 * the device's flags and then the available index. There the code has a full fence.
 */
#include "devices/vring.h"
#include "lib/errno.h"
#include "lib/string.h"

#define DESC_BYTES 16u

/* A descriptor as it was loaded. */
struct desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next; /* packed: the buffer id */
};

/* The chain that is being read, and what is left of its bounds. */
struct reader {
    struct vring *ring;
    struct vring_chain *chain;
    struct vring_segment *segment;
    unsigned max;
    unsigned left; /* descriptors that may still come: 2.7.5.3.1, no chain is longer than the ring */
};

static int broken(struct vring *ring)
{
    ring->s.broken = 1;
    return -EINVAL;
}

/* --- The guest's memory: vring_init() has seen that the ring is RAM, and RAM stays -----------------------
 */

static uint16_t load16(const struct vring *ring, uint64_t at)
{
    const uint8_t *p = gmem_ptr(ring->mem, gpa(at), 2);

    return p ? __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE) : 0;
}

static uint32_t load32(const struct vring *ring, uint64_t at)
{
    const uint8_t *p = gmem_ptr(ring->mem, gpa(at), 4);

    return p ? __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_ACQUIRE) : 0;
}

static void store16(const struct vring *ring, uint64_t at, uint16_t value)
{
    uint8_t *p = gmem_ptr(ring->mem, gpa(at), 2);

    if (p)
        __atomic_store_n((uint16_t *)(void *)p, value, __ATOMIC_RELEASE);
}

static void store32(const struct vring *ring, uint64_t at, uint32_t value)
{
    uint8_t *p = gmem_ptr(ring->mem, gpa(at), 4);

    if (p)
        __atomic_store_n((uint32_t *)(void *)p, value, __ATOMIC_RELEASE);
}

static void full_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* The two words in which a descriptor is loaded. The second one first: in a packed ring it says whether the
 * first is the driver's word already, and a load of 8 aligned bytes is not torn. */
static struct desc to_desc(uint64_t first, uint64_t second)
{
    return (struct desc){ first, (uint32_t)second, 0, 0 };
}

static struct desc split_desc(uint64_t first, uint64_t second)
{
    struct desc desc = to_desc(first, second);

    desc.flags = (uint16_t)(second >> 32);
    desc.next = (uint16_t)(second >> 48);
    return desc;
}

static struct desc packed_desc(uint64_t first, uint64_t second)
{
    struct desc desc = to_desc(first, second);

    desc.next = (uint16_t)(second >> 32);
    desc.flags = (uint16_t)(second >> 48);
    return desc;
}

/* An indirect table may stand on any byte; one that is not aligned is copied. False: not RAM. */
static bool load_desc(const struct vring *ring, uint64_t at, struct desc *desc)
{
    uint64_t word[2];

    if (likely(is_aligned(at, VIRTQ_DESC_ALIGN))) {
        const uint64_t *p = (const uint64_t *)(const void *)gmem_ptr(ring->mem, gpa(at), DESC_BYTES);

        if (!p)
            return false;
        word[1] = __atomic_load_n(&p[1], __ATOMIC_ACQUIRE);
        word[0] = __atomic_load_n(&p[0], __ATOMIC_RELAXED);
    } else if (gmem_read(ring->mem, gpa(at), word, sizeof(word))) {
        return false;
    }
    *desc = ring->config.packed ? packed_desc(word[0], word[1]) : split_desc(word[0], word[1]);
    return true;
}

/* --- Chains -----------------------------------------------------------------------------------------------
 */

/* Adds a piece, to the one before it where the two touch; false: there is no room for it. */
static bool add_piece(struct reader *reader, uint8_t *data, uint32_t bytes, unsigned *count, unsigned before)
{
    struct vring_segment *last = &reader->segment[before + *count];

    if (*count > 0 && last[-1].data + last[-1].bytes == data && last[-1].bytes <= UINT32_MAX - bytes) {
        last[-1].bytes += bytes;
        return true;
    }
    if (before + *count == reader->max)
        return false;
    *last = (struct vring_segment){ data, bytes };
    ++*count;
    return true;
}

/* 2.7.4.2: what is written stands behind what is read. The sum of all lengths is below 2^32 (2.7.5). */
static bool add_buffer(struct reader *reader, const struct desc *desc)
{
    struct vring_chain *chain = reader->chain;
    bool write = desc->flags & VIRTQ_DESC_WRITE;
    uint64_t at = desc->address, left = desc->length;

    if (!write && chain->writable_bytes)
        return false;
    if (chain->readable_bytes + chain->writable_bytes + left > UINT32_MAX)
        return false;
    if (write)
        chain->writable_bytes += left;
    else
        chain->readable_bytes += left;
    while (left) {
        uint32_t piece = (uint32_t)min_u64(left, GMEM_CHUNK - at % GMEM_CHUNK);
        uint8_t *data;

        if (unlikely(reader->ring->peek) && gmem_is_away(reader->ring->mem, gpa(at))) {
            at += piece;
            left -= piece;
            continue;
        }
        data = gmem_ptr(reader->ring->mem, gpa(at), piece);
        if (!data || !add_piece(reader, data, piece, write ? &chain->writable : &chain->readable,
                                write ? chain->readable : 0))
            return false;
        at += piece;
        left -= piece;
    }
    return true;
}

/*
 * A table of descriptors elsewhere (2.7.5.3, 2.8.7): in a split ring linked like the ring's own, in a packed
 * one simply one after the other, with no flag but WRITE.
 */
static bool read_indirect(struct reader *reader, const struct desc *table)
{
    const struct vring *ring = reader->ring;
    uint32_t count = table->length / DESC_BYTES, at = 0;

    if (!ring->config.indirect || count == 0 || table->length % DESC_BYTES)
        return false;
    for (unsigned left = ring->config.size; left > 0; left--) {
        struct desc desc;

        if (!load_desc(ring, table->address + (uint64_t)at * DESC_BYTES, &desc))
            return false;
        if ((desc.flags & VIRTQ_DESC_INDIRECT) || !add_buffer(reader, &desc))
            return false;
        if (ring->config.packed)
            at++;
        else if (desc.flags & VIRTQ_DESC_NEXT)
            at = desc.next;
        else
            return true;
        if (at >= count)
            return ring->config.packed;
    }
    return false;
}

/* One descriptor of the ring itself; sets *more if another follows. */
static bool read_desc(struct reader *reader, const struct desc *desc, bool *more)
{
    *more = desc->flags & VIRTQ_DESC_NEXT;
    if (reader->left-- == 0)
        return false;
    reader->chain->descriptors++;
    if (!(desc->flags & VIRTQ_DESC_INDIRECT))
        return add_buffer(reader, desc);
    return !*more && read_indirect(reader, desc); /* 2.7.5.3.1: not both flags */
}

/* 1, 0 or -EINVAL, as vring_pop(). */
static int pop_split(struct reader *reader)
{
    struct vring *ring = reader->ring;
    const struct vring_config *config = &ring->config;
    uint16_t waiting = (uint16_t)(load16(ring, config->driver + VIRTQ_INDEX) - ring->s.next_avail);
    uint16_t at;
    bool more;

    if (waiting == 0)
        return 0;
    if (waiting > config->size)
        return -EINVAL;
    at = load16(ring, config->driver + VIRTQ_RING +
                          VIRTQ_AVAIL_ENTRY * (uint64_t)(ring->s.next_avail % config->size));
    reader->chain->id = at;
    do {
        struct desc desc;

        if (at >= config->size || !load_desc(ring, config->desc + at * DESC_BYTES, &desc) ||
            !read_desc(reader, &desc, &more))
            return -EINVAL;
        at = desc.next;
    } while (more);
    ring->s.next_avail++;
    return 1;
}

/* 2.8.1: available, and not used since: the flags' two bits are the wrap counter and its reverse. */
static bool is_available(const struct vring *ring, uint16_t flags)
{
    bool avail = flags & VIRTQ_DESC_AVAIL, used = flags & VIRTQ_DESC_USED;

    return avail == ring->s.avail_wrap && used != avail;
}

/* The driver sets the first descriptor's flags last (2.8.21.1), so the others need not be asked. */
static int pop_packed(struct reader *reader)
{
    struct vring *ring = reader->ring;
    uint16_t at = ring->s.next_avail;
    bool more, first = true;

    do {
        struct desc desc;

        if (!load_desc(ring, ring->config.desc + at * DESC_BYTES, &desc))
            return -EINVAL;
        if (first && !is_available(ring, desc.flags))
            return 0;
        first = false;
        if (!read_desc(reader, &desc, &more))
            return -EINVAL;
        reader->chain->id = desc.next; /* the last one's counts, 2.8.6 */
        at = at + 1 == ring->config.size ? 0 : at + 1;
    } while (more);
    if (at <= ring->s.next_avail)
        ring->s.avail_wrap ^= 1;
    ring->s.next_avail = at;
    return 1;
}

int vring_pop(struct vring *ring, struct vring_chain *chain, struct vring_segment *segment, unsigned max)
{
    struct reader reader = { ring, chain, segment, max, 0 };
    int taken;

    if (unlikely(ring->s.broken))
        return -EINVAL;
    *chain = (struct vring_chain){ 0 };
    /* More than the ring has cannot be the device's: a packed ring would be overrun by its own used ones. */
    reader.left = ring->config.size - ring->s.in_flight;
    taken = ring->config.packed ? pop_packed(&reader) : pop_split(&reader);
    if (unlikely(taken < 0))
        return broken(ring);
    if (taken)
        ring->s.in_flight = (uint16_t)(ring->s.in_flight + chain->descriptors);
    return taken;
}

/* --- Used buffers -----------------------------------------------------------------------------------------
 */

static void push_split(struct vring *ring, const struct vring_chain *chain, uint32_t written)
{
    uint64_t at = ring->config.device + VIRTQ_RING +
                  VIRTQ_USED_ENTRY * (uint64_t)(ring->s.next_used % ring->config.size);

    store32(ring, at, chain->id);
    store32(ring, at + 4, written);
    ring->s.next_used++;
    ring->s.added++;
    store16(ring, ring->config.device + VIRTQ_INDEX, ring->s.next_used);
}

/* Length, id and flags in one store: what comes before it is seen before it. */
static void push_packed(struct vring *ring, const struct vring_chain *chain, uint32_t written)
{
    uint16_t flags = ring->s.used_wrap ? VIRTQ_DESC_AVAIL | VIRTQ_DESC_USED : 0;
    uint64_t at = ring->config.desc + ring->s.next_used * DESC_BYTES;
    uint8_t *p = gmem_ptr(ring->mem, gpa(at), DESC_BYTES);
    unsigned next = ring->s.next_used + chain->descriptors;

    if (written)
        flags |= VIRTQ_DESC_WRITE; /* 2.8.8: the length means something */
    if (p)
        __atomic_store_n((uint64_t *)(void *)(p + 8),
                         written | (uint64_t)chain->id << 32 | (uint64_t)flags << 48, __ATOMIC_RELEASE);
    if (next >= ring->config.size) {
        next -= ring->config.size;
        ring->s.used_wrap ^= 1;
    }
    ring->s.next_used = (uint16_t)next;
    ring->s.added = (uint16_t)(ring->s.added + chain->descriptors);
}

void vring_push(struct vring *ring, const struct vring_chain *chain, uint32_t written)
{
    ring->s.in_flight = (uint16_t)(ring->s.in_flight - chain->descriptors);
    if (ring->s.broken)
        return;
    if (ring->config.packed)
        push_packed(ring, chain, written);
    else
        push_split(ring, chain, written);
    if (ring->s.added > ring->config.size)
        ring->s.added = ring->config.size; /* all that can be told apart */
}

/* 2.7.10: whether the index went past `event` on its way. */
static bool passed(uint16_t event, uint16_t now, uint16_t added)
{
    return (uint16_t)(now - event - 1) < added;
}

static bool wants_split(const struct vring *ring, uint16_t added)
{
    const struct vring_config *config = &ring->config;
    uint64_t event = config->driver + VIRTQ_RING + VIRTQ_AVAIL_ENTRY * (uint64_t)config->size;

    if (!config->event_idx)
        return !(load16(ring, config->driver + VIRTQ_FLAGS) & VIRTQ_NO_INTERRUPT);
    return passed(load16(ring, event), ring->s.next_used, added);
}

/* 2.8.14. Positions of this lap and the last one, made comparable. */
static bool wants_packed(const struct vring *ring, uint16_t added)
{
    uint32_t event = load32(ring, ring->config.driver);
    uint16_t position = event & VIRTQ_EVENT_OFFSET, flags = (event >> 16) & 3;

    if (flags != VIRTQ_EVENT_DESC || !ring->config.event_idx)
        return flags != VIRTQ_EVENT_DISABLE;
    if (!(event & VIRTQ_EVENT_WRAP) == !!ring->s.used_wrap)
        position = (uint16_t)(position - ring->config.size);
    return passed(position, ring->s.next_used, added);
}

bool vring_should_notify(struct vring *ring)
{
    uint16_t added = ring->s.added;

    if (ring->s.broken || added == 0)
        return false;
    ring->s.added = 0;
    full_fence(); /* the used entries before what the driver says of them */
    return ring->config.packed ? wants_packed(ring, added) : wants_split(ring, added);
}

/* --- Available buffers' notifications ---------------------------------------------------------------------
 */

void vring_disable_notify(struct vring *ring)
{
    if (ring->s.broken)
        return;
    if (ring->config.packed)
        store32(ring, ring->config.device, VIRTQ_EVENT_DISABLE << 16);
    else if (!ring->config.event_idx)
        store16(ring, ring->config.device + VIRTQ_FLAGS, VIRTQ_NO_NOTIFY);
    /* The index that was asked for last is behind, so that the driver does not pass it. */
}

bool vring_enable_notify(struct vring *ring)
{
    const struct vring_config *config = &ring->config;
    uint32_t place = ring->s.next_avail | (uint32_t)ring->s.avail_wrap << 15;

    if (ring->s.broken)
        return false;
    if (config->packed)
        store32(ring, config->device,
                config->event_idx ? place | VIRTQ_EVENT_DESC << 16 : VIRTQ_EVENT_ENABLE << 16);
    else if (config->event_idx)
        store16(ring, config->device + VIRTQ_RING + VIRTQ_USED_ENTRY * (uint64_t)config->size,
                ring->s.next_avail);
    else
        store16(ring, config->device + VIRTQ_FLAGS, 0);
    full_fence(); /* what the driver is told before what it has done */
    if (config->packed)
        return is_available(ring,
                            load16(ring, config->desc + ring->s.next_avail * DESC_BYTES + DESC_BYTES - 2));
    return load16(ring, config->driver + VIRTQ_INDEX) != ring->s.next_avail;
}

/* --- Setting up -------------------------------------------------------------------------------------------
 */

static bool is_ram(const struct gmem *mem, uint64_t at, uint64_t size)
{
    while (size) {
        uint64_t piece = min_u64(size, GMEM_CHUNK - at % GMEM_CHUNK);

        if (!gmem_ptr(mem, gpa(at), piece))
            return false;
        at += piece;
        size -= piece;
    }
    return true;
}

int vring_init(struct vring *ring, const struct gmem *mem, const struct vring_config *config)
{
    uint32_t n = config->size;
    uint64_t driver = config->packed ? VIRTQ_EVENT_BYTES : VIRTQ_AVAIL_BYTES(n);
    uint64_t device = config->packed ? VIRTQ_EVENT_BYTES : VIRTQ_USED_BYTES(n);

    *ring = (struct vring){ .config = *config, .mem = mem, .s.broken = 1 };
    if (n == 0 || n > VIRTQ_SPLIT_MAX || (!config->packed && (n & (n - 1)) != 0))
        return -EINVAL;
    /* 2.7 and 2.8: the packed ring's event structures are aligned to 4. */
    if (!is_aligned(config->desc, VIRTQ_DESC_ALIGN) ||
        !is_aligned(config->driver, config->packed ? VIRTQ_USED_ALIGN : VIRTQ_AVAIL_ALIGN) ||
        !is_aligned(config->device, VIRTQ_USED_ALIGN))
        return -EINVAL;
    if (!is_ram(mem, config->desc, n * DESC_BYTES) || !is_ram(mem, config->driver, driver) ||
        !is_ram(mem, config->device, device))
        return -EFAULT;
    ring->s = (struct vring_state){ .avail_wrap = config->packed, .used_wrap = config->packed };
    return 0;
}

int vring_check(const struct vring_config *config, const struct vring_state *s)
{
    if (s->in_flight > config->size || s->added > config->size || s->broken > 1)
        return -EINVAL;
    if (s->broken)
        return 0; /* where it stood means nothing any more */
    if (!config->packed)
        return s->avail_wrap || s->used_wrap ? -EINVAL : 0;
    if (s->next_avail >= config->size || s->next_used >= config->size || s->avail_wrap > 1 ||
        s->used_wrap > 1)
        return -EINVAL;
    /* From the first used to the next available one is what the device holds, in this lap or the last. */
    if (s->avail_wrap == s->used_wrap)
        return s->next_avail - s->next_used == s->in_flight ? 0 : -EINVAL;
    return s->next_avail + config->size - s->next_used == s->in_flight ? 0 : -EINVAL;
}
