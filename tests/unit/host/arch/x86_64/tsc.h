/* Host twin of the time-stamp counter: a variable that tests wind. */
#pragma once

#include "lib/types.h"

extern uint64_t host_tsc;

static inline uint64_t tsc_now(void)
{
    return host_tsc;
}

uint64_t tsc_hz(void);
void tsc_delay_us(unsigned us); /* winds it */
