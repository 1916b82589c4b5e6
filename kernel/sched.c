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
 * The lock is for all of this, and for the tasks' parts in it. Rank: after the locks of VMs' devices, before
 * those of timer queues.
 */
static struct {
    struct lock lock;
    struct share share;
    struct sched_work *work, **work_last;
    struct cpu *boot; /* does the work */
    bool begun;
} sched;

static struct sched_task *task_of(struct share_entity *entity)
{
    return entity ? container_of(entity, struct sched_task, share) : NULL;
}

/* --- Interrupts --- */

/* It was armed for an earlier turn, perhaps: see set_slice(). */
static void slice_over(struct timer *timer)
{
    struct cpu *cpu = container_of(timer, struct cpu, slice);

    if (tsc_now() >= cpu->slice_end)
        cpu->yield = true;
    else
        timer_arm(timer, cpu->slice_end); /* TIMER_NEVER, too */
}

/* A later end leaves the timer as it is: turns are often cut short, and then it is not touched at all. */
static inline void set_slice(struct cpu *cpu, uint64_t end)
{
    cpu->slice_end = end;
    if (end < cpu->slice.deadline)
        timer_arm(&cpu->slice, end);
}

static void timer_interrupt(void *context)
{
    struct cpu *cpu = this_cpu();

    (void)context;
    cpu->timer_programmed = cpu->lapic_deadline = TIMER_NEVER;
    timer_queue_run(&cpu->timers, tsc_now());
}

/* It has ended HLT or the guest's run; what else it is for is found by looking. */
static void kicked(void)
{
    if (this_cpu() == sched.boot)
        post_run();
}

static void kick(struct cpu *cpu)
{
    if (cpu != this_cpu())
        smp_kick(cpu);
}

/* Has a CPU come back to its loop. */
static inline void recall(struct cpu *cpu)
{
    __atomic_store_n(&cpu->yield, true, __ATOMIC_RELAXED);
    if (cpu != this_cpu())
        smp_kick(cpu);
    else if (cpu->live && cpu->live->running)
        cpu->live->interrupt(cpu->live);
}

static __attribute__((noinline)) void recall_all(uint64_t cpus)
{
    for (; cpus; cpus &= cpus - 1)
        recall(smp_cpu((unsigned)__builtin_ctzll(cpus)));
}

/* Under the lock, after whatever may want CPUs to look again. */
static inline void recall_wanted(void)
{
    uint64_t kicks = share_kicks(&sched.share);

    if (unlikely(kicks))
        recall_all(kicks);
}

void sched_init(void)
{
    sched.boot = this_cpu();
    sched.work_last = &sched.work;
    irq_bind(IRQ_VECTOR_TIMER, timer_interrupt, NULL);
    smp_on_kick(kicked);
}

void sched_begin(void)
{
    unsigned count = smp_online();

    share_init(&sched.share, count == 64 ? UINT64_MAX : BIT(count) - 1, tsc_hz() / 1000000);
    __atomic_store_n(&sched.begun, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < count; i++)
        kick(smp_cpu(i));
}

/* --- Tasks --- */

enum share_verdict sched_task_init(struct sched_task *task, const struct share_params *params)
{
    enum share_verdict verdict;

    task->stopped = true;
    task->running = task->woken = false;
    task->live_on = NULL;
    lock_take(&sched.lock);
    verdict = share_add(&sched.share, &task->share, params, tsc_now());
    lock_release(&sched.lock);
    return verdict;
}

enum share_verdict sched_edit(struct sched_task *task, const struct share_params *params)
{
    enum share_verdict verdict;

    lock_take(&sched.lock);
    verdict = share_edit(&sched.share, &task->share, params, tsc_now());
    recall_wanted();
    lock_release(&sched.lock);
    return verdict;
}

void sched_task_exit(struct sched_task *task)
{
    lock_take(&sched.lock);
    share_remove(&sched.share, &task->share, tsc_now());
    lock_release(&sched.lock);
}

void sched_usage(struct sched_task *task, struct sched_usage *out)
{
    const struct share_entity *share = &task->share;
    uint64_t now, since;

    lock_take(&sched.lock);
    now = tsc_now();
    since = share->state == SHARE_RUNNING ? sched.share.cpu[share->last].since : now;
    *out = (struct sched_usage){ .ran = share->ran + (now > since ? now - since : 0),
                                 .waited = share_waited(share, now),
                                 .turns = share->turns,
                                 .missed = share->missed,
                                 .now = now,
                                 .state = share->state,
                                 .stopped = task->stopped,
                                 .cpu = share->last,
                                 .params = share->params };
    lock_release(&sched.lock);
}

void sched_cpu_usage(unsigned cpu, struct sched_cpu_usage *out)
{
    const struct cpu *of = smp_cpu(cpu);

    lock_take(&sched.lock);
    out->now = tsc_now();
    out->idle = of->idle;
    if (of->idle_since && out->now > of->idle_since)
        out->idle += out->now - of->idle_since;
    out->task = task_of(sched.share.cpu[cpu].current);
    out->longest_work = of->longest_work;
    lock_release(&sched.lock);
}

void sched_wake(struct sched_task *task)
{
    lock_take(&sched.lock);
    if (task->running) {
        task->woken = true;
        kick(smp_cpu(task->cpu));
    } else if (!task->stopped && task->share.state == SHARE_SLEEPING) {
        share_wake(&sched.share, &task->share, tsc_now());
        recall_wanted();
    }
    lock_release(&sched.lock);
}

void sched_start(struct sched_task *task)
{
    lock_take(&sched.lock);
    task->stopped = false;
    lock_release(&sched.lock);
    sched_wake(task);
}

/* On the CPU that has it. */
static void put_away_live(struct cpu *cpu)
{
    struct sched_task *task = cpu->live;

    cpu->live = NULL;
    if (!task)
        return;
    task->put_away(task);
    __atomic_store_n(&task->live_on, NULL, __ATOMIC_RELEASE);
}

/* Until the CPU that ran it has put it away, which it is doing, or does when it looks. */
static inline void wait_until_away(const struct sched_task *task)
{
    struct cpu *holder = __atomic_load_n(&task->live_on, __ATOMIC_ACQUIRE);

    if (likely(!holder))
        return;
    kick(holder);
    while (__atomic_load_n(&task->live_on, __ATOMIC_ACQUIRE))
        cpu_pause();
}

void sched_stop(struct sched_task *task)
{
    struct cpu *holder;

    lock_take(&sched.lock);
    task->stopped = true;
    share_sleep(&sched.share, &task->share, tsc_now());
    holder = task->running ? smp_cpu(task->cpu) : __atomic_load_n(&task->live_on, __ATOMIC_RELAXED);
    if (holder)
        recall(holder);
    recall_wanted();
    lock_release(&sched.lock);
    if (this_cpu()->live == task)
        put_away_live(this_cpu()); /* another CPU may be waiting for that, too */
    while (__atomic_load_n(&task->running, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&task->live_on, __ATOMIC_ACQUIRE))
        cpu_pause();
}

void sched_yield(struct sched_task *to)
{
    struct cpu *cpu = this_cpu();

    share_yield(&sched.share, cpu->index, to ? &to->share : NULL);
    cpu->yield = true;
    cpu->live->interrupt(cpu->live);
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
        recall(sched.boot);
    }
    lock_release(&sched.lock);
}

static bool work_waits(const struct cpu *cpu)
{
    return __atomic_load_n(&sched.work, __ATOMIC_RELAXED) && cpu == sched.boot;
}

static struct sched_work *take_work(void)
{
    struct sched_work *work = sched.work;

    sched.work = work->next;
    if (!sched.work)
        sched.work_last = &sched.work;
    work->queued = false;
    return work;
}

/* Idle time lasts from the choice of nothing to that of something, or to work. */
static void end_idle(struct cpu *cpu, uint64_t now)
{
    if (now > cpu->idle_since)
        cpu->idle += now - cpu->idle_since;
    cpu->idle_since = 0;
}

/*
 * One step of the first piece of work; what has more to do goes to the end. Then interrupts are taken, which
 * else might not be for long: work can come one after the other, and guests in between be short. The lock is
 * held before and after. The work may stop and destroy any task: none is at stake here.
 */
static void do_work(struct cpu *cpu)
{
    struct sched_work *work = take_work();
    uint64_t start = tsc_now();

    if (cpu->idle_since)
        end_idle(cpu, start);
    put_away_live(cpu);
    share_leave(&sched.share, cpu->index, start);
    recall_wanted();
    lock_release(&sched.lock);
    if (work->step(work))
        sched_queue_work(work);
    cpu->longest_work = max_u64(cpu->longest_work, tsc_now() - start);
    cpu_take_interrupts();
    cpu->interrupts_taken = tsc_now();
    lock_take(&sched.lock);
}

/* --- A CPU's loop --- */

/* The task that ran is done, or could go on. */
static void account(struct sched_task *ran, bool again, uint64_t now)
{
    if (!again && !ran->woken)
        share_sleep(&sched.share, &ran->share, now);
    __atomic_store_n(&ran->running, false, __ATOMIC_RELEASE);
}

/* What this CPU runs next; NULL: nothing, it is idle. */
static struct sched_task *choose(struct cpu *cpu, uint64_t now)
{
    unsigned index = cpu->index;
    struct sched_task *task = task_of(share_pick(&sched.share, index, now));
    uint64_t until = share_deadline(&sched.share, index, now);

    if (task) {
        if (cpu->idle_since)
            end_idle(cpu, now);
        task->running = true;
        task->woken = false;
        task->cpu = index;
    } else if (!cpu->idle_since) {
        cpu->idle_since = now;
    }
    set_slice(cpu, until);
    recall_wanted();
    return task;
}

static struct sched_task *next_task(struct cpu *cpu, struct sched_task *ran, bool again)
{
    struct sched_task *task;
    bool work;
    uint64_t now;

    cpu->yield = false;
    lock_take(&sched.lock);
    now = tsc_now();
    if (ran)
        account(ran, again, now);
    work = work_waits(cpu);
    if (unlikely(work)) {
        do_work(cpu);
        now = tsc_now();
    }
    task = choose(cpu, now);
    if (unlikely(work) && task && work_waits(cpu))
        set_slice(cpu, min_u64(cpu->slice_end, now + tsc_hz() / 1000000 * SCHED_WORK_US));
    lock_release(&sched.lock);
    return task;
}

/* A sleeping task's state stays here, since it may go on here; a stopped one's must not. */
static bool may_stay(const struct cpu *cpu)
{
    return share_resident(&sched.share, cpu->index) == &cpu->live->share && !cpu->live->stopped;
}

static bool run_task(struct cpu *cpu, struct sched_task *task)
{
    if (cpu->live != task) {
        wait_until_away(task);
        cpu->live = task;
        __atomic_store_n(&task->live_on, cpu, __ATOMIC_RELAXED);
    }
    return task->run(task);
}

static void idle(struct cpu *cpu)
{
    if (cpu->live)
        cpu->live->leave(cpu->live);
    lapic_timer_program(timer_queue_next(&cpu->timers));
    cpu_idle();
    cpu->interrupts_taken = tsc_now();
}

_Noreturn void sched_loop(void)
{
    struct cpu *cpu = this_cpu();
    struct sched_task *task = NULL;
    bool again = false;

    timer_init(&cpu->slice, &cpu->timers, slice_over);
    while (!__atomic_load_n(&sched.begun, __ATOMIC_ACQUIRE))
        cpu_idle();
    for (;;) {
        task = next_task(cpu, task, again);
        if (cpu->live && cpu->live != task && (task || !may_stay(cpu)))
            put_away_live(cpu);
        if (task)
            again = run_task(cpu, task);
        else if (!work_waits(cpu))
            idle(cpu);
    }
}
