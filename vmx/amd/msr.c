/* MSRs that guests expect of an AMD CPU. Source: AMD APM vol. 2, appendix A. */
#include "vmx/amd/svm.h"

/* HWCR: TscFreqSel (the TSC runs at the P0 frequency) is all that a guest may learn; APM vol. 2, 3.2.10. */
static int read_hwcr(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    *value = BIT(24);
    return 0;
}

/* DE_CFG: LFENCE serialises (bit 1), as on every CPU that Plinth runs on. */
static int read_de_cfg(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    *value = BIT(1);
    return 0;
}

/* Sorted by number. Stock kernels write bits that speed up or serialise single instructions; these are the
 * host's to choose. */
/* clang-format off */
const struct msr_rule svm_msr_rules[SVM_MSR_RULES] = {
    /* first     last        read           write */
    { 0x08b,      0x08b,      msr_read_zero, NULL },                /* PATCH_LEVEL */
    { 0xc0010010, 0xc0010010, msr_read_zero, msr_write_zero_only }, /* SYSCFG */
    { 0xc0010015, 0xc0010015, read_hwcr,     msr_write_ignored },   /* HWCR */
    { 0xc001001f, 0xc001001f, msr_read_zero, msr_write_ignored },   /* NB_CFG: Linux opens ECS by it */
    { 0xc0011029, 0xc0011029, read_de_cfg,   msr_write_ignored },   /* DE_CFG */
};
/* clang-format on */
