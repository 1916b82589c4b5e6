/*
 * The breakpoint addresses, DR0 to DR3, which neither VMRUN nor a VM entry switches. Few guests use them, so a
 * guest gets them at its first access, which exits, and keeps them for as long as it has a breakpoint
 * enabled. The CPU's are 0 otherwise: what other guests left there would show in DR6. Source: AMD APM vol. 2,
 * 13.1.1; Intel SDM vol. 3, 18.2.
 */
#include "vmx/vcpu.h"
#include "arch/x86_64/cpu.h"

#define DR7_ENABLED UINT64_C(0xff) /* L0, G0 to L3, G3 */

void debug_load(const struct vcpu *vcpu)
{
    write_debug_registers(vcpu->dr);
}

void debug_unload(struct vcpu *vcpu)
{
    static const uint64_t none[4];

    read_debug_registers(vcpu->dr);
    write_debug_registers(none);
    if (vmx_ops->dr7(vcpu) & DR7_ENABLED)
        return;
    vcpu->dr_used = false;
    vmx_ops->debug_exits(vcpu, true);
}

/* The instruction is executed again. */
void exit_debug(struct vcpu *vcpu)
{
    vcpu->dr_used = true;
    debug_load(vcpu);
    vmx_ops->debug_exits(vcpu, false);
}
