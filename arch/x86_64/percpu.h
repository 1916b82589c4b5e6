/*
 * The per-CPU area. One aligned block of addresses holds it and all stacks of its CPU, with unmapped guard
 * pages between, so it is found by masking RSP: no segment register is needed, which keeps GS the guest's in
 * an exit.
 *
 *   +0x0000  struct cpu (2 pages)
 *   +0x3000  #DF stack      +0x6000  #MC stack      +0x9000  NMI stack    (IST, 2 pages each, guard page
 * below each) +0xc000  main stack (16 KiB, guard page below; grows down from the block's end)
 */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/paging.h"
#include "kernel/timer.h"

#define CPU_BLOCK_SIZE    UINT64_C(0x10000)
#define CPU_AREA_SIZE     UINT64_C(0x2000)
#define CPU_IST_STACK     UINT64_C(0x2000)
#define CPU_DF_STACK_TOP  UINT64_C(0x5000)
#define CPU_MC_STACK_TOP  UINT64_C(0x8000)
#define CPU_NMI_STACK_TOP UINT64_C(0xb000)
#define CPU_MAIN_STACK    UINT64_C(0xc000) /* lowest address of the main stack */
#define CPU_MAX           64
#define TSC_AUX_UNKNOWN   UINT64_MAX /* unlike all that the MSR can hold */

struct vcpu;
struct sched_task;

/* Each field is written by its own CPU only, except where said. Initialised by percpu_init(). */
struct cpu {
    unsigned index; /* 0 = boot CPU; the others in the order of their coming */
    uint32_t apic_id;
    bool has_lapic; /* its local APIC works: it can send and get interrupts */
    struct timer_queue timers;
    uint64_t timer_programmed; /* the deadline that ends the guest's run, whatever timer does that */
    uint64_t lapic_deadline;   /* what the local APIC's timer holds; lapic.c */
    struct vcpu *vcpu;         /* whose state is live on this CPU; vcpu.c */
    void *vmx;                 /* the back end's own per-CPU state */
    void *xstate;              /* whose FPU, SSE and AVX registers are in the CPU; xstate.c */
    uint64_t xcr0;             /* what XCR0 holds while no vCPU is loaded; xstate.c */
    uint64_t tsc_aux;          /* what MSR_TSC_AUX holds; TSC_AUX_UNKNOWN at first. msr.c */
    struct sched_task *live;   /* whose state is here still; sched.c */
    struct timer slice;        /* ends the running task's turn: at slice_end, or looks again before */
    uint64_t slice_end;        /* TSC; TIMER_NEVER: nobody else wants to run */
    uint64_t idle, idle_since; /* ticks; since when, 0: it is not; under the lock of sched.c */
    bool yield;                /* the running task is to return; any CPU sets it */
    uint64_t interrupts_taken; /* TSC when it last had interrupts on */
    uint64_t longest_work;     /* ticks that the longest step of work took; sched.c */
    void *desc;                /* GDT and TSS; desc.c */
    void (*call)(
        void *arg); /* to be run here, NULL: nothing; set by the boot CPU, cleared by this one; smp.c */
    void *call_arg;
    bool stopped;   /* it has stopped for good; smp.c */
    void *recorder; /* where its next event goes; kernel/recorder.h */
};

static __always_inline struct cpu *this_cpu(void)
{
    uintptr_t rsp;

    __asm__("mov %%rsp, %0" : "=r"(rsp));
    return (struct cpu *)(rsp & ~(uintptr_t)(CPU_BLOCK_SIZE - 1));
}

/*
 * Which block's stack this is: 0 the boot CPU's, also before it has one. Unlike this_cpu(), good at any time
 * and after anything. It is the CPU's index where no CPU was left out.
 */
static __always_inline unsigned this_slot(void)
{
    uint64_t offset = (uint64_t)(uintptr_t)this_cpu() - PERCPU_BASE;

    return offset < CPU_MAX * CPU_BLOCK_SIZE ? (unsigned)(offset / CPU_BLOCK_SIZE) : 0;
}

/*
 * Allocates and maps a block: the slot-th one, used for one CPU only, ever. The CPU's index is first the
 * slot. NULL when memory is short. Boot CPU.
 */
struct cpu *percpu_create(unsigned slot, uint32_t apic_id) __must_check;
