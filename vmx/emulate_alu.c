/* Arithmetic and flags. */
#include "vmx/emulate_alu.h"

#define ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* SF, ZF and PF tell about the result alone. PF is even parity of the low byte: a 16-bit table for each
 * nibble. */
static uint64_t result_flags(uint64_t result, unsigned size)
{
    uint64_t flags = (0x9669u >> ((result ^ (result >> 4)) & 15)) & 1 ? RFLAGS_PF : 0;

    if (result == 0)
        flags |= RFLAGS_ZF;
    if (result >> (8 * size - 1))
        flags |= RFLAGS_SF;
    return flags;
}

/*
 * CF, AF and OF from the carry out of each bit position (for a subtraction, the borrow): out of the top bit,
 * out of bit 3, and whether those out of the top two bits differ.
 */
static uint64_t carry_flags(uint64_t carries, unsigned size)
{
    unsigned top = 8 * size - 1;
    uint64_t flags = carries & BIT(3) ? RFLAGS_AF : 0;

    if ((carries >> top) & 1)
        flags |= RFLAGS_CF;
    if (((carries >> top) ^ (carries >> (top - 1))) & 1)
        flags |= RFLAGS_OF;
    return flags;
}

static uint64_t add(unsigned size, uint64_t a, uint64_t b, uint64_t carry, uint64_t *flags)
{
    uint64_t result = (a + b + carry) & size_mask(size);

    *flags = carry_flags((a & b) | ((a | b) & ~result), size) | result_flags(result, size);
    return result;
}

static uint64_t subtract(unsigned size, uint64_t a, uint64_t b, uint64_t borrow, uint64_t *flags)
{
    uint64_t result = (a - b - borrow) & size_mask(size);

    *flags = carry_flags((~a & b) | ((~a | b) & result), size) | result_flags(result, size);
    return result;
}

static void set_flags(uint64_t *rflags, uint64_t affected, uint64_t flags)
{
    *rflags = (*rflags & ~affected) | (flags & affected);
}

uint64_t alu_binary(enum insn_op op, unsigned size, uint64_t a, uint64_t b, uint64_t *rflags)
{
    uint64_t carry = *rflags & RFLAGS_CF;
    uint64_t flags, result;

    switch (op) {
    case OP_ADD:
        result = add(size, a, b, 0, &flags);
        break;
    case OP_ADC:
        result = add(size, a, b, carry, &flags);
        break;
    case OP_SBB:
        result = subtract(size, a, b, carry, &flags);
        break;
    case OP_OR:
        result = a | b;
        flags = result_flags(result, size);
        break;
    case OP_XOR:
        result = a ^ b;
        flags = result_flags(result, size);
        break;
    case OP_AND:
    case OP_TEST:
        result = a & b;
        flags = result_flags(result, size);
        break;
    default: /* OP_SUB, OP_CMP */
        result = subtract(size, a, b, 0, &flags);
        break;
    }
    set_flags(rflags, ARITHMETIC, flags);
    return result;
}

uint64_t alu_unary(enum insn_op op, unsigned size, uint64_t a, uint64_t *rflags)
{
    uint64_t flags, result;

    switch (op) {
    case OP_INC:
        result = add(size, a, 1, 0, &flags);
        set_flags(rflags, ARITHMETIC & ~RFLAGS_CF, flags);
        return result;
    case OP_DEC:
        result = subtract(size, a, 1, 0, &flags);
        set_flags(rflags, ARITHMETIC & ~RFLAGS_CF, flags);
        return result;
    case OP_NEG:
        result = subtract(size, 0, a, 0, &flags);
        set_flags(rflags, ARITHMETIC, flags);
        return result;
    default: /* OP_NOT */
        return ~a & size_mask(size);
    }
}

uint64_t alu_bit(enum insn_op op, uint64_t a, unsigned bit, uint64_t *rflags)
{
    set_flags(rflags, RFLAGS_CF, (a >> bit) & 1 ? RFLAGS_CF : 0);
    switch (op) {
    case OP_BTS:
        return a | BIT(bit);
    case OP_BTR:
        return a & ~BIT(bit);
    case OP_BTC:
        return a ^ BIT(bit);
    default: /* OP_BT */
        return a;
    }
}
