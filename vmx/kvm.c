/*
 * The part of KVM's paravirtual interface that stock kernels use: the clock, and hypercalls (kvm_sched.c).
 * Source: Linux, Documentation/virt/kvm/x86/msr.rst and hypercalls.rst.
 */
#include "vmx/kvm_sched.h"
#include "lib/errno.h"

#define KVM_ENOSYS         1000
#define KVM_EPERM          1
#define HYPERCALL_KICK     5
#define HYPERCALL_SEND_IPI 10
#define HYPERCALL_YIELD    11
#define PVCLOCK_TSC_STABLE BIT(0)
#define EOI_ENABLED        BIT(0)
#define EOI_RESERVED       BIT(1) /* the word is aligned to 4 bytes */

/* Wall clock at guest time 0. A version that is odd says that it is being written. */
struct pvclock_wall_clock {
    uint32_t version, sec, nsec;
};

/* System time = system_time + ((TSC - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32. */
struct pvclock_vcpu_time_info {
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad[2];
};

static_assert(sizeof(struct pvclock_wall_clock) == 12, "msr.rst, MSR_KVM_WALL_CLOCK_NEW");
static_assert(sizeof(struct pvclock_vcpu_time_info) == 32, "msr.rst, MSR_KVM_SYSTEM_TIME_NEW");

/* The vCPU that asks stands still meanwhile, so it never sees an odd version. An address without RAM turns
 * the clock off. */
static int write_wall_clock(struct vcpu *vcpu, uint64_t value)
{
    struct vm *vm = vcpu->vm;
    struct pvclock_wall_clock clock = { .version = 2,
                                        .sec = (uint32_t)(vm->epoch_ns / 1000000000),
                                        .nsec = (uint32_t)(vm->epoch_ns % 1000000000) };

    vm->wall_clock_gpa = gmem_write(&vm->mem, gpa(value), &clock, sizeof(clock)) ? 0 : value;
    return 0;
}

/* Scales the TSC to nanoseconds: shift until 32 bits of multiplier hold the fraction. */
static void set_scale(struct pvclock_vcpu_time_info *time, uint64_t tsc_hz)
{
    uint64_t base = tsc_hz;
    int8_t shift = 0;

    while (base > 2 * UINT64_C(1000000000)) {
        base >>= 1;
        shift--;
    }
    while (base <= UINT64_C(1000000000)) {
        base <<= 1;
        shift++;
    }
    time->tsc_shift = shift;
    time->tsc_to_system_mul = (uint32_t)((UINT64_C(1000000000) << 32) / base);
}

static int write_system_time(struct vcpu *vcpu, uint64_t value)
{
    struct pvclock_vcpu_time_info time = { .version = 2, .flags = PVCLOCK_TSC_STABLE };

    vcpu->kvm_clock = value;
    if (!(value & 1))
        return 0;
    time.tsc_timestamp = vclock_tsc(&vcpu->vm->clock);
    time.system_time = vclock_ns_of_tsc(&vcpu->vm->clock, time.tsc_timestamp);
    set_scale(&time, vcpu->vm->clock.tsc_hz);
    if (gmem_write(&vcpu->vm->mem, gpa(value & ~UINT64_C(3)), &time, sizeof(time)))
        vcpu->kvm_clock = 0;
    return 0;
}

int kvm_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    if (msr == MSR_KVM_WALL_CLOCK || msr == MSR_KVM_WALL_CLOCK_NEW)
        return write_wall_clock(vcpu, value);
    return write_system_time(vcpu, value);
}

int kvm_eoi_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    uint8_t *word = NULL;

    (void)msr;
    if (!(vcpu->cpuid.kvm[1].regs.eax & KVM_FEATURE_PV_EOI) || (value & EOI_RESERVED))
        return -EINVAL;
    if (value & EOI_ENABLED) {
        word = gmem_ptr(&vcpu->vm->mem, gpa(value & ~EOI_ENABLED), sizeof(uint32_t));
        if (!word)
            return -EINVAL;
    }
    vcpu->kvm_eoi = value;
    vcpu->intc->set_eoi_word(vcpu->intc_context, (void *)word);
    return 0;
}

/* Arguments are in RBX, RCX, RDX and RSI; outside of 64-bit code the low halves count. */
static uint64_t argument(const struct vcpu *vcpu, unsigned gpr)
{
    uint64_t value = vcpu->gpr[gpr];

    return value <= UINT32_MAX || vmx_ops->code_size(vcpu) == CODE_64 ? value : (uint32_t)value;
}

static __attribute__((noinline)) int64_t send_ipi(struct vcpu *vcpu)
{
    return kvm_send_ipi(vcpu, argument(vcpu, GPR_RBX), argument(vcpu, GPR_RCX), argument(vcpu, GPR_RDX),
                        argument(vcpu, GPR_RSI));
}

static int64_t call(struct vcpu *vcpu, uint32_t number)
{
    if (vmx_ops->cpl(vcpu))
        return -KVM_EPERM;
    switch (number) {
    case HYPERCALL_KICK:
        return kvm_kick(vcpu, argument(vcpu, GPR_RCX));
    case HYPERCALL_SEND_IPI:
        return send_ipi(vcpu);
    case HYPERCALL_YIELD:
        return kvm_yield_to(vcpu, argument(vcpu, GPR_RBX));
    default:
        return -KVM_ENOSYS;
    }
}

static inline void answer(struct vcpu *vcpu, int64_t result)
{
    vcpu->gpr[GPR_RAX] = (uint64_t)result;
    vcpu_advance(vcpu);
}

static __attribute__((noinline)) void answer_known(struct vcpu *vcpu, uint32_t number)
{
    answer(vcpu, call(vcpu, number));
}

void exit_hypercall(struct vcpu *vcpu)
{
    uint32_t number = (uint32_t)vcpu->gpr[GPR_RAX];

    if (number >= HYPERCALL_KICK && number <= HYPERCALL_YIELD)
        answer_known(vcpu, number);
    else
        answer(vcpu, -KVM_ENOSYS);
}
