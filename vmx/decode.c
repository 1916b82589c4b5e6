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

/* The next `size` bytes, 1 to 8, sign-extended. The buffer has room for a load of 8 after any of them. */
static __always_inline int64_t take(struct parse *p, unsigned size)
{
    unsigned unused = 64 - 8 * size;
    uint64_t value;

    __builtin_memcpy(&value, p->at, sizeof(value));
    p->at += size;
    return (int64_t)(value << unused) >> unused;
}

static unsigned modrm_mod(const struct parse *p)
{
    return p->modrm >> 6;
}

static unsigned modrm_reg(const struct parse *p)
{
    return (p->modrm >> 3) & 7;
}

/* Register number with its REX bit: `rex` is REX_B, REX_X or REX_R. */
static unsigned extend(const struct parse *p, unsigned number, unsigned rex)
{
    return (number & 7) | (p->rex & rex) * (8 / rex);
}

/* A legacy prefix. AMD APM vol. 3, 1.2. */
static void prefix(struct parse *p, uint8_t byte, struct insn *out)
{
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
}

/* ModRM addressing with 16-bit addresses. AMD APM vol. 3, 1.4 and appendix A.3. */
static void memory16(struct parse *p, struct insn *out)
{
    static const int8_t base[8] = { GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX };
    static const int8_t index[8] = { GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI, -1, -1, -1, -1 };
    unsigned mod = modrm_mod(p), rm = p->modrm & 7;

    out->base = base[rm];
    out->index = index[rm];
    if (mod == 0 && rm == 6) {
        out->base = -1;
        out->displacement = take(p, 2);
    } else if (mod != 0) {
        out->displacement = take(p, mod == 1 ? 1 : 2);
    }
}

/* ModRM and SIB addressing with 32- and 64-bit addresses. AMD APM vol. 3, 1.4 and appendix A.3. */
static void memory32(struct parse *p, struct insn *out)
{
    unsigned mod = modrm_mod(p), base = p->modrm & 7;
    bool sib = base == 4;

    if (sib) {
        uint8_t byte = *p->at++;
        unsigned index = extend(p, byte >> 3, REX_X);

        if (index != GPR_RSP) {
            out->index = (int8_t)index;
            out->scale = (uint8_t)(1u << (byte >> 6));
        }
        base = byte & 7;
    }
    if (mod == 0 && base == 5) {
        out->rip_relative = !sib && p->code == CODE_64;
        out->displacement = take(p, 4);
        return;
    }
    out->base = (int8_t)extend(p, base, REX_B);
    if (mod != 0)
        out->displacement = take(p, mod == 1 ? 1 : 4);
}

static void memory(struct parse *p, struct insn *out)
{
    if (out->address_size == 2)
        memory16(p, out);
    else
        memory32(p, out);
    if ((out->base | 1) == GPR_RBP) /* RSP or RBP */
        out->seg = SEG_SS;
}

/* General register `number`, REX applied. Without REX, bytes 4 to 7 are AH CH DH BH. */
static void reg_operand(const struct parse *p, unsigned number, struct operand *operand)
{
    operand->kind = OPERAND_REG;
    operand->reg = (uint8_t)number;
    if (operand->size == 1 && number >= 4 && !p->rex) {
        operand->kind = OPERAND_REG_HIGH;
        operand->reg = (uint8_t)(number - 4);
    }
}

/* The operands that are not in ModRM; `low` is the opcode's register. */
static void plain_operand(enum operand_source source, struct operand low, struct operand *operand)
{
    switch (source) {
    case X_IMM:
        operand->kind = OPERAND_IMM;
        break;
    case X_ACC:
        operand->kind = OPERAND_REG;
        operand->reg = GPR_RAX;
        break;
    case X_LOW:
        *operand = low;
        break;
    case X_MOFFS:
    case X_SI:
    case X_DI:
        operand->kind = OPERAND_MEM;
        break;
    case X_DX:
        *operand = (struct operand){ OPERAND_REG, GPR_RDX, 2 };
        break;
    default: /* X_NONE */
        operand->size = 0;
        break;
    }
}

static __always_inline void operand(const struct parse *p, enum operand_source source, unsigned size,
                                    struct operand *operand)
{
    operand->size = (uint8_t)size;
    if (source == X_REG) {
        reg_operand(p, extend(p, modrm_reg(p), REX_R), operand);
    } else if (source == X_RM) {
        if (modrm_mod(p) == 3)
            reg_operand(p, extend(p, p->modrm, REX_B), operand);
        else
            operand->kind = OPERAND_MEM;
    } else if (source == X_CR) {
        operand->kind = OPERAND_CONTROL;
        operand->reg = (uint8_t)extend(p, modrm_reg(p), REX_R);
    } else {
        struct operand low = { .size = (uint8_t)size };

        reg_operand(p, extend(p, p->opcode, REX_B), &low);
        plain_operand(source, low, operand);
    }
}

static unsigned special_operand_size(const struct parse *p, unsigned flags)
{
    if (flags & O_BYTE)
        return 1;
    if (flags & O_NATIVE)
        return p->code == CODE_64 ? 8 : 4;
    if ((flags & O_D64) && p->code == CODE_64)
        return p->size_prefix && !(p->rex & REX_W) ? 2 : 8;
    return (p->code == CODE_16) != p->size_prefix ? 2 : 4;
}

static __always_inline unsigned operand_size(const struct parse *p, unsigned flags)
{
    /* [code][66][REX.W] */
    static const uint8_t size[3][2][2] = {
        [CODE_16] = { { 2, 2 }, { 4, 4 } },
        [CODE_32] = { { 4, 4 }, { 2, 2 } },
        [CODE_64] = { { 4, 8 }, { 2, 8 } },
    };

    if (unlikely(flags & (O_BYTE | O_NATIVE | O_D64 | O_PORT)))
        return special_operand_size(p, flags);
    return size[p->code][p->size_prefix][(p->rex / REX_W) & 1];
}

static uint8_t address_size(const struct parse *p)
{
    static const uint8_t size[3][2] = { [CODE_16] = { 2, 4 }, [CODE_32] = { 4, 2 }, [CODE_64] = { 8, 4 } };

    return size[p->code][p->address_prefix];
}

static unsigned source_size(unsigned operand_bytes, unsigned flags)
{
    if (likely(!(flags & (O_FROM8 | O_FROM16 | O_FROM32))))
        return operand_bytes;
    if (flags & O_FROM8)
        return 1;
    return flags & O_FROM16 || operand_bytes == 2 ? 2 : 4;
}

/* The low `size` bytes of a constant. */
static uint64_t unsigned_part(int64_t value, unsigned size)
{
    return (uint64_t)value & (~UINT64_C(0) >> (64 - 8 * size));
}

/* An immediate, or the offset of a MOV without ModRM. */
static void constant(struct parse *p, struct insn *out, unsigned flags)
{
    unsigned size = out->operand_size, encoded = size;

    if (flags & O_MOFFS) {
        out->displacement = (int64_t)unsigned_part(take(p, out->address_size), out->address_size);
        return;
    }
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
    out->immediate = unsigned_part(take(p, encoded), size);
}

/* The rows that depend on more than the opcode and ModRM.reg. AMD APM vol. 3, appendix A.1. */
static const struct opcode *special(const struct parse *p, bool rep)
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
        return rep ? &pause : &other;
    }
    if (modrm_reg(p) == 6)
        return &lmsw;
    if (modrm_mod(p) != 3)
        return modrm_reg(p) == 7 ? &invlpg : &other;
    for (unsigned i = 0; i < ARRAY_SIZE(modrm); i++) {
        if (p->modrm == modrm[i])
            return &plain[i];
    }
    return &other;
}

/* The rest of the way to a row that is an instruction, ModRM taken. 0, -EINVAL or -ENOSYS as decode(). */
static int follow(struct parse *p, bool rep, const struct opcode **row, unsigned *flags)
{
    if ((*row)->kind == K_ESCAPE) {
        p->opcode = *p->at++;
        *row = &opcode_map_0f[p->opcode];
        *flags = (*row)->flags;
        if (*flags & O_MODRM)
            p->modrm = *p->at++;
    }
    if ((*row)->kind == K_GROUP)
        *row = &opcode_groups[(*row)->op][modrm_reg(p)];
    else if ((*row)->kind == K_SPECIAL)
        *row = special(p, rep);
    *flags |= (*row)->flags;
    if ((*row)->kind == K_UNDEFINED || ((*flags & O_NO64) && p->code == CODE_64))
        return -EINVAL;
    if ((*row)->kind != K_INSN || ((*flags & O_ONLY64) && p->code != CODE_64))
        return -ENOSYS;
    if (*flags & O_NATIVE)
        p->modrm |= 0xc0;
    return 0;
}

static __always_inline int parse(struct parse *p, struct insn *out)
{
    const struct opcode *row;
    unsigned flags, size;

    for (;;) {
        p->opcode = *p->at++;
        if (p->code == CODE_64 && (p->opcode & 0xf0) == 0x40) {
            p->rex = p->opcode;
            continue;
        }
        row = &opcode_map[p->opcode];
        if (likely(row->kind != K_PREFIX))
            break;
        prefix(p, p->opcode, out);
        p->rex = 0; /* it counts only just before the opcode */
    }
    flags = row->flags;
    if (flags & O_MODRM)
        p->modrm = *p->at++;
    if (row->kind != K_INSN || (flags & (O_NO64 | O_ONLY64))) {
        int status = follow(p, out->rep, &row, &flags);

        if (status != 0)
            return status;
    }
    size = operand_size(p, flags);
    out->op = row->op;
    out->operand_size = (uint8_t)size;
    out->address_size = address_size(p);
    if ((flags & O_MODRM) && modrm_mod(p) != 3)
        memory(p, out);
    if (unlikely(p->seg != NO_SEG))
        out->seg = p->seg;
    operand(p, row->to, size, &out->to);
    operand(p, row->from, source_size(size, flags), &out->from);
    if (flags & (O_IMM | O_MOFFS))
        constant(p, out, flags);
    if (unlikely(out->lock) && !((flags & O_LOCK) && out->to.kind == OPERAND_MEM))
        return -EINVAL;
    return 0;
}

int decode(const uint8_t *bytes, size_t size, enum code_size code, struct insn *out)
{
    uint8_t buffer[BUFFER];
    struct parse p = { .at = buffer, .code = code, .seg = NO_SEG };
    size_t length;
    int status;

    /* The builtins with constant sizes become a few moves. */
    __builtin_memset(buffer + BUFFER / 2, 0, BUFFER / 2);
    if (likely(size >= INSN_MAX)) {
        __builtin_memcpy(buffer, bytes, INSN_MAX);
        buffer[INSN_MAX] = 0;
    } else {
        __builtin_memset(buffer, 0, BUFFER / 2);
        memcpy(buffer, bytes, size);
    }
    *out = (struct insn){ .seg = SEG_DS, .base = -1, .index = -1, .scale = 1 };
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
