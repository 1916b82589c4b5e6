/* CPUID as a guest sees it: what passes of the host's, what Plinth adds, and the rows that depend on the
 * moment. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "lib/string.h"
#include "vmx/cpuid.h"

#define TSC_HZ  UINT64_C(2994373000)
#define APIC_HZ UINT32_C(1000000000)

/* --- Hosts
 * ---------------------------------------------------------------------------------------------------- */

/* Whatever is asked, every bit is set: what then comes through is what Plinth names. */
static void host_ones(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out)
{
    (void)leaf;
    (void)subleaf;
    *out = (struct cpuid_regs){ UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX };
}

/* A CPU with leaf 1 and 0x80000001 and nothing in them. */
static void host_bare(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out)
{
    (void)subleaf;
    *out = (struct cpuid_regs){ 0 };
    if (leaf == 0)
        out->eax = 1;
    else if (leaf == 0x80000000)
        out->eax = 0x80000001;
}

/* What host_amd() answers; leaves that are not here are zero. */
static const struct {
    uint32_t leaf, subleaf;
    struct cpuid_regs regs;
} amd[] = {
    { 0x00000000, 0, { 0x10, 0x68747541, 0x444d4163, 0x69746e65 } }, /* AuthenticAMD */
    { 0x00000001, 0, { 0x00800f12, 0x07080800, 0x7ed8320b, 0x178bfbff } },
    { 0x00000007, 0, { 0, 0x209c01a9, 0x00400600, 0 } },
    { 0x0000000d, 0, { 0x07, 0x340, 0x340, 0 } },
    { 0x0000000d, 1, { 0x0f, 0x340, 0, 0 } },
    { 0x0000000d, 2, { 0x100, 0x240, 0, 0 } },
    { 0x80000000, 0, { 0x8000001f, 0x68747541, 0x444d4163, 0x69746e65 } },
    { 0x80000001, 0, { 0x00800f12, 0x40000000, 0x35c233ff, 0x2fd3fbff } },
    { 0x80000002, 0, { 0x20444d41, 0x43595045, 0x36373020, 0x20312020 } },
    { 0x80000004, 0, { 0x20726f73, 0x20202020, 0x20202020, 0x00202020 } },
    { 0x80000006, 0, { 0x36006400, 0x56006400, 0x02006140, 0x02008140 } },
    { 0x80000008, 0, { 0x00003030, 0x00001007, 0x00006007, 0 } },
    { 0x8000000a, 0, { 1, 0x8000, 0, 0x0001bcff } },
};

static unsigned amd_without_xsave, amd_max_basic = 0x10;

static void host_amd(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out)
{
    *out = (struct cpuid_regs){ 0 };
    for (size_t i = 0; i < ARRAY_SIZE(amd); i++)
        if (amd[i].leaf == leaf && amd[i].subleaf == subleaf)
            *out = amd[i].regs;
    if (leaf == 0)
        out->eax = amd_max_basic;
    if (leaf == 1 && amd_without_xsave)
        out->ecx &= ~(uint32_t)BIT(26);
}

/* --- Helpers
 * -------------------------------------------------------------------------------------------------- */

static struct cpuid_table table;
static bool pv_eoi;

static void build(void (*host)(uint32_t, uint32_t, struct cpuid_regs *), uint32_t apic_id, uint32_t vcpus)
{
    const struct cpuid_config config = { .apic_id = apic_id,
                                         .vcpus = vcpus,
                                         .tsc_hz = TSC_HZ,
                                         .apic_hz = APIC_HZ,
                                         .pv_eoi = pv_eoi,
                                         .host = host };

    memset(&table, 0xa5, sizeof(table)); /* cpuid_build() must not rely on what was there */
    cpuid_build(&table, &config);
}

/* What the guest reads, by the steps of the exit handler. */
static struct cpuid_regs guest(uint32_t leaf, uint32_t subleaf, uint64_t xcr0)
{
    struct cpuid_regs regs;

    cpuid_fix(&table, cpuid_find(&table, leaf), subleaf, xcr0, &regs);
    return regs;
}

static void assert_regs(struct cpuid_regs regs, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    assert_int_equal(regs.eax, eax);
    assert_int_equal(regs.ebx, ebx);
    assert_int_equal(regs.ecx, ecx);
    assert_int_equal(regs.edx, edx);
}

static int reset(void **state)
{
    (void)state;
    amd_without_xsave = 0;
    amd_max_basic = 0x10;
    pv_eoi = false;
    return 0;
}

/* --- What may pass
 * -------------------------------------------------------------------------------------------- */

/* Each list is written out here a second time, bit by bit from the manuals, so that no bit slips into the
 * code's masks. */
static uint32_t bits(const unsigned *bit, size_t count)
{
    uint32_t value = 0;

    for (size_t i = 0; i < count; i++)
        value |= UINT32_C(1) << bit[i];
    return value;
}

#define BITS(...) bits((const unsigned[]){ __VA_ARGS__ }, ARRAY_SIZE(((const unsigned[]){ __VA_ARGS__ })))

static void leaf_1_passes_only_what_is_named(void **state)
{
    struct cpuid_regs r;

    (void)state;
    build(host_ones, 0, 1);
    r = guest(1, 0, 1);
    /* SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES XSAVE AVX F16C RDRAND
     * hypervisor */
    assert_int_equal(r.ecx, BITS(0, 1, 9, 12, 13, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 31));
    /* all up to CLFSH but the reserved ones and the serial number, MMX FXSR SSE SSE2; no HTT with one vCPU */
    assert_int_equal(r.edx,
                     BITS(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26));
}

static void leaf_1_hides_virtualisation_and_monitor(void **state)
{
    (void)state;
    build(host_ones, 0, 1);
    assert_false(guest(1, 0, 1).ecx & BITS(3, 5));       /* MONITOR, VMX */
    assert_false(guest(1, 0, 1).ecx & BITS(15, 18, 27)); /* PDCM, DCA; OSXSAVE is CR4's */
    assert_false(guest(0x80000001, 0, 1).ecx & BITS(2)); /* SVM */
    assert_false(guest(0x80000001, 0, 1).ecx &
                 BITS(10, 12, 13, 15, 23, 24, 29)); /* IBS SKINIT WDT LWP perf MONITORX */
}

static void leaf_7_passes_only_what_is_named(void **state)
{
    struct cpuid_regs r;

    (void)state;
    build(host_ones, 0, 1);
    r = guest(7, 0, 1);
    /* EBX: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA; ECX: UMIP VAES VPCLMULQDQ
     * RDPID; EDX: FSRM */
    assert_regs(r, 0, BITS(0, 3, 5, 7, 8, 9, 18, 19, 20, 23, 24, 29), BITS(2, 9, 10, 22), BITS(4));
}

static void leaf_7_has_one_subleaf(void **state)
{
    (void)state;
    build(host_ones, 0, 1);
    assert_regs(guest(7, 1, 1), 0, 0, 0, 0);
    assert_regs(guest(7, UINT32_MAX, 1), 0, 0, 0, 0);
}

static void leaf_80000001_passes_only_what_is_named(void **state)
{
    struct cpuid_regs r;

    (void)state;
    build(host_ones, 0, 1);
    r = guest(0x80000001, 0, 1);
    assert_int_equal(r.ebx, 0);
    assert_int_equal(r.ecx, BITS(0, 5, 6, 7, 8)); /* LAHF ABM SSE4A MISALIGNSSE 3DNOWPREFETCH */
    /* the twins of leaf 1, SYSCALL NX MMXEXT FFXSR 1G pages RDTSCP LM; no 3DNow */
    assert_int_equal(r.edx, BITS(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23, 24, 25,
                                 26, 27, 29));
}

/* Leaves that a host answers but that Plinth says nothing about: thermal and power, monitor, performance,
 * debug, SGX... */
static void other_leaves_are_empty(void **state)
{
    static const uint32_t empty[] = { 2, 3, 4, 5, 8, 9, 0xa, 0xc };

    (void)state;
    build(host_ones, 0, 4);
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        assert_regs(guest(empty[i], 0, 1), 0, 0, 0, 0);
    assert_regs(guest(6, 0, 1), BITS(2), 0, 0, 0);          /* ARAT alone */
    assert_regs(guest(0x80000007, 0, 1), 0, 0, 0, BITS(8)); /* invariant TSC alone */
    assert_int_equal(guest(0x80000008, 0, 1).ebx, 0);
}

static void a_bare_host_gets_only_what_plinth_makes(void **state)
{
    struct cpuid_regs r;

    (void)state;
    build(host_bare, 0, 1);
    r = guest(1, 0, 1);
    assert_int_equal(r.ecx, BITS(21, 24, 31)); /* x2APIC, TSC-deadline, hypervisor */
    assert_int_equal(r.edx, BITS(9, 12));      /* APIC, MTRR */
    assert_regs(guest(7, 0, 1), 0, 0, 0, 0);
    assert_int_equal(guest(0x80000001, 0, 1).edx, 0);
    assert_int_equal(guest(0x80000008, 0, 1).eax,
                     0x3024); /* 36 physical, 48 linear address bits: what leaf 8 is absent for */
    assert_int_equal(table.phys_bits, 36);
}

static void names_and_address_bits_are_the_hosts(void **state)
{
    (void)state;
    build(host_amd, 0, 1);
    assert_int_equal(guest(0, 0, 1).ebx, 0x68747541);
    assert_int_equal(guest(0, 0, 1).ecx, 0x444d4163);
    assert_int_equal(guest(0, 0, 1).edx, 0x69746e65);
    assert_int_equal(guest(1, 0, 1).eax, 0x00800f12);
    assert_regs(guest(0x80000002, 0, 1), 0x20444d41, 0x43595045, 0x36373020, 0x20312020);
    assert_regs(guest(0x80000006, 0, 1), 0x36006400, 0x56006400, 0x02006140, 0x02008140);
    assert_int_equal(guest(0x80000008, 0, 1).eax, 0x3030);
    assert_int_equal(table.phys_bits, 0x30);
}

/* --- Plinth's own leaves
 * -------------------------------------------------------------------------------------- */

static void kvm_leaves(void **state)
{
    struct cpuid_regs r;

    (void)state;
    build(host_ones, 0, 1);
    r = guest(0x40000000, 0, 1);
    assert_int_equal(r.eax, 0x40000010);
    assert_memory_equal(&r.ebx, "KVMKVMKVM\0\0\0", 12);
    /* no I/O delay needed, the clock MSRs 0x4b564d00 and 01, and their clock is stable over all vCPUs;
     * nothing else */
    assert_regs(guest(0x40000001, 0, 1), BITS(1, 3, 5, 7, 9, 11, 13, 24), 0, 0, 0);
    pv_eoi = true; /* where software has the local APIC */
    build(host_ones, 0, 1);
    assert_regs(guest(0x40000001, 0, 1), BITS(1, 3, 5, 6, 7, 9, 11, 13, 24), 0, 0, 0);
    for (uint32_t leaf = 0x40000002; leaf < 0x40000010; leaf++)
        assert_regs(guest(leaf, 0, 1), 0, 0, 0, 0);
    assert_regs(guest(0x40000010, 0, 1), (uint32_t)(TSC_HZ / 1000), APIC_HZ / 1000, 0, 0); /* kHz */
}

static void apic_id_and_vcpu_count(void **state)
{
    (void)state;
    build(host_amd, 3, 4);
    assert_int_equal(guest(1, 0, 1).ebx >> 24, 3);
    assert_int_equal(guest(1, 0, 1).ebx >> 16 & 0xff, 4);
    assert_int_equal(guest(1, 0, 1).ebx & 0xffff, 0x0800); /* CLFLUSH line of 64 bytes; brand index 0 */
    assert_true(guest(1, 0, 1).edx & BITS(28));            /* HTT */
    assert_int_equal(guest(0x80000008, 0, 1).ecx, 3);      /* cores - 1 */
    build(host_amd, 0, 1);
    assert_false(guest(1, 0, 1).edx & BITS(28));
    assert_int_equal(guest(0x80000008, 0, 1).ecx, 0);
}

static void check_topology(uint32_t vcpus, uint32_t shift)
{
    for (uint32_t id = 0; id < vcpus; id++) {
        build(host_amd, id, vcpus);
        assert_regs(guest(0xb, 0, 1), 0, 1, 0x100, id);         /* SMT level: one thread */
        assert_regs(guest(0xb, 1, 1), shift, vcpus, 0x201, id); /* core level: all vCPUs */
        assert_regs(guest(0xb, 2, 1), 0, 0, 2, id);             /* no level: type 0 */
        assert_regs(guest(0xb, 0x1ff, 1), 0, 0, 0xff, id);      /* ECX[7:0] gives the subleaf back */
        assert_true(vcpus <= UINT32_C(1) << shift);             /* each APIC ID fits */
    }
}

static void topology(void **state)
{
    (void)state;
    check_topology(1, 0);
    check_topology(2, 1);
    check_topology(3, 2);
    check_topology(4, 2);
    check_topology(16, 4);
}

/* --- Bounds
 * --------------------------------------------------------------------------------------------------- */

static void leaves_beyond_the_last_are_zero(void **state)
{
    static const uint32_t outside[] = { 0xe,        0xf,        0x10,       0x80,       0x3fffffff,
                                        0x40000011, 0x40000100, 0x7fffffff, 0x80000009, 0x8000000a,
                                        0x8000001f, 0x80860000, 0xc0000000, UINT32_MAX };

    (void)state;
    build(host_ones, 0, 1);
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
        assert_ptr_equal(cpuid_find(&table, outside[i]), &cpuid_zero);
        assert_regs(guest(outside[i], 0, 7), 0, 0, 0, 0);
    }
}

static void the_maxima_are_told(void **state)
{
    (void)state;
    build(host_ones, 0, 1);
    assert_int_equal(guest(0, 0, 1).eax, 0xd);
    assert_int_equal(guest(0x80000000, 0, 1).eax, 0x80000008);
    build(host_bare, 0, 1);
    assert_int_equal(guest(0, 0, 1).eax, 0xb); /* the topology leaf is there on any host */
    assert_regs(guest(0xb, 0, 1), 0, 1, 0x100, 0);
    assert_ptr_equal(cpuid_find(&table, 0xd), &cpuid_zero);
    for (amd_max_basic = 7; amd_max_basic <= 0x10; amd_max_basic++) {
        build(host_amd, 0, 1);
        assert_int_equal(guest(0, 0, 1).eax, amd_max_basic < 0xb   ? 0xb
                                             : amd_max_basic > 0xd ? 0xd
                                                                   : amd_max_basic);
    }
}

/* --- OSXSAVE and XSAVE
 * ---------------------------------------------------------------------------------------- */

static void osxsave_mirrors_cr4(void **state)
{
    (void)state;
    assert_int_equal(cpuid_osxsave(0), 0);
    assert_int_equal(cpuid_osxsave(BIT(18)), BITS(27));
    assert_int_equal(cpuid_osxsave(~BIT(18)), 0);
    assert_int_equal(cpuid_osxsave(UINT64_MAX), BITS(27));
    build(host_ones, 0, 1);
    assert_int_equal(cpuid_find(&table, 1)->fixup,
                     CPUID_FEATURES); /* what tells the exit handler to add it */
}

static void xsave_sizes_follow_xcr0(void **state)
{
    (void)state;
    build(host_amd, 0, 1);
    assert_int_equal(table.xcr0_allowed, 7);
    assert_regs(guest(0xd, 0, 1), 7, 576, 832, 0);
    assert_regs(guest(0xd, 0, 3), 7, 576, 832, 0);
    assert_regs(guest(0xd, 0, 7), 7, 832, 832, 0);           /* 256 bytes of AVX at 576 */
    assert_regs(guest(0xd, 1, 7), BITS(0, 1, 2), 832, 0, 0); /* XSAVEOPT XSAVEC XGETBV1, no XSAVES */
    assert_regs(guest(0xd, 1, 1), BITS(0, 1, 2), 576, 0, 0);
    assert_regs(guest(0xd, 2, 7), 256, 576, 0, 0);
}

static void xsave_has_no_other_components(void **state)
{
    static const uint32_t absent[] = { 3, 4, 5, 9, 10, 62, 63, UINT32_MAX };

    (void)state;
    build(host_ones, 0, 1);
    assert_int_equal(table.xcr0_allowed, 7);
    assert_int_equal(guest(0xd, 0, 7).edx, 0);
    assert_int_equal(guest(0xd, 2, 7).ecx, BITS(1)); /* aligned when compacted; never a component of XSAVES */
    assert_int_equal(guest(0xd, 2, 7).edx, 0);
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
        assert_regs(guest(0xd, absent[i], 7), 0, 0, 0, 0);
}

/* Without XSAVE there is no AVX state, so nothing that needs it may be there. */
static void assert_no_xsave(void)
{
    assert_int_equal(table.xcr0_allowed, 0);
    assert_false(guest(1, 0, 1).ecx & BITS(12, 26, 28, 29)); /* FMA XSAVE AVX F16C */
    assert_false(guest(7, 0, 1).ebx & BITS(5));              /* AVX2 */
    assert_false(guest(7, 0, 1).ecx & BITS(9, 10));          /* VAES VPCLMULQDQ */
    assert_regs(guest(0xd, 0, 1), 0, 0, 0, 0);
    assert_regs(guest(0xd, 1, 1), 0, 0, 0, 0);
}

static void without_xsave_there_is_no_avx(void **state)
{
    (void)state;
    build(host_amd, 0, 1);
    assert_true(guest(1, 0, 1).ecx & BITS(28));
    assert_true(guest(7, 0, 1).ebx & BITS(5));
    assert_int_equal(guest(7, 0, 1).ecx, BITS(9, 10, 22));
    amd_without_xsave = 1;
    build(host_amd, 0, 1);
    assert_no_xsave();
    assert_true(guest(1, 0, 1).ecx & BITS(0)); /* SSE3 stays */
    amd_without_xsave = 0;
    amd_max_basic = 0xc; /* the feature bit, but no leaf that tells the sizes */
    build(host_amd, 0, 1);
    assert_no_xsave();
}

/* The fixed-up rows give the same whatever was asked before: nothing is kept in the table. */
static void answers_do_not_depend_on_order(void **state)
{
    struct cpuid_table before;

    (void)state;
    build(host_amd, 1, 2);
    before = table;
    (void)guest(0xd, 0, 7);
    (void)guest(0xb, 1, 1);
    (void)guest(7, 1, 1);
    (void)guest(1, 0, 1);
    assert_memory_equal(&before, &table, sizeof(table));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(leaf_1_passes_only_what_is_named, reset),
        cmocka_unit_test_setup(leaf_1_hides_virtualisation_and_monitor, reset),
        cmocka_unit_test_setup(leaf_7_passes_only_what_is_named, reset),
        cmocka_unit_test_setup(leaf_7_has_one_subleaf, reset),
        cmocka_unit_test_setup(leaf_80000001_passes_only_what_is_named, reset),
        cmocka_unit_test_setup(other_leaves_are_empty, reset),
        cmocka_unit_test_setup(a_bare_host_gets_only_what_plinth_makes, reset),
        cmocka_unit_test_setup(names_and_address_bits_are_the_hosts, reset),
        cmocka_unit_test_setup(kvm_leaves, reset),
        cmocka_unit_test_setup(apic_id_and_vcpu_count, reset),
        cmocka_unit_test_setup(topology, reset),
        cmocka_unit_test_setup(leaves_beyond_the_last_are_zero, reset),
        cmocka_unit_test_setup(the_maxima_are_told, reset),
        cmocka_unit_test_setup(osxsave_mirrors_cr4, reset),
        cmocka_unit_test_setup(xsave_sizes_follow_xcr0, reset),
        cmocka_unit_test_setup(xsave_has_no_other_components, reset),
        cmocka_unit_test_setup(without_xsave_there_is_no_avx, reset),
        cmocka_unit_test_setup(answers_do_not_depend_on_order, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
