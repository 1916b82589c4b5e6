#include "drivers/virtio_net.h"
#include "arch/x86_64/paging.h"

#define HEAD ((unsigned)sizeof(struct virtio_net_hdr))

static bool works(const struct virtio_net *card)
{
    return __atomic_load_n(&card->state, __ATOMIC_ACQUIRE) == VIRTIO_NET_WORKS &&
           !__atomic_load_n(&card->wrong, __ATOMIC_RELAXED);
}

/* Nothing more is taken from the device; the next look at it has it reset. */
static void note_wrong(struct virtio_net *card, const char *what)
{
    if (!card->wrong)
        __atomic_store_n(&card->wrong, what, __ATOMIC_RELAXED);
}

void virtio_net_rings(struct virtio_net *card, unsigned rx_size, unsigned tx_size)
{
    virtio_ring_place(&card->rx, card->rx_memory, rx_size);
    virtio_ring_place(&card->tx, card->tx_memory, tx_size);
    for (unsigned i = 0; i < rx_size; i++) {
        card->rx.desc[i] = (struct virtq_desc){
            .address = virt_to_phys(card->rx_buffers + i * VIRTIO_NET_BUFFER).raw,
            .length = VIRTIO_NET_BUFFER,
            .flags = VIRTQ_DESC_WRITE
        };
        card->rx_given[i] = true;
        virtio_ring_put(&card->rx, i);
    }
    for (unsigned i = 0; i < tx_size; i++) {
        card->tx.desc[i].address = virt_to_phys(card->tx_buffers + i * VIRTIO_NET_BUFFER).raw;
        card->tx_free[i] = (uint16_t)(tx_size - 1 - i);
        card->tx_chain[i] = 0;
    }
    card->tx_free_count = tx_size;
    virtio_ring_interrupts(&card->tx, false); /* what was sent is taken back when the next frame goes */
}

/* --- Receiving */

/* The parts of a frame: whose buffers they are, so that the device gets them back. */
struct parts {
    unsigned count;
    uint16_t id[NET_SEGMENTS];
};

/* The next buffer that came back, with something in it; NULL: there is none, or what is said of it is wrong.
 */
static uint8_t *next_part(struct virtio_net *card, struct parts *parts, uint32_t *bytes)
{
    struct virtio_used_entry entry;

    if (!virtio_ring_take(&card->rx, &entry))
        return NULL;
    if (entry.id >= card->rx.size || !card->rx_given[entry.id] || entry.bytes > VIRTIO_NET_BUFFER) {
        note_wrong(card, "it gave back a buffer that it did not have, or too full");
        return NULL;
    }
    card->rx_given[entry.id] = false;
    parts->id[parts->count++] = (uint16_t)entry.id;
    *bytes = entry.bytes;
    return card->rx_buffers + entry.id * VIRTIO_NET_BUFFER;
}

static void give_back(struct virtio_net *card, const struct parts *parts)
{
    for (unsigned i = 0; i < parts->count; i++) {
        card->rx_given[parts->id[i]] = true;
        virtio_ring_put(&card->rx, parts->id[i]);
    }
}

/* The frame that begins with the next buffer (5.1.6.4), in `frame`; false: there is none. */
static bool next_frame(struct virtio_net *card, struct net_frame *frame, struct virtio_net_hdr *header,
                       struct parts *parts)
{
    uint32_t bytes;
    uint8_t *data = next_part(card, parts, &bytes);
    unsigned count = 1;

    if (!data)
        return false;
    if (bytes < HEAD) {
        note_wrong(card, "it gave a frame without a header");
        return false;
    }
    memcpy(header, data, HEAD);
    if (card->device.features & VIRTIO_NET_F_MRG_RXBUF)
        count = header->num_buffers;
    if (count < 1 || count > NET_SEGMENTS) {
        note_wrong(card, "it gave a frame of more buffers than any has");
        return false;
    }
    net_frame_init(frame);
    if (!net_frame_add(frame, data + HEAD, bytes - HEAD))
        return false; /* there is room for that */
    while (parts->count < count) {
        data = next_part(card, parts, &bytes);
        if (!data || !net_frame_add(frame, data, bytes)) {
            note_wrong(card, "it gave a part of a frame");
            return false;
        }
    }
    return true;
}

bool virtio_net_receive(struct virtio_net *card)
{
    struct virtio_net_hdr header;
    struct net_frame frame;
    unsigned taken = 0;

    if (!works(card))
        return false;
    virtio_ring_interrupts(&card->rx, false);
    while (taken < VIRTIO_NET_BATCH) {
        struct parts parts = { 0 };

        if (!next_frame(card, &frame, &header, &parts))
            break;
        if ((header.flags & NET_NEEDS_CSUM) || header.gso_type) /* we agreed on none of these */
            card->rx_bad++;
        else
            (void)!net_send(card->nic.port, &frame); /* an uplink has no rate that would hold it back */
        give_back(card, &parts);
        taken++;
    }
    if (card->wrong)
        return false;
    if (taken)
        virtio_ring_tell(&card->rx);
    if (taken == VIRTIO_NET_BATCH)
        return true;
    virtio_ring_interrupts(&card->rx, true);
    return virtio_ring_has(&card->rx);
}

/* --- Sending */

void virtio_net_reclaim(struct virtio_net *card)
{
    struct virtio_used_entry entry;

    for (unsigned i = 0; i < card->tx.size && virtio_ring_take(&card->tx, &entry); i++) {
        unsigned id = entry.id, count = id < card->tx.size ? card->tx_chain[id] : 0;

        if (!count) {
            note_wrong(card, "it sent a frame that it was not given");
            return;
        }
        card->tx_chain[id] = 0;
        for (; count; count--) {
            card->tx_free[card->tx_free_count++] = (uint16_t)id;
            id = card->tx_next[id];
        }
    }
}

/* The next `bytes` of the frame, of which the first HEAD may be the header; what the frame lacks is zero. */
static void fill(uint8_t *buffer, const struct net_frame *frame, struct net_cursor *cursor, unsigned head,
                 uint32_t bytes)
{
    uint32_t copied;

    memset(buffer, 0, head); /* no offloads, and num_buffers is 0 (5.1.6.2.1) */
    copied = net_copy(frame, cursor, buffer + head, bytes - head);
    memset(buffer + head + copied, 0, bytes - head - copied);
}

bool virtio_net_transmit(struct net_port *port, const struct net_frame *frame)
{
    struct virtio_net *card = container_of(port->owner, struct virtio_net, nic);
    uint32_t left = HEAD + (uint32_t)max_u64(frame->bytes, VIRTIO_NET_MIN_FRAME);
    unsigned count = (left + VIRTIO_NET_BUFFER - 1) / VIRTIO_NET_BUFFER, first, id;
    struct net_cursor cursor = { 0 };

    if (!works(card) || !card->nic.link)
        return false;
    virtio_net_reclaim(card);
    if (card->wrong || card->tx_free_count < count)
        return false;
    first = id = card->tx_free[--card->tx_free_count];
    card->tx_chain[first] = (uint16_t)count;
    for (;;) {
        uint32_t part = (uint32_t)min_u64(left, VIRTIO_NET_BUFFER);
        struct virtq_desc *desc = &card->tx.desc[id];

        fill(card->tx_buffers + id * VIRTIO_NET_BUFFER, frame, &cursor, id == first ? HEAD : 0, part);
        left -= part;
        desc->length = part;
        desc->flags = left ? VIRTQ_DESC_NEXT : 0;
        if (!left)
            break;
        desc->next = card->tx_next[id] = card->tx_free[--card->tx_free_count];
        id = desc->next;
    }
    virtio_ring_put(&card->tx, first);
    virtio_ring_tell(&card->tx);
    return true;
}
