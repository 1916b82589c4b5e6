/*
 * Arithmetic of the emulator: results and RFLAGS of one operation, on values only. `size` is 1, 2, 4 or 8
 * bytes; operands and results are zero-extended to 64 bits. Flags that the manual calls undefined: AF is
 * cleared by AND, OR, XOR and TEST; bit tests leave all but CF alone. That is what current CPUs do.
 * Source: AMD APM vol. 3, chapter 3 (each instruction's "rFLAGS Affected").
 */
#pragma once

#include "lib/types.h"
#include "vmx/decode.h"

#define RFLAGS_CF BIT(0)
#define RFLAGS_PF BIT(2)
#define RFLAGS_AF BIT(4)
#define RFLAGS_ZF BIT(6)
#define RFLAGS_SF BIT(7)
#define RFLAGS_DF BIT(10)
#define RFLAGS_OF BIT(11)
#define RFLAGS_RF BIT(16)

/* All ones in `size` bytes. */
static inline uint64_t size_mask(unsigned size)
{
    return ~UINT64_C(0) >> (64 - 8 * size);
}

/* The low `size` bytes of `value` as a signed number. */
static inline int64_t sign_extend(uint64_t value, unsigned size)
{
    unsigned unused = 64 - 8 * size;

    return (int64_t)(value << unused) >> unused;
}

/* OP_ADD to OP_TEST: a op b. CMP and TEST return the result that they do not store. */
uint64_t alu_binary(enum insn_op op, unsigned size, uint64_t a, uint64_t b, uint64_t *rflags);

/* OP_INC, OP_DEC, OP_NOT, OP_NEG. */
uint64_t alu_unary(enum insn_op op, unsigned size, uint64_t a, uint64_t *rflags);

/* OP_BT to OP_BTC on bit `bit` of a; bit is below 8 * size. */
uint64_t alu_bit(enum insn_op op, uint64_t a, unsigned bit, uint64_t *rflags);
