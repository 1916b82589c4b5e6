/* What a task switch loads: segments, LDT and error code, with the faults that the new task gets. */
#include "tests/unit/task_rig.h"

/* Each selector of the new task, bad in each way. */
static void test_segment_faults(void **state)
{
    static const struct {
        uint32_t field, selector;
        uint8_t vector;
    } bad[] = {
        { 0x60, CODE, TS_FAULT },        { 0x60, BEYOND, TS_FAULT },   { 0x60, LDT_SEL | 4, TS_FAULT },
        { 0x60, ABSENT, TS_FAULT },      { 0x60, NEW_TASK, TS_FAULT }, { 0x4c, 0, TS_FAULT },
        { 0x4c, 3, TS_FAULT },           { 0x4c, BEYOND, TS_FAULT },   { 0x4c, DATA, TS_FAULT },
        { 0x4c, NEW_TASK, TS_FAULT },    { 0x4c, CODE | 3, TS_FAULT }, { 0x4c, CODE3 & ~3u, TS_FAULT },
        { 0x4c, ABSENT_C, NP_FAULT },    { 0x4c, LOCAL, TS_FAULT },    { 0x4c, 0x24, TS_FAULT },
        { 0x50, 0, TS_FAULT },           { 0x50, BEYOND, TS_FAULT },   { 0x50, CODE, TS_FAULT },
        { 0x50, READ_ONLY, TS_FAULT },   { 0x50, DATA3, TS_FAULT },    { 0x50, DATA | 1, TS_FAULT },
        { 0x50, DATA3 & ~3u, TS_FAULT }, { 0x50, ABSENT, SS_FAULT },   { 0x50, OLD_TASK, TS_FAULT },
        { 0x54, BEYOND, TS_FAULT },      { 0x54, EXECUTE, TS_FAULT },  { 0x54, NEW_TASK, TS_FAULT },
        { 0x54, DATA | 1, TS_FAULT },    { 0x54, ABSENT, NP_FAULT },   { 0x48, EXECUTE, TS_FAULT },
        { 0x48, ABSENT, NP_FAULT },      { 0x58, BEYOND, TS_FAULT },   { 0x58, ABSENT, NP_FAULT },
        { 0x5c, BEYOND | 4, TS_FAULT },  { 0x5c, EXECUTE, TS_FAULT },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        setup(state);
        put_new(bad[i].field, bad[i].selector);
        new_faults(bad[i].vector, bad[i].selector & ~3u);
        assert_int_equal(attributes_of(OLD_TASK), 0x89);
        check_saved(0x1007, 0x8d7 | NT);
    }
}

/* What was loaded before the fault stays, what comes after it is not usable. */
static void test_half_loaded(void **state)
{
    (void)state;
    put_new(0x54, BEYOND);
    new_faults(TS_FAULT, BEYOND);
    assert_int_equal(cpu.system.segment[SEG_SS].attributes, 0xc93);
    assert_int_equal(cpu.system.segment[SEG_DS].selector, BEYOND);
    assert_int_equal(cpu.system.segment[SEG_DS].attributes, 0);
    assert_int_equal(cpu.system.segment[SEG_ES].selector, DATA);
    assert_int_equal(cpu.system.segment[SEG_ES].attributes, 0);
}

static void test_segments_that_may(void **state)
{
    (void)state;
    put_new(0x4c, CONFORM | 3); /* DPL 0 is enough for all */
    put_new(0x50, DATA3);
    put_new(0x54, CONFORM | 3);
    put_new(0x48, DATA3);
    put_new(0x58, READ_ONLY);
    put_new(0x5c, 0);
    new_faults(TS_FAULT, READ_ONLY); /* data of DPL 0 at CPL 3 */
    setup(state);
    put_new(0x4c, CODE3);
    put_new(0x50, DATA3);
    put_new(0x54, CODE3);
    put_new(0x48, CONFORM);
    switches();
    assert_int_equal(task_cpl(&cpu.system), 3);
    check_enterable();
}

static void test_ldt(void **state)
{
    (void)state;
    put_new(0x54, LOCAL);
    switches();
    assert_int_equal(cpu.system.segment[SEG_DS].base, 0x1234);
    assert_int_equal(cpu.system.segment[SEG_DS].attributes, 0xc93);
    assert_int_equal(attributes_of(LOCAL), 0x93); /* accessed, in memory too */
    setup(state);
    put_new(0x54, LOCAL);
    put_new(0x60, 0); /* the old task's LDT does not count */
    new_faults(TS_FAULT, LOCAL);
    setup(state);
    put_new(0x54, LOCAL);
    put_descriptor(LDT_SEL, BASE + LDT, LOCAL + 2, 0x82); /* LOCAL has TI: the descriptor needs up to + 3 */
    new_faults(TS_FAULT, LOCAL);
}

static void test_accessed_bit_faults(void **state)
{
    (void)state;
    put_descriptor(LDT_SEL, BASE + 0x3000, 0x1f, 0x82);
    put(0x3000 + (LOCAL & ~7u), 8, descriptor(0, 0xfffff, 0xc92));
    put_new(0x54, LOCAL);
    world.read_only = BASE + 0x3000;
    new_faults(PF_FAULT, 2);
    assert_int_equal(fault.cr2, BASE + 0x3000 + (LOCAL & ~7u) + 5);
    assert_int_equal(cpu.system.segment[SEG_DS].attributes, 0);
}

static void test_v86(void **state)
{
    (void)state;
    put_new(0x24, 0x202 | VM);
    put_new(0x4c, 0x1234);
    put_new(0x50, 0x5678);
    put_new(0x54, 0);
    put_new(0x48, 0xffff);
    put_new(0x20, 0xffff);
    switches();
    assert_int_equal(cpu.rflags, 0x202 | VM);
    assert_int_equal(cpu.system.segment[SEG_CS].base, 0x12340);
    assert_int_equal(cpu.system.segment[SEG_ES].base, 0xffff0);
    assert_int_equal(task_cpl(&cpu.system), 3);
    check_enterable();
    setup(state);
    put_new(0x24, 0x202 | VM);
    put_new(0x20, 0x10000);
    new_faults(GP_FAULT, 0);
    setup(state);
    put_new(0x24, 0x202 | VM);
    put_new(0x60, BEYOND);
    new_faults(TS_FAULT, BEYOND);
}

static void test_ip_beyond(void **state)
{
    (void)state;
    put_descriptor(CODE, 0, 0x4fff, 0x49b);
    new_faults(GP_FAULT, 0);
    assert_int_equal(cpu.system.segment[SEG_CS].limit, 0x4fff);
    setup(state);
    put_descriptor(CODE, 0, 0x5000, 0x49b);
    switches();
    setup(state);
    put_descriptor(CODE, 0, 0x4fff, 0x49b);
    make_gate(false);
    new_faults(GP_FAULT, 1);
}

static void test_error_code(void **state)
{
    (void)state;
    make_gate(true);
    switches();
    assert_int_equal(cpu.gpr[GPR_RSP], BASE + STACK + 0x7fc);
    assert_int_equal(get(STACK + 0x7fc, 4), 0xfeed1234);
    assert_int_equal(world.push_size, 4);
    assert_int_equal(world.push_cpl, 0);
    setup(state);
    make_gate(true);
    put_new(0x4c, CODE3);
    put_new(0x50, DATA3);
    put_new(0x54, 0), put_new(0x48, 0);
    switches();
    assert_int_equal(world.push_cpl, 3);
}

/* A 16-bit stack changes SP only. */
static void test_error_code_on_small_stack(void **state)
{
    (void)state;
    make_gate(true);
    put_new(0x50, SMALL);
    put_new(0x38, 0x77770100);
    switches();
    assert_int_equal(cpu.gpr[GPR_RSP], 0x777700fc);
    assert_int_equal(world.pushed_at, BASE + STACK + 0xfc);
    setup(state);
    make_gate(true);
    put_new(0x50, SMALL);
    put_new(0x38, 0x77770101);
    new_faults(SS_FAULT, 1);
    assert_int_equal(cpu.gpr[GPR_RSP], 0x77770101);
    setup(state);
    make_gate(true);
    put_new(0x50, SMALL);
    put_new(0x38, 2); /* wraps to 0xfffe */
    new_faults(SS_FAULT, 1);
    setup(state);
    make_gate(true);
    put_new(0x50, DOWN);
    put_new(0x38, 0x4004);
    switches();
    assert_int_equal(world.pushed_at, BASE + 0x4000);
    setup(state);
    make_gate(true);
    put_new(0x50, DOWN);
    put_new(0x38, 0x4003);
    new_faults(SS_FAULT, 1);
    setup(state);
    make_gate(true);
    put_new(0x38, BASE + BYTES + 0x1000);
    new_faults(PF_FAULT, 2);
}

/* The error code goes by the TSS's size, the stack pointer by the stack's. */
static void test_error_code_16_bit(void **state)
{
    (void)state;
    make_new_tss_16();
    make_gate(true);
    put(NEW_TSS + 0x26, 2, SMALL);
    put(NEW_TSS + 0x1a, 2, 0x80);
    switches();
    assert_int_equal(world.push_size, 2);
    assert_int_equal(world.pushed_at, BASE + STACK + 0x7e);
    assert_int_equal(get(STACK + 0x7e, 4), 0xeeee1234);
    assert_int_equal(cpu.gpr[GPR_RSP] & 0xffff, 0x7e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_segment_faults),
        TEST(test_half_loaded),
        TEST(test_segments_that_may),
        TEST(test_ldt),
        TEST(test_accessed_bit_faults),
        TEST(test_v86),
        TEST(test_ip_beyond),
        TEST(test_error_code),
        TEST(test_error_code_on_small_stack),
        TEST(test_error_code_16_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
