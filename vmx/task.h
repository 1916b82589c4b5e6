/*
 * The hardware task switch, which a CPU with VT-x leaves to its hypervisor: every attempt is an exit, after
 * the CPU has made its checks on privileges. A pure library: it works on a CPU state and reaches memory
 * through callbacks only. Compiles on the host. Source: Intel SDM vol. 3, 8.2, 8.3, 8.6 and 26.4.2; AMD APM
 * vol. 2, 12.2 to 12.3.
 */
#pragma once

#include "vmx/ops.h"

struct task_request {
    uint16_t selector; /* of the new task's TSS: the operand, the gate's, or the link that IRET follows */
    uint8_t source;    /* enum task_source */
    uint8_t length;    /* of the instruction; 0: an event from outside of the program came through a gate */
    bool has_error;    /* TASK_GATE: an exception whose error code the new task finds on its stack */
    uint32_t error;
};

/* What a task switch changes. The CPL is the DPL in SS's attributes, also where SS is not usable. */
struct task_cpu {
    struct vcpu_system system;
    uint64_t gpr[GPR_COUNT];
    uint64_t rip, rflags;
    bool entered; /* out: it is the new task that runs, or faults */
    bool trap;    /* out: the new task's T bit asks for #DB now (DR6.BT is set) */
};

/*
 * Memory, by linear address below 4 GiB. Each returns 0, -EFAULT with *fault filled, or -EIO (the switch is
 * abandoned). Accesses are the CPU's own, with supervisor rights whatever the CPL, but for push().
 */
struct task_memory {
    int (*read)(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault);
    int (*write)(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault);
    /* Clears, then sets bits of a byte as one atomic step. */
    int (*mark)(void *context, gva_t at, uint8_t clear, uint8_t set, struct emu_fault *fault);
    /* Whether `size` bytes (no more than a TSS has) can be written. */
    int (*probe)(void *context, gva_t at, unsigned size, struct emu_fault *fault);
    /* A write by the program that `cpu` is about to run. */
    int (*push)(void *context, const struct task_cpu *cpu, gva_t at, unsigned size, uint64_t value,
                struct emu_fault *fault);
    /* Whether CR3 can be loaded with `value` under paging (PAE's first level may have reserved bits set).
     * With `load` all accesses from here on go through it. */
    int (*cr3)(void *context, uint64_t value, bool load, struct emu_fault *fault);
    void *context;
};

/*
 * Switches tasks outside of long mode. 0: *cpu is the new task before its first instruction. -EFAULT: *fault
 * is to be raised. If it was found in time the old task has it, with *cpu and all memory as before (accessed
 * and dirty bits of pages excepted); else it is the new one's, with *cpu as far as it was loaded, in a form
 * that a VM entry accepts. -EIO: as a callback said. Rights (the DPL of gate and TSS against CPL and RPL) are
 * not checked.
 */
int task_switch(const struct task_request *request, struct task_cpu *cpu, const struct task_memory *memory,
                struct emu_fault *fault) __must_check;

/* The CPL that a system state holds. */
static inline uint8_t task_cpl(const struct vcpu_system *system)
{
    return (system->segment[SEG_SS].attributes & SEG_ATTR_DPL) >> 5;
}
