/* A virtual machine as the engine sees it: memory, buses, a clock and vCPUs. guests/machine.c puts the
 * devices in. */
#pragma once

#include "lib/types.h"
#include "kernel/lock.h"
#include "kernel/share.h"
#include "lib/ptab.h"
#include "vmx/gmem.h"
#include "vmx/iobus.h"
#include "vmx/ops.h"
#include "vmx/vclock.h"

#define VM_MAX_VCPUS 16
#define VM_NAME_MAX  32

/* The memory-type range registers: kept for the guest, without effect (the nested tables say WB). */
struct vm_mtrr {
    uint64_t def_type;
    uint64_t fixed[11];
    uint64_t variable[16]; /* base, mask, base, mask, ... */
};

/* Fields are set by vm_create() and machine.c before the first entry, and then belong to the CPU that runs
 * the vCPUs. */
struct vm {
    char name[VM_NAME_MAX];
    unsigned index; /* owner tag of its frames: FRAME_VM + index */
    struct gmem mem;
    struct ptab nested; /* guest physical to host physical */
    struct ptab_memory nested_memory;
    uint32_t ram_flags; /* how the nested table maps RAM */
    bool balloon;       /* chunks of its RAM may be taken away; set before vm_create_memory() */
    struct lock ram;    /* for `nested` and mem's chunks, if so. Rank: before the frames' */
    uint64_t away;      /* chunks that are away */
    uint64_t refills;   /* that came back since power-on */
    struct vclock clock;
    struct lock devices; /* for all below, and for every device model but the local APICs. Rank: the first */
    struct iobus ports, mmio;
    struct share_params share; /* of the CPUs, for each vCPU */
    unsigned vcpu_count;
    struct vcpu *vcpu[VM_MAX_VCPUS];
    struct vm_mtrr mtrr;
    uint64_t wall_clock_gpa; /* MSR_KVM_WALL_CLOCK_NEW as last written */
    uint64_t epoch_ns;       /* UTC at guest time 0, nanoseconds since 1970 */
    uint64_t refused_msrs;   /* accesses that got #GP; the first few are in the log */

    /* The VM cannot go on: `reason` is one line for its log. Called once; no vCPU of it is entered again. */
    void (*died)(struct vm *vm, const char *reason);
    bool dead;
};

/*
 * Finds this machine's back end and turns it on for the boot CPU; `without` names features of the CPU that it
 * is not to use (command line), with commas between. When there is none the log says why and what to do,
 * vmx_ops is NULL and no VM can be created; everything else works.
 */
void vm_init(const char *without);

/*
 * The same for another CPU, with what the boot CPU has; nothing to do where vmx_ops is NULL. -ENODEV, -EPERM,
 * -EIO or -ENOMEM after saying why in the log. On that CPU.
 */
int vm_cpu_enable(struct cpu *cpu);

/*
 * The first VM entry of all is to fail: the CPU is given wrong guest state ("state"), or a wrong control
 * ("control"), to see what Plinth then says (command line `spoil=`). Others are warned about. After
 * vm_init().
 */
void vm_spoil_entry(const char *what);

/* From vcpu.c: what is to be spoilt, once. */
enum vm_spoil { VM_SPOIL_NOTHING, VM_SPOIL_STATE, VM_SPOIL_CONTROL };
extern enum vm_spoil vm_spoil;

/* Allocates RAM (`size`: multiple of 2 MiB) and nested tables. -ENOMEM with nothing kept; -ENODEV without a
 * back end. */
int vm_create_memory(struct vm *vm, uint64_t size) __must_check;

/* Gives back everything; no vCPU may be left. */
void vm_destroy_memory(struct vm *vm);

/*
 * Takes the vCPUs off the CPU, and lets them go on. Guest time does not stand still: timers expire, and their
 * interrupts wait with all others. As sched_stop() and sched_start() say.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/* Stops the VM with a reason, printf-like; the first reason counts. From any exit path. */
void vm_die(struct vm *vm, const char *fmt, ...) __printf(2, 3);
