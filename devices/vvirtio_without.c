#include "devices/vvirtio_without.h"
#include "hw/virtio.h"
#include "hw/virtio_net.h"
#include "lib/errno.h"
#include "lib/string.h"

#define ANY 0u

#define NET_HOST                                                                                             \
    (VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_UFO)
#define NET_GUEST                                                                                            \
    (VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO)

/* With each feature go those that need it: virtio 1.2, 2.2 and 5.1.3.1. */
static const struct {
    const char *name;
    unsigned id;
    uint64_t features;
} table[] = {
    { "packed", ANY, VIRTIO_F_PACKED },
    { "indirect", ANY, VIRTIO_F_INDIRECT },
    { "event-idx", ANY, VIRTIO_F_EVENT_IDX },
    { "ring-reset", ANY, VIRTIO_F_RING_RESET },
    { "net-csum", VIRTIO_ID_NET, VIRTIO_NET_F_CSUM | NET_HOST },
    { "net-guest-csum", VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_CSUM | NET_GUEST | VIRTIO_NET_F_GUEST_OFFLOADS },
    { "net-tso", VIRTIO_ID_NET, NET_HOST | NET_GUEST },
    { "net-mrg-rxbuf", VIRTIO_ID_NET, VIRTIO_NET_F_MRG_RXBUF },
    { "net-ctrl-vq", VIRTIO_ID_NET,
      VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_GUEST_OFFLOADS | VIRTIO_NET_F_MQ },
    { "net-mq", VIRTIO_ID_NET, VIRTIO_NET_F_MQ },
    { "net-status", VIRTIO_ID_NET, VIRTIO_NET_F_STATUS },
    { "net-mtu", VIRTIO_ID_NET, VIRTIO_NET_F_MTU },
    { "blk-mq", VIRTIO_ID_BLOCK, VIRTIO_BLK_F_MQ },
    { "blk-topology", VIRTIO_ID_BLOCK, VIRTIO_BLK_F_TOPOLOGY },
    { "blk-discard", VIRTIO_ID_BLOCK, VIRTIO_BLK_F_DISCARD },
    { "blk-write-zeroes", VIRTIO_ID_BLOCK, VIRTIO_BLK_F_WRITE_ZEROES },
};

const char vvirtio_without_names[] =
    "packed, indirect, event-idx, ring-reset, net-csum, net-guest-csum, net-tso, "
    "net-mrg-rxbuf, net-ctrl-vq, net-mq, net-status, net-mtu, blk-mq, blk-topology, "
    "blk-discard, blk-write-zeroes";

static bool withheld[ARRAY_SIZE(table)];

int vvirtio_without(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        if (strcmp(name, table[i].name) == 0) {
            withheld[i] = true;
            return 0;
        }
    return -ENOENT;
}

uint64_t vvirtio_withheld(unsigned id)
{
    uint64_t features = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        if (withheld[i] && (table[i].id == ANY || table[i].id == id))
            features |= table[i].features;
    return features;
}
