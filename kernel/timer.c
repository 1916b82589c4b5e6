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

/* An armed timer that `deadline` leaves between the same neighbours: the usual case, where few timers are
 * armed. */
static bool keeps_place(const struct timer *timer, uint64_t deadline)
{
    return (!timer->prev || timer->prev->deadline <= deadline) &&
           (!timer->next || timer->next->deadline > deadline);
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    struct timer_queue *queue = timer->queue;

    deadline = max_u64(deadline, queue->floor);
    if (timer_armed(timer) && (deadline == TIMER_NEVER || !keeps_place(timer, deadline)))
        timer_cancel(timer);
    if (deadline == TIMER_NEVER)
        return;
    if (timer_armed(timer)) {
        timer->deadline = deadline;
        if (!timer->prev)
            queue->next = deadline;
        return;
    }
    timer->deadline = deadline;
    insert(queue, timer);
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
