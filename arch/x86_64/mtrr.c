#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/cpu.h"

#define MSR_MTRR_CAP      0x0feu
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MSR_MTRR_BASE(n)  (0x200u + 2 * (n)) /* the mask follows */
#define MTRR_CAP_COUNT    UINT64_C(0xff)
#define MTRR_CAP_FIXED    BIT(8)
#define MTRR_ENABLE       BIT(11)
#define CPUID_MTRR        BIT(12) /* leaf 1 EDX */
#define FIXED             11
#define VARIABLE_MAX      32 /* pairs; CPUs have 8 to 10 */

static const uint32_t fixed_msr[FIXED] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                           0x26b, 0x26c, 0x26d, 0x26e, 0x26f };

static struct {
    unsigned count; /* of values; 0: there are none */
    uint64_t def_type;
    struct {
        uint32_t msr;
        uint64_t value;
    } range[FIXED + 2 * VARIABLE_MAX];
} mtrr;

static void add(uint32_t msr)
{
    mtrr.range[mtrr.count].msr = msr;
    mtrr.range[mtrr.count++].value = rdmsr(msr);
}

void mtrr_read(void)
{
    uint64_t cap;

    if (!(cpuid(1).edx & CPUID_MTRR))
        return;
    cap = rdmsr(MSR_MTRR_CAP);
    mtrr.def_type = rdmsr(MSR_MTRR_DEF_TYPE);
    for (unsigned i = 0; i < FIXED && (cap & MTRR_CAP_FIXED) != 0; i++)
        add(fixed_msr[i]);
    for (unsigned i = 0; i < min_u64(cap & MTRR_CAP_COUNT, VARIABLE_MAX); i++) {
        add(MSR_MTRR_BASE(i));
        add(MSR_MTRR_BASE(i) + 1);
    }
}

static bool is_same(void)
{
    if (rdmsr(MSR_MTRR_DEF_TYPE) != mtrr.def_type)
        return false;
    for (unsigned i = 0; i < mtrr.count; i++)
        if (rdmsr(mtrr.range[i].msr) != mtrr.range[i].value)
            return false;
    return true;
}

/* With the caches off and empty, and no translation kept that has an old type: SDM 12.11.7.2 and 12.11.8. */
static void load(void)
{
    uint64_t cr0 = read_cr0(), cr4 = read_cr4();

    write_cr0(cr0 | CR0_CD);
    __asm__ volatile("wbinvd" : : : "memory");
    write_cr4(cr4 & ~CR4_PGE);
    write_cr3(read_cr3());
    wrmsr(MSR_MTRR_DEF_TYPE, mtrr.def_type & ~MTRR_ENABLE);
    for (unsigned i = 0; i < mtrr.count; i++)
        wrmsr(mtrr.range[i].msr, mtrr.range[i].value);
    wrmsr(MSR_MTRR_DEF_TYPE, mtrr.def_type);
    __asm__ volatile("wbinvd" : : : "memory");
    write_cr3(read_cr3());
    write_cr0(cr0);
    write_cr4(cr4);
}

bool mtrr_follow(void)
{
    if (mtrr.count == 0 || is_same())
        return false;
    load();
    return true;
}
