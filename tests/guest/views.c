/* Prints what the guest sees of its CPU, line by line, for a comparison of the CPU vendors: each CPUID leaf, and
 * each MSR that can be read. */
#include "lib/guest.h"


struct range {
    uint32_t first, count;
};

static void view_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r = cpuid(leaf, subleaf);

    if (!(r.eax | r.ebx | r.ecx | r.edx))
        return;
    print("VIEW cpuid %x.%x EAX %x\n", leaf, subleaf, r.eax);
    print("VIEW cpuid %x.%x EBX %x\n", leaf, subleaf, r.ebx);
    print("VIEW cpuid %x.%x ECX %x\n", leaf, subleaf, r.ecx);
    print("VIEW cpuid %x.%x EDX %x\n", leaf, subleaf, r.edx);
}

static void view_leaves(void)
{
    static const uint32_t bases[] = { 0, 0x40000000, 0x80000000 };

    for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
        for (uint32_t leaf = bases[i]; leaf <= cpuid(bases[i], 0).eax; leaf++)
            for (uint32_t subleaf = 0; subleaf < (leaf == 0xd || leaf == 0xb ? 3 : 1); subleaf++)
                view_cpuid(leaf, subleaf);
}

/* The TSC's value is of the moment. */
static void view_msrs(void)
{
    static const struct range ranges[] = {
        { 0, 0x2000 }, { 0x4b564d00, 0x100 }, { 0xc0000000, 0x2000 }, { 0xc0010000, 0x2000 }
    };

    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++)
        for (uint32_t msr = ranges[i].first; msr < ranges[i].first + ranges[i].count; msr++) {
            uint64_t value;

            if (rdmsr_safe(msr, &value))
                print("VIEW msr %x value %llx\n", msr, (unsigned long long)(msr == MSR_TSC ? 0 : value));
        }
}

void guest_main(void)
{
    view_leaves();
    view_msrs();
    check("all was printed", true);
}
