/*
 * The instruction decoder: bytes to a description that emulate.c executes. A pure function; knows every form
 * that kernels use on MMIO, in 16-, 32- and 64-bit code. Compiles on the host. Source: AMD APM vol. 3,
 * chapter 1 and appendix A; Intel SDM vol. 2, chapter 2.
 */
#pragma once

#include "lib/types.h"

#define INSN_MAX 15 /* bytes, AMD APM vol. 3, 1.1 */

/* Default operand and address size, from EFER.LMA, CS.L and CS.D. */
enum code_size { CODE_16, CODE_32, CODE_64 };

/* Registers in encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8 .. R15. */
enum gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_COUNT = 16 };

enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/* clang-format off */
enum insn_op {
    OP_MOV, OP_MOVZX, OP_MOVSX,
    OP_STOS, OP_MOVS, OP_LODS, OP_CMPS, OP_SCAS,
    OP_ADD, OP_OR, OP_ADC, OP_SBB, OP_AND, OP_SUB, OP_XOR, OP_CMP, OP_TEST,
    OP_BT, OP_BTS, OP_BTR, OP_BTC, OP_XCHG, OP_CMPXCHG, OP_XADD, OP_INC, OP_DEC, OP_NOT, OP_NEG,
    OP_PUSH, OP_POP,
    /* Recognised for their length and operands only, never executed by emulate(): */
    OP_CPUID, OP_RDMSR, OP_WRMSR, OP_HLT, OP_VMMCALL, OP_VMCALL, OP_IN, OP_OUT, OP_INS, OP_OUTS,
    OP_RDTSC, OP_RDTSCP, OP_INVD, OP_WBINVD, OP_XSETBV, OP_MOV_CR, OP_MOV_DR, OP_PAUSE, OP_MONITOR, OP_MWAIT,
    OP_INVLPG, OP_CLTS, OP_LMSW, OP_RDPMC, OP_OTHER,
};
/* clang-format on */

/* Where an operand is. */
enum operand_kind {
    OPERAND_NONE,
    OPERAND_REG,
    OPERAND_REG_HIGH, /* bits 15:8 of RAX, RCX, RDX or RBX */
    OPERAND_MEM,
    OPERAND_IMM,
    OPERAND_CONTROL, /* control or debug register `reg` */
};

struct operand {
    uint8_t kind; /* enum operand_kind */
    uint8_t reg;  /* enum gpr; OPERAND_CONTROL: its number */
    uint8_t size; /* bytes: 1, 2, 4, 8 */
};

struct insn {
    uint8_t length; /* bytes, prefixes included */
    uint8_t op;     /* enum insn_op */
    uint8_t operand_size;
    uint8_t address_size; /* bytes, in effect */
    bool lock, rep, repne;
    /*
     * Destination and source. A comparison compares `to` with `from`; PUSH has only `from`, POP and other
     * operations on one operand only `to`. A port number is an OPERAND_IMM of one byte or DX. Where both are
     * OPERAND_MEM or the operation is on strings, they are at seg:rSI and ES:rDI, and base and index tell
     * nothing.
     */
    struct operand to, from;
    /* The memory operand, if either is OPERAND_MEM: base + index * scale + displacement in segment `seg`. */
    uint8_t seg;        /* enum seg, the override applied */
    int8_t base, index; /* enum gpr, or -1 */
    uint8_t scale;      /* 1, 2, 4, 8 */
    bool rip_relative;  /* ... + the address of the next instruction */
    int64_t displacement;
    uint64_t immediate; /* sign-extended to the operand's size, then zero-extended to 64 bits */
};

/*
 * Decodes one instruction from at most `size` bytes, which are read once. Instructions that only count for
 * their length come as OP_OTHER. 0; -EAGAIN if more bytes are needed than there are (the fetch crosses into a
 * page that faults); -EINVAL if it is longer than 15 bytes or undefined (#UD); -ENOSYS if the form is valid
 * but not supported. *out holds something only after 0. Where the vendors' CPUs differ (66 before a near
 * branch), -ENOSYS.
 */
int decode(const uint8_t *bytes, size_t size, enum code_size code, struct insn *out) __must_check;

/* "mov"; for logs. */
const char *insn_op_name(enum insn_op op);
