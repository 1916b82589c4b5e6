/*
 * A virtio network device that lies to its driver: it gives back any buffers with any lengths in any order,
 * and writes to all memory that it shares with the driver at any time, while frames go both ways. Each buffer
 * stays somebody's, and nothing but what lies in the buffers reaches the network.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "drivers/virtio_net.h"
#include "tests/fuzz/device.h"
#include "tests/unit/net_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct virtio_net card;
static struct network *net;
static struct rig_port *vm;
static volatile uint16_t bell;
static uint64_t passed;

static void make_card(void)
{
    struct net_port_config own = rig_config(1),
                           config = { .name = "uplink", .uplink = true, .many_macs = true };

    net = rig_network(9000, 0);
    vm = rig_add(net, &own, 0);
    card.rx_memory = aligned_alloc(4096, 8192);
    card.tx_memory = aligned_alloc(4096, 8192);
    card.rx_buffers = malloc(VIRTIO_NET_RING * VIRTIO_NET_BUFFER);
    card.tx_buffers = malloc(VIRTIO_NET_RING * VIRTIO_NET_BUFFER);
    card.rx.bell = card.tx.bell = &bell;
    if (net_add_port(net, &config, &card.nic.port))
        abort();
    net_open(card.nic.port, virtio_net_transmit, &card.nic, 0);
    card.nic.link = true;
    card.state = VIRTIO_NET_WORKS;
}

static void begin(unsigned how)
{
    memset(card.rx_buffers, 0, VIRTIO_NET_RING * VIRTIO_NET_BUFFER);
    card.wrong = NULL;
    card.device.features = how & 1 ? VIRTIO_NET_F_MRG_RXBUF : 0;
    virtio_net_rings(&card, 4u << (how >> 1) % 7, 4u << (how >> 4) % 7);
}

/* Whatever the device did: no descriptor is lost, none is there twice. */
static void check_senders(void)
{
    bool seen[VIRTIO_NET_RING] = { false };
    unsigned count = 0;

    for (unsigned i = 0; i < card.tx_free_count; i++, count++) {
        assert(card.tx_free[i] < card.tx.size && !seen[card.tx_free[i]]);
        seen[card.tx_free[i]] = true;
    }
    for (unsigned i = 0; i < card.tx.size; i++) {
        unsigned id = i;

        for (unsigned left = card.tx_chain[i]; left; left--, count++, id = card.tx_next[id]) {
            assert(id < card.tx.size && !seen[id]);
            seen[id] = true;
        }
    }
    assert(count == card.tx.size);
}

/* When nothing is wrong the device has all receive buffers again. */
static void check_receivers(void)
{
    for (unsigned i = 0; i < card.rx.size && !card.wrong; i++)
        assert(card.rx_given[i]);
    assert(card.nic.port->counts.sent >= passed);
    passed = card.nic.port->counts.sent;
}

static void give(struct virtio_ring *ring, struct fuzz_input *input)
{
    volatile struct virtio_used *used = ring->used;
    unsigned id = fuzz_byte(input), bytes = fuzz_bytes(input, 2);

    if (id >= 0xf0)
        id = fuzz_bytes(input, 4);
    used->ring[used->index % ring->size].id = id;
    used->ring[used->index % ring->size].bytes = bytes % 4096 == 4095 ? fuzz_bytes(input, 4) : bytes % 4096;
    used->index++;
}

static void write_header(struct fuzz_input *input)
{
    uint8_t *buffer = card.rx_buffers + fuzz_byte(input) % card.rx.size * VIRTIO_NET_BUFFER;
    struct virtio_net_hdr header = { .num_buffers = (uint16_t)fuzz_byte(input) };

    if (header.num_buffers == 0xff)
        for (unsigned i = 0; i < sizeof(header); i++)
            ((uint8_t *)&header)[i] = fuzz_byte(input);
    memcpy(buffer, &header, sizeof(header));
    memcpy(buffer + sizeof(header), "\2\0\0\0\0\1\2\0\0\0\0\x99\x88\xb5", 14);
}

static void scribble(struct fuzz_input *input)
{
    uint8_t *const at[] = { card.rx_memory, card.tx_memory, card.rx_buffers, card.tx_buffers };

    for (unsigned i = 0; i < 8; i++)
        at[fuzz_byte(input) % 4][fuzz_bytes(input, 2) % 8192] = fuzz_byte(input);
}

static void send(struct fuzz_input *input)
{
    static uint8_t frame[9014] = "\2\0\0\0\0\x99\2\0\0\0\0\1\x88\xb5";

    assert(rig_send(vm, frame, fuzz_bytes(input, 2) % sizeof(frame)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };

    if (!net)
        make_card();
    begin(fuzz_byte(&input));
    while (input.left) {
        switch (fuzz_byte(&input) % 8) {
        case 0:
        case 1:
            give(&card.rx, &input);
            break;
        case 2:
            give(&card.tx, &input);
            break;
        case 3:
            write_header(&input);
            break;
        case 4:
            scribble(&input);
            break;
        case 5:
            send(&input);
            check_senders();
            break;
        case 6:
            virtio_net_receive(&card);
            check_receivers();
            break;
        default:
            if (card.wrong)
                begin(fuzz_byte(&input));
        }
    }
    virtio_net_receive(&card);
    check_receivers();
    virtio_net_reclaim(&card);
    check_senders();
    return 0;
}
