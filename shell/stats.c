/* stats: how often and why each VM left its CPU for Plinth, and how long that took. */
#include "arch/x86_64/tsc.h"
#include "guests/manager.h"
#include "shell/commands.h"
#include "shell/json.h"
#include "shell/output.h"
#include "shell/wire.h"

/* Exits of one kind, of all vCPUs of a VM. */
struct exits {
    uint64_t count, timed, mean; /* mean: ticks, of those that were timed; 0: none was */
};

#define MEASURE_MS 500

static const struct managed *shown; /* NULL: all of them */
static uint64_t measured;           /* TSC when the measurement is over */

unsigned stats_vcpus(const struct managed *vm)
{
    return vm->machine ? vm->machine->vm.vcpu_count : 0;
}

uint64_t stats_exits(const struct managed *vm)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < stats_vcpus(vm); i++)
        sum += vcpu_exits(vm->machine->vm.vcpu[i]);
    return sum;
}

static struct exits exits_by(const struct managed *vm, unsigned reason)
{
    struct exits sum = { 0 };
    uint64_t ticks = 0;

    for (unsigned i = 0; i < stats_vcpus(vm); i++) {
        const struct vcpu *vcpu = vm->machine->vm.vcpu[i];

        sum.count += vcpu->exits[reason];
        sum.timed += vcpu->timing.count[reason];
        ticks += vcpu->timing.ticks[reason];
    }
    sum.mean = sum.timed ? ticks / sum.timed : 0;
    return sum;
}

/* The vCPU that had the longest one; NULL: none of it was timed. */
static const struct vcpu *slowest(const struct managed *vm)
{
    const struct vcpu *found = NULL;

    for (unsigned i = 0; i < stats_vcpus(vm); i++) {
        const struct vcpu *vcpu = vm->machine->vm.vcpu[i];

        if (vcpu->timing.longest > (found ? found->timing.longest : 0))
            found = vcpu;
    }
    return found;
}

/* Ticks as microseconds, in tenths. */
static unsigned long long tenths(uint64_t ticks)
{
    return ticks * 10 / (tsc_hz() / 1000000);
}

static void print_json_exits(const struct managed *vm, bool times)
{
    const char *comma = "";

    for (unsigned i = 0; i < EXIT_REASONS; i++) {
        struct exits exits = exits_by(vm, i);

        if (times ? !exits.timed : !exits.count)
            continue;
        wire_print("%s\"%s\":%llu", comma, vmexit_names[i],
                   (unsigned long long)(times ? exits.mean : exits.count));
        comma = ",";
    }
}

static void stats_json(const struct managed *vm, bool first)
{
    const struct vcpu *slow = slowest(vm);

    wire_print("%s{\"name\":", first ? "" : ",");
    print_json(vm->config->name);
    wire_print(",\"total\":%llu,\"exits\":{", (unsigned long long)stats_exits(vm));
    print_json_exits(vm, false);
    wire_print("},\"mean_cycles\":{");
    print_json_exits(vm, true);
    wire_print("}");
    if (slow)
        wire_print(",\"longest\":{\"exit\":\"%s\",\"cycles\":%llu}",
                   vmexit_names[slow->timing.longest_reason], (unsigned long long)slow->timing.longest);
    wire_print("}");
}

static void stats_text(const struct managed *vm)
{
    const struct vcpu *slow = slowest(vm);

    wire_print("%s: %llu exits\r\n", vm->config->name, (unsigned long long)stats_exits(vm));
    for (unsigned i = 0; i < EXIT_REASONS; i++) {
        struct exits exits = exits_by(vm, i);

        if (exits.count && exits.timed)
            wire_print("  %-12s %12llu, of about %llu cycles: %llu\r\n", vmexit_names[i],
                       (unsigned long long)exits.count, (unsigned long long)exits.mean,
                       (unsigned long long)(exits.count * exits.mean));
        else if (exits.count)
            wire_print("  %-12s %12llu\r\n", vmexit_names[i], (unsigned long long)exits.count);
    }
    if (slow)
        wire_print("  longest of those timed: %s, %llu.%llu us\r\n",
                   vmexit_names[slow->timing.longest_reason], tenths(slow->timing.longest) / 10,
                   tenths(slow->timing.longest) % 10);
}

/* Behind the VMs. Work is the boot CPU's. */
static void stats_end(void)
{
    struct sched_cpu_usage usage;

    sched_cpu_usage(0, &usage);
    if (shell_json())
        wire_print("],\"longest_work_cycles\":%llu}\r\n", (unsigned long long)usage.longest_work);
    else
        wire_print("longest step of Plinth's own work: %llu.%llu us\r\n", tenths(usage.longest_work) / 10,
                   tenths(usage.longest_work) % 10);
}

static enum output_more stats_item(unsigned at)
{
    unsigned count = shown ? 1 : manager_count();

    if (at == 0 && shell_json())
        wire_print("{\"vms\":[");
    if (at > count)
        return OUTPUT_END;
    if (at == count)
        stats_end();
    else if (shell_json())
        stats_json(shown ? shown : manager_get(at), at == 0);
    else
        stats_text(shown ? shown : manager_get(at));
    return OUTPUT_MORE;
}

static void time_exits(const struct managed *vm)
{
    for (unsigned i = 0; i < stats_vcpus(vm); i++)
        timing_begin(vm->machine->vm.vcpu[i], measured);
}

/* The exits are timed for a while; then all that is known is told. */
static bool measure(void)
{
    if (!wire_in_shell())
        return false;
    if (tsc_now() >= measured)
        output_begin(stats_item);
    return true;
}

void run_stats(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = count > 1 ? command_vm(count, word) : NULL;

    if (!vm && count > 1)
        return;
    shown = vm;
    measured = tsc_now() + tsc_hz() / 1000 * MEASURE_MS;
    for (unsigned i = 0; i < manager_count(); i++)
        if (!vm || vm == manager_get(i))
            time_exits(manager_get(i));
    shell_go_on(measure);
}
