/*
 * virtio's network device (OASIS virtio 1.2, section 5.1) at a port of a network (io/net.h): pairs of a
 * queue to receive and one to send, and the control queue. A driver that knows of several pairs has a pair
 * for each of its CPUs, up to VNET_MAX_PAIRS; vnet_steer.h says which one a frame is received by.
 *
 * A frame is sent while the driver rings the doorbell: the switch calls the receiving device, which copies it
 * from the sender's buffers to its own guest's. Offloads go uncut to whoever takes them. The receiver is
 * called on the sender's CPU without its own VM's vm.devices, so it touches one of its queues only, under
 * that one's lock. Order: vm.devices of the sender, its queue's lock, the port's, the receiving queue's.
 */
#pragma once

#include "devices/vnet_steer.h"
#include "devices/vvirtio.h"
#include "hw/virtio_net.h"
#include "io/net.h"
#include "kernel/timer.h"

#define VNET_SLOT       4 /* of a VM's first card; the others follow */
#define VNET_QUEUE_SIZE 256
#define VNET_MAX_PAIRS  4

/* Queues, 5.1.2. The control queue stands behind all pairs with VIRTIO_NET_F_MQ, else behind the first. */
#define VNET_RECEIVE(pair)  (2 * (pair))
#define VNET_SEND(pair)     (2 * (pair) + 1)
#define VNET_CONTROL(pairs) (2 * (pairs))
#define VNET_QUEUES(pairs)  (2 * (pairs) + 1)
static_assert(VNET_QUEUES(VNET_MAX_PAIRS) <= VVIRTIO_MAX_QUEUES, "they are the device's");

struct vnet_state {
    struct vvirtio_state virtio;
    uint64_t offloads; /* VIRTIO_NET_F_GUEST_ bits that the driver wants on now; 0 before DRIVER_OK */
    uint64_t pairs;    /* that receive: 1 before the driver says otherwise */
};

/* Of a pair: sends what the port's rate, or a turn's length, has put off. Under the sending queue's lock. */
struct vnet_sender {
    struct timer again;
    struct vnet *vnet;
};

struct vnet {
    struct vvirtio virtio;
    struct virtio_net_config config;
    struct net_port *port;
    uint64_t offloads;
    unsigned pairs; /* as in the state; changed by the holder of vm.devices while nothing is received */
    struct vnet_steer steer;
    struct vnet_sender sender[VNET_MAX_PAIRS];
};

/*
 * `port` is the device's alone, and closed. The card's address and MTU are the port's and its network's. It
 * has `pairs` of queues, 1 to VNET_MAX_PAIRS. All calls belong to the holder of vm.devices; `queue` is the
 * caller's CPU's.
 */
void vnet_init(struct vnet *vnet, const struct gmem *mem, struct vlapic_bus *bus, struct timer_queue *queue,
               struct net_port *port, unsigned pairs);
/* No frame reaches the guest's memory any more; see vvirtio_reset(), but nothing stays in flight. */
void vnet_reset(struct vnet *vnet);

/* The cable: the driver is told. */
void vnet_set_link(struct vnet *vnet, bool up);

void vnet_save(struct vnet *vnet, struct vnet_state *out);
int vnet_check(const struct vnet *vnet, const struct vnet_state *state) __must_check;
void vnet_load(struct vnet *vnet, const struct vnet_state *state);

/* Puts it on the bus as the VM's `card`-th, before vpci_attach(); errors are those of vpci_add(). */
int vnet_attach(struct vnet *vnet, struct vpci *pci, unsigned card) __must_check;
