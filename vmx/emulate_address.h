/*
 * Where an instruction's memory operand is: effective addresses, segmentation, canonical form.
 * Source: AMD APM vol. 1, 2.2 (effective addresses); vol. 2, 4.8 and 4.12 (segment checks), 5.3.1 (canonical
 * form).
 */
#pragma once

#include "lib/types.h"
#include "vmx/emulate.h"

/* The offset in its segment of insn's memory operand (not of a string operation), cut to the address size. */
uint64_t emu_effective(const struct insn *insn, const struct emu_cpu *cpu);

/*
 * The linear address of `size` bytes at seg:offset; `write` says that they will be written. -EFAULT with
 * *fault set to #GP(0), or #SS(0) for SS, when the segment does not allow it or the address is not canonical.
 */
int emu_linear(const struct emu_cpu *cpu, const struct emu_memory *memory, enum seg seg, uint64_t offset,
               unsigned size, bool write, gva_t *out, struct emu_fault *fault) __must_check;

/* emu_linear() and the access. */
int emu_read(const struct emu_cpu *cpu, const struct emu_memory *memory, enum seg seg, uint64_t offset,
             unsigned size, uint64_t *value, struct emu_fault *fault) __must_check;
int emu_write(const struct emu_cpu *cpu, const struct emu_memory *memory, enum seg seg, uint64_t offset,
              unsigned size, uint64_t value, struct emu_fault *fault) __must_check;

/* Stores to a register as instructions do: 4 bytes clear the upper half, 1 and 2 leave the rest. */
void emu_set_gpr(struct emu_cpu *cpu, unsigned reg, unsigned size, uint64_t value);
