/*
 * The guest page walk. Each paging mode is a table of levels; one loop walks them all. The walk first gathers
 * the entries and the rights, then judges, and only then sets accessed and dirty bits, so that an access that
 * faults changes nothing.
 */
#include "lib/errno.h"
#include "vmx/gva.h"

/* Control register bits, AMD APM vol. 2, 3.1. */
#define CR0_WP   BIT(16)
#define CR0_PG   BIT(31)
#define CR4_PSE  BIT(4)
#define CR4_PAE  BIT(5)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* Entry bits, the same in all formats: AMD APM vol. 2, 5.4. */
#define PTE_P  BIT(0)
#define PTE_RW BIT(1)
#define PTE_US BIT(2)
#define PTE_A  BIT(5)
#define PTE_D  BIT(6)
#define PTE_PS BIT(7)
#define PTE_NX BIT(63)

/* #PF error code, AMD APM vol. 2, 8.4.2. */
#define PF_P    0x01u
#define PF_RW   0x02u
#define PF_US   0x04u
#define PF_RSVD 0x08u
#define PF_ID   0x10u

/* Bits [high:low]. */
#define BITS(high, low) (((BIT(high) - 1) | BIT(high)) & ~(BIT(low) - 1))

#define ADDRESS BITS(GVA_MAXPHYADDR - 1, 12)
#define LEVELS  4

/* A guest that keeps changing the entries under the walk gets a fault after so many attempts. */
#define WALK_ATTEMPTS 16

struct level {
    uint64_t table_rsvd; /* bits that must be zero in an entry that points to a table */
    uint64_t page_rsvd;  /* ... in one that maps a page; PAGE_NONE where none can be mapped */
};

#define PAGE_NONE (~UINT64_C(0))

struct format {
    unsigned levels;
    unsigned entry_bytes;
    unsigned index_bits;
    uint64_t root;              /* the bits of CR3 that hold the root's address */
    struct level level[LEVELS]; /* from the root down; the last one maps 4 KiB pages */
};

/*
 * Reserved bits: AMD APM vol. 2, 5.2 and 5.3; Intel SDM vol. 3, 4.4.1 and tables 4-4 to 4-20. Bits that only
 * one of the vendors reserves (bit 8 of the upper levels) are let pass.
 */
static const struct format two_level = {
    .levels = 2,
    .entry_bytes = 4,
    .index_bits = 10,
    .root = BITS(31, 12),
    .level = { { 0, BIT(21) }, { 0, 0 } },
};
static const struct format four_level = {
    .levels = 4,
    .entry_bytes = 8,
    .index_bits = 9,
    .root = ADDRESS,
    .level = { { 0, PAGE_NONE }, { 0, BITS(29, 13) }, { 0, BITS(20, 13) }, { 0, 0 } },
};

/* Below the PDPT, whose four entries have neither rights nor an accessed bit: pdpte() finds the root. */
static const struct format pae = {
    .levels = 2,
    .entry_bytes = 8,
    .index_bits = 9,
    .level = { { BITS(62, 52), BITS(62, 52) | BITS(20, 13) }, { 0, BITS(62, 52) } },
};
/* Bit 5 is reserved too, but QEMU's emulated CPU marks a PDPTE as accessed; a real one would not have come
 * this far. */
#define PDPTE_RSVD (BITS(63, 52) | BITS(8, 6) | BITS(2, 1))
#define PAE_ROOT   BITS(31, 5)

struct walk {
    uint8_t *slot[LEVELS]; /* the entries used, from the root down */
    uint64_t entry[LEVELS];
    unsigned depth;    /* how many */
    uint64_t all, any; /* their AND and OR */
    gpa_t target;
};

/* The guest's other CPUs may be writing it: one load. Entries are aligned, as tables and chunks are. */
static __always_inline uint64_t entry_load(const uint8_t *slot, unsigned bytes)
{
    if (bytes == 8)
        return __atomic_load_n((const uint64_t *)(const void *)slot, __ATOMIC_ACQUIRE);
    return __atomic_load_n((const uint32_t *)(const void *)slot, __ATOMIC_ACQUIRE);
}

/* False, with nothing stored, if the entry is no longer `old`. */
static bool entry_replace(uint8_t *slot, unsigned bytes, uint64_t old, uint64_t new)
{
    if (bytes == 8)
        return __atomic_compare_exchange_n((uint64_t *)(void *)slot, &old, new, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_RELAXED);
    uint32_t old32 = (uint32_t)old;

    return __atomic_compare_exchange_n((uint32_t *)(void *)slot, &old32, (uint32_t) new, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* The guest physical address in an entry that maps a page of 2^shift bytes. */
static __always_inline gpa_t page_address(const struct format *format, unsigned shift, uint64_t entry,
                                          gva_t address)
{
    uint64_t offset = BIT(shift) - 1;
    uint64_t page = entry & ADDRESS & ~offset;

    /* PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32; AMD APM vol. 2, 5.2.2. */
    if (format == &two_level && shift == 22)
        page |= (entry & BITS(20, 13)) << (32 - 13);
    return gpa(page | (address.raw & offset));
}

/*
 * Follows the entries from `table` down. 0, or -EFAULT with the error code's P and RSV bits if one is not
 * present or is malformed. Compiled and unrolled for each format: shifts and masks become constants.
 */
static __always_inline int follow(const struct gmem *mem, const struct gva_mode *mode,
                                  const struct format *format, gpa_t table, gva_t address, struct walk *walk,
                                  uint32_t *error_code)
{
    bool pages = format != &two_level || (mode->cr4 & CR4_PSE); /* the PS bit counts */
    uint64_t rsvd_nx = format != &two_level && !(mode->efer & EFER_NXE) ? PTE_NX : 0;
    unsigned shift = PAGE_SHIFT + format->levels * format->index_bits;

    walk->all = ~UINT64_C(0);
    walk->any = 0;
#pragma GCC unroll 4
    for (unsigned i = 0; i < format->levels; i++) {
        const struct level *level = &format->level[i];
        uint64_t index, entry = 0;
        uint8_t *slot;
        bool page;

        shift -= format->index_bits;
        index = (address.raw >> shift) & (BIT(format->index_bits) - 1);
        slot = gmem_ptr(mem, gpa(table.raw + index * format->entry_bytes), format->entry_bytes);
        if (likely(slot))
            entry = entry_load(slot, format->entry_bytes);
        *error_code = 0;
        if (!(entry & PTE_P))
            return -EFAULT;
        page = i + 1 == format->levels || (pages && (entry & PTE_PS));
        *error_code = PF_P | PF_RSVD;
        if (entry & ((page ? level->page_rsvd : level->table_rsvd) | rsvd_nx))
            return -EFAULT;
        walk->slot[i] = slot;
        walk->entry[i] = entry;
        walk->all &= entry;
        walk->any |= entry;
        if (page) {
            walk->depth = i + 1;
            walk->target = page_address(format, shift, entry, address);
            return 0;
        }
        table = gpa(entry & ADDRESS);
    }
    return -EFAULT; /* not reached: the last level is always a page */
}

/*
 * PAE's top level, as follow(). Intel SDM vol. 3, 4.4.1; AMD APM vol. 2, 5.2.3. Reserved bits fault at the
 * load of CR3 on Intel, whose entries come in mode->pdpte, and at their use under AMD's nested paging
 * (15.25).
 */
static int pdpte(const struct gmem *mem, const struct gva_mode *mode, gva_t address, gpa_t *table,
                 uint32_t *error_code)
{
    uint64_t index = (address.raw >> 30) & 3, entry = 0;

    if (mode->use_pdpte) {
        entry = mode->pdpte[index];
    } else {
        uint8_t *slot = gmem_ptr(mem, gpa((mode->cr3 & PAE_ROOT) + index * 8), 8);

        if (slot)
            entry = entry_load(slot, 8);
    }
    *error_code = 0;
    if (!(entry & PTE_P))
        return -EFAULT;
    *error_code = PF_P | PF_RSVD;
    if (entry & PDPTE_RSVD)
        return -EFAULT;
    *table = gpa(entry & ADDRESS);
    return 0;
}

int gva_read_pdptes(const struct gmem *mem, uint64_t cr3, unsigned bits, uint64_t pdpte[4])
{
    uint64_t reserved = BITS(63, bits) | BITS(8, 5) | BITS(2, 1);

    for (unsigned i = 0; i < 4; i++) {
        uint8_t *slot = gmem_ptr(mem, gpa((cr3 & PAE_ROOT) + i * 8), 8);

        pdpte[i] = slot ? entry_load(slot, 8) : 0;
        if ((pdpte[i] & PTE_P) && (pdpte[i] & reserved))
            return -EINVAL;
    }
    return 0;
}

/* Finds the entries and the page for `address`, whatever the access. As follow(). */
static int gather(const struct gmem *mem, const struct gva_mode *mode, gva_t address, struct walk *walk,
                  uint32_t *error_code)
{
    gpa_t table;

    if (mode->efer & EFER_LMA)
        return follow(mem, mode, &four_level, gpa(mode->cr3 & four_level.root), address, walk, error_code);
    if (!(mode->cr4 & CR4_PAE))
        return follow(mem, mode, &two_level, gpa(mode->cr3 & two_level.root), address, walk, error_code);
    if (pdpte(mem, mode, address, &table, error_code) != 0)
        return -EFAULT;
    return follow(mem, mode, &pae, table, address, walk, error_code);
}

/* AMD APM vol. 2, 5.6; Intel SDM vol. 3, 4.6.1. */
static bool allowed(const struct gva_mode *mode, const struct walk *walk, unsigned access)
{
    bool user_page = walk->all & PTE_US;

    if ((access & GVA_FETCH) && (walk->any & PTE_NX))
        return false; /* with NXE = 0 the bit was reserved */
    if (mode->cpl == 3 && !(access & GVA_IMPLICIT))
        return user_page && (!(access & GVA_WRITE) || (walk->all & PTE_RW));
    if ((access & GVA_WRITE) && !(walk->all & PTE_RW) && (mode->cr0 & CR0_WP))
        return false;
    if (!user_page)
        return true;
    if (access & GVA_FETCH)
        return !(mode->cr4 & CR4_SMEP);
    return !(mode->cr4 & CR4_SMAP) || (mode->rflags_ac && !(access & GVA_IMPLICIT));
}

/* Sets A in every entry and D in the last one for a write. False if the guest changed an entry since
 * gather(). */
static bool mark(const struct gva_mode *mode, const struct walk *walk, unsigned access)
{
    unsigned entry_bytes = mode->efer & EFER_LMA || mode->cr4 & CR4_PAE ? 8 : 4;
    unsigned last = walk->depth - 1;
    uint64_t last_bits = access & GVA_WRITE ? PTE_A | PTE_D : PTE_A;

    if (likely((walk->all & PTE_A) && (walk->entry[last] & last_bits) == last_bits))
        return true;
    for (unsigned i = 0; i <= last; i++) {
        uint64_t bits = i == last ? last_bits : PTE_A;

        if ((walk->entry[i] & bits) == bits)
            continue;
        if (!entry_replace(walk->slot[i], entry_bytes, walk->entry[i], walk->entry[i] | bits))
            return false;
    }
    return true;
}

/* The bits of the error code that tell about the access, not about the tables. */
static uint32_t error_of_access(const struct gva_mode *mode, unsigned access)
{
    bool nx = (mode->efer & EFER_NXE) && (mode->cr4 & CR4_PAE);
    uint32_t error = 0;

    if (access & GVA_WRITE)
        error |= PF_RW;
    if (mode->cpl == 3 && !(access & GVA_IMPLICIT))
        error |= PF_US;
    if ((access & GVA_FETCH) && (nx || (mode->cr4 & CR4_SMEP)))
        error |= PF_ID;
    return error;
}

/* The whole walk under paging; *walk is valid if it succeeds. */
static int walk_tables(const struct gmem *mem, const struct gva_mode *mode, gva_t address, unsigned access,
                       struct walk *walk, uint32_t *error_code)
{
    for (unsigned i = 0; i < WALK_ATTEMPTS; i++) {
        uint32_t error;

        if (gather(mem, mode, address, walk, &error) != 0) {
            *error_code = error | error_of_access(mode, access);
            return -EFAULT;
        }
        if (!allowed(mode, walk, access)) {
            *error_code = PF_P | error_of_access(mode, access);
            return -EFAULT;
        }
        if (mark(mode, walk, access))
            return 0;
    }
    /* A page fault that has no cause any more is legal, and guests retry after it. */
    *error_code = error_of_access(mode, access);
    return -EFAULT;
}

int gva_translate(const struct gmem *mem, const struct gva_mode *mode, gva_t address, unsigned access,
                  gpa_t *out, uint32_t *error_code)
{
    struct walk walk;

    if (!(mode->efer & EFER_LMA))
        address.raw &= UINT32_MAX;
    if (!(mode->cr0 & CR0_PG)) {
        *out = gpa(address.raw);
        return 0;
    }
    if (walk_tables(mem, mode, address, access, &walk, error_code) != 0)
        return -EFAULT;
    *out = walk.target;
    return 0;
}

static void memo_fill(struct gva_memo *memo, const struct gva_mode *mode, gva_t address, unsigned access,
                      const struct walk *walk)
{
    static const uint64_t none;

    *memo = (struct gva_memo){
        .page = (address.raw & ~PAGE_MASK) | 1,
        .cr0 = mode->cr0,
        .cr3 = mode->cr3,
        .cr4 = mode->cr4,
        .efer = mode->efer,
        .access = gva_memo_access(mode, access),
        .target = gpa(walk->target.raw & ~PAGE_MASK),
    };
    for (unsigned i = 0; i < LEVELS; i++) {
        bool used = i < walk->depth;

        memo->slot[i] = used ? (const uint64_t *)(const void *)walk->slot[i] : &none;
        memo->entry[i] = used ? walk->entry[i] : 0;
    }
}

int gva_translate_anew(const struct gmem *mem, const struct gva_mode *mode, gva_t address, unsigned access,
                       struct gva_memo *memo, gpa_t *out, uint32_t *error_code)
{
    struct walk walk;

    /* The other formats have narrower entries, or some that are not in memory. */
    if (!(mode->cr0 & CR0_PG) || !(mode->efer & EFER_LMA))
        return gva_translate(mem, mode, address, access, out, error_code);
    if (walk_tables(mem, mode, address, access, &walk, error_code) != 0)
        return -EFAULT;
    *out = walk.target;
    memo_fill(memo, mode, address, access, &walk);
    return 0;
}
