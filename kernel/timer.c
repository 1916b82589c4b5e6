/* One-shot timers: a doubly linked list in order of deadline. A CPU has few, so the walk of an insertion is
 * short. */
#include "kernel/timer.h"

void timer_queue_init(struct timer_queue *queue)
{
    *queue = (struct timer_queue){ .next = TIMER_NEVER };
}

void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(struct timer *))
{
    *timer = (struct timer){ .deadline = TIMER_NEVER, .queue = queue, .fire = fire };
}

static void set_first(struct timer_queue *queue, struct timer *timer)
{
    queue->first = timer;
    queue->next = timer ? timer->deadline : TIMER_NEVER;
}

static void insert(struct timer_queue *queue, struct timer *timer)
{
    struct timer *before = NULL, *after = queue->first;

    while (after && after->deadline <= timer->deadline) {
        before = after;
        after = after->next;
    }
    timer->prev = before;
    timer->next = after;
    if (after)
        after->prev = timer;
    if (before)
        before->next = timer;
    else
        set_first(queue, timer);
}

void timer_cancel(struct timer *timer)
{
    if (!timer_armed(timer))
        return;
    timer->deadline = TIMER_NEVER;
    if (timer->next)
        timer->next->prev = timer->prev;
    if (timer->prev)
        timer->prev->next = timer->next;
    else
        set_first(timer->queue, timer->next);
    timer->next = timer->prev = NULL;
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    timer_cancel(timer);
    deadline = max_u64(deadline, timer->queue->floor);
    if (deadline == TIMER_NEVER)
        return;
    timer->deadline = deadline;
    insert(timer->queue, timer);
}

void timer_queue_run(struct timer_queue *queue, uint64_t now)
{
    now = min_u64(now, TIMER_NEVER - 1);
    queue->floor = now + 1;
    while (queue->next <= now) {
        struct timer *timer = queue->first;

        timer_cancel(timer);
        timer->fire(timer);
    }
    queue->floor = 0;
}
