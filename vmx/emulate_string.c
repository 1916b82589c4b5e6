/* String instructions. */
#include "lib/errno.h"
#include "vmx/emulate_address.h"
#include "vmx/emulate_alu.h"
#include "vmx/emulate_string.h"

/* Moves rSI or rDI to the next element. */
static void advance(const struct insn *insn, struct emu_cpu *cpu, unsigned reg)
{
    uint64_t step = insn->operand_size;

    if (cpu->rflags & RFLAGS_DF)
        step = -step;
    emu_set_gpr(cpu, reg, insn->address_size, cpu->gpr[reg] + step);
}

static int read_si(const struct insn *insn, const struct emu_cpu *cpu, const struct emu_memory *memory,
                   uint64_t *value, struct emu_fault *fault)
{
    uint64_t offset = cpu->gpr[GPR_RSI] & size_mask(insn->address_size);

    return emu_read(cpu, memory, (enum seg)insn->seg, offset, insn->operand_size, value, fault);
}

static int read_di(const struct insn *insn, const struct emu_cpu *cpu, const struct emu_memory *memory,
                   uint64_t *value, struct emu_fault *fault)
{
    uint64_t offset = cpu->gpr[GPR_RDI] & size_mask(insn->address_size);

    return emu_read(cpu, memory, SEG_ES, offset, insn->operand_size, value, fault);
}

static int write_di(const struct insn *insn, const struct emu_cpu *cpu, const struct emu_memory *memory,
                    uint64_t value, struct emu_fault *fault)
{
    uint64_t offset = cpu->gpr[GPR_RDI] & size_mask(insn->address_size);

    return emu_write(cpu, memory, SEG_ES, offset, insn->operand_size, value & size_mask(insn->operand_size),
                     fault);
}

static int compare(const struct insn *insn, struct emu_cpu *cpu, const struct emu_memory *memory,
                   struct emu_fault *fault)
{
    uint64_t a = cpu->gpr[GPR_RAX] & size_mask(insn->operand_size), b;
    int status = 0;

    if (insn->op == OP_CMPS)
        status = read_si(insn, cpu, memory, &a, fault);
    if (status == 0)
        status = read_di(insn, cpu, memory, &b, fault);
    if (status == 0)
        alu_binary(OP_CMP, insn->operand_size, a, b, &cpu->rflags);
    return status;
}

/* One element. Registers change only when it succeeds. */
static int iterate(const struct insn *insn, struct emu_cpu *cpu, const struct emu_memory *memory,
                   struct emu_fault *fault)
{
    uint64_t value = cpu->gpr[GPR_RAX];
    int status = 0;

    if (insn->op == OP_CMPS || insn->op == OP_SCAS)
        status = compare(insn, cpu, memory, fault);
    if (insn->op == OP_MOVS || insn->op == OP_LODS)
        status = read_si(insn, cpu, memory, &value, fault);
    if (status == 0 && (insn->op == OP_MOVS || insn->op == OP_STOS))
        status = write_di(insn, cpu, memory, value, fault);
    if (status != 0)
        return status;
    if (insn->op == OP_LODS)
        emu_set_gpr(cpu, GPR_RAX, insn->operand_size, value);
    if (insn->op != OP_STOS && insn->op != OP_SCAS)
        advance(insn, cpu, GPR_RSI);
    if (insn->op != OP_LODS)
        advance(insn, cpu, GPR_RDI);
    return 0;
}

/* REPE goes on while ZF is set, REPNE while it is clear; the others do not look at it. */
static bool goes_on(const struct insn *insn, const struct emu_cpu *cpu)
{
    if (insn->op != OP_CMPS && insn->op != OP_SCAS)
        return true;
    return !(cpu->rflags & RFLAGS_ZF) == insn->repne;
}

int emu_string(const struct insn *insn, struct emu_cpu *cpu, const struct emu_memory *memory,
               struct emu_fault *fault)
{
    uint64_t mask = size_mask(insn->address_size);

    if (!insn->rep && !insn->repne)
        return iterate(insn, cpu, memory, fault);
    for (unsigned i = 0; i < EMU_REP_MAX; i++) {
        int status;

        if ((cpu->gpr[GPR_RCX] & mask) == 0)
            return 0;
        status = iterate(insn, cpu, memory, fault);
        if (status != 0)
            return status;
        emu_set_gpr(cpu, GPR_RCX, insn->address_size, cpu->gpr[GPR_RCX] - 1);
        if (!goes_on(insn, cpu))
            return 0;
    }
    return (cpu->gpr[GPR_RCX] & mask) == 0 ? 0 : EMU_AGAIN;
}
