/* kernel/timer_here.h for the host, where timers stay in the queue that they were made for: host_timers, if for
 * none. */
#pragma once

struct timer_queue;

extern struct timer_queue host_timers;

static inline struct timer_queue *timer_queue_here(struct timer_queue *last)
{
    return last ? last : &host_timers;
}
