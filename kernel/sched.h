/*
 * Who runs on the CPUs. A task is a vCPU or anything else that has to run for long and can stop at once when
 * asked; which one runs where and for how long is said by kernel/share.c, under one lock. A task's state
 * stays on the CPU that ran it last until that CPU turns to another task.
 *
 * Work is what the hypervisor itself has to do at leisure. It is done by the boot CPU, between tasks.
 */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/percpu.h"
#include "kernel/share.h"
#include "kernel/timer.h"

#define SCHED_WORK_US 100 /* how long a task may run while work waits: a guest need not exit by itself */

/* The calls are set by its owner, the rest by sched_task_init(); it belongs to sched.c. */
struct sched_task {
    struct share_entity share; /* first: so each is found from the other for nothing */

    /* Runs until the task blocks or sched_should_yield(); true: it can run on. */
    bool (*run)(struct sched_task *task);
    /* The CPU turns to something else for a while: no more than that. */
    void (*leave)(struct sched_task *task);
    /* The same for good: another CPU may be next, so nothing of the task may stay in this one. */
    void (*put_away)(struct sched_task *task);
    /* It runs on this CPU, in the middle of something: it is to return from run() as soon as that is done. */
    void (*interrupt)(struct sched_task *task);

    struct cpu *live_on; /* which CPU holds its state; NULL: none. Written by that CPU, read by any */
    unsigned cpu;        /* where it runs, or ran last */
    bool stopped;        /* it does not run, whoever wakes it */
    bool running;        /* a CPU has chosen it and not come back to account for it */
    bool woken;          /* since it was last told to run: it may not know */
};

/* Work that is done in small steps (at most about 100 us each). */
struct sched_work {
    struct sched_work *next;
    bool queued;
    /* One step; true: there is more to do. */
    bool (*step)(struct sched_work *work);
};

/* On the boot CPU: before interrupts are taken; and once the other CPUs are online, which wait for it. */
void sched_init(void);
void sched_begin(void);

/* Stopped, until sched_start(). Anything but SHARE_OK: there is no such task. */
enum share_verdict sched_task_init(struct sched_task *task, const struct share_params *params) __must_check;

/* Other parameters, in any state; anything but SHARE_OK: nothing changed. Any CPU. */
enum share_verdict sched_edit(struct sched_task *task, const struct share_params *params) __must_check;

/* A stopped task is no more. */
void sched_task_exit(struct sched_task *task);

/* What it has used and waited for so far, in TSC ticks, the present turn or wait included. Any CPU. */
struct sched_usage {
    uint64_t ran, waited, turns, missed;
    uint64_t now; /* the TSC then */
    enum share_state state;
    bool stopped;
    unsigned cpu; /* where it runs, or ran last */
    struct share_params params;
};
void sched_usage(struct sched_task *task, struct sched_usage *out);

/* What a CPU did so far, in TSC ticks. Any CPU. */
struct sched_cpu_usage {
    uint64_t idle, now;
    const struct sched_task *task; /* what it runs; only to be compared. NULL: nothing */
    uint64_t longest_work;         /* the longest step of work that it has done */
};
void sched_cpu_usage(unsigned cpu, struct sched_cpu_usage *out);

/* It may run from now on, and does so first of all. Any CPU. */
void sched_start(struct sched_task *task);

/*
 * When this returns the task does not run, none of its state is in any CPU, and it stays so until
 * sched_start(). Waits for the CPU that has it. Boot CPU only, not from inside an exit, with no lock held.
 */
void sched_stop(struct sched_task *task);

/* The task has something to do: it is queued; if it runs, its CPU is interrupted so that it looks. Any CPU.
 */
void sched_wake(struct sched_task *task);

/* When this returns every CPU has left the interrupt, timer or exit that it was in. As sched_stop(). */
void sched_barrier(void);

/* The running task can do nothing of use before another one has run: `to`, or any if that is NULL. From an
 * exit of it. */
void sched_yield(struct sched_task *to);

/* Any CPU. */
void sched_queue_work(struct sched_work *work);

/* True when the running task should return from run(). Hot: one load. */
static inline bool sched_should_yield(void)
{
    return __atomic_load_n(&this_cpu()->yield, __ATOMIC_RELAXED);
}

/* This CPU's loop: never returns. */
_Noreturn void sched_loop(void);
