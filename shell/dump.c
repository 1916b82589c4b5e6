/* `dump`: the capsule of a VM at any moment. */
#include "guests/capsule.h"
#include "guests/manager.h"
#include "shell/commands.h"
#include "shell/output.h"
#include "shell/wire.h"

#define LINE_MAX 320 /* bytes that one line takes on the wire at most */

/* What the running command still has to do. */
static struct {
    const struct managed *vm;
    const struct machine *machine;
    unsigned number;
    bool made;
    size_t at;
} dump;

static enum output_more dump_item(unsigned at)
{
    const char *line;

    (void)at;
    if (dump.vm->machine != dump.machine) {
        wire_print("dump: %s is gone\r\n", dump.vm->config->name);
        capsule_end(dump.number);
        return OUTPUT_END;
    }
    if (!dump.made) {
        dump.made = !capsule_step(dump.number);
        return OUTPUT_LATER;
    }
    line = capsule_line(dump.number, &dump.at);
    if (line) {
        wire_print("%.*s\r\n", LINE_MAX - 2, line);
        return OUTPUT_MORE;
    }
    capsule_end(dump.number);
    return OUTPUT_END;
}

void run_dump(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = command_vm(count, word);

    if (!vm)
        return;
    if (!vm->machine) {
        wire_print("%s: %s was never started\r\n", word[0], vm->config->name);
        return;
    }
    dump.vm = vm;
    dump.machine = vm->machine;
    dump.made = false;
    dump.at = 0;
    dump.number = capsule_begin(vm->machine, manager_state_name(vm),
                                vm->state == MANAGED_RUNNING ? CAPSULE_RUNS : CAPSULE_STILL);
    if (dump.number)
        output_begin(dump_item);
    else
        wire_print("%s: a crash is being reported: try again\r\n", word[0]);
}
