/* Instructions and memory of a running vCPU, as the decoder and the emulator want them. Called by its exit
 * handlers only. */
#pragma once

#include "lib/string.h"
#include "vmx/vcpu.h"

/* Up to `size` bytes at RIP; returns how many lie before a page that faults, or -EFAULT with *fault when
 * there is none. */
int fetch_bytes(struct vcpu *vcpu, uint8_t *to, size_t size, struct emu_fault *fault);

/* Decodes the instruction at RIP, in code of this size; *out is valid until the next call. -EFAULT with
 * *fault (#PF of the fetch, #UD); -ENOSYS. */
int fetch_insn(struct vcpu *vcpu, enum code_size code, const struct insn **out,
               struct emu_fault *fault) __must_check;

/* Raises in the guest what the fetch or the emulator found. */
void fetch_raise(struct vcpu *vcpu, const struct emu_fault *fault);

/* The vCPU as the emulator sees it; the general registers are the vCPU's own. */
void fetch_cpu(struct vcpu *vcpu, struct emu_cpu *out);

/* Memory by linear address: the guest's page tables, then RAM or the MMIO bus. */
void memory_ops(struct vcpu *vcpu, struct emu_memory *out);

/* Whether `size` bytes at `at` can be written: 0, or -EFAULT with *fault; the guest's dirty bits are set as
 * by a write. */
int memory_probe(struct vcpu *vcpu, gva_t at, unsigned size, struct emu_fault *fault) __must_check;

uint8_t fetch_length_slow(struct vcpu *vcpu, gva_t linear);

/*
 * Length of the instruction at `linear`: `length` if its first bytes are `opcode` (little-endian, opcode_size
 * 1 or 2), else what the decoder says. The page that it lies in is remembered. What is remembered can be of
 * another address space or out of date, and then at most gives a wrong length to a guest that has a prefixed
 * twin of the same instruction at the same address.
 */
static inline uint8_t fetch_length(struct vcpu *vcpu, gva_t linear, uint16_t opcode, unsigned opcode_size,
                                   uint8_t length)
{
    uint64_t offset = linear.raw - vcpu->code_page.linear.raw;

    if (likely(offset < PAGE_SIZE - 1)) {
        uint16_t bytes;

        memcpy(&bytes, vcpu->code_page.host + offset, sizeof(bytes));
        if (likely((opcode_size == 1 ? bytes & 0xff : bytes) == opcode))
            return length;
    }
    return fetch_length_slow(vcpu, linear);
}
