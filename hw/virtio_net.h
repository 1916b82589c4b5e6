/* Virtio's network device as the wire has it. Source: OASIS virtio 1.2, section 5.1. */
#pragma once

#include "lib/types.h"

/* 5.1.3: features. */
#define VIRTIO_NET_F_CSUM           BIT(0) /* the device takes frames whose checksum is to be completed */
#define VIRTIO_NET_F_GUEST_CSUM     BIT(1) /* the driver does */
#define VIRTIO_NET_F_GUEST_OFFLOADS BIT(2)
#define VIRTIO_NET_F_MTU            BIT(3)
#define VIRTIO_NET_F_MAC            BIT(5)
#define VIRTIO_NET_F_GUEST_TSO4     BIT(7)
#define VIRTIO_NET_F_GUEST_TSO6     BIT(8)
#define VIRTIO_NET_F_GUEST_ECN      BIT(9)
#define VIRTIO_NET_F_GUEST_UFO      BIT(10)
#define VIRTIO_NET_F_HOST_TSO4      BIT(11)
#define VIRTIO_NET_F_HOST_TSO6      BIT(12)
#define VIRTIO_NET_F_HOST_ECN       BIT(13)
#define VIRTIO_NET_F_HOST_UFO       BIT(14)
#define VIRTIO_NET_F_MRG_RXBUF      BIT(15) /* a frame may take several buffers */
#define VIRTIO_NET_F_STATUS         BIT(16)
#define VIRTIO_NET_F_CTRL_VQ        BIT(17)
#define VIRTIO_NET_F_CTRL_RX        BIT(18)
#define VIRTIO_NET_F_MQ             BIT(22) /* several pairs of queues */

/* 5.1.2: queues, of a device without VIRTIO_NET_F_MQ (BIT(22)). */
#define VIRTIO_NET_QUEUE_RECEIVE  0u
#define VIRTIO_NET_QUEUE_TRANSMIT 1u
#define VIRTIO_NET_QUEUE_CONTROL  2u

/* 5.1.4: configuration. */
#define VIRTIO_NET_S_LINK_UP 1u

struct virtio_net_config {
    uint8_t mac[6];
    uint16_t status;
    uint16_t max_virtqueue_pairs; /* with VIRTIO_NET_F_MQ */
    uint16_t mtu;
};
static_assert(sizeof(struct virtio_net_config) == 12, "5.1.4");

/* 5.1.6: in front of each frame. The numbers of gso_type are those of NET_GSO_ (io/net.h). */
struct virtio_net_hdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers; /* received: how many the frame takes; sent: 0 */
};
static_assert(sizeof(struct virtio_net_hdr) == 12, "5.1.6");

/* 5.1.6.5: a command on the control queue: class, command, data, and one byte of answer. */
#define VIRTIO_NET_OK                 0u
#define VIRTIO_NET_ERR                1u
#define VIRTIO_NET_CTRL_RX            0u /* 5.1.6.5.1: commands 0 to 5, each with one byte, on or off */
#define VIRTIO_NET_CTRL_MAC           1u
#define VIRTIO_NET_CTRL_MAC_TABLE_SET 0u /* 5.1.6.5.2: two lists of addresses to be let through */
#define VIRTIO_NET_CTRL_RX_LAST       5u
#define VIRTIO_NET_CTRL_MQ            4u
#define VIRTIO_NET_CTRL_MQ_PAIRS_SET  0u /* 5.1.6.5.6: le16: the first so many pairs are used */
#define VIRTIO_NET_CTRL_OFFLOADS      5u
#define VIRTIO_NET_CTRL_OFFLOADS_SET  0u /* le64: VIRTIO_NET_F_GUEST_ bits that stay on */
