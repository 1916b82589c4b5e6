/* Entries of Intel's extended page tables (Intel SDM vol. 3, 29.3.2). */
#include "lib/ptab.h"

#define EPT_READ       BIT(0)
#define EPT_WRITE      BIT(1)
#define EPT_EXEC       BIT(2)
#define EPT_TYPE_SHIFT 3 /* of a leaf: the memory type, as MTRRs encode it (SDM vol. 3, 12.11) */
#define EPT_TYPE_MASK  (UINT64_C(7) << EPT_TYPE_SHIFT)
#define EPT_LARGE      BIT(7)
#define EPT_A          BIT(8)
#define EPT_D          BIT(9)

#define EPT_ADDRESS UINT64_C(0x000ffffffffff000)

enum { TYPE_UC = 0, TYPE_WC = 1, TYPE_WT = 4, TYPE_WB = 6 };

static uint64_t type_of(uint32_t flags)
{
    switch (flags & PTAB_TYPE_MASK) {
    case PTAB_WT:
        return TYPE_WT;
    case PTAB_UC:
        return TYPE_UC;
    case PTAB_WC:
        return TYPE_WC;
    default:
        return TYPE_WB;
    }
}

/*
 * Every leaf can be read: to allow writes alone is a misconfiguration, execution alone is one on some CPUs
 * (29.3.3.1), and to allow nothing is to be absent. Bit 6 stays clear, so that the guest's PAT counts.
 */
static uint64_t ept_leaf(unsigned level, uint32_t flags)
{
    return EPT_READ | EPT_A | EPT_D | (level ? EPT_LARGE : 0) | type_of(flags) << EPT_TYPE_SHIFT |
           (flags & PTAB_WRITE ? EPT_WRITE : 0) | (flags & PTAB_EXEC ? EPT_EXEC : 0);
}

/* Permissions of a walk are the intersection of all levels', so upper levels allow everything. */
static uint64_t ept_table(void)
{
    return EPT_READ | EPT_WRITE | EPT_EXEC | EPT_A;
}

static bool ept_is_present(uint64_t entry)
{
    return entry & (EPT_READ | EPT_WRITE | EPT_EXEC);
}

static bool ept_is_leaf(uint64_t entry, unsigned level)
{
    return level == 0 || (entry & EPT_LARGE);
}

static uint32_t ept_flags(uint64_t entry, unsigned level)
{
    static const uint32_t type[8] = {
        [TYPE_UC] = PTAB_UC, [TYPE_WC] = PTAB_WC, [TYPE_WT] = PTAB_WT, [TYPE_WB] = PTAB_WB
    };

    (void)level; /* all leaves have their bits at the same place */
    return type[(entry & EPT_TYPE_MASK) >> EPT_TYPE_SHIFT] | PTAB_READ |
           (entry & EPT_WRITE ? PTAB_WRITE : 0) | (entry & EPT_EXEC ? PTAB_EXEC : 0);
}

const struct ptab_format ptab_ept = {
    .name = "EPT",
    .levels = 4,
    .large_level = 2,
    .address_mask = EPT_ADDRESS,
    .leaf = ept_leaf,
    .table = ept_table,
    .is_present = ept_is_present,
    .is_leaf = ept_is_leaf,
    .flags = ept_flags,
};
