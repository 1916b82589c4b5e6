/* What may stand at the beginning of a line: names of commands, aliases, and help about both. */
#include "guests/manager.h"
#include "kernel/config_share.h"
#include "lib/spell.h"
#include "lib/string.h"
#include "shell/lineedit.h"
#include "shell/commands.h"
#include "shell/wire.h"

/* Other names: those that virsh and xl have for what is a command here. */
static const struct {
    const char *name, *command;
} aliases[] = {
    { "domstate", "info" },  { "dominfo", "info" },   { "suspend", "pause" },
    { "unpause", "resume" }, { "domstats", "stats" }, { "create", "start" },
    { "setmem", "balloon" },
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
    if (command && count == 2 && command_takes(command, "KEY"))
        return config_share_key(index);
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

void run_help(int count, char *word[SHELL_ARGS])
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

        wire_print("%-9s %-17s %.*s\r\n", c->name, c->arguments,
                   end ? (int)(end - c->help) : (int)strlen(c->help), c->help);
    }
    wire_print("'help COMMAND' says more. Tab completes names, the up key brings back earlier lines.\r\n"
               "%s n and %s p show the next and previous VM's console, %s d comes back.\r\n",
               wire_prefix(), wire_prefix(), wire_prefix());
}
