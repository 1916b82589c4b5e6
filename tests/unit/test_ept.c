/* What is made of IA32_VMX_EPT_VPID_CAP: the format of extended page tables, and the pointer to them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "vmx/intel/ept.h"

/* Bits of the MSR, Intel SDM vol. 3, A.10, written anew. */
#define WALK_4   (1ull << 6)
#define WB       (1ull << 14)
#define PAGES_2M (1ull << 16)
#define PAGES_1G (1ull << 17)
#define AD       (1ull << 21)

static void test_large_pages(void **state)
{
    static const struct {
        uint64_t cap;
        unsigned level;
    } expect[] = {
        { WALK_4 | PAGES_2M | PAGES_1G, 2 },
        { WALK_4 | PAGES_2M, 1 },
        { WALK_4, 0 },
        { WALK_4 | PAGES_1G, 0 }, /* the walker takes it that who has 1G pages has 2M pages */
        { ~PAGES_1G, 1 },
        { ~PAGES_2M, 0 },
        { UINT64_MAX, 2 },
    };
    const struct ptab_format *found[ARRAY_SIZE(expect)];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(expect); i++)
        found[i] = ept_format(expect[i].cap);
    /* A format stays what it was when another one is asked for. */
    for (unsigned i = 0; i < ARRAY_SIZE(expect); i++) {
        assert_non_null(found[i]);
        assert_int_equal(found[i]->large_level, expect[i].level);
        assert_int_equal(found[i]->levels, 4);
        assert_ptr_equal(found[i]->leaf, ptab_ept.leaf);
        assert_int_equal(found[i]->address_mask, ptab_ept.address_mask);
    }
    assert_int_equal(ptab_ept.large_level, 2);
}

static void test_no_walk_of_4(void **state)
{
    (void)state;
    assert_null(ept_format(0));
    assert_null(ept_format(~WALK_4)); /* 5 levels alone are of no use */
}

static void test_pointer(void **state)
{
    (void)state;
    assert_int_equal(ept_pointer(hpa(0x1234567000), WALK_4), 0x1234567018);
    assert_int_equal(ept_pointer(hpa(0x1234567000), WALK_4 | WB), 0x123456701e);
    assert_int_equal(ept_pointer(hpa(0x1234567000), WALK_4 | AD), 0x1234567058);
    assert_int_equal(ept_pointer(hpa(0x1234567000), WALK_4 | WB | AD), 0x123456705e);
    assert_int_equal(ept_pointer(hpa(0xffffffffff000), UINT64_MAX), 0xffffffffff05e);
    assert_int_equal(ept_pointer(hpa(0x1000), ~(WB | AD)), 0x1018);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_pages),
        cmocka_unit_test(test_no_walk_of_4),
        cmocka_unit_test(test_pointer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
