/*
 * A Linux guest's kernel log, found in its memory without symbols: by the page with the VMCOREINFO text,
 * which kernels with CONFIG_CRASH_CORE or CONFIG_VMCORE_INFO (all of Debian's) keep for crash dumps. It names
 * the addresses and layouts that lead to printk's ring buffer
 * (Documentation/admin-guide/kdump/vmcoreinfo.rst, kernel/printk/printk_ringbuffer.c), for Linux 5.10 and
 * later on x86-64. Everything that is read is the guest's and may be anything, and may change meanwhile.
 * Compiles on the host.
 */
#pragma once

#include "lib/types.h"
#include "vmx/gmem.h"
#include "vmx/gva.h"

#define DMESG_LINE_MAX 200

/* What the text says: addresses, sizes and offsets in bytes. */
struct dmesg_layout {
    uint64_t prb, tables, phys_base, kernel_offset;
    uint64_t desc_ring, data_ring;                         /* in printk_ringbuffer */
    uint64_t count_bits, descs, infos, head_id, tail_id;   /* in prb_desc_ring */
    uint64_t desc_size, state_var, text_lpos, begin, next; /* prb_desc and prb_data_blk_lpos */
    uint64_t info_size, ts_nsec, text_len;                 /* printk_info */
    uint64_t size_bits, data;                              /* in prb_data_ring */
};

/* Fields belong to linux_dmesg.c, but for `found`. */
struct linux_dmesg {
    const struct gmem *mem;
    bool found;
    char release[64]; /* "6.1.0-56-cloud-amd64", if found */
    unsigned slot, tries;
    uint64_t at; /* how far the search has come in the slot */
    char note[PAGE_SIZE + 1];
    struct dmesg_layout layout;
    struct gva_mode mode;
    uint64_t descs, infos, data; /* guest linear addresses */
    unsigned count_bits, size_bits;
    uint64_t id, left; /* the next record, and how many there are */
};

void linux_dmesg_init(struct linux_dmesg *dmesg, const struct gmem *mem);

/*
 * One step of the search: looks at the first bytes of at most 512 pages, and at one of them closely. True:
 * there is more to search. False: the end, and dmesg->found says whether there is a log.
 */
bool linux_dmesg_search(struct linux_dmesg *dmesg);

/* If found: reading starts at the last `lines` records, 1024 at most. */
void linux_dmesg_tail(struct linux_dmesg *dmesg, unsigned lines);

/*
 * The next record as one line of printable characters, "[    1.234567] text", cut to the buffer. Its length;
 * 0: there is no more. What is damaged, or being written, is passed over.
 */
size_t linux_dmesg_next(struct linux_dmesg *dmesg, char to[DMESG_LINE_MAX]);
