/*
 * Calls to the boot CPU, which alone touches the wire, the shell and the log's outputs. They are
 * asynchronous: the caller goes on, the boot CPU is interrupted and makes the call from its interrupt.
 */
#pragma once

#include "lib/types.h"

struct post {
    struct post *next;
    bool queued;
    void (*run)(struct post *post);
};

/*
 * Has run() called soon, once for any number of posts until it begins. Any CPU; the boot CPU calls at once
 * instead. Takes no lock.
 */
void post_boot(struct post *post);

/* The calls that wait. From the boot CPU's interrupt. */
void post_run(void);
