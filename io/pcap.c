#include "io/pcap.h"
#include "arch/x86_64/tsc.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MAGIC    0xa1b2c3d4 /* times in microseconds; the byte order of all numbers is that of this */
#define ETHERNET 1

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy; /* 0 */
    uint32_t snap;
    uint32_t link;
};

struct record_header {
    uint32_t seconds, microseconds;
    uint32_t kept, bytes; /* the frame had so many */
};

static_assert(sizeof(struct file_header) == 24 && sizeof(struct record_header) == 16, "as in the file");

/* The lock guards all of it. Nothing is taken under it. */
static struct {
    struct lock lock;
    struct network *network; /* NULL: there is no capture */
    const struct net_port *only;
    unsigned snap;
    uint64_t left; /* frames that are wanted still; UINT64_MAX: no end */
    uint64_t utc, tsc;
    struct pcap_counts counts;
    uint64_t head, tail; /* free-running: bytes written and taken */
    uint8_t ring[PCAP_RING];
} capture;

static void put(const void *from, size_t bytes)
{
    size_t at = capture.head % PCAP_RING, first = min_u64(bytes, PCAP_RING - at);

    memcpy(capture.ring + at, from, first);
    memcpy(capture.ring, (const uint8_t *)from + first, bytes - first);
    capture.head += bytes;
}

/* As much of the frame as fits into `left`, which shrinks by it. */
static void put_part(const uint8_t *from, uint32_t bytes, uint32_t *left)
{
    uint32_t part = (uint32_t)min_u64(bytes, *left);

    put(from, part);
    *left -= part;
}

/* A sender's frame has lost its tag. */
static bool wants_tag(const struct net_port *from, const struct net_port *to, const struct net_frame *frame)
{
    return !to && frame->vlan && !(capture.only && from->config.vlan == frame->vlan);
}

static void put_frame(const struct net_frame *frame, bool tag)
{
    const uint8_t text[NET_TAG] = { 0x81, 0, (uint8_t)(frame->tci >> 8), (uint8_t)frame->tci };
    uint32_t bytes = frame->bytes + (tag ? NET_TAG : 0), left = (uint32_t)min_u64(bytes, capture.snap);
    uint64_t passed = tsc_now() - capture.tsc, hz = tsc_hz();
    struct record_header header = { .kept = left, .bytes = bytes };

    if (capture.head - capture.tail + sizeof(header) + left > PCAP_RING) {
        capture.counts.lost++;
        return;
    }
    header.seconds = (uint32_t)(capture.utc + passed / hz);
    header.microseconds = (uint32_t)(passed % hz * 1000000 / hz);
    put(&header, sizeof(header));
    for (unsigned i = 0; i <= frame->count && left; i++) {
        const struct net_segment *segment = &frame->segment[i];
        uint32_t skip = 0;

        if (tag && i == 0) {
            skip = 2 * NET_MAC;
            put_part(segment->data, skip, &left);
            put_part(text, sizeof(text), &left);
        }
        put_part(segment->data + skip, segment->bytes - skip, &left);
    }
    capture.counts.frames++;
    if (capture.left != UINT64_MAX)
        capture.left--;
}

static void tap(void *context, const struct net_port *from, const struct net_port *to,
                const struct net_frame *frame)
{
    (void)context;
    if (to && !__atomic_load_n(&capture.only, __ATOMIC_RELAXED))
        return; /* most of what is shown to a network's capture: without the lock of all CPUs */
    lock_take(&capture.lock);
    if (capture.network == from->network && capture.left &&
        (capture.only ? (to ? to == capture.only : from == capture.only) : !to))
        put_frame(frame, wants_tag(from, to, frame));
    lock_release(&capture.lock);
}

int pcap_start(struct network *network, const struct net_port *only, uint64_t count, unsigned snap,
               uint64_t utc)
{
    const struct file_header header = {
        .magic = MAGIC, .major = 2, .minor = 4, .snap = snap, .link = ETHERNET
    };

    lock_take(&capture.lock);
    if (capture.network) {
        lock_release(&capture.lock);
        return -EBUSY;
    }
    capture.network = network;
    capture.only = only;
    capture.snap = snap;
    capture.left = count ? count : UINT64_MAX;
    capture.utc = utc;
    capture.tsc = tsc_now();
    capture.counts = (struct pcap_counts){ 0 };
    capture.head = capture.tail = 0;
    put(&header, sizeof(header));
    lock_release(&capture.lock);
    net_set_tap(network, tap, NULL);
    return 0;
}

size_t pcap_take(void *to, size_t bytes)
{
    size_t at, first;

    lock_take(&capture.lock);
    at = capture.tail % PCAP_RING;
    bytes = min_u64(bytes, capture.head - capture.tail);
    first = min_u64(bytes, PCAP_RING - at);
    memcpy(to, capture.ring + at, first);
    memcpy((uint8_t *)to + first, capture.ring, bytes - first);
    capture.tail += bytes;
    lock_release(&capture.lock);
    return bytes;
}

bool pcap_done(void)
{
    return capture.left == 0 && capture.head == capture.tail;
}

struct pcap_counts pcap_stop(void)
{
    struct pcap_counts counts;

    if (capture.network)
        net_set_tap(capture.network, NULL, NULL);
    lock_take(&capture.lock); /* a frame that was on its way is written or finds no capture */
    capture.network = NULL;
    counts = capture.counts;
    lock_release(&capture.lock);
    return counts;
}
