/* Events of the flight recorder in words. Compiles on the host. */
#pragma once

#include "kernel/recorder.h"

#define TRACE_LINE_MAX 256

/*
 * The event list[at] as one line without an end; the pieces of a log line that follow it in the list go with
 * it. Returns its length, 0 for an event that went with one before. What the events hold may be anything.
 */
size_t trace_line(char to[TRACE_LINE_MAX], const struct recording *from, const struct recorded *list,
                  unsigned count, unsigned at);
