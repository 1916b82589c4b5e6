/*
 * The decoder: prefixes, then a row of the opcode maps, then ModRM and immediate as the row says. It works on
 * a copy of the bytes that zeroes follow, so that no step needs to ask whether there are bytes left: what the
 * instruction took is compared with what there was, once, at the end.
 */
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/decode.h"
#include "vmx/decode_table.h"

/*
 * The longest walk: prefixes up to the last byte that can be real, then an opcode in it that has a 64-bit
 * immediate; or one before it and ModRM, SIB, displacement and immediate of 4 bytes. Zeroes are no prefixes.
 */
#define BUFFER 32

#define REX_B 1u
#define REX_X 2u
#define REX_R 4u
#define REX_W 8u

#define NO_SEG SEG_COUNT

struct parse {
    const uint8_t *at;
    enum code_size code;
    uint8_t rex, opcode, modrm;
    uint8_t seg; /* enum seg, or NO_SEG: no override */
    bool size_prefix, address_prefix;
};

static uint64_t take(struct parse *p, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, p->at, sizeof(value)); /* past the end of the value there is room in the buffer */
    p->at += size;
    return size == 8 ? value : value & (BIT(8 * size) - 1);
}

static int64_t take_signed(struct parse *p, unsigned size)
{
    unsigned unused = 64 - 8 * size;

    return (int64_t)(take(p, size) << unused) >> unused;
}

static unsigned modrm_mod(const struct parse *p)
{
    return p->modrm >> 6;
}

/* Register number with its REX bit: `rex` is REX_B, REX_X or REX_R. */
static uint8_t extend(const struct parse *p, unsigned number, unsigned rex)
{
    return (uint8_t)((number & 7) | (p->rex & rex ? 8u : 0u));
}

/* True if `byte` was a prefix. AMD APM vol. 3, 1.2. */
static bool prefix(struct parse *p, uint8_t byte, struct insn *out)
{
    if (p->code == CODE_64 && (byte & 0xf0) == 0x40) {
        p->rex = byte;
        return true;
    }
    if (opcode_map[byte].kind != K_PREFIX)
        return false;
    p->rex = 0; /* REX counts only just before the opcode */
    switch (byte) {
    case 0x66:
        p->size_prefix = true;
        break;
    case 0x67:
        p->address_prefix = true;
        break;
    case 0xf0:
        out->lock = true;
        break;
    case 0xf2: /* of F2 and F3 the last one counts */
        out->repne = true;
        out->rep = false;
        break;
    case 0xf3:
        out->rep = true;
        out->repne = false;
        break;
    case 0x64:
    case 0x65:
        p->seg = byte == 0x64 ? SEG_FS : SEG_GS;
        break;
    default: /* 26 2E 36 3E: ES CS SS DS, without effect in 64-bit mode */
        if (p->code != CODE_64)
            p->seg = (byte >> 3) & 3;
        break;
    }
    return true;
}

/* ModRM addressing with 16-bit addresses. AMD APM vol. 3, table 1-10 ff. */
static void memory16(struct parse *p, struct insn *out)
{
    static const int8_t base[8] = { GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX };
    static const int8_t index[8] = { GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI, -1, -1, -1, -1 };
    unsigned mod = modrm_mod(p), rm = p->modrm & 7;

    out->base = base[rm];
    out->index = index[rm];
    if (mod == 0 && rm == 6) {
        out->base = -1;
        out->displacement = take_signed(p, 2);
    } else if (mod != 0) {
        out->displacement = take_signed(p, mod == 1 ? 1 : 2);
    }
}

/* ModRM and SIB addressing with 32- and 64-bit addresses. AMD APM vol. 3, 1.4 and table A-35 ff. */
static void memory32(struct parse *p, struct insn *out)
{
    unsigned mod = modrm_mod(p), base = p->modrm & 7;
    bool sib = base == 4;

    if (sib) {
        uint8_t byte = (uint8_t)take(p, 1);
        uint8_t index = extend(p, byte >> 3, REX_X);

        if (index != GPR_RSP) {
            out->index = (int8_t)index;
            out->scale = (uint8_t)(1u << (byte >> 6));
        }
        base = byte & 7;
    }
    if (mod == 0 && base == 5) {
        out->rip_relative = !sib && p->code == CODE_64;
        out->displacement = take_signed(p, 4);
        return;
    }
    out->base = (int8_t)extend(p, base, REX_B);
    if (mod != 0)
        out->displacement = take_signed(p, mod == 1 ? 1 : 4);
}

static void memory(struct parse *p, struct insn *out)
{
    if (out->address_size == 2)
        memory16(p, out);
    else
        memory32(p, out);
    if (p->seg != NO_SEG)
        out->seg = p->seg;
    else
        out->seg = out->base == GPR_RSP || out->base == GPR_RBP ? SEG_SS : SEG_DS;
}

/* General register `number`, REX applied. Without REX, bytes 4 to 7 are AH CH DH BH. */
static struct operand reg(const struct parse *p, uint8_t number, uint8_t size)
{
    if (size == 1 && number >= 4 && !p->rex)
        return (struct operand){ OPERAND_REG_HIGH, (uint8_t)(number - 4), size };
    return (struct operand){ OPERAND_REG, number, size };
}

static struct operand operand(struct parse *p, struct insn *out, enum operand_source source, uint8_t size)
{
    switch (source) {
    case X_RM:
        if (modrm_mod(p) == 3)
            return reg(p, extend(p, p->modrm, REX_B), size);
        return (struct operand){ OPERAND_MEM, 0, size };
    case X_REG:
        return reg(p, extend(p, p->modrm >> 3, REX_R), size);
    case X_IMM:
        return (struct operand){ OPERAND_IMM, 0, size };
    case X_ACC:
        return (struct operand){ OPERAND_REG, GPR_RAX, size };
    case X_LOW:
        return reg(p, extend(p, p->opcode, REX_B), size);
    case X_MOFFS:
        out->displacement = (int64_t)take(p, out->address_size);
        return (struct operand){ OPERAND_MEM, 0, size };
    case X_SI:
    case X_DI:
        return (struct operand){ OPERAND_MEM, 0, size };
    case X_DX:
        return (struct operand){ OPERAND_REG, GPR_RDX, 2 };
    case X_CR:
        return (struct operand){ OPERAND_CONTROL, extend(p, p->modrm >> 3, REX_R), size };
    case X_NONE:
        break;
    }
    return (struct operand){ OPERAND_NONE, 0, 0 };
}

static uint8_t operand_size(const struct parse *p, unsigned flags)
{
    if (flags & O_BYTE)
        return 1;
    if (flags & O_NATIVE)
        return p->code == CODE_64 ? 8 : 4;
    if (p->code != CODE_64)
        return (p->code == CODE_16) != p->size_prefix ? 2 : 4;
    if ((p->rex & REX_W) && !(flags & O_PORT))
        return 8;
    if (p->size_prefix)
        return 2;
    return flags & O_D64 ? 8 : 4;
}

static uint8_t address_size(const struct parse *p)
{
    static const uint8_t size[3][2] = { [CODE_16] = { 2, 4 }, [CODE_32] = { 4, 2 }, [CODE_64] = { 8, 4 } };

    return size[p->code][p->address_prefix];
}

static uint8_t source_size(const struct insn *insn, unsigned flags)
{
    if (flags & O_FROM8)
        return 1;
    if (flags & O_FROM16)
        return 2;
    return flags & O_FROM32 ? (uint8_t)min_u64(insn->operand_size, 4) : insn->operand_size;
}

static void immediate(struct parse *p, struct insn *out, unsigned flags)
{
    unsigned size = out->operand_size, encoded = size;

    if (flags & O_I8)
        encoded = 1;
    else if (flags & O_IW)
        encoded = 2;
    else if ((flags & O_IZ) && size == 8)
        encoded = 4;
    if (flags & O_PORT) {
        size = 1;
        *(out->to.kind == OPERAND_IMM ? &out->to.size : &out->from.size) = 1;
    }
    out->immediate = (uint64_t)take_signed(p, encoded) << (64 - 8 * size) >> (64 - 8 * size);
}

/* The rows that depend on more than the opcode and ModRM.reg. AMD APM vol. 3, table A-7. */
static const struct opcode *special(const struct parse *p, const struct insn *insn)
{
    static const struct opcode other = { K_INSN, OP_OTHER, X_NONE, X_NONE, 0 };
    static const struct opcode pause = { K_INSN, OP_PAUSE, X_NONE, X_NONE, 0 };
    static const struct opcode lmsw = { K_INSN, OP_LMSW, X_NONE, X_RM, O_FROM16 };
    static const struct opcode invlpg = { K_INSN, OP_INVLPG, X_RM, X_NONE, 0 };
    static const struct opcode plain[] = {
        { K_INSN, OP_VMCALL, X_NONE, X_NONE, 0 },  { K_INSN, OP_MONITOR, X_NONE, X_NONE, 0 },
        { K_INSN, OP_MWAIT, X_NONE, X_NONE, 0 },   { K_INSN, OP_XSETBV, X_NONE, X_NONE, 0 },
        { K_INSN, OP_VMMCALL, X_NONE, X_NONE, 0 }, { K_INSN, OP_RDTSCP, X_NONE, X_NONE, 0 },
    };
    static const uint8_t modrm[] = { 0xc1, 0xc8, 0xc9, 0xd1, 0xd9, 0xf9 }; /* of plain[] */

    if (p->opcode == 0x90) {
        if (p->rex & REX_B)
            return &opcode_map[0x91]; /* XCHG R8, RAX is like the other XCHGs */
        return insn->rep ? &pause : &other;
    }
    if (((p->modrm >> 3) & 7) == 6)
        return &lmsw;
    if (modrm_mod(p) != 3)
        return ((p->modrm >> 3) & 7) == 7 ? &invlpg : &other;
    for (unsigned i = 0; i < ARRAY_SIZE(modrm); i++) {
        if (p->modrm == modrm[i])
            return &plain[i];
    }
    return &other;
}

/* Finds the row, with ModRM taken. 0, -EINVAL or -ENOSYS as decode(). */
static int find_row(struct parse *p, struct insn *out, struct opcode *row)
{
    while (p->opcode = (uint8_t)take(p, 1), prefix(p, p->opcode, out))
        ;
    *row = opcode_map[p->opcode];
    if (row->kind == K_ESCAPE) {
        p->opcode = (uint8_t)take(p, 1);
        *row = opcode_map_0f[p->opcode];
    }
    if (row->flags & O_MODRM)
        p->modrm = (uint8_t)take(p, 1);
    if (row->kind == K_GROUP || row->kind == K_SPECIAL) {
        uint16_t flags = row->flags;

        *row = row->kind == K_GROUP ? opcode_groups[row->op][(p->modrm >> 3) & 7] : *special(p, out);
        row->flags |= flags;
    }
    if (row->kind == K_UNDEFINED || ((row->flags & O_NO64) && p->code == CODE_64))
        return -EINVAL;
    if (row->kind != K_INSN || ((row->flags & O_ONLY64) && p->code != CODE_64))
        return -ENOSYS;
    if (row->flags & O_NATIVE)
        p->modrm |= 0xc0;
    return 0;
}

static int parse(struct parse *p, struct insn *out)
{
    struct opcode row;
    int status = find_row(p, out, &row);

    if (status != 0)
        return status;
    out->op = row.op;
    out->operand_size = operand_size(p, row.flags);
    out->address_size = address_size(p);
    out->seg = p->seg != NO_SEG ? p->seg : SEG_DS;
    if ((row.flags & O_MODRM) && modrm_mod(p) != 3)
        memory(p, out);
    out->to = operand(p, out, row.to, out->operand_size);
    out->from = operand(p, out, row.from, source_size(out, row.flags));
    if (row.flags & O_IMM)
        immediate(p, out, row.flags);
    if (out->lock && !((row.flags & O_LOCK) && out->to.kind == OPERAND_MEM))
        return -EINVAL;
    return 0;
}

int decode(const uint8_t *bytes, size_t size, enum code_size code, struct insn *out)
{
    uint8_t buffer[BUFFER] = { 0 };
    struct parse p = { .at = buffer, .code = code, .seg = NO_SEG };
    size_t length;
    int status;

    if (likely(size >= INSN_MAX))
        memcpy(buffer, bytes, INSN_MAX);
    else
        memcpy(buffer, bytes, size);
    *out = (struct insn){ .base = -1, .index = -1, .scale = 1 };
    status = parse(&p, out);
    length = (size_t)(p.at - buffer);
    if (length > INSN_MAX && size >= INSN_MAX)
        return -EINVAL;
    if (length > size)
        return -EAGAIN; /* whatever the zeroes after the end looked like */
    out->length = (uint8_t)length;
    return status;
}

const char *insn_op_name(enum insn_op op)
{
    static const char *const name[] = {
        [OP_MOV] = "mov",         [OP_MOVZX] = "movzx",   [OP_MOVSX] = "movsx",     [OP_STOS] = "stos",
        [OP_MOVS] = "movs",       [OP_LODS] = "lods",     [OP_CMPS] = "cmps",       [OP_SCAS] = "scas",
        [OP_ADD] = "add",         [OP_OR] = "or",         [OP_ADC] = "adc",         [OP_SBB] = "sbb",
        [OP_AND] = "and",         [OP_SUB] = "sub",       [OP_XOR] = "xor",         [OP_CMP] = "cmp",
        [OP_TEST] = "test",       [OP_BT] = "bt",         [OP_BTS] = "bts",         [OP_BTR] = "btr",
        [OP_BTC] = "btc",         [OP_XCHG] = "xchg",     [OP_CMPXCHG] = "cmpxchg", [OP_XADD] = "xadd",
        [OP_INC] = "inc",         [OP_DEC] = "dec",       [OP_NOT] = "not",         [OP_NEG] = "neg",
        [OP_PUSH] = "push",       [OP_POP] = "pop",       [OP_CPUID] = "cpuid",     [OP_RDMSR] = "rdmsr",
        [OP_WRMSR] = "wrmsr",     [OP_HLT] = "hlt",       [OP_VMMCALL] = "vmmcall", [OP_VMCALL] = "vmcall",
        [OP_IN] = "in",           [OP_OUT] = "out",       [OP_INS] = "ins",         [OP_OUTS] = "outs",
        [OP_RDTSC] = "rdtsc",     [OP_RDTSCP] = "rdtscp", [OP_INVD] = "invd",       [OP_WBINVD] = "wbinvd",
        [OP_XSETBV] = "xsetbv",   [OP_MOV_CR] = "mov cr", [OP_MOV_DR] = "mov dr",   [OP_PAUSE] = "pause",
        [OP_MONITOR] = "monitor", [OP_MWAIT] = "mwait",   [OP_INVLPG] = "invlpg",   [OP_CLTS] = "clts",
        [OP_LMSW] = "lmsw",       [OP_RDPMC] = "rdpmc",   [OP_OTHER] = "other",
    };

    return (unsigned)op < ARRAY_SIZE(name) && name[op] ? name[op] : "?";
}
