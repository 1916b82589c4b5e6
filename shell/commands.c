/* The shell's commands: one table, at the end. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/power.h"
#include "guests/manager.h"
#include "kernel/frames.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "drivers/uart.h"
#include "shell/shell.h"
#include "shell/wire.h"

/* The VM that word[1] names, or NULL after saying so. */
static struct managed *named_vm(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = count > 1 ? manager_find(word[1]) : NULL;

    if (count < 2)
        wire_print("%s: which VM? 'list' names them\r\n", word[0]);
    else if (!vm)
        wire_print("%s: there is no VM '%s'; 'list' names them\r\n", word[0], word[1]);
    return vm;
}

static void run_help(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    for (const struct shell_command *c = shell_commands; c->name; c++)
        wire_print("%-9s %-4s %s\r\n", c->name, c->arguments, c->help);
    wire_print("%s n and %s p show the next and previous VM's console, %s d comes back.\r\n", wire_prefix(),
               wire_prefix(), wire_prefix());
}

static void run_list(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    wire_print("%-20s %-9s %5s %10s  %s\r\n", "NAME", "STATE", "VCPUS", "MEMORY", "LAST STOP");
    for (unsigned i = 0; i < manager_count(); i++) {
        const struct managed *vm = manager_get(i);

        wire_print("%-20s %-9s %5u %6llu MiB  %s\r\n", vm->config->name, manager_state_name(vm),
                   vm->config->cpus, (unsigned long long)(vm->config->memory / MiB),
                   vm->state == MANAGED_RUNNING ? "" : vm->last);
    }
}

/* The commands that do one thing to one running VM. */
static void act(int count, char *word[SHELL_ARGS], int (*action)(struct managed *))
{
    struct managed *vm = named_vm(count, word);

    if (vm && action(vm) == -EINVAL)
        wire_print("%s: %s is %s\r\n", word[0], vm->config->name, manager_state_name(vm));
}

static void run_start(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = named_vm(count, word);

    if (vm)
        (void)!manager_start(vm); /* whatever is wrong is in the log, which is on the wire too */
}

static void run_shutdown(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_shutdown);
}

static void run_destroy(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_destroy);
}

static void run_reset(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_reset);
}

static void run_pause(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_pause);
}

static void run_resume(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_resume);
}

static void run_console(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = named_vm(count, word);

    if (vm)
        wire_attach(vm);
}

#define DMESG_LINES 32 /* in one step */

static struct {
    uint64_t at, end;
} dmesg;

/* Sends as much of the log as the wire takes now. What is logged meanwhile is on the wire anyway. */
static bool dmesg_step(void)
{
    char line[LOG_LINE_MAX];

    for (unsigned i = 0;
         i < DMESG_LINES && dmesg.at < dmesg.end && uart_space() > sizeof(line) + UART_FRAME_MAX; i++) {
        size_t length = log_next(&dmesg.at, line);

        if (length)
            wire_print("%.*s\r\n", (int)length - 1, line);
    }
    return dmesg.at < dmesg.end && wire_in_shell();
}

static void run_dmesg(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    dmesg.at = 0;
    dmesg.end = log_end();
    shell_go_on(dmesg_step);
}

static void run_mem(int count, char *word[SHELL_ARGS])
{
    static const struct {
        unsigned owner;
        const char *name;
    } rows[] = { { FRAME_FREE, "free" },
                 { FRAME_IMAGE, "Plinth's image" },
                 { FRAME_FRAMES, "frame records" },
                 { FRAME_PTAB, "page tables" },
                 { FRAME_HEAP, "heap" },
                 { FRAME_PERCPU, "per-CPU areas" },
                 { FRAME_MODULE, "boot modules" } };

    (void)count;
    (void)word;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        wire_print("%-16s %10llu KiB\r\n", rows[i].name,
                   (unsigned long long)(frames_count(rows[i].owner) * PAGE_SIZE / KiB));
    for (unsigned i = 0; i < manager_count(); i++)
        wire_print("vm %-13s %10llu KiB\r\n", manager_get(i)->config->name,
                   (unsigned long long)(frames_count(FRAME_VM + i) * PAGE_SIZE / KiB));
}

static void run_version(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    wire_print("Plinth " PLINTH_VERSION "\r\n");
}

static void run_reboot(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    wire_flush();
    machine_reboot();
}

static void run_poweroff(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    wire_flush();
    machine_poweroff();
}

const struct shell_command shell_commands[] = {
    { "help", "", 0, "this list", run_help },
    { "list", "", 0, "the VMs and their states", run_list },
    { "start", "VM", 1, "start it", run_start },
    { "shutdown", "VM", 1, "press its power button", run_shutdown },
    { "destroy", "VM", 1, "stop it at once", run_destroy },
    { "reset", "VM", 1, "start it anew at once", run_reset },
    { "pause", "VM", 1, "stop its vCPUs", run_pause },
    { "resume", "VM", 1, "let a paused one go on", run_resume },
    { "console", "VM", 1, "show its console", run_console },
    { "dmesg", "", 0, "Plinth's log", run_dmesg },
    { "mem", "", 0, "who owns the machine's memory", run_mem },
    { "version", "", 0, "Plinth's version", run_version },
    { "reboot", "", 0, "restart this machine at once", run_reboot },
    { "poweroff", "", 0, "switch this machine off at once", run_poweroff },
    { NULL, NULL, 0, NULL, NULL },
};
