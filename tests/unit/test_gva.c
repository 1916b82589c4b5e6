/* The guest page walk, on hand-made tables: translations, every kind of fault, accessed and dirty bits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "lib/errno.h"
#include "tests/unit/host/host.h"
#include "vmx/gva.h"

#define P    0x001u
#define RW   0x002u
#define US   0x004u
#define A    0x020u
#define D    0x040u
#define PS   0x080u
#define G    0x100u
#define NX   BIT(63)
#define OPEN (P | RW | US)

#define PG   BIT(31)
#define WP   BIT(16)
#define PSE  BIT(4)
#define PAE  BIT(5)
#define SMEP BIT(20)
#define SMAP BIT(21)
#define LMA  BIT(10)
#define NXE  BIT(11)

/* Error codes, written out as in the manual. */
#define E_P   1u
#define E_W   2u
#define E_U   4u
#define E_RSV 8u
#define E_ID  16u

/* Where the tables are, from the root down. */
#define ROOT 0x1000u
#define PDPT 0x2000u
#define PD   0x3000u
#define PT   0x4000u

#define LONG_ADDRESS   UINT64_C(0xffff912345678abc)
#define LEGACY_ADDRESS 0xc1234567u

static struct gmem mem;
static struct gva_mode mode;

static void put(uint64_t at, uint64_t entry, unsigned size)
{
    assert_int_equal(gmem_write(&mem, gpa(at), &entry, size), 0);
}

static uint64_t get(uint64_t at, unsigned size)
{
    uint64_t entry = 0;

    assert_int_equal(gmem_read(&mem, gpa(at), &entry, size), 0);
    return entry;
}

/* The slot of `address` in a table whose entries translate from bit `shift`. */
static uint64_t slot8(uint64_t table, unsigned shift, uint64_t address)
{
    return table + 8 * ((address >> shift) & 511);
}

static uint64_t slot4(uint64_t table, unsigned shift, uint64_t address)
{
    return table + 4 * ((address >> shift) & 1023);
}

static uint64_t slot_of_level(unsigned level)
{
    static const uint64_t table[] = { ROOT, PDPT, PD, PT };

    return slot8(table[level], 39 - 9 * level, LONG_ADDRESS);
}

/* Long mode, all levels open, 4 KiB page 0x55000. */
static void make_long(void)
{
    memset(mem.slot[0].chunk[0], 0, 0x10000);
    mode = (struct gva_mode){ .cr0 = PG | WP, .cr3 = ROOT | 0x18, .cr4 = PAE, .efer = LMA | NXE };
    put(slot_of_level(0), PDPT | OPEN, 8);
    put(slot_of_level(1), PD | OPEN, 8);
    put(slot_of_level(2), PT | OPEN, 8);
    put(slot_of_level(3), 0x55000 | OPEN, 8);
}

static void make_two_level(void)
{
    memset(mem.slot[0].chunk[0], 0, 0x10000);
    mode = (struct gva_mode){ .cr0 = PG | WP, .cr3 = ROOT };
    put(slot4(ROOT, 22, LEGACY_ADDRESS), PT | OPEN, 4);
    put(slot4(PT, 12, LEGACY_ADDRESS), 0x55000 | OPEN, 4);
}

/* The PDPT is 32-byte aligned only. */
static void make_pae(void)
{
    memset(mem.slot[0].chunk[0], 0, 0x10000);
    mode = (struct gva_mode){ .cr0 = PG | WP, .cr3 = ROOT + 0x20, .cr4 = PAE, .efer = NXE };
    put(ROOT + 0x20 + 8 * (LEGACY_ADDRESS >> 30), PD | P, 8);
    put(slot8(PD, 21, LEGACY_ADDRESS), PT | OPEN, 8);
    put(slot8(PT, 12, LEGACY_ADDRESS), 0x55000 | OPEN, 8);
}

static void expect_page(uint64_t address, unsigned access, uint64_t target)
{
    gpa_t out = gpa(0xdead);
    uint32_t error = 0xdead;

    assert_int_equal(gva_translate(&mem, &mode, gva(address), access, &out, &error), 0);
    assert_int_equal(out.raw, target);
}

static void expect_fault(uint64_t address, unsigned access, uint32_t expected)
{
    gpa_t out = gpa(0xdead);
    uint32_t error = 0xdead;

    assert_int_equal(gva_translate(&mem, &mode, gva(address), access, &out, &error), -EFAULT);
    assert_int_equal(error, expected);
    assert_int_equal(out.raw, 0xdead);
}

static void test_paging_off(void **state)
{
    (void)state;
    mode = (struct gva_mode){ .cr4 = PAE };
    expect_page(0x12345678, GVA_WRITE, 0x12345678);
    expect_page(UINT64_C(0x1fffffff0), 0, 0xfffffff0);
}

static void test_long_pages(void **state)
{
    (void)state;
    make_long();
    expect_page(LONG_ADDRESS, 0, 0x55abc);
    put(slot_of_level(3), UINT64_C(0x000ffffffffff000) | OPEN | G | BIT(52) | BIT(62), 8);
    expect_page(LONG_ADDRESS, 0, UINT64_C(0x000ffffffffffabc));
    put(slot_of_level(2), UINT64_C(0x40000000) | BIT(12) | PS | OPEN, 8); /* bit 12 is PAT */
    expect_page(LONG_ADDRESS, 0, 0x40000000 | (LONG_ADDRESS & (PAGE_2M - 1)));
    put(slot_of_level(1), UINT64_C(0x1c0000000) | BIT(12) | PS | OPEN, 8);
    expect_page(LONG_ADDRESS, 0, UINT64_C(0x1c0000000) | (LONG_ADDRESS & (PAGE_1G - 1)));
}

static void test_two_level_pages(void **state)
{
    (void)state;
    make_two_level();
    expect_page(LEGACY_ADDRESS, 0, 0x55567);
    expect_page(LEGACY_ADDRESS | BIT(32), 0, 0x55567); /* linear addresses have 32 bits */
    /* PS counts only with CR4.PSE. */
    put(slot4(ROOT, 22, LEGACY_ADDRESS), PT | OPEN | PS, 4);
    expect_page(LEGACY_ADDRESS, 0, 0x55567);
    mode.cr4 = PSE;
    put(slot4(ROOT, 22, LEGACY_ADDRESS), 0x80000000 | OPEN | PS, 4);
    expect_page(LEGACY_ADDRESS, 0, 0x80234567);
    put(slot4(ROOT, 22, LEGACY_ADDRESS), 0x80000000 | 0xa5 << 13 | BIT(12) | OPEN | PS, 4);
    expect_page(LEGACY_ADDRESS, 0, UINT64_C(0xa580234567));
    put(slot4(ROOT, 22, LEGACY_ADDRESS), 0x80000000 | BIT(21) | OPEN | PS, 4);
    expect_fault(LEGACY_ADDRESS, 0, E_P | E_RSV);
}

static void test_pae_pages(void **state)
{
    (void)state;
    make_pae();
    expect_page(LEGACY_ADDRESS, 0, 0x55567);
    put(slot8(PT, 12, LEGACY_ADDRESS), UINT64_C(0x123456000) | OPEN, 8);
    expect_page(LEGACY_ADDRESS, GVA_WRITE, UINT64_C(0x123456567));
    put(slot8(PD, 21, LEGACY_ADDRESS), UINT64_C(0x123400000) | OPEN | PS, 8); /* without CR4.PSE too */
    expect_page(LEGACY_ADDRESS, GVA_WRITE, UINT64_C(0x123400000) | (LEGACY_ADDRESS & (PAGE_2M - 1)));
}

static void test_pae_registers(void **state)
{
    (void)state;
    make_pae();
    mode.use_pdpte = true;
    mode.pdpte[LEGACY_ADDRESS >> 30] = PD | P;
    put(ROOT + 0x20 + 8 * (LEGACY_ADDRESS >> 30), 0, 8); /* memory does not count any more */
    expect_page(LEGACY_ADDRESS, 0, 0x55567);
    assert_int_equal(mode.pdpte[LEGACY_ADDRESS >> 30], PD | P);
    mode.pdpte[LEGACY_ADDRESS >> 30] = PD;
    expect_fault(LEGACY_ADDRESS, GVA_WRITE, E_W);
}

static void test_not_present(void **state)
{
    (void)state;
    for (unsigned level = 0; level < 4; level++) {
        make_long();
        put(slot_of_level(level), get(slot_of_level(level), 8) & ~(uint64_t)P, 8);
        expect_fault(LONG_ADDRESS, 0, 0);
        expect_fault(LONG_ADDRESS, GVA_WRITE, E_W);
        expect_fault(LONG_ADDRESS, GVA_FETCH, E_ID);
        mode.cpl = 3;
        expect_fault(LONG_ADDRESS, GVA_WRITE, E_W | E_U);
        expect_fault(LONG_ADDRESS, GVA_WRITE | GVA_IMPLICIT, E_W);
    }
}

static void test_outside_ram(void **state)
{
    (void)state;
    for (unsigned level = 0; level < 3; level++) {
        make_long();
        put(slot_of_level(level), UINT64_C(0x7fff0000000) | OPEN, 8);
        expect_fault(LONG_ADDRESS, 0, 0);
    }
    make_long();
    mode.cr3 = UINT64_C(0x000ffffffffff000);
    expect_fault(LONG_ADDRESS, 0, 0);
    make_long();
    mode.cr3 = 0xa0000; /* the legacy hole */
    expect_fault(LONG_ADDRESS, 0, 0);
}

/* Each level's reserved bits, one at a time: AMD APM vol. 2, 5.3. `large` maps a page at that level. */
static void test_reserved_bits(void **state)
{
    static const struct {
        unsigned level;
        bool large;
        uint64_t bits;
    } rsvd[] = {
        { 0, false, PS },
        { 1, true, 0x3fffe000 }, /* 29:13 */
        { 2, true, 0x001fe000 }, /* 20:13 */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rsvd); i++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            uint64_t entry;

            if (!(rsvd[i].bits & BIT(bit)))
                continue;
            make_long();
            entry = rsvd[i].large ? PS | OPEN : get(slot_of_level(rsvd[i].level), 8);
            put(slot_of_level(rsvd[i].level), entry | BIT(bit), 8);
            mode.cpl = 3;
            expect_fault(LONG_ADDRESS, GVA_WRITE, E_P | E_RSV | E_W | E_U);
        }
    }
    for (unsigned level = 0; level < 4; level++) { /* NX is reserved without EFER.NXE */
        make_long();
        put(slot_of_level(level), get(slot_of_level(level), 8) | NX, 8);
        expect_page(LONG_ADDRESS, 0, 0x55abc);
        mode.efer = LMA;
        expect_fault(LONG_ADDRESS, 0, E_P | E_RSV);
        expect_fault(LONG_ADDRESS, GVA_FETCH, E_P | E_RSV); /* and I/D is not reported */
    }
}

static void test_reserved_bits_pae(void **state)
{
    static const unsigned pdpte[] = { 1, 2, 6, 7, 8, 52, 63 }, other[] = { 52, 57, 62 };
    uint64_t at = ROOT + 0x20 + 8 * (LEGACY_ADDRESS >> 30);

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(pdpte); i++) {
        make_pae();
        put(at, PD | P | BIT(pdpte[i]), 8);
        expect_fault(LEGACY_ADDRESS, 0, E_P | E_RSV);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
        make_pae();
        put(slot8(PT, 12, LEGACY_ADDRESS), 0x55000 | OPEN | BIT(other[i]), 8);
        expect_fault(LEGACY_ADDRESS, 0, E_P | E_RSV);
        make_pae();
        put(slot8(PD, 21, LEGACY_ADDRESS), PT | OPEN | BIT(other[i]), 8);
        expect_fault(LEGACY_ADDRESS, 0, E_P | E_RSV);
        put(slot8(PD, 21, LEGACY_ADDRESS), OPEN | PS | BIT(other[i]), 8);
        expect_fault(LEGACY_ADDRESS, 0, E_P | E_RSV);
    }
    make_pae();
    put(slot8(PD, 21, LEGACY_ADDRESS), OPEN | PS | BIT(13), 8);
    expect_fault(LEGACY_ADDRESS, 0, E_P | E_RSV);
}

/* One access to one page under one set of registers. AMD APM vol. 2, 5.6; Intel SDM vol. 3, 4.6.1. */
struct right {
    uint64_t clear; /* cleared, ... */
    uint64_t set;   /* ... and set in the entry of the level under test */
    uint64_t cr0, cr4, efer;
    uint8_t cpl;
    bool ac;
    unsigned access;
    uint32_t fault; /* 0: allowed */
};

static const struct right rights[] = {
    /* user mode */
    { 0, 0, WP, PAE, NXE, 3, false, 0, 0 },
    { 0, 0, WP, PAE, NXE, 3, false, GVA_WRITE, 0 },
    { 0, 0, WP, PAE, NXE, 3, false, GVA_FETCH, 0 },
    { US, 0, WP, PAE, NXE, 3, false, 0, E_P | E_U },
    { US, 0, WP, PAE, NXE, 3, false, GVA_WRITE, E_P | E_U | E_W },
    { US, 0, WP, PAE, NXE, 3, false, GVA_FETCH, E_P | E_U | E_ID },
    { RW, 0, WP, PAE, NXE, 3, false, 0, 0 },
    { RW, 0, WP, PAE, NXE, 3, false, GVA_WRITE, E_P | E_U | E_W },
    { RW, 0, 0, PAE, NXE, 3, false, GVA_WRITE, E_P | E_U | E_W }, /* WP is for the supervisor */
    { 0, NX, WP, PAE, NXE, 3, false, 0, 0 },
    { 0, NX, WP, PAE, NXE, 3, false, GVA_FETCH, E_P | E_U | E_ID },
    { US, 0, WP, PAE, 0, 3, false, GVA_FETCH, E_P | E_U },               /* I/D needs NXE ... */
    { US, 0, WP, PAE | SMEP, 0, 3, false, GVA_FETCH, E_P | E_U | E_ID }, /* ... or SMEP */
    { 0, 0, WP, PAE | SMEP | SMAP, NXE, 3, false, GVA_WRITE, 0 },
    /* user mode's descriptor table accesses */
    { US, 0, WP, PAE, NXE, 3, false, GVA_IMPLICIT, 0 },
    { US, 0, WP, PAE, NXE, 3, false, GVA_IMPLICIT | GVA_WRITE, 0 },
    { 0, 0, WP, PAE | SMAP, NXE, 3, true, GVA_IMPLICIT, E_P }, /* AC does not help them */
    /* supervisor */
    { US, 0, WP, PAE, NXE, 0, false, GVA_WRITE, 0 },
    { US, 0, WP, PAE, NXE, 2, false, GVA_WRITE, 0 },
    { RW, 0, WP, PAE, NXE, 0, false, GVA_WRITE, E_P | E_W },
    { RW, 0, 0, PAE, NXE, 0, false, GVA_WRITE, 0 },
    { RW | US, 0, WP, PAE, NXE, 0, false, GVA_WRITE, E_P | E_W },
    { RW | US, 0, 0, PAE, NXE, 0, false, GVA_WRITE, 0 },
    { US, NX, WP, PAE, NXE, 0, false, GVA_FETCH, E_P | E_ID },
    { 0, 0, WP, PAE, NXE, 0, false, GVA_FETCH, 0 },
    { 0, 0, WP, PAE | SMEP, NXE, 0, false, GVA_FETCH, E_P | E_ID },
    { 0, 0, WP, PAE | SMEP, 0, 1, false, GVA_FETCH, E_P | E_ID },
    { US, 0, WP, PAE | SMEP, NXE, 0, false, GVA_FETCH, 0 },
    { 0, 0, WP, PAE | SMEP, NXE, 0, false, GVA_WRITE, 0 },
    { 0, 0, WP, PAE | SMAP, NXE, 0, false, 0, E_P },
    { 0, 0, WP, PAE | SMAP, NXE, 0, false, GVA_WRITE, E_P | E_W },
    { 0, 0, WP, PAE | SMAP, NXE, 0, true, GVA_WRITE, 0 },
    { 0, 0, WP, PAE | SMAP, NXE, 0, false, GVA_FETCH, 0 },
    { US, 0, WP, PAE | SMAP, NXE, 0, false, GVA_WRITE, 0 },
    { 0, 0, 0, PAE | SMAP, NXE, 0, false, GVA_WRITE, E_P | E_W },
    { RW, 0, WP, PAE | SMAP, NXE, 0, true, GVA_WRITE, E_P | E_W },
};

static void check_right(const struct right *r, unsigned level)
{
    make_long();
    put(slot_of_level(level), (get(slot_of_level(level), 8) & ~r->clear) | r->set, 8);
    mode.cr0 = PG | r->cr0;
    mode.cr4 = r->cr4;
    mode.efer = LMA | r->efer;
    mode.cpl = r->cpl;
    mode.rflags_ac = r->ac;
    if (r->fault)
        expect_fault(LONG_ADDRESS, r->access, r->fault);
    else
        expect_page(LONG_ADDRESS, r->access, 0x55abc);
    for (unsigned i = 0; i < 4; i++) { /* a fault leaves no trace */
        bool dirty = !r->fault && i == 3 && (r->access & GVA_WRITE);

        assert_int_equal(get(slot_of_level(i), 8) & (A | D), (r->fault ? 0 : A) | (dirty ? D : 0));
    }
}

/* The rights of all levels combine, so that each can take them away. */
static void test_rights(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rights); i++) {
        for (unsigned level = 0; level < 4; level++)
            check_right(&rights[i], level);
    }
}

static void test_rights_legacy(void **state)
{
    (void)state;
    make_two_level();
    mode.cpl = 3;
    put(slot4(ROOT, 22, LEGACY_ADDRESS), PT | P | US, 4);
    expect_fault(LEGACY_ADDRESS, GVA_WRITE, E_P | E_U | E_W);
    expect_fault(LEGACY_ADDRESS + 0x1000, GVA_FETCH, E_U); /* no NX, no I/D */
    make_pae();
    mode.cpl = 3; /* the PDPTE has no U/S bit, and does not take the right away */
    expect_page(LEGACY_ADDRESS, GVA_WRITE, 0x55567);
    put(slot8(PT, 12, LEGACY_ADDRESS), 0x55000 | OPEN | NX, 8);
    expect_fault(LEGACY_ADDRESS, GVA_FETCH, E_P | E_U | E_ID);
}

static void test_accessed_dirty_legacy(void **state)
{
    uint64_t pde = slot4(ROOT, 22, LEGACY_ADDRESS), pte = slot4(PT, 12, LEGACY_ADDRESS);

    (void)state;
    make_two_level();
    put(pte + 4, 0xffffffff, 4); /* the neighbours stay as they are */
    put(pte - 4, 0, 4);
    expect_page(LEGACY_ADDRESS, GVA_WRITE, 0x55567);
    assert_int_equal(get(pde, 4), PT | OPEN | A);
    assert_int_equal(get(pte, 4), 0x55000 | OPEN | A | D);
    assert_int_equal(get(pte + 4, 4), 0xffffffff);
    assert_int_equal(get(pte - 4, 4), 0);
    make_pae();
    expect_page(LEGACY_ADDRESS, 0, 0x55567);
    assert_int_equal(get(ROOT + 0x20 + 8 * (LEGACY_ADDRESS >> 30), 8), PD | P); /* a PDPTE has no A bit */
    assert_int_equal(get(slot8(PD, 21, LEGACY_ADDRESS), 8), PT | OPEN | A);
    assert_int_equal(get(slot8(PT, 12, LEGACY_ADDRESS), 8), 0x55000 | OPEN | A);
}

/* A root that maps itself: setting A for the first level changes the entry that the next levels used. */
static void test_entry_changes_under_the_walk(void **state)
{
    uint64_t self = ROOT + 8 * 511;

    (void)state;
    make_long();
    put(self, ROOT | OPEN, 8);
    expect_page(UINT64_C(0xffffffffffffff00), GVA_WRITE, ROOT + 0xf00);
    assert_int_equal(get(self, 8), ROOT | OPEN | A | D);
}

/* What a load of CR3 takes: Intel SDM vol. 3, 4.4.1 and table 4-8. */
static void test_read_pdptes(void **state)
{
    static const unsigned reserved[] = { 1, 2, 5, 6, 7, 8, 40, 51, 62, 63 };
    static const unsigned free[] = { 3, 4, 9, 10, 11, 12, 39 };
    uint64_t pdpte[4];

    (void)state;
    make_pae();
    put(ROOT + 0x20, 0x9000 | P, 8);
    put(ROOT + 0x28, ~UINT64_C(1), 8); /* not present: nothing is reserved */
    put(ROOT + 0x30, 0, 8);
    assert_int_equal(gva_read_pdptes(&mem, ROOT + 0x20 + 0x18, 40, pdpte), 0); /* PWT, PCD */
    assert_int_equal(pdpte[0], 0x9000 | P);
    assert_int_equal(pdpte[1], ~UINT64_C(1));
    assert_int_equal(pdpte[3], PD | P);
    for (unsigned i = 0; i < ARRAY_SIZE(reserved); i++) {
        put(ROOT + 0x38, PD | P | BIT(reserved[i]), 8);
        assert_int_equal(gva_read_pdptes(&mem, ROOT + 0x20, 40, pdpte), -EINVAL);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(free); i++) {
        put(ROOT + 0x38, PD | P | BIT(free[i]), 8);
        assert_int_equal(gva_read_pdptes(&mem, ROOT + 0x20, 40, pdpte), 0);
    }
    assert_int_equal(gva_read_pdptes(&mem, 0xfffffff0, 40, pdpte), 0); /* outside of RAM */
    assert_int_equal(pdpte[0] | pdpte[1] | pdpte[2] | pdpte[3], 0);
}

static int setup(void **state)
{
    (void)state;
    host_gmem_init(&mem, GMEM_CHUNK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paging_off),
        cmocka_unit_test(test_long_pages),
        cmocka_unit_test(test_two_level_pages),
        cmocka_unit_test(test_pae_pages),
        cmocka_unit_test(test_pae_registers),
        cmocka_unit_test(test_read_pdptes),
        cmocka_unit_test(test_not_present),
        cmocka_unit_test(test_outside_ram),
        cmocka_unit_test(test_reserved_bits),
        cmocka_unit_test(test_reserved_bits_pae),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_rights_legacy),
        cmocka_unit_test(test_accessed_dirty_legacy),
        cmocka_unit_test(test_entry_changes_under_the_walk),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
