/*
 * The emulator where the host cannot run the instruction: 16- and 32-bit code, segments, faults, repeats,
 * races for memory. What 64-bit code computes is compared with the CPU in test_emulate_native.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "vmx/decode.h"
#include "vmx/emulate.h"

#define BASE  UINT64_C(0x10000)
#define BYTES 0x4000u

#define SS_FAULT 12
#define GP_FAULT 13
#define PF_FAULT 14

#define CF 0x1u
#define ZF 0x40u
#define DF 0x400u
#define OF 0x800u
#define RF 0x10000u

/* Memory at linear BASE; the rest page-faults. */
static struct world {
    uint8_t bytes[BYTES];
    struct emu_segment segment[SEG_COUNT];
    unsigned reads, writes, exchanges;
    unsigned races;      /* so many exchanges find another value */
    uint64_t fault_from; /* accesses from here on fault; 0: none */
    int abandon;         /* -EIO: every access says so */
    unsigned last_size;
    uint64_t last_at;
} world;

static uint64_t gpr[GPR_COUNT], before[GPR_COUNT];
static struct emu_cpu cpu;
static struct emu_fault fault;

static int reach(gva_t at, unsigned size, struct emu_fault *out)
{
    world.last_at = at.raw;
    world.last_size = size;
    if (world.abandon)
        return world.abandon;
    if (at.raw >= BASE && at.raw + size <= BASE + BYTES && (!world.fault_from || at.raw < world.fault_from))
        return 0;
    *out = (struct emu_fault){ PF_FAULT, true, 2, at.raw };
    return -EFAULT;
}

static void get_segment(void *context, enum seg seg, struct emu_segment *out)
{
    (void)context;
    *out = world.segment[seg];
}

static int read_world(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *out)
{
    int status = reach(at, size, out);

    (void)context;
    if (status != 0)
        return status;
    world.reads++;
    *value = 0;
    memcpy(value, world.bytes + (at.raw - BASE), size);
    return 0;
}

static int write_world(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *out)
{
    int status = reach(at, size, out);

    (void)context;
    if (status != 0)
        return status;
    world.writes++;
    memcpy(world.bytes + (at.raw - BASE), &value, size);
    return 0;
}

static int exchange_world(void *context, gva_t at, unsigned size, uint64_t *expected, uint64_t value,
                          struct emu_fault *out)
{
    int status = reach(at, size, out);

    (void)context;
    if (status != 0)
        return status;
    world.exchanges++;
    if (world.races != 0) { /* another CPU adds one */
        world.races--;
        world.bytes[at.raw - BASE]++;
        memcpy(expected, world.bytes + (at.raw - BASE), size);
        return -EAGAIN;
    }
    memcpy(world.bytes + (at.raw - BASE), &value, size);
    return 0;
}

static const struct emu_memory memory = { get_segment, read_world, write_world, exchange_world, NULL };

/* Flat segments, registers that each hold something else, memory of zeroes. */
static int setup(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    for (unsigned i = 0; i < SEG_COUNT; i++)
        world.segment[i] = (struct emu_segment){
            .limit = UINT32_MAX, .present = true, .writable = true, .big = true
        };
    for (unsigned i = 0; i < GPR_COUNT; i++)
        gpr[i] = UINT64_C(0x1111111111111111) * i;
    gpr[GPR_RBX] = BASE + 0x1000;
    gpr[GPR_RSP] = BASE + 0x2000;
    gpr[GPR_RSI] = BASE + 0x100;
    gpr[GPR_RDI] = BASE + 0x800;
    cpu = (struct emu_cpu){ gpr, 0x7000, 0x2, CODE_64, true, 0 };
    fault = (struct emu_fault){ 0 };
    return 0;
}

static void real_mode(void)
{
    cpu.code = CODE_16;
    cpu.protected_mode = false;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        world.segment[i] = (struct emu_segment){
            .base = BASE, .limit = 0xffff, .present = true, .writable = true
        };
    gpr[GPR_RBX] = 0x1000;
    gpr[GPR_RSP] = 0x2000;
    gpr[GPR_RSI] = 0x100;
    gpr[GPR_RDI] = 0x800;
}

static int run(const char *hex)
{
    uint8_t bytes[16] = { 0 };
    struct insn insn;
    size_t n = 0;

    for (char *end; *hex; hex = end)
        bytes[n++] = (uint8_t)strtoul(hex, &end, 16);
    assert_int_equal(decode(bytes, sizeof(bytes), cpu.code, &insn), 0);
    assert_int_equal(insn.length, n);
    memcpy(before, gpr, sizeof(gpr));
    return emulate(&insn, &cpu, &memory, &fault);
}

static uint64_t peek(uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, world.bytes + offset, size);
    return value;
}

static void poke(uint64_t offset, uint64_t value, unsigned size)
{
    memcpy(world.bytes + offset, &value, size);
}

static void expect_done(const char *hex)
{
    uint64_t rip = cpu.rip;

    assert_int_equal(run(hex), 0);
    assert_int_equal(cpu.rip, rip + (strlen(hex) + 1) / 3);
}

/* The fault, and that nothing changed. */
static void expect_fault(const char *hex, unsigned vector)
{
    struct emu_cpu old = cpu;

    fault.vector = 0;
    assert_int_equal(run(hex), -EFAULT);
    assert_int_equal(fault.vector, vector);
    assert_int_equal(fault.has_error, cpu.protected_mode);
    if (vector != PF_FAULT)
        assert_int_equal(fault.error, 0);
    assert_memory_equal(gpr, before, sizeof(gpr));
    assert_int_equal(cpu.rip, old.rip);
    assert_int_equal(cpu.rflags, old.rflags);
}

/* --- 16- and 32-bit code
 * ------------------------------------------------------------------------------------ */

static void test_real_mode_addresses(void **state)
{
    (void)state;
    real_mode();
    gpr[GPR_RAX] = 0xaabbccdd11223344;
    expect_done("89 07"); /* mov [bx], ax */
    assert_int_equal(peek(0x1000, 4), 0x3344);
    expect_done("66 89 47 08"); /* mov [bx+8], eax */
    assert_int_equal(peek(0x1008, 8), 0x11223344);
    gpr[GPR_RBX] = 0xffff1000; /* the upper half does not count */
    gpr[GPR_RSI] = 0xfffff010; /* and 16 bits wrap: 0x1000 + 0xf010 */
    poke(0x0010, 0x77, 1);
    expect_done("8a 00"); /* mov al, [bx+si] */
    assert_int_equal(gpr[GPR_RAX], 0xaabbccdd11223377);
    expect_done("8a 26 10 00"); /* mov ah, [0x10] */
    assert_int_equal(gpr[GPR_RAX], 0xaabbccdd11227777);
    cpu.rip = 0xfffffffe;
    assert_int_equal(run("88 07"), 0);
    assert_int_equal(cpu.rip, 0);
}

static void test_32_bit_addresses(void **state)
{
    (void)state;
    cpu.code = CODE_32;
    world.segment[SEG_DS].base = 0xffff0000; /* linear addresses wrap at 4 GiB */
    gpr[GPR_RBX] = BASE + 0x11000;
    gpr[GPR_RCX] = 0xffffffff;
    poke(0x1000 - 4, 0x12345678, 4);
    expect_done("8b 04 8b"); /* mov eax, [ebx+ecx*4] */
    assert_int_equal(gpr[GPR_RAX], 0x12345678);
    world.segment[SEG_FS].base = BASE;
    expect_done("64 67 8b 16 fc 0f"); /* mov edx, fs:[0x0ffc] */
    assert_int_equal(gpr[GPR_RDX], 0x12345678);
}

static void test_bit_strings_in_32_bit_code(void **state)
{
    (void)state;
    cpu.code = CODE_32;
    gpr[GPR_RCX] = (uint32_t)-1;
    expect_done("0f ab 0b"); /* bts [ebx], ecx: bit 31 of the dword before */
    assert_int_equal(peek(0x1000 - 4, 8), 0x80000000);
    gpr[GPR_RCX] = 0x8003; /* 16 bits: negative */
    expect_done("66 0f ab 0b");
    assert_int_equal(peek(0x1000 - 0x1000, 2), 1 << 3);
}

static void test_stack_widths(void **state)
{
    (void)state;
    cpu.code = CODE_32;
    gpr[GPR_RAX] = 0x55667788;
    expect_done("50"); /* push eax */
    assert_int_equal(gpr[GPR_RSP], BASE + 0x1ffc);
    assert_int_equal(peek(0x1ffc, 4), 0x55667788);
    world.segment[SEG_SS] = (struct emu_segment){
        .base = BASE, .limit = 0xffff, .present = true, .writable = true
    };
    gpr[GPR_RSP] = 0xabcd2000; /* a 16-bit stack: SP alone moves */
    expect_done("66 50");
    assert_int_equal(gpr[GPR_RSP], 0xabcd1ffe);
    assert_int_equal(peek(0x1ffe, 2), 0x7788);
    gpr[GPR_RSP] = 0xabcd0000;
    poke(0, 0x99, 2);
    expect_done("66 8f 03"); /* pop word [ebx] */
    assert_int_equal(gpr[GPR_RSP], 0xabcd0002);
    assert_int_equal(peek(0x1000, 2), 0x99);
    gpr[GPR_RSP] = 0xabcd0000;
    assert_int_equal(run("50"), -EFAULT); /* SP wraps to 0xfffc, where there is no memory */
    assert_int_equal(fault.cr2, BASE + 0xfffc);
}

static void test_string_16(void **state)
{
    (void)state;
    real_mode();
    world.segment[SEG_ES].base = BASE + 0x1000;
    world.segment[SEG_FS].base = BASE + 0x2000;
    memcpy(world.bytes + 0x2100, "hello", 5);
    gpr[GPR_RCX] = 0xdead0005;
    gpr[GPR_RSI] = 0xdead0100;
    gpr[GPR_RDI] = 0xdead0800;
    expect_done("64 f3 a4"); /* rep movs byte es:[di], fs:[si] */
    assert_memory_equal(world.bytes + 0x1800, "hello", 5);
    assert_int_equal(gpr[GPR_RCX], 0xdead0000);
    assert_int_equal(gpr[GPR_RSI], 0xdead0105);
    assert_int_equal(gpr[GPR_RDI], 0xdead0805);
    gpr[GPR_RDI] = 0xdead0000;
    cpu.rflags |= DF;
    expect_done("aa"); /* DI wraps downwards */
    assert_int_equal(gpr[GPR_RDI], 0xdeadffff);
}

/* --- segments
 * ----------------------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
    (void)state;
    cpu.code = CODE_32;
    world.segment[SEG_DS].limit = BASE + 0x1003;
    expect_done("89 03"); /* ends at the limit */
    expect_fault("89 43 01", GP_FAULT);
    expect_fault("8b 43 01", GP_FAULT);
    expect_fault("01 43 01", GP_FAULT);
    expect_done("88 43 03");
    expect_fault("88 43 04", GP_FAULT);
    expect_done("26 89 43 01"); /* ES has another limit */
    world.segment[SEG_SS].limit = BASE + 0x1fff;
    expect_fault("89 04 24", SS_FAULT);
    expect_fault("58", SS_FAULT);
    expect_done("50");
    world.segment[SEG_ES].limit = BASE + 0x7fe;
    expect_fault("aa", GP_FAULT);
    gpr[GPR_RBX] = 0xfffffffe;
    world.segment[SEG_DS].limit = UINT32_MAX;
    expect_fault("89 03", GP_FAULT); /* over the end of 4 GiB */
}

static void test_expand_down(void **state)
{
    (void)state;
    cpu.code = CODE_32;
    world.segment[SEG_DS].expand_down = true;
    world.segment[SEG_DS].limit = BASE + 0xfff;
    expect_done("89 03"); /* the first byte above the limit */
    expect_fault("89 43 ff", GP_FAULT);
    world.segment[SEG_DS].limit = 0xfff;
    world.segment[SEG_DS].big = false;
    expect_fault("89 03", GP_FAULT); /* above 64 KiB */
    world.segment[SEG_DS].base = BASE;
    gpr[GPR_RBX] = 0x1000;
    expect_done("89 03");
    gpr[GPR_RBX] = 0xfffe;
    expect_fault("89 03", GP_FAULT);
}

static void test_rights(void **state)
{
    struct emu_segment *ds = &world.segment[SEG_DS];

    (void)state;
    cpu.code = CODE_32;
    ds->present = false;
    expect_fault("8b 03", GP_FAULT);
    world.segment[SEG_SS].present = false;
    expect_fault("8b 04 24", SS_FAULT);
    ds->present = true;
    ds->writable = false;
    expect_done("8b 03");
    expect_fault("89 03", GP_FAULT);
    expect_fault("f0 01 03", GP_FAULT);
    expect_done("39 03"); /* CMP only reads */
    ds->code = true;
    expect_fault("8b 03", GP_FAULT); /* execute-only */
    ds->readable = true;
    expect_done("8b 03");
    ds->writable = true; /* for code this bit would mean conforming */
    expect_fault("89 03", GP_FAULT);
    assert_int_equal(world.writes + world.exchanges, 0);
}

static void test_real_mode_checks(void **state)
{
    (void)state;
    real_mode();
    world.segment[SEG_DS].writable = false; /* left over from protected mode: not looked at */
    world.segment[SEG_DS].present = false;
    expect_done("89 07");
    gpr[GPR_RBX] = 0xffff;
    expect_fault("89 07", GP_FAULT); /* the limit is; no error code */
    gpr[GPR_RBP] = 0xffff;
    expect_fault("89 46 00", SS_FAULT);
}

static void test_canonical(void **state)
{
    static const uint64_t bad[] = { UINT64_C(0x0000800000000000), UINT64_C(0x00007ffffffffffd),
                                    UINT64_C(0xffff7fffffffffff), UINT64_C(0x8000000000000000) };

    (void)state;
    world.segment[SEG_DS].limit = 0; /* no limits in 64-bit mode */
    expect_done("89 03");
    for (unsigned i = 0; i < 4; i++) {
        gpr[GPR_RBX] = gpr[GPR_RBP] = gpr[GPR_RSP] = gpr[GPR_RDI] = bad[i];
        expect_fault("89 03", GP_FAULT);
        expect_fault("89 45 00", SS_FAULT);
        expect_fault("3e 89 45 00", SS_FAULT); /* a null prefix does not make it DS */
        expect_fault("ab", GP_FAULT);
        expect_fault("58", SS_FAULT);
    }
    gpr[GPR_RBX] = UINT64_C(0x00007ffffffffffc); /* the last four bytes of the lower half */
    assert_int_equal(run("89 03"), -EFAULT);
    assert_int_equal(fault.vector, PF_FAULT);
    gpr[GPR_RBX] = UINT64_C(0xffff800000000000);
    assert_int_equal(run("89 03"), -EFAULT);
    assert_int_equal(fault.vector, PF_FAULT);
    world.segment[SEG_GS].base = UINT64_C(0x0000700000000000);
    gpr[GPR_RBX] = UINT64_C(0x0000100000000000); /* canonical, but not the sum */
    expect_fault("65 89 03", GP_FAULT);
}

/* --- faults and races
 * --------------------------------------------------------------------------------------- */

static void test_page_faults_change_nothing(void **state)
{
    static const char *const hex[] = {
        "8b 03",    "89 03",    "01 03", "f0 0f c1 03", "0f b1 0b", "87 03", "ff 33", "f6 1b",
        "0f ab 0b", "a4",       "a6",    "ab",          "ac",       "ae",    "f3 a4", "c7 03 01 00 00 00",
        "0f b6 03", "48 63 03", "3b 03", "84 03",
    };

    (void)state;
    world.fault_from = BASE;
    gpr[GPR_RCX] = 4;
    for (unsigned i = 0; i < sizeof(hex) / sizeof(hex[0]); i++) {
        expect_fault(hex[i], PF_FAULT);
        assert_int_equal(fault.error, 2);
        assert_int_equal(fault.cr2, world.last_at);
    }
    world.fault_from = BASE + 0x1000; /* PUSH reads, then faults on the stack; POP the other way round */
    gpr[GPR_RBX] = BASE;
    expect_fault("ff 33", PF_FAULT);
    gpr[GPR_RSP] = BASE;
    gpr[GPR_RBX] = BASE + 0x1000;
    expect_fault("8f 03", PF_FAULT);
    gpr[GPR_RDI] = BASE + 0x1000; /* MOVS reads, then faults */
    expect_fault("a4", PF_FAULT);
}

static void test_abandoned(void **state)
{
    static const char *const hex[] = { "8b 03", "89 03", "01 03", "a4", "f3 ab", "ff 33", "58" };

    (void)state;
    world.abandon = -EIO;
    gpr[GPR_RCX] = 4;
    for (unsigned i = 0; i < sizeof(hex) / sizeof(hex[0]); i++) {
        assert_int_equal(run(hex[i]), -EIO);
        assert_memory_equal(gpr, before, sizeof(gpr));
        assert_int_equal(cpu.rip, 0x7000);
    }
}

static void test_races(void **state)
{
    (void)state;
    world.races = 5;
    gpr[GPR_RAX] = 100;
    expect_done("0f c1 03"); /* xadd [rbx], eax: the sum of all six */
    assert_int_equal(peek(0x1000, 4), 105);
    assert_int_equal(gpr[GPR_RAX], 5);
    assert_int_equal(world.exchanges, 6);
    world.races = 1000000; /* lost every time: the guest gets a turn, and nothing has happened */
    assert_int_equal(run("0f c1 03"), 0);
    assert_int_equal(cpu.rip, 0x7003);
    assert_memory_equal(gpr, before, sizeof(gpr));
}

/* CMPXCHG writes in any case, so that it faults on read-only memory even if the values differ. */
static void test_cmpxchg_writes_back(void **state)
{
    (void)state;
    poke(0x1000, 7, 4);
    gpr[GPR_RAX] = 1;
    cpu.rflags |= ZF;
    expect_done("f0 0f b1 0b");
    assert_int_equal(world.exchanges, 1);
    assert_int_equal(peek(0x1000, 4), 7);
    assert_int_equal(gpr[GPR_RAX], 7);
    assert_int_equal(cpu.rflags & ZF, 0);
}

static void test_reading_forms_do_not_write(void **state)
{
    static const char *const hex[] = { "39 03",    "3b 03",    "83 3b 01",   "85 03",
                                       "f6 03 01", "0f a3 03", "0f ba 23 01" };

    (void)state;
    for (unsigned i = 0; i < sizeof(hex) / sizeof(hex[0]); i++)
        expect_done(hex[i]);
    assert_int_equal(world.writes + world.exchanges, 0);
    assert_int_equal(world.reads, sizeof(hex) / sizeof(hex[0]));
}

/* --- repeats
 * ------------------------------------------------------------------------------------------------ */

static void test_repeat_in_pieces(void **state)
{
    (void)state;
    gpr[GPR_RCX] = 2 * EMU_REP_MAX + 3;
    gpr[GPR_RAX] = 0x5a;
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(run("f3 aa"), 0);
        assert_int_equal(cpu.rip, 0x7000); /* to be run again */
        assert_int_equal(gpr[GPR_RCX], (2 - i) * EMU_REP_MAX + 3);
        assert_int_equal(gpr[GPR_RDI], BASE + 0x800 + i * EMU_REP_MAX);
    }
    expect_done("f3 aa");
    assert_int_equal(gpr[GPR_RCX], 0);
    assert_int_equal(peek(0x800 + 2 * EMU_REP_MAX + 2, 2), 0x5a);
    gpr[GPR_RCX] = EMU_REP_MAX; /* exactly one piece is complete */
    expect_done("f3 aa");
}

static void test_repeat_zero(void **state)
{
    (void)state;
    gpr[GPR_RCX] = 0;
    gpr[GPR_RDI] = 0; /* not even looked at */
    expect_done("f3 48 ab");
    assert_memory_equal(gpr, before, sizeof(gpr));
    cpu.code = CODE_32;
    gpr[GPR_RCX] = UINT64_C(0x100000000);
    expect_done("f3 ab");
    assert_int_equal(world.writes, 0);
}

static void test_repeat_faults_in_the_middle(void **state)
{
    (void)state;
    gpr[GPR_RCX] = 8;
    world.fault_from = gpr[GPR_RDI] + 3 * 4;
    assert_int_equal(run("f3 ab"), -EFAULT);
    assert_int_equal(fault.vector, PF_FAULT);
    assert_int_equal(fault.cr2, BASE + 0x80c);
    assert_int_equal(gpr[GPR_RCX], 5); /* as before the fourth */
    assert_int_equal(gpr[GPR_RDI], BASE + 0x80c);
    assert_int_equal(cpu.rip, 0x7000);
}

static void test_repeat_while_equal(void **state)
{
    (void)state;
    memcpy(world.bytes + 0x100, "abcdeX", 6);
    memcpy(world.bytes + 0x800, "abcdeY", 6);
    gpr[GPR_RCX] = 100;
    expect_done("f3 a6");
    assert_int_equal(gpr[GPR_RCX], 94);
    assert_int_equal(cpu.rflags & (ZF | CF), CF); /* X < Y */
    gpr[GPR_RDI] = BASE + 0x800;
    gpr[GPR_RAX] = 'd';
    expect_done("f2 ae"); /* scan for 'd' */
    assert_int_equal(gpr[GPR_RDI], BASE + 0x804);
    assert_int_equal(cpu.rflags & ZF, ZF);
}

/* --- odds and ends
 * ------------------------------------------------------------------------------------------ */

static void test_rip_relative(void **state)
{
    (void)state;
    poke(0x1234, 0xcafe, 2);
    cpu.rip = BASE;
    expect_done("0f b7 05 2d 12 00 00"); /* movzx eax, word [rip+0x122d] */
    assert_int_equal(gpr[GPR_RAX], 0xcafe);
    cpu.rip = UINT64_C(0xffffffff00000000) | BASE;
    expect_done("67 0f b7 05 2c 12 00 00"); /* EIP-relative */
    assert_int_equal(gpr[GPR_RAX], 0xcafe);
}

static void test_resume_flag(void **state)
{
    (void)state;
    cpu.rflags |= RF;
    expect_fault("8b 04 25 00 00 00 00", PF_FAULT);
    expect_done("8b 03");
    assert_int_equal(cpu.rflags & RF, 0);
}

static void test_page_crossing_is_one_access(void **state)
{
    (void)state;
    gpr[GPR_RBX] = BASE + 0xffd;
    expect_done("48 89 03");
    assert_int_equal(world.writes, 1);
    assert_int_equal(world.last_at, BASE + 0xffd);
    assert_int_equal(world.last_size, 8);
}

static void test_only_the_bytes_asked_for(void **state)
{
    (void)state;
    gpr[GPR_RAX] = UINT64_MAX;
    expect_done("88 23"); /* mov [rbx], ah */
    assert_int_equal(peek(0x1000, 8), 0xff);
    expect_done("0f be 0b"); /* movsx ecx, byte [rbx] */
    assert_int_equal(gpr[GPR_RCX], 0xffffffff);
}

static void test_not_executed(void **state)
{
    static const char *const hex[] = {
        "0f a2", "f4", "90", "0f 01 3b", "0f 20 c0", "ec", "8d 03", "0f 11 03"
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(hex) / sizeof(hex[0]); i++) {
        assert_int_equal(run(hex[i]), -ENOSYS);
        assert_memory_equal(gpr, before, sizeof(gpr));
        assert_int_equal(cpu.rip, 0x7000);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_real_mode_addresses),
        TEST(test_32_bit_addresses),
        TEST(test_bit_strings_in_32_bit_code),
        TEST(test_stack_widths),
        TEST(test_string_16),
        TEST(test_limits),
        TEST(test_expand_down),
        TEST(test_rights),
        TEST(test_real_mode_checks),
        TEST(test_canonical),
        TEST(test_page_faults_change_nothing),
        TEST(test_abandoned),
        TEST(test_races),
        TEST(test_cmpxchg_writes_back),
        TEST(test_reading_forms_do_not_write),
        TEST(test_repeat_in_pieces),
        TEST(test_repeat_zero),
        TEST(test_repeat_faults_in_the_middle),
        TEST(test_repeat_while_equal),
        TEST(test_rip_relative),
        TEST(test_resume_flag),
        TEST(test_page_crossing_is_one_access),
        TEST(test_only_the_bytes_asked_for),
        TEST(test_not_executed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
