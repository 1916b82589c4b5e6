#include "kernel/frames.h"
#include "kernel/lock.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "lib/errno.h"
#include "lib/string.h"

#define OWNERS     (FRAME_VM + FRAME_MAX_VMS)
#define MAX_RANGES 256 /* of usable RAM, neighbours joined */
#define MAX_LOGGED 8   /* contradictions that one audit reports */

/*
 * One record per frame of RAM. Every such frame lies in exactly one block, free, given or reserved; only the
 * record of the block's first frame (its head) means anything, all others are zero. Blocks are naturally
 * aligned, so a frame's head is found by clearing its number's low bits one after the other.
 */
struct frame_record {
    uint16_t owner;
    uint8_t order;
    uint8_t is_head;
};

static_assert(sizeof(struct frame_record) == 4, "frames.h promises 4 bytes per frame");

/* A range of RAM in frame numbers; its records start at records[index]. */
struct ram_range {
    uint64_t first, count, index;
};

/* At the start of each free block: its neighbours in the list of its order, 0 at the ends. */
struct free_links {
    hpa_t next, prev;
};

/* Set once by frames_init(). */
static struct ram_range range[MAX_RANGES]; /* sorted */
static unsigned range_count;
static struct frame_record *records;
static uint64_t total;
static void *(*pointer)(hpa_t at);

/* Protects the records, the lists and the counters. Rank: after the heap's lock, before the log's. */
static struct lock lock;
static hpa_t free_head[FRAME_ORDERS];
static uint64_t free_count[FRAME_ORDERS];
static uint64_t owner_count[OWNERS];

/* What the audit counts by itself. */
static struct {
    uint64_t owner_count[OWNERS];
    uint64_t free_count[FRAME_ORDERS];
    unsigned errors;
} audit;

static const struct ram_range *find_range(uint64_t frame)
{
    unsigned low = 0, high = range_count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (frame < range[middle].first)
            high = middle;
        else if (frame - range[middle].first >= range[middle].count)
            low = middle + 1;
        else
            return &range[middle];
    }
    return NULL;
}

static struct frame_record *record_of(const struct ram_range *r, uint64_t frame)
{
    return &records[r->index + (frame - r->first)];
}

/* The record of the head of the block that `frame` is in, and its number; NULL for what is not RAM. */
static struct frame_record *find_head(uint64_t frame, uint64_t *head)
{
    const struct ram_range *r = find_range(frame);

    for (unsigned order = 0; r && order < FRAME_ORDERS; order++) {
        struct frame_record *record;

        *head = align_down(frame, BIT(order));
        if (*head < r->first)
            return NULL;
        record = record_of(r, *head);
        if (record->is_head)
            return record->order >= order ? record : NULL;
    }
    return NULL;
}

static struct free_links *links(hpa_t block)
{
    return pointer(block);
}

static void list_add(hpa_t block, unsigned order)
{
    hpa_t next = free_head[order];

    *links(block) = (struct free_links){ .next = next };
    if (next.raw)
        links(next)->prev = block;
    free_head[order] = block;
    free_count[order]++;
}

static bool is_free_block(hpa_t block, unsigned order)
{
    uint64_t head;
    const struct frame_record *record = find_head(block.raw >> PAGE_SHIFT, &head);

    return record && block.raw == head << PAGE_SHIFT && record->owner == FRAME_FREE && record->order == order;
}

/* Do both neighbours, or the ends of the list, refer to `block`? */
static bool is_linked(hpa_t block, unsigned order)
{
    struct free_links self = *links(block);

    if (self.prev.raw ? !is_free_block(self.prev, order) || links(self.prev)->next.raw != block.raw
                      : free_head[order].raw != block.raw)
        return false;
    return !self.next.raw || (is_free_block(self.next, order) && links(self.next)->prev.raw == block.raw);
}

/* Free memory that someone wrote to is caught here, before the damage spreads. */
static void list_remove(hpa_t block, unsigned order)
{
    struct free_links self = *links(block);

    if (!is_linked(block, order))
        panic("frames: the free list of order %u is damaged at 0x%lx: something writes to memory that it has "
              "freed",
              order, block.raw);
    if (self.prev.raw)
        links(self.prev)->next = self.next;
    else
        free_head[order] = self.next;
    if (self.next.raw)
        links(self.next)->prev = self.prev;
    free_count[order]--;
}

static hpa_t frame_address(uint64_t frame)
{
    return hpa(frame << PAGE_SHIFT);
}

static void block_set(struct frame_record *record, unsigned order, unsigned owner)
{
    *record = (struct frame_record){ .owner = (uint16_t)owner, .order = (uint8_t)order, .is_head = 1 };
}

hpa_t frames_alloc(unsigned order, unsigned owner)
{
    unsigned found = order;
    const struct ram_range *r;
    hpa_t block;

    if (owner <= FRAME_FREE || owner >= OWNERS)
        panic("frames: %u is nobody that frames can be given to", owner);
    lock_take(&lock);
    while (found < FRAME_ORDERS && !free_head[found].raw)
        found++;
    if (found >= FRAME_ORDERS) {
        lock_release(&lock);
        return hpa(0);
    }

    block = free_head[found];
    r = find_range(block.raw >> PAGE_SHIFT);
    list_remove(block, found);
    while (found > order) { /* keep the lower half */
        uint64_t upper = (block.raw >> PAGE_SHIFT) + BIT(--found);

        block_set(record_of(r, upper), found, FRAME_FREE);
        list_add(frame_address(upper), found);
    }
    block_set(record_of(r, block.raw >> PAGE_SHIFT), order, owner);
    owner_count[FRAME_FREE] -= BIT(order);
    owner_count[owner] += BIT(order);
    lock_release(&lock);
    return block;
}

/* The free block that together with `frame`'s makes one of the next order; NULL if there is none. */
static struct frame_record *find_buddy(const struct ram_range *r, uint64_t frame, unsigned order)
{
    uint64_t buddy = frame ^ BIT(order);
    struct frame_record *record;

    if (order + 1 >= FRAME_ORDERS || buddy < r->first || buddy - r->first + BIT(order) > r->count)
        return NULL;
    record = record_of(r, buddy);
    return record->is_head && record->owner == FRAME_FREE && record->order == order ? record : NULL;
}

void frames_free(hpa_t block, unsigned order, unsigned owner)
{
    uint64_t frame = block.raw >> PAGE_SHIFT, head;
    struct frame_record *record, *buddy;
    const struct ram_range *r;

    lock_take(&lock);
    record = find_head(frame, &head);
    if (!record || block.raw != head << PAGE_SHIFT || record->order != order || record->owner != owner ||
        owner <= FRAME_FREE)
        panic("frames: freeing block 0x%lx of order %u for owner %u, who does not have it", block.raw, order,
              owner);
    owner_count[owner] -= BIT(order);
    owner_count[FRAME_FREE] += BIT(order);

    r = find_range(frame);
    while ((buddy = find_buddy(r, frame, order))) {
        list_remove(frame_address(frame ^ BIT(order)), order);
        *buddy = *record_of(r, frame) = (struct frame_record){ 0 };
        frame &= ~BIT(order);
        order++;
    }
    block_set(record_of(r, frame), order, FRAME_FREE);
    list_add(frame_address(frame), order);
    lock_release(&lock);
}

unsigned frames_owner(hpa_t frame)
{
    const struct frame_record *record;
    unsigned owner;
    uint64_t head;

    lock_take(&lock);
    record = find_head(frame.raw >> PAGE_SHIFT, &head);
    owner = record ? record->owner : FRAME_RESERVED;
    lock_release(&lock);
    return owner;
}

unsigned frames_order(hpa_t frame)
{
    const struct frame_record *record;
    unsigned order;
    uint64_t head;

    lock_take(&lock);
    record = find_head(frame.raw >> PAGE_SHIFT, &head);
    order = record ? record->order : 0;
    lock_release(&lock);
    return order;
}

uint64_t frames_count(unsigned owner)
{
    return owner < OWNERS ? __atomic_load_n(&owner_count[owner], __ATOMIC_RELAXED) : 0;
}

uint64_t frames_total(void)
{
    return total;
}

uint64_t frames_free_blocks(unsigned order)
{
    uint64_t blocks = 0;

    for (unsigned i = order; i < FRAME_ORDERS; i++)
        blocks += __atomic_load_n(&free_count[i], __ATOMIC_RELAXED) << (i - order);
    return blocks;
}

/* --- setting up
 * ------------------------------------------------------------------------------------------------ */

static bool is_valid_range(const struct frame_range *r)
{
    return is_aligned(r->start.raw | r->size, PAGE_SIZE) && r->start.raw + r->size >= r->start.raw;
}

static int add_ranges(const struct frame_setup *setup)
{
    uint64_t end = 0; /* of the ranges so far, a frame number */

    range_count = 0;
    total = 0;
    for (unsigned i = 0; i < setup->reserved_count; i++)
        if (!is_valid_range(&setup->reserved[i]))
            return -EINVAL;
    for (unsigned i = 0; i < setup->usable_count; i++) {
        uint64_t first = setup->usable[i].start.raw >> PAGE_SHIFT,
                 count = setup->usable[i].size >> PAGE_SHIFT;

        if (!is_valid_range(&setup->usable[i]) || first < end)
            return -EINVAL;
        if (range_count && first == end) {
            range[range_count - 1].count += count;
        } else {
            if (range_count == MAX_RANGES)
                return -EINVAL;
            range[range_count++] = (struct ram_range){ .first = first, .count = count, .index = total };
        }
        end = first + count;
        total += count;
    }
    return 0;
}

/* Narrows *end, and names the owner if nobody did, where [start, start + size) reserves or bounds what begins
 * at `at`. */
static void apply_reserved(uint64_t at, uint64_t start, uint64_t size, unsigned reserved_owner, uint64_t *end,
                           unsigned *owner)
{
    if (at < start) {
        *end = min_u64(*end, start);
    } else if (at - start < size) {
        *end = min_u64(*end, start + size);
        if (*owner == FRAME_FREE)
            *owner = reserved_owner;
    }
}

/* The first owner of the frames from address `at`, and the end (at most *end) up to which it stays the same.
 */
static unsigned first_owner(const struct frame_setup *setup, uint64_t at, uint64_t *end)
{
    unsigned owner = FRAME_FREE;

    apply_reserved(at, 0, PAGE_SIZE, FRAME_RESERVED, end, &owner); /* hpa(0) means no frame */
    for (unsigned i = 0; i < setup->reserved_count; i++)
        apply_reserved(at, setup->reserved[i].start.raw, setup->reserved[i].size, setup->reserved_owner[i],
                       end, &owner);
    return owner;
}

/* The lowest free place for `size` bytes, or hpa(0). */
static hpa_t find_place(const struct frame_setup *setup, uint64_t size)
{
    for (unsigned i = 0; i < range_count; i++) {
        uint64_t at = range[i].first << PAGE_SHIFT, stop = at + (range[i].count << PAGE_SHIFT);

        while (at < stop) {
            uint64_t end = stop;

            if (first_owner(setup, at, &end) == FRAME_FREE && end - at >= size)
                return hpa(at);
            at = end;
        }
    }
    return hpa(0);
}

/* Cuts frames [frame, end) of one owner into naturally aligned blocks. */
static void add_blocks(const struct ram_range *r, uint64_t frame, uint64_t end, unsigned owner)
{
    owner_count[owner] += end - frame;
    while (frame < end) {
        unsigned order = 0;

        while (order + 1 < FRAME_ORDERS && is_aligned(frame, BIT(order + 1)) && end - frame >= BIT(order + 1))
            order++;
        block_set(record_of(r, frame), order, owner);
        if (owner == FRAME_FREE)
            list_add(frame_address(frame), order);
        frame += BIT(order);
    }
}

int frames_init(const struct frame_setup *setup)
{
    uint64_t size;
    hpa_t place;
    int error = add_ranges(setup);

    if (error)
        return error;
    size = align_up(total * sizeof(*records), PAGE_SIZE);
    place = find_place(setup, size);
    if (!place.raw)
        return -ENOMEM;

    pointer = setup->pointer;
    records = pointer(place);
    memset(records, 0, size);
    memset(free_head, 0, sizeof(free_head));
    memset(free_count, 0, sizeof(free_count));
    memset(owner_count, 0, sizeof(owner_count));
    for (unsigned i = 0; i < range_count; i++) {
        uint64_t at = range[i].first << PAGE_SHIFT, stop = at + (range[i].count << PAGE_SHIFT);

        while (at < stop) {
            uint64_t end = stop;
            unsigned owner = first_owner(setup, at, &end);

            if (owner == FRAME_FREE)
                apply_reserved(at, place.raw, size, FRAME_FRAMES, &end, &owner);
            add_blocks(&range[i], at >> PAGE_SHIFT, end >> PAGE_SHIFT, owner);
            at = end;
        }
    }
    return 0;
}

/* --- the audit
 * -------------------------------------------------------------------------------------------------- */

static void __printf(1, 2) contradiction(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (audit.errors++ < MAX_LOGGED)
        log_line_v(LOG_ERROR, fmt, args);
    va_end(args);
}

static bool is_sane_head(const struct frame_record *record, uint64_t frame, uint64_t end)
{
    return record->is_head && record->order < FRAME_ORDERS && record->owner < OWNERS &&
           is_aligned(frame, BIT(record->order)) && BIT(record->order) <= end - frame;
}

/* Walks the blocks of a range: they must follow each other without a gap. */
static void audit_range(const struct ram_range *r)
{
    uint64_t end = r->first + r->count, count;

    for (uint64_t frame = r->first; frame < end; frame += count) {
        const struct frame_record *record = record_of(r, frame);

        if (!is_sane_head(record, frame, end)) {
            contradiction("frames: the record of 0x%lx is damaged (owner %u, order %u)", frame << PAGE_SHIFT,
                          record->owner, record->order);
            count = 1;
            continue;
        }
        count = BIT(record->order);
        for (uint64_t i = 1; i < count; i++)
            if (record[i].is_head)
                contradiction("frames: block 0x%lx of order %u holds another block at 0x%lx",
                              frame << PAGE_SHIFT, record->order, (frame + i) << PAGE_SHIFT);
        if (record->owner == FRAME_FREE) {
            audit.free_count[record->order]++;
            if (find_buddy(r, frame, record->order))
                contradiction("frames: free block 0x%lx of order %u was not joined with its buddy",
                              frame << PAGE_SHIFT, record->order);
        }
        audit.owner_count[record->owner] += count;
    }
}

/* The list must hold as many blocks as the records say, each known as free, and linked correctly. */
static void audit_list(unsigned order)
{
    uint64_t listed = 0;

    for (hpa_t block = free_head[order]; block.raw && listed <= audit.free_count[order];
         block = links(block)->next) {
        if (!is_free_block(block, order)) {
            contradiction("frames: 0x%lx is in the free list of order %u, but is no such block", block.raw,
                          order);
            break;
        }
        if (!is_linked(block, order))
            contradiction(
                "frames: free block 0x%lx of order %u has wrong neighbours in its list: it was written to",
                block.raw, order);
        listed++;
    }
    if (listed != audit.free_count[order] || listed != free_count[order])
        contradiction(
            "frames: order %u has %lu free blocks by its records, %lu in its list and %lu by its counter",
            order, audit.free_count[order], listed, free_count[order]);
}

int frames_audit(void)
{
    unsigned errors;

    lock_take(&lock);
    memset(&audit, 0, sizeof(audit));
    for (unsigned i = 0; i < range_count; i++)
        audit_range(&range[i]);
    for (unsigned order = 0; order < FRAME_ORDERS; order++)
        audit_list(order);
    for (unsigned owner = 0; owner < OWNERS; owner++)
        if (audit.owner_count[owner] != owner_count[owner])
            contradiction("frames: owner %u has %lu frames by the records, %lu by its counter", owner,
                          audit.owner_count[owner], owner_count[owner]);
    errors = audit.errors;
    lock_release(&lock);
    return errors ? -EFAULT : 0;
}
