#include "shell/shell.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "kernel/sched.h"
#include "lib/string.h"
#include "shell/wire.h"

#define PROMPT    "plinth> "
#define BACKSPACE 0x08
#define DELETE    0x7f
#define CTRL_C    0x03
#define CTRL_U    0x15
#define ESC       0x1b

#define RETRY_US   2000     /* how long to wait for the line when it is slower than a command */
#define ERASE_LINE "\033[K" /* to its end (ECMA-48 8.3.41, EL) */

static struct {
    char line[128];
    size_t length;
    enum { KEY_PLAIN, KEY_ESC, KEY_SEQUENCE } key;
    bool shown;    /* the prompt and the line are on the wire, the cursor behind them */
    char run[128]; /* the line that is being executed */
    bool running;
    bool (*step)(void); /* what is left of the running command; NULL: nothing */
    struct timer retry;
    char ahead[256];                 /* typed while a command runs */
    unsigned ahead_head, ahead_tail; /* free-running */
    struct sched_work work;
} shell;

void shell_hide_line(void)
{
    if (shell.shown)
        wire_print("\r" ERASE_LINE);
}

void shell_show_line(void)
{
    if (shell.shown)
        wire_print(PROMPT "%.*s", (int)shell.length, shell.line);
}

void shell_prompt(void)
{
    if (shell.running)
        return;
    wire_print("\r\n");
    shell.shown = true;
    shell_show_line();
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

static void execute(void)
{
    char *word[SHELL_ARGS];
    int count = split(shell.run, word);
    const struct shell_command *command = shell_commands;

    if (!count)
        return;
    while (command->name && strcmp(command->name, word[0]) != 0)
        command++;
    if (!command->name)
        wire_print("unknown command '%s'; 'help' lists the commands\r\n", word[0]);
    else if (count - 1 > command->max)
        wire_print("%s: there is nothing to do with '%s'; usage: %s %s\r\n", word[0], word[command->max + 1],
                   word[0], command->arguments);
    else
        command->run(count, word);
}

static void backspace(void)
{
    if (shell.length) {
        shell.length--;
        wire_print("\b \b");
    }
}

static void enter(void)
{
    memcpy(shell.run, shell.line, shell.length);
    shell.run[shell.length] = '\0';
    shell.length = 0;
    shell.shown = false;
    shell.running = true;
    wire_print("\r\n");
    sched_queue_work(&shell.work);
}

/* Cursor and function keys send ESC and a character, or ESC with [ or O, numbers, a final one (ECMA-48 5.4).
 */
static bool part_of_escape(char c)
{
    if (c == ESC)
        shell.key = KEY_ESC;
    else if (shell.key == KEY_ESC && (c == '[' || c == 'O'))
        shell.key = KEY_SEQUENCE;
    else if (shell.key == KEY_PLAIN)
        return false;
    else if (shell.key == KEY_ESC || c < ' ' || c >= '@')
        shell.key = KEY_PLAIN;
    return c >= ' ' || c == ESC;
}

static void edit(char c)
{
    if (part_of_escape(c))
        return;
    if (c == '\r' || c == '\n') {
        enter();
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

/* Each finished line waits for the command before it. */
static void take_typed(void)
{
    while (!shell.running && shell.ahead_tail != shell.ahead_head)
        edit(shell.ahead[shell.ahead_tail++ % sizeof(shell.ahead)]);
}

static bool no_more(void)
{
    return false;
}

void shell_input(char c)
{
    if (c == CTRL_C && shell.step)
        shell.step = no_more;
    if (shell.ahead_head - shell.ahead_tail < sizeof(shell.ahead))
        shell.ahead[shell.ahead_head++ % sizeof(shell.ahead)] = c;
    take_typed();
}

static bool work_step(struct sched_work *work)
{
    (void)work;
    if (!shell.step)
        execute();
    if (shell.step && shell.step()) {
        timer_arm(&shell.retry, tsc_now() + tsc_hz() / 1000000 * RETRY_US);
        return false;
    }
    shell.step = NULL;
    shell.running = false;
    if (wire_in_shell()) {
        shell_prompt();
        take_typed();
    }
    return false;
}

void shell_go_on(bool (*step)(void))
{
    shell.step = step;
}

static void retry(struct timer *timer)
{
    (void)timer;
    sched_queue_work(&shell.work);
}

void shell_init(void)
{
    shell.work.step = work_step;
    timer_init(&shell.retry, &this_cpu()->timers, retry);
}
