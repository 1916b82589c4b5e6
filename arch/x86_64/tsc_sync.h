/*
 * Whether two CPUs' time-stamp counters show the same: one clock for the hypervisor and for guests whose
 * vCPUs move. Each side reads its counter between messages of the other, which bounds the difference from
 * both ends.
 */
#pragma once

#include "lib/types.h"

/* The difference, this other CPU's minus the boot CPU's, lies in [low, high] ticks. */
struct tsc_skew {
    int64_t low, high;
    bool corrected; /* it was not 0, and IA32_TSC_ADJUST was written */
};

/*
 * Boot CPU: measures the CPU that is in tsc_sync_answer(), corrects it where it can, and lets it go. 0;
 * -ERANGE: the counters differ, and could not be made the same; -ETIMEDOUT: no answer.
 */
int tsc_sync_measure(struct tsc_skew *skew) __must_check;

/* The other CPU: answers until the boot CPU has finished. */
void tsc_sync_answer(void);
