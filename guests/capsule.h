/*
 * The crash capsule: what is known of a VM at its end, or at any moment that somebody asks, as text. It is
 * made in steps from the work list of the boot CPU. There is one at a time.
 */
#pragma once

#include "guests/machine.h"

/*
 * Begins one of `machine`, for the given cause, with a copy of its registers, which are all in memory only
 * while no CPU runs it: so its vCPUs are stopped for that, and stay so unless it is CAPSULE_RUNS. A crash may
 * take the place of one that is none. Returns a number that names it in the calls below; 0: another crash is
 * being told. From work or a command, not from inside an exit.
 */
enum capsule_of {
    CAPSULE_CRASH, /* a VM that has died */
    CAPSULE_RUNS,  /* one that goes on running */
    CAPSULE_STILL, /* one whose vCPUs stand still already */
};
unsigned capsule_begin(struct machine *machine, const char *cause, enum capsule_of of);

/*
 * Makes more of it; a step takes as long as reading 2 MiB of guest memory here and there, about 100 us.
 * False: it is done, or another one has taken its place. The machine must be there until then.
 */
bool capsule_step(unsigned number);

/* A line of its text from *at on, without an end; moves *at behind it. NULL: there is no more, or no such
 * capsule. Once capsule_step() is done. */
const char *capsule_line(unsigned number, size_t *at);

/*
 * Sends its text to the log, no faster than the serial line takes it and leaving half of that to others, and
 * then ends it and calls told(). The machine may be gone by then. Once capsule_step() is done.
 */
void capsule_tell(unsigned number, void (*told)(void));

/* True while a crash is reported, up to the call of told(). */
bool capsule_is_busy(void);

/* Nobody wants it any more. */
void capsule_end(unsigned number);
