/* The opcode maps. Rows that are not listed are K_UNKNOWN. See decode_table.h for the sources. */
#include "vmx/decode.h"
#include "vmx/decode_table.h"

/* clang-format off */
#define INSN(op, to, from, flags) { K_INSN, OP_##op, X_##to, X_##from, (flags) }
#define OTHER(flags)              { K_INSN, OP_OTHER, X_NONE, X_NONE, (flags) }
#define GROUP(name, flags)        { K_GROUP, GROUP_##name, X_NONE, X_NONE, O_MODRM | (flags) }
#define UNDEFINED                 { K_UNDEFINED, 0, X_NONE, X_NONE, 0 }
#define UNKNOWN_NO64              { K_UNKNOWN, 0, X_NONE, X_NONE, O_NO64 }
#define SPECIAL(flags)            { K_SPECIAL, 0, X_NONE, X_NONE, (flags) }
#define PREFIX                    { K_PREFIX, 0, X_NONE, X_NONE, 0 }
#define ESCAPE                    { K_ESCAPE, 0, X_NONE, X_NONE, 0 }
#define M                         O_MODRM
#define B                         O_BYTE

/* The six forms that begin each row pair of the arithmetic block 00 .. 3F. */
#define ARITHMETIC(at, op, lock)                                                                     \
    [(at) + 0] = INSN(op, RM, REG, M | B | (lock)), [(at) + 1] = INSN(op, RM, REG, M | (lock)),      \
    [(at) + 2] = INSN(op, REG, RM, M | B),          [(at) + 3] = INSN(op, REG, RM, M),               \
    [(at) + 4] = INSN(op, ACC, IMM, B | O_IZ),      [(at) + 5] = INSN(op, ACC, IMM, O_IZ)

const struct opcode opcode_map[256] = {
    ARITHMETIC(0x00, ADD, O_LOCK),
    ARITHMETIC(0x08, OR, O_LOCK),
    ARITHMETIC(0x10, ADC, O_LOCK),
    ARITHMETIC(0x18, SBB, O_LOCK),
    ARITHMETIC(0x20, AND, O_LOCK),
    ARITHMETIC(0x28, SUB, O_LOCK),
    ARITHMETIC(0x30, XOR, O_LOCK),
    ARITHMETIC(0x38, CMP, 0),
    [0x06 ... 0x07] = OTHER(O_NO64), /* PUSH, POP ES */
    [0x0e]          = OTHER(O_NO64), /* PUSH CS */
    [0x0f]          = ESCAPE,
    [0x16 ... 0x17] = OTHER(O_NO64), /* PUSH, POP SS */
    [0x1e ... 0x1f] = OTHER(O_NO64), /* PUSH, POP DS */
    [0x26]          = PREFIX,        /* ES */
    [0x27]          = OTHER(O_NO64), /* DAA */
    [0x2e]          = PREFIX,        /* CS */
    [0x2f]          = OTHER(O_NO64), /* DAS */
    [0x36]          = PREFIX,        /* SS */
    [0x37]          = OTHER(O_NO64), /* AAA */
    [0x3e]          = PREFIX,        /* DS */
    [0x3f]          = OTHER(O_NO64), /* AAS */
    [0x40 ... 0x47] = INSN(INC, LOW, NONE, 0), /* 40 .. 4F are REX in 64-bit mode */
    [0x48 ... 0x4f] = INSN(DEC, LOW, NONE, 0),
    [0x50 ... 0x57] = INSN(PUSH, NONE, LOW, O_D64),
    [0x58 ... 0x5f] = INSN(POP, LOW, NONE, O_D64),
    [0x60 ... 0x61] = OTHER(O_NO64),                        /* PUSHA, POPA */
    [0x63]          = INSN(MOVSX, REG, RM, M | O_FROM32 | O_ONLY64), /* MOVSXD */
    [0x64 ... 0x67] = PREFIX,                               /* FS, GS, operand size, address size */
    [0x68]          = INSN(PUSH, NONE, IMM, O_IZ | O_D64),
    [0x69]          = OTHER(M | O_IZ), /* IMUL */
    [0x6a]          = INSN(PUSH, NONE, IMM, O_I8 | O_D64),
    [0x6b]          = OTHER(M | O_I8), /* IMUL */
    [0x6c]          = INSN(INS, DI, DX, B | O_PORT),
    [0x6d]          = INSN(INS, DI, DX, O_PORT),
    [0x6e]          = INSN(OUTS, DX, SI, B | O_PORT),
    [0x6f]          = INSN(OUTS, DX, SI, O_PORT),
    [0x70 ... 0x7f] = OTHER(O_I8), /* Jcc */
    [0x80]          = GROUP(1, B | O_IZ),
    [0x81]          = GROUP(1, O_IZ),
    [0x82]          = GROUP(1, B | O_IZ | O_NO64),
    [0x83]          = GROUP(1, O_I8),
    [0x84]          = INSN(TEST, RM, REG, M | B),
    [0x85]          = INSN(TEST, RM, REG, M),
    [0x86]          = INSN(XCHG, RM, REG, M | B | O_LOCK),
    [0x87]          = INSN(XCHG, RM, REG, M | O_LOCK),
    [0x88]          = INSN(MOV, RM, REG, M | B),
    [0x89]          = INSN(MOV, RM, REG, M),
    [0x8a]          = INSN(MOV, REG, RM, M | B),
    [0x8b]          = INSN(MOV, REG, RM, M),
    [0x8c ... 0x8e] = OTHER(M), /* MOV from segment, LEA, MOV to segment */
    [0x8f]          = GROUP(1A, O_D64),
    [0x90]          = SPECIAL(0),
    [0x91 ... 0x97] = INSN(XCHG, LOW, ACC, 0),
    [0x98 ... 0x99] = OTHER(0), /* CBW, CWD */
    [0x9a]          = UNKNOWN_NO64, /* far CALL */
    [0x9b ... 0x9f] = OTHER(0), /* WAIT PUSHF POPF SAHF LAHF */
    [0xa0]          = INSN(MOV, ACC, MOFFS, B | O_MOFFS),
    [0xa1]          = INSN(MOV, ACC, MOFFS, O_MOFFS),
    [0xa2]          = INSN(MOV, MOFFS, ACC, B | O_MOFFS),
    [0xa3]          = INSN(MOV, MOFFS, ACC, O_MOFFS),
    [0xa4]          = INSN(MOVS, DI, SI, B),
    [0xa5]          = INSN(MOVS, DI, SI, 0),
    [0xa6]          = INSN(CMPS, SI, DI, B),
    [0xa7]          = INSN(CMPS, SI, DI, 0),
    [0xa8]          = INSN(TEST, ACC, IMM, B | O_IZ),
    [0xa9]          = INSN(TEST, ACC, IMM, O_IZ),
    [0xaa]          = INSN(STOS, DI, ACC, B),
    [0xab]          = INSN(STOS, DI, ACC, 0),
    [0xac]          = INSN(LODS, ACC, SI, B),
    [0xad]          = INSN(LODS, ACC, SI, 0),
    [0xae]          = INSN(SCAS, ACC, DI, B),
    [0xaf]          = INSN(SCAS, ACC, DI, 0),
    [0xb0 ... 0xb7] = INSN(MOV, LOW, IMM, B | O_IV),
    [0xb8 ... 0xbf] = INSN(MOV, LOW, IMM, O_IV),
    [0xc0]          = GROUP(2, B | O_I8),
    [0xc1]          = GROUP(2, O_I8),
    [0xc2]          = OTHER(O_IW), /* RET */
    [0xc3]          = OTHER(0),    /* RET */
    [0xc6]          = GROUP(11, B | O_IZ),
    [0xc7]          = GROUP(11, O_IZ),
    [0xc9]          = OTHER(0),      /* LEAVE */
    [0xca]          = OTHER(O_IW),   /* RETF */
    [0xcb ... 0xcc] = OTHER(0),      /* RETF, INT3 */
    [0xcd]          = OTHER(O_I8),   /* INT */
    [0xce]          = OTHER(O_NO64), /* INTO */
    [0xcf]          = OTHER(0),      /* IRET */
    [0xd0]          = GROUP(2, B),
    [0xd1]          = GROUP(2, 0),
    [0xd2]          = GROUP(2, B),
    [0xd3]          = GROUP(2, 0),
    [0xd4 ... 0xd5] = OTHER(O_I8 | O_NO64), /* AAM, AAD */
    [0xd6]          = UNKNOWN_NO64,
    [0xd7]          = OTHER(0),    /* XLAT */
    [0xd8 ... 0xdf] = OTHER(M),    /* x87 */
    [0xe0 ... 0xe3] = OTHER(O_I8), /* LOOPNE LOOPE LOOP JCXZ */
    [0xe4]          = INSN(IN, ACC, IMM, B | O_I8 | O_PORT),
    [0xe5]          = INSN(IN, ACC, IMM, O_I8 | O_PORT),
    [0xe6]          = INSN(OUT, IMM, ACC, B | O_I8 | O_PORT),
    [0xe7]          = INSN(OUT, IMM, ACC, O_I8 | O_PORT),
    [0xea]          = UNKNOWN_NO64, /* far JMP */
    [0xeb]          = OTHER(O_I8),  /* JMP */
    [0xec]          = INSN(IN, ACC, DX, B | O_PORT),
    [0xed]          = INSN(IN, ACC, DX, O_PORT),
    [0xee]          = INSN(OUT, DX, ACC, B | O_PORT),
    [0xef]          = INSN(OUT, DX, ACC, O_PORT),
    [0xf0]          = PREFIX,   /* LOCK */
    [0xf1]          = OTHER(0), /* INT1 */
    [0xf2 ... 0xf3] = PREFIX,   /* REPNE, REP */
    [0xf4]          = INSN(HLT, NONE, NONE, 0),
    [0xf5]          = OTHER(0), /* CMC */
    [0xf6]          = GROUP(3, B),
    [0xf7]          = GROUP(3, 0),
    [0xf8 ... 0xfd] = OTHER(0), /* CLC STC CLI STI CLD STD */
    [0xfe]          = GROUP(4, B),
    [0xff]          = GROUP(5, 0),
};

const struct opcode opcode_map_0f[256] = {
    [0x00]          = GROUP(6, 0),
    [0x01]          = SPECIAL(M),
    [0x02 ... 0x03] = OTHER(M), /* LAR, LSL */
    [0x04]          = UNDEFINED,
    [0x05]          = OTHER(0), /* SYSCALL */
    [0x06]          = INSN(CLTS, NONE, NONE, 0),
    [0x07]          = OTHER(0), /* SYSRET */
    [0x08]          = INSN(INVD, NONE, NONE, 0),
    [0x09]          = INSN(WBINVD, NONE, NONE, 0),
    [0x0a ... 0x0c] = UNDEFINED, /* 0B is UD2 */
    [0x0d]          = OTHER(M),  /* PREFETCH */
    [0x0e]          = OTHER(0),  /* FEMMS */
    [0x10 ... 0x1f] = OTHER(M),  /* SSE moves, prefetches, NOPs */
    [0x20]          = INSN(MOV_CR, RM, CR, M | O_NATIVE),
    [0x21]          = INSN(MOV_DR, RM, CR, M | O_NATIVE),
    [0x22]          = INSN(MOV_CR, CR, RM, M | O_NATIVE),
    [0x23]          = INSN(MOV_DR, CR, RM, M | O_NATIVE),
    [0x24 ... 0x27] = UNDEFINED,
    [0x28 ... 0x2f] = OTHER(M), /* SSE */
    [0x30]          = INSN(WRMSR, NONE, NONE, 0),
    [0x31]          = INSN(RDTSC, NONE, NONE, 0),
    [0x32]          = INSN(RDMSR, NONE, NONE, 0),
    [0x33]          = INSN(RDPMC, NONE, NONE, 0),
    [0x34 ... 0x35] = OTHER(0), /* SYSENTER, SYSEXIT */
    [0x36]          = UNDEFINED,
    [0x37]          = OTHER(0), /* GETSEC */
    [0x39]          = UNDEFINED,
    [0x3b ... 0x3f] = UNDEFINED,
    [0x40 ... 0x6f] = OTHER(M),        /* CMOVcc, SSE */
    [0x70 ... 0x73] = OTHER(M | O_I8), /* SSE */
    [0x74 ... 0x76] = OTHER(M),
    [0x77]          = OTHER(0), /* EMMS */
    [0x7a ... 0x7b] = UNDEFINED,
    [0x7c ... 0x7f] = OTHER(M),     /* SSE */
    [0x90 ... 0x9f] = OTHER(M | B), /* SETcc */
    [0xa0 ... 0xa1] = OTHER(0),     /* PUSH, POP FS */
    [0xa2]          = INSN(CPUID, NONE, NONE, 0),
    [0xa3]          = INSN(BT, RM, REG, M),
    [0xa4]          = OTHER(M | O_I8), /* SHLD */
    [0xa5]          = OTHER(M),        /* SHLD */
    [0xa6 ... 0xa7] = UNDEFINED,
    [0xa8 ... 0xaa] = OTHER(0), /* PUSH, POP GS; RSM */
    [0xab]          = INSN(BTS, RM, REG, M | O_LOCK),
    [0xac]          = OTHER(M | O_I8), /* SHRD */
    [0xad ... 0xaf] = OTHER(M),        /* SHRD, group 15, IMUL */
    [0xb0]          = INSN(CMPXCHG, RM, REG, M | B | O_LOCK),
    [0xb1]          = INSN(CMPXCHG, RM, REG, M | O_LOCK),
    [0xb2]          = OTHER(M), /* LSS */
    [0xb3]          = INSN(BTR, RM, REG, M | O_LOCK),
    [0xb4 ... 0xb5] = OTHER(M), /* LFS, LGS */
    [0xb6]          = INSN(MOVZX, REG, RM, M | O_FROM8),
    [0xb7]          = INSN(MOVZX, REG, RM, M | O_FROM16),
    [0xb8]          = OTHER(M),  /* POPCNT */
    [0xb9]          = UNDEFINED, /* UD1 */
    [0xba]          = GROUP(8, O_I8),
    [0xbb]          = INSN(BTC, RM, REG, M | O_LOCK),
    [0xbc ... 0xbd] = OTHER(M), /* BSF, BSR */
    [0xbe]          = INSN(MOVSX, REG, RM, M | O_FROM8),
    [0xbf]          = INSN(MOVSX, REG, RM, M | O_FROM16),
    [0xc0]          = INSN(XADD, RM, REG, M | B | O_LOCK),
    [0xc1]          = INSN(XADD, RM, REG, M | O_LOCK),
    [0xc2]          = OTHER(M | O_I8), /* CMPPS */
    [0xc3]          = OTHER(M),        /* MOVNTI */
    [0xc4 ... 0xc6] = OTHER(M | O_I8), /* SSE */
    [0xc7]          = GROUP(9, 0),
    [0xc8 ... 0xcf] = OTHER(0), /* BSWAP */
    [0xd0 ... 0xfe] = OTHER(M), /* SSE */
    [0xff]          = UNDEFINED, /* UD0 */
};

const struct opcode opcode_groups[GROUP_COUNT][8] = {
    [GROUP_1] = {
        INSN(ADD, RM, IMM, O_LOCK), INSN(OR, RM, IMM, O_LOCK),  INSN(ADC, RM, IMM, O_LOCK),
        INSN(SBB, RM, IMM, O_LOCK), INSN(AND, RM, IMM, O_LOCK), INSN(SUB, RM, IMM, O_LOCK),
        INSN(XOR, RM, IMM, O_LOCK), INSN(CMP, RM, IMM, 0),
    },
    [GROUP_1A] = { INSN(POP, RM, NONE, 0) }, /* the rest is XOP */
    [GROUP_2] = { OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0) },
    [GROUP_3] = {
        INSN(TEST, RM, IMM, O_IZ), INSN(TEST, RM, IMM, O_IZ),
        INSN(NOT, RM, NONE, O_LOCK), INSN(NEG, RM, NONE, O_LOCK),
        OTHER(0), OTHER(0), OTHER(0), OTHER(0),
    },
    [GROUP_4] = {
        INSN(INC, RM, NONE, O_LOCK), INSN(DEC, RM, NONE, O_LOCK),
        UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED,
    },
    [GROUP_5] = {
        INSN(INC, RM, NONE, O_LOCK), INSN(DEC, RM, NONE, O_LOCK),
        OTHER(0), OTHER(0), OTHER(0), OTHER(0), INSN(PUSH, NONE, RM, O_D64), UNDEFINED,
    },
    [GROUP_6] = { OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0), UNDEFINED, UNDEFINED },
    [GROUP_8] = {
        UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED,
        INSN(BT, RM, IMM, 0), INSN(BTS, RM, IMM, O_LOCK), INSN(BTR, RM, IMM, O_LOCK), INSN(BTC, RM, IMM, O_LOCK),
    },
    [GROUP_9] = {
        UNDEFINED, INSN(OTHER, RM, NONE, O_LOCK), UNDEFINED, OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0),
    },
    [GROUP_11] = {
        INSN(MOV, RM, IMM, 0), UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED,
        { K_UNKNOWN, 0, X_NONE, X_NONE, 0 }, /* XABORT, XBEGIN */
    },
};
/* clang-format on */
