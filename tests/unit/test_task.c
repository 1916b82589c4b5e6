/* The task switch: what is saved and marked, by each way, and the faults of the old task. */
#include "tests/unit/task_rig.h"

static void check_loaded(uint32_t flags)
{
    assert_int_equal(cpu.rip, 0x5000);
    assert_int_equal(cpu.rflags, flags);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(cpu.gpr[i], i == GPR_RSP ? BASE + STACK + 0x800 : 0xa0000000 + i);
    assert_int_equal(cpu.system.segment[SEG_CS].selector, CODE);
    assert_int_equal(cpu.system.segment[SEG_CS].attributes, 0xc9b);
    assert_int_equal(cpu.system.segment[SEG_CS].limit, UINT32_MAX);
    assert_int_equal(cpu.system.segment[SEG_DS].selector, DATA);
    assert_int_equal(cpu.system.segment[SEG_DS].attributes, 0xc93);
    assert_int_equal(cpu.system.segment[SEG_GS].selector, 3);
    assert_int_equal(cpu.system.segment[SEG_GS].attributes, 0);
    assert_int_equal(cpu.system.ldtr.selector, LDT_SEL);
    assert_int_equal(cpu.system.ldtr.base, BASE + LDT);
    assert_int_equal(cpu.system.ldtr.limit, 0x1f);
    assert_int_equal(cpu.system.tr.selector, NEW_TASK);
    assert_int_equal(cpu.system.tr.base, BASE + NEW_TSS);
    assert_int_equal(cpu.system.tr.attributes, 0x8b);
    assert_int_equal(cpu.system.cr0, 0x19);
    assert_int_equal(cpu.system.dr7, 0x7aa);
    assert_false(cpu.trap);
    check_enterable();
}

static void test_jmp(void **state)
{
    (void)state;
    switches();
    check_saved(0x1007, 0x8d7 | NT);
    check_loaded(0x246);
    assert_int_equal(attributes_of(OLD_TASK), 0x89);
    assert_int_equal(attributes_of(NEW_TASK), 0x8b);
    assert_int_equal(get(NEW_TSS, 2), 0xeeee);
}

static void test_call(void **state)
{
    (void)state;
    request.source = TASK_CALL;
    switches();
    check_saved(0x1007, 0x8d7 | NT);
    check_loaded(0x246 | NT);
    assert_int_equal(attributes_of(OLD_TASK), 0x8b);
    assert_int_equal(attributes_of(NEW_TASK), 0x8b);
    assert_int_equal(get(NEW_TSS, 4), 0xeeee0000 | OLD_TASK);
}

static void test_iret(void **state)
{
    (void)state;
    make_return();
    switches();
    check_saved(0x1001, 0x8d7);
    check_loaded(0x246);
    assert_int_equal(attributes_of(OLD_TASK), 0x89);
    assert_int_equal(attributes_of(NEW_TASK), 0x8b);
    assert_int_equal(get(NEW_TSS, 2), 0xeeee);
}

static void test_gate(void **state)
{
    (void)state;
    make_gate(false);
    switches();
    check_saved(0x1000, 0x8d7 | NT);
    check_loaded(0x246 | NT);
    assert_int_equal(get(NEW_TSS, 2), OLD_TASK);
    assert_int_equal(world.pushed_at, 0);
}

static void test_software_gate(void **state)
{
    (void)state;
    make_gate(false);
    request.length = 2;
    switches();
    check_saved(0x1002, 0x8d7 | NT);
}

static void test_flags_that_exist(void **state)
{
    (void)state;
    put_new(0x24, 0xffffffff & ~VM);
    switches();
    assert_int_equal(cpu.rflags, 0x3f7fd7 & ~VM);
}

/* The limit of a TSS counts bytes, or pages. */
static void test_tss_limit(void **state)
{
    (void)state;
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0, 0x889);
    switches();
    assert_int_equal(cpu.system.tr.limit, 0xfff);
}

static void test_descriptor_faults(void **state)
{
    static const struct {
        uint32_t attributes, limit;
        uint8_t source, vector;
    } bad[] = {
        { 0x08b, 0x67, TASK_JMP, GP_FAULT },  { 0x08b, 0x67, TASK_CALL, GP_FAULT }, /* busy */
        { 0x089, 0x67, TASK_IRET, TS_FAULT },                                       /* not busy */
        { 0x082, 0x67, TASK_JMP, GP_FAULT },  { 0x082, 0x67, TASK_IRET, TS_FAULT }, /* an LDT */
        { 0x099, 0x67, TASK_CALL, GP_FAULT }, { 0x09b, 0x67, TASK_IRET, TS_FAULT }, /* code */
        { 0x08d, 0x67, TASK_JMP, GP_FAULT },                                        /* nothing */
        { 0x009, 0x67, TASK_JMP, NP_FAULT },  { 0x009, 0x67, TASK_CALL, NP_FAULT },
        { 0x00b, 0x67, TASK_IRET, NP_FAULT }, { 0x089, 0x66, TASK_JMP, TS_FAULT },
        { 0x089, 0x66, TASK_CALL, TS_FAULT }, { 0x08b, 0x66, TASK_IRET, TS_FAULT },
        { 0x081, 0x2a, TASK_JMP, TS_FAULT },  { 0x00b, 0x66, TASK_JMP, GP_FAULT }, /* the first one counts */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        put_descriptor(NEW_TASK, BASE + NEW_TSS, bad[i].limit, bad[i].attributes);
        request.source = bad[i].source;
        request.selector = NEW_TASK | 3; /* error codes have no RPL */
        old_faults(bad[i].vector, NEW_TASK);
    }
}

static void test_selector_faults(void **state)
{
    (void)state;
    request.selector = 0x80;
    old_faults(GP_FAULT, 0x80);
    request.selector = 2;
    old_faults(GP_FAULT, 0);
    request.selector = NEW_TASK | 4;
    old_faults(GP_FAULT, NEW_TASK | 4);
    request.source = TASK_IRET;
    old_faults(TS_FAULT, NEW_TASK | 4);
    request.selector = 0x80;
    old_faults(TS_FAULT, 0x80);
    cpu.system.gdtr.limit = NEW_TASK + 6; /* one byte short */
    make_return();
    old_faults(TS_FAULT, NEW_TASK);
    cpu.system.gdtr.limit++;
    put_new(0x60, 0);
    put_new(0x48, 0), put_new(0x54, 0);
    switches();
}

/* EXT in the error code tells an event from outside from INT n. */
static void test_external(void **state)
{
    (void)state;
    make_gate(true);
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0x66, 0x89);
    old_faults(TS_FAULT, NEW_TASK | 1);
    request.length = 2;
    old_faults(TS_FAULT, NEW_TASK);
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0x67, 0x8b);
    old_faults(GP_FAULT, NEW_TASK);
    request.length = 0;
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0x67, 0x89);
    put_new(0x4c, BEYOND);
    new_faults(TS_FAULT, BEYOND | 1);
}

static void page_fault_at(uint32_t linear, uint32_t error)
{
    old_faults(PF_FAULT, error);
    assert_int_equal(fault.cr2, linear);
}

/* The old TSS lies across a page's end, and so does the new one. */
static void test_page_faults(void **state)
{
    (void)state;
    cpu.system.tr.base = BASE + 0x1fb0;
    world.absent = BASE + 0x2000;
    old_faults(PF_FAULT, 2);
    world.absent = 0;
    world.read_only = BASE + 0x2000;
    old_faults(PF_FAULT, 2);
    world.read_only = BASE + 0x1000;
    old_faults(PF_FAULT, 2);
    cpu.system.tr.base = BASE + OLD_TSS;
    world.read_only = 0;
    world.absent = BASE + NEW_TSS;
    old_faults(PF_FAULT, 0);
    world.absent = 0;
    world.read_only = BASE + NEW_TSS;
    request.source = TASK_CALL;
    page_fault_at(BASE + NEW_TSS, 2); /* the link */
    world.read_only = BASE + GDT;
    page_fault_at(BASE + GDT + NEW_TASK + 5, 2); /* the busy bit */
    request.source = TASK_JMP;
    page_fault_at(BASE + GDT + OLD_TASK + 5, 2);
    make_return();
    page_fault_at(BASE + GDT + OLD_TASK + 5, 2);
    world.read_only = 0;
    world.absent = BASE + GDT;
    page_fault_at(BASE + GDT + NEW_TASK, 0);
    world.absent = BASE + 0x3000;
    put_descriptor(NEW_TASK, BASE + 0x2fb0, 0x67, 0x8b);
    old_faults(PF_FAULT, 0);
}

/* JMP and IRET write nothing into the new TSS. */
static void test_read_only_tss(void **state)
{
    (void)state;
    world.read_only = BASE + NEW_TSS;
    switches();
}

static void test_old_tss_too_small(void **state)
{
    (void)state;
    cpu.system.tr.limit = 0x5e;
    old_faults(TS_FAULT, OLD_TASK);
    cpu.system.tr.limit = 0x5f;
    switches();
}

static void test_abandoned(void **state)
{
    (void)state;
    world.abandon = -EIO;
    assert_int_equal(run(), -EIO);
    assert_memory_equal(&cpu, &cpu_before, sizeof(cpu));
}

static void test_trap_bit(void **state)
{
    (void)state;
    put_new(0x64, 1);
    switches();
    assert_true(cpu.trap);
    assert_int_equal(cpu.system.dr6, 0xffff8ff0);
    setup(state);
    put_new(0x64, 0xfffffffe);
    switches();
    assert_false(cpu.trap);
    setup(state);
    put_new(0x64, 1);
    put_new(0x54, BEYOND); /* the fault is the first */
    new_faults(TS_FAULT, BEYOND);
    assert_false(cpu.trap);
}

static void test_cr3(void **state)
{
    (void)state;
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0x67, 0x89);
    switches();
    assert_int_equal(world.cr3_loads, 0); /* paging is off */
    assert_int_equal(cpu.system.cr3, OLD_CR3);
    setup(state);
    cpu.system.cr0 |= PG;
    memset(world.bytes[1] + GDT + DATA, 0, 8); /* the new task's GDT is another one */
    new_faults(TS_FAULT, DATA);
    assert_int_equal(world.cr3_loads, 1);
    assert_int_equal(cpu.system.cr3, NEW_CR3);
    check_saved(0x1007, 0x8d7 | NT); /* by way of the old page tables */
    assert_int_equal(world.bytes[1][OLD_TSS + 0x20], 0xee);
    setup(state);
    cpu.system.cr0 |= PG;
    put_new(0x1c, BAD_CR3);
    old_faults(GP_FAULT, 0);
}

/* The task is switched to itself, under another name: it goes on with what was just saved. */
static void test_alias(void **state)
{
    (void)state;
    request.selector = ALIAS;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu.system.segment[i].selector = i == SEG_CS ? CODE : DATA;
    put(OLD_TSS + 0x60, 4, LDT_SEL);
    put(OLD_TSS + 0x64, 4, 0);
    switches();
    assert_int_equal(cpu.rip, 0x1007);
    assert_memory_equal(cpu.gpr, cpu_before.gpr, 8 * sizeof(cpu.gpr[0]));
    assert_int_equal(cpu.system.tr.selector, ALIAS);
}

static void test_to_16_bit(void **state)
{
    (void)state;
    make_new_tss_16();
    cpu.system.cr0 |= PG;
    request.source = TASK_CALL;
    switches();
    check_saved(0x1007, 0x8d7 | NT);
    assert_int_equal(cpu.rip, 0x5000);
    assert_int_equal(cpu.rflags, 0x246 | NT);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(cpu.gpr[i] & 0xffff, 0xa000 + i);
    assert_int_equal(cpu.system.segment[SEG_FS].attributes | cpu.system.segment[SEG_GS].attributes, 0);
    assert_int_equal(cpu.system.tr.attributes, 0x83);
    assert_int_equal(cpu.system.cr3, OLD_CR3);
    assert_int_equal(world.cr3_loads, 0);
    assert_false(cpu.trap);
    assert_int_equal(get(NEW_TSS, 2), OLD_TASK);
    assert_int_equal(attributes_of(NEW_TASK), 0x83);
    check_enterable();
}

static void test_from_16_bit(void **state)
{
    (void)state;
    cpu.system.tr.attributes = 0x83;
    cpu.system.tr.limit = 0x28;
    old_faults(TS_FAULT, OLD_TASK);
    cpu.system.tr.limit = 0x2b;
    switches();
    assert_int_equal(get(OLD_TSS + 0x0c, 4), 0x1007eeee);
    assert_int_equal(get(OLD_TSS + 0x10, 4), 0x10100000 | 0x8d7 | NT);
    assert_int_equal(get(OLD_TSS + 0x20, 4), 0x02008080);
    assert_int_equal(get(OLD_TSS + 0x28, 4), 0xeeee0218);
    check_loaded(0x246);
}

/* Addresses are cut to 32 bits. */
static void test_wraps(void **state)
{
    (void)state;
    cpu.system.gdtr.base = 0xfffffff0;
    assert_int_equal(run(), -EFAULT);
    assert_int_equal(fault.cr2, 0x10);
    setup(state);
    cpu.system.tr.base = UINT64_C(0x500000000) + BASE + OLD_TSS; /* as long mode left it */
    switches();
    check_saved(0x1007, 0x8d7 | NT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_jmp),
        TEST(test_call),
        TEST(test_iret),
        TEST(test_gate),
        TEST(test_software_gate),
        TEST(test_flags_that_exist),
        TEST(test_tss_limit),
        TEST(test_descriptor_faults),
        TEST(test_selector_faults),
        TEST(test_external),
        TEST(test_page_faults),
        TEST(test_read_only_tss),
        TEST(test_old_tss_too_small),
        TEST(test_abandoned),
        TEST(test_trap_bit),
        TEST(test_cr3),
        TEST(test_alias),
        TEST(test_to_16_bit),
        TEST(test_from_16_bit),
        TEST(test_wraps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
