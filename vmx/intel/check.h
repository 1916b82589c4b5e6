/*
 * Why a VM entry failed: the manual's checks on the VMCS, done in C, so that the log names the field and the
 * rule and not only an error number. For the log after a failure; no path of a guest's run needs it.
 * Source: Intel SDM vol. 3, 27.2 and 27.3.
 *
 * Not checked is what takes more than the VMCS and the capability MSRs to know (the contents of MSR areas,
 * reserved bits of IA32_PERF_GLOBAL_CTRL, PDPTEs in memory without EPT, the current VMCS pointer), and
 * controls that Plinth never sets: VM functions, tertiary controls, sub-page tables, Intel PT, CET state,
 * PKS, LBR, user interrupts, FRED, BNDCFGS.
 */
#pragma once

#include "lib/types.h"
#include "vmx/intel/controls.h"
#include "vmx/intel/vmcs.h"

struct vmcs_view {
    /* Asked only for fields that the VMCS's own controls put to use, which thus exist on the CPU. */
    uint64_t (*read)(void *context, enum vmcs_field field);
    /* Reads 32 bits at `address`, which is aligned; false if there is no memory. May be NULL: then VTPR and
     * the revision of a linked VMCS go unchecked. */
    bool (*load)(void *context, hpa_t address, uint32_t *value);
    void *context;
    const struct vmx_capabilities *cap;
};

/*
 * True if all checks hold; `text` is then empty. Else false, and `text` (one line without a newline, cut to
 * `size` with its NUL) names the first field that breaks one, its value and what the manual asks of it:
 * controls first, then the host's state, then the guest's. Any context may call it.
 */
bool vmcs_check(const struct vmcs_view *vmcs, char *text, size_t size);
