/*
 * Whether a VM that crashed or reset itself is started again, and when: events with their times in, a
 * decision out. Compiles on the host. It has no clock and starts nothing: guests/manager.c does.
 */
#pragma once

#include "lib/types.h"

#define SUPERVISE_MAX_LIMIT 64
#define SUPERVISE_WINDOW_S                                                                                   \
    60 /* this many events in so short a time are a loop; a run as long is a good one */
#define SUPERVISE_MAX_DELAY 32 /* seconds */

enum supervise_event { SUPERVISE_CRASH, SUPERVISE_RESET };

struct supervise_policy {
    bool restart_on_crash, restart_on_reset;
    unsigned limit; /* events within the window after which the VM is left stopped; 0: none */
};

enum supervise_verdict {
    SUPERVISE_RESTART,
    SUPERVISE_STOP, /* the policy says so */
    SUPERVISE_LOOP, /* it would go on for ever: stop */
};

struct supervise_decision {
    enum supervise_verdict verdict;
    uint64_t delay_ns;    /* SUPERVISE_RESTART: wait so long before */
    const char *happened; /* SUPERVISE_LOOP: "crashed", "reset", or "crashed or reset" */
};

/* One VM's history; all times are nanoseconds of one clock that never goes back. */
struct supervise {
    uint64_t at[SUPERVISE_MAX_LIMIT]; /* when the last events were, a ring */
    bool crash[SUPERVISE_MAX_LIMIT];  /* which of them were crashes */
    unsigned next, count;             /* where the next one goes; how many are there */
    unsigned row;                     /* crashes without a good run in between */
    uint64_t run_ns;                  /* when the present run began */
};

/* A run that someone asked for begins: nothing of the past counts. */
void supervise_begin(struct supervise *s, uint64_t now_ns);

/*
 * The VM stopped by itself. The first crash is followed by a restart at once, the next ones after 1, 2, 4...
 * seconds, until a run was a good one; a reset never waits. policy->limit is at most SUPERVISE_MAX_LIMIT.
 */
struct supervise_decision supervise_stopped(struct supervise *s, const struct supervise_policy *policy,
                                            enum supervise_event event, uint64_t now_ns);
