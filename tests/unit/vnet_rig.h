/* A guest's network card with its driver's rings, at a network whose other port keeps what it gets. After
 * cmocka.h. */
#pragma once

#include "devices/vnet.h"
#include "tests/unit/net_rig.h"
#include "tests/unit/virtio_rig.h"

#define DATA   0x200000u /* behind all rings */
#define HEADER sizeof(struct virtio_net_hdr)
#define ALL                                                                                                  \
    (VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_MRG_RXBUF |        \
     VIRTIO_NET_F_GUEST_OFFLOADS | VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_STATUS)

static struct vnet vnet;
static struct net_port *port;
static struct rig_port *peer;
static unsigned control = VNET_CONTROL(1); /* the queue for command() */

/* Addresses end in 1, the card's, and 2. */
static inline void begin(uint64_t rate, unsigned pairs)
{
    struct network *network;
    struct net_port_config config = rig_config(1), other = rig_config(2);

    rig_init();
    host_tsc = HOST_TSC_HZ;
    network = rig_network(1500, 0);
    config.rate = rate;
    assert_int_equal(net_add_port(network, &config, &port), 0);
    peer = rig_add(network, &other, NET_TAKES_CSUM | NET_TAKES_TCP4);
    vnet_init(&vnet, &mem, &apics, &board.queue, port, pairs);
    rig_attach(&vnet.virtio);
}

static inline int teardown(void **state)
{
    (void)state;
    net_close(port);
    free(peer);
    host_gmem_free(&mem);
    return 0;
}

/* A frame of ours, or to us, behind a header; returns the bytes of both. */
static inline uint32_t make(uint8_t *at, unsigned from, unsigned to, uint32_t payload)
{
    memset(at, 0, HEADER);
    memcpy(at + HEADER, (uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)to, 2, 0, 0, 0, 0, (uint8_t)from, 0x88, 0xb5 },
           14);
    for (uint32_t i = 0; i < payload; i++)
        at[HEADER + 14 + i] = (uint8_t)(i * 3);
    return HEADER + 14 + payload;
}

/* Sends what lies at DATA, in buffers of `piece` bytes. */
static inline void send_pieces_on(unsigned pair, uint32_t bytes, uint32_t piece)
{
    struct virtq_buffer b[64];
    unsigned n = 0;
    uint16_t id;
    uint32_t length;

    for (uint32_t at = 0; at < bytes; at += piece)
        b[n++] = (struct virtq_buffer){ DATA + at, (uint32_t)min_u64(piece, bytes - at), false };
    virtq_add(&q[VNET_SEND(pair)], b, n);
    kick(VNET_SEND(pair));
    assert_true(virtq_get(&q[VNET_SEND(pair)], &id, &length));
    assert_int_equal(length, 0);
}

static inline void send_pieces(uint32_t bytes, uint32_t piece)
{
    send_pieces_on(0, bytes, piece);
}

static inline void give_to(unsigned pair, uint64_t at, uint32_t bytes)
{
    virtq_add(&q[VNET_RECEIVE(pair)], &(struct virtq_buffer){ at, bytes, true }, 1);
    kick(VNET_RECEIVE(pair));
}

static inline void give(uint64_t at, uint32_t bytes)
{
    give_to(0, at, bytes);
}

/* From the peer: `bytes` in all, header included. Returns whether it was received. */
static inline bool from_peer(uint32_t payload)
{
    static uint8_t text[NET_FRAME_MAX + HEADER];
    uint64_t before = port->counts.received;

    make(text, 2, 1, payload);
    assert_int_equal(rig_send(peer, text + HEADER, 14 + payload), 0);
    return port->counts.received != before;
}

/* Returns the answer. */
static inline uint8_t command(uint8_t class, uint8_t what, const void *data, uint32_t bytes)
{
    uint8_t *at = gmem_ptr(&mem, gpa(DATA), 1);
    struct virtq_buffer b[3] = { { DATA, 2, false }, { DATA + 2, bytes, false }, { DATA + 64, 1, true } };
    uint16_t id;
    uint32_t length;

    at[0] = class;
    at[1] = what;
    memcpy(at + 2, data, bytes);
    at[64] = 0xaa;
    virtq_add(&q[control], b, 3);
    kick(control);
    assert_true(virtq_get(&q[control], &id, &length));
    assert_int_equal(length, 1);
    return at[64];
}
