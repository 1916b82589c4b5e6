/*
 * The one page-table walker. A format describes a kind of table (the hypervisor's own, AMD NPT, Intel EPT,
 * IOMMU tables); the walker maps, unmaps, protects and looks up in any of them. Every store changes the
 * translation of any address from its old to its new value in one step: no intermediate state exists in which
 * an address that is mapped before and after an operation is not mapped, or has the permissions of neither.
 * Compiles on the host. Source: AMD APM vol. 2, 5.3 and 15.25; Intel SDM vol. 3, 4.5 and 29.3.
 */
#pragma once

#include "lib/types.h"

/* What a mapping allows. Combined with one memory type. */
#define PTAB_READ      0x01u
#define PTAB_WRITE     0x02u
#define PTAB_EXEC      0x04u
#define PTAB_USER      0x08u
#define PTAB_GLOBAL    0x10u
#define PTAB_WB        0x000u
#define PTAB_WT        0x100u
#define PTAB_UC        0x200u
#define PTAB_WC        0x300u
#define PTAB_TYPE_MASK 0x300u

struct ptab_format {
    const char *name;
    unsigned levels;       /* 4: the root translates address bits 47..39 */
    unsigned large_level;  /* highest level that may hold a leaf: 0 = 4K only, 1 = also 2M, 2 = also 1G */
    uint64_t address_mask; /* the bits of an entry that hold a physical address */
    /* The entry of a leaf at `level` (0 = 4K) for PTAB_ flags, without the address. */
    uint64_t (*leaf)(unsigned level, uint32_t flags);
    /* The entry that points to a lower table, without the address. */
    uint64_t (*table)(void);
    bool (*is_present)(uint64_t entry);
    bool (*is_leaf)(uint64_t entry, unsigned level);
    /* The flags of a leaf: those of leaf()'s that this kind of table can express. */
    uint32_t (*flags)(uint64_t entry, unsigned level);
};

/*
 * Long mode with 4-level paging: the hypervisor's own tables, and with PTAB_USER on every page AMD's nested
 * ones. Accessed and dirty are preset, a leaf can always be read. For a CPU without 1G pages copy it and set
 * large_level to 1. ptab_x86.c
 */
extern const struct ptab_format ptab_x86;

/*
 * Intel's extended page tables with a 4-level walk. A leaf can always be read, accessed and dirty are preset,
 * PTAB_USER and PTAB_GLOBAL have no meaning and are dropped; the guest's PAT is not ignored. The CPU may lack
 * large pages (IA32_VMX_EPT_VPID_CAP): then copy it and lower large_level. ptab_ept.c
 */
extern const struct ptab_format ptab_ept;

/* The IA32_PAT that ptab_x86 counts on: WB, WT, UC-, UC, WC, then WB three times (AMD APM vol. 2, 7.8.1). */
#define PTAB_X86_PAT UINT64_C(0x0606060100070406)

/*
 * Where tables live. alloc gives a zeroed, page-aligned page, or hpa(0) when there is none. free gets a table
 * that no entry refers to any more, but before the caller had a chance to invalidate TLBs: if another CPU may
 * be walking, keep the page until then.
 */
struct ptab_memory {
    hpa_t (*alloc)(void *context);
    void (*free)(void *context, hpa_t table);
    uint64_t *(*pointer)(void *context, hpa_t table);
    /* Every store to a table goes through here, if set (a test records them; an IOMMU flushes caches). */
    void (*store)(void *context, uint64_t *entry, uint64_t value);
    void *context;
};

struct ptab {
    const struct ptab_format *format;
    const struct ptab_memory *memory;
    hpa_t root;
    unsigned tables; /* pages in use, root included */
};

struct ptab_mapping {
    uint64_t address; /* start of the page */
    hpa_t target;     /* its physical address */
    uint64_t size;    /* 4 KiB, 2 MiB or 1 GiB */
    uint32_t flags;   /* PTAB_ */
};

/* Allocates an empty root. -ENOMEM. */
int ptab_init(struct ptab *tab, const struct ptab_format *format,
              const struct ptab_memory *memory) __must_check;

/* Frees every table. No CPU may be using it. */
void ptab_destroy(struct ptab *tab);

/*
 * Addresses are those that the format's levels translate, as such or sign-extended (canonical form).
 *
 * Maps [address, address + size) to target in the largest pages that alignment and format allow, replacing
 * what was there. All three are multiples of 4 KiB. -EINVAL on bad alignment or range; -ENOMEM with the part
 * that was done left in place. The caller invalidates TLBs.
 */
int ptab_map(struct ptab *tab, uint64_t address, hpa_t target, uint64_t size, uint32_t flags) __must_check;

/* Removes whatever is mapped; splits larger pages at the edges. -EINVAL and -ENOMEM as ptab_map(). Frees
 * tables that become empty. */
int ptab_unmap(struct ptab *tab, uint64_t address, uint64_t size) __must_check;

/* Changes the flags of what is mapped, leaves holes alone. */
int ptab_protect(struct ptab *tab, uint64_t address, uint64_t size, uint32_t flags) __must_check;

/* False if `address` is not mapped. */
bool ptab_lookup(const struct ptab *tab, uint64_t address, struct ptab_mapping *out);
