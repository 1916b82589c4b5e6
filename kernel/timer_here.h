/* Where a timer is armed: on the CPU that runs. Host tests have a file of this name with queues of their own.
 */
#pragma once

#include "arch/x86_64/percpu.h"

static inline struct timer_queue *timer_queue_here(struct timer_queue *last)
{
    (void)last;
    return &this_cpu()->timers;
}
