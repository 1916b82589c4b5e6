/*
 * From guest linear to guest physical addresses: the walk that the guest's own CPU would do, with the fault
 * that it would raise. Formats: none (paging off), 32-bit two-level with PSE, PAE, 4-level. Compiles on the
 * host. Source: AMD APM vol. 2, 5.2 to 5.6; Intel SDM vol. 3, 4.1 to 4.8.
 */
#pragma once

#include "lib/types.h"
#include "vmx/gmem.h"

/*
 * Address bits that an entry may use; those above are reserved. The architecture's limit, not this CPU's: a
 * walk here mostly repeats one that the CPU has just done, and must never be the stricter of the two.
 */
#define GVA_MAXPHYADDR 52

/* The registers that decide how a linear address is translated. */
struct gva_mode {
    uint64_t cr0, cr3, cr4, efer;
    uint64_t pdpte[4]; /* PAE without long mode: the PDPTEs as the CPU holds them; used if use_pdpte */
    bool use_pdpte;    /* false: read them from memory at CR3 */
    uint8_t cpl;
    bool rflags_ac; /* for SMAP */
};

#define GVA_WRITE    0x1u /* the access writes */
#define GVA_FETCH    0x2u /* it is an instruction fetch */
#define GVA_IMPLICIT 0x4u /* supervisor access whatever the CPL (descriptor tables) */

/*
 * Translates one address for an access of the given kind (GVA_); sets accessed and dirty bits in guest memory
 * as the CPU does (atomically). 0 with *out set; -EFAULT with *error_code set to the #PF error code (P, W/R,
 * U/S, RSV, I/D); the caller raises #PF with CR2 = address. A faulting access sets no bits. A page-table page
 * outside RAM reads as zero: what hardware reads from an open bus is undefined. Canonical form is the
 * caller's concern; outside long mode the address is cut to 32 bits. Not modelled, as CPUID does not offer
 * them: 57-bit addresses, protection keys, shadow stacks. 1 GiB pages always are.
 */
int gva_translate(const struct gmem *mem, const struct gva_mode *mode, gva_t address, unsigned access,
                  gpa_t *out, uint32_t *error_code) __must_check;

/*
 * PAE's top level as a load of CR3 takes it: four entries, `bits` is the width of physical addresses. -EINVAL
 * if one that is present has reserved bits set. An entry outside of RAM is not present.
 */
int gva_read_pdptes(const struct gmem *mem, uint64_t cr3, unsigned bits, uint64_t pdpte[4]) __must_check;

/*
 * A translation that was found, with what it was found by: the mode, and each entry of the tables. It holds
 * as long as all of them are what they were, which is far cheaper to see than to walk; so it needs no
 * invalidation and is never stale.
 */
struct gva_memo {
    uint64_t page; /* linear address of the page | 1; 0: empty */
    uint64_t cr0, cr3, cr4, efer;
    uint64_t access; /* GVA_, and the CPL above it */
    const uint64_t *slot[4];
    uint64_t entry[4];
    gpa_t target; /* of the page */
};

/* The part of gva_translate_memo() for when the memo does not hold; fills it. */
int gva_translate_anew(const struct gmem *mem, const struct gva_mode *mode, gva_t address, unsigned access,
                       struct gva_memo *memo, gpa_t *out, uint32_t *error_code) __must_check;

/* What decides beside control registers and tables, in one word. */
static inline uint64_t gva_memo_access(const struct gva_mode *mode, unsigned access)
{
    return access | (uint64_t)mode->cpl << 8 | (uint64_t)mode->rflags_ac << 16;
}

static inline uint64_t gva_memo_changed(const struct gva_memo *memo, unsigned level)
{
    return __atomic_load_n(memo->slot[level], __ATOMIC_RELAXED) ^ memo->entry[level];
}

/* As gva_translate(), through a memo that belongs to the caller; a zeroed one is empty. The memory is the
 * memo's own. */
static inline int __must_check gva_translate_memo(const struct gmem *mem, const struct gva_mode *mode,
                                                  gva_t address, unsigned access, struct gva_memo *memo,
                                                  gpa_t *out, uint32_t *error_code)
{
    uint64_t offset = address.raw & PAGE_MASK;

    if (unlikely(memo->page != address.raw - offset + 1 || memo->cr3 != mode->cr3 ||
                 ((memo->cr0 ^ mode->cr0) | (memo->cr4 ^ mode->cr4) | (memo->efer ^ mode->efer) |
                  (memo->access ^ gva_memo_access(mode, access)) | gva_memo_changed(memo, 0) |
                  gva_memo_changed(memo, 1) | gva_memo_changed(memo, 2) | gva_memo_changed(memo, 3))))
        return gva_translate_anew(mem, mode, address, access, memo, out, error_code);
    *out = gpa(memo->target.raw | offset);
    return 0;
}
