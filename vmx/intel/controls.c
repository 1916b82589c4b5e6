#include "vmx/intel/controls.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "vmx/intel/vmcs.h"

/* What Plinth wants of a control. */
enum need {
    REQUIRED,  /* always 1; without it no guest can run */
    WANTED,    /* 1 where the CPU allows it */
    ON_DEMAND, /* set and cleared while the vCPU runs; required */
    OPTIONAL,  /* the same; where the CPU allows it */
    NEVER,     /* must be 0 */
};

/* clang-format off */
static const struct row {
    uint8_t which; /* enum vmx_control */
    uint8_t need;
    uint32_t bit;
    unsigned without; /* VMX_WITHOUT_: which of the command line's wishes takes it away */
    const char *name;
} rows[] = {
    { CONTROL_PIN,       REQUIRED,  PIN_INTERRUPT_EXITING,        0, "external-interrupt exiting" },
    { CONTROL_PIN,       REQUIRED,  PIN_NMI_EXITING,              0, "NMI exiting" },
    { CONTROL_PIN,       REQUIRED,  PIN_VIRTUAL_NMIS,             0, "virtual NMIs" },
    { CONTROL_PIN,       OPTIONAL,  PIN_PREEMPTION_TIMER,         VMX_WITHOUT_TIMER, "VMX-preemption timer" },
    { CONTROL_PRIMARY,   ON_DEMAND, PRIMARY_INTERRUPT_WINDOW,     0, "interrupt-window exiting" },
    { CONTROL_PRIMARY,   ON_DEMAND, PRIMARY_NMI_WINDOW,           0, "NMI-window exiting" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_TSC_OFFSETTING,       0, "TSC offsetting" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_HLT_EXITING,          0, "HLT exiting" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_MWAIT_EXITING,        0, "MWAIT exiting" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_MONITOR_EXITING,      0, "MONITOR exiting" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_RDPMC_EXITING,        0, "RDPMC exiting" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_IO_BITMAPS,           0, "I/O bitmaps" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_MSR_BITMAPS,          0, "MSR bitmaps" },
    { CONTROL_PRIMARY,   REQUIRED,  PRIMARY_SECONDARY,            0, "secondary controls" },
    { CONTROL_PRIMARY,   WANTED,    PRIMARY_TPR_SHADOW,           VMX_WITHOUT_TPR_SHADOW, "TPR shadow" },
    { CONTROL_PRIMARY,   ON_DEMAND, PRIMARY_CR8_LOAD,             0, "CR8-load exiting" },
    { CONTROL_PRIMARY,   ON_DEMAND, PRIMARY_CR8_STORE,            0, "CR8-store exiting" },
    { CONTROL_PRIMARY,   ON_DEMAND, PRIMARY_MOV_DR_EXITING,       0, "MOV-DR exiting" },
    { CONTROL_PRIMARY,   NEVER,     PRIMARY_CR3_LOAD,             0, "CR3-load exiting" },
    { CONTROL_PRIMARY,   NEVER,     PRIMARY_CR3_STORE,            0, "CR3-store exiting" },
    { CONTROL_SECONDARY, REQUIRED,  SECONDARY_EPT,                0, "EPT" },
    { CONTROL_SECONDARY, REQUIRED,  SECONDARY_UNRESTRICTED,       0, "unrestricted guest" },
    { CONTROL_SECONDARY, REQUIRED,  SECONDARY_RDTSCP,             0, "RDTSCP" },
    { CONTROL_SECONDARY, REQUIRED,  SECONDARY_WBINVD_EXITING,     0, "WBINVD exiting" },
    { CONTROL_SECONDARY, WANTED,    SECONDARY_VPID,               0, "VPID" },
    { CONTROL_SECONDARY, WANTED,    SECONDARY_PAUSE_LOOP,         0, "PAUSE-loop exiting" },
    { CONTROL_SECONDARY, OPTIONAL,  SECONDARY_APIC_ACCESSES,      VMX_WITHOUT_APICV, "APIC accesses" },
    { CONTROL_SECONDARY, OPTIONAL,  SECONDARY_X2APIC,             VMX_WITHOUT_APICV, "x2APIC mode" },
    { CONTROL_SECONDARY, OPTIONAL,  SECONDARY_APIC_REGISTERS,     VMX_WITHOUT_APICV, "APIC-register virtualisation" },
    { CONTROL_SECONDARY, OPTIONAL,  SECONDARY_VIRTUAL_INTERRUPTS, VMX_WITHOUT_APICV, "virtual-interrupt delivery" },
    { CONTROL_EXIT,      REQUIRED,  EXIT_SAVE_DEBUG,              0, "save debug controls" },
    { CONTROL_EXIT,      REQUIRED,  EXIT_HOST_64,                 0, "host address-space size" },
    { CONTROL_EXIT,      REQUIRED,  EXIT_ACKNOWLEDGE_INTERRUPT,   0, "acknowledge interrupt on exit" },
    { CONTROL_EXIT,      REQUIRED,  EXIT_LOAD_PAT,                0, "load IA32_PAT on exit" },
    { CONTROL_EXIT,      REQUIRED,  EXIT_SAVE_EFER,               0, "save IA32_EFER" },
    { CONTROL_EXIT,      REQUIRED,  EXIT_LOAD_EFER,               0, "load IA32_EFER on exit" },
    { CONTROL_ENTRY,     REQUIRED,  ENTRY_LOAD_DEBUG,             0, "load debug controls" },
    { CONTROL_ENTRY,     ON_DEMAND, ENTRY_IA32E,                  0, "IA-32e mode guest" },
    { CONTROL_ENTRY,     REQUIRED,  ENTRY_LOAD_PAT,               0, "load IA32_PAT on entry" },
    { CONTROL_ENTRY,     REQUIRED,  ENTRY_LOAD_EFER,              0, "load IA32_EFER on entry" },
};
/* clang-format on */

int controls_compute(const struct vmx_capabilities *cap, unsigned without, struct vmx_controls *out,
                     char *why, size_t why_size)
{
    *out = (struct vmx_controls){ 0 };
    for (unsigned i = 0; i < VMX_CONTROLS; i++)
        out->value[i] = (uint32_t)cap->control[i];
    for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
        uint64_t capability = cap->control[row->which];
        bool allowed = (capability >> 32 & row->bit) && !(row->without & without);

        if (row->need == NEVER) {
            if (capability & row->bit) {
                format_text(why, why_size, "\"%s\" cannot be turned off", row->name);
                return -ENODEV;
            }
            continue;
        }
        if (!allowed && (row->need == REQUIRED || row->need == ON_DEMAND)) {
            format_text(why, why_size, "\"%s\" is missing", row->name);
            return -ENODEV;
        }
        if (allowed && row->need <= WANTED)
            out->value[row->which] |= row->bit;
        else if (allowed)
            out->optional[row->which] |= row->bit;
    }
    return 0;
}
