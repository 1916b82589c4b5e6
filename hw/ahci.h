/*
 * Registers and structures of an AHCI host bus adapter. Source: Serial ATA AHCI 1.3.1; sections are named.
 * What is in a FIS: Serial ATA 3.2, 10.5.
 */
#pragma once

#include "lib/types.h"

#define AHCI_BAR   5
#define AHCI_PORTS 32
#define AHCI_SLOTS 32
#define AHCI_SIZE  0x1100u /* of the registers, with all ports */

/* --- Generic host control (3.1): byte offsets --- */
#define AHCI_CAP  0x00
#define AHCI_GHC  0x04
#define AHCI_IS   0x08 /* bit n: port n wants attention; cleared by writing 1 */
#define AHCI_PI   0x0c /* bit n: port n is there */
#define AHCI_CAP2 0x24
#define AHCI_BOHC 0x28

#define AHCI_CAP_SLOTS(c)  (((uint32_t)(c) >> 8 & 0x1fu) + 1)
#define AHCI_CAP_STAGGERED BIT(27) /* SSS: a disk spins up when it is told to */
#define AHCI_CAP_64        BIT(31)
#define AHCI_GHC_RESET     BIT(0)
#define AHCI_GHC_IE        BIT(1)
#define AHCI_GHC_AE        BIT(31)
#define AHCI_CAP2_HANDOFF  BIT(0)
#define AHCI_BOHC_BIOS     BIT(0) /* firmware owns it */
#define AHCI_BOHC_OS       BIT(1) /* we want it */
#define AHCI_BOHC_BUSY     BIT(4)

/* --- Port (3.3): byte offsets from AHCI_PORT(n) --- */
#define AHCI_PORT(n)   (0x100u + 0x80u * (n))
#define AHCI_PORT_SIZE 0x80u
#define AHCI_PxCLB     0x00 /* command list; and upper half */
#define AHCI_PxCLBU    0x04
#define AHCI_PxFB      0x08 /* received FISes; and upper half */
#define AHCI_PxFBU     0x0c
#define AHCI_PxIS      0x10 /* cleared by writing 1 */
#define AHCI_PxIE      0x14
#define AHCI_PxCMD     0x18
#define AHCI_PxTFD     0x20 /* the disk's status 7:0 and error 15:8 */
#define AHCI_PxSIG     0x24
#define AHCI_PxSSTS    0x28
#define AHCI_PxSCTL    0x2c
#define AHCI_PxSERR    0x30 /* cleared by writing 1 */
#define AHCI_PxCI      0x38 /* commands that are issued; written 1 to issue, cleared by the HBA */
#define AHCI_GONE      0xffffffffu

/* PxIS and PxIE (3.3.5) */
#define AHCI_INT_FIS       (BIT(0) | BIT(1) | BIT(2) | BIT(3)) /* of a register, PIO, DMA setup, set bits */
#define AHCI_INT_CHANGE    BIT(6)  /* a disk came, or came back; cleared by PxSERR */
#define AHCI_INT_PHY       BIT(22) /* the link went or came; cleared by PxSERR */
#define AHCI_INT_INTERFACE BIT(27)
#define AHCI_INT_BUS_DATA  BIT(28)
#define AHCI_INT_BUS_FATAL BIT(29)
#define AHCI_INT_TASK_FILE BIT(30)
#define AHCI_INT_ERRORS    (AHCI_INT_INTERFACE | AHCI_INT_BUS_DATA | AHCI_INT_BUS_FATAL | AHCI_INT_TASK_FILE)

/* PxCMD (3.3.7) */
#define AHCI_CMD_START    BIT(0)
#define AHCI_CMD_SPIN_UP  BIT(1)
#define AHCI_CMD_POWER    BIT(2)
#define AHCI_CMD_FIS      BIT(4)
#define AHCI_CMD_SLOT(c)  ((uint32_t)(c) >> 8 & 0x1fu) /* which command is being done; while START */
#define AHCI_CMD_FIS_RUNS BIT(14)
#define AHCI_CMD_RUNS     BIT(15)

#define AHCI_SIG_DISK     0x00000101u
#define AHCI_DETECT(s)    ((uint32_t)(s)&0xfu) /* PxSSTS and PxSCTL */
#define AHCI_DETECT_THERE 3u                   /* a device, and the link works */
#define AHCI_SCTL_RESET   1u                   /* COMRESET, as long as it is set */

/* --- Command header (4.2.2) --- */
struct ahci_header {
    uint32_t what;  /* see below; entries of the PRD table 31:16 */
    uint32_t bytes; /* that were transferred; written by the HBA */
    uint64_t table; /* aligned to 128 bytes */
    uint32_t reserved[4];
};

#define AHCI_HEADER_FIS(dwords) (dwords) /* length of the command FIS */
#define AHCI_HEADER_WRITE       BIT(6)
#define AHCI_HEADER_REGIONS(n)  ((uint32_t)(n) << 16)

/* A physical region (4.2.3.3): even address, bytes - 1 in 21:0, bit 0 set. */
struct ahci_region {
    uint64_t at;
    uint32_t reserved, bytes;
};

#define AHCI_TABLE_REGIONS 0x80u /* where they begin in a command table; 0: the command FIS */
#define AHCI_REGION_MAX    (4u << 20)

/* --- The FIS of a command (register, host to device): bytes --- */
#define FIS_TYPE         0
#define FIS_FLAGS        1
#define FIS_COMMAND      2
#define FIS_FEATURE      3
#define FIS_LBA          4 /* 3 bytes */
#define FIS_DEVICE       7
#define FIS_LBA_UP       8 /* 3 bytes */
#define FIS_COUNT        12
#define FIS_COUNT_UP     13
#define FIS_BYTES        20
#define FIS_TYPE_H2D     0x27
#define FIS_FLAG_COMMAND 0x80

static_assert(sizeof(struct ahci_header) == 32, "4.2.2");
static_assert(sizeof(struct ahci_region) == 16, "4.2.3.3");
