/*
 * The opcode maps as data: what decode.c must know about each opcode to find its operands and its length.
 * Source: AMD APM vol. 3, appendix A.1 (one-byte map, 0F map, ModRM groups).
 */
#pragma once

#include "lib/types.h"

/* Where the table says that an operand is. */
enum operand_source {
    X_NONE,
    X_RM,    /* ModRM.rm: register or memory */
    X_REG,   /* ModRM.reg */
    X_IMM,   /* the immediate */
    X_ACC,   /* AL, AX, EAX, RAX */
    X_LOW,   /* the register in the opcode's low three bits */
    X_MOFFS, /* memory at the offset that follows the opcode */
    X_SI,    /* string: seg:rSI */
    X_DI,    /* string: ES:rDI */
    X_DX,    /* the port in DX */
    X_CR,    /* control or debug register in ModRM.reg */
};

/* How an opcode byte is to be taken. */
enum opcode_kind {
    K_UNKNOWN,   /* valid, or valid on some CPUs, but the tables do not tell its length */
    K_UNDEFINED, /* #UD */
    K_PREFIX,
    K_ESCAPE,  /* 0F: the second map */
    K_GROUP,   /* ModRM.reg chooses a row of group `op`; the flags of both count */
    K_SPECIAL, /* more than the opcode decides: special() in decode.c */
    K_INSN,
};

#define O_MODRM  0x0001u
#define O_BYTE   0x0002u /* operands of one byte */
#define O_D64    0x0004u /* in 64-bit mode 8 bytes without REX.W, and never 4 */
#define O_I8     0x0008u /* immediate of one byte */
#define O_IZ     0x0010u /* immediate of the operand's size, at most 4 */
#define O_IV     0x0020u /* immediate of the operand's size */
#define O_IW     0x0040u /* immediate of 2 bytes */
#define O_LOCK   0x0080u /* LOCK is legal when the destination is memory */
#define O_NO64   0x0100u /* undefined in 64-bit mode */
#define O_ONLY64 0x0200u /* unknown outside 64-bit mode */
#define O_FROM8  0x0400u /* the source has one byte */
#define O_FROM16 0x0800u /* the source has two bytes */
#define O_FROM32 0x1000u /* the source has at most four bytes */
#define O_PORT   0x2000u /* port I/O: at most four bytes */
#define O_NATIVE 0x4000u /* ModRM.mod is taken as 3, and the operands are as wide as the mode */
#define O_MOFFS  0x8000u /* an offset as wide as addresses follows */
#define O_IMM    (O_I8 | O_IZ | O_IV | O_IW)

struct opcode {
    uint8_t kind; /* enum opcode_kind */
    uint8_t op;   /* enum insn_op, or enum opcode_group */
    uint8_t to;   /* enum operand_source */
    uint8_t from; /* enum operand_source */
    uint16_t flags;
} __aligned(8);

enum opcode_group {
    GROUP_1,  /* ADD .. CMP with an immediate */
    GROUP_1A, /* POP */
    GROUP_2,  /* shifts */
    GROUP_3,  /* TEST NOT NEG MUL DIV */
    GROUP_4,  /* INC DEC */
    GROUP_5,  /* INC DEC CALL JMP PUSH */
    GROUP_6,  /* SLDT .. VERW */
    GROUP_8,  /* BT .. BTC with an immediate */
    GROUP_9,  /* CMPXCHG8B */
    GROUP_11, /* MOV with an immediate */
    GROUP_COUNT,
};

extern const struct opcode opcode_map[256];    /* one-byte opcodes */
extern const struct opcode opcode_map_0f[256]; /* opcodes after 0F */
extern const struct opcode opcode_groups[GROUP_COUNT][8];
