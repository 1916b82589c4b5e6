/*
 * Which VMX controls Plinth asks for and what this CPU's capability MSRs say to that. Compiles on the host.
 * Source: Intel SDM vol. 3, 25.6 to 25.8 and appendix A.
 */
#pragma once

#include "lib/types.h"

/* The capability MSRs, read once. Those of controls: low half = bits that must be 1, high half = bits that
 * may be 1 (A.2). */
struct vmx_capabilities {
    uint64_t basic, misc, ept_vpid;
    uint64_t control[5]; /* enum vmx_control; the "true" ones where the CPU has them */
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    unsigned maxphyaddr; /* physical address bits */
};

enum vmx_control {
    CONTROL_PIN,
    CONTROL_PRIMARY,
    CONTROL_SECONDARY,
    CONTROL_EXIT,
    CONTROL_ENTRY,
    VMX_CONTROLS
};

/* The values for a VMCS. */
struct vmx_controls {
    uint32_t value[VMX_CONTROLS];    /* always set */
    uint32_t optional[VMX_CONTROLS]; /* may be set beside these while a vCPU runs */
};

/* What the command line may take away (`vtx=`): a CPU then looks as if it lacked them. */
#define VMX_WITHOUT_APICV      BIT(0) /* APIC-register virtualisation and virtual-interrupt delivery */
#define VMX_WITHOUT_TPR_SHADOW BIT(1) /* and these, and the TPR shadow */
#define VMX_WITHOUT_TIMER      BIT(2) /* the preemption timer */

/*
 * Computes the controls from the table in controls.c: what is required or wanted and allowed is 1, what must
 * be 1 is 1, the rest is 0. -ENODEV when a required control is missing, or one that Plinth cannot live with
 * is fixed to 1; `why` then names the first of them.
 */
int controls_compute(const struct vmx_capabilities *cap, unsigned without, struct vmx_controls *out,
                     char *why, size_t why_size) __must_check;
