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

/* Its links are NULL. */
static inline void insert(struct timer_queue *queue, struct timer *timer, uint64_t deadline)
{
    struct timer *before = NULL, *after = queue->first;

    timer->deadline = deadline;
    if (likely(!after || deadline < after->deadline)) {
        queue->first = timer;
        queue->next = deadline;
    } else {
        do {
            before = after;
            after = after->next;
        } while (after && after->deadline <= deadline);
        before->next = timer;
    }
    timer->prev = before;
    timer->next = after;
    if (after)
        after->prev = timer;
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

static inline void place(struct timer_queue *queue, struct timer *timer, uint64_t deadline)
{
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
    insert(queue, timer, deadline);
}

static inline void arm_in(struct timer_queue *queue, struct timer *timer, uint64_t deadline)
{
    lock_take(&queue->lock);
    place(queue, timer, deadline);
    lock_release(&queue->lock);
}

/* Where it was it is not from now on, nor anywhere if it is to be cancelled. */
static __attribute__((noinline)) void arm_elsewhere(struct timer *timer, uint64_t deadline)
{
    timer_cancel(timer);
    if (deadline == TIMER_NEVER)
        return;
    timer->queue = timer_queue_here(timer->queue);
    arm_in(timer->queue, timer, deadline);
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    struct timer_queue *here = timer_queue_here(timer->queue);

    if (unlikely(deadline == TIMER_NEVER || timer->queue != here))
        arm_elsewhere(timer, deadline);
    else
        arm_in(here, timer, deadline);
}

/* NULL: none is due. Other CPUs only take timers away. */
static inline struct timer *take_due(struct timer_queue *queue, uint64_t now)
{
    struct timer *timer = NULL;

    if (queue->next > now)
        return NULL;
    lock_take(&queue->lock);
    if (likely(queue->next <= now)) {
        timer = queue->first;
        timer->deadline = TIMER_NEVER;
        set_first(queue, timer->next);
        if (timer->next)
            timer->next->prev = NULL;
        timer->next = NULL;
    }
    lock_release(&queue->lock);
    return timer;
}

void timer_queue_run(struct timer_queue *queue, uint64_t now)
{
    struct timer *timer;

    queue->floor = now + 1;
    while ((timer = take_due(queue, now)))
        timer->fire(timer);
    queue->floor = 0;
}
