/*
 * The guests' FPU, SSE and AVX registers. The hypervisor uses none of them, so they stay in the CPU until
 * another vCPU's are wanted there. Source: AMD APM vol. 2, 11.5; Intel SDM vol. 1, 13.
 */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/percpu.h"

/* Set by the first xstate_init(). */
extern bool xstate_has_xsave;
extern bool xstate_pointers_stay; /* FIP, FDP and FOP can outlive a restore */
extern uint64_t xstate_saved;     /* XCR0 while saving and restoring */

/*
 * Enables XSAVE where the CPU has it; the boot CPU, which comes first, finds the size of an area. Each CPU
 * once. False if this CPU's state has another layout than the boot CPU's.
 */
bool xstate_init(void);

void *xstate_alloc(void) __must_check; /* NULL when memory is short */
void xstate_free(void *area);          /* may be live on this CPU, where it is forgotten, but on no other */
void xstate_reset(void *area); /* the state after power-on, in memory; live registers of it, which no other
                                  CPU may hold, are dropped */

/* Without XSAVE it is always 1. */
static inline void xstate_write_xcr0(struct cpu *cpu, uint64_t xcr0)
{
    if (cpu->xcr0 == xcr0)
        return;
    xsetbv(0, xcr0);
    cpu->xcr0 = xcr0;
}

/* With no x87 exception pending and an empty stack the load cannot fault; it puts Plinth's own addresses
 * where the next guest could read the last one's. */
static inline void xstate_restore(const void *area)
{
    static const uint32_t zero;

    if (xstate_pointers_stay)
        __asm__ volatile("fnclex\n emms\n fildl %0" : : "m"(zero));
    if (likely(xstate_has_xsave))
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* Makes `area` live on `cpu`, which is this one; it is live there already, or none is. Sets XCR0. */
static inline void xstate_switch(struct cpu *cpu, void *area, uint64_t xcr0)
{
    if (cpu->xstate != area) {
        xstate_write_xcr0(cpu, xstate_saved);
        xstate_restore(area);
        cpu->xstate = area;
    }
    xstate_write_xcr0(cpu, xcr0);
}

/* Saves `area` if it is live on `cpu`, which is this one, so that another can have it. */
static inline void xstate_put_away(struct cpu *cpu, void *area)
{
    if (cpu->xstate != area)
        return;
    xstate_write_xcr0(cpu, xstate_saved);
    if (likely(xstate_has_xsave))
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    cpu->xstate = NULL;
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
