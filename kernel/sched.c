#include "kernel/sched.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "kernel/irq.h"
#include "kernel/lock.h"
#include "kernel/panic.h"
#include "kernel/post.h"

/*
 * The lock is for all of this, and for the states of tasks. Rank: after the locks of VMs' devices, before
 * those of timer queues.
 */
static struct {
    struct lock lock;
    struct sched_task *first, **last;
    struct sched_work *work, **work_last;
    struct cpu *boot; /* does the work */
    uint64_t idle;    /* bit n: CPU n halts, and nobody has woken it yet */
} sched;

/* --- Interrupts --- */

static void slice_over(struct timer *timer)
{
    container_of(timer, struct cpu, slice)->yield = true;
}

static void timer_interrupt(void *context)
{
    struct cpu *cpu = this_cpu();

    (void)context;
    cpu->timer_programmed = TIMER_NEVER;
    timer_queue_run(&cpu->timers, tsc_now());
}

/* Someone waits for a CPU, and this one runs: not for ever. */
static void bound_slice(struct cpu *cpu)
{
    if (cpu->live && cpu->live->state == SCHED_RUNNING && !timer_armed(&cpu->slice))
        timer_arm(&cpu->slice, tsc_now() + tsc_hz() / 1000000 * SCHED_SLICE_US);
}

/* A kick has ended HLT or the guest's run; what for is found by looking. */
static void kicked(void)
{
    struct cpu *cpu = this_cpu();

    if (cpu->index == 0)
        post_run();
    if (__atomic_load_n(&sched.first, __ATOMIC_RELAXED))
        bound_slice(cpu);
}

static void kick(unsigned index)
{
    if (index != this_cpu()->index)
        smp_kick(smp_cpu(index));
}

void sched_init(void)
{
    sched.boot = this_cpu();
    sched.last = &sched.first;
    sched.work_last = &sched.work;
    irq_bind(IRQ_VECTOR_TIMER, timer_interrupt, NULL);
    smp_on_kick(kicked);
}

/* --- The queue; under the lock --- */

static void append(struct sched_task *task)
{
    task->state = SCHED_QUEUED;
    task->next = NULL;
    *sched.last = task;
    sched.last = &task->next;
}

static void unlink_task(struct sched_task *task)
{
    struct sched_task **at = &sched.first;

    while (*at != task)
        at = &(*at)->next;
    *at = task->next;
    if (sched.last == &task->next)
        sched.last = at;
}

/* The CPU that is to look, now that the task is queued: -1 if there is none to disturb. */
static int who_looks(const struct sched_task *task)
{
    uint64_t idle = sched.idle;

    if (idle & BIT(task->cpu))
        return (int)task->cpu;
    if (idle)
        return __builtin_ctzll(idle);
    return (int)task->cpu;
}

static void enqueue(struct sched_task *task)
{
    int cpu;

    append(task);
    cpu = who_looks(task);
    sched.idle &= ~BIT((unsigned)cpu);
    if ((unsigned)cpu == this_cpu()->index)
        bound_slice(this_cpu());
    else
        kick((unsigned)cpu);
}

/* --- Tasks --- */

void sched_task_init(struct sched_task *task)
{
    task->state = SCHED_STOPPED;
    task->live_on = NULL;
    task->running = task->woken = false;
    task->cpu = 0;
}

void sched_wake(struct sched_task *task)
{
    lock_take(&sched.lock);
    if (task->state == SCHED_BLOCKED) {
        enqueue(task);
    } else if (task->state == SCHED_RUNNING) {
        task->woken = true;
        kick(task->cpu);
    }
    lock_release(&sched.lock);
}

void sched_start(struct sched_task *task)
{
    lock_take(&sched.lock);
    if (task->state == SCHED_STOPPED)
        enqueue(task);
    lock_release(&sched.lock);
}

/* On the CPU that has it. */
static void put_away_live(struct cpu *cpu)
{
    struct sched_task *task = cpu->live;

    cpu->live = NULL;
    if (!task)
        return;
    task->leave(task);
    task->put_away(task);
    __atomic_store_n(&task->live_on, NULL, __ATOMIC_RELEASE);
}

static void leave_live(struct cpu *cpu)
{
    if (cpu->live)
        cpu->live->leave(cpu->live);
}

/* Until the CPU that ran it has put it away, which it is doing, or does when it looks. */
static void wait_until_away(const struct sched_task *task)
{
    const struct cpu *holder = __atomic_load_n(&task->live_on, __ATOMIC_ACQUIRE);

    if (holder)
        kick(holder->index);
    while (__atomic_load_n(&task->live_on, __ATOMIC_ACQUIRE))
        cpu_pause();
}

void sched_stop(struct sched_task *task)
{
    struct cpu *holder;

    lock_take(&sched.lock);
    if (task->state == SCHED_QUEUED)
        unlink_task(task);
    task->state = SCHED_STOPPED;
    holder = task->running ? smp_cpu(task->cpu) : __atomic_load_n(&task->live_on, __ATOMIC_RELAXED);
    if (holder)
        __atomic_store_n(&holder->yield, true, __ATOMIC_RELAXED);
    lock_release(&sched.lock);
    if (this_cpu()->live == task)
        put_away_live(this_cpu()); /* another CPU may be waiting for that, too */
    if (holder)
        kick(holder->index);
    while (__atomic_load_n(&task->running, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&task->live_on, __ATOMIC_ACQUIRE))
        cpu_pause();
}

static void nothing(void *arg)
{
    (void)arg;
}

/* A CPU takes the call between exits, in its loop or from idleness, and nowhere else. */
void sched_barrier(void)
{
    for (unsigned i = 0; i < smp_online(); i++)
        smp_call(smp_cpu(i), nothing, NULL);
}

/* --- Work --- */

void sched_queue_work(struct sched_work *work)
{
    lock_take(&sched.lock);
    if (!work->queued) {
        work->queued = true;
        work->next = NULL;
        *sched.work_last = work;
        sched.work_last = &work->next;
        __atomic_store_n(&sched.boot->yield, true, __ATOMIC_RELAXED);
        kick(sched.boot->index);
    }
    lock_release(&sched.lock);
}

static struct sched_work *take_work(void)
{
    struct sched_work *work;

    lock_take(&sched.lock);
    work = sched.work;
    if (work) {
        sched.work = work->next;
        if (!sched.work)
            sched.work_last = &sched.work;
        work->queued = false;
    }
    lock_release(&sched.lock);
    return work;
}

/*
 * One step of the first piece of work; what has more to do goes to the end. Then interrupts are taken, which
 * else might not be for long: work can come one after the other, and guests in between be short.
 */
static void run_work(struct cpu *cpu)
{
    struct sched_work *work = take_work();

    leave_live(cpu);
    if (work && work->step(work))
        sched_queue_work(work);
    cpu_take_interrupts();
}

/* --- A CPU's loop --- */

/* The task that ran goes to the end of the queue, or to sleep. */
static void account(struct sched_task *ran, bool again)
{
    __atomic_store_n(&ran->running, false, __ATOMIC_RELEASE);
    if (ran->state == SCHED_STOPPED)
        return;
    if (again || ran->woken)
        append(ran);
    else
        ran->state = SCHED_BLOCKED;
}

/* What this CPU runs next; NULL: nothing, it is idle. */
static struct sched_task *choose(struct cpu *cpu)
{
    struct sched_task *task = sched.first;

    if (!task) {
        sched.idle |= BIT(cpu->index);
        return NULL;
    }
    sched.idle &= ~BIT(cpu->index);
    sched.first = task->next;
    if (!sched.first)
        sched.last = &sched.first;
    task->state = SCHED_RUNNING;
    task->running = true;
    task->woken = false;
    task->cpu = cpu->index;
    return task;
}

static void set_slice(struct cpu *cpu)
{
    bool work = cpu->index == 0 && __atomic_load_n(&sched.work, __ATOMIC_RELAXED);

    timer_cancel(&cpu->slice);
    if (work || __atomic_load_n(&sched.first, __ATOMIC_RELAXED))
        timer_arm(&cpu->slice, tsc_now() + tsc_hz() / 1000000 * (work ? SCHED_WORK_US : SCHED_SLICE_US));
}

static bool run_task(struct cpu *cpu, struct sched_task *task)
{
    if (cpu->live != task) {
        wait_until_away(task);
        cpu->live = task;
        __atomic_store_n(&task->live_on, cpu, __ATOMIC_RELAXED);
    }
    set_slice(cpu);
    return task->run(task);
}

static void idle(struct cpu *cpu)
{
    leave_live(cpu);
    timer_cancel(&cpu->slice);
    lapic_timer_program(timer_queue_next(&cpu->timers));
    cpu_idle();
}

/*
 * Accounts for the task that ran, does a step of work if there is any, and says what runs next. Between lies
 * a point at which nothing of a task is at stake, so that work may stop and destroy any of them.
 */
static struct sched_task *next_task(struct cpu *cpu, struct sched_task *ran, bool again)
{
    struct sched_task *task;

    cpu->yield = false;
    lock_take(&sched.lock);
    if (ran)
        account(ran, again);
    if (cpu->index == 0 && sched.work) {
        lock_release(&sched.lock);
        run_work(cpu);
        lock_take(&sched.lock);
    }
    task = choose(cpu);
    lock_release(&sched.lock);
    return task;
}

_Noreturn void sched_loop(void)
{
    struct cpu *cpu = this_cpu();
    struct sched_task *task = NULL;
    bool again = false;

    timer_init(&cpu->slice, &cpu->timers, slice_over);
    for (;;) {
        task = next_task(cpu, task, again);
        /* A sleeping task's state stays here, for it may go on here; a stopped one's must not. */
        if (cpu->live && cpu->live != task && (task || cpu->live->state != SCHED_BLOCKED))
            put_away_live(cpu);
        if (task)
            again = run_task(cpu, task);
        else if (cpu->index != 0 || !__atomic_load_n(&sched.work, __ATOMIC_RELAXED))
            idle(cpu);
    }
}
