/*
 * All VMs of this machine: from the config to running machines, and what happens when one stops. Called by
 * the boot CPU only: from kernel/main.c at start, then from work items and the shell.
 */
#pragma once

#include "lib/types.h"
#include "boot/bootinfo.h"
#include "guests/machine.h"
#include "guests/supervise.h"
#include "kernel/config.h"

enum managed_state {
    MANAGED_BROKEN,  /* an error in its config: cannot be started */
    MANAGED_STOPPED, /* never started, or it stopped */
    MANAGED_HELD,    /* autostart will start it, after others */
    MANAGED_WAITING, /* it crashed and starts again when `restart` fires */
    MANAGED_STARTING,
    MANAGED_RUNNING,
    MANAGED_PAUSED, /* its vCPUs stand still */
};

/* One VM of the config. */
struct managed {
    const struct config_vm *config;
    struct config_share share; /* of the CPUs: as the config says until it is edited */
    struct machine *machine;   /* NULL: not started yet, or its images were refused */
    enum managed_state state;
    char last[200]; /* why it is not running, in a few words; empty before the first start */
    bool has_run;
    unsigned capsule; /* the report of its crash that is being made (capsule.h); 0: none */
    struct sched_work work;
    struct supervise supervise;
    struct timer restart;
    /* Of a console on a port of its own; set before the first start. */
    void (*output_ready)(void *vm); /* gets what console.h says; NULL: the wire */
    char unfit[160];                /* why it cannot be had, and so not the VM; empty: it can */
};

/* Reads plinth.toml among the boot modules and says what is wrong with it. Nothing is started yet. */
void manager_init(const struct bootinfo *info, uint64_t handoff_tsc);

/* Starts the VMs whose config says autostart. */
void manager_autostart(void);

unsigned manager_count(void);
struct managed *manager_get(unsigned index);    /* index < manager_count() */
struct managed *manager_find(const char *name); /* NULL: there is none */

/* Starts a stopped VM, or one that waits for its start; the rest goes on in the background. -EINVAL, -EBUSY
 * or -ENOMEM after a line in the log. */
int manager_start(struct managed *vm);

/* Stops a running one at once, like a pulled plug, and ends all waiting for a start. -EINVAL if it is
 * stopped. */
int manager_destroy(struct managed *vm);

/* Presses its power button; one that is paused sees it when resumed. -EINVAL if it is not running. */
int manager_shutdown(struct managed *vm);

/* Starts it anew from wiped memory. -EINVAL if it is not running. */
int manager_reset(struct managed *vm);

/* Its vCPUs stand still, and go on. Its time goes on. -EINVAL if it is not running, or not paused. */
int manager_pause(struct managed *vm);
int manager_resume(struct managed *vm);

/*
 * Another hold on the CPUs, in any state, until Plinth itself is restarted. NULL; or why not, a sentence that
 * stays until the next call: nothing changed then.
 */
const char *manager_set_share(struct managed *vm, const struct config_share *share);

/* For manager.c: says which CPUs the VM's pin names that are not there; false if none of them is, which is
 * then why it is not started. */
bool manager_check_pin(const struct managed *vm);

const char *manager_state_name(const struct managed *vm);

/* The VM whose console the wire shows at start; NULL: the shell, also when that VM was not started. */
struct managed *manager_attached(void);

/* The config's `console`, empty if it names none. Valid after manager_init(). */
const char *manager_console(void);

/* What the config says; NULL: there is none. Valid after manager_init(). */
const struct config *manager_config(void);

/* The text of plinth.toml as it was read, *size bytes, not checked; NULL: there is none. Valid after
 * manager_init(). */
const char *manager_config_text(size_t *size);

/* The first file that its config names and the boot medium has not, or only empty; NULL: all are there. */
const char *manager_missing_file(const struct managed *vm);

/* Called when no VM is left running and the config asks for poweroff or reboot: last chance to flush. */
void manager_on_end(void (*end)(bool reboot));

/* Called when a VM runs no more and is not to start again, behind the log's line about it, from a work item
 * or a command. */
void manager_on_stop(void (*stopped)(struct managed *vm));
