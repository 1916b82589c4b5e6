#include "shell/shell.h"
#include "kernel/sched.h"
#include "lib/string.h"
#include "shell/wire.h"

#define PROMPT    "plinth> "
#define BACKSPACE 0x08
#define DELETE    0x7f
#define CTRL_C    0x03
#define CTRL_U    0x15

static struct {
    char line[128];
    size_t length;
    bool busy;       /* the line is complete and waits to be executed */
    char ahead[256]; /* what was typed in the meantime */
    size_t ahead_length;
    struct sched_work work;
} shell;

void shell_prompt(void)
{
    wire_print("\r\n" PROMPT "%.*s", shell.busy ? 0 : (int)shell.length, shell.line);
}

/* Splits at blanks, in place. */
static int split(char *line, char *word[SHELL_ARGS])
{
    int count = 0;

    while (count < SHELL_ARGS) {
        while (*line == ' ')
            *line++ = '\0';
        if (!*line)
            break;
        word[count++] = line;
        while (*line && *line != ' ')
            line++;
    }
    return count;
}

static void take(char c);

/* What was typed while a command ran, up to the next whole line. */
static void take_ahead(void)
{
    size_t taken = 0;

    while (taken < shell.ahead_length && !shell.busy)
        take(shell.ahead[taken++]);
    shell.ahead_length -= taken;
    memmove(shell.ahead, shell.ahead + taken, shell.ahead_length);
}

static bool execute(struct sched_work *work)
{
    char *word[SHELL_ARGS];
    int count = split(shell.line, word);
    const struct shell_command *command = shell_commands;

    (void)work;
    wire_print("\r\n");
    if (count) {
        while (command->name && strcmp(command->name, word[0]) != 0)
            command++;
        if (command->name)
            command->run(count, word);
        else
            wire_print("unknown command '%s'; 'help' lists the commands\r\n", word[0]);
    }
    shell.length = 0;
    shell.busy = false;
    if (wire_in_shell())
        shell_prompt();
    take_ahead();
    return false;
}

static void backspace(void)
{
    if (shell.length) {
        shell.length--;
        wire_print("\b \b");
    }
}

static void take(char c)
{
    if (c == '\r' || c == '\n') {
        shell.line[shell.length] = '\0';
        shell.busy = true;
        sched_queue_work(&shell.work);
    } else if (c == BACKSPACE || c == DELETE) {
        backspace();
    } else if (c == CTRL_U || c == CTRL_C) {
        while (shell.length)
            backspace();
    } else if (c >= ' ' && c < DELETE && shell.length + 1 < sizeof(shell.line)) {
        shell.line[shell.length++] = c;
        wire_print("%c", c);
    }
}

void shell_input(char c)
{
    if (!shell.busy)
        take(c);
    else if (shell.ahead_length < sizeof(shell.ahead))
        shell.ahead[shell.ahead_length++] = c;
}

void shell_init(void)
{
    shell.work.step = execute;
}
