/*
 * The guests' FPU, SSE and AVX registers. The hypervisor uses none of them, so they stay in the CPU until
 * another vCPU's are wanted there. Source: AMD APM vol. 2, 11.5; Intel SDM vol. 1, 13.
 */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/percpu.h"

extern bool xstate_has_xsave; /* set by the first xstate_init() */

/*
 * Enables XSAVE where the CPU has it; the boot CPU, which comes first, finds the size of an area. Each CPU
 * once. False if this CPU's state has another layout than the boot CPU's.
 */
bool xstate_init(void);

void *xstate_alloc(void) __must_check; /* NULL when memory is short */
void xstate_free(void *area);          /* may be live on this CPU, where it is forgotten, but on no other */
void xstate_reset(void *area); /* the state after power-on, in memory; live registers of it, which no other
                                  CPU may hold, are dropped */

/* For the two below. */
void xstate_load(struct cpu *cpu, void *area, uint64_t xcr0);
void xstate_save(struct cpu *cpu);

/* Makes `area` live on `cpu`, which is this one; it is live there already, or none is. Sets XCR0. */
static inline void xstate_switch(struct cpu *cpu, void *area, uint64_t xcr0)
{
    if (cpu->xstate != area || cpu->xcr0 != xcr0)
        xstate_load(cpu, area, xcr0);
}

/* Saves `area` if it is live on `cpu`, which is this one, so that another can have it. */
static inline void xstate_put_away(struct cpu *cpu, const void *area)
{
    if (cpu->xstate == area)
        xstate_save(cpu);
}

/* XCR0 as it is now: some emulators let a guest set it without an exit. To be asked whenever a guest that was
 * let run has left the CPU: the other functions go by what it said. */
static inline uint64_t xstate_xcr0(void)
{
    struct cpu *cpu = this_cpu();

    if (likely(xstate_has_xsave))
        cpu->xcr0 = xgetbv(0);
    return cpu->xcr0;
}

/* Sets XCR0 for the live area: the guest executed XSETBV with a value that has been checked. */
void xstate_set_xcr0(uint64_t xcr0);
