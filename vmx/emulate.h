/*
 * The emulator: executes one decoded instruction on a CPU state, reaching memory through callbacks only. A
 * pure library, so that the host tests can run every form against the real CPU. Compiles on the host.
 */
#pragma once

#include "lib/types.h"
#include "vmx/decode.h"

struct emu_segment {
    uint64_t base;
    uint32_t limit; /* bytes - 1, granularity applied */
    bool present;   /* and usable: a null selector is not */
    bool writable, readable, code, expand_down;
    bool big; /* D/B: the stack pointer is ESP (SS); an expand-down segment ends at 4 GiB */
};

/* The part of a vCPU that instructions on memory can read or change. */
struct emu_cpu {
    uint64_t *gpr; /* GPR_COUNT registers, changed in place */
    uint64_t rip, rflags;
    enum code_size code;
    bool protected_mode; /* CR0.PE: segment rights count (not in 64-bit mode), faults have error codes */
    uint8_t cpl;
};

/* A fault for the guest, in the caller's terms: vector, error code if the vector has one, CR2 for #PF. */
struct emu_fault {
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint64_t cr2;
};

/*
 * Memory, by linear address. Each returns 0, -EFAULT with *fault filled, or -EIO (the emulation is
 * abandoned). `size` is 1, 2, 4 or 8; `at` may have any alignment, and an access that crosses a page is
 * passed whole: the callback splits it, and must find every page before it changes one. Values are
 * zero-extended.
 */
struct emu_memory {
    /* In 64-bit mode asked for FS and GS only, and only the base counts. Limits count in real mode too. */
    void (*segment)(void *context, enum seg seg, struct emu_segment *out);
    int (*read)(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault);
    int (*write)(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault);
    /*
     * Read-modify-write as one atomic step where it is RAM: stores `value` if the memory still holds
     * *expected; else *expected gets what it holds and -EAGAIN comes back. On MMIO it simply writes. Every
     * read-modify-write uses it, with LOCK and without.
     */
    int (*compare_exchange)(void *context, gva_t at, unsigned size, uint64_t *expected, uint64_t value,
                            struct emu_fault *fault);
    void *context;
};

/* Iterations of a string instruction in one call: the rest runs after the next entry. */
#define EMU_REP_MAX 256

/*
 * Executes `insn`, which decode() made for cpu->code. 0: done, rip advanced (or, for a REP with iterations
 * left, not advanced and RCX, RSI, RDI updated, exactly as an interrupted REP). -EFAULT: *fault is to be
 * injected; registers are as before the instruction (a REP: as before the faulting iteration). RFLAGS.RF is
 * cleared when the instruction completes; the trap for TF and the end of an interrupt shadow are the
 * caller's. rip also stays when another CPU wins 64 races for the memory in a row. Alignment (#AC) is not
 * checked. -ENOSYS: op is not one that emulate() executes. -EIO: as a callback said.
 */
int emulate(const struct insn *insn, struct emu_cpu *cpu, const struct emu_memory *memory,
            struct emu_fault *fault) __must_check;
