/* Extended page tables: what differs between CPUs (Intel SDM vol. 3, 25.6.11, 29.3 and A.10). */
#include "vmx/intel/ept.h"

/* The EPT pointer. */
#define EPTP_TYPE_UC    UINT64_C(0) /* bits 2:0, the memory type of the tables */
#define EPTP_TYPE_WB    UINT64_C(6)
#define EPTP_WALK_SHIFT 3 /* bits 5:3, one less than the length of a walk */
#define EPTP_AD         BIT(6)

/* ptab_ept for CPUs that lack large pages, by large_level. All who fill one in fill in the same. */
static struct ptab_format reduced[2];

const struct ptab_format *ept_format(uint64_t cap)
{
    unsigned level = !(cap & EPT_CAP_2M) ? 0 : cap & EPT_CAP_1G ? 2 : 1;

    if (!(cap & EPT_CAP_WALK_4))
        return NULL;
    if (level == ptab_ept.large_level)
        return &ptab_ept;
    reduced[level] = ptab_ept;
    reduced[level].large_level = level;
    return &reduced[level];
}

uint64_t ept_pointer(hpa_t root, uint64_t cap)
{
    return root.raw | (cap & EPT_CAP_WB ? EPTP_TYPE_WB : EPTP_TYPE_UC) |
           (uint64_t)(ptab_ept.levels - 1) << EPTP_WALK_SHIFT | (cap & EPT_CAP_AD ? EPTP_AD : 0);
}
