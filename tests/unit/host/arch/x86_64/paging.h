/* The host's twin of the direct map: "physical" address x is host_memory + x. */
#pragma once

#include "lib/types.h"

#define PERCPU_BASE UINT64_C(0xffffd00000000000) /* for percpu.h; no host has anything there */

/* Set by the test; NULL makes physical addresses the host's own. */
extern uint8_t *host_memory;

static inline void *phys_to_virt(hpa_t at)
{
    return (void *)((uintptr_t)host_memory + at.raw);
}

static inline hpa_t virt_to_phys(const void *at)
{
    return hpa((uint64_t)((uintptr_t)at - (uintptr_t)host_memory));
}
