/*
 * What a CPU's extended page tables can do, and the pointer to them. `cap` is IA32_VMX_EPT_VPID_CAP (MSR
 * 48Ch; Intel SDM vol. 3, A.10). Compiles on the host.
 */
#pragma once

#include "lib/types.h"
#include "lib/ptab.h"

#define EPT_CAP_WALK_4       BIT(6)  /* page-walk length 4 */
#define EPT_CAP_WALK_5       BIT(7)  /* page-walk length 5 */
#define EPT_CAP_UC           BIT(8)  /* the tables themselves may be uncached */
#define EPT_CAP_WB           BIT(14) /* the tables themselves may be write-back */
#define EPT_CAP_2M           BIT(16)
#define EPT_CAP_1G           BIT(17)
#define EPT_CAP_AD           BIT(21) /* accessed and dirty flags */
#define EPT_CAP_SHADOW_STACK BIT(23)

/* The format with the largest pages that the CPU has; NULL if it cannot walk 4 levels. Any CPU. */
const struct ptab_format *ept_format(uint64_t cap) __must_check;

/* The VMCS field EPT pointer for tables of ept_format() at `root`. Any CPU. */
uint64_t ept_pointer(hpa_t root, uint64_t cap);
