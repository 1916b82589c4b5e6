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

/* The network is done with the buffer when net_send() returns. */
static void take(struct e1000 *card, uint8_t *buffer, uint32_t bytes)
{
    struct net_frame frame;

    net_frame_init(&frame);
    if (net_frame_add(&frame, buffer, bytes))
        (void)!net_send(card->nic.port, &frame); /* an uplink has no rate that would hold it back */
}

unsigned e1000_receive(struct e1000 *card, unsigned most)
{
    unsigned count = 0;

    for (; count < most; count++) {
        volatile struct e1000_rx_descriptor *descriptor = &card->rx[card->rx_next];
        uint8_t status = descriptor->status;
        uint32_t bytes = descriptor->length;

        if (!(status & E1000_DONE))
            break;
        if ((status & E1000_RX_EOP) && !card->rx_inside && !descriptor->errors && bytes <= E1000_BUFFER)
            take(card, card->rx_buffers + card->rx_next * E1000_BUFFER, bytes);
        else
            card->rx_bad++;
        card->rx_inside = !(status & E1000_RX_EOP);
        descriptor->status = 0;
        card->rx_next = (card->rx_next + 1) % E1000_RING;
    }
    barrier();
    if (count)
        write32(card, E1000_RDT, (card->rx_next + E1000_RING - 1) % E1000_RING);
    return count;
}

/* The ring is full when one is left: with none, head and tail would be as if it were empty. */
static bool has_room(struct e1000 *card)
{
    unsigned next = (card->tx_next + 1) % E1000_RING;

    while (card->tx_done != card->tx_next && (card->tx[card->tx_done].status & E1000_DONE))
        card->tx_done = (card->tx_done + 1) % E1000_RING;
    return next != card->tx_done;
}

bool e1000_transmit(struct net_port *port, const struct net_frame *frame)
{
    struct e1000 *card = container_of(port->owner, struct e1000, nic);
    volatile struct e1000_tx_descriptor *descriptor = &card->tx[card->tx_next];
    uint8_t *buffer = card->tx_buffers + card->tx_next * E1000_BUFFER;
    struct net_cursor cursor = { 0 };
    uint32_t bytes = frame->bytes;

    if (!card->nic.link || bytes > E1000_BUFFER || !has_room(card))
        return false;
    net_copy(frame, &cursor, buffer, bytes);
    if (bytes < E1000_MIN_FRAME) { /* not with what another frame left there */
        memset(buffer + bytes, 0, E1000_MIN_FRAME - bytes);
        bytes = E1000_MIN_FRAME;
    }
    descriptor->length = (uint16_t)bytes;
    descriptor->checksum_offset = descriptor->checksum_start = 0;
    descriptor->special = 0;
    descriptor->command = E1000_TX_EOP | E1000_TX_FCS | E1000_TX_RS;
    descriptor->status = 0;
    card->tx_next = (card->tx_next + 1) % E1000_RING;
    barrier();
    write32(card, E1000_TDT, card->tx_next);
    return true;
}
