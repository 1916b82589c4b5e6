/* Hypercalls: unknown ones return -KVM_ENOSYS and change nothing else. Source: Linux,
 * Documentation/virt/kvm/x86/hypercalls.rst. */
#include "lib/guest.h"

#define KVM_ENOSYS 1000
#define KVM_EPERM  1 /* what KVM says above ring 0 */

static bool intel(void)
{
    return cpuid(0, 0).ebx == 0x756e6547; /* "Genu" */
}

static uint64_t vmmcall(uint64_t number)
{
    uint64_t rbx = 0x1111, rcx = 0x2222, rdx = 0x3333, rsi = 0x4444;

    if (intel())
        __asm__ volatile("vmcall" : "+a"(number), "+b"(rbx), "+c"(rcx), "+d"(rdx), "+S"(rsi)::"memory");
    else
        __asm__ volatile("vmmcall" : "+a"(number), "+b"(rbx), "+c"(rcx), "+d"(rdx), "+S"(rsi)::"memory");
    check("the other registers stay", rbx == 0x1111 && rcx == 0x2222 && rdx == 0x3333 && rsi == 0x4444);
    return number;
}

static void call(void *result)
{
    *(uint64_t *)result = vmmcall(0xdead);
}

void guest_main(void)
{
    uint64_t result = 0;

    if (on_plain_qemu()) {
        qemu_differs();
        fail("there is a hypervisor", "plain QEMU");
        return;
    }
    check_equal("an unknown hypercall does not fault", (uint64_t)guarded(call, &result), (uint64_t)-1);
    check_equal("and returns -KVM_ENOSYS", result, (uint64_t)-KVM_ENOSYS);
    check_equal("the largest number as well", vmmcall(UINT64_MAX), (uint64_t)-KVM_ENOSYS);
}
