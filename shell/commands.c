/* The shell's commands: one table, at the end. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/power.h"
#include "guests/manager.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/spell.h"
#include "lib/string.h"
#include "drivers/uart.h"
#include "shell/lineedit.h"
#include "shell/report.h"
#include "shell/shell.h"
#include "shell/wire.h"

/* Other names: those that virsh and xl have for what is a command here. */
static const struct {
    const char *name, *command;
} aliases[] = {
    { "domstate", "info" },  { "dominfo", "info" },   { "suspend", "pause" },
    { "unpause", "resume" }, { "domstats", "stats" },
};

static const struct shell_command *by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(aliases[i].name, name) == 0)
            name = aliases[i].command;
    for (const struct shell_command *c = shell_commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

bool command_takes(const struct shell_command *command, const char *what)
{
    size_t length = strlen(what);

    for (const char *at = command->arguments; *at; at++)
        if (strncmp(at, what, length) == 0)
            return true;
    return false;
}

/* What may follow "vm": not what is about the whole machine, such as `reboot`. */
static bool about_vms(const struct shell_command *command)
{
    return command_takes(command, "VM") || strcmp(command->name, "list") == 0;
}

/* The index-th name of a command, from 0, then of those aliases that have one; NULL: no more. */
static const char *command_name(unsigned index)
{
    unsigned commands = 0;

    while (shell_commands[commands].name)
        commands++;
    if (index < commands)
        return shell_commands[index].name;
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (by_name(aliases[i].command) && index-- == commands)
            return aliases[i].name;
    return NULL;
}

static void say_unknown(const char *name)
{
    const char *meant;

    for (unsigned i = 0; (meant = command_name(i)); i++)
        if (spelt_like(name, meant))
            break;
    if (meant)
        wire_print("unknown command '%s'; did you mean '%s'? 'help' lists the commands\r\n", name, meant);
    else
        wire_print("unknown command '%s'; 'help' lists the commands\r\n", name);
}

const struct shell_command *command_find(int *count, char ***word)
{
    bool vm = strcmp((*word)[0], "vm") == 0 && *count > 1;
    const struct shell_command *command;

    *count -= vm;
    *word += vm;
    command = by_name((*word)[0]);
    if (!command)
        say_unknown((*word)[0]);
    else if (vm && !about_vms(command))
        wire_print("vm: '%s' is about the whole machine; without 'vm' it does that\r\n", (*word)[0]);
    else
        return command;
    return NULL;
}

const char *command_word(void *context, const struct lineedit *edit, unsigned start, unsigned index)
{
    char line[LINEEDIT_MAX], *words[SHELL_ARGS + 1], **word = words;
    const struct shell_command *command;
    int count;

    (void)context;
    memcpy(line, edit->line, start);
    line[start] = '\0';
    count = shell_split(line, word);
    if (count && strcmp(word[0], "vm") == 0) {
        count--;
        word++;
    }
    if (!count)
        return command_name(index);
    command = by_name(word[0]);
    if (!command || count > 1)
        return NULL;
    if (command_takes(command, "COMMAND"))
        return command_name(index);
    return command_takes(command, "VM") && index < manager_count() ? manager_get(index)->config->name : NULL;
}

struct managed *command_vm(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = count > 1 ? manager_find(word[1]) : NULL;

    if (count < 2)
        wire_print("%s: which VM? 'list' names them; usage: %s VM\r\n", word[0], word[0]);
    else if (!vm)
        wire_print("%s: there is no VM '%s'; 'list' names them\r\n", word[0], word[1]);
    return vm;
}

/* Usage, the one line, and the two below it; their lines end with \n in the table. */
static void help_of(const struct shell_command *command)
{
    const char *text = command->help;

    wire_print("usage: %s%s%s\r\n", command->name, *command->arguments ? " " : "", command->arguments);
    while (*text) {
        const char *end = strchr(text, '\n');
        int length = end ? (int)(end - text) : (int)strlen(text);

        wire_print("%.*s\r\n", length, text);
        text += length + (end != NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(aliases[i].command, command->name) == 0)
            wire_print("Another name of it: %s\r\n", aliases[i].name);
}

static void run_help(int count, char *word[SHELL_ARGS])
{
    const struct shell_command *command = count > 1 ? by_name(word[1]) : NULL;

    if (command) {
        help_of(command);
        return;
    }
    if (count > 1) {
        say_unknown(word[1]);
        return;
    }
    for (const struct shell_command *c = shell_commands; c->name; c++) {
        const char *end = strchr(c->help, '\n');

        wire_print("%-9s %-15s %.*s\r\n", c->name, c->arguments,
                   end ? (int)(end - c->help) : (int)strlen(c->help), c->help);
    }
    wire_print("'help COMMAND' says more. Tab completes names, the up key brings back earlier lines.\r\n"
               "Ctrl-A n and Ctrl-A p show the next and previous VM's console, Ctrl-A d comes back.\r\n");
}

/* The commands that do one thing to one running VM. */
static void act(int count, char *word[SHELL_ARGS], int (*action)(struct managed *))
{
    struct managed *vm = command_vm(count, word);

    if (vm && action(vm) == -EINVAL)
        wire_print("%s: %s is %s\r\n", word[0], vm->config->name, manager_state_name(vm));
}

static void run_start(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = command_vm(count, word);

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
    struct managed *vm = command_vm(count, word);

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
    { "help", "[COMMAND]", 1,
      "this list, or more about a command\n"
      "The list has a line for each command.\n"
      "Of one command it tells the usage and the other names.",
      run_help },
    { "list", "[--json]", 0,
      "the VMs and their states\n"
      "Each VM with its state, vCPUs and memory, and why it stopped.\n"
      "A broken one has errors in its config, which the log names.",
      run_list },
    { "start", "VM", 1,
      "start it\n"
      "Its memory is wiped, its devices are reset, its images are loaded anew.\n"
      "What keeps it from starting is in the log.",
      run_start },
    { "shutdown", "VM", 1,
      "press its power button\n"
      "What follows is the guest's choice: most shut down in order.\n"
      "One that does not listen can be destroyed.",
      run_shutdown },
    { "destroy", "VM", 1,
      "stop it at once\n"
      "As if the plug were pulled: the guest is not asked.\n"
      "Its memory is kept for the next start.",
      run_destroy },
    { "reset", "VM", 1,
      "start it anew at once\n"
      "As if its reset button were pressed: the guest is not asked.\n"
      "It starts from wiped memory.",
      run_reset },
    { "pause", "VM", 1,
      "stop its vCPUs\n"
      "They stand still until 'resume'; memory and devices are kept.\n"
      "The guest's clock goes on meanwhile.",
      run_pause },
    { "resume", "VM", 1,
      "let a paused one go on\n"
      "Where 'pause' stopped it.\n"
      "Interrupts that came meanwhile are delivered now.",
      run_resume },
    { "console", "VM", 1,
      "show its console\n"
      "What you type goes to the guest then, but for Ctrl-A and Ctrl-].\n"
      "Ctrl-A d comes back, and so does the VM's end.",
      run_console },
    { "info", "VM [--json]", 1,
      "all about one VM\n"
      "Its config and state, the exits so far, and what each vCPU does.\n"
      "RIP is that of the last exit.",
      run_info },
    { "stats", "[VM] [--json]", 1,
      "exits by kind\n"
      "How often the VM, or each VM, left the guest for Plinth, and why.\n"
      "Counted since the VM was started first; a destroyed one keeps its counts.",
      run_stats },
    { "dmesg", "", 0,
      "Plinth's log\n"
      "Its newest 64 KiB, with lines that are too detailed for the wire.\n"
      "Ctrl-C ends it.",
      run_dmesg },
    { "mem", "[--json]", 0,
      "who owns the machine's memory\n"
      "Each owner and each VM, in KiB; in JSON, in bytes.\n"
      "A stopped VM keeps its memory.",
      run_mem },
    { "version", "", 0,
      "Plinth's version\n"
      "As in the first line of the log.\n"
      "CHANGELOG.md tells what is new in it.",
      run_version },
    { "reboot", "", 0,
      "restart this machine at once\n"
      "The whole machine, not a VM: the guests are not asked.\n"
      "'reset VM' starts one VM anew.",
      run_reboot },
    { "poweroff", "", 0,
      "switch this machine off at once\n"
      "The whole machine, not a VM: the guests are not asked.\n"
      "'shutdown VM' asks one VM.",
      run_poweroff },
    { NULL, NULL, 0, NULL, NULL },
};
