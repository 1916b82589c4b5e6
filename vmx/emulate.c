/* Executes one instruction: operands in, the operation, operands out. */
#include "lib/errno.h"
#include "vmx/emulate.h"
#include "vmx/emulate_address.h"
#include "vmx/emulate_alu.h"
#include "vmx/emulate_string.h"

/* Other CPUs of the guest may keep changing the memory under a read-modify-write: then let the guest in
 * between. */
#define MODIFY_ATTEMPTS 64

static uint64_t reg_get(const struct emu_step *s, struct operand operand)
{
    if (operand.kind == OPERAND_REG_HIGH)
        return (s->cpu->gpr[operand.reg] >> 8) & 0xff;
    return s->cpu->gpr[operand.reg] & size_mask(operand.size);
}

static void reg_set(const struct emu_step *s, struct operand operand, uint64_t value)
{
    if (operand.kind == OPERAND_REG_HIGH)
        s->cpu->gpr[operand.reg] = (s->cpu->gpr[operand.reg] & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
    else
        emu_set_gpr(s->cpu, operand.reg, operand.size, value);
}

static __always_inline int load(const struct emu_step *s, struct operand operand, uint64_t *value)
{
    if (operand.kind == OPERAND_MEM)
        return emu_read(s, (enum seg)s->insn->seg, emu_effective(s->insn, s->cpu), operand.size, value);
    *value = operand.kind == OPERAND_IMM ? s->insn->immediate : reg_get(s, operand);
    return 0;
}

/* A value for memory has no more than the operand's bytes. */
static __always_inline int store(const struct emu_step *s, struct operand operand, uint64_t value)
{
    if (operand.kind == OPERAND_MEM)
        return emu_write(s, (enum seg)s->insn->seg, emu_effective(s->insn, s->cpu), operand.size, value);
    reg_set(s, operand, value);
    return 0;
}

/* MOV, MOVZX, MOVSX. */
static int move(const struct emu_step *s)
{
    uint64_t value;
    int status = load(s, s->insn->from, &value);

    if (status != 0)
        return status;
    if (s->insn->op == OP_MOVSX)
        value = (uint64_t)sign_extend(value, s->insn->from.size);
    return store(s, s->insn->to, value);
}

static bool only_reads(enum insn_op op)
{
    return op == OP_CMP || op == OP_TEST || op == OP_BT;
}

/* A CMPXCHG that finds another value: in memory the CPU writes the old one back, in a register it does not.
 */
static bool mismatch(const struct insn *insn, uint64_t rflags)
{
    return insn->op == OP_CMPXCHG && !(rflags & RFLAGS_ZF);
}

static bool is_bit_test(enum insn_op op)
{
    return op >= OP_BT && op <= OP_BTC;
}

/* The new value of the destination, and the new flags. */
static uint64_t compute(const struct emu_step *s, uint64_t old, uint64_t source, uint64_t *rflags)
{
    enum insn_op op = (enum insn_op)s->insn->op;
    unsigned size = s->insn->operand_size;

    switch (op) {
    case OP_BT:
    case OP_BTS:
    case OP_BTR:
    case OP_BTC:
        return alu_bit(op, old, (unsigned)source & (8 * size - 1), rflags);
    case OP_XCHG:
        return source;
    case OP_XADD:
        return alu_binary(OP_ADD, size, old, source, rflags);
    case OP_CMPXCHG:
        alu_binary(OP_CMP, size, s->cpu->gpr[GPR_RAX] & size_mask(size), old, rflags);
        return mismatch(s->insn, *rflags) ? old : source;
    case OP_INC:
    case OP_DEC:
    case OP_NOT:
    case OP_NEG:
        return alu_unary(op, size, old, rflags);
    default:
        return alu_binary(op, size, old, source, rflags);
    }
}

/* What some operations do to a register besides the destination, with the destination's old value. */
static void swap_out(const struct emu_step *s, uint64_t old, uint64_t rflags)
{
    if (s->insn->op == OP_XCHG || s->insn->op == OP_XADD)
        reg_set(s, s->insn->from, old);
    else if (mismatch(s->insn, rflags))
        emu_set_gpr(s->cpu, GPR_RAX, s->insn->operand_size, old);
}

/* The destination's address. A bit offset in a register reaches beyond the operand: AMD APM vol. 3, BT. */
static uint64_t destination(const struct emu_step *s)
{
    const struct insn *insn = s->insn;
    uint64_t offset = emu_effective(insn, s->cpu);

    if (is_bit_test((enum insn_op)insn->op) && insn->from.kind == OPERAND_REG) {
        int64_t bit = sign_extend(s->cpu->gpr[insn->from.reg], insn->operand_size);

        offset += (uint64_t)((bit >> 3) & -(int64_t)insn->operand_size);
        offset &= size_mask(insn->address_size);
    }
    return offset;
}

/* An operation on a destination in memory. */
static int modify_memory(const struct emu_step *s, uint64_t source)
{
    const struct insn *insn = s->insn;
    bool writes = !only_reads((enum insn_op)insn->op);
    unsigned size = insn->operand_size;
    uint64_t old;
    gva_t at;
    int status = emu_linear(s, (enum seg)insn->seg, destination(s), size, writes, &at);

    if (status == 0)
        status = s->memory->read(s->memory->context, at, size, &old, s->fault);
    if (status != 0)
        return status;
    for (unsigned i = 0; i < MODIFY_ATTEMPTS; i++) {
        uint64_t rflags = s->cpu->rflags;
        uint64_t value = compute(s, old, source, &rflags);

        if (writes)
            status = s->memory->compare_exchange(s->memory->context, at, size, &old, value, s->fault);
        if (status == -EAGAIN)
            continue;
        if (status != 0)
            return status;
        swap_out(s, old, rflags);
        s->cpu->rflags = rflags;
        return 0;
    }
    return EMU_AGAIN;
}

/* An operation that reads its destination: arithmetic, bit tests, exchanges. */
static int modify(const struct emu_step *s)
{
    const struct insn *insn = s->insn;
    uint64_t source = 0, old, value;
    int status;

    if (insn->from.kind != OPERAND_NONE) {
        status = load(s, insn->from, &source);
        if (status != 0)
            return status;
    }
    if (insn->to.kind == OPERAND_MEM)
        return modify_memory(s, source);
    old = reg_get(s, insn->to);
    value = compute(s, old, source, &s->cpu->rflags);
    swap_out(s, old, s->cpu->rflags);
    if (!only_reads((enum insn_op)insn->op) && !mismatch(insn, s->cpu->rflags))
        reg_set(s, insn->to, value);
    return 0;
}

/* Bytes of the stack pointer: RSP, ESP or SP. AMD APM vol. 3, PUSH; vol. 2, 4.7.3 (the B bit of SS). */
static unsigned stack_size(const struct emu_step *s)
{
    struct emu_segment segment;

    if (s->cpu->code == CODE_64)
        return 8;
    s->memory->segment(s->memory->context, SEG_SS, &segment);
    return segment.big ? 4 : 2;
}

static int push(const struct emu_step *s)
{
    unsigned width = stack_size(s), size = s->insn->operand_size;
    uint64_t sp = (s->cpu->gpr[GPR_RSP] - size) & size_mask(width);
    uint64_t value;
    int status = load(s, s->insn->from, &value);

    if (status == 0)
        status = emu_write(s, SEG_SS, sp, size, value);
    if (status != 0)
        return status;
    emu_set_gpr(s->cpu, GPR_RSP, width, sp);
    return 0;
}

/* The destination's address, and POP RSP, see the stack pointer already moved. */
static int pop(const struct emu_step *s)
{
    unsigned width = stack_size(s), size = s->insn->operand_size;
    uint64_t before = s->cpu->gpr[GPR_RSP];
    uint64_t sp = before & size_mask(width);
    uint64_t value;
    int status = emu_read(s, SEG_SS, sp, size, &value);

    if (status != 0)
        return status;
    emu_set_gpr(s->cpu, GPR_RSP, width, sp + size);
    status = store(s, s->insn->to, value);
    if (status != 0)
        s->cpu->gpr[GPR_RSP] = before;
    return status;
}

static int execute(const struct emu_step *s)
{
    enum insn_op op = (enum insn_op)s->insn->op;

    if (likely(op <= OP_MOVSX))
        return move(s);
    if (op <= OP_SCAS)
        return emu_string(s);
    if (op <= OP_NEG)
        return modify(s);
    if (op == OP_PUSH)
        return push(s);
    if (op == OP_POP)
        return pop(s);
    return -ENOSYS;
}

int emulate(const struct insn *insn, struct emu_cpu *cpu, const struct emu_memory *memory,
            struct emu_fault *fault)
{
    struct emu_step s = { insn, cpu, memory, fault };
    int status = execute(&s);

    if (status == EMU_AGAIN)
        return 0;
    if (status != 0)
        return status;
    cpu->rip += insn->length;
    if (cpu->code != CODE_64)
        cpu->rip &= UINT32_MAX;
    cpu->rflags &= ~RFLAGS_RF; /* AMD APM vol. 2, 3.1.6 */
    return 0;
}
