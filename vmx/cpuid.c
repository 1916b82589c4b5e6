#include "vmx/cpuid.h"
#include "lib/string.h"

/* Leaf 1 ECX. AMD APM vol. 3, E.3.2; Intel SDM vol. 2, CPUID. */
#define F1C_SSE3         BIT(0)
#define F1C_PCLMULQDQ    BIT(1)
#define F1C_SSSE3        BIT(9)
#define F1C_FMA          BIT(12)
#define F1C_CX16         BIT(13)
#define F1C_SSE41        BIT(19)
#define F1C_SSE42        BIT(20)
#define F1C_X2APIC       BIT(21)
#define F1C_MOVBE        BIT(22)
#define F1C_POPCNT       BIT(23)
#define F1C_TSC_DEADLINE BIT(24)
#define F1C_AES          BIT(25)
#define F1C_XSAVE        BIT(26)
#define F1C_AVX          BIT(28)
#define F1C_F16C         BIT(29)
#define F1C_RDRAND       BIT(30)
#define F1C_HYPERVISOR   BIT(31)

#define F1C_PASS                                                                                             \
    (F1C_SSE3 | F1C_PCLMULQDQ | F1C_SSSE3 | F1C_FMA | F1C_CX16 | F1C_SSE41 | F1C_SSE42 | F1C_MOVBE |         \
     F1C_POPCNT | F1C_AES | F1C_XSAVE | F1C_AVX | F1C_F16C | F1C_RDRAND)

/* Leaf 1 EDX: FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE
 * SSE2; HTT is ours. */
#define F1D_PASS  UINT32_C(0x078bfbff)
#define F1D_ADDED (BIT(9) | BIT(12)) /* APIC and MTRR are Plinth's own */
#define F1D_HTT   BIT(28)

/* Leaf 7 EBX: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA. No MPX, no INVPCID, no
 * AVX-512. */
#define F7B_PASS                                                                                             \
    (BIT(0) | BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(18) | BIT(19) | BIT(20) | BIT(23) | BIT(24) | \
     BIT(29))
/* Leaf 7 ECX: UMIP RDPID VAES VPCLMULQDQ. EDX: FSRM. */
#define F7C_PASS (BIT(2) | BIT(9) | BIT(10) | BIT(22))
#define F7D_PASS (BIT(4))

/* Leaf 0xd subleaf 1 EAX: XSAVEOPT XSAVEC XGETBV1. No XSAVES: IA32_XSS is not given. */
#define FD1_PASS (BIT(0) | BIT(1) | BIT(2))

/* Leaf 0xd subleaf 2 ECX: the component begins on 64 bytes in the compacted form. Not bit 0: no component is
 * for XSAVES. */
#define FD2_PASS BIT(1)

/* Leaf 0x80000001 ECX: LAHF ABM SSE4A MISALIGNSSE 3DNOWPREFETCH. No SVM, IBS, SKINIT, TBM, FMA4, TCE or perf
 * counters. */
#define FXC_PASS (BIT(0) | BIT(5) | BIT(6) | BIT(7) | BIT(8))
/* Leaf 0x80000001 EDX: the leaf 1 twins where the CPU has them, SYSCALL NX MMXEXT FFXSR 1G-pages RDTSCP LM.
 */
#define FXD_PASS (UINT32_C(0x0183f3ff) | BIT(11) | BIT(20) | BIT(22) | BIT(25) | BIT(26) | BIT(27) | BIT(29))

#define F80000007D_INVARIANT_TSC BIT(8)

/* XCR0: x87, SSE, AVX. */
#define XCR0_PASS UINT64_C(0x7)

/* KVM's paravirtual interface, which guests' stock kernels know (Linux:
 * Documentation/virt/kvm/x86/cpuid.rst). */
#define KVM_FEATURE_NOP_IO_DELAY       BIT(1)
#define KVM_FEATURE_CLOCKSOURCE2       BIT(3)
#define KVM_FEATURE_STEAL_TIME         BIT(5)
#define KVM_FEATURE_PV_UNHALT          BIT(7)
#define KVM_FEATURE_PV_TLB_FLUSH       BIT(9)
#define KVM_FEATURE_PV_SEND_IPI        BIT(11)
#define KVM_FEATURE_PV_SCHED_YIELD     BIT(13)
#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT(24)

static void build_basic(struct cpuid_table *t, const struct cpuid_config *c)
{
    struct cpuid_regs r;
    uint32_t host_max;

    c->host(0, 0, &r);
    host_max = r.eax;
    t->basic_max = host_max < CPUID_BASIC_MAX ? host_max : CPUID_BASIC_MAX;
    if (t->basic_max < 0xb)
        t->basic_max = 0xb; /* the topology leaf is Plinth's own */
    t->basic[0].regs = (struct cpuid_regs){ t->basic_max, r.ebx, r.ecx, r.edx };

    c->host(1, 0, &r);
    t->basic[1].regs.eax = r.eax;
    t->basic[1].regs.ebx = (c->apic_id << 24) | (c->vcpus << 16) | (r.ebx & 0xff00);
    t->basic[1].regs.ecx = (uint32_t)((r.ecx & F1C_PASS) | F1C_HYPERVISOR | F1C_X2APIC | F1C_TSC_DEADLINE);
    t->basic[1].regs.edx = (uint32_t)((r.edx & F1D_PASS) | F1D_ADDED | (c->vcpus > 1 ? F1D_HTT : 0));
    t->basic[1].fixup = CPUID_FEATURES;

    t->basic[6].regs.eax = BIT(2); /* ARAT: the APIC timer never stops */
    if (host_max >= 7) {
        c->host(7, 0, &r);
        t->basic[7].regs = (struct cpuid_regs){ 0, (uint32_t)(r.ebx & F7B_PASS), (uint32_t)(r.ecx & F7C_PASS),
                                                (uint32_t)(r.edx & F7D_PASS) };
    }
    t->basic[7].fixup = CPUID_SUBLEAF0;
    t->basic[0xb].fixup = CPUID_TOPOLOGY;
}

static void build_xsave(struct cpuid_table *t, const struct cpuid_config *c)
{
    struct cpuid_regs r;

    t->basic[0xd].fixup = CPUID_XSAVE;
    if (!(t->basic[1].regs.ecx & F1C_XSAVE) || t->basic_max < 0xd) {
        t->basic[1].regs.ecx &= ~(uint32_t)(F1C_XSAVE | F1C_AVX | F1C_FMA | F1C_F16C);
        t->basic[7].regs.ebx &= ~(uint32_t)BIT(5);
        t->basic[7].regs.ecx &= ~(uint32_t)(BIT(9) | BIT(10));
        return;
    }
    c->host(0xd, 0, &r);
    t->xcr0_allowed = r.eax & XCR0_PASS;
    t->xsave[0] = (struct cpuid_regs){ (uint32_t)t->xcr0_allowed, 0, 576, 0 };
    c->host(0xd, 1, &r);
    t->xsave[1].eax = r.eax & (uint32_t)FD1_PASS;
    for (uint32_t i = 2; i < CPUID_XSAVE_SUB; i++) {
        if (!(t->xcr0_allowed & BIT(i)))
            continue;
        c->host(0xd, i, &r);
        t->xsave[i] = (struct cpuid_regs){ r.eax, r.ebx, r.ecx & (uint32_t)FD2_PASS, 0 };
        if (r.eax + r.ebx > t->xsave[0].ecx)
            t->xsave[0].ecx = r.eax + r.ebx;
    }
}

static void build_kvm(struct cpuid_table *t, const struct cpuid_config *c)
{
    t->kvm[0].regs = (struct cpuid_regs){ 0x40000000 + CPUID_KVM_MAX, 0x4b4d564b, 0x564b4d56,
                                          0x4d }; /* KVMKVMKVM */
    t->kvm[1].regs.eax = (uint32_t)(KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 |
                                    KVM_FEATURE_STEAL_TIME | KVM_FEATURE_PV_UNHALT |
                                    KVM_FEATURE_PV_TLB_FLUSH | KVM_FEATURE_PV_SEND_IPI |
                                    KVM_FEATURE_PV_SCHED_YIELD | KVM_FEATURE_CLOCKSOURCE_STABLE);
    if (c->pv_eoi)
        t->kvm[1].regs.eax |= KVM_FEATURE_PV_EOI;
    t->kvm[CPUID_KVM_MAX].regs.eax = (uint32_t)(c->tsc_hz / 1000);
    t->kvm[CPUID_KVM_MAX].regs.ebx = c->apic_hz / 1000;
}

static void build_extended(struct cpuid_table *t, const struct cpuid_config *c)
{
    struct cpuid_regs r;
    uint32_t host_max;

    c->host(0x80000000, 0, &r);
    host_max = r.eax;
    t->extended[0].regs = (struct cpuid_regs){ 0x80000000 + CPUID_EXT_MAX, r.ebx, r.ecx, r.edx };
    c->host(0x80000001, 0, &r);
    t->extended[1].regs = (struct cpuid_regs){ r.eax, 0, (uint32_t)(r.ecx & FXC_PASS),
                                               (uint32_t)(r.edx & FXD_PASS) };
    for (uint32_t i = 2; i <= 6; i++)
        if (host_max >= 0x80000000 + i)
            c->host(0x80000000 + i, 0, &t->extended[i].regs);
    /* The guest's TSC runs on the host's, and kvmclock is told to be stable on it: say the same here. */
    t->extended[7].regs.edx = (uint32_t)F80000007D_INVARIANT_TSC;
    t->phys_bits = 36;
    if (host_max >= 0x80000008) {
        c->host(0x80000008, 0, &r);
        t->phys_bits = r.eax & 0xff;
        t->extended[8].regs.eax = r.eax & 0xffff;
    } else {
        t->extended[8].regs.eax = 0x3024;
    }
    t->extended[8].regs.ecx = c->vcpus - 1;
}

void cpuid_build(struct cpuid_table *table, const struct cpuid_config *config)
{
    memset(table, 0, sizeof(*table));
    table->apic_id = config->apic_id;
    build_basic(table, config);
    build_xsave(table, config);
    build_kvm(table, config);
    build_extended(table, config);
}

const struct cpuid_row cpuid_zero;

/* Size of the XSAVE area for the features in xcr0. */
static uint32_t xsave_size(const struct cpuid_table *table, uint64_t xcr0)
{
    uint32_t size = 576;

    for (unsigned i = 2; i < CPUID_XSAVE_SUB; i++)
        if ((xcr0 & BIT(i)) && table->xsave[i].eax + table->xsave[i].ebx > size)
            size = table->xsave[i].eax + table->xsave[i].ebx;
    return size;
}

static void fix_xsave(const struct cpuid_table *table, uint32_t subleaf, uint64_t xcr0,
                      struct cpuid_regs *out)
{
    if (subleaf >= CPUID_XSAVE_SUB || !table->xcr0_allowed) {
        *out = (struct cpuid_regs){ 0 };
        return;
    }
    *out = table->xsave[subleaf];
    if (subleaf <= 1)
        out->ebx = xsave_size(table, xcr0);
}

/* Each vCPU is a core of its own: one thread a core, all cores in one package (Intel SDM vol. 2, CPUID leaf
 * 0bh). */
static void fix_topology(const struct cpuid_table *table, uint32_t subleaf, struct cpuid_regs *out)
{
    uint32_t vcpus = table->extended[8].regs.ecx + 1, shift = 0;

    while ((UINT32_C(1) << shift) < vcpus)
        shift++;
    *out = (struct cpuid_regs){ 0, 0, subleaf & 0xff, table->apic_id };
    if (subleaf == 0) {
        out->ebx = 1;
        out->ecx |= 1 << 8;
    } else if (subleaf == 1) {
        out->eax = shift;
        out->ebx = vcpus;
        out->ecx |= 2 << 8;
    }
}

void cpuid_fix(const struct cpuid_table *table, const struct cpuid_row *row, uint32_t subleaf, uint64_t xcr0,
               struct cpuid_regs *out)
{
    *out = row->regs;
    switch (row->fixup) {
    case CPUID_SUBLEAF0:
        if (subleaf)
            *out = (struct cpuid_regs){ 0 };
        break;
    case CPUID_TOPOLOGY:
        fix_topology(table, subleaf, out);
        break;
    case CPUID_XSAVE:
        fix_xsave(table, subleaf, xcr0, out);
        break;
    default:
        break;
    }
}
