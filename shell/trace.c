#include "kernel/recorder.h"
#include "lib/string.h"
#include "shell/commands.h"
#include "shell/output.h"
#include "shell/wire.h"
#include "vmx/trace_line.h"

#define COUNT_DEFAULT 40
#define COUNT_MAX     1000

/* What the running command still has to show. */
static struct {
    const struct recording *from;
    struct recorded event[COUNT_MAX];
    unsigned count;
} trace;

static enum output_more trace_item(unsigned at)
{
    char line[TRACE_LINE_MAX];

    if (at >= trace.count)
        return OUTPUT_END;
    if (trace_line(line, trace.from, trace.event, trace.count, at))
        wire_print("%s\r\n", line);
    return OUTPUT_MORE;
}

/* The VM of that name when the recording was made; -1: there was none. */
static int find_vm(const char *name)
{
    for (int i = 0; i < RECORDER_VMS; i++)
        if (trace.from->header.name[i][0] && strcmp(trace.from->header.name[i], name) == 0)
            return i;
    return -1;
}

/* A decimal number from 1 to COUNT_MAX; 0: it is none. */
static unsigned number(const char *text)
{
    unsigned value = 0;

    for (; *text >= '0' && *text <= '9' && value <= COUNT_MAX; text++)
        value = value * 10 + (unsigned)(*text - '0');
    return *text || value > COUNT_MAX ? 0 : value;
}

static void show_end(void)
{
    const struct recorder_header *header = &trace.from->header;

    if (trace.from != recorder_last())
        return;
    wire_print("Plinth %s, the run before the last reset. It ended: %s\r\n", header->plinth,
               header->ended ? header->why : "without a word");
}

void run_trace(int count, char *word[SHELL_ARGS])
{
    unsigned wanted = 0;
    const char *name = NULL;
    int vm = -1;

    trace.from = recorder_now();
    for (int i = 1; i < count; i++) {
        if (strcmp(word[i], "--last") == 0)
            trace.from = recorder_last();
        else if (!wanted && number(word[i]))
            wanted = number(word[i]);
        else
            name = word[i];
    }
    if (!trace.from) {
        wire_print("trace: there is no recording of a run before this one\r\n");
        return;
    }
    if (name)
        vm = find_vm(name);
    if (name && vm < 0) {
        wire_print("trace: nothing is recorded of a VM '%s'; a count is 1 to %u\r\n", name, COUNT_MAX);
        return;
    }
    trace.count = recording_collect(trace.from, vm, trace.event, wanted ? wanted : COUNT_DEFAULT);
    show_end();
    output_begin(trace_item);
}
