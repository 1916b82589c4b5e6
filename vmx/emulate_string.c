/* String instructions. */
#include "vmx/emulate_address.h"
#include "vmx/emulate_alu.h"
#include "vmx/emulate_string.h"

/* Moves rSI or rDI to the next element. */
static void advance(const struct emu_step *s, unsigned reg)
{
    uint64_t step = s->insn->operand_size;

    if (s->cpu->rflags & RFLAGS_DF)
        step = -step;
    emu_set_gpr(s->cpu, reg, s->insn->address_size, s->cpu->gpr[reg] + step);
}

static uint64_t element(const struct emu_step *s, unsigned reg)
{
    return s->cpu->gpr[reg] & size_mask(s->insn->address_size);
}

static uint64_t counter(const struct emu_step *s)
{
    return s->cpu->gpr[GPR_RCX] & size_mask(s->insn->address_size);
}

static int read_si(const struct emu_step *s, uint64_t *value)
{
    return emu_read(s, (enum seg)s->insn->seg, element(s, GPR_RSI), s->insn->operand_size, value);
}

static int read_di(const struct emu_step *s, uint64_t *value)
{
    return emu_read(s, SEG_ES, element(s, GPR_RDI), s->insn->operand_size, value);
}

static int write_di(const struct emu_step *s, uint64_t value)
{
    unsigned size = s->insn->operand_size;

    return emu_write(s, SEG_ES, element(s, GPR_RDI), size, value & size_mask(size));
}

static int compare(const struct emu_step *s)
{
    unsigned size = s->insn->operand_size;
    uint64_t a = s->cpu->gpr[GPR_RAX] & size_mask(size), b;
    int status = 0;

    if (s->insn->op == OP_CMPS)
        status = read_si(s, &a);
    if (status == 0)
        status = read_di(s, &b);
    if (status == 0)
        alu_binary(OP_CMP, size, a, b, &s->cpu->rflags);
    return status;
}

/* One element. Registers change only when it succeeds. */
static int iterate(const struct emu_step *s)
{
    uint64_t value = s->cpu->gpr[GPR_RAX];
    enum insn_op op = (enum insn_op)s->insn->op;
    int status = 0;

    if (op == OP_CMPS || op == OP_SCAS)
        status = compare(s);
    if (op == OP_MOVS || op == OP_LODS)
        status = read_si(s, &value);
    if (status == 0 && (op == OP_MOVS || op == OP_STOS))
        status = write_di(s, value);
    if (status != 0)
        return status;
    if (op == OP_LODS)
        emu_set_gpr(s->cpu, GPR_RAX, s->insn->operand_size, value);
    if (op != OP_STOS && op != OP_SCAS)
        advance(s, GPR_RSI);
    if (op != OP_LODS)
        advance(s, GPR_RDI);
    return 0;
}

/* REPE goes on while ZF is set, REPNE while it is clear; the others do not look at it. */
static bool goes_on(const struct emu_step *s)
{
    if (s->insn->op != OP_CMPS && s->insn->op != OP_SCAS)
        return true;
    return !(s->cpu->rflags & RFLAGS_ZF) == s->insn->repne;
}

int emu_string(const struct emu_step *s)
{
    struct emu_cpu *cpu = s->cpu;

    if (!s->insn->rep && !s->insn->repne)
        return iterate(s);
    for (unsigned i = 0; i < EMU_REP_MAX; i++) {
        int status;

        if (counter(s) == 0)
            return 0;
        status = iterate(s);
        if (status != 0)
            return status;
        emu_set_gpr(cpu, GPR_RCX, s->insn->address_size, cpu->gpr[GPR_RCX] - 1);
        if (!goes_on(s))
            return 0;
    }
    return counter(s) == 0 ? 0 : EMU_AGAIN;
}
