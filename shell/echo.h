/*
 * Every console on one wire, for a machine that nobody sits at: each complete line that a VM prints comes as
 * "NAME: line", unless its console is the one that is shown. Boot CPU only.
 */
#pragma once

#include "guests/manager.h"

/* From now on, while the wire is otherwise idle enough; what is left out is counted and said. */
void echo_start(void);

/* The wire has shown this VM's console up to here: its echo goes on behind that. */
void echo_shown(const struct managed *vm);

/* What is waiting, as far as the wire takes it at once; before power-off. */
void echo_flush(void);
