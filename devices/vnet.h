/*
 * virtio's network device (OASIS virtio 1.2, section 5.1) at a port of a network (io/net.h): one queue to
 * receive, one to send, and the control queue.
 *
 * A frame is sent while the driver rings the doorbell: the switch calls the receiving device, which copies it
 * from the sender's buffers to its own guest's. Offloads go uncut to whoever takes them. The receiver is
 * called on the sender's CPU with neither VM's vm.devices, so it touches its queue only, under that one's
 * lock.
 */
#pragma once

#include "devices/vvirtio.h"
#include "hw/virtio_net.h"
#include "io/net.h"
#include "kernel/timer.h"

#define VNET_SLOT       4 /* of a VM's first card; the others follow */
#define VNET_QUEUE_SIZE 256

enum vnet_queue { VNET_RECEIVE, VNET_SEND, VNET_CONTROL, VNET_QUEUES };

struct vnet_state {
    struct vvirtio_state virtio;
    uint64_t offloads; /* VIRTIO_NET_F_GUEST_ bits that the driver wants on now; 0 before DRIVER_OK */
};

struct vnet {
    struct vvirtio virtio;
    struct virtio_net_config config;
    struct net_port *port;
    uint64_t offloads;
    struct timer again; /* sends what the port's rate, or a turn's length, has put off */
};

/*
 * `port` is the device's alone, and closed. The card's address and MTU are the port's and its network's. All
 * calls belong to the holder of vm.devices; `queue` is the caller's CPU's.
 */
void vnet_init(struct vnet *vnet, const struct gmem *mem, struct vlapic_bus *bus, struct timer_queue *queue,
               struct net_port *port);
/* No frame reaches the guest's memory any more; see vvirtio_reset(), but nothing stays in flight. */
void vnet_reset(struct vnet *vnet);

/* The cable: the driver is told. */
void vnet_set_link(struct vnet *vnet, bool up);

void vnet_save(struct vnet *vnet, struct vnet_state *out);
int vnet_check(const struct vnet *vnet, const struct vnet_state *state) __must_check;
void vnet_load(struct vnet *vnet, const struct vnet_state *state);

/* Puts it on the bus as the VM's `card`-th, before vpci_attach(); errors are those of vpci_add(). */
int vnet_attach(struct vnet *vnet, struct vpci *pci, unsigned card) __must_check;
