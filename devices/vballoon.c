/* virtio's memory balloon. Section numbers are those of OASIS virtio 1.2. */
#include "devices/vballoon.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CLASS           0x00ff00 /* none of PCI's classes fits */
#define PFN_BYTES       4u
#define PAGES_PER_CHUNK (GMEM_CHUNK / PAGE_SIZE)
#define CHUNK_WORDS     (PAGES_PER_CHUNK / 64)
#define STATS_MAX       64u /* that are looked at in one buffer */

static bool get_bit(const uint64_t *map, uint64_t index)
{
    return map[index / 64] & BIT(index % 64);
}

static const struct gmem *memory(const struct vballoon *vb)
{
    return vb->virtio.mem;
}

/* --- Where a page's bit is: RAM is numbered without the gaps between its slots */

/* False: it is not RAM. */
static bool page_index(const struct gmem *mem, uint64_t pfn, uint64_t *index)
{
    gpa_t at = gpa(pfn << VIRTIO_BALLOON_PFN_SHIFT);
    uint64_t before = 0;

    if (gmem_in_hole(mem, at, PAGE_SIZE))
        return false;
    for (unsigned i = 0; i < mem->count; i++) {
        const struct gmem_slot *slot = &mem->slot[i];
        uint64_t offset = at.raw - slot->base.raw;

        if (offset < slot->size) {
            *index = (before + offset) / PAGE_SIZE;
            return true;
        }
        before += slot->size;
    }
    return false;
}

static gpa_t chunk_address(const struct gmem *mem, uint64_t index)
{
    uint64_t offset = index * GMEM_CHUNK;
    unsigned i = 0;

    while (i + 1 < mem->count && offset >= mem->slot[i].size)
        offset -= mem->slot[i++].size;
    return gpa(mem->slot[i].base.raw + offset);
}

static void want_chunk(struct vballoon *vb, uint64_t index)
{
    if (!vb->owner.wanted || get_bit(vb->chunks, index))
        return;
    vb->chunks[index / 64] |= BIT(index % 64);
    vb->wanted++;
}

/* --- Inflating and deflating: 5.5.6 */

static bool chunk_is_full(const struct vballoon *vb, uint64_t chunk)
{
    for (uint64_t i = 0; i < CHUNK_WORDS; i++)
        if (~vb->pages[chunk * CHUNK_WORDS + i])
            return false;
    return true;
}

/* What is no RAM, or is there already, changes nothing. A driver that may use a page again before the device
 * knows (5.5.3) keeps its memory: it could do so while that is being taken. */
static void inflate(struct vballoon *vb, uint32_t pfn)
{
    uint64_t page;

    if (!page_index(memory(vb), pfn, &page) || get_bit(vb->pages, page))
        return;
    vb->pages[page / 64] |= BIT(page % 64);
    vb->inflated++;
    if (vvirtio_has(&vb->virtio, VIRTIO_BALLOON_F_MUST_TELL_HOST) &&
        chunk_is_full(vb, page / PAGES_PER_CHUNK))
        want_chunk(vb, page / PAGES_PER_CHUNK);
}

/* The guest is going to use it: if its chunk is not taken yet, it must not be any more. */
static void deflate(struct vballoon *vb, uint32_t pfn)
{
    uint64_t page, chunk;

    if (!page_index(memory(vb), pfn, &page) || !get_bit(vb->pages, page))
        return;
    vb->pages[page / 64] &= ~BIT(page % 64);
    vb->inflated--;
    chunk = page / PAGES_PER_CHUNK;
    if (get_bit(vb->chunks, chunk)) {
        vb->chunks[chunk / 64] &= ~BIT(chunk % 64);
        vb->wanted--;
    }
}

/* The numbers of a buffer's readable part, wherever its pieces end. Each byte of it is read once. */
struct pfn_reader {
    const struct vring_segment *segment;
    unsigned segments;
    uint64_t at; /* in the first of these */
};

static bool next_pfn(struct pfn_reader *reader, uint32_t *pfn)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < PFN_BYTES; i++) {
        while (reader->segments && reader->at >= reader->segment->bytes) {
            reader->at -= reader->segment->bytes;
            reader->segment++;
            reader->segments--;
        }
        if (!reader->segments)
            return false; /* what is less than a number is none */
        value |= (uint32_t)__atomic_load_n(&reader->segment->data[reader->at], __ATOMIC_RELAXED) << 8 * i;
        reader->at++;
    }
    *pfn = value;
    return true;
}

/* A buffer, from where the last turn stopped; false: no more may be done in this one, and it has more. */
static bool take_pfns(struct vballoon *vb, unsigned which, const struct vring_chain *chain, uint32_t *left)
{
    struct pfn_reader reader = { vb->segment, chain->readable, vb->done[which] };
    uint32_t pfn;

    while (*left) {
        if (!next_pfn(&reader, &pfn))
            return true;
        if (which == VIRTIO_BALLOON_INFLATEQ)
            inflate(vb, pfn);
        else
            deflate(vb, pfn);
        vb->done[which] += PFN_BYTES;
        --*left;
    }
    return vb->done[which] + PFN_BYTES > chain->readable_bytes;
}

/* As many buffers as a ring holds, and VBALLOON_TURN numbers. False: there is more to come. */
static bool take_some(struct vballoon *vb, unsigned which, struct vvirtio_queue *queue)
{
    uint32_t left = VBALLOON_TURN;
    struct vring_chain chain;

    for (unsigned i = 0; i < VBALLOON_QUEUE_SIZE; i++) {
        struct vvirtio_mark mark = vvirtio_mark(queue);

        if (vvirtio_pop(&vb->virtio, queue, &chain, vb->segment, VBALLOON_SEGMENTS) != 1)
            break;
        if (!take_pfns(vb, which, &chain, &left)) {
            vvirtio_rewind(queue, &mark);
            return false;
        }
        vb->done[which] = 0;
        vvirtio_push(queue, &chain, 0);
    }
    return true;
}

static void tell_owner(struct vballoon *vb)
{
    if (vb->owner.wanted && (vb->wanted || vb->report_waits))
        vb->owner.wanted(vb->owner.context);
}

static void take(struct vballoon *vb, unsigned which)
{
    struct vvirtio_queue *queue = &vb->virtio.queue[which];

    lock_take(&queue->lock);
    if (!take_some(vb, which, queue))
        vtimer_arm(&vb->again, vclock_ns(vb->again.clock) + VBALLOON_PAUSE_NS);
    lock_release(&queue->lock);
    vvirtio_interrupt(&vb->virtio, queue);
    tell_owner(vb);
}

static void take_again(void *device)
{
    take(device, VIRTIO_BALLOON_INFLATEQ);
    take(device, VIRTIO_BALLOON_DEFLATEQ);
}

/* --- Statistics: 5.5.6.3 */

static void read_stats(struct vballoon *vb, const struct vring_chain *chain)
{
    struct virtio_balloon_stat stat;
    uint8_t *bytes = (uint8_t *)&stat;
    unsigned have = 0, count = 0;

    vb->stat_known = 0;
    for (unsigned i = 0; i < chain->readable; i++)
        for (uint32_t at = 0; at < vb->segment[i].bytes; at++) {
            bytes[have++] = __atomic_load_n(&vb->segment[i].data[at], __ATOMIC_RELAXED);
            if (have < sizeof(stat))
                continue;
            have = 0;
            if (stat.tag < VIRTIO_BALLOON_S_COUNT) {
                vb->stat[stat.tag] = stat.value;
                vb->stat_known |= 1u << stat.tag;
            }
            if (++count == STATS_MAX)
                return;
        }
}

/* The driver's buffer stays in the ring until the next ones are asked for. */
static void take_stats(struct vballoon *vb)
{
    struct vvirtio_queue *queue = &vb->virtio.queue[VIRTIO_BALLOON_STATSQ];
    struct vring_chain chain;
    struct vvirtio_mark mark;

    if (!vb->asked || !vvirtio_has(&vb->virtio, VIRTIO_BALLOON_F_STATS_VQ))
        return;
    lock_take(&queue->lock);
    mark = vvirtio_mark(queue);
    if (vvirtio_pop(&vb->virtio, queue, &chain, vb->segment, VBALLOON_SEGMENTS) == 1) {
        read_stats(vb, &chain);
        vb->asked = false;
        vvirtio_rewind(queue, &mark);
    }
    lock_release(&queue->lock);
}

void vballoon_ask_stats(struct vballoon *vb)
{
    struct vvirtio_queue *queue = &vb->virtio.queue[VIRTIO_BALLOON_STATSQ];
    struct vring_chain chain;

    if (vb->asked || !vvirtio_has(&vb->virtio, VIRTIO_BALLOON_F_STATS_VQ))
        return;
    lock_take(&queue->lock);
    if (vvirtio_pop(&vb->virtio, queue, &chain, vb->segment, VBALLOON_SEGMENTS) == 1) {
        vvirtio_push(queue, &chain, 0);
        vb->asked = true;
    }
    lock_release(&queue->lock);
    vvirtio_interrupt(&vb->virtio, queue);
}

/* --- Free pages that are reported: 5.5.6.7 */

/*
 * 5.5.2 numbers the queue as if all others were there; the drivers that there are number only those that are.
 * Hints, whose queue would stand between, are not offered: so whatever is behind the statistics' is meant.
 */
static bool is_report_queue(const struct vballoon *vb, unsigned queue)
{
    return vvirtio_has(&vb->virtio, VIRTIO_BALLOON_F_PAGE_REPORTING) &&
           (queue > VIRTIO_BALLOON_STATSQ ||
            (queue == VIRTIO_BALLOON_STATSQ && !vvirtio_has(&vb->virtio, VIRTIO_BALLOON_F_STATS_VQ)));
}

/*
 * The chunks that lie in the report as a whole. It names them by host addresses, since that is what a ring's
 * buffers are turned into; so each chunk is looked for. Those that are away have none.
 */
static void want_report(struct vballoon *vb, const struct vring_chain *chain)
{
    const struct gmem *mem = memory(vb);
    uint64_t index = 0;

    for (unsigned slot = 0; slot < mem->count; slot++)
        for (uint64_t i = 0; i < mem->slot[slot].size / GMEM_CHUNK; i++, index++) {
            const uint8_t *host = __atomic_load_n(&mem->slot[slot].chunk[i], __ATOMIC_RELAXED);

            for (unsigned n = chain->readable; host && n < chain->readable + chain->writable; n++) {
                const struct vring_segment *s = &vb->segment[n];

                if (s->bytes >= GMEM_CHUNK && host >= s->data &&
                    (uint64_t)(host - s->data) <= s->bytes - GMEM_CHUNK)
                    want_chunk(vb, index);
            }
        }
}

/* The first report of a queue is looked at and left in the ring; true: there is one. */
static bool look_at_report(struct vballoon *vb, struct vvirtio_queue *queue)
{
    struct vring_chain chain;
    struct vvirtio_mark mark;
    bool found;

    lock_take(&queue->lock);
    mark = vvirtio_mark(queue);
    queue->ring.peek = true;
    found = vvirtio_pop(&vb->virtio, queue, &chain, vb->segment, VBALLOON_SEGMENTS) == 1;
    queue->ring.peek = false;
    if (found) {
        want_report(vb, &chain);
        vb->report_queue = queue;
        vb->report = chain;
        vb->report_end = vvirtio_mark(queue);
        vvirtio_rewind(queue, &mark);
    }
    lock_release(&queue->lock);
    return found;
}

/* One report at a time; the others wait in the ring. */
static void look_for_report(struct vballoon *vb)
{
    for (unsigned i = VIRTIO_BALLOON_STATSQ; i < VBALLOON_QUEUES && !vb->report_waits; i++)
        if (is_report_queue(vb, i) && look_at_report(vb, &vb->virtio.queue[i]))
            vb->report_waits = true;
    tell_owner(vb);
}

/* The one that look_for_report() found. Nobody else takes anything out of its ring. */
static void return_report(struct vballoon *vb)
{
    struct vvirtio_queue *queue = vb->report_queue;

    lock_take(&queue->lock);
    vvirtio_rewind(queue, &vb->report_end);
    vb->reported += vb->report.writable_bytes;
    vvirtio_push(queue, &vb->report, 0);
    lock_release(&queue->lock);
    vvirtio_interrupt(&vb->virtio, queue);
}

bool vballoon_take(struct vballoon *vb, gpa_t *chunk)
{
    uint64_t words = VBALLOON_CHUNK_WORDS(vb->page_count * PAGE_SIZE);

    if (!vb->wanted)
        return false;
    for (uint64_t i = 0; i < words; i++) {
        unsigned bit;

        if (!vb->chunks[i])
            continue;
        bit = (unsigned)__builtin_ctzll(vb->chunks[i]);
        vb->chunks[i] &= vb->chunks[i] - 1;
        vb->wanted--;
        *chunk = chunk_address(memory(vb), i * 64 + bit);
        return true;
    }
    return false;
}

void vballoon_taken(struct vballoon *vb)
{
    if (!vb->report_waits || vb->wanted)
        return;
    return_report(vb);
    vb->report_waits = false;
    look_for_report(vb);
}

/* --- Life */

static void notified(void *device, unsigned queue)
{
    struct vballoon *vb = device;

    if (queue <= VIRTIO_BALLOON_DEFLATEQ)
        take(vb, queue);
    else if (is_report_queue(vb, queue))
        look_for_report(vb);
    else if (queue == VIRTIO_BALLOON_STATSQ)
        take_stats(vb);
}

/* Drivers tell of their first buffers before they say that they are ready. */
static void started(void *device)
{
    take_again(device);
    take_stats(device);
    look_for_report(device);
}

static uint32_t config_read(void *device, unsigned index)
{
    const struct vballoon *vb = device;

    return index * 4 == offsetof(struct virtio_balloon_config, num_pages) ? vb->target : vb->actual;
}

/* 5.5.5: what the driver says of itself; for people to see. */
static void config_write(void *device, uint32_t offset, unsigned size, uint32_t value)
{
    struct vballoon *vb = device;

    if (offset == offsetof(struct virtio_balloon_config, actual) && size == 4)
        vb->actual = value;
}

/* Nothing is in the balloon any more: the guest may use all of its memory. */
static void was_reset(void *device)
{
    struct vballoon *vb = device;

    vtimer_cancel(&vb->again);
    memset(vb->pages, 0, VBALLOON_PAGE_WORDS(vb->page_count * PAGE_SIZE) * sizeof(*vb->pages));
    memset(vb->chunks, 0, VBALLOON_CHUNK_WORDS(vb->page_count * PAGE_SIZE) * sizeof(*vb->chunks));
    memset(vb->done, 0, sizeof(vb->done));
    memset(vb->stat, 0, sizeof(vb->stat));
    vb->inflated = vb->wanted = 0;
    vb->actual = vb->stat_known = 0;
    vb->asked = true; /* the driver begins with a buffer of them */
    vb->report_waits = false;
}

void vballoon_init(struct vballoon *vb, const struct gmem *mem, struct vlapic_bus *bus,
                   const struct vclock *clock, struct timer_queue *queue, uint64_t *pages, uint64_t *chunks,
                   const struct vballoon_owner *owner)
{
    static const struct vvirtio_ops ops = {
        .notified = notified,
        .config_read = config_read,
        .config_write = config_write,
        .started = started,
        .reset = was_reset,
    };
    struct vvirtio_kind kind = {
        .id = VIRTIO_ID_BALLOON,
        .class_code = CLASS,
        .queues = VBALLOON_QUEUES,
        .queue_size = VBALLOON_QUEUE_SIZE,
        .features = VIRTIO_F_INDIRECT | VIRTIO_F_PACKED | VIRTIO_BALLOON_F_MUST_TELL_HOST |
                    VIRTIO_BALLOON_F_STATS_VQ,
        .config_size = sizeof(struct virtio_balloon_config),
        .ops = &ops,
    };

    memset(vb, 0, sizeof(*vb));
    vb->pages = pages;
    vb->chunks = chunks;
    vb->page_count = gmem_size(mem) / PAGE_SIZE;
    if (owner) {
        vb->owner = *owner;
        kind.features |= VIRTIO_BALLOON_F_PAGE_REPORTING;
    }
    vtimer_init(&vb->again, clock, queue, take_again, vb);
    vvirtio_init(&vb->virtio, &kind, mem, bus, vb);
}

void vballoon_reset(struct vballoon *vb)
{
    vvirtio_reset(&vb->virtio);
    vb->reported = 0;
}

int vballoon_attach(struct vballoon *vb, struct vpci *pci)
{
    return vpci_add(pci, VBALLOON_SLOT, &vb->virtio.function);
}

void vballoon_set_target(struct vballoon *vb, uint64_t pages)
{
    uint32_t target = (uint32_t)min_u64(min_u64(pages, vb->page_count), UINT32_MAX);

    if (target == vb->target)
        return;
    vb->target = target;
    vvirtio_config_changed(&vb->virtio);
}

/* --- State */

void vballoon_save(struct vballoon *vb, struct vballoon_state *out, uint64_t *pages)
{
    memset(out, 0, sizeof(*out));
    vvirtio_save(&vb->virtio, &out->virtio);
    memcpy(out->done, vb->done, sizeof(out->done));
    memcpy(out->stat, vb->stat, sizeof(out->stat));
    out->stat_known = vb->stat_known;
    out->target = vb->target;
    out->actual = vb->actual;
    out->asked = vb->asked;
    memcpy(pages, vb->pages, VBALLOON_PAGE_WORDS(vb->page_count * PAGE_SIZE) * sizeof(*pages));
}

/* A page that is no RAM is in no balloon: that is the hole, the maps having no others. */
static bool hole_is_empty(const struct vballoon *vb, const uint64_t *pages)
{
    const struct gmem *mem = memory(vb);

    for (uint64_t at = mem->hole_base.raw; at < mem->hole_base.raw + mem->hole_size; at += PAGE_SIZE)
        if (get_bit(pages, at / PAGE_SIZE))
            return false;
    return true;
}

int vballoon_check(const struct vballoon *vb, const struct vballoon_state *state, const uint64_t *pages)
{
    static const uint8_t zero[sizeof(state->reserved)];
    bool is_up = state->virtio.status & VIRTIO_DRIVER_OK;

    if (state->asked > 1 || state->target > vb->page_count || state->stat_known >> VIRTIO_BALLOON_S_COUNT ||
        memcmp(state->reserved, zero, sizeof(zero)) != 0 || !hole_is_empty(vb, pages))
        return -EINVAL;
    for (unsigned i = 0; i < ARRAY_SIZE(state->done); i++)
        if (state->done[i] && (!is_up || !state->virtio.queue[i].enabled || state->done[i] % PFN_BYTES ||
                               state->done[i] > UINT32_MAX))
            return -EINVAL;
    return vvirtio_check(&vb->virtio, &state->virtio);
}

static uint64_t count_pages(const struct vballoon *vb)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < VBALLOON_PAGE_WORDS(vb->page_count * PAGE_SIZE); i++)
        for (uint64_t word = vb->pages[i]; word; word &= word - 1)
            count++;
    return count;
}

/* What waits in the rings goes on. A report that waits is given back by the owner, who is told of it anew. */
void vballoon_load(struct vballoon *vb, const struct vballoon_state *state, const uint64_t *pages)
{
    was_reset(vb);
    vvirtio_load(&vb->virtio, &state->virtio);
    memcpy(vb->done, state->done, sizeof(vb->done));
    memcpy(vb->stat, state->stat, sizeof(vb->stat));
    vb->stat_known = state->stat_known;
    vb->target = state->target;
    vb->actual = state->actual;
    vb->asked = state->asked;
    memcpy(vb->pages, pages, VBALLOON_PAGE_WORDS(vb->page_count * PAGE_SIZE) * sizeof(*pages));
    vb->inflated = count_pages(vb);
    if (state->virtio.status & VIRTIO_DRIVER_OK) {
        vtimer_arm(&vb->again, vclock_ns(vb->again.clock));
        look_for_report(vb);
    }
}
