#include "kernel/sched.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "kernel/irq.h"
#include "kernel/panic.h"

/* One CPU's round. Touched by its own CPU only. */
static struct {
    struct sched_task *first, **last;
    struct sched_task *live; /* whose state is on the CPU */
    struct sched_work *work, **work_last;
    struct timer slice;
    bool yield;
} sched;

static void slice_over(struct timer *timer)
{
    (void)timer;
    sched.yield = true;
}

static void timer_interrupt(void *context)
{
    struct cpu *cpu = this_cpu();

    (void)context;
    cpu->timer_programmed = TIMER_NEVER;
    timer_queue_run(&cpu->timers, tsc_now());
}

void sched_init(void)
{
    sched.last = &sched.first;
    sched.work_last = &sched.work;
    timer_init(&sched.slice, &this_cpu()->timers, slice_over);
    irq_bind(IRQ_VECTOR_TIMER, timer_interrupt, NULL);
}

void sched_wake(struct sched_task *task)
{
    if (task->queued)
        return;
    task->queued = true;
    task->next = NULL;
    *sched.last = task;
    sched.last = &task->next;
    if (sched.live && !timer_armed(&sched.slice))
        timer_arm(&sched.slice, tsc_now() + tsc_hz() / 1000000 * SCHED_SLICE_US);
}

static void unlink_task(struct sched_task *task)
{
    struct sched_task **at = &sched.first;

    while (*at && *at != task)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = task->next;
    if (sched.last == &task->next)
        sched.last = at;
}

static void leave_live(void)
{
    struct sched_task *task = sched.live;

    sched.live = NULL;
    if (task)
        task->leave(task);
}

void sched_remove(struct sched_task *task)
{
    if (sched.live == task)
        leave_live();
    if (task->queued)
        unlink_task(task);
    task->queued = false;
}

void sched_queue_work(struct sched_work *work)
{
    if (work->queued)
        return;
    work->queued = true;
    work->next = NULL;
    *sched.work_last = work;
    sched.work_last = &work->next;
    sched.yield = true;
}

bool sched_should_yield(void)
{
    return sched.yield;
}

void sched_yield_soon(void)
{
    sched.yield = true;
}

/*
 * One step of the first piece of work; what has more to do goes to the end. Then interrupts are taken, which
 * else might not be for long: work can come one after the other, and guests in between be short.
 */
static void run_work(void)
{
    struct sched_work *work = sched.work;

    leave_live();
    sched.work = work->next;
    if (!sched.work)
        sched.work_last = &sched.work;
    work->queued = false;
    if (work->step(work))
        sched_queue_work(work);
    cpu_take_interrupts();
}

static void run_task(struct sched_task *task)
{
    sched.first = task->next;
    if (!sched.first)
        sched.last = &sched.first;
    if (sched.live != task)
        leave_live();
    sched.live = task;
    sched.yield = sched.work != NULL;
    timer_cancel(&sched.slice);
    if (sched.work || sched.first)
        timer_arm(&sched.slice,
                  tsc_now() + tsc_hz() / 1000000 * (sched.work ? SCHED_WORK_US : SCHED_SLICE_US));
    task->queued = false;
    if (task->run(task))
        sched_wake(task);
}

static void idle(void)
{
    struct cpu *cpu = this_cpu();

    leave_live();
    timer_cancel(&sched.slice);
    lapic_timer_program(timer_queue_next(&cpu->timers));
    cpu_idle();
}

_Noreturn void sched_loop(void)
{
    for (;;) {
        if (sched.work)
            run_work();
        if (sched.first)
            run_task(sched.first);
        else if (!sched.work)
            idle();
    }
}
