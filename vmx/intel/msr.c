/* MSRs that guests expect of an Intel CPU. Source: Intel SDM vol. 4, table 2-2. */
#include "arch/x86_64/cpu.h"
#include "lib/errno.h"
#include "vmx/intel/vmx.h"

/* Fast strings are on; branch trace and precise event sampling are not there; all else is off. */
#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define MISC_ENABLE              (MISC_ENABLE_FAST_STRINGS | BIT(11) | BIT(12))

/* The update revision is in the high half; a guest compares it with known bad ones, so it is no real one. */
#define UCODE_REVISION (UINT64_C(1) << 32)

static int read_misc_enable(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    *value = MISC_ENABLE;
    return 0;
}

static int write_misc_enable(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    (void)vcpu;
    (void)msr;
    return (value | MISC_ENABLE_FAST_STRINGS) == MISC_ENABLE ? 0 : -EINVAL;
}

static int read_feature_control(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    *value = FEATURE_CONTROL_LOCK;
    return 0;
}

static int read_revision(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    *value = UCODE_REVISION;
    return 0;
}

/* The guest's are in the CPU, which reads them without an exit and knows what it may hold. */
static int write_syscall(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    struct vmx_cpu *cpu = vcpu->cpu->vmx;
    struct vmx_vcpu *vmx = vcpu->backend;
    unsigned i = msr - MSR_STAR;

    if (wrmsr_safe(msr, value))
        return -EINVAL;
    cpu->syscall_msr[i] = vmx->syscall_msr[i] = value;
    return 0;
}

/* Sorted by number. */
/* clang-format off */
const struct msr_rule vmx_msr_rules[VMX_MSR_RULES] = {
    /* first  last   read                  write */
    { 0x017, 0x017, msr_read_zero,        NULL },                /* IA32_PLATFORM_ID */
    { 0x03a, 0x03a, read_feature_control, NULL },                /* IA32_FEATURE_CONTROL: locked, no VMX */
    { 0x08b, 0x08b, read_revision,        msr_write_zero_only }, /* IA32_BIOS_SIGN_ID: written before it is read */
    { 0x1a0, 0x1a0, read_misc_enable,     write_misc_enable },   /* IA32_MISC_ENABLE */
    { MSR_STAR, MSR_STAR + VMX_SYSCALL_MSRS - 1, NULL, write_syscall },
};
/* clang-format on */
