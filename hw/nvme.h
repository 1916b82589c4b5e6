/*
 * Registers and structures of an NVMe controller. Source: NVM Express Base Specification 1.4; sections and
 * figures are named.
 */
#pragma once

#include "lib/types.h"

/* --- Registers (3.1): byte offsets in BAR 0 --- */
#define NVME_CAP   0x00 /* 64 bits */
#define NVME_VS    0x08
#define NVME_INTMS 0x0c
#define NVME_INTMC 0x10
#define NVME_CC    0x14
#define NVME_CSTS  0x1c
#define NVME_AQA   0x24
#define NVME_ASQ   0x28 /* 64 bits */
#define NVME_ACQ   0x30 /* 64 bits */
#define NVME_BELLS 0x1000
#define NVME_GONE  0xffffffffu /* what every register of a device that is not there reads as */

/* Doorbells (3.1.24, 3.1.25): tail of submission queue y, head of completion queue y. */
#define NVME_TAIL_BELL(y, stride) (NVME_BELLS + 2 * (y) * (stride))
#define NVME_HEAD_BELL(y, stride) (NVME_BELLS + (2 * (y) + 1) * (stride))

/* CAP (3.1.1) */
#define NVME_CAP_ENTRIES(c)  (((uint32_t)(c)&0xffffu) + 1)   /* of a queue, at most */
#define NVME_CAP_TIMEOUT(c)  ((uint32_t)((c) >> 24) & 0xffu) /* to become ready or not, in units of 500 ms */
#define NVME_CAP_STRIDE(c)   (4u << ((c) >> 32 & 0xfu))      /* bytes from doorbell to doorbell */
#define NVME_CAP_NVM         BIT(37)
#define NVME_CAP_PAGE_MIN(c) ((uint32_t)((c) >> 48) & 0xfu) /* 2^(12 + n) bytes */

/* CC (3.1.5); arbitration round robin, pages of 4 KiB and the NVM command set are all 0. */
#define NVME_CC_ENABLE  BIT(0)
#define NVME_CC_ENTRIES (UINT32_C(6) << 16 | UINT32_C(4) << 20) /* 64 and 16 bytes, as powers of two */

/* CSTS (3.1.6) */
#define NVME_CSTS_READY BIT(0)
#define NVME_CSTS_FATAL BIT(1)

/* --- Commands (4.2, figure 105) --- */
struct nvme_command {
    uint32_t opcode; /* 7:0; 31:16: identifier; PRPs, not fused */
    uint32_t nsid;
    uint32_t reserved[2];
    uint64_t metadata;
    uint64_t prp1, prp2;
    uint32_t dword[6]; /* 10 to 15 */
};

static_assert(sizeof(struct nvme_command) == 64, "figure 105");

/* Completion queue entry (4.6): status is 31:17 of `status`, phase bit 16, command identifier 15:0. */
struct nvme_completion {
    uint32_t result, reserved;
    uint32_t queue; /* submission queue head 15:0, identifier 31:16 */
    uint32_t status;
};

static_assert(sizeof(struct nvme_completion) == 16, "figure 121");

#define NVME_STATUS_PHASE   BIT(16)
#define NVME_STATUS_ID(s)   ((uint32_t)(s)&0xffffu)
#define NVME_STATUS_CODE(s) ((uint32_t)(s) >> 17 & 0x7ffu) /* type 10:8, code 7:0 (4.6.1) */

/* Types and codes that are told apart (figures 126 to 128) */
#define NVME_CODE_PROTECTED 0x020u /* the namespace is write protected */
#define NVME_CODE_RANGE     0x080u /* LBA out of range */
#define NVME_CODE_CAPACITY  0x081u
#define NVME_CODE_READ_ONLY 0x182u /* attempted write to read only range */

/* Admin commands (figure 139) */
#define NVME_ADMIN_CREATE_SQ    0x01u
#define NVME_ADMIN_CREATE_CQ    0x05u
#define NVME_ADMIN_IDENTIFY     0x06u
#define NVME_ADMIN_SET_FEATURES 0x09u

#define NVME_QUEUE_CONTIGUOUS BIT(0) /* dword 11 of both (5.3, 5.4) */
#define NVME_CQ_INTERRUPT     BIT(1)
#define NVME_FEATURE_QUEUES   0x07u /* (5.21.1.7) counts - 1: submission 15:0, completion 31:16 */

#define NVME_IDENTIFY_NAMESPACE  0x00u /* dword 10 (5.15, figure 244) */
#define NVME_IDENTIFY_CONTROLLER 0x01u
#define NVME_IDENTIFY_LIST       0x02u /* active namespaces above nsid: 1024 identifiers, 0 ends them */
#define NVME_IDENTIFY_BYTES      4096u

/* I/O commands (figure 346) */
#define NVME_FLUSH        0x00u
#define NVME_WRITE        0x01u
#define NVME_READ         0x02u
#define NVME_WRITE_ZEROES 0x08u
#define NVME_DATASET      0x09u

#define NVME_BLOCKS_MAX      0x10000u /* dword 12 has the number - 1 in 16 bits (6.9, 6.15, 6.16) */
#define NVME_DATASET_DISCARD BIT(2)   /* dword 11: deallocate (6.7) */

/* A range of a dataset management command (figure 361) */
struct nvme_range {
    uint32_t attributes, blocks;
    uint64_t start;
};

/* --- Identify controller (figure 247): byte offsets --- */
#define NVME_CTRL_SERIAL      4
#define NVME_CTRL_SERIAL_SIZE 20
#define NVME_CTRL_MODEL       24
#define NVME_CTRL_MODEL_SIZE  40
#define NVME_CTRL_MDTS        77  /* largest transfer: 2^n smallest pages; 0: no limit */
#define NVME_CTRL_ONCS        520 /* 16 bits: what optional commands it has */
#define NVME_CTRL_VWC         525 /* bit 0: it has a volatile write cache */
#define NVME_ONCS_DATASET     BIT(2)
#define NVME_ONCS_ZEROES      BIT(3)

/* --- Identify namespace (figure 245): byte offsets --- */
#define NVME_NS_SIZE            0  /* 64 bits, in logical blocks */
#define NVME_NS_FORMAT          26 /* 3:0: which of the formats it has */
#define NVME_NS_ATTRIBUTE       99 /* bit 0: write protected */
#define NVME_NS_FORMATS         128
#define NVME_FORMAT_METADATA(f) ((uint32_t)(f)&0xffffu)       /* bytes for each block */
#define NVME_FORMAT_SHIFT(f)    ((uint32_t)(f) >> 16 & 0xffu) /* a block has 2^n bytes */
