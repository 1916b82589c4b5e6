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

struct vcpu;
struct sched_task;

/* Each field is written by its own CPU only, except where said. Initialised by percpu_init(). */
struct cpu {
    unsigned index; /* 0 = boot CPU */
    uint32_t apic_id;
    struct timer_queue timers;
    uint64_t timer_programmed; /* deadline that the hardware timer holds; lapic.c */
    struct vcpu *vcpu;         /* whose state is live on this CPU; vcpu.c */
    void *vmx;                 /* the back end's own per-CPU state */
    void *xstate;              /* whose FPU, SSE and AVX registers are in the CPU; xstate.c */
    struct sched_task *live;   /* whose state is here still; sched.c */
    struct timer slice;        /* ends the running task's turn */
    uint32_t kicks;            /* how many it has taken */
    bool yield;                /* the running task is to return; any CPU sets it */
    void *desc;                /* GDT and TSS; desc.c */
};

static __always_inline struct cpu *this_cpu(void)
{
    uintptr_t rsp;

    __asm__("mov %%rsp, %0" : "=r"(rsp));
    return (struct cpu *)(rsp & ~(uintptr_t)(CPU_BLOCK_SIZE - 1));
}

/* That of a CPU that is there. */
static inline struct cpu *percpu(unsigned index)
{
    return (struct cpu *)(uintptr_t)(PERCPU_BASE + index * CPU_BLOCK_SIZE);
}

/* Allocates and maps the block of CPU `index`; NULL when memory is short. */
struct cpu *percpu_create(unsigned index, uint32_t apic_id) __must_check;
