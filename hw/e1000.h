/*
 * Intel's 8254x and 82574 network controllers: registers and legacy descriptors. Source: PCI/PCI-X Family of
 * Gigabit Ethernet Controllers Software Developer's Manual (317453-005), chapters 3 and 13; 82574L datasheet,
 * chapter 10.
 */
#pragma once

#include "lib/types.h"

#define E1000_VENDOR  0x8086
#define E1000_82540EM 0x100e
#define E1000_82574L  0x10d3

/* --- Registers: offsets in BAR 0 --- */
#define E1000_SIZE     0x20000
#define E1000_CTRL     0x0000
#define E1000_STATUS   0x0008
#define E1000_EERD     0x0014 /* 8254x: reads a word of the EEPROM */
#define E1000_ICR      0x00c0 /* causes; reading clears them */
#define E1000_ITR      0x00c4 /* least time between two interrupts, in 256 ns */
#define E1000_ICS      0x00c8 /* sets causes */
#define E1000_IMS      0x00d0 /* sets bits of the mask */
#define E1000_IMC      0x00d8 /* clears them */
#define E1000_RCTL     0x0100
#define E1000_TCTL     0x0400
#define E1000_TIPG     0x0410
#define E1000_RDBAL    0x2800
#define E1000_RDBAH    0x2804
#define E1000_RDLEN    0x2808 /* bytes, a multiple of 128 */
#define E1000_RDH      0x2810
#define E1000_RDT      0x2818 /* the first descriptor that is not the card's */
#define E1000_RDTR     0x2820
#define E1000_TDBAL    0x3800
#define E1000_TDBAH    0x3804
#define E1000_TDLEN    0x3808
#define E1000_TDH      0x3810
#define E1000_TDT      0x3818
#define E1000_MTA(n)   (0x5200u + 4u * (n)) /* of 128: multicast addresses, by hash */
#define E1000_MTA_SIZE 128
#define E1000_RAL0     0x5400 /* its own address */
#define E1000_RAH0     0x5404

#define E1000_CTRL_LRST    BIT(3) /* 8254x; reserved in the 82574 */
#define E1000_CTRL_ASDE    BIT(5) /* speed is that of the PHY */
#define E1000_CTRL_SLU     BIT(6) /* set link up */
#define E1000_CTRL_ILOS    BIT(7) /* invert loss of signal */
#define E1000_CTRL_RST     BIT(26)
#define E1000_CTRL_VME     BIT(30) /* take VLAN tags off */
#define E1000_CTRL_PHY_RST BIT(31)

#define E1000_STATUS_LU       BIT(1)                   /* link up */
#define E1000_STATUS_SPEED(w) ((uint32_t)(w) >> 6 & 3) /* 0: 10, 1: 100, 2 and 3: 1000 Mbit/s */

#define E1000_EERD_START   BIT(0)
#define E1000_EERD_DONE    BIT(4)
#define E1000_EERD_WORD(n) ((uint32_t)(n) << 8) /* the first three are the address */
#define E1000_EERD_DATA(w) ((uint16_t)((uint32_t)(w) >> 16))

#define E1000_INT_LSC    BIT(2) /* link status has changed */
#define E1000_INT_RXDMT0 BIT(4) /* few descriptors are left */
#define E1000_INT_RXO    BIT(6) /* overrun */
#define E1000_INT_RXT0   BIT(7) /* frames were received */

#define E1000_RCTL_EN  BIT(1)
#define E1000_RCTL_UPE BIT(3)  /* all unicast frames */
#define E1000_RCTL_MPE BIT(4)  /* all multicast frames */
#define E1000_RCTL_LPE BIT(5)  /* frames longer than 1522 bytes, in several buffers */
#define E1000_RCTL_BAM BIT(15) /* broadcasts */
#define E1000_RCTL_SECRC                                                                                     \
    BIT(26) /* without checksum (FCS); buffers have 2048 bytes if BSIZE and BSEX are 0                       \
             */

#define E1000_TCTL_EN   BIT(1)
#define E1000_TCTL_PSP  BIT(3)                 /* pad short frames */
#define E1000_TCTL_CT   (UINT32_C(0x0f) << 4)  /* as recommended, */
#define E1000_TCTL_COLD (UINT32_C(0x40) << 12) /* for full duplex */

#define E1000_TIPG_COPPER (10 | 8 << 10 | 6 << 20) /* 8254x; what the 82574 has after a reset is right */

#define E1000_RAH_VALID BIT(31)

/* --- Descriptors --- */

#define E1000_BUFFER 2048

struct e1000_rx_descriptor {
    uint64_t address;
    uint16_t length;
    uint16_t checksum;
    uint8_t status;
    uint8_t errors;
    uint16_t special;
};

struct e1000_tx_descriptor {
    uint64_t address;
    uint16_t length;
    uint8_t checksum_offset;
    uint8_t command;
    uint8_t status;
    uint8_t checksum_start;
    uint16_t special;
};

static_assert(sizeof(struct e1000_rx_descriptor) == 16 && sizeof(struct e1000_tx_descriptor) == 16,
              "3.2.3, 3.3.3");

#define E1000_DONE   0x01u /* status: the card is done with it */
#define E1000_RX_EOP 0x02u /* status: the frame ends here */
#define E1000_TX_EOP 0x01u /* command: the same */
#define E1000_TX_FCS 0x02u /* command: append the checksum */
#define E1000_TX_RS  0x08u /* command: report the status */
