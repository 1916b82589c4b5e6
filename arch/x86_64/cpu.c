#include "arch/x86_64/cpu.h"
#include "lib/string.h"

struct cpu_features cpu_features;

enum cpuid_register { EAX, EBX, ECX, EDX };

/* Source: AMD APM vol. 3, appendix E; Intel SDM vol. 2, CPUID. */
static const struct {
    uint32_t leaf;
    enum cpuid_register reg;
    unsigned bit;
} feature_table[CPU_FEATURES] = {
    [CPU_X2APIC] = { 0x00000001, ECX, 21 }, [CPU_TSC_DEADLINE] = { 0x00000001, ECX, 24 },
    [CPU_XSAVE] = { 0x00000001, ECX, 26 },  [CPU_HYPERVISOR] = { 0x00000001, ECX, 31 },
    [CPU_VMX] = { 0x00000001, ECX, 5 },     [CPU_SVM] = { 0x80000001, ECX, 2 },
    [CPU_NX] = { 0x80000001, EDX, 20 },     [CPU_PAGE_1G] = { 0x80000001, EDX, 26 },
    [CPU_RDTSCP] = { 0x80000001, EDX, 27 }, [CPU_INVARIANT_TSC] = { 0x80000007, EDX, 8 },
    [CPU_SMEP] = { 0x00000007, EBX, 7 },    [CPU_SMAP] = { 0x00000007, EBX, 20 },
    [CPU_UMIP] = { 0x00000007, ECX, 2 },    [CPU_PGE] = { 0x00000001, EDX, 13 },
    [CPU_PAT] = { 0x00000001, EDX, 16 },    [CPU_MCE] = { 0x00000001, EDX, 7 },
};

static bool feature_present(unsigned index)
{
    uint32_t leaf = feature_table[index].leaf;
    uint32_t max = leaf >= 0x80000000 ? cpu_features.max_ext_leaf : cpu_features.max_leaf;

    if (leaf > max)
        return false;
    struct cpuid id = cpuid(leaf);
    uint32_t reg[] = { id.eax, id.ebx, id.ecx, id.edx };

    return (reg[feature_table[index].reg] & BIT(feature_table[index].bit)) != 0;
}

static void read_vendor(void)
{
    struct cpuid id = cpuid(0);

    cpu_features.max_leaf = id.eax;
    memcpy(cpu_features.vendor_name, &id.ebx, 4);
    memcpy(cpu_features.vendor_name + 4, &id.edx, 4);
    memcpy(cpu_features.vendor_name + 8, &id.ecx, 4);
    if (strcmp(cpu_features.vendor_name, "GenuineIntel") == 0)
        cpu_features.vendor = CPU_VENDOR_INTEL;
    else if (strcmp(cpu_features.vendor_name, "AuthenticAMD") == 0)
        cpu_features.vendor = CPU_VENDOR_AMD;
}

static void read_brand(void)
{
    char text[49] = "";

    if (cpu_features.max_ext_leaf < 0x80000004) {
        memcpy(cpu_features.brand, cpu_features.vendor_name, sizeof(cpu_features.vendor_name));
        return;
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct cpuid id = cpuid(0x80000002 + i);

        memcpy(text + 16 * i, &id, sizeof(id));
    }

    size_t start = 0, end = strnlen(text, sizeof(text) - 1);

    while (text[start] == ' ')
        start++;
    while (end > start && text[end - 1] == ' ')
        end--;
    memcpy(cpu_features.brand, text + start, end - start);
}

void cpu_init(void)
{
    read_vendor();
    cpu_features.max_ext_leaf = cpuid(0x80000000).eax;
    read_brand();
    cpu_features.maxphyaddr = cpu_features.max_ext_leaf >= 0x80000008 ? cpuid(0x80000008).eax & 0xff : 36;
    for (unsigned i = 0; i < CPU_FEATURES; i++)
        if (feature_present(i))
            cpu_features.has |= (uint32_t)BIT(i);
}

const char *cpu_lacks(void)
{
    static const char *const names[CPU_FEATURES] = {
        [CPU_X2APIC] = "x2APIC", [CPU_TSC_DEADLINE] = "the TSC-deadline timer",
        [CPU_XSAVE] = "XSAVE",   [CPU_HYPERVISOR] = "the hypervisor bit",
        [CPU_VMX] = "VT-x",      [CPU_SVM] = "AMD-V",
        [CPU_NX] = "NX",         [CPU_PAGE_1G] = "1 GiB pages",
        [CPU_RDTSCP] = "RDTSCP", [CPU_INVARIANT_TSC] = "the invariant TSC",
        [CPU_SMEP] = "SMEP",     [CPU_SMAP] = "SMAP",
        [CPU_UMIP] = "UMIP",     [CPU_PGE] = "global pages",
        [CPU_PAT] = "PAT",       [CPU_MCE] = "machine checks",
    };

    if (cpuid(0).eax < cpu_features.max_leaf || cpuid(0x80000000).eax < cpu_features.max_ext_leaf)
        return "CPUID leaves";
    for (unsigned i = 0; i < CPU_FEATURES; i++)
        if (cpu_has(i) && !feature_present(i))
            return names[i];
    return NULL;
}

void cpu_enable_protections(void)
{
    static const struct {
        enum cpu_feature feature;
        uint64_t bit;
    } wanted[] = {
        { CPU_PGE, CR4_PGE },   { CPU_MCE, CR4_MCE },   { CPU_SMEP, CR4_SMEP },
        { CPU_SMAP, CR4_SMAP }, { CPU_UMIP, CR4_UMIP },
    };
    uint64_t cr4 = CR4_PAE;

    for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
        if (cpu_has(wanted[i].feature))
            cr4 |= wanted[i].bit;
    write_cr4(cr4);
    write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_ET | CR0_PE);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
}
