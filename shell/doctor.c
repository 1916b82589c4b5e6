/* What is wrong with this machine, its config or its VMs, in plain words, and what to do. */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "drivers/uart.h"
#include "guests/manager.h"
#include "kernel/frames.h"
#include "lib/format.h"
#include "shell/commands.h"
#include "shell/output.h"
#include "vmx/ops.h"

static void finding(const char *severity, const char *what, const char *advice)
{
    cell_text("severity", 8, severity);
    cell_text("what", 0, what);
    cell_below("advice", "         -> ", advice);
}

/* --- The machine */

static enum output_more check_virtualisation(unsigned at)
{
    if (at > 0)
        return OUTPUT_END;
    if (!vmx_ops)
        finding("error", "no VM can run: this CPU's hardware virtualisation cannot be used",
                "'dmesg' says why; often it is switched off in the firmware's setup");
    return OUTPUT_MORE;
}

static enum output_more check_firmware(unsigned at)
{
    if (at > 0)
        return OUTPUT_END;
    if (acpi.cpu_count == 0)
        finding("error", "the firmware has no usable ACPI tables: interrupts and power-off may not work",
                "look for ACPI in the firmware's setup, or for a newer firmware");
    return OUTPUT_MORE;
}

static enum output_more check_clock(unsigned at)
{
    if (at > 0)
        return OUTPUT_END;
    if (!cpu_has(CPU_INVARIANT_TSC))
        finding("warning", "this CPU does not promise that its clock (TSC) runs at one rate: time may drift",
                "switch power saving and boost modes off in the firmware's setup");
    return OUTPUT_MORE;
}

static enum output_more check_wire(unsigned at)
{
    char what[96];

    if (at > 0)
        return OUTPUT_END;
    format_text(what, sizeof(what), "%llu bytes for this serial line were lost: it is too slow for them",
                (unsigned long long)uart_lost());
    if (uart_lost())
        finding("warning", what, "a higher speed (console = \"com1,115200\") or log=warn helps");
    return OUTPUT_MORE;
}

/* --- The config */

static enum output_more check_config(unsigned at)
{
    const struct config *config = manager_config();
    char what[sizeof(config->error[0].text) + 64];

    if (!config && at == 0)
        finding("error", "there is no config: no VM is known",
                "make the boot medium with tools/mkiso, which puts plinth.toml on it");
    if (!config || at >= min_u64(config->error_count, CONFIG_MAX_ERRORS))
        return config || at > 0 ? OUTPUT_END : OUTPUT_MORE;
    format_text(what, sizeof(what), "plinth.toml:%u:%u: %s", config->error[at].line, config->error[at].column,
                config->error[at].text);
    finding("error", what, "");
    return OUTPUT_MORE;
}

static uint64_t free_bytes(void)
{
    return frames_count(FRAME_FREE) * PAGE_SIZE;
}

/* What a VM's balloon has given to the machine. */
static uint64_t away_bytes(unsigned vm)
{
    const struct machine *machine = vm < manager_count() ? manager_get(vm)->machine : NULL;

    return machine ? __atomic_load_n(&machine->vm.away, __ATOMIC_ACQUIRE) * GMEM_CHUNK : 0;
}

static void check_away(void)
{
    uint64_t away = 0;
    char what[160];

    for (unsigned i = 0; i < manager_count(); i++)
        away += away_bytes(i);
    format_text(
        what, sizeof(what),
        "VMs with a balloon have given back %llu MiB, which they may want again, and %llu MiB are free",
        (unsigned long long)(away / MiB), (unsigned long long)(free_bytes() / MiB));
    if (away > free_bytes())
        finding("warning", what,
                "one that finds none is stopped; 'balloon VM SIZE' has one keep less for good");
}

static enum output_more check_memory(unsigned at)
{
    uint64_t missing = 0;
    char what[128];

    if (at == 1) {
        check_away();
        return OUTPUT_MORE;
    }
    if (at > 1)
        return OUTPUT_END;
    for (unsigned i = 0; i < manager_count(); i++)
        if (!manager_get(i)->machine && manager_get(i)->state != MANAGED_BROKEN)
            missing += manager_get(i)->config->memory;
    format_text(what, sizeof(what), "the VMs that have no memory yet want %llu MiB, and %llu MiB are free",
                (unsigned long long)(missing / MiB), (unsigned long long)(free_bytes() / MiB));
    if (missing > free_bytes())
        finding("warning", what, "they cannot all be started; lower `memory` in the config");
    return OUTPUT_MORE;
}

/* --- Each VM */

static void check_stopped(const struct managed *vm)
{
    char what[sizeof(vm->last) + CONFIG_NAME_MAX + 64], advice[CONFIG_NAME_MAX + 96];

    format_text(what, sizeof(what), "vm %s: %s", vm->config->name, vm->last);
    format_text(advice, sizeof(advice), "'log %s' shows its last words; 'start %s' tries again",
                vm->config->name, vm->config->name);
    finding("warning", what, advice);
}

static enum output_more check_vm(unsigned at)
{
    const struct managed *vm;
    const char *file;
    char what[CONFIG_NAME_MAX + CONFIG_PATH_MAX + 64];

    if (at >= manager_count())
        return OUTPUT_END;
    vm = manager_get(at);
    file = manager_missing_file(vm);
    if (vm->state == MANAGED_BROKEN) {
        format_text(what, sizeof(what), "vm %s: its config has errors: it cannot be started",
                    vm->config->name);
        finding("error", what, "mend them, and check with tools/mkiso");
    } else if (file) {
        format_text(what, sizeof(what), "vm %s: \"%s\" is not on the boot medium, or empty", vm->config->name,
                    file);
        finding("error", what, "make the boot medium anew with tools/mkiso, which checks that");
    } else if (vm->state == MANAGED_HELD) {
        format_text(what, sizeof(what), "vm %s: waits for the start of others (`after`)", vm->config->name);
        finding("warning", what, "'start' starts it, or those it waits for");
    } else if (vm->state == MANAGED_WAITING ||
               (vm->state == MANAGED_STOPPED && vm->machine && vm->machine->stop == MACHINE_DIED)) {
        check_stopped(vm);
    }
    return OUTPUT_MORE;
}

/* --- Memory's owners */

/* A VM without a machine owns nothing; one with a machine at least the RAM that it was promised, but for what
 * is away. That is asked first: it may be coming back right now. */
static bool owns_what_it_should(unsigned vm)
{
    uint64_t away = away_bytes(vm), owned = frames_count(FRAME_VM + vm) * PAGE_SIZE;

    if (vm < manager_count() && manager_get(vm)->machine)
        return owned + away >= manager_get(vm)->config->memory;
    return owned == 0;
}

static enum output_more check_owners(unsigned at)
{
    char what[96];

    if (at >= CONFIG_MAX_VMS)
        return OUTPUT_END;
    if (!owns_what_it_should(at)) {
        format_text(what, sizeof(what), "VM number %u owns %llu KiB of memory, which cannot be", at,
                    (unsigned long long)(frames_count(FRAME_VM + at) * PAGE_SIZE / KiB));
        finding("error", what,
                "this is a bug in Plinth: please report it with the output of 'dmesg' and 'mem'");
    }
    return OUTPUT_MORE;
}

static enum output_more check_frames(unsigned at)
{
    char what[96];

    if (at > 0)
        return OUTPUT_END;
    if (frames_audit()) {
        finding("error", "the records of who owns which memory contradict each other",
                "this is a bug in Plinth or bad memory: 'dmesg' has the details; please report it");
        return OUTPUT_LATER;
    }
    format_text(what, sizeof(what), "each of the %llu frames of memory has exactly one owner",
                (unsigned long long)frames_total());
    finding("ok", what, "");
    return OUTPUT_LATER;
}

/* Each is called with 0, 1, ... until it says OUTPUT_END. */
static enum output_more (*const checks[])(unsigned at) = {
    check_virtualisation, check_firmware, check_clock,  check_wire,   check_config,
    check_memory,         check_vm,       check_owners, check_frames,
};

static struct {
    unsigned check, at;
} now;

static enum output_more doctor_row(unsigned row)
{
    enum output_more more;

    if (row == 0)
        now.check = now.at = 0;
    if (now.check == ARRAY_SIZE(checks))
        return OUTPUT_END;
    more = checks[now.check](now.at++);
    if (more != OUTPUT_END)
        return more;
    now.check++;
    now.at = 0;
    return OUTPUT_MORE;
}

void run_doctor(int count, char *word[SHELL_ARGS])
{
    static const struct listing doctor = { "findings", "", doctor_row };

    (void)count;
    (void)word;
    output_listing(&doctor);
}
