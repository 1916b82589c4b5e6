/* What CPUID tells the guest. Source: AMD APM vol. 3, appendix E; hypervisor leaves: Linux,
 * Documentation/virt/kvm/x86/cpuid.rst. */
#include "lib/guest.h"

#define KVM_FEATURE_CLOCKSOURCE2       BIT(3)
#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT(24)

static void text(char *to, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t words[3] = { a, b, c };

    memcpy(to, words, 12);
    to[12] = 0;
}

static bool same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static void test_basic(void)
{
    struct cpuid id = cpuid(0, 0), features = cpuid(1, 0);
    char vendor[13];

    text(vendor, id.ebx, id.edx, id.ecx);
    print("NOTE: vendor %s, highest leaf 0x%x\n", vendor, id.eax);
    check("vendor is AuthenticAMD or GenuineIntel",
          same(vendor, "AuthenticAMD") || same(vendor, "GenuineIntel"));
    check_range("highest leaf", id.eax, 1, 0x40);
    check("hypervisor bit", features.ecx >> 31 & 1);
    check("local APIC", features.edx >> 9 & 1);
    check("TSC and MSRs",
          (features.edx >> 4 & 3) == 3 - 0 || ((features.edx >> 4 & 1) && (features.edx >> 5 & 1)));
    check("no VMX", !(features.ecx >> 5 & 1));
    check("no SVM", !(cpuid(0x80000001, 0).ecx >> 2 & 1));
    check("long mode and NX", (cpuid(0x80000001, 0).edx >> 29 & 1) && (cpuid(0x80000001, 0).edx >> 20 & 1));
    qemu_differs();
    check("x2APIC", features.ecx >> 21 & 1);
    qemu_differs();
    check("TSC-deadline timer", features.ecx >> 24 & 1);
    qemu_differs();
    check("invariant TSC", cpuid(0x80000007, 0).edx >> 8 & 1);
    check_equal("OSXSAVE follows CR4", features.ecx >> 27 & 1, read_cr4() >> 18 & 1);
    if (features.ecx >> 26 & 1) {
        write_cr4(read_cr4() | BIT(18));
        check_equal("OSXSAVE shows once CR4 has it", cpuid(1, 0).ecx >> 27 & 1, 1);
        write_cr4(read_cr4() & ~BIT(18));
    }
}

static void test_hypervisor(void)
{
    struct cpuid id = cpuid(0x40000000, 0);
    char signature[13];

    text(signature, id.ebx, id.ecx, id.edx);
    print("NOTE: hypervisor signature %s\n", signature);
    qemu_differs();
    check("signature KVMKVMKVM", same(signature, "KVMKVMKVM"));
    qemu_differs();
    check("leaves up to 0x40000010", id.eax >= 0x40000010);
    qemu_differs();
    check("KVM clock by the new MSRs", cpuid(0x40000001, 0).eax & KVM_FEATURE_CLOCKSOURCE2);
    qemu_differs();
    check("KVM clock is stable", cpuid(0x40000001, 0).eax & KVM_FEATURE_CLOCKSOURCE_STABLE);
    qemu_differs();
    check_range("TSC kHz", cpuid(0x40000010, 0).eax, 10000, 10000000);
}

static void test_bounds(void)
{
    struct cpuid id = cpuid(0x80000000, 0), above;
    uint32_t leaf7 = cpuid(7, 0).eax;

    check_range("highest extended leaf", id.eax, 0x80000008, 0x80000040);
    above = cpuid(id.eax + 1, 0);
    note("first leaf above the extended ones: EAX", above.eax);
    above = cpuid(0x50000000, 0);
    note("leaf 0x50000000: EAX", above.eax);
    check_range("leaf 7: highest subleaf", leaf7, 0, 2);
    check_range("physical address bits", cpuid(0x80000008, 0).eax & 0xff, 36, 52);
    check_range("linear address bits", cpuid(0x80000008, 0).eax >> 8 & 0xff, 48, 57);
    check_equal("leaf 0x8000000a (SVM) is empty", cpuid(0x8000000a, 0).eax | cpuid(0x8000000a, 0).edx, 0);
    for (uint32_t leaf = 0; leaf < 0x100; leaf++) {
        cpuid(leaf, 0);
        cpuid(0x80000000 + leaf, 0);
        cpuid(0x40000000 + leaf, leaf);
        cpuid(0xd, leaf);
    }
    check("every leaf can be asked", true);
}

static void test_topology(void)
{
    struct cpuid id = cpuid(0xb, 0);

    if (cpuid(0, 0).eax >= 0xb) {
        check_equal("leaf 0xb: the APIC ID", id.edx & 0xff, cpuid(1, 0).ebx >> 24);
        check_equal("leaf 0xb: ECX counts the level", cpuid(0xb, 1).ecx & 0xff, 1);
    }
    check_equal("APIC ID of the boot CPU", cpuid(1, 0).ebx >> 24, 0);
}

void guest_main(void)
{
    test_basic();
    test_hypervisor();
    test_bounds();
    test_topology();
}
