/*
 * Which pair of queues a network card's frames belong to (OASIS virtio 1.2, section 5.1.6.5.6, automatic
 * receive steering): what is received of a flow goes to the pair on which the flow was last sent.
 *
 * A flow is known by a number of 8 bits only, so some share an entry: all that follows is that a frame comes
 * by another queue than the driver would like. Frames are a guest's, and may say anything of themselves.
 */
#pragma once

#include "io/net.h"

#define VNET_FLOWS 256

/* All zeroes: nothing was sent. Any CPU, no lock. */
struct vnet_steer {
    uint8_t pair[VNET_FLOWS]; /* + 1; 0: of this flow nothing was sent. Atomic */
};

void vnet_steer_reset(struct vnet_steer *steer);

/* A frame is about to be sent, and has not been given to net_send(). pair < 255. */
void vnet_steer_sent(struct vnet_steer *steer, const struct net_frame *frame, unsigned pair);

/* The pair, of the first `pairs` (1 or more), that is to receive it. Until a flow is sent it is always the
 * same. */
unsigned vnet_steer_receiver(const struct vnet_steer *steer, const struct net_frame *frame,
                             unsigned pairs) __must_check;
