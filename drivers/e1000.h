/*
 * Intel's 82540EM and 82574L, in the way that both have in common: legacy descriptors, one queue each way, no
 * offloads. A frame is copied into buffers of the card's, as many as it takes; one that comes goes to the
 * network out of its buffers. e1000_ring.c compiles on the host.
 */
#pragma once

#include "drivers/pci.h"
#include "hw/e1000.h"
#include "io/nic.h"

#define E1000_RING      256 /* descriptors of a ring: a page */
#define E1000_MIN_FRAME 60  /* without FCS (IEEE 802.3 3.2.8) */
#define E1000_BATCH     64  /* descriptors that one interrupt takes, or a few more */
#define E1000_PARTS     8   /* buffers of a frame: more than the longest one needs */
#define E1000_MTU       9000

struct e1000 {
    struct nic nic;
    struct pci_device pci;
    volatile uint8_t *registers;
    /* Receiving: the boot CPU's. The card writes to descriptors from rx_next on. */
    volatile struct e1000_rx_descriptor *rx;
    uint8_t *rx_buffers;
    unsigned rx_next;
    bool rx_inside; /* a frame that is longer than E1000_PARTS, and so is not taken */
    uint64_t rx_bad;
    /* Sending: for the holder of the port's lock. The card has those from tx_done to tx_next. */
    volatile struct e1000_tx_descriptor *tx;
    uint8_t *tx_buffers;
    unsigned tx_next, tx_done;
};

/* Finds the cards. Boot CPU, once. */
void e1000_init(void);

/* e1000_ring.c */

/* Fills both rings; tells the card nothing. */
void e1000_ring_init(struct e1000 *card, uint64_t rx_buffers, uint64_t tx_buffers);

/* Gives received frames to the network, until it went through `most` descriptors, or a few more; returns how
 * many. */
unsigned e1000_receive(struct e1000 *card, unsigned most);

/* As net_receive says. */
bool e1000_transmit(struct net_port *port, const struct net_frame *frame);
