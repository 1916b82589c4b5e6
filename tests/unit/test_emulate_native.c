/*
 * The emulator against the real CPU: every 64-bit instruction form, in every operand size, with every kind of
 * addressing and many values, runs once natively and once in emulate(); registers, memory and the defined
 * flags must agree. State, code and data lie at fixed low addresses, so that 32-bit addressing reaches them
 * too.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <asm/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "vmx/decode.h"
#include "vmx/emulate.h"

#define STATE   0x10000000u
#define CODE    0x10010000u
#define DATA    0x10020000u
#define BYTES   0x6000u
#define MIDDLE  (DATA + BYTES / 2)
#define GS_BASE 0x1234u

#define CF     0x001u
#define PF     0x004u
#define AF     0x010u
#define ZF     0x040u
#define SF     0x080u
#define DF     0x400u
#define OF     0x800u
#define FLAGS  (CF | PF | AF | ZF | SF | DF | OF)
#define ALWAYS 0x202u /* IF and the bit that is one */

struct native_state {
    uint64_t gpr[GPR_COUNT], rflags, host_rsp;
};

#define NATIVE ((struct native_state *)(uintptr_t)STATE)

static uint8_t *code_at; /* where the instruction under test goes */
static uint8_t shadow[BYTES];
static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1d;
}

static unsigned below(unsigned n)
{
    return (unsigned)(random64() >> 33) % n;
}

/* Values at which carries and signs change come often. */
static uint64_t random_value(void)
{
    static const uint64_t edge[] = { 0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     INT64_MAX,
                                     (uint64_t)INT64_MIN,
                                     UINT64_MAX,
                                     0x0f,
                                     0x10 };

    return below(2) ? edge[below(16)] : random64();
}

/* --- the native side ---------------------------------------------------------------------------------------
 */

static void emit(uint8_t **at, const void *bytes, size_t size)
{
    memcpy(*at, bytes, size);
    *at += size;
}

#define EMIT(at, ...) emit(at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* mov between register `reg` and the absolute address: 89 stores, 8B loads. */
static void emit_move(uint8_t **at, uint8_t opcode, unsigned reg, uint32_t address)
{
    EMIT(at, (uint8_t)(0x48 | (reg >> 3 << 2)), opcode, (uint8_t)(0x04 | (reg & 7) << 3), 0x25);
    emit(at, &address, 4);
}

static const uint32_t rflags_at = STATE + offsetof(struct native_state, rflags);
static const uint32_t rsp_at = STATE + offsetof(struct native_state, host_rsp);

static void emit_prologue(uint8_t **at)
{
    EMIT(at, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push rbx rbp r12 .. r15 */
    emit_move(at, 0x89, GPR_RSP, rsp_at);
    EMIT(at, 0xff, 0x34, 0x25); /* push rflags; popf */
    emit(at, &rflags_at, 4);
    EMIT(at, 0x9d);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        emit_move(at, 0x8b, i, STATE + 8 * i);
}

static void emit_epilogue(uint8_t **at)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        emit_move(at, 0x89, i, STATE + 8 * i);
    emit_move(at, 0x8b, GPR_RSP, rsp_at);
    EMIT(at, 0x9c, 0x8f, 0x04, 0x25); /* pushf; pop rflags; cld */
    emit(at, &rflags_at, 4);
    EMIT(at, 0xfc);
    EMIT(at, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

static void run_native(const uint8_t *insn, size_t length)
{
    uint8_t *at = code_at;

    emit(&at, insn, length);
    emit_epilogue(&at);
    ((void (*)(void))(uintptr_t)CODE)();
}

static int setup(void **state)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    uint8_t *at = (uint8_t *)(uintptr_t)CODE;

    (void)state;
    if (mmap((void *)(uintptr_t)STATE, 0x1000, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ||
        mmap(at, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0) == MAP_FAILED ||
        mmap((void *)(uintptr_t)DATA, BYTES, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
        return -1;
    emit_prologue(&at);
    code_at = at;
    return (int)syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)GS_BASE);
}

/* --- the emulated side
 * -------------------------------------------------------------------------------------- */

static uint8_t *shadow_at(gva_t at, unsigned size)
{
    assert_in_range(at.raw, DATA, DATA + BYTES - size);
    return shadow + (at.raw - DATA);
}

static void get_segment(void *context, enum seg seg, struct emu_segment *out)
{
    (void)context;
    assert_true(seg == SEG_FS || seg == SEG_GS);
    *out = (struct emu_segment){ .base = seg == SEG_GS ? GS_BASE : 0 };
}

static int read_shadow(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault)
{
    (void)context, (void)fault;
    *value = 0;
    memcpy(value, shadow_at(at, size), size);
    return 0;
}

static int write_shadow(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault)
{
    (void)context, (void)fault;
    if (size < 8)
        assert_int_equal(value >> (8 * size), 0);
    memcpy(shadow_at(at, size), &value, size);
    return 0;
}

static int exchange_shadow(void *context, gva_t at, unsigned size, uint64_t *expected, uint64_t value,
                           struct emu_fault *fault)
{
    uint64_t now;

    if (read_shadow(context, at, size, &now, fault) != 0 || now != *expected)
        fail_msg("expected value is not what was read");
    if (below(4) == 0) { /* as if another CPU had been there in between */
        *expected = now;
        return -11; /* EAGAIN */
    }
    return write_shadow(context, at, size, value, fault);
}

/* --- making instructions
 * ------------------------------------------------------------------------------------ */

#define ANY    (-1)  /* ModRM.reg: any register */
#define NONE   (-2)  /* no ModRM */
#define LOW    (-3)  /* no ModRM, a register in the opcode */
#define BYTE   0x01u /* operands of one byte */
#define BITS   0x04u /* ModRM.reg holds a bit offset that reaches beyond the operand */
#define STACK  0x08u /* 8 or 2 bytes, RSP points to the data */
#define STRING 0x10u /* RSI and RDI point to the data */
#define REP    0x20u
#define LOCK   0x40u /* LOCK is legal */
#define I8     0x100u
#define IZ     0x200u
#define IV     0x400u
#define MOFFS  0x800u

struct form {
    const char *name;
    uint8_t opcode[2];
    uint8_t opcodes; /* bytes of opcode */
    int8_t reg;
    uint16_t how;
    uint16_t undefined; /* flags */
};

/* clang-format off */
#define BLOCK(name, n, undefined, lock)                                                                      \
    { name, { 8 * (n) + 0 }, 1, ANY, BYTE | (lock), undefined }, { name, { 8 * (n) + 1 }, 1, ANY, lock, undefined }, \
    { name, { 8 * (n) + 2 }, 1, ANY, BYTE, undefined }, { name, { 8 * (n) + 3 }, 1, ANY, 0, undefined },     \
    { name, { 8 * (n) + 4 }, 1, NONE, BYTE | I8, undefined }, { name, { 8 * (n) + 5 }, 1, NONE, IZ, undefined },     \
    { name, { 0x80 }, 1, n, BYTE | I8 | (lock), undefined }, { name, { 0x81 }, 1, n, IZ | (lock), undefined },       \
    { name, { 0x83 }, 1, n, I8 | (lock), undefined }
#define BITOP(name, op, n, lock)                                                                             \
    { name, { 0x0f, op }, 2, ANY, BITS | (lock), OF | SF | AF | PF },                                        \
    { name, { 0x0f, 0xba }, 2, n, I8 | (lock), OF | SF | AF | PF }
#define STRINGS(name, op, how)                                                                               \
    { name, { op }, 1, NONE, STRING | BYTE | (how), 0 }, { name, { (op) + 1 }, 1, NONE, STRING | (how), 0 }

static const struct form forms[] = {
    BLOCK("add", 0, 0, LOCK), BLOCK("or", 1, AF, LOCK), BLOCK("adc", 2, 0, LOCK), BLOCK("sbb", 3, 0, LOCK),
    BLOCK("and", 4, AF, LOCK), BLOCK("sub", 5, 0, LOCK), BLOCK("xor", 6, AF, LOCK), BLOCK("cmp", 7, 0, 0),
    { "mov", { 0x88 }, 1, ANY, BYTE, 0 }, { "mov", { 0x89 }, 1, ANY, 0, 0 },
    { "mov", { 0x8a }, 1, ANY, BYTE, 0 }, { "mov", { 0x8b }, 1, ANY, 0, 0 },
    { "mov", { 0xc6 }, 1, 0, BYTE | I8, 0 }, { "mov", { 0xc7 }, 1, 0, IZ, 0 },
    { "mov", { 0xa0 }, 1, NONE, BYTE | MOFFS, 0 }, { "mov", { 0xa1 }, 1, NONE, MOFFS, 0 },
    { "mov", { 0xa2 }, 1, NONE, BYTE | MOFFS, 0 }, { "mov", { 0xa3 }, 1, NONE, MOFFS, 0 },
    { "mov", { 0xb0 }, 1, LOW, BYTE | I8, 0 }, { "mov", { 0xb8 }, 1, LOW, IV, 0 },
    { "movzx", { 0x0f, 0xb6 }, 2, ANY, 0, 0 }, { "movzx", { 0x0f, 0xb7 }, 2, ANY, 0, 0 },
    { "movsx", { 0x0f, 0xbe }, 2, ANY, 0, 0 }, { "movsx", { 0x0f, 0xbf }, 2, ANY, 0, 0 },
    { "movsxd", { 0x63 }, 1, ANY, 0, 0 },
    { "test", { 0x84 }, 1, ANY, BYTE, AF }, { "test", { 0x85 }, 1, ANY, 0, AF },
    { "test", { 0xa8 }, 1, NONE, BYTE | I8, AF }, { "test", { 0xa9 }, 1, NONE, IZ, AF },
    { "test", { 0xf6 }, 1, 0, BYTE | I8, AF }, { "test", { 0xf7 }, 1, 0, IZ, AF },
    BITOP("bt", 0xa3, 4, 0), BITOP("bts", 0xab, 5, LOCK), BITOP("btr", 0xb3, 6, LOCK), BITOP("btc", 0xbb, 7, LOCK),
    { "xchg", { 0x86 }, 1, ANY, BYTE | LOCK, 0 }, { "xchg", { 0x87 }, 1, ANY, LOCK, 0 }, { "xchg", { 0x91 }, 1, LOW, 0, 0 },
    { "cmpxchg", { 0x0f, 0xb0 }, 2, ANY, BYTE | LOCK, 0 }, { "cmpxchg", { 0x0f, 0xb1 }, 2, ANY, LOCK, 0 },
    { "xadd", { 0x0f, 0xc0 }, 2, ANY, BYTE | LOCK, 0 }, { "xadd", { 0x0f, 0xc1 }, 2, ANY, LOCK, 0 },
    { "inc", { 0xfe }, 1, 0, BYTE | LOCK, 0 }, { "inc", { 0xff }, 1, 0, LOCK, 0 },
    { "dec", { 0xfe }, 1, 1, BYTE | LOCK, 0 }, { "dec", { 0xff }, 1, 1, LOCK, 0 },
    { "not", { 0xf6 }, 1, 2, BYTE | LOCK, 0 }, { "not", { 0xf7 }, 1, 2, LOCK, 0 },
    { "neg", { 0xf6 }, 1, 3, BYTE | LOCK, 0 }, { "neg", { 0xf7 }, 1, 3, LOCK, 0 },
    { "push", { 0xff }, 1, 6, STACK, 0 }, { "push", { 0x68 }, 1, NONE, STACK | IZ, 0 },
    { "push", { 0x6a }, 1, NONE, STACK | I8, 0 }, { "push", { 0x50 }, 1, LOW, STACK, 0 },
    { "pop", { 0x8f }, 1, 0, STACK, 0 }, { "pop", { 0x58 }, 1, LOW, STACK, 0 },
    STRINGS("movs", 0xa4, 0), STRINGS("cmps", 0xa6, 0), STRINGS("stos", 0xaa, 0), STRINGS("lods", 0xac, 0),
    STRINGS("scas", 0xae, 0),
    STRINGS("rep movs", 0xa4, REP), STRINGS("rep cmps", 0xa6, REP), STRINGS("rep stos", 0xaa, REP),
    STRINGS("rep lods", 0xac, REP), STRINGS("rep scas", 0xae, REP),
};
/* clang-format on */

/* One instruction in the making; the body is opcode, ModRM, SIB, displacement and immediate. */
struct made {
    const struct form *form;
    unsigned size; /* of the operands */
    bool gs, address32, lock;
    uint8_t rex;
    uint8_t body[16];
    unsigned length;
    unsigned rip_at; /* where the body holds a RIP-relative displacement, or 0 */
    uint64_t where;  /* the offset that the memory operand is to have */
};

static void put(struct made *m, uint64_t value, unsigned size)
{
    memcpy(m->body + m->length, &value, size);
    m->length += size;
}

/* Sets `reg` to `value`; with 32-bit addresses the upper half holds anything. */
static void set_address(const struct made *m, unsigned reg, uint64_t value)
{
    NATIVE->gpr[reg] = m->address32 ? (uint32_t)value | random64() << 32 : value;
}

/* A base register other than the bit offset's, and RSP only where it stays a stack pointer. */
static unsigned choose_base(const struct made *m, unsigned reg)
{
    unsigned base;

    do
        base = below(16);
    while (((m->form->how & BITS) && base == reg) ||
           ((m->form->how & STACK) && base == GPR_RSP && (m->address32 || m->gs)));
    return base;
}

static void put_displacement(struct made *m, unsigned mod, int32_t disp)
{
    put(m, (uint32_t)disp, mod == 0 ? 0 : mod == 1 ? 1 : 4);
}

/* base + displacement, or with an index */
static void make_based(struct made *m, unsigned reg, bool with_index)
{
    unsigned mod = below(3), base = choose_base(m, reg), index = below(16), scale = below(4);
    bool stack = (m->form->how & STACK) && base == GPR_RSP;
    uint64_t where = m->where;
    int32_t disp;

    if (stack || (mod == 0 && (base & 7) == 5))
        mod = 1;
    disp = mod == 1 ? (int8_t)random64() : mod == 2 ? (int32_t)below(0x1000000) - 0x800000 : 0;
    if (stack || index == base || ((m->form->how & (BITS | STACK)) && (index == reg || index == GPR_RSP)))
        index = GPR_RSP; /* none */
    if (!with_index && (base & 7) != 4) {
        put(m, mod << 6 | (reg & 7) << 3 | (base & 7), 1);
    } else {
        put(m, mod << 6 | (reg & 7) << 3 | 4u, 1);
        put(m, scale << 6 | (index & 7) << 3 | (base & 7), 1);
        m->rex |= (uint8_t)(index >> 3 << 1);
        if (index != GPR_RSP) {
            set_address(m, index, random64());
            where -= NATIVE->gpr[index] << scale;
        }
    }
    put_displacement(m, mod, disp);
    set_address(m, base, where - (uint64_t)(int64_t)disp);
    m->rex |= (uint8_t)(base >> 3);
}

static void make_memory(struct made *m, unsigned reg)
{
    switch (below(8)) {
    case 0: /* absolute: SIB without base and index */
        put(m, (reg & 7) << 3 | 4u, 1);
        put(m, 0x25, 1);
        put(m, m->where, 4);
        break;
    case 1: /* RIP-relative */
        put(m, (reg & 7) << 3 | 5u, 1);
        m->rip_at = m->length;
        put(m, 0, 4);
        break;
    default:
        make_based(m, reg, below(2));
        break;
    }
    m->lock = (m->form->how & LOCK) && below(4) == 0;
    if (m->form->how & BITS) {
        uint64_t mask = UINT64_MAX >> (64 - 8 * m->size);

        NATIVE->gpr[reg] = ((below(0x10000) - UINT64_C(0x8000)) & mask) | (random64() & ~mask);
    }
}

static void make_operands(struct made *m)
{
    const struct form *form = m->form;
    unsigned reg = form->reg >= 0 ? (unsigned)form->reg : below(16);

    if (form->reg == LOW) {
        reg |= reg == 0; /* 90 is NOP */
        m->body[m->length - 1] = (uint8_t)((m->body[m->length - 1] & 0xf8) | (reg & 7));
        m->rex |= (uint8_t)(reg >> 3);
    } else if (form->reg != NONE) {
        m->rex |= (uint8_t)(reg >> 3 << 2);
        if (below(4) != 0) {
            make_memory(m, reg);
        } else {
            unsigned rm = below(16);

            put(m, 0xc0 | (reg & 7) << 3 | (rm & 7), 1);
            m->rex |= (uint8_t)(rm >> 3);
        }
    }
    if (form->how & MOFFS)
        put(m, m->where, m->address32 ? 4 : 8);
    if (form->how & I8)
        put(m, random_value(), 1);
    else if (form->how & IZ)
        put(m, random_value(), m->size == 2 ? 2 : 4);
    else if (form->how & IV)
        put(m, random_value(), m->size);
}

/* String data repeats itself, so that comparisons go on for a while. */
static void fill_shadow(const struct form *form)
{
    for (unsigned i = 0; i < BYTES; i += 8) {
        uint64_t word = form->how & STRING ? UINT64_C(1) << below(64) & 0x0101010101010101 : random64();

        memcpy(shadow + i, &word, 8);
    }
}

static void make_state(const struct made *m)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        NATIVE->gpr[i] = random_value();
    NATIVE->rflags = ALWAYS | (random64() & FLAGS);
    if (m->form->how & STACK)
        NATIVE->gpr[GPR_RSP] = MIDDLE + 256 + below(64);
    if (m->form->how & STRING) {
        set_address(m, GPR_RSI, m->where);
        set_address(m, GPR_RDI, MIDDLE + below(64));
        /* With ECX = 0 some CPUs clear the upper halves of RCX, RSI and RDI, others do not. */
        set_address(m, GPR_RCX, m->address32 ? 1 + below(40) : below(40));
        NATIVE->gpr[GPR_RAX] &= random64() & 1 ? 0 : UINT64_MAX;
    }
}

/* Prefixes and body. Returns the length. */
static unsigned assemble(struct made *m, uint8_t *out)
{
    unsigned n = 0;

    if (m->gs)
        out[n++] = 0x65;
    if (m->address32)
        out[n++] = 0x67;
    if (m->size == 2)
        out[n++] = 0x66;
    if (m->form->how & REP)
        out[n++] = (uint8_t)(0xf2 + below(2));
    if (m->lock)
        out[n++] = 0xf0;
    if (m->size == 8 && (!(m->form->how & STACK) || below(2)))
        m->rex |= 8;
    if (m->rex || below(2))
        out[n++] = 0x40 | m->rex;
    if (m->rip_at) {
        uint32_t disp = (uint32_t)(m->where - (uint64_t)(uintptr_t)code_at - n - m->length);

        memcpy(m->body + m->rip_at, &disp, 4);
    }
    memcpy(out + n, m->body, m->length);
    return n + m->length;
}

static void describe(const struct made *m, const uint8_t *bytes, unsigned length, const char *what)
{
    fprintf(stderr, "%s, %u bytes:", m->form->name, m->size);
    for (unsigned i = 0; i < length; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, ": %s\n", what);
}

static void compare_once(const struct form *form, unsigned size)
{
    struct made m = { .form = form, .size = size, .gs = below(8) == 0, .address32 = below(8) == 0 };
    const struct emu_memory memory = { get_segment, read_shadow, write_shadow, exchange_shadow, NULL };
    struct emu_fault fault;
    struct insn insn;
    uint64_t gpr[GPR_COUNT], flags = FLAGS & ~(uint64_t)form->undefined;
    uint8_t bytes[32] = { 0 };
    unsigned length;

    m.where = MIDDLE + below(64) - (m.gs ? GS_BASE : 0);
    make_state(&m);
    put(&m, form->opcode[0] | form->opcode[1] << 8, form->opcodes);
    make_operands(&m);
    length = assemble(&m, bytes);
    if (form->opcode[1] == 0xb0 || form->opcode[1] == 0xb1) { /* CMPXCHG is to succeed too */
        if (below(2))
            memcpy(shadow + (m.where + (m.gs ? GS_BASE : 0) - DATA), &NATIVE->gpr[GPR_RAX], 8);
    }
    memcpy((void *)(uintptr_t)DATA, shadow, BYTES);
    memcpy(gpr, NATIVE->gpr, sizeof(gpr));
    struct emu_cpu cpu = { gpr, (uintptr_t)code_at, NATIVE->rflags, CODE_64, true, 0 };

    if (decode(bytes, sizeof(bytes), CODE_64, &insn) != 0 || insn.length != length) {
        describe(&m, bytes, length, "decoded wrongly");
        fail();
    }
    if (emulate(&insn, &cpu, &memory, &fault) != 0) {
        describe(&m, bytes, length, "not emulated");
        fail();
    }
    run_native(bytes, length);
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (gpr[i] == NATIVE->gpr[i])
            continue;
        describe(&m, bytes, length, "registers differ");
        fprintf(stderr, "register %u: %#lx, the CPU says %#lx\n", i, gpr[i], NATIVE->gpr[i]);
        fail();
    }
    if (memcmp(shadow, (void *)(uintptr_t)DATA, BYTES) != 0) {
        describe(&m, bytes, length, "memory differs");
        fail();
    }
    if ((cpu.rflags ^ NATIVE->rflags) & flags) {
        describe(&m, bytes, length, "flags differ");
        fprintf(stderr, "%#lx, the CPU says %#lx\n", cpu.rflags & flags, NATIVE->rflags & flags);
        fail();
    }
    assert_int_equal(cpu.rip, (uintptr_t)code_at + length);
}

static void test_all_forms(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const struct form *form = &forms[i];

        for (unsigned round = 0; round < 1000; round++) {
            if (round % 8 == 0)
                fill_shadow(form);
            if (form->how & BYTE) {
                compare_once(form, 1);
                continue;
            }
            if (form->opcode[0] != 0x63) /* 16-bit MOVSXD differs between vendors */
                compare_once(form, 2);
            if (!(form->how & STACK))
                compare_once(form, 4);
            compare_once(form, 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_forms) };

    return cmocka_run_group_tests(tests, setup, NULL);
}
