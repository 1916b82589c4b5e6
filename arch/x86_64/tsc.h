/* The time-stamp counter, the one clock of the hypervisor. */
#pragma once

#include "lib/types.h"

static __always_inline uint64_t tsc_now(void)
{
    uint64_t low, high; /* 64-bit mode clears the high halves of both registers */

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return high << 32 | low;
}

/* Read behind everything that comes before it in the program, and before everything behind. */
static inline uint64_t tsc_ordered(void)
{
    uint64_t now;

    __asm__ volatile("mfence; lfence" : : : "memory");
    now = tsc_now();
    __asm__ volatile("lfence" : : : "memory");
    return now;
}

/* Ticks per second, measured or told at start by tsc_init(); never 0 after it. */
uint64_t tsc_hz(void);

/*
 * Finds the frequency: CPUID 0x15/0x16, else a hypervisor's CPUID 0x40000010, checked against HPET, PM timer
 * or PIT (the first that is there), whose measurement counts where they differ by more than 1 %. Logs the
 * source and the result; panics if there is none. Needs ACPI tables parsed. Boot CPU, once.
 */
void tsc_init(void);

/* Busy-waits; for device start-up only. Works only after tsc_init(). */
void tsc_delay_us(unsigned us);
