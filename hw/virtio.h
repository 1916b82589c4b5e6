/*
 * Virtio as the wire has it: features, rings, the PCI transport. Source: OASIS Virtual I/O Device (VIRTIO)
 * Version 1.2; section numbers are its. All fields are little endian.
 */
#pragma once

#include "lib/types.h"

/* 2.1: device status. */
#define VIRTIO_ACKNOWLEDGE 0x01u
#define VIRTIO_DRIVER      0x02u
#define VIRTIO_DRIVER_OK   0x04u
#define VIRTIO_FEATURES_OK 0x08u
#define VIRTIO_NEEDS_RESET 0x40u
#define VIRTIO_FAILED      0x80u

/* 6: features that do not depend on the kind of device. */
#define VIRTIO_F_INDIRECT   BIT(28)
#define VIRTIO_F_EVENT_IDX  BIT(29)
#define VIRTIO_F_VERSION_1  BIT(32)
#define VIRTIO_F_PACKED     BIT(34)
#define VIRTIO_F_RING_RESET BIT(40)

/* 5: kinds of devices. */
#define VIRTIO_ID_NET     1
#define VIRTIO_ID_BLOCK   2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_ENTROPY 4
#define VIRTIO_ID_BALLOON 5

/* --- Rings ------------------------------------------------------------------------------------------------
 */

/* 2.7.5: a descriptor of a split ring. */
struct virtq_desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};
static_assert(sizeof(struct virtq_desc) == 16, "2.7.5");

/* 2.8.13: one of a packed ring; written by both sides. */
struct virtq_packed_desc {
    uint64_t address;
    uint32_t length;
    uint16_t id;
    uint16_t flags;
};
static_assert(sizeof(struct virtq_packed_desc) == 16, "2.8.13");

#define VIRTQ_DESC_NEXT     0x0001u
#define VIRTQ_DESC_WRITE    0x0002u
#define VIRTQ_DESC_INDIRECT 0x0004u
#define VIRTQ_DESC_AVAIL    0x0080u /* packed only, 2.8.1 */
#define VIRTQ_DESC_USED     0x8000u

/* 2.7.6 and 2.7.8: the split ring's driver and device areas: flags, index, entries, event index. */
#define VIRTQ_FLAGS          0u
#define VIRTQ_INDEX          2u
#define VIRTQ_RING           4u
#define VIRTQ_AVAIL_ENTRY    2u /* bytes */
#define VIRTQ_USED_ENTRY     8u /* le32 id, le32 length */
#define VIRTQ_AVAIL_BYTES(n) (6u + 2u * (n))
#define VIRTQ_USED_BYTES(n)  (6u + 8u * (n))
#define VIRTQ_NO_INTERRUPT   1u /* flags of the driver area */
#define VIRTQ_NO_NOTIFY      1u /* flags of the device area */
#define VIRTQ_SPLIT_MAX      32768u
#define VIRTQ_DESC_ALIGN     16u
#define VIRTQ_AVAIL_ALIGN    2u
#define VIRTQ_USED_ALIGN     4u

/* 2.8.14: the packed ring's event suppression structures: le16 offset and wrap counter, le16 flags. */
#define VIRTQ_EVENT_BYTES   4u
#define VIRTQ_EVENT_OFFSET  0x7fffu
#define VIRTQ_EVENT_WRAP    0x8000u
#define VIRTQ_EVENT_ENABLE  0u
#define VIRTQ_EVENT_DISABLE 1u
#define VIRTQ_EVENT_DESC    2u

/* --- PCI, 4.1 ---------------------------------------------------------------------------------------------
 */

#define VIRTIO_PCI_VENDOR    0x1af4u
#define VIRTIO_PCI_DEVICE(n) (0x1040u + (n))
#define VIRTIO_NO_VECTOR     0xffffu

/* 4.1.2.1: the ids of devices that know both the legacy interface and the modern one. */
#define VIRTIO_PCI_TRANSITIONAL_NET   0x1000u
#define VIRTIO_PCI_TRANSITIONAL_BLOCK 0x1001u

/* 4.1.4: struct virtio_pci_cap in dwords: id, next, length, type; bar, id; offset; length. */
#define VIRTIO_PCI_CAP_VENDOR 0x09u /* PCI's capability id */
#define VIRTIO_PCI_COMMON     1u
#define VIRTIO_PCI_NOTIFY     2u
#define VIRTIO_PCI_ISR        3u
#define VIRTIO_PCI_DEVICE_CFG 4u
#define VIRTIO_PCI_ACCESS     5u

/* 4.1.4.3: struct virtio_pci_common_cfg. */
#define VIRTIO_COMMON_DEVICE_FEATURE_SELECT 0x00
#define VIRTIO_COMMON_DEVICE_FEATURE        0x04
#define VIRTIO_COMMON_DRIVER_FEATURE_SELECT 0x08
#define VIRTIO_COMMON_DRIVER_FEATURE        0x0c
#define VIRTIO_COMMON_CONFIG_VECTOR         0x10 /* 16 bits */
#define VIRTIO_COMMON_NUM_QUEUES            0x12
#define VIRTIO_COMMON_STATUS                0x14 /* 8 bits */
#define VIRTIO_COMMON_GENERATION            0x15
#define VIRTIO_COMMON_QUEUE_SELECT          0x16 /* 16 bits */
#define VIRTIO_COMMON_QUEUE_SIZE            0x18
#define VIRTIO_COMMON_QUEUE_VECTOR          0x1a
#define VIRTIO_COMMON_QUEUE_ENABLE          0x1c
#define VIRTIO_COMMON_QUEUE_NOTIFY_OFF      0x1e
#define VIRTIO_COMMON_QUEUE_DESC            0x20 /* 64 bits, in halves */
#define VIRTIO_COMMON_QUEUE_DRIVER          0x28
#define VIRTIO_COMMON_QUEUE_DEVICE          0x30
#define VIRTIO_COMMON_QUEUE_NOTIFY_DATA     0x38 /* 16 bits */
#define VIRTIO_COMMON_QUEUE_RESET           0x3a
#define VIRTIO_COMMON_SIZE                  0x40

#define VIRTIO_ISR_QUEUE  1u /* 4.1.4.5 */
#define VIRTIO_ISR_CONFIG 2u

/* --- Block device, 5.2 ------------------------------------------------------------------------------------
 */

#define VIRTIO_BLK_F_SIZE_MAX     BIT(1)
#define VIRTIO_BLK_F_SEG_MAX      BIT(2)
#define VIRTIO_BLK_F_RO           BIT(5)
#define VIRTIO_BLK_F_BLK_SIZE     BIT(6)
#define VIRTIO_BLK_F_FLUSH        BIT(9)
#define VIRTIO_BLK_F_TOPOLOGY     BIT(10)
#define VIRTIO_BLK_F_MQ           BIT(12)
#define VIRTIO_BLK_F_DISCARD      BIT(13)
#define VIRTIO_BLK_F_WRITE_ZEROES BIT(14)

/* 5.2.4: struct virtio_blk_config. */
struct virtio_blk_config {
    uint64_t capacity; /* sectors of 512 bytes */
    uint32_t size_max;
    uint32_t seg_max;
    uint32_t geometry;
    uint32_t blk_size;
    uint8_t physical_block_exp;
    uint8_t alignment_offset;
    uint16_t min_io_size; /* logical blocks */
    uint32_t opt_io_size;
    uint8_t writeback;
    uint8_t unused;
    uint16_t num_queues;
    uint32_t max_discard_sectors;
    uint32_t max_discard_seg;
    uint32_t discard_sector_alignment;
    uint32_t max_write_zeroes_sectors;
    uint32_t max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused_1[3];
} __packed;
static_assert(sizeof(struct virtio_blk_config) == 60, "5.2.4");

/* 5.2.6: what a request begins with. */
struct virtio_blk_header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};

#define VIRTIO_BLK_T_IN           0u
#define VIRTIO_BLK_T_OUT          1u
#define VIRTIO_BLK_T_FLUSH        4u
#define VIRTIO_BLK_T_GET_ID       8u
#define VIRTIO_BLK_T_DISCARD      11u
#define VIRTIO_BLK_T_WRITE_ZEROES 13u

#define VIRTIO_BLK_ID_BYTES 20u

/* A range of DISCARD and WRITE_ZEROES. */
struct virtio_blk_range {
    uint64_t sector;
    uint32_t sectors;
    uint32_t flags;
};
#define VIRTIO_BLK_RANGE_UNMAP 1u

#define VIRTIO_BLK_S_OK     0u
#define VIRTIO_BLK_S_IOERR  1u
#define VIRTIO_BLK_S_UNSUPP 2u
