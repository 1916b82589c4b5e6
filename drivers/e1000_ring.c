#include "drivers/e1000.h"
#include "lib/string.h"

static void write32(const struct e1000 *card, unsigned at, uint32_t value)
{
    *(volatile uint32_t *)(card->registers + at) = value;
}

/* What was written to memory is there before the card is told: x86 keeps stores in order, the compiler need
 * not. */
static void barrier(void)
{
    __asm__ volatile("" : : : "memory");
}

void e1000_ring_init(struct e1000 *card, uint64_t rx_buffers, uint64_t tx_buffers)
{
    for (unsigned i = 0; i < E1000_RING; i++) {
        card->rx[i].address = rx_buffers + i * E1000_BUFFER;
        card->rx[i].status = 0;
        card->tx[i].address = tx_buffers + i * E1000_BUFFER;
        card->tx[i].status = 0;
    }
    card->rx_next = card->tx_next = card->tx_done = 0;
    card->rx_inside = false;
}

/* How many descriptors the next frame takes, if it is all there, or E1000_PARTS of one that is too long; 0:
 * it is not. */
static unsigned next_parts(const struct e1000 *card)
{
    for (unsigned i = 0; i < E1000_PARTS; i++) {
        uint8_t status = card->rx[(card->rx_next + i) % E1000_RING].status;

        if (!(status & E1000_DONE))
            return 0;
        if (status & E1000_RX_EOP)
            return i + 1;
    }
    return E1000_PARTS;
}

/* The frame in so many descriptors; false: it is none. They are the driver's until the card is told. */
static bool gather(struct e1000 *card, unsigned parts, struct net_frame *frame)
{
    bool good = !card->rx_inside;

    net_frame_init(frame);
    for (unsigned i = 0; i < parts; i++) {
        unsigned at = (card->rx_next + i) % E1000_RING;
        volatile struct e1000_rx_descriptor *descriptor = &card->rx[at];
        uint32_t bytes = descriptor->length;
        bool last = descriptor->status & E1000_RX_EOP;

        if (bytes > E1000_BUFFER || (last && descriptor->errors)) /* valid in the last one only (3.2.3.2) */
            good = false;
        else if (!net_frame_add(frame, card->rx_buffers + at * E1000_BUFFER, bytes))
            good = false;
        card->rx_inside = !last;
        descriptor->status = 0;
    }
    card->rx_next = (card->rx_next + parts) % E1000_RING;
    return good && !card->rx_inside;
}

unsigned e1000_receive(struct e1000 *card, unsigned most)
{
    struct net_frame frame;
    unsigned count = 0, parts;

    while (count < most && (parts = next_parts(card)) != 0) {
        if (gather(card, parts, &frame))
            (void)!net_send(card->nic.port, &frame); /* an uplink has no rate that would hold it back */
        else
            card->rx_bad++;
        count += parts;
    }
    barrier();
    if (count)
        write32(card, E1000_RDT, (card->rx_next + E1000_RING - 1) % E1000_RING);
    return count;
}

/* The ring is full when one is left: with none, head and tail would be as if it were empty. */
static bool has_room(struct e1000 *card, unsigned count)
{
    while (card->tx_done != card->tx_next && (card->tx[card->tx_done].status & E1000_DONE))
        card->tx_done = (card->tx_done + 1) % E1000_RING;
    return (card->tx_done + E1000_RING - 1 - card->tx_next) % E1000_RING >= count;
}

/* The frame's next bytes; what it lacks is zero, not what another frame left there. */
static void put(struct e1000 *card, const struct net_frame *frame, struct net_cursor *cursor, uint32_t bytes,
                bool last)
{
    volatile struct e1000_tx_descriptor *descriptor = &card->tx[card->tx_next];
    uint8_t *buffer = card->tx_buffers + card->tx_next * E1000_BUFFER;
    uint32_t copied = net_copy(frame, cursor, buffer, bytes);

    memset(buffer + copied, 0, bytes - copied);
    descriptor->length = (uint16_t)bytes;
    descriptor->checksum_offset = descriptor->checksum_start = 0;
    descriptor->special = 0;
    descriptor->command = E1000_TX_FCS | E1000_TX_RS | (last ? E1000_TX_EOP : 0);
    descriptor->status = 0;
    card->tx_next = (card->tx_next + 1) % E1000_RING;
}

bool e1000_transmit(struct net_port *port, const struct net_frame *frame)
{
    struct e1000 *card = container_of(port->owner, struct e1000, nic);
    uint32_t left = (uint32_t)max_u64(frame->bytes, E1000_MIN_FRAME);
    struct net_cursor cursor = { 0 };

    if (!card->nic.link || left > E1000_PARTS * E1000_BUFFER ||
        !has_room(card, (left + E1000_BUFFER - 1) / E1000_BUFFER))
        return false;
    while (left) {
        uint32_t part = (uint32_t)min_u64(left, E1000_BUFFER);

        left -= part;
        put(card, frame, &cursor, part, left == 0);
    }
    barrier();
    write32(card, E1000_TDT, card->tx_next);
    return true;
}
