/* One-shot timers: a doubly linked list in order of deadline. A CPU has few, so the walk of an insertion is
 * short. */
#include "kernel/timer.h"
#include "kernel/timer_here.h"

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

/* Under the queue's lock, as all that touches a list. */
static void take_out(struct timer *timer)
{
    timer->deadline = TIMER_NEVER;
    if (timer->next)
        timer->next->prev = timer->prev;
    if (timer->prev)
        timer->prev->next = timer->next;
    else
        set_first(timer->queue, timer->next);
    timer->next = timer->prev = NULL;
}

void timer_cancel(struct timer *timer)
{
    struct timer_queue *queue = timer->queue;

    if (!timer_armed(timer)) /* and it will not be: only its owner arms it */
        return;
    lock_take(&queue->lock);
    if (timer_armed(timer)) /* its CPU may have been about to fire it */
        take_out(timer);
    lock_release(&queue->lock);
}

/* An armed timer that `deadline` leaves between the same neighbours: the usual case, where few timers are
 * armed. */
static bool keeps_place(const struct timer *timer, uint64_t deadline)
{
    return (!timer->prev || timer->prev->deadline <= deadline) &&
           (!timer->next || timer->next->deadline > deadline);
}

static void place(struct timer *timer, uint64_t deadline)
{
    struct timer_queue *queue = timer->queue;

    deadline = max_u64(deadline, queue->floor);
    if (timer_armed(timer)) {
        if (keeps_place(timer, deadline)) {
            timer->deadline = deadline;
            if (!timer->prev)
                queue->next = deadline;
            return;
        }
        take_out(timer);
    }
    timer->deadline = deadline;
    insert(queue, timer);
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    struct timer_queue *here = timer_queue_here(timer->queue);

    if (unlikely(deadline == TIMER_NEVER || timer->queue != here))
        timer_cancel(timer);
    if (unlikely(deadline == TIMER_NEVER))
        return;
    timer->queue = here;
    lock_take(&here->lock);
    place(timer, deadline);
    lock_release(&here->lock);
}

/* Other CPUs only take timers away: NULL if one just did. */
static struct timer *take_due(struct timer_queue *queue, uint64_t now)
{
    struct timer *timer;

    lock_take(&queue->lock);
    timer = queue->next <= now ? queue->first : NULL;
    if (timer)
        take_out(timer);
    lock_release(&queue->lock);
    return timer;
}

void timer_queue_run(struct timer_queue *queue, uint64_t now)
{
    now = min_u64(now, TIMER_NEVER - 1);
    queue->floor = now + 1;
    while (queue->next <= now) {
        struct timer *timer = take_due(queue, now);

        if (likely(timer))
            timer->fire(timer);
    }
    queue->floor = 0;
}
