/*
 * Where an instruction's memory operand is: effective addresses, segmentation, canonical form.
 * Source: AMD APM vol. 1, 2.2 (effective addresses); vol. 2, 4.12 and 4.13 (limit and type checks), 5.3.1
 * (canonical form).
 */
#pragma once

#include "lib/types.h"
#include "vmx/emulate.h"
#include "vmx/emulate_alu.h"

/* One instruction being executed: the arguments of emulate(). */
struct emu_step {
    const struct insn *insn;
    struct emu_cpu *cpu;
    const struct emu_memory *memory;
    struct emu_fault *fault;
};

/* The offset in its segment of insn's memory operand (not of a string operation), cut to the address size. */
static inline uint64_t emu_effective(const struct insn *insn, const struct emu_cpu *cpu)
{
    uint64_t sum = (uint64_t)insn->displacement;

    if (insn->base >= 0)
        sum += cpu->gpr[insn->base];
    if (insn->index >= 0)
        sum += cpu->gpr[insn->index] * insn->scale;
    if (insn->rip_relative)
        sum += cpu->rip + insn->length;
    return sum & size_mask(insn->address_size);
}

/* emu_linear() with every check. */
int emu_linear_checked(const struct emu_step *s, enum seg seg, uint64_t offset, unsigned size, bool write,
                       gva_t *out) __must_check;

/*
 * The linear address of `size` bytes at seg:offset; `write` says that they will be written. -EFAULT with
 * s->fault set to #GP(0), or #SS(0) for SS, when the segment does not allow it or the address is not
 * canonical.
 */
static __always_inline __must_check int emu_linear(const struct emu_step *s, enum seg seg, uint64_t offset,
                                                   unsigned size, bool write, gva_t *out)
{
    /* All that are canonical for certain: the last 8 bytes of the lower half get the full check too. */
    if (unlikely(s->cpu->code != CODE_64 || seg >= SEG_FS || offset + BIT(47) >= BIT(48) - 8))
        return emu_linear_checked(s, seg, offset, size, write, out);
    *out = gva(offset);
    return 0;
}

/* emu_linear() and the access. */
int emu_read(const struct emu_step *s, enum seg seg, uint64_t offset, unsigned size,
             uint64_t *value) __must_check;
int emu_write(const struct emu_step *s, enum seg seg, uint64_t offset, unsigned size,
              uint64_t value) __must_check;

/* Stores to a register as instructions do: 4 bytes clear the upper half, 1 and 2 leave the rest. */
static inline void emu_set_gpr(struct emu_cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
    uint64_t mask = size_mask(size);

    if (size >= 4)
        cpu->gpr[reg] = value & mask;
    else
        cpu->gpr[reg] = (cpu->gpr[reg] & ~mask) | (value & mask);
}
