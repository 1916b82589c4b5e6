/*
 * Who runs on a CPU: a round of tasks, each run for a slice. A task is a vCPU or anything else that
 * has to run for long and can stop at once when asked. A queue belongs to its CPU.
 */
#pragma once

#include "lib/types.h"
#include "kernel/timer.h"

#define SCHED_SLICE_US 10000 /* how long a task may run while others wait */
#define SCHED_WORK_US  100   /* the same while work waits: a guest need not exit by itself */

/* Initialised by its owner; `next` and `queued` belong to sched.c. */
struct sched_task {
    struct sched_task *next;
    bool queued;
    /* Runs until the task blocks or sched_should_yield(); true: it can run on, put it at the end of the
     * round. */
    bool (*run)(struct sched_task *task);
    /* The CPU turns to something else: the task's state must leave it. */
    void (*leave)(struct sched_task *task);
};

/* Work that is done in small steps (at most about 100 us each) between tasks. */
struct sched_work {
    struct sched_work *next;
    bool queued;
    /* One step; true: there is more to do. */
    bool (*step)(struct sched_work *work);
};

void sched_init(void);

/* The task can run: does nothing if it is queued or running. This CPU only. */
void sched_wake(struct sched_task *task);

/* The task must not run again until woken; its leave() has been called when this returns. Not from its own
 * run(). */
void sched_remove(struct sched_task *task);

void sched_queue_work(struct sched_work *work);

/* True when the running task should return from run(). Hot: one load. */
bool sched_should_yield(void);

/* Asks the running task to yield at its next chance. */
void sched_yield_soon(void);

/* The CPU loop: never returns. */
_Noreturn void sched_loop(void);
