/*
 * Network cards of a hypervisor below: virtio network devices by modern virtio-pci, with one queue each way
 * and no offloads. As with e1000, a frame is copied into buffers of the driver's; one that comes goes to the
 * network out of its buffers. The device may be wrong or may lie: what it says of buffers is checked against
 * what it was given, and if it cannot be, the device is reset. Source: VIRTIO 1.2, 5.1. Compiles on the host,
 * where a test is the device.
 */
#pragma once

#include "drivers/virtio_device.h"
#include "hw/virtio_net.h"
#include "io/nic.h"
#include "kernel/sched.h"
#include "kernel/timer.h"

#define VIRTIO_NET_RING      256  /* the most entries of a ring; each has a buffer */
#define VIRTIO_NET_BUFFER    2048 /* a longer frame takes several */
#define VIRTIO_NET_BATCH     64   /* frames that are taken in one go */
#define VIRTIO_NET_MIN_FRAME 60   /* without FCS (IEEE 802.3 3.2.8) */

enum virtio_net_state { VIRTIO_NET_STOPPED, VIRTIO_NET_WORKS, VIRTIO_NET_RESETTING, VIRTIO_NET_GIVEN_UP };

struct virtio_net {
    struct nic nic;
    struct virtio_device device;
    enum virtio_net_state state; /* written by the boot CPU */
    const char *wrong;           /* what the device did that cannot be; NULL: nothing */
    struct sched_work work;      /* takes what an interrupt left */
    struct timer timer;
    unsigned rx_vector, config_vector;
    unsigned good_looks, trouble, resets_waited, stuck_looks;
    uint16_t tx_seen; /* tx.seen at the last look */
    /* Receiving: the boot CPU's. Descriptor n is buffer n, always. */
    struct virtio_ring rx;
    uint8_t *rx_memory, *rx_buffers;
    bool rx_given[VIRTIO_NET_RING]; /* it is the device's */
    uint64_t rx_bad;
    /* Sending: for the holder of the port's lock. A frame is a chain of descriptors; each has its buffer. */
    struct virtio_ring tx;
    uint8_t *tx_memory, *tx_buffers;
    unsigned tx_free_count;
    uint16_t tx_free[VIRTIO_NET_RING];
    uint16_t tx_next[VIRTIO_NET_RING];  /* the descriptor behind this one in its chain */
    uint16_t tx_chain[VIRTIO_NET_RING]; /* length of the chain that begins here and is the device's, or 0 */
};

/* Finds the cards. Boot CPU, once. */
void virtio_net_init(void);

/* --- virtio_net_ring.c */

/* Both rings anew, of so many entries, all receive buffers put there; the device, which has been reset, is
 * told nothing. */
void virtio_net_rings(struct virtio_net *card, unsigned rx_size, unsigned tx_size);

/*
 * Gives received frames to the network, VIRTIO_NET_BATCH at most; true: there are more. Boot CPU. Otherwise
 * an interrupt will tell of the next, if the device gives any.
 */
bool virtio_net_receive(struct virtio_net *card);

/* As net_receive says. */
bool virtio_net_transmit(struct net_port *port, const struct net_frame *frame);

/* Takes back what was sent. For the holder of the port's lock. */
void virtio_net_reclaim(struct virtio_net *card);
