/*
 * The guest's MSRs: a table of what it may read and write, and a short one of the back end's, for what only
 * its CPUs have. What is in neither does not exist: #GP(0). The MSRs that the CPU switches itself (SYSCALL,
 * SYSENTER, FS and GS bases) never get here. Source: AMD APM vol. 2, appendix A; Intel SDM vol. 4.
 */
#include "vmx/msr.h"
#include "vmx/vcpu.h"
#include "arch/x86_64/cpu.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST  0x8ffu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_APIC_BASE    0x1bu

#define EFER_WRITABLE (EFER_SCE | EFER_LME | EFER_NXE)
#define MTRR_VARIABLE 8
#define MTRR_DEF_E    BIT(11)
#define MTRR_DEF_FE   BIT(10)

int msr_read_zero(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    *value = 0;
    return 0;
}

int msr_write_zero_only(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    (void)vcpu;
    (void)msr;
    return value ? -EINVAL : 0;
}

int msr_write_ignored(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    (void)vcpu;
    (void)msr;
    (void)value;
    return 0;
}

static int read_tsc(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = vclock_tsc(&vcpu->vm->clock);
    return 0;
}

static int read_intc(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    return vcpu->intc->msr_read(vcpu->intc_context, msr, value);
}

static int write_intc(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    return vcpu->intc->msr_write(vcpu->intc_context, msr, value);
}

/* Memory types that exist: UC, WC, WT, WP, WB (and UC- in the PAT). */
static bool is_memory_type(uint64_t type, bool pat)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static int read_backend(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    return vmx_ops->msr_get(vcpu, msr, value);
}

static int write_pat(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        if (!is_memory_type(value >> (8 * i) & 0xff, true))
            return -EINVAL;
    return vmx_ops->msr_set(vcpu, msr, value);
}

/* LMA follows LME and CR0.PG by itself; LME must not change under paging (APM vol. 2, 3.1.7). */
static int write_efer(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    struct gva_mode mode;
    uint64_t allowed = EFER_WRITABLE;

    vmx_ops->paging(vcpu, &mode);
    if (vcpu->cpuid.extended[1].regs.edx & BIT(25))
        allowed |= BIT(14); /* FFXSR */
    if (value & ~(allowed | EFER_LMA))
        return -EINVAL;
    if ((mode.cr0 & CR0_PG) && ((mode.efer ^ value) & EFER_LME))
        return -EINVAL;
    return vmx_ops->msr_set(vcpu, msr, (value & allowed) | (mode.efer & EFER_LMA));
}

static int read_mtrr_cap(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    *value = MTRR_VARIABLE | BIT(8) | BIT(10); /* fixed ranges, write-combining */
    return 0;
}

static int read_mtrr_def(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = vcpu->vm->mtrr.def_type;
    return 0;
}

static int write_mtrr_def(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    (void)msr;
    if ((value & ~(MTRR_DEF_E | MTRR_DEF_FE | 0xff)) || !is_memory_type(value & 0xff, false))
        return -EINVAL;
    vcpu->vm->mtrr.def_type = value;
    return 0;
}

static int read_mtrr_variable(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    *value = vcpu->vm->mtrr.variable[msr - 0x200];
    return 0;
}

static int write_mtrr_variable(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    uint64_t address = (BIT(vcpu->cpuid.phys_bits) - 1) & ~PAGE_MASK;
    bool mask = msr & 1;

    if (value & ~(address | (mask ? BIT(11) : 0xff)))
        return -EINVAL;
    if (!mask && !is_memory_type(value & 0xff, false))
        return -EINVAL;
    vcpu->vm->mtrr.variable[msr - 0x200] = value;
    return 0;
}

/* 0x250, 0x258, 0x259, 0x268 to 0x26f, in this order. */
static unsigned mtrr_fixed_index(uint32_t msr)
{
    return msr == 0x250 ? 0 : msr < 0x268 ? msr - 0x258 + 1 : msr - 0x268 + 3;
}

static int read_mtrr_fixed(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    *value = vcpu->vm->mtrr.fixed[mtrr_fixed_index(msr)];
    return 0;
}

static int write_mtrr_fixed(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        if (!is_memory_type(value >> (8 * i) & 0xff, false))
            return -EINVAL;
    vcpu->vm->mtrr.fixed[mtrr_fixed_index(msr)] = value;
    return 0;
}

static bool has_rdtscp(const struct vcpu *vcpu)
{
    return vcpu->cpuid.extended[1].regs.edx & BIT(27);
}

static int read_tsc_aux(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = vcpu->tsc_aux;
    return has_rdtscp(vcpu) ? 0 : -EINVAL;
}

static int write_tsc_aux(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    (void)msr;
    if (!has_rdtscp(vcpu) || value > UINT32_MAX)
        return -EINVAL;
    vcpu->tsc_aux = value;
    msr_load(vcpu);
    return 0;
}

void msr_load(struct vcpu *vcpu)
{
    if (!has_rdtscp(vcpu))
        return;
    wrmsr(MSR_TSC_AUX, vcpu->tsc_aux);
    this_cpu()->tsc_aux = vcpu->tsc_aux;
}

static int read_kvm(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    *value = msr == MSR_KVM_WALL_CLOCK || msr == MSR_KVM_WALL_CLOCK_NEW ? vcpu->vm->wall_clock_gpa
                                                                        : vcpu->kvm_clock;
    return 0;
}

static int read_kvm_steal(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = vcpu->kvm_steal;
    return 0;
}

static int read_kvm_eoi(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = vcpu->kvm_eoi;
    return vcpu->cpuid.kvm[1].regs.eax & KVM_FEATURE_PV_EOI ? 0 : -EINVAL;
}

/* Sorted by number. */
/* clang-format off */
static const struct msr_rule rules[] = {
    /* first     last        read                write */
    { 0x010,      0x010,      read_tsc,           msr_write_ignored },   /* TSC: one clock for the whole VM */
    { 0x011,      0x012,      read_kvm,           kvm_msr_write },       /* KVM's old clock MSRs */
    { 0x01b,      0x01b,      read_intc,          write_intc },          /* APIC_BASE */
    { 0x0fe,      0x0fe,      read_mtrr_cap,      NULL },                /* MTRRcap */
    { 0x179,      0x17a,      msr_read_zero,      msr_write_zero_only },    /* MCG_CAP: no banks; MCG_STATUS */
    { 0x1d9,      0x1d9,      msr_read_zero,      msr_write_zero_only },    /* DebugCtl */
    { 0x200,      0x20f,      read_mtrr_variable, write_mtrr_variable }, /* MTRRphysBase, MTRRphysMask */
    { 0x250,      0x250,      read_mtrr_fixed,    write_mtrr_fixed },    /* MTRRfix64K */
    { 0x258,      0x259,      read_mtrr_fixed,    write_mtrr_fixed },    /* MTRRfix16K */
    { 0x268,      0x26f,      read_mtrr_fixed,    write_mtrr_fixed },    /* MTRRfix4K */
    { 0x277,      0x277,      read_backend,       write_pat },           /* PAT */
    { 0x2ff,      0x2ff,      read_mtrr_def,      write_mtrr_def },      /* MTRRdefType */
    { 0x6e0,      0x6e0,      read_intc,          write_intc },          /* TSC_DEADLINE */
    { 0x800,      0x8ff,      read_intc,          write_intc },          /* x2APIC */
    { 0x4b564d00, 0x4b564d01, read_kvm,           kvm_msr_write },       /* KVM clock */
    { 0x4b564d03, 0x4b564d03, read_kvm_steal,     kvm_steal_write },     /* KVM's steal time */
    { 0x4b564d04, 0x4b564d04, read_kvm_eoi,       kvm_eoi_write },       /* KVM's paravirtual EOI */
    { 0xc0000080, 0xc0000080, read_backend,       write_efer },          /* EFER */
    { 0xc0000103, 0xc0000103, read_tsc_aux,       write_tsc_aux },       /* TSC_AUX */
};
/* clang-format on */

static const struct msr_rule *find_in(const struct msr_rule *table, size_t count, uint32_t msr)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (msr > table[middle].last)
            low = middle + 1;
        else if (msr < table[middle].first)
            high = middle;
        else
            return &table[middle];
    }
    return NULL;
}

static const struct msr_rule *find_rule(uint32_t msr)
{
    const struct msr_rule *rule = find_in(rules, ARRAY_SIZE(rules), msr);

    return rule ? rule : find_in(vmx_ops->msr_rules, vmx_ops->msr_rule_count, msr);
}

/* The guest meets #GP; the first refusals of a VM are worth a line, since they explain a guest that then
 * fails. */
static __cold void refuse(struct vcpu *vcpu, const char *what)
{
    uint32_t msr = (uint32_t)vcpu->gpr[GPR_RCX];

    if (vcpu->vm->refused_msrs++ < 8)
        log_debug("vm %s: %s of MSR 0x%x refused with #GP at RIP 0x%llx", vcpu->vm->name, what, msr,
                  (unsigned long long)vcpu->rip);
    vcpu_raise_gp(vcpu);
}

void exit_msr_read(struct vcpu *vcpu)
{
    uint32_t msr = (uint32_t)vcpu->gpr[GPR_RCX];
    const struct msr_rule *rule = find_rule(msr);
    uint64_t value;

    if (unlikely(!rule || !rule->read || rule->read(vcpu, msr, &value))) {
        refuse(vcpu, "read");
        return;
    }
    vcpu->gpr[GPR_RAX] = (uint32_t)value;
    vcpu->gpr[GPR_RDX] = value >> 32;
    vcpu_advance(vcpu);
}

/* Not inline: its local variables would cost the common case a stack frame. */
static __attribute__((noinline)) int write_by_rule(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    const struct msr_rule *rule = find_rule(msr);

    return rule && rule->write ? rule->write(vcpu, msr, value) : -EINVAL;
}

void exit_msr_write(struct vcpu *vcpu)
{
    uint32_t msr = (uint32_t)vcpu->gpr[GPR_RCX];
    uint64_t value = (vcpu->gpr[GPR_RDX] << 32) | (uint32_t)vcpu->gpr[GPR_RAX];
    int err;

    /* The timer and the x2APIC registers are most of all writes. */
    if (likely(msr - MSR_X2APIC_FIRST <= MSR_X2APIC_LAST - MSR_X2APIC_FIRST || msr == MSR_TSC_DEADLINE))
        err = vcpu->intc->msr_write(vcpu->intc_context, msr, value);
    else
        err = write_by_rule(vcpu, msr, value);
    if (unlikely(err))
        refuse(vcpu, "write");
    else
        vcpu_advance(vcpu);
}

/* As firmware leaves them: RAM is write-back, 0xa0000 to 0xbffff and 3 GiB to 4 GiB are uncached. */
void msr_reset(struct vm *vm)
{
    struct vm_mtrr *mtrr = &vm->mtrr;
    uint64_t mask = (BIT(vm->vcpu[0]->cpuid.phys_bits) - 1) & ~PAGE_MASK;

    memset(mtrr, 0, sizeof(*mtrr));
    memset(mtrr->fixed, 6, sizeof(mtrr->fixed));
    mtrr->fixed[mtrr_fixed_index(0x259)] = 0;
    mtrr->def_type = MTRR_DEF_E | MTRR_DEF_FE | 6;
    mtrr->variable[0] = 3 * GiB;
    mtrr->variable[1] = (mask & ~(GiB - 1)) | BIT(11);
}
