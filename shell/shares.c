/* Who has the CPUs: what the VMs may have of them, and what they get. */
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "guests/manager.h"
#include "kernel/config_share.h"
#include "kernel/frames.h"
#include "lib/format.h"
#include "lib/string.h"
#include "shell/commands.h"
#include "shell/output.h"
#include "shell/wire.h"

#define MEASURE_US 500000  /* sched, cpus */
#define REFRESH_US 1000000 /* top */

#define HEAD_ROWS 2 /* of top: the machine, and the header */

/* --- set */

void run_set(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = command_vm(count, word);
    struct config_share share;
    const char *fault;

    if (!vm)
        return;
    if (count < 4) {
        wire_print("%s: set what? usage: %s VM KEY VALUE, with KEY weight, cap, pin or reserve\r\n", word[0],
                   word[0]);
        return;
    }
    share = vm->share;
    fault = config_set_share(&share, word[2], word[3]);
    if (fault && !*fault) {
        wire_print("%s: there is no '%s' to set; there are weight, cap, pin and reserve\r\n", word[0],
                   word[2]);
    } else if (fault) {
        wire_print("%s: %s %s\r\n", word[0], word[2], fault);
    } else {
        fault = manager_set_share(vm, &share);
        if (fault)
            wire_print("%s: %s is left as it was: %s\r\n", word[0], vm->config->name, fault);
    }
}

/* --- What happens within some time: counters then and now */

static struct {
    uint64_t tsc; /* when the counters below were read */
    struct {
        uint64_t ran, waited, exits;
    } vcpu[CONFIG_MAX_VMS][CONFIG_MAX_VCPUS];
    uint64_t idle[CPU_MAX];
} before;

static uint64_t microseconds(uint64_t us)
{
    return tsc_hz() / 1000000 * us;
}

/* Of ticks of any number. */
static uint64_t to_us(uint64_t ticks)
{
    uint64_t hz = tsc_hz();

    return ticks / hz * 1000000 + ticks % hz * 1000000 / hz;
}

/* Thousandths of the time since `before` that lie between two readings of a counter. A VM that was made anew
 * counts from 0 again. */
static uint64_t permille(uint64_t then, uint64_t now, uint64_t now_tsc)
{
    uint64_t time = now_tsc - before.tsc;

    return now > then && now_tsc > before.tsc ? min_u64((now - then) * 1000 / time, 1000) : 0;
}

static uint64_t per_second(uint64_t then, uint64_t now, uint64_t now_tsc)
{
    uint64_t us = now_tsc > before.tsc ? to_us(now_tsc - before.tsc) : 0;

    return now > then && us ? (now - then) * 1000000 / us : 0;
}

static unsigned vcpus_of(const struct managed *vm)
{
    return vm->machine ? vm->machine->vm.vcpu_count : 0;
}

static void remember_vm(unsigned vm)
{
    const struct managed *managed = manager_get(vm);

    memset(before.vcpu[vm], 0, sizeof(before.vcpu[vm]));
    for (unsigned i = 0; i < vcpus_of(managed); i++) {
        struct vcpu *vcpu = managed->machine->vm.vcpu[i];
        struct sched_usage usage;

        sched_usage(&vcpu->task, &usage);
        before.vcpu[vm][i].ran = usage.ran;
        before.vcpu[vm][i].waited = usage.waited;
        before.vcpu[vm][i].exits = vcpu_exits(vcpu);
    }
}

static void remember(void)
{
    struct sched_cpu_usage usage;

    before.tsc = tsc_now();
    for (unsigned i = 0; i < manager_count(); i++)
        remember_vm(i);
    for (unsigned i = 0; i < smp_online(); i++) {
        sched_cpu_usage(i, &usage);
        before.idle[i] = usage.idle;
    }
}

static const struct listing *measured;

static bool measure(void)
{
    if (!wire_in_shell())
        return false;
    if (tsc_now() - before.tsc >= microseconds(MEASURE_US))
        output_listing(measured);
    return true;
}

/* The listing comes when there is something to say. */
static void measure_for(const struct listing *listing)
{
    measured = listing;
    remember();
    shell_go_on(measure);
}

/* --- sched */

/* The at-th vCPU of all that are there; NULL: no more. */
static struct vcpu *nth_vcpu(unsigned at, unsigned *vm)
{
    for (*vm = 0; *vm < manager_count(); ++*vm) {
        const struct managed *managed = manager_get(*vm);

        if (at < vcpus_of(managed))
            return managed->machine->vm.vcpu[at];
        at -= vcpus_of(managed);
    }
    return NULL;
}

static const char *task_state(const struct sched_usage *usage)
{
    if (usage->stopped)
        return "stopped";
    return usage->state == SHARE_RUNNING ? "running" : usage->state == SHARE_WAITING ? "waiting" : "sleeping";
}

static void share_cells(const struct managed *vm, const struct sched_usage *usage)
{
    char text[CONFIG_PIN_TEXT];

    cell_number("weight", 6, vm->share.weight);
    cell_number("cap", 4, vm->share.cap);
    cell_text("pin", 8, config_pin_text(vm->share.pin, text));
    cell_text("reserve", 11, config_reserve_text(&usage->params, text));
}

static enum output_more sched_row(unsigned at)
{
    unsigned vm;
    struct vcpu *vcpu = nth_vcpu(at, &vm);
    struct sched_usage usage;

    if (!vcpu)
        return OUTPUT_END;
    sched_usage(&vcpu->task, &usage);
    cell_text("vm", 12, manager_get(vm)->config->name);
    cell_number("vcpu", 4, vcpu->index);
    cell_text("state", 8, task_state(&usage));
    cell_number("cpu", 3, usage.cpu);
    share_cells(manager_get(vm), &usage);
    cell_percent("cpu_percent", 5, permille(before.vcpu[vm][vcpu->index].ran, usage.ran, usage.now));
    cell_number("waited_us", 10, to_us(usage.waited) / (shell_json() ? 1 : 1000));
    cell_number("missed_us", 10, to_us(usage.missed) / (shell_json() ? 1 : 1000));
    if (shell_json()) {
        cell_number("ran_us", 0, to_us(usage.ran));
        cell_number("turns", 0, usage.turns);
        cell_number("time_us", 0, to_us(usage.now));
    }
    return OUTPUT_MORE;
}

void run_sched(int count, char *word[SHELL_ARGS])
{
    static const struct listing sched = {
        "vcpus",
        "VM           VCPU STATE    CPU WEIGHT  CAP PIN      RESERVE     CPU %  WAITED ms  MISSED ms",
        sched_row
    };

    (void)count;
    (void)word;
    measure_for(&sched);
}

/* --- cpus */

/* "web/1": a vCPU. The boot CPU runs this very command, and nothing else until that is done. */
static const char *what_runs(unsigned cpu, const struct sched_task *task, char *to, size_t size)
{
    struct vcpu *vcpu;
    unsigned vm;

    format_text(to, size, "%s", cpu == this_cpu()->index ? "Plinth's shell" : "");
    for (unsigned i = 0; task && (vcpu = nth_vcpu(i, &vm)); i++)
        if (&vcpu->task == task)
            format_text(to, size, "%s/%u", manager_get(vm)->config->name, vcpu->index);
    return to;
}

static enum output_more cpus_row(unsigned at)
{
    char runs[CONFIG_NAME_MAX + 8];
    struct sched_cpu_usage usage;

    if (at >= smp_online())
        return OUTPUT_END;
    sched_cpu_usage(at, &usage);
    what_runs(at, usage.task, runs, sizeof(runs));
    cell_number("cpu", 3, at);
    cell_number("apic_id", 7, smp_cpu(at)->apic_id);
    cell_text("state", 5, *runs ? "busy" : "idle");
    cell_percent("idle_percent", 6, permille(before.idle[at], usage.idle, usage.now));
    cell_text("runs", 0, runs);
    return OUTPUT_MORE;
}

void run_cpus(int count, char *word[SHELL_ARGS])
{
    static const struct listing cpus = { "cpus", "CPU APIC ID STATE IDLE % RUNS", cpus_row };

    (void)count;
    (void)word;
    measure_for(&cpus);
}

/* --- top */

static struct {
    unsigned row; /* of the picture; behind the last one: it waits for the next */
} top;

static void top_vm(unsigned at)
{
    const struct managed *vm = manager_get(at);
    uint64_t ran = 0, waited = 0, exits = 0;

    for (unsigned i = 0; i < vcpus_of(vm); i++) {
        struct vcpu *vcpu = vm->machine->vm.vcpu[i];
        struct sched_usage usage;

        sched_usage(&vcpu->task, &usage);
        ran += permille(before.vcpu[at][i].ran, usage.ran, usage.now);
        waited += permille(before.vcpu[at][i].waited, usage.waited, usage.now);
        exits += per_second(before.vcpu[at][i].exits, vcpu_exits(vcpu), usage.now);
    }
    cell_text("name", 20, vm->config->name);
    cell_text("state", 9, manager_state_name(vm));
    cell_number("vcpus", 5, vm->config->cpus);
    cell_percent("cpu_percent", 6, ran);
    cell_percent("steal_percent", 7, waited);
    cell_number("exits_per_second", 9, exits);
    cell_mib("memory", 6, vm->config->memory);
}

/* ECMA-48: CUP to the upper left, ED. */
static void top_head(unsigned row)
{
    uint64_t idle = 0;

    if (row == 1) {
        wire_print("NAME                 STATE     VCPUS  CPU %% STEAL %%   EXITS/s     MEMORY\r\n");
        return;
    }
    for (unsigned i = 0; i < smp_online(); i++) {
        struct sched_cpu_usage usage;

        sched_cpu_usage(i, &usage);
        idle += permille(before.idle[i], usage.idle, usage.now);
    }
    wire_print("\033[H\033[J%u CPU%s, %llu %% idle; %llu MiB free; any key ends this\r\n", smp_online(),
               smp_online() > 1 ? "s" : "", (unsigned long long)(idle / 10 / smp_online()),
               (unsigned long long)(frames_count(FRAME_FREE) * PAGE_SIZE / MiB));
}

static bool measured_for(uint64_t us)
{
    return tsc_now() - before.tsc >= microseconds(us);
}

/* One picture after the other; there is no last row. */
static enum output_more top_row(unsigned at)
{
    (void)at;
    if (shell_typed()) {
        shell_forget_typed();
        return OUTPUT_END;
    }
    if (top.row >= HEAD_ROWS + manager_count()) {
        remember();
        top.row = 0;
    }
    if (top.row == 0 && !measured_for(REFRESH_US))
        return OUTPUT_LATER;
    if (top.row < HEAD_ROWS)
        top_head(top.row);
    else
        top_vm(top.row - HEAD_ROWS);
    top.row++;
    return OUTPUT_MORE;
}

static enum output_more top_once(unsigned at)
{
    if (at >= manager_count())
        return OUTPUT_END;
    top_vm(at);
    return OUTPUT_MORE;
}

void run_top(int count, char *word[SHELL_ARGS])
{
    static const struct listing live = { "", "", top_row }, once = { "vms", "", top_once };

    (void)count;
    (void)word;
    if (shell_json()) {
        measure_for(&once);
        return;
    }
    top.row = 0;
    remember();
    output_listing(&live);
}
