/* Hand-made tasks for the tests of the task switch: memory with an old and a new one in it, and what is to
 * hold after a switch or a fault. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "lib/errno.h"
#include "vmx/task.h"

#define BASE  0x40000u
#define BYTES 0x8000u

/* Where things are, from BASE on. */
#define GDT     0x0000u
#define LDT     0x0800u
#define OLD_TSS 0x1000u
#define NEW_TSS 0x2000u
#define STACK   0x4000u

/* Selectors. */
#define CODE      0x08u
#define DATA      0x10u
#define OLD_TASK  0x18u
#define NEW_TASK  0x20u
#define LDT_SEL   0x28u
#define CODE3     0x33u
#define DATA3     0x3bu
#define CONFORM   0x40u
#define EXECUTE   0x48u /* code that cannot be read */
#define READ_ONLY 0x50u
#define ABSENT    0x58u
#define ABSENT_C  0x60u
#define SMALL     0x68u /* data, 16 bits, limit 0xff */
#define DOWN      0x70u /* data that grows down to 0x4000 */
#define ALIAS     0x78u /* the old TSS under another name */
#define BEYOND    0x100u
#define LOCAL     0x0cu

#define TS_FAULT 10
#define NP_FAULT 11
#define SS_FAULT 12
#define GP_FAULT 13
#define PF_FAULT 14

#define TF 0x100u
#define NT 0x4000u
#define VM 0x20000u
#define PG BIT(31)

#define OLD_CR3 0x7000u
#define NEW_CR3 0x6000u
#define BAD_CR3 0x5000u

/* Memory at linear BASE, as two address spaces show it; what is beyond, or in a range below, page-faults. */
static struct world {
    uint8_t bytes[2][BYTES];
    unsigned space;
    uint32_t absent, read_only; /* linear addresses from which on ... up to the end of a page; 0: none */
    int abandon;
    unsigned cr3_loads;
    uint32_t pushed_at;
    unsigned push_size, push_cpl;
} world, world_before;

static struct task_cpu cpu, cpu_before;
static struct task_request request;
static struct emu_fault fault;

static inline bool in_page(uint32_t from, uint32_t at, unsigned size)
{
    return from && at + size > from && at < (from | 0xfff) + 1;
}

static inline int reach(gva_t at, unsigned size, bool write, uint8_t **out, struct emu_fault *f)
{
    if (world.abandon)
        return world.abandon;
    if (at.raw < BASE || at.raw + size > BASE + BYTES || in_page(world.absent, (uint32_t)at.raw, size) ||
        (write && in_page(world.read_only, (uint32_t)at.raw, size))) {
        *f = (struct emu_fault){ PF_FAULT, true, write ? 2 : 0, at.raw };
        return -EFAULT;
    }
    *out = world.bytes[world.space] + (at.raw - BASE);
    return 0;
}

static inline int world_read(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *f)
{
    uint8_t *from;
    int err = reach(at, size, false, &from, f);

    (void)context;
    if (err)
        return err;
    *value = 0;
    memcpy(value, from, size);
    return 0;
}

static inline int world_write(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *f)
{
    uint8_t *to;
    int err = reach(at, size, true, &to, f);

    (void)context;
    if (!err)
        memcpy(to, &value, size);
    return err;
}

static inline int world_mark(void *context, gva_t at, uint8_t clear, uint8_t set, struct emu_fault *f)
{
    uint8_t *byte;
    int err = reach(at, 1, true, &byte, f);

    (void)context;
    if (!err)
        *byte = (uint8_t)((*byte & ~clear) | set);
    return err;
}

static inline int world_probe(void *context, gva_t at, unsigned size, struct emu_fault *f)
{
    uint8_t *byte;

    (void)context;
    return reach(at, size, true, &byte, f);
}

static inline int world_push(void *context, const struct task_cpu *as, gva_t at, unsigned size,
                             uint64_t value, struct emu_fault *f)
{
    world.pushed_at = (uint32_t)at.raw;
    world.push_size = size;
    world.push_cpl = task_cpl(&as->system);
    return world_write(context, at, size, value, f);
}

static inline int world_cr3(void *context, uint64_t value, bool load, struct emu_fault *f)
{
    (void)context;
    if (value == BAD_CR3) {
        *f = (struct emu_fault){ GP_FAULT, true, 0, 0 };
        return -EFAULT;
    }
    if (load) {
        world.cr3_loads++;
        world.space = value == NEW_CR3;
    }
    return 0;
}

static const struct task_memory memory = { world_read, world_write, world_mark, world_probe,
                                           world_push, world_cr3,   NULL };

/* In both address spaces. */
static inline void put(uint32_t offset, unsigned size, uint64_t value)
{
    memcpy(world.bytes[0] + offset, &value, size);
    memcpy(world.bytes[1] + offset, &value, size);
}

static inline uint32_t get(uint32_t offset, unsigned size)
{
    uint32_t value = 0;

    memcpy(&value, world.bytes[0] + offset, size);
    return value;
}

static inline uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t attributes)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attributes & 0xff) << 40 |
           (uint64_t)(limit >> 16) << 48 | (uint64_t)(attributes >> 8) << 52 | (uint64_t)(base >> 24) << 56;
}

static inline void put_descriptor(uint32_t selector, uint32_t base, uint32_t limit, uint32_t attributes)
{
    put((selector & 4 ? LDT : GDT) + (selector & ~7u), 8, descriptor(base, limit, attributes));
}

static inline unsigned attributes_of(uint32_t selector)
{
    return get((selector & 4 ? LDT : GDT) + (selector & ~7u) + 5, 1);
}

static inline void make_tables(void)
{
    put_descriptor(CODE, 0, 0xfffff, 0xc9b);
    put_descriptor(DATA, 0, 0xfffff, 0xc93);
    put_descriptor(OLD_TASK, BASE + OLD_TSS, 0x67, 0x08b);
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0x67, 0x089);
    put_descriptor(LDT_SEL, BASE + LDT, 0x1f, 0x082);
    put_descriptor(CODE3, 0, 0xfffff, 0xcfb);
    put_descriptor(DATA3, 0, 0xfffff, 0xcf3);
    put_descriptor(CONFORM, 0, 0xfffff, 0xc9f);
    put_descriptor(EXECUTE, 0, 0xfffff, 0xc99);
    put_descriptor(READ_ONLY, 0, 0xfffff, 0xc91);
    put_descriptor(ABSENT, 0, 0xfffff, 0xc13);
    put_descriptor(ABSENT_C, 0, 0xfffff, 0xc1b);
    put_descriptor(SMALL, BASE + STACK, 0xff, 0x093);
    put_descriptor(DOWN, BASE, 0x3fff, 0x497);
    put_descriptor(ALIAS, BASE + OLD_TSS, 0x67, 0x089);
    put_descriptor(LOCAL, 0x1234, 0xfffff, 0xc92);
}

static inline void put_new(uint32_t offset, uint32_t value)
{
    put(NEW_TSS + offset, 4, value);
}

static inline void make_new_tss(void)
{
    put_new(0x1c, NEW_CR3);
    put_new(0x20, 0x5000);
    put_new(0x24, 0x246);
    for (unsigned i = 0; i < 8; i++)
        put_new(0x28 + 4 * i, 0xa0000000 + i);
    put_new(0x38, BASE + STACK + 0x800);
    put_new(0x48, DATA);
    put_new(0x4c, CODE);
    put_new(0x50, DATA);
    put_new(0x54, DATA);
    put_new(0x58, 0);
    put_new(0x5c, 3); /* null, whatever its RPL */
    put_new(0x60, LDT_SEL);
}

static inline int setup(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    memset(world.bytes, 0xee, sizeof(world.bytes));
    make_tables();
    make_new_tss();
    put_new(0x64, 0);
    memset(&cpu, 0, sizeof(cpu));
    for (unsigned i = 0; i < GPR_COUNT; i++)
        cpu.gpr[i] = 0x10101010 * (i + 1);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu.system.segment[i] = (struct vcpu_segment){ (uint16_t)(0x200 + 8 * i), 0xc93, UINT32_MAX, 0 };
    cpu.system.segment[SEG_CS].attributes = 0xc9b;
    cpu.system.tr = (struct vcpu_segment){ OLD_TASK, 0x8b, 0x67, BASE + OLD_TSS };
    cpu.system.ldtr = (struct vcpu_segment){ 0xf8, 0x82, 0xffff, 0x99999 };
    cpu.system.gdtr.base = BASE + GDT;
    cpu.system.gdtr.limit = 0x7f;
    cpu.system.cr0 = 0x11;
    cpu.system.cr3 = OLD_CR3;
    cpu.system.dr6 = 0xffff0ff0;
    cpu.system.dr7 = 0x7ff;
    cpu.rip = 0x1000;
    cpu.rflags = 0x8d7 | NT;
    request = (struct task_request){ .selector = NEW_TASK, .source = TASK_JMP, .length = 7 };
    fault = (struct emu_fault){ 0 };
    return 0;
}

/* The new task is one that called the old one. */
static inline void make_return(void)
{
    request = (struct task_request){ .selector = NEW_TASK, .source = TASK_IRET, .length = 1 };
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0x67, 0x08b);
}

static inline void make_gate(bool has_error)
{
    request = (struct task_request){
        .selector = NEW_TASK, .source = TASK_GATE, .has_error = has_error, .error = 0xfeed1234
    };
}

static inline int run(void)
{
    world_before = world;
    cpu_before = cpu;
    return task_switch(&request, &cpu, &memory, &fault);
}

static inline void switches(void)
{
    assert_int_equal(run(), 0);
    assert_true(cpu.entered);
}

/* What a VM entry wants of segments: Intel SDM vol. 3, 27.3.1.2. */
static inline void check_segment(unsigned seg, bool vm)
{
    const struct vcpu_segment *s = &cpu.system.segment[seg];
    unsigned type = s->attributes & SEG_ATTR_TYPE, dpl = s->attributes >> 5 & 3, cpl = task_cpl(&cpu.system);

    if (vm) {
        assert_int_equal(s->attributes, 0xf3);
        assert_int_equal(s->limit, 0xffff);
        assert_int_equal(s->base, (uint32_t)s->selector << 4);
        return;
    }
    if (seg != SEG_CS && !(s->attributes & SEG_ATTR_P))
        return;
    assert_true((s->attributes & SEG_ATTR_P) && (s->attributes & SEG_ATTR_S) && (type & 1));
    if (s->limit & 0xfff00000)
        assert_true(s->attributes & SEG_ATTR_G);
    if (~s->limit & 0xfff)
        assert_false(s->attributes & SEG_ATTR_G);
    if (seg == SEG_CS)
        assert_true(type >= 8 && (type & 4 ? dpl <= cpl : dpl == cpl));
    else if (seg == SEG_SS)
        assert_true((type == 3 || type == 7) && dpl == cpl);
    else
        assert_true(!(type & 8) || (type & 2));
}

static inline void check_enterable(void)
{
    bool vm = cpu.rflags & VM;

    for (unsigned i = 0; i < SEG_COUNT; i++)
        check_segment(i, vm);
    assert_int_equal(cpu.system.tr.attributes & 0x97, 0x83);
    if (cpu.system.ldtr.attributes & SEG_ATTR_P)
        assert_int_equal(cpu.system.ldtr.attributes & 0x9f, 0x82);
    assert_int_equal(cpu.rflags & ~UINT64_C(0x3f7fd5), 2);
    assert_true(cpu.rip <= UINT32_MAX);
}

static inline void check_fault(uint8_t vector, uint32_t error)
{
    assert_int_equal(fault.vector, vector);
    assert_true(fault.has_error);
    assert_int_equal(fault.error, error);
}

/* The old task's fault: nothing happened. */
static inline void old_faults(uint8_t vector, uint32_t error)
{
    assert_int_equal(run(), -EFAULT);
    check_fault(vector, error);
    assert_memory_equal(&cpu, &cpu_before, sizeof(cpu));
    assert_memory_equal(&world, &world_before, sizeof(world));
}

static inline void new_faults(uint8_t vector, uint32_t error)
{
    assert_int_equal(run(), -EFAULT);
    check_fault(vector, error);
    assert_true(cpu.entered);
    assert_int_equal(cpu.system.tr.selector, NEW_TASK);
    assert_int_equal(cpu.rip, get(NEW_TSS + 0x20, 4));
    assert_int_equal(task_cpl(&cpu.system), cpu.rflags & VM ? 3 : cpu.system.segment[SEG_CS].selector & 3);
    assert_true(cpu.system.cr0 & 8);
    check_enterable();
}

static inline void check_saved(uint32_t ip, uint32_t flags)
{
    assert_int_equal(get(OLD_TSS + 0x20, 4), ip);
    assert_int_equal(get(OLD_TSS + 0x24, 4), flags);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(get(OLD_TSS + 0x28 + 4 * i, 4), 0x10101010 * (i + 1));
    for (unsigned i = 0; i < SEG_COUNT; i++) /* the upper half is not the CPU's */
        assert_int_equal(get(OLD_TSS + 0x48 + 4 * i, 4), 0xeeee0200 + 8 * i);
    for (unsigned i = 0; i < 0x20; i++)
        assert_int_equal(get(OLD_TSS + i, 1), 0xee);
    for (unsigned i = 0x60; i < 0x70; i++)
        assert_int_equal(get(OLD_TSS + i, 1), 0xee);
}

static inline void make_new_tss_16(void)
{
    put_descriptor(NEW_TASK, BASE + NEW_TSS, 0x2b, 0x081);
    put(NEW_TSS + 0x0e, 2, 0x5000);
    put(NEW_TSS + 0x10, 2, 0x246);
    for (unsigned i = 0; i < 8; i++)
        put(NEW_TSS + 0x12 + 2 * i, 2, 0xa000 + i);
    put(NEW_TSS + 0x22, 2, DATA);
    put(NEW_TSS + 0x24, 2, CODE);
    put(NEW_TSS + 0x26, 2, DATA);
    put(NEW_TSS + 0x28, 2, DATA);
    put(NEW_TSS + 0x2a, 2, LDT_SEL);
    memset(world.bytes[0] + NEW_TSS + 0x2c, 0xff, 0x40);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)
