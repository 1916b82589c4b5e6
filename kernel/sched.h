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
#include "kernel/timer.h"

#define SCHED_SLICE_US 10000 /* how long a task may run while others wait */
#define SCHED_WORK_US  100   /* the same while work waits: a guest need not exit by itself */

enum sched_state {
    SCHED_STOPPED, /* it does not run, whoever wakes it */
    SCHED_BLOCKED,
    SCHED_QUEUED,
    SCHED_RUNNING,
};

/* The three calls are set by its owner, the rest by sched_task_init(); it belongs to sched.c. */
struct sched_task {
    /* Runs until the task blocks or sched_should_yield(); true: it can run on. */
    bool (*run)(struct sched_task *task);
    /* The CPU turns to something else for a while: no more than that. */
    void (*leave)(struct sched_task *task);
    /* After leave(): another CPU may be next, so nothing of the task may stay in this one. */
    void (*put_away)(struct sched_task *task);

    struct sched_task *next;
    struct cpu *live_on; /* which CPU holds its state; NULL: none. Written by that CPU, read by any */
    unsigned cpu;        /* where it runs, or ran last */
    uint8_t state;       /* enum sched_state */
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

/* On the boot CPU, before all others. */
void sched_init(void);

/* Stopped, until sched_start(). */
void sched_task_init(struct sched_task *task);

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

/* Any CPU. */
void sched_queue_work(struct sched_work *work);

/* True when the running task should return from run(). Hot: one load. */
static inline bool sched_should_yield(void)
{
    return __atomic_load_n(&this_cpu()->yield, __ATOMIC_RELAXED);
}

/* This CPU's loop: never returns. */
_Noreturn void sched_loop(void);
