#include "guests/manager.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "guests/capsule.h"
#include "io/disks.h"
#include "kernel/config_disk.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define CONFIG_FILE "plinth.toml"

static struct {
    const struct bootinfo *info;
    struct config *config; /* NULL: there is none that could be read */
    struct managed vm[CONFIG_MAX_VMS];
    struct vclock clock; /* the time of supervision, since manager_init() */
    uint64_t handoff_tsc;
    bool first_entry_logged;
    void (*end)(bool reboot);
    void (*stopped)(struct managed *vm);
} manager;

static_assert(CONFIG_MAX_RESTARTS <= SUPERVISE_MAX_LIMIT, "supervise.c remembers as many");

static void ended(struct managed *vm);
static void start_held(void);
static void check_all_stopped(void);

/* --- Boot modules
 * --------------------------------------------------------------------------------------------- */

static const struct boot_module *find_module(const char *name)
{
    for (unsigned i = 0; i < manager.info->module_count; i++)
        if (strcmp(manager.info->module[i].name, name) == 0)
            return &manager.info->module[i];
    return NULL;
}

/* Files for disks. The config is not one. */
static const void *find_file(const char *path, uint64_t *size)
{
    const struct boot_module *module = strcmp(path, CONFIG_FILE) != 0 ? find_module(path) : NULL;

    if (!module)
        return NULL;
    *size = module->size;
    return phys_to_virt(module->start);
}

static const char *file_name(unsigned n)
{
    for (unsigned i = 0; i < manager.info->module_count; i++)
        if (strcmp(manager.info->module[i].name, CONFIG_FILE) != 0 && n-- == 0)
            return manager.info->module[i].name;
    return NULL;
}

/* One file that the config names; `key` and `place` say where. False after a line in the log. */
static bool find_image(const struct managed *vm, const char *path, const char *key, struct toml_place place,
                       struct image *out)
{
    const struct boot_module *module = find_module(path);

    if (!module) {
        log_error("vm %s: not started: its %s \"%s\" is not on the boot medium; add the file, or mend the "
                  "key (%s:%u:%u)",
                  vm->config->name, key, path, CONFIG_FILE, place.line, place.column);
        return false;
    }
    if (module->size == 0) {
        log_error("vm %s: not started: its %s \"%s\" is an empty file; replace it (%s:%u:%u)",
                  vm->config->name, key, path, CONFIG_FILE, place.line, place.column);
        return false;
    }
    *out = (struct image){ .data = phys_to_virt(module->start), .size = module->size, .name = path };
    return true;
}

static bool is_missing(const char *path)
{
    const struct boot_module *module = find_module(path);

    return !module || module->size == 0;
}

static bool find_images(const struct managed *vm, struct machine_images *out)
{
    const struct config_vm *config = vm->config;

    memset(out, 0, sizeof(*out));
    if (!find_image(vm, config->kernel, "kernel", config->at[VM_KERNEL], &out->kernel))
        return false;
    if (config->initrd[0] && !find_image(vm, config->initrd, "initrd", config->at[VM_INITRD], &out->initrd))
        return false;
    for (unsigned i = 0; i < config->module_count; i++) {
        if (!find_image(vm, config->module[i].path, "module", config->module[i].place, &out->module[i]))
            return false;
        out->module[i].cmdline = config->module[i].cmdline;
    }
    return true;
}

/* --- What follows a stop
 * --------------------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    return vclock_ns(&manager.clock);
}

static bool is_alive(const struct managed *vm)
{
    return vm->state == MANAGED_RUNNING || vm->state == MANAGED_PAUSED;
}

/* It is powered on, or about to be. */
static bool is_busy(const struct managed *vm)
{
    return is_alive(vm) || vm->state == MANAGED_STARTING || vm->state == MANAGED_WAITING;
}

/* --- Life of a VM
 * --------------------------------------------------------------------------------------------- */

static void set_stopped(struct managed *vm, const char *why)
{
    vm->state = MANAGED_STOPPED;
    format_text(vm->last, sizeof(vm->last), "%s", why);
}

/* What running it costs beside the RAM that it was promised. */
static void log_memory(const struct managed *vm)
{
    uint64_t own = frames_count(FRAME_IMAGE) + frames_count(FRAME_FRAMES) + frames_count(FRAME_PTAB) +
                   frames_count(FRAME_HEAP) + frames_count(FRAME_PERCPU);
    uint64_t its = frames_count(FRAME_VM + vm->machine->vm.index) - vm->config->memory / PAGE_SIZE;

    log_info("memory: %llu KiB used by Plinth, %llu KiB by vm %s besides its RAM",
             (unsigned long long)(own * PAGE_SIZE / KiB), (unsigned long long)(its * PAGE_SIZE / KiB),
             vm->config->name);
}

/* The last step of a start: its memory is wiped. */
static void power_on(struct managed *vm)
{
    struct machine_images images;
    struct load_error error;

    if (!find_images(vm, &images)) {
        set_stopped(vm, "an image is missing or empty");
    } else if (machine_power_on(vm->machine, &images, &error)) {
        log_error("vm %s: not started: %s", vm->config->name, error.text);
        set_stopped(vm, error.text);
    } else {
        vm->state = MANAGED_RUNNING;
        vm->has_run = true;
        log_info("vm %s: started: %u vCPU%s, %llu MiB", vm->config->name, vm->config->cpus,
                 vm->config->cpus > 1 ? "s" : "", (unsigned long long)(vm->config->memory / MiB));
        if (!manager.first_entry_logged)
            log_info("vm %s: first entry %llu ticks after hand-off", vm->config->name,
                     (unsigned long long)(tsc_now() - manager.handoff_tsc));
        manager.first_entry_logged = true;
        log_memory(vm);
        start_held();
        return;
    }
    machine_destroy(vm->machine); /* its memory is of more use to others */
    vm->machine = NULL;
    ended(vm);
}

/* What a run's end that the guest wanted looks like in the log. */
static void log_stop(struct managed *vm)
{
    const struct machine *machine = vm->machine;

    if (machine->stop == MACHINE_POWERED_OFF)
        set_stopped(vm, "powered off");
    else
        format_text(vm->last, sizeof(vm->last), "exited with code %u", machine->exit_code);
    vm->state = MANAGED_STOPPED;
    log_info("vm %s: %s", vm->config->name, vm->last);
}

/* It crashed or reset itself too often in too short a time. */
static void break_loop(struct managed *vm, const char *happened, const char *cause)
{
    log_error("vm %s: %s %u times in %u s: left stopped; last cause: %s", vm->config->name, happened,
              vm->config->restart_limit, SUPERVISE_WINDOW_S, cause);
    vm->state = MANAGED_STOPPED;
    format_text(vm->last, sizeof(vm->last), "%s %u times in %u s: %s", happened, vm->config->restart_limit,
                SUPERVISE_WINDOW_S, cause);
}

/* The guest crashed or reset itself: true if it starts again. */
static bool restart(struct managed *vm)
{
    bool crash = vm->machine->stop == MACHINE_DIED;
    const char *cause = crash ? vm->machine->reason : "reset by the guest";
    const struct supervise_policy policy = { .restart_on_crash = vm->config->on_crash == RESTART_YES,
                                             .restart_on_reset = vm->config->on_reboot == RESTART_YES,
                                             .limit = vm->config->restart_limit };
    struct supervise_decision decision = supervise_stopped(
        &vm->supervise, &policy, crash ? SUPERVISE_CRASH : SUPERVISE_RESET, now_ns());
    unsigned seconds = (unsigned)(decision.delay_ns / NS_PER_S);

    if (crash) /* its reason is told in any case */
        log_error("vm %s: stopped: %s", vm->config->name, cause);
    switch (decision.verdict) {
    case SUPERVISE_STOP:
        set_stopped(vm, cause);
        if (!crash)
            log_info("vm %s: reset by the guest: left stopped, as its on-reboot says", vm->config->name);
        return false;
    case SUPERVISE_LOOP:
        break_loop(vm, decision.happened, cause);
        return false;
    case SUPERVISE_RESTART:
        break;
    }
    format_text(vm->last, sizeof(vm->last), "%s", cause);
    if (!crash)
        log_info("vm %s: reset by the guest: starting again", vm->config->name);
    else if (seconds == 0)
        log_info("vm %s: starting again", vm->config->name);
    else
        log_info("vm %s: starting again in %u s", vm->config->name, seconds);
    vm->state = seconds ? MANAGED_WAITING : MANAGED_STARTING;
    if (seconds)
        timer_arm(&vm->restart, tsc_now() + seconds * tsc_hz());
    return true;
}

/*
 * Makes the report of its crash, a piece at each call, before anything of the VM is wiped; it is told later,
 * as fast as the serial line is. True: there is more to do.
 */
static bool report_crash(struct managed *vm)
{
    if (!vm->capsule) {
        vm->capsule = capsule_begin(vm->machine, vm->machine->reason, CAPSULE_CRASH);
        if (!vm->capsule)
            log_warn("vm %s: no report of its crash: another one is still being told", vm->config->name);
        return vm->capsule;
    }
    if (capsule_step(vm->capsule))
        return true;
    capsule_tell(vm->capsule, check_all_stopped);
    vm->capsule = 0;
    return false;
}

/* Somebody stopped it, or started it anew, before its crash was reported. */
static void give_up_report(struct managed *vm)
{
    capsule_end(vm->capsule);
    vm->capsule = 0;
    check_all_stopped();
}

/* The slow part of starting and stopping, one piece at a time. */
static bool work_step(struct sched_work *work)
{
    struct managed *vm = container_of(work, struct managed, work);

    if (vm->capsule && !is_alive(vm))
        give_up_report(vm);
    if (vm->state == MANAGED_WAITING && !timer_armed(&vm->restart))
        vm->state = MANAGED_STARTING;
    if (vm->state == MANAGED_STARTING) {
        if (machine_wipe(vm->machine))
            return true;
        power_on(vm);
        return false;
    }
    if (!is_alive(vm) || vm->machine->stop == MACHINE_RUNS)
        return false;
    if (vm->machine->stop == MACHINE_DIED && report_crash(vm))
        return true;
    machine_halt(vm->machine);
    if (vm->machine->stop == MACHINE_RESET || vm->machine->stop == MACHINE_DIED) {
        if (restart(vm))
            return vm->state == MANAGED_STARTING;
    } else {
        log_stop(vm);
    }
    ended(vm);
    return false;
}

/* The back-off of a crashed VM is over. */
static void restart_due(struct timer *timer)
{
    sched_queue_work(&container_of(timer, struct managed, restart)->work);
}

/* From inside an exit: the rest is for the work list. */
static void machine_stopped(struct machine *machine)
{
    sched_queue_work(&manager.vm[machine->vm.index].work);
}

/* -EINVAL: none of the CPUs that it is pinned to is there. */
static int create(struct managed *vm)
{
    unsigned index = (unsigned)(vm - manager.vm);
    int err = manager_check_pin(vm)
                  ? machine_create(vm->config, &vm->share, index, machine_stopped, &vm->machine)
                  : -EINVAL;

    if (!err && vm->output_ready) {
        vm->machine->console.output_context = vm;
        vm->machine->console.output_ready = vm->output_ready;
    }
    if (err == -ENOMEM)
        log_error("vm %s: not started: it needs %llu MiB of memory and %llu MiB are free; lower `memory` "
                  "(%s:%u:%u)",
                  vm->config->name, (unsigned long long)(vm->config->memory / MiB),
                  (unsigned long long)(frames_count(FRAME_FREE) * PAGE_SIZE / MiB), CONFIG_FILE,
                  vm->config->at[VM_MEMORY].line, vm->config->at[VM_MEMORY].column);
    else if (err == -ENOSPC)
        log_error("vm %s: not started: its share of the CPUs was refused (see above); lower its `reserve` or "
                  "another VM's, or let its `pin` name more CPUs",
                  vm->config->name);
    else if (err && err != -EINVAL && err != -EPERM) /* these were told */
        log_error("vm %s: not started: this machine cannot run virtual machines (see above)",
                  vm->config->name);
    return err;
}

int manager_start(struct managed *vm)
{
    struct machine_images images;
    int err;

    if (vm->state == MANAGED_BROKEN) {
        log_error("vm %s: not started: its config has errors (see above)", vm->config->name);
        return -EINVAL;
    }
    if (is_busy(vm) && vm->state != MANAGED_WAITING) {
        log_warn("vm %s: is %s already", vm->config->name, manager_state_name(vm));
        return -EBUSY;
    }
    timer_cancel(&vm->restart);
    if (vm->unfit[0]) {
        log_error("vm %s: not started: %s", vm->config->name, vm->unfit);
        set_stopped(vm, "its console's port cannot be had");
        return -EINVAL;
    }
    if (!find_images(vm, &images)) {
        set_stopped(vm, "an image is missing or empty");
        return -EINVAL;
    }
    err = vm->machine ? 0 : create(vm);
    if (err) {
        set_stopped(vm, err == -ENOMEM   ? "not enough memory"
                        : err == -ENOSPC ? "its share of the CPUs was refused"
                        : err == -EINVAL ? "its pin names no CPU of this machine"
                        : err == -EPERM  ? "one of its disks was refused"
                                         : "no virtualisation");
        return err;
    }
    machine_halt(vm->machine);
    supervise_begin(&vm->supervise, now_ns());
    vm->state = MANAGED_STARTING;
    sched_queue_work(&vm->work);
    return 0;
}

int manager_destroy(struct managed *vm)
{
    if (!is_busy(vm) && vm->state != MANAGED_HELD)
        return -EINVAL;
    timer_cancel(&vm->restart);
    if (vm->machine)
        machine_halt(vm->machine);
    set_stopped(vm, "destroyed");
    log_info("vm %s: destroyed", vm->config->name);
    ended(vm);
    return 0;
}

int manager_shutdown(struct managed *vm)
{
    if (!is_alive(vm))
        return -EINVAL;
    if (vm->state == MANAGED_PAUSED)
        log_info("vm %s: is paused: it finds its power button pressed when resumed", vm->config->name);
    machine_power_button(vm->machine);
    return 0;
}

int manager_reset(struct managed *vm)
{
    if (!is_alive(vm))
        return -EINVAL;
    machine_halt(vm->machine);
    log_info("vm %s: reset", vm->config->name);
    supervise_begin(&vm->supervise, now_ns());
    vm->state = MANAGED_STARTING;
    sched_queue_work(&vm->work);
    return 0;
}

int manager_pause(struct managed *vm)
{
    if (vm->state != MANAGED_RUNNING)
        return -EINVAL;
    machine_pause(vm->machine);
    vm->state = MANAGED_PAUSED;
    vm->last[0] = '\0';
    log_info("vm %s: paused", vm->config->name);
    return 0;
}

int manager_resume(struct managed *vm)
{
    if (vm->state != MANAGED_PAUSED)
        return -EINVAL;
    vm->state = MANAGED_RUNNING;
    log_info("vm %s: resumed", vm->config->name);
    machine_resume(vm->machine);
    return 0;
}

/* --- The whole set
 * -------------------------------------------------------------------------------------------- */

/* When the last one has stopped, the config's word counts; but only if one had run: a machine that cannot
 * even start its VMs stays up. */
static void check_all_stopped(void)
{
    bool any_ran = false;

    for (unsigned i = 0; i < manager_count(); i++) {
        if (is_busy(&manager.vm[i]))
            return;
        any_ran |= manager.vm[i].has_run;
    }
    if (capsule_is_busy()) /* this is called again when the crash has been told */
        return;
    if (!any_ran || manager.config->when_all_stopped == ALL_STOPPED_SHELL)
        return;
    log_info("all VMs have stopped: %s",
             manager.config->when_all_stopped == ALL_STOPPED_REBOOT ? "rebooting" : "powering off");
    if (manager.end)
        manager.end(manager.config->when_all_stopped == ALL_STOPPED_REBOOT);
}

/* It runs no more: its reason is in the log. */
static void ended(struct managed *vm)
{
    check_all_stopped();
    if (manager.stopped)
        manager.stopped(vm);
}

static void log_config_errors(const struct config *config)
{
    unsigned shown = (unsigned)min_u64(config->error_count, CONFIG_MAX_ERRORS);

    for (unsigned i = 0; i < shown; i++)
        log_error("%s:%u:%u: error: %s", CONFIG_FILE, config->error[i].line, config->error[i].column,
                  config->error[i].text);
    if (config->error_count > shown)
        log_error("%s: and %u errors more", CONFIG_FILE, config->error_count - shown);
}

void manager_init(const struct bootinfo *info, uint64_t handoff_tsc)
{
    static const struct disks_files files = { find_file, file_name };
    const struct boot_module *file;

    manager.info = info;
    disks_set_files(&files);
    manager.handoff_tsc = handoff_tsc;
    vclock_init(&manager.clock, tsc_hz());
    file = find_module(CONFIG_FILE);
    if (!file) {
        log_error("config: there is no %s among the boot modules: no VM can be started; build the image with "
                  "tools/mkiso, or add "
                  "`module2 /plinth.toml plinth.toml` to grub.cfg",
                  CONFIG_FILE);
        return;
    }
    manager.config = heap_alloc(sizeof(*manager.config));
    if (!manager.config) {
        log_error("config: no memory to read %s", CONFIG_FILE);
        return;
    }
    if (config_parse(manager.config, phys_to_virt(file->start), file->size))
        log_config_errors(manager.config);
    for (unsigned i = 0; i < manager.config->vm_count; i++) {
        manager.vm[i].config = &manager.config->vm[i];
        manager.vm[i].share = manager.config->vm[i].share;
        manager.vm[i].state = manager.config->vm[i].broken ? MANAGED_BROKEN : MANAGED_STOPPED;
        manager.vm[i].work.step = work_step;
        timer_init(&manager.vm[i].restart, &this_cpu()->timers, restart_due);
        if (manager.config->vm[i].broken)
            log_error("vm %s: not started: its config has errors (see above)", manager.config->vm[i].name);
    }
}

/* The first VM that must be started before this one and was not yet; NULL: there is none. */
static const struct managed *awaited(const struct managed *vm)
{
    for (unsigned i = 0; i < vm->config->after_count; i++) {
        const struct managed *other = &manager.vm[vm->config->after[i].vm];

        if (!other->has_run)
            return other;
    }
    return NULL;
}

/* Starts those that autostart held back and that need not wait any more. */
static void start_held(void)
{
    for (unsigned i = 0; i < manager_count(); i++) {
        struct managed *vm = &manager.vm[i];
        const struct managed *other;

        if (vm->state != MANAGED_HELD)
            continue;
        other = awaited(vm);
        if (other)
            format_text(vm->last, sizeof(vm->last), "waits for the start of %s", other->config->name);
        else
            (void)!manager_start(vm);
    }
}

void manager_autostart(void)
{
    for (unsigned i = 0; i < manager_count(); i++)
        if (manager.vm[i].state == MANAGED_STOPPED && manager.vm[i].config->autostart)
            manager.vm[i].state = MANAGED_HELD;
    start_held();
    for (unsigned i = 0; i < manager_count(); i++)
        if (manager.vm[i].state == MANAGED_HELD)
            log_info("vm %s: %s", manager.vm[i].config->name, manager.vm[i].last);
}

unsigned manager_count(void)
{
    return manager.config ? manager.config->vm_count : 0;
}

struct managed *manager_get(unsigned index)
{
    return &manager.vm[index];
}

struct managed *manager_find(const char *name)
{
    for (unsigned i = 0; i < manager_count(); i++)
        if (strcmp(manager.vm[i].config->name, name) == 0)
            return &manager.vm[i];
    return NULL;
}

const char *manager_state_name(const struct managed *vm)
{
    static const char *const names[] = {
        [MANAGED_BROKEN] = "broken",   [MANAGED_STOPPED] = "stopped",   [MANAGED_HELD] = "waiting",
        [MANAGED_WAITING] = "waiting", [MANAGED_STARTING] = "starting", [MANAGED_RUNNING] = "running",
        [MANAGED_PAUSED] = "paused"
    };

    return names[vm->state];
}

const char *manager_console(void)
{
    return manager.config ? manager.config->console : "";
}

const struct config *manager_config(void)
{
    return manager.config;
}

const char *manager_config_text(size_t *size)
{
    const struct boot_module *file = find_module(CONFIG_FILE);

    *size = file ? file->size : 0;
    return file ? phys_to_virt(file->start) : NULL;
}

const char *manager_missing_file(const struct managed *vm)
{
    const struct config_vm *config = vm->config;

    if (is_missing(config->kernel))
        return config->kernel;
    if (config->initrd[0] && is_missing(config->initrd))
        return config->initrd;
    for (unsigned i = 0; i < config->module_count; i++)
        if (is_missing(config->module[i].path))
            return config->module[i].path;
    for (unsigned i = 0; i < config->disk_count; i++) {
        const char *path = config_disk_file(&config->disk[i]);

        if (path && is_missing(path))
            return path;
    }
    return NULL;
}

struct managed *manager_attached(void)
{
    struct managed *vm = NULL;

    if (!manager.config)
        return NULL;
    if (manager.config->attach[0])
        vm = manager_find(manager.config->attach);
    else if (manager.config->vm_count == 1)
        vm = &manager.vm[0];
    return vm && vm->machine && !vm->output_ready ? vm : NULL;
}

void manager_on_end(void (*end)(bool reboot))
{
    manager.end = end;
}

void manager_on_stop(void (*stopped)(struct managed *vm))
{
    manager.stopped = stopped;
}
