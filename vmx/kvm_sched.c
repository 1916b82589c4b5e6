/*
 * The part of KVM's paravirtual interface that lets several vCPUs share few CPUs: what a vCPU waited for
 * (steal time), who is not running, and calls that spare a guest exits or idle spinning. Source: Linux,
 * Documentation/virt/kvm/x86/msr.rst (MSR_KVM_STEAL_TIME), hypercalls.rst and cpuid.rst.
 */
#include "vmx/kvm_sched.h"
#include "lib/errno.h"

#define STEAL_ENABLED  BIT(0)
#define STEAL_RESERVED UINT64_C(0x3e)
#define ICR_REFUSED    (APIC_ICR_LOGICAL | APIC_ICR_SHORTHAND)

/* 64 bytes, aligned to them, so that it lies in one page. */
struct kvm_steal_time {
    uint64_t steal; /* nanoseconds */
    uint32_t version, flags;
    uint8_t preempted; /* PREEMPTED_ */
    uint8_t pad[47];
};

static_assert(sizeof(struct kvm_steal_time) == 64, "msr.rst, MSR_KVM_STEAL_TIME");

#define PREEMPTED_YES   1u /* it does not run */
#define PREEMPTED_FLUSH 2u /* set by the guest: its TLB is to be flushed before it does */

int kvm_steal_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    uint8_t *area = NULL;

    (void)msr;
    if (value & STEAL_RESERVED)
        return -EINVAL;
    if (value & STEAL_ENABLED)
        area = gmem_ptr(&vcpu->vm->mem, gpa(value & ~UINT64_C(0x3f)), sizeof(struct kvm_steal_time));
    vcpu->kvm_steal = value;
    vcpu->steal_area = (void *)area;
    vcpu->steal_base = vcpu->task.share.waited;
    return 0;
}

void kvm_show_running(struct vcpu *vcpu)
{
    struct kvm_steal_time *area = vcpu->steal_area;
    uint64_t waited = vcpu->task.share.waited, ticks = waited - vcpu->steal_base;
    uint32_t version = __atomic_load_n(&area->version, __ATOMIC_RELAXED) | 1;

    if (__atomic_exchange_n(&area->preempted, 0, __ATOMIC_SEQ_CST) & PREEMPTED_FLUSH)
        vmx_ops->flush_tlb(vcpu);
    if (!ticks)
        return;
    vcpu->steal_base = waited;
    __atomic_store_n(&area->version, version, __ATOMIC_RELEASE);
    __atomic_fetch_add(&area->steal, vclock_ns_of_tsc(&vcpu->vm->clock, ticks), __ATOMIC_RELEASE);
    __atomic_store_n(&area->version, version + 1, __ATOMIC_RELEASE);
}

void kvm_show_waiting(struct vcpu *vcpu)
{
    struct kvm_steal_time *area = vcpu->steal_area;

    __atomic_store_n(&area->preempted, PREEMPTED_YES, __ATOMIC_SEQ_CST);
}

static struct vcpu *by_apic_id(const struct vm *vm, uint64_t id)
{
    return id < vm->vcpu_count ? vm->vcpu[id] : NULL;
}

int64_t kvm_send_ipi(struct vcpu *vcpu, uint64_t low, uint64_t high, uint64_t first, uint64_t icr)
{
    const uint64_t map[2] = { low, high };
    int64_t count = 0;

    if (icr > UINT32_MAX || (icr & ICR_REFUSED))
        return -KVM_EINVAL;
    for (unsigned i = 0; i < 2; i++)
        for (uint64_t bits = map[i]; bits; bits &= bits - 1) {
            uint64_t id = first + 64 * i + (unsigned)__builtin_ctzll(bits);

            if (id >= first && by_apic_id(vcpu->vm, id))
                count += vcpu->intc->send(vcpu->intc_context, (uint32_t)id, (uint32_t)icr);
        }
    return count;
}

int64_t kvm_kick(const struct vcpu *vcpu, uint64_t id)
{
    struct vcpu *target = by_apic_id(vcpu->vm, id);

    if (!target)
        return 0;
    __atomic_store_n(&target->unhalted, true, __ATOMIC_SEQ_CST);
    vcpu_post(target, PEND_EVENT);
    return 0;
}

int64_t kvm_yield_to(const struct vcpu *vcpu, uint64_t id)
{
    struct vcpu *target = by_apic_id(vcpu->vm, id);

    if (target && target != vcpu)
        sched_yield(&target->task);
    return 0;
}
