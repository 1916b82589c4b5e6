/*
 * The emulator: executes one decoded instruction on a CPU state, reaching memory through callbacks only. A pure
 * library, so that the host tests can run every form against the real CPU. Compiles on the host.
 */
#pragma once

#include "lib/types.h"
#include "vmx/decode.h"

struct emu_segment {
    uint64_t base;
    uint32_t limit; /* bytes - 1, granularity applied */
    bool present, writable, readable, code, expand_down;
};

/* The part of a vCPU that instructions on memory can read or change. */
struct emu_cpu {
    uint64_t *gpr; /* GPR_COUNT registers, changed in place */
    uint64_t rip, rflags;
    enum code_size code;
    bool protected_mode; /* segment limits and rights are checked unless in 64-bit mode */
    uint8_t cpl;
};

/* A fault for the guest, in the caller's terms: vector, error code if the vector has one, CR2 for #PF. */
struct emu_fault {
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint64_t cr2;
};

/* Memory, by linear address. Each returns 0, -EFAULT with *fault filled, or -EIO (the emulation is abandoned). */
struct emu_memory {
    void (*segment)(void *context, enum seg seg, struct emu_segment *out);
    int (*read)(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault);
    int (*write)(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault);
    /*
     * Read-modify-write as one atomic step where it is RAM: stores `value` if the memory still holds *expected; else
     * *expected gets what it holds and -EAGAIN comes back. On MMIO it simply writes.
     */
    int (*compare_exchange)(void *context, gva_t at, unsigned size, uint64_t *expected, uint64_t value,
                            struct emu_fault *fault);
    void *context;
};

#define EMU_REP_MAX 256 /* iterations of a string instruction in one call: the rest runs after the next entry */

/*
 * Executes `insn`. 0: done, rip advanced (or, for a REP with iterations left, not advanced and RCX, RSI, RDI updated, exactly as
 * an interrupted REP). -EFAULT: *fault is to be injected; registers are as before the instruction (a REP: as before the
 * faulting iteration). -ENOSYS: op is not one that emulate() executes. -EIO: as a callback said.
 */
int emulate(const struct insn *insn, struct emu_cpu *cpu, const struct emu_memory *memory, struct emu_fault *fault) __must_check;
