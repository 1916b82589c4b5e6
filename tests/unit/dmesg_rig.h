/*
 * A guest that looks like a Linux kernel to guests/linux_dmesg.c: the VMCOREINFO page, page tables and a
 * printk ring, at physical 1 MiB to 1.25 MiB, the kernel mapped there.
 */
#pragma once

#include <stdio.h>
#include <string.h>
#include "guests/linux_dmesg.h"
#include "tests/unit/host/host.h"

#define RIG_MEMORY     (4 * MiB)
#define RIG_BASE       UINT64_C(0x100000) /* all of the rig, RIG_SIZE bytes */
#define RIG_SIZE       0x40000
#define RIG_NOTE       (RIG_BASE + 0x0000)
#define RIG_PML4       (RIG_BASE + 0x1000)
#define RIG_PDPT       (RIG_BASE + 0x2000)
#define RIG_PD         (RIG_BASE + 0x3000)
#define RIG_PRB        (RIG_BASE + 0x4000) /* the pointer, and the structure behind it */
#define RIG_DESCS      (RIG_BASE + 0x5000)
#define RIG_INFOS      (RIG_BASE + 0x6000)
#define RIG_DATA       (RIG_BASE + 0x10000)
#define RIG_COUNT_BITS 4
#define RIG_SIZE_BITS  9
#define RIG_ID_MASK    (BIT(62) - 1)
#define RIG_OFFSET     UINT64_C(0x15e00000)
#define RIG_VIRTUAL    (UINT64_C(0xffffffff80000000) + RIG_OFFSET) /* of physical 0 */

struct rig_desc {
    uint64_t state, begin, next;
};

struct rig_info {
    uint64_t seq, ts_nsec;
    uint16_t text_len;
    uint8_t rest[70];
};

/* The order of the members in the kernel's structures, but with offsets that the text has to tell. */
struct rig_prb {
    uint32_t count_bits, pad;
    uint64_t descs, infos, head_id, tail_id, reserved;
    uint32_t size_bits, pad2;
    uint64_t data, head_lpos, tail_lpos;
};

static inline void *rig_at(struct gmem *mem, uint64_t at)
{
    return gmem_ptr(mem, gpa(at), 1);
}

static inline void rig_note(struct gmem *mem)
{
    snprintf(
        rig_at(mem, RIG_NOTE), PAGE_SIZE,
        "OSRELEASE=6.1.0-rig\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=%llx\nSYMBOL(prb)=%llx\n"
        "OFFSET(printk_ringbuffer.desc_ring)=0\nOFFSET(printk_ringbuffer.text_data_ring)=48\n"
        "OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\n"
        "OFFSET(prb_desc_ring.head_id)=24\nOFFSET(prb_desc_ring.tail_id)=32\nSIZE(prb_desc)=24\n"
        "OFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\n"
        "OFFSET(prb_data_blk_lpos.begin)=0\nOFFSET(prb_data_blk_lpos.next)=8\nSIZE(printk_info)=88\n"
        "OFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\n"
        "OFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\n"
        "NUMBER(phys_base)=-%llu\nKERNELOFFSET=%llx\n",
        (unsigned long long)(RIG_PML4 + RIG_VIRTUAL), (unsigned long long)(RIG_PRB + RIG_VIRTUAL),
        (unsigned long long)RIG_OFFSET, (unsigned long long)RIG_OFFSET);
}

static inline struct rig_prb *rig_prb(struct gmem *mem)
{
    return (struct rig_prb *)((uint8_t *)rig_at(mem, RIG_PRB) + 16);
}

/* One record, as printk makes it; positions go on for ever. */
static inline void rig_print(struct gmem *mem, uint64_t ns, const char *text)
{
    struct rig_prb *prb = rig_prb(mem);
    uint64_t id = prb->head_id = (prb->head_id + 1) & RIG_ID_MASK, index = id % BIT(RIG_COUNT_BITS),
             size = align_up(8 + strlen(text), 8);
    struct rig_desc *desc = (struct rig_desc *)rig_at(mem, RIG_DESCS) + index;
    struct rig_info *info = (struct rig_info *)((uint8_t *)rig_at(mem, RIG_INFOS) + index * 88);
    uint64_t begin = prb->head_lpos, next = begin + size, at = begin % BIT(RIG_SIZE_BITS);

    if (begin >> RIG_SIZE_BITS != next >> RIG_SIZE_BITS) { /* it goes to the start */
        next = align_down(next, BIT(RIG_SIZE_BITS)) + size;
        at = 0;
    }
    if (((id - prb->tail_id) & RIG_ID_MASK) >= BIT(RIG_COUNT_BITS))
        prb->tail_id = (id - BIT(RIG_COUNT_BITS) + 1) & RIG_ID_MASK;
    *desc = (struct rig_desc){ id | UINT64_C(2) << 62, begin, next };
    info->ts_nsec = ns;
    info->text_len = (uint16_t)strlen(text);
    memcpy((uint8_t *)rig_at(mem, RIG_DATA) + at, &id, 8);
    memcpy((uint8_t *)rig_at(mem, RIG_DATA) + at + 8, text, strlen(text));
    prb->head_lpos = next;
}

static inline void rig_init(struct gmem *mem)
{
    uint64_t *pml4, *pdpt, *pd;

    host_gmem_init(mem, RIG_MEMORY);
    rig_note(mem);
    pml4 = rig_at(mem, RIG_PML4);
    pdpt = rig_at(mem, RIG_PDPT);
    pd = rig_at(mem, RIG_PD);
    pml4[511] = RIG_PDPT | 3;
    pdpt[510] = RIG_PD | 3;
    pd[RIG_OFFSET >> 21] = 0x83; /* 4 MiB from physical 0 on, 2 MiB pages */
    pd[(RIG_OFFSET >> 21) + 1] = 0x83 | PAGE_2M;
    *(uint64_t *)rig_at(mem, RIG_PRB) = RIG_PRB + 16 + RIG_VIRTUAL;
    *rig_prb(mem) = (struct rig_prb){ .count_bits = RIG_COUNT_BITS,
                                      .descs = RIG_DESCS + RIG_VIRTUAL,
                                      .infos = RIG_INFOS + RIG_VIRTUAL,
                                      .head_id = RIG_ID_MASK - 15,
                                      .tail_id = RIG_ID_MASK - 14,
                                      .size_bits = RIG_SIZE_BITS,
                                      .data = RIG_DATA + RIG_VIRTUAL,
                                      .head_lpos = 0 };
}
