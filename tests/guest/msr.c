/* Every model-specific register: it has a value or it faults, and the known ones have sane rules. Source: AMD
 * APM vol. 2, appendix A. */
#include "lib/guest.h"

struct range {
    uint32_t first, count;
};

static void read_all(void)
{
    static const struct range ranges[] = {
        { 0, 0x2000 },         { 0x40000000, 0x200 },  { 0x4b564d00, 0x100 },
        { 0x80000000, 0x100 }, { 0xc0000000, 0x2000 }, { 0xc0010000, 0x2000 },
    };
    unsigned values = 0, faults = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++)
        for (uint32_t msr = ranges[i].first; msr < ranges[i].first + ranges[i].count; msr++) {
            uint64_t value;

            *(rdmsr_safe(msr, &value) ? &values : &faults) += 1;
        }
    print("NOTE: %u MSRs can be read, %u fault\n", values, faults);
    check("reading every MSR leaves the guest alive", values > 10);
    qemu_differs();
    check("most do not exist", faults > values);
}

static void write_back(void)
{
    static const uint32_t known[] = { MSR_PAT,   MSR_EFER,   MSR_STAR,      MSR_LSTAR,
                                      MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS, MSR_APIC_BASE,
                                      0x174,     0x175,      0x176 };
    uint64_t value;
    bool good = true;

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (!rdmsr_safe(known[i], &value) || !wrmsr_safe(known[i], value)) {
            note("MSR that does not take its own value", known[i]);
            good = false;
        }
    check("each known MSR takes back its own value", good);
}

static void keeps(const char *what, uint32_t msr, uint64_t value)
{
    uint64_t old = rdmsr(msr);

    wrmsr(msr, value);
    check_equal(what, rdmsr(msr), value);
    wrmsr(msr, old);
}

static void test_values(void)
{
    uint64_t value;

    check_equal("PAT after reset", rdmsr(MSR_PAT), 0x0007040600070406);
    check_equal("EFER: LME, LMA, NXE as set at start", rdmsr(MSR_EFER) & 0xd00, 0xd00);
    check_equal("EFER: no SVME", rdmsr(MSR_EFER) & BIT(12), 0);
    keeps("STAR", MSR_STAR, 0x0023001000000000);
    keeps("LSTAR", MSR_LSTAR, 0xffffffff81000000);
    keeps("CSTAR", MSR_CSTAR, 0xffffffff82000000);
    keeps("SFMASK", MSR_SFMASK, 0x47700);
    keeps("KERNEL_GS_BASE", MSR_KERNEL_GS, 0xffff888000000000);
    keeps("FS_BASE", MSR_FS_BASE, 0x7fff12345678);
    keeps("GS_BASE", MSR_GS_BASE, 0xffff888012345678);
    keeps("SYSENTER_CS", 0x174, 0x10);
    keeps("SYSENTER_ESP", 0x175, 0xffffc90000001000);
    keeps("SYSENTER_EIP", 0x176, 0xffffffff81234567);
    keeps("PAT, another order", MSR_PAT, 0x0407050600070106);
    qemu_differs();
    check("TSC runs", (value = rdmsr(MSR_TSC), rdmsr(MSR_TSC) > value));
    qemu_differs();
    check_range("MSR TSC and RDTSC agree", rdmsr(MSR_TSC) - rdtsc() + 100000000, 0, 200000000);
}

static void faults(const char *what, uint32_t msr, uint64_t value)
{
    check(what, !wrmsr_safe(msr, value));
}

static void test_reserved(void)
{
    uint64_t efer = rdmsr(MSR_EFER), value;

    qemu_differs();
    faults("EFER, bit 1: #GP", MSR_EFER, efer | BIT(1));
    qemu_differs();
    faults("EFER, bit 63: #GP", MSR_EFER, efer | BIT(63));
    qemu_differs();
    faults("EFER, SVME without SVM: #GP", MSR_EFER, efer | BIT(12));
    qemu_differs();
    faults("EFER, LME changed under paging: #GP", MSR_EFER, efer & ~BIT(8));
    qemu_differs();
    faults("PAT, type 2: #GP", MSR_PAT, 0x0007040600070402);
    qemu_differs();
    faults("PAT, type 8: #GP", MSR_PAT, 0x0807040600070406);
    qemu_differs();
    faults("APIC base, reserved bit: #GP", MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1);
    qemu_differs();
    check("VM_HSAVE_PA without SVM: #GP", !rdmsr_safe(0xc0010117, &value));
    qemu_differs();
    check("an MSR that does not exist: #GP on reading", !rdmsr_safe(0x1fff, &value));
    qemu_differs();
    faults("and on writing", 0x1fff, 0);
    check_equal("#GP has error code 0", fault_error, 0);
}

/* Whatever a write to the TSC does, it does not fault, and time goes on. */
static void test_tsc(void)
{
    uint64_t before = rdtsc();

    check("the TSC takes a write", wrmsr_safe(MSR_TSC, before));
    before = rdtsc();
    check("and runs on", rdtsc() > before);
}

void guest_main(void)
{
    tsc_khz();
    test_values();
    test_reserved();
    write_back();
    test_tsc();
    read_all();
}
