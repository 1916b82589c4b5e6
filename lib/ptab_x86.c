/* Page-table entries of long mode (AMD APM vol. 2, 5.3; Intel SDM vol. 3, 4.5). */
#include "lib/ptab.h"

#define X86_P       BIT(0)
#define X86_RW      BIT(1)
#define X86_US      BIT(2)
#define X86_PWT     BIT(3)
#define X86_PCD     BIT(4)
#define X86_A       BIT(5)
#define X86_D       BIT(6)
#define X86_PS      BIT(7) /* in a 2M or 1G leaf; the same bit is PAT in a 4K leaf */
#define X86_PAT_4K  BIT(7)
#define X86_G       BIT(8)
#define X86_PAT_BIG BIT(12)
#define X86_NX      BIT(63)

#define X86_ADDRESS UINT64_C(0x000ffffffffff000)

static uint64_t pat_bit(unsigned level)
{
    return level ? X86_PAT_BIG : X86_PAT_4K;
}

/* The PAT index (PAT, PCD, PWT) of each type, as PTAB_X86_PAT lays them out. */
static uint64_t type_bits(unsigned level, uint32_t flags)
{
    switch (flags & PTAB_TYPE_MASK) {
    case PTAB_WT:
        return X86_PWT;
    case PTAB_UC:
        return X86_PCD | X86_PWT;
    case PTAB_WC:
        return pat_bit(level);
    default:
        return 0;
    }
}

static uint64_t x86_leaf(unsigned level, uint32_t flags)
{
    return X86_P | X86_A | X86_D | (level ? X86_PS : 0) | type_bits(level, flags) |
           (flags & PTAB_WRITE ? X86_RW : 0) | (flags & PTAB_USER ? X86_US : 0) |
           (flags & PTAB_GLOBAL ? X86_G : 0) | (flags & PTAB_EXEC ? 0 : X86_NX);
}

/* Permissions of a walk are the intersection of all levels', so upper levels allow everything. */
static uint64_t x86_table(void)
{
    return X86_P | X86_RW | X86_US | X86_A;
}

static bool x86_is_present(uint64_t entry)
{
    return entry & X86_P;
}

static bool x86_is_leaf(uint64_t entry, unsigned level)
{
    return level == 0 || (entry & X86_PS);
}

static uint32_t x86_flags(uint64_t entry, unsigned level)
{
    uint32_t type = entry & pat_bit(level) ? PTAB_WC
                    : entry & X86_PCD      ? PTAB_UC
                    : entry & X86_PWT      ? PTAB_WT
                                           : PTAB_WB;

    return type | PTAB_READ | (entry & X86_RW ? PTAB_WRITE : 0) | (entry & X86_US ? PTAB_USER : 0) |
           (entry & X86_G ? PTAB_GLOBAL : 0) | (entry & X86_NX ? 0 : PTAB_EXEC);
}

const struct ptab_format ptab_x86 = {
    .name = "x86",
    .levels = 4,
    .large_level = 2,
    .address_mask = X86_ADDRESS,
    .leaf = x86_leaf,
    .table = x86_table,
    .is_present = x86_is_present,
    .is_leaf = x86_is_leaf,
    .flags = x86_flags,
};
