/* The decoder: operands and length of many encodings, as text; truncation; what is undefined. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "vmx/decode.h"
#include "vmx/decode_cache.h"

static size_t parse_hex(const char *text, uint8_t *out)
{
    size_t n = 0;

    for (char *end; *text; text = end)
        out[n++] = (uint8_t)strtoul(text, &end, 16);
    return n;
}

static void print_reg(char *out, unsigned reg, unsigned size)
{
    static const char *const name[] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };

    if (reg >= 8)
        sprintf(out, "r%u%s", reg, size == 8 ? "" : size == 4 ? "d" : size == 2 ? "w" : "b");
    else if (size >= 2)
        sprintf(out, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", name[reg]);
    else if (reg >= 4)
        sprintf(out, "%sl", name[reg]);
    else
        sprintf(out, "%cl", name[reg][0]);
}

static void print_memory(char *out, const struct insn *insn)
{
    static const char *const seg[] = { "es", "cs", "ss", "ds", "fs", "gs" };
    char reg[8];

    out += sprintf(out, "%s:[", seg[insn->seg]);
    if (insn->rip_relative)
        out += sprintf(out, "rip");
    if (insn->base >= 0) {
        print_reg(reg, (unsigned)insn->base, insn->address_size);
        out += sprintf(out, "%s", reg);
    }
    if (insn->index >= 0) {
        print_reg(reg, (unsigned)insn->index, insn->address_size);
        out += sprintf(out, "+%s*%u", reg, insn->scale);
    }
    if (insn->displacement < 0 && (insn->base >= 0 || insn->rip_relative))
        sprintf(out, "-%lx]", (unsigned long)-insn->displacement);
    else
        sprintf(out, "+%lx]", (unsigned long)insn->displacement);
}

static void print_operand(char *out, const struct insn *insn, struct operand operand)
{
    static const char *const width[] = { [1] = "byte ", [2] = "word ", [4] = "dword ", [8] = "qword " };

    switch (operand.kind) {
    case OPERAND_REG:
        print_reg(out, operand.reg, operand.size);
        break;
    case OPERAND_REG_HIGH:
        assert_int_equal(operand.size, 1);
        sprintf(out, "%ch", "acdb"[operand.reg]);
        break;
    case OPERAND_MEM:
        print_memory(out + sprintf(out, "%s", width[operand.size]), insn);
        break;
    case OPERAND_IMM:
        sprintf(out, "%s%lx", width[operand.size], (unsigned long)insn->immediate);
        break;
    case OPERAND_CONTROL:
        sprintf(out, "c%u", operand.reg);
        break;
    default:
        *out = 0;
    }
}

static void print_insn(char *out, const struct insn *insn)
{
    char to[64], from[64];

    print_operand(to, insn, insn->to);
    print_operand(from, insn, insn->from);
    sprintf(out, "%s%s%s%s", insn->lock ? "lock " : "", insn->rep ? "rep " : "", insn->repne ? "repne " : "",
            insn_op_name((enum insn_op)insn->op));
    if (*to)
        sprintf(out + strlen(out), " %s", to);
    if (*from)
        sprintf(out + strlen(out), "%s %s", *to ? "," : "", from);
}

struct encoding {
    enum code_size code;
    const char *bytes;
    const char *text;
};

/* clang-format off */
static const struct encoding encodings[] = {
    /* the forms of MOV */
    { CODE_64, "89 43 10", "mov dword ds:[rbx+10], eax" },
    { CODE_64, "48 89 43 f8", "mov qword ds:[rbx-8], rax" },
    { CODE_64, "66 89 43 10", "mov word ds:[rbx+10], ax" },
    { CODE_64, "88 23", "mov byte ds:[rbx+0], ah" },
    { CODE_64, "40 88 23", "mov byte ds:[rbx+0], spl" },
    { CODE_64, "44 8a 3b", "mov r15b, byte ds:[rbx+0]" },
    { CODE_64, "8b 07", "mov eax, dword ds:[rdi+0]" },
    { CODE_64, "88 e1", "mov cl, ah" },
    { CODE_64, "4d 89 c1", "mov r9, r8" },
    { CODE_64, "c6 00 80", "mov byte ds:[rax+0], byte 80" },
    { CODE_64, "c7 80 b0 00 00 00 00 00 00 00", "mov dword ds:[rax+b0], dword 0" },
    { CODE_64, "48 c7 00 ff ff ff ff", "mov qword ds:[rax+0], qword ffffffffffffffff" },
    { CODE_64, "66 c7 00 34 12", "mov word ds:[rax+0], word 1234" },
    { CODE_64, "66 48 c7 00 34 12 00 00", "mov qword ds:[rax+0], qword 1234" }, /* REX.W beats 66 */
    { CODE_64, "a0 88 77 66 55 44 33 22 11", "mov al, byte ds:[+1122334455667788]" },
    { CODE_64, "48 a3 88 77 66 55 44 33 22 f1", "mov qword ds:[+f122334455667788], rax" },
    { CODE_64, "67 a1 44 33 22 f1", "mov eax, dword ds:[+f1223344]" },
    { CODE_32, "a1 b0 00 e0 fe", "mov eax, dword ds:[+fee000b0]" },
    { CODE_32, "67 a2 34 f2", "mov byte ds:[+f234], al" },
    { CODE_16, "66 26 a3 34 12", "mov dword es:[+1234], eax" },
    { CODE_64, "b4 7f", "mov ah, byte 7f" },
    { CODE_64, "41 bf 78 56 34 f2", "mov r15d, dword f2345678" },
    { CODE_64, "49 b8 88 77 66 55 44 33 22 f1", "mov r8, qword f122334455667788" },
    { CODE_64, "66 b8 34 f2", "mov ax, word f234" },
    { CODE_64, "0f b6 00", "movzx eax, byte ds:[rax+0]" },
    { CODE_64, "0f b6 c4", "movzx eax, ah" },
    { CODE_64, "4c 0f b7 00", "movzx r8, word ds:[rax+0]" },
    { CODE_64, "66 0f be 06", "movsx ax, byte ds:[rsi+0]" },
    { CODE_64, "48 0f bf 06", "movsx rax, word ds:[rsi+0]" },
    { CODE_64, "48 63 06", "movsx rax, dword ds:[rsi+0]" },
    { CODE_64, "63 06", "movsx eax, dword ds:[rsi+0]" },
    /* 64- and 32-bit addressing */
    { CODE_64, "8b 05 10 00 00 00", "mov eax, dword ds:[rip+10]" },
    { CODE_64, "67 8b 05 f0 ff ff ff", "mov eax, dword ds:[rip-10]" },
    { CODE_32, "8b 05 10 00 00 00", "mov eax, dword ds:[+10]" },
    { CODE_64, "8b 04 25 00 00 e0 fe", "mov eax, dword ds:[+fffffffffee00000]" },
    { CODE_64, "8b 04 8b", "mov eax, dword ds:[rbx+rcx*4+0]" },
    { CODE_64, "8b 44 8b 7f", "mov eax, dword ds:[rbx+rcx*4+7f]" },
    { CODE_64, "8b 84 8b 00 00 00 80", "mov eax, dword ds:[rbx+rcx*4-80000000]" },
    { CODE_64, "47 8b 84 bf 00 01 00 00", "mov r8d, dword ds:[r15+r15*4+100]" },
    { CODE_64, "8b 04 24", "mov eax, dword ss:[rsp+0]" },
    { CODE_64, "8b 04 64", "mov eax, dword ss:[rsp+0]" }, /* scale without index */
    { CODE_64, "42 8b 04 20", "mov eax, dword ds:[rax+r12*1+0]" },
    { CODE_64, "41 8b 04 24", "mov eax, dword ds:[r12+0]" },
    { CODE_64, "8b 45 00", "mov eax, dword ss:[rbp+0]" },
    { CODE_64, "41 8b 45 00", "mov eax, dword ds:[r13+0]" },
    { CODE_64, "8b 04 cd 10 00 00 00", "mov eax, dword ds:[+rcx*8+10]" },
    { CODE_64, "41 8b 04 cd 10 00 00 00", "mov eax, dword ds:[+rcx*8+10]" }, /* REX.B does not matter */
    { CODE_64, "41 8b 05 10 00 00 00", "mov eax, dword ds:[rip+10]" },
    { CODE_64, "8b 04 4d 10 00 00 00", "mov eax, dword ds:[+rcx*2+10]" },
    { CODE_64, "8b 44 4d 10", "mov eax, dword ss:[rbp+rcx*2+10]" },
    { CODE_64, "67 8b 04 8b", "mov eax, dword ds:[ebx+ecx*4+0]" },
    { CODE_32, "8b 04 8b", "mov eax, dword ds:[ebx+ecx*4+0]" },
    { CODE_32, "8b 44 24 04", "mov eax, dword ss:[esp+4]" },
    { CODE_32, "66 8b 45 fc", "mov ax, word ss:[ebp-4]" },
    /* 16-bit addressing */
    { CODE_16, "8b 00", "mov ax, word ds:[bx+si*1+0]" },
    { CODE_16, "8b 41 ff", "mov ax, word ds:[bx+di*1-1]" },
    { CODE_16, "8b 82 34 12", "mov ax, word ss:[bp+si*1+1234]" },
    { CODE_16, "8b 03", "mov ax, word ss:[bp+di*1+0]" },
    { CODE_16, "8b 04", "mov ax, word ds:[si+0]" },
    { CODE_16, "8b 05", "mov ax, word ds:[di+0]" },
    { CODE_16, "8b 06 34 12", "mov ax, word ds:[+1234]" },
    { CODE_16, "8b 46 00", "mov ax, word ss:[bp+0]" },
    { CODE_16, "8b 07", "mov ax, word ds:[bx+0]" },
    { CODE_16, "66 67 8b 03", "mov eax, dword ds:[ebx+0]" },
    { CODE_16, "67 66 c7 83 34 12 00 00 78 56 34 12", "mov dword ds:[ebx+1234], dword 12345678" },
    { CODE_32, "67 8b 06 34 12", "mov eax, dword ds:[+1234]" },
    /* segments */
    { CODE_64, "65 8b 00", "mov eax, dword gs:[rax+0]" },
    { CODE_64, "64 48 8b 04 25 28 00 00 00", "mov rax, qword fs:[+28]" },
    { CODE_64, "2e 8b 00", "mov eax, dword ds:[rax+0]" }, /* null prefixes */
    { CODE_64, "3e 8b 45 00", "mov eax, dword ss:[rbp+0]" },
    { CODE_64, "64 36 8b 00", "mov eax, dword fs:[rax+0]" },
    { CODE_32, "26 8b 00", "mov eax, dword es:[eax+0]" },
    { CODE_32, "2e 8b 45 00", "mov eax, dword cs:[ebp+0]" },
    { CODE_32, "36 8b 00", "mov eax, dword ss:[eax+0]" },
    { CODE_32, "26 3e 8b 45 00", "mov eax, dword ds:[ebp+0]" }, /* the last one counts */
    /* REX counts only before the opcode, and is INC or DEC outside 64-bit mode */
    { CODE_64, "48 66 89 03", "mov word ds:[rbx+0], ax" },
    { CODE_64, "66 48 89 03", "mov qword ds:[rbx+0], rax" },
    { CODE_64, "4f 40 89 03", "mov dword ds:[rbx+0], eax" },
    { CODE_32, "40", "inc eax" },
    { CODE_16, "4b", "dec bx" },
    /* arithmetic */
    { CODE_64, "01 03", "add dword ds:[rbx+0], eax" },
    { CODE_64, "0a 03", "or al, byte ds:[rbx+0]" },
    { CODE_64, "48 13 03", "adc rax, qword ds:[rbx+0]" },
    { CODE_64, "1c 80", "sbb al, byte 80" },
    { CODE_64, "48 25 00 00 00 80", "and rax, qword ffffffff80000000" },
    { CODE_64, "80 2b 01", "sub byte ds:[rbx+0], byte 1" },
    { CODE_64, "66 81 33 ff 7f", "xor word ds:[rbx+0], word 7fff" },
    { CODE_64, "81 3b 00 00 00 80", "cmp dword ds:[rbx+0], dword 80000000" },
    { CODE_64, "48 83 0b ff", "or qword ds:[rbx+0], qword ffffffffffffffff" },
    { CODE_64, "83 0b ff", "or dword ds:[rbx+0], dword ffffffff" },
    { CODE_32, "82 0b ff", "or byte ds:[ebx+0], byte ff" },
    { CODE_64, "84 03", "test byte ds:[rbx+0], al" },
    { CODE_64, "f6 03 40", "test byte ds:[rbx+0], byte 40" },
    { CODE_64, "f6 0b 40", "test byte ds:[rbx+0], byte 40" }, /* /1 is /0 */
    { CODE_64, "f7 43 04 00 00 01 00", "test dword ds:[rbx+4], dword 10000" },
    { CODE_64, "48 a9 00 00 00 80", "test rax, qword ffffffff80000000" },
    { CODE_64, "f7 13", "not dword ds:[rbx+0]" },
    { CODE_64, "f6 1b", "neg byte ds:[rbx+0]" },
    { CODE_64, "fe 03", "inc byte ds:[rbx+0]" },
    { CODE_64, "48 ff 0b", "dec qword ds:[rbx+0]" },
    { CODE_64, "f0 ff 03", "lock inc dword ds:[rbx+0]" },
    { CODE_64, "f0 48 0f c1 03", "lock xadd qword ds:[rbx+0], rax" },
    { CODE_64, "f0 0f b1 0b", "lock cmpxchg dword ds:[rbx+0], ecx" },
    { CODE_64, "87 03", "xchg dword ds:[rbx+0], eax" },
    { CODE_64, "49 90", "xchg r8, rax" },
    { CODE_32, "93", "xchg ebx, eax" },
    { CODE_64, "0f a3 0b", "bt dword ds:[rbx+0], ecx" },
    { CODE_64, "48 0f ba 2b 3f", "bts qword ds:[rbx+0], qword 3f" },
    { CODE_64, "f0 0f ba 33 07", "lock btr dword ds:[rbx+0], dword 7" },
    { CODE_64, "66 0f bb 0b", "btc word ds:[rbx+0], cx" },
    /* stack */
    { CODE_64, "ff 33", "push qword ds:[rbx+0]" },
    { CODE_64, "66 ff 33", "push word ds:[rbx+0]" },
    { CODE_32, "ff 33", "push dword ds:[ebx+0]" },
    { CODE_64, "8f 03", "pop qword ds:[rbx+0]" },
    { CODE_64, "68 00 00 00 80", "push qword ffffffff80000000" },
    { CODE_64, "6a ff", "push qword ffffffffffffffff" },
    { CODE_64, "41 57", "push r15" },
    { CODE_16, "58", "pop ax" },
    /* strings: source segment with the override, destination in ES */
    { CODE_64, "f3 48 a5", "rep movs qword ds:[+0], qword ds:[+0]" },
    { CODE_32, "64 a4", "movs byte fs:[+0], byte fs:[+0]" },
    { CODE_64, "f3 aa", "rep stos byte ds:[+0], al" },
    { CODE_64, "f2 ae", "repne scas al, byte ds:[+0]" },
    { CODE_64, "f2 f3 a6", "rep cmps byte ds:[+0], byte ds:[+0]" }, /* the last of F2, F3 */
    { CODE_16, "66 ad", "lods eax, dword ds:[+0]" },
    /* what is decoded for its length and operands only */
    { CODE_64, "0f a2", "cpuid" },
    { CODE_64, "66 0f a2", "cpuid" },
    { CODE_64, "0f 32", "rdmsr" },
    { CODE_64, "0f 30", "wrmsr" },
    { CODE_64, "f4", "hlt" },
    { CODE_64, "0f 01 d9", "vmmcall" },
    { CODE_64, "0f 01 c1", "vmcall" },
    { CODE_64, "0f 01 c8", "monitor" },
    { CODE_64, "0f 01 c9", "mwait" },
    { CODE_64, "0f 01 d1", "xsetbv" },
    { CODE_64, "0f 01 f9", "rdtscp" },
    { CODE_64, "0f 01 f8", "other" }, /* SWAPGS */
    { CODE_64, "0f 01 3b", "invlpg dword ds:[rbx+0]" },
    { CODE_64, "0f 01 7c 24 08", "invlpg dword ss:[rsp+8]" },
    { CODE_64, "0f 01 f1", "lmsw cx" },
    { CODE_64, "0f 01 33", "lmsw word ds:[rbx+0]" },
    { CODE_64, "0f 01 15 00 00 00 00", "other" }, /* LGDT */
    { CODE_64, "0f 31", "rdtsc" },
    { CODE_64, "0f 33", "rdpmc" },
    { CODE_64, "0f 06", "clts" },
    { CODE_64, "0f 08", "invd" },
    { CODE_64, "0f 09", "wbinvd" },
    { CODE_64, "f3 90", "rep pause" },
    { CODE_64, "90", "other" },
    { CODE_64, "48 90", "other" },
    { CODE_64, "0f 20 d8", "mov cr rax, c3" },
    { CODE_64, "44 0f 22 c0", "mov cr c8, rax" },
    { CODE_64, "0f 22 04", "mov cr c0, rsp" }, /* ModRM.mod does not count: no SIB */
    { CODE_32, "66 0f 22 c0", "mov cr c0, eax" },
    { CODE_64, "41 0f 23 f8", "mov dr c7, r8" },
    { CODE_64, "e4 80", "in al, byte 80" },
    { CODE_64, "e5 ff", "in eax, byte ff" },
    { CODE_64, "66 e7 80", "out byte 80, ax" },
    { CODE_64, "48 ed", "in eax, dx" },
    { CODE_64, "ee", "out dx, al" },
    { CODE_16, "ef", "out dx, ax" },
    { CODE_64, "f3 6c", "rep ins byte ds:[+0], dx" },
    { CODE_64, "f3 48 6f", "rep outs dx, dword ds:[+0]" },
    { CODE_32, "2e 66 6f", "outs dx, word cs:[+0]" },
    { CODE_64, "8d 04 8b", "other" },
    { CODE_64, "0f ae 38", "other" },
    { CODE_64, "c1 23 04", "other" },
    { CODE_64, "69 03 00 00 00 80", "other" },
    { CODE_64, "f0 48 0f c7 0b", "lock other qword ds:[rbx+0]" }, /* CMPXCHG16B */
    { CODE_64, "0f 1f 84 00 00 00 00 00", "other" },
    { CODE_32, "d5 0a", "other" },
    { CODE_64, "c2 08 00", "other" },
    /* fifteen bytes */
    { CODE_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 89 03", "mov word ds:[rbx+0], ax" },
    { CODE_64, "2e 2e 2e 2e f0 48 81 84 8b 00 00 00 00 01 00 00 00", NULL }, /* 17: too long */
};
/* clang-format on */

static void check_encoding(const struct encoding *e)
{
    uint8_t bytes[32];
    char text[160];
    size_t length = parse_hex(e->bytes, bytes);
    struct insn insn;

    memset(bytes + length, 0xcc, sizeof(bytes) - length);
    if (!e->text) {
        assert_int_equal(decode(bytes, sizeof(bytes), e->code, &insn), -EINVAL);
        return;
    }
    assert_int_equal(decode(bytes, sizeof(bytes), e->code, &insn), 0);
    print_insn(text, &insn);
    assert_string_equal(text, e->text);
    assert_int_equal(insn.length, length);
    assert_int_equal(decode(bytes, length, e->code, &insn), 0);
    /* Each shorter piece asks for more, from memory that ends there (the sanitizer watches). */
    for (size_t part = 0; part < length; part++) {
        uint8_t *exact = malloc(part + 1);

        memcpy(exact + 1, bytes, part);
        assert_int_equal(decode(exact + 1, part, e->code, &insn), -EAGAIN);
        free(exact);
    }
}

static void test_encodings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++)
        check_encoding(&encodings[i]);
}

static void expect(enum code_size code, const char *hex, int status)
{
    uint8_t bytes[32] = { 0 };
    struct insn insn;

    parse_hex(hex, bytes);
    assert_int_equal(decode(bytes, sizeof(bytes), code, &insn), status);
}

static void test_lock(void **state)
{
    /* legal opcodes, with ModRM.reg as given and memory at [RBX] */
    static const char *const legal[] = {
        "f0 00 03",       "f0 01 03",       "f0 08 03",       "f0 10 03",    "f0 18 03",
        "f0 20 03",       "f0 28 03",       "f0 30 03",       "f0 80 03 01", "f0 81 0b 01 00 00 00",
        "f0 83 33 01",    "f0 86 03",       "f0 87 03",       "f0 f6 13",    "f0 f7 1b",
        "f0 fe 03",       "f0 ff 0b",       "f0 0f ab 03",    "f0 0f b3 03", "f0 0f bb 03",
        "f0 0f ba 2b 01", "f0 0f ba 33 01", "f0 0f ba 3b 01", "f0 0f b0 03", "f0 0f b1 03",
        "f0 0f c0 03",    "f0 0f c1 03",    "f0 0f c7 0b",
    };
    static const char *const illegal[] = {
        "f0 01 c3",                      /* register destination */
        "f0 03 03",                      /* memory is the source */
        "f0 38 03",    "f0 80 3b 01",    /* CMP */
        "f0 84 03",    "f0 f6 03 01",    /* TEST */
        "f0 0f a3 03", "f0 0f ba 23 01", /* BT */
        "f0 89 03",    "f0 c7 03 00 00 00 00", "f0 a4",       "f0 ff 33", "f0 8f 03",
        "f0 90",       "f0 0f b1 cb",          "f0 0f a2",    "f0 ec",    "f0 f4",
        "f0 0f 32",    "f0 0f 01 3b",          "f0 0f c7 c9", "f0 87 c3",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
        expect(CODE_64, legal[i], 0);
    for (size_t i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++)
        expect(CODE_64, illegal[i], -EINVAL);
}

static void test_undefined(void **state)
{
    static const char *const no64[] = {
        "06", "07", "0e", "16",       "17", "1e", "1f",    "27",    "2f", "37",
        "3f", "60", "61", "82 03 01", "9a", "ce", "d4 0a", "d5 0a", "ea",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(no64) / sizeof(no64[0]); i++)
        expect(CODE_64, no64[i], -EINVAL);
    expect(CODE_64, "0f 0b", -EINVAL); /* UD2 */
    expect(CODE_64, "0f ff", -EINVAL); /* UD0 */
    expect(CODE_64, "c7 0b 00 00 00 00", -EINVAL);
    expect(CODE_64, "fe 13", -EINVAL);
    expect(CODE_64, "ff 3b", -EINVAL);
    expect(CODE_64, "0f ba 03 01", -EINVAL);
    expect(CODE_64, "0f 24 c0", -EINVAL);
}

static void test_not_supported(void **state)
{
    (void)state;
    expect(CODE_64, "c5 fa 6f 03", -ENOSYS);       /* VEX */
    expect(CODE_64, "62 f1 7c 48 10 03", -ENOSYS); /* EVEX */
    expect(CODE_64, "0f 38 f0 03", -ENOSYS);       /* MOVBE */
    expect(CODE_64, "66 e8 00 00", -ENOSYS);       /* length differs between vendors */
    expect(CODE_32, "63 03", -ENOSYS);             /* ARPL */
    expect(CODE_32, "ea 00 00 00 00 08 00", -ENOSYS);
}

static void test_too_long(void **state)
{
    uint8_t bytes[32];
    struct insn insn;

    (void)state;
    memset(bytes, 0x66, sizeof(bytes));
    assert_int_equal(decode(bytes, sizeof(bytes), CODE_64, &insn), -EINVAL);
    assert_int_equal(decode(bytes, 15, CODE_64, &insn), -EINVAL);
    assert_int_equal(decode(bytes, 14, CODE_64, &insn), -EAGAIN);
    bytes[14] = 0x90; /* the fifteenth byte ends it */
    assert_int_equal(decode(bytes, 15, CODE_64, &insn), 0);
    assert_int_equal(insn.length, 15);
    bytes[14] = 0x66;
    bytes[15] = 0x90;
    assert_int_equal(decode(bytes, 16, CODE_64, &insn), -EINVAL);
}

static void expect_cached(struct decode_cache *cache, const char *hex, size_t size, enum code_size code)
{
    uint8_t bytes[32] = { 0 };
    const struct insn *cached;
    struct insn insn;
    int status;

    parse_hex(hex, bytes);
    status = decode(bytes, size, code, &insn);
    assert_int_equal(decode_cached(cache, bytes, size, code, &cached), status);
    if (status == 0) {
        assert_memory_equal(cached, &insn,
                            offsetof(struct insn, rip_relative) + 1); /* no padding up to there */
        assert_int_equal(cached->displacement, insn.displacement);
        assert_int_equal(cached->immediate, insn.immediate);
    }
}

/* Whatever was decoded before, the answer is that of decode(). */
static void test_cache(void **state)
{
    static struct decode_cache cache;
    const struct insn *first, *second;
    uint8_t bytes[INSN_MAX] = { 0x89, 0x43, 0x10 };

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
            expect_cached(&cache, encodings[i].bytes, 32, encodings[i].code);
            expect_cached(&cache, encodings[i].bytes, 32, encodings[i].code);
            expect_cached(&cache, encodings[i].bytes, 32, (encodings[i].code + 1) % 3);
            expect_cached(&cache, encodings[i].bytes, 2, encodings[i].code);
        }
    }
    assert_int_equal(decode_cached(&cache, bytes, sizeof(bytes), CODE_64, &first), 0);
    bytes[INSN_MAX - 1] = 1; /* the last byte counts too */
    assert_int_equal(decode_cached(&cache, bytes, sizeof(bytes), CODE_64, &second), 0);
    assert_ptr_equal(first, second);
    /* A hit does not decode: what the entry holds comes back. */
    ((struct insn *)(uintptr_t)second)->op = OP_OTHER;
    assert_int_equal(decode_cached(&cache, bytes, sizeof(bytes), CODE_64, &second), 0);
    assert_int_equal(second->op, OP_OTHER);
    bytes[INSN_MAX - 1] = 0;
    assert_int_equal(decode_cached(&cache, bytes, sizeof(bytes), CODE_64, &second), 0);
    assert_int_equal(second->op, OP_MOV);
}

static void test_names(void **state)
{
    (void)state;
    for (unsigned op = 0; op <= OP_OTHER; op++)
        assert_string_not_equal(insn_op_name((enum insn_op)op), "?");
    assert_string_equal(insn_op_name((enum insn_op)(OP_OTHER + 1)), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings), cmocka_unit_test(test_lock),
        cmocka_unit_test(test_undefined), cmocka_unit_test(test_not_supported),
        cmocka_unit_test(test_too_long),  cmocka_unit_test(test_names),
        cmocka_unit_test(test_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
