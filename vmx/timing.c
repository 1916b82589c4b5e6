#include "vmx/timing.h"
#include "arch/x86_64/tsc.h"
#include "vmx/vcpu.h"

void timing_begin(struct vcpu *vcpu, uint64_t until)
{
    __atomic_store_n(&vcpu->timing.until, until, __ATOMIC_RELAXED);
    __atomic_store_n(&vcpu->on_exit, timing_exit, __ATOMIC_RELEASE);
}

/* The reason is that of the exit, also if it was the vCPU's last one. */
bool timing_exit(struct vcpu *vcpu, void *context)
{
    struct timing *timing = &vcpu->timing;
    uint64_t start = tsc_now(), end;
    bool again = vmx_ops->exit(vcpu, context);
    unsigned reason = vcpu->exit.reason;

    end = tsc_now();
    timing->ticks[reason] += end - start;
    timing->count[reason]++;
    if (end - start > timing->longest) {
        timing->longest = end - start;
        timing->longest_reason = reason;
    }
    if (end >= __atomic_load_n(&timing->until, __ATOMIC_RELAXED))
        __atomic_store_n(&vcpu->on_exit, vmx_ops->exit, __ATOMIC_RELAXED);
    return again;
}
