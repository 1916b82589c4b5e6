/* The driver's side of a virtqueue, split or packed, in the simplest way that the standard allows: for tests
 * of rings and of devices. Buffer ids are given one after the other; a chain that was used may be added anew.
 */
#pragma once

#include <string.h>
#include "hw/virtio.h"
#include "vmx/gmem.h"

#define VIRTQ_TABLE 0x400u /* bytes of an indirect table */

struct virtq {
    const struct gmem *mem;
    uint64_t desc, driver, device; /* guest physical */
    uint64_t tables;               /* for indirect chains, table_count of VIRTQ_TABLE each, used in turn */
    unsigned table_count;
    uint16_t size;
    bool packed, indirect;
    uint16_t avail, used; /* split: counts; packed: positions */
    bool avail_wrap, used_wrap;
    uint16_t free;       /* the next descriptor */
    uint16_t count[256]; /* packed: descriptors of a buffer, by id */
};

struct virtq_buffer {
    uint64_t at;
    uint32_t bytes;
    bool write;
};

static inline void *virtq_at(const struct virtq *q, uint64_t at)
{
    return gmem_ptr(q->mem, gpa(at), 1);
}

/* Everything within 64 KiB from `base`, which must not be the last of a chunk; size <= 256. */
static inline void virtq_init(struct virtq *q, const struct gmem *mem, uint64_t base, uint16_t size,
                              bool packed)
{
    *q = (struct virtq){ .mem = mem,
                         .desc = base,
                         .driver = base + 0x2000,
                         .device = base + 0x3000,
                         .tables = base + 0x4000,
                         .table_count = 16,
                         .size = size,
                         .packed = packed,
                         .avail_wrap = true,
                         .used_wrap = true };
    memset(virtq_at(q, base), 0, 0x4000);
}

static inline void virtq_split_desc(struct virtq *q, uint64_t at, const struct virtq_buffer *b,
                                    uint16_t flags, uint16_t next)
{
    struct virtq_desc desc = { b->at, b->bytes, flags, next };

    memcpy(virtq_at(q, at), &desc, sizeof(desc));
}

static inline uint16_t virtq_flags(const struct virtq_buffer *b, bool more)
{
    return (uint16_t)((b->write ? VIRTQ_DESC_WRITE : 0) | (more ? VIRTQ_DESC_NEXT : 0));
}

/* The table of an indirect chain; returns the one buffer that stands for it. */
static inline struct virtq_buffer virtq_table(struct virtq *q, const struct virtq_buffer *b, unsigned n)
{
    uint64_t table = q->tables + (uint64_t)(q->free % q->table_count) * VIRTQ_TABLE;

    for (unsigned i = 0; i < n; i++) {
        struct virtq_packed_desc packed = { b[i].at, b[i].bytes, 0, virtq_flags(&b[i], false) };

        if (q->packed)
            memcpy(virtq_at(q, table + 16 * i), &packed, sizeof(packed));
        else
            virtq_split_desc(q, table + 16 * i, &b[i], virtq_flags(&b[i], i + 1 < n), (uint16_t)(i + 1));
    }
    return (struct virtq_buffer){ table, 16 * n, false };
}

static inline uint16_t virtq_add_packed(struct virtq *q, const struct virtq_buffer *b, unsigned n,
                                        uint16_t extra)
{
    uint16_t id = q->free++ % 256, head = q->avail, head_flags = 0;

    q->count[id] = (uint16_t)n;
    for (unsigned i = 0; i < n; i++) {
        uint16_t flags = (uint16_t)(virtq_flags(&b[i], i + 1 < n) | extra |
                                    (q->avail_wrap ? VIRTQ_DESC_AVAIL : VIRTQ_DESC_USED));
        struct virtq_packed_desc desc = { b[i].at, b[i].bytes, id, flags };
        struct virtq_packed_desc *to = virtq_at(q, q->desc + 16u * q->avail);

        if (i == 0) {
            head_flags = flags;
            desc.flags = to->flags;
        }
        *to = desc;
        if (++q->avail == q->size) {
            q->avail = 0;
            q->avail_wrap = !q->avail_wrap;
        }
    }
    ((struct virtq_packed_desc *)virtq_at(q, q->desc + 16u * head))->flags = head_flags;
    return id;
}

static inline uint16_t virtq_add_split(struct virtq *q, const struct virtq_buffer *b, unsigned n,
                                       uint16_t extra)
{
    uint16_t head = q->free % q->size, *avail = virtq_at(q, q->driver);

    for (unsigned i = 0; i < n; i++) {
        uint16_t at = q->free++ % q->size;

        virtq_split_desc(q, q->desc + 16u * at, &b[i], virtq_flags(&b[i], i + 1 < n) | extra,
                         q->free % q->size);
    }
    avail[2 + q->avail % q->size] = head;
    avail[1] = ++q->avail;
    return head;
}

/* Makes a chain available, whether there is room or not; returns the id by which it comes back. */
static inline uint16_t virtq_add(struct virtq *q, const struct virtq_buffer *b, unsigned n)
{
    struct virtq_buffer table;
    uint16_t extra = 0;

    if (q->indirect) {
        table = virtq_table(q, b, n);
        b = &table;
        n = 1;
        extra = VIRTQ_DESC_INDIRECT;
    }
    return q->packed ? virtq_add_packed(q, b, n, extra) : virtq_add_split(q, b, n, extra);
}

/* The next used buffer; false: there is none. */
static inline bool virtq_get(struct virtq *q, uint16_t *id, uint32_t *bytes)
{
    const uint16_t *index = virtq_at(q, q->device);
    const uint32_t *entry = virtq_at(q, q->device + 4 + 8u * (q->used % q->size));
    const struct virtq_packed_desc *desc = virtq_at(q, q->desc + 16u * (q->packed ? q->used : 0));

    if (!q->packed) {
        if (__atomic_load_n(&index[1], __ATOMIC_ACQUIRE) == q->used)
            return false;
        *id = (uint16_t)entry[0];
        *bytes = entry[1];
        q->used++;
        return true;
    }
    if (!(desc->flags & VIRTQ_DESC_AVAIL) == q->used_wrap || !(desc->flags & VIRTQ_DESC_USED) == q->used_wrap)
        return false;
    *id = desc->id;
    *bytes = desc->flags & VIRTQ_DESC_WRITE ? desc->length : 0;
    q->used = (uint16_t)(q->used + q->count[*id % 256]);
    if (q->used >= q->size) {
        q->used = (uint16_t)(q->used - q->size);
        q->used_wrap = !q->used_wrap;
    }
    return true;
}
