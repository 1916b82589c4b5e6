/*
 * ATA disks: registers, commands, and what IDENTIFY DEVICE answers; and the bus master of an IDE controller.
 * Sources: ATA/ATAPI Command Set 3 (ACS-3), ATA/ATAPI-7 volume 2 (parallel transport), "Programming Interface
 * for Bus Master IDE Controller" 1.0.
 */
#pragma once

#include "lib/types.h"

#define ATA_SECTOR   512u
#define ATA_IDENTIFY 512u /* bytes of the answer: 256 words */

/* --- Registers of the command block (ATA/ATAPI-7, 7): offsets from its port. All but DATA have 8 bits; of a
 * 48-bit address and count, the upper half is written first. --- */
#define ATA_DATA    0
#define ATA_FEATURE 1 /* read: error */
#define ATA_COUNT   2
#define ATA_LBA_LOW 3
#define ATA_LBA_MID 4
#define ATA_LBA_HI  5
#define ATA_DEVICE  6
#define ATA_COMMAND 7 /* read: status, which also ends the interrupt */

/* The control block's port: write device control, read the status and leave the interrupt alone. */
#define ATA_CONTROL_NIEN  0x02 /* no interrupts */
#define ATA_CONTROL_RESET 0x04 /* SRST */

#define ATA_STATUS_ERROR 0x01
#define ATA_STATUS_DRQ   0x08
#define ATA_STATUS_FAULT 0x20
#define ATA_STATUS_READY 0x40
#define ATA_STATUS_BUSY  0x80
#define ATA_STATUS_NONE  0xff /* nobody drives the lines */

#define ATA_DEVICE_LBA    0x40
#define ATA_DEVICE_SECOND 0x10
#define ATA_DEVICE_OLD    0xa0 /* set by old software, obsolete since */

/* What a packet device leaves in LBA_MID and LBA_HI (ACS-3, signatures) */
#define ATA_ATAPI_MID 0x14
#define ATA_ATAPI_HI  0xeb

/* Legacy places of the two channels, where they are not in native mode */
#define ATA_PRIMARY           0x1f0
#define ATA_PRIMARY_CONTROL   0x3f6
#define ATA_PRIMARY_IRQ       14
#define ATA_SECONDARY         0x170
#define ATA_SECONDARY_CONTROL 0x376
#define ATA_SECONDARY_IRQ     15

/* --- Commands (ACS-3, 7) --- */
#define ATA_DATASET       0x06 /* DATA SET MANAGEMENT: ranges of 8 bytes, address 47:0 and count 63:48 */
#define ATA_DATASET_TRIM  0x01 /* in the feature register */
#define ATA_READ_DMA_EXT  0x25
#define ATA_WRITE_DMA_EXT 0x35
#define ATA_READ_DMA      0xc8
#define ATA_WRITE_DMA     0xca
#define ATA_FLUSH         0xe7
#define ATA_FLUSH_EXT     0xea
#define ATA_IDENTIFY_DISK 0xec

/* --- IDENTIFY DEVICE (ACS-3, 7.12.7): word numbers --- */
#define ATA_ID_GENERAL   0 /* bit 15: no ATA device */
#define ATA_ID_SERIAL    10
#define ATA_ID_MODEL     27
#define ATA_ID_ABLE      49  /* bit 8: DMA, bit 9: LBA */
#define ATA_ID_SECTORS   60  /* and 61: addressable with 28 bits */
#define ATA_ID_COMMANDS  83  /* valid if 15:14 are 01; bit 10: 48-bit addresses, 12: FLUSH, 13: FLUSH EXT */
#define ATA_ID_SECTORS48 100 /* to 103 */
#define ATA_ID_BLOCKS                                                                                        \
    106 /* valid if 15:14 are 01; bit 12: 117 counts, bit 13: 2^3:0 logical to a physical                    \
         */
#define ATA_ID_BLOCK    117 /* and 118: words of a logical sector */
#define ATA_ID_DATASET  169 /* bit 0: TRIM */
#define ATA_ID_VALID(w) (((w)&0xc000u) == 0x4000u)

/* --- Bus master (1.0, 2): ports from BAR 4, 8 for each channel --- */
#define ATA_BM_COMMAND 0
#define ATA_BM_STATUS  2
#define ATA_BM_TABLE   4
#define ATA_BM_PORTS   8u

#define ATA_BM_START     0x01
#define ATA_BM_TO_MEMORY 0x08
#define ATA_BM_ACTIVE    0x01
#define ATA_BM_ERROR     0x02 /* this and the next are cleared by writing 1 */
#define ATA_BM_INTERRUPT 0x04

/* A region of memory (1.2): even, and it must not cross a border of 64 KiB; 0 bytes are 64 KiB. */
struct ata_region {
    uint32_t at;
    uint16_t bytes, last; /* last: ATA_REGION_LAST in the last one */
};

#define ATA_REGION_LAST   0x8000u
#define ATA_REGION_BORDER UINT64_C(0x10000)

/* Interface of a PCI IDE controller: which channels are in native mode, and whether it is a bus master */
#define ATA_INTERFACE_NATIVE(channel) (1u << (2 * (channel)))
#define ATA_INTERFACE_MASTER          0x80u
