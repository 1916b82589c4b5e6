/*
 * The guests' FPU, SSE and AVX registers. The hypervisor uses none of them, so they stay in the CPU until
 * another vCPU's are wanted there. Source: AMD APM vol. 2, 11.5; Intel SDM vol. 1, 13.
 */
#pragma once

#include "lib/types.h"

/*
 * Enables XSAVE where the CPU has it; the boot CPU, which comes first, finds the size of an area. Each CPU
 * once. False if this CPU's state has another layout than the boot CPU's.
 */
bool xstate_init(void);

void *xstate_alloc(void) __must_check; /* NULL when memory is short */
void xstate_free(void *area);          /* may be live on this CPU, where it is forgotten, but on no other */
void xstate_reset(void *area); /* the state after power-on, in memory; live registers of it, which no other
                                  CPU may hold, are dropped */

/* Makes `area` live on this CPU, saving what was, and sets XCR0. Nothing to do if it is live already. */
void xstate_switch(void *area, uint64_t xcr0);

/* Saves what is live on this CPU, so that another CPU can have it. */
void xstate_put_away(void);

/* XCR0 as it is now: some emulators let a guest set it without an exit. */
uint64_t xstate_xcr0(void);

/* Sets XCR0 for the live area: the guest executed XSETBV with a value that has been checked. */
void xstate_set_xcr0(uint64_t xcr0);

/* Saves `area` to memory if it is live on this CPU, which then holds nobody's: before another CPU takes it.
 */
void xstate_leave(void *area);
