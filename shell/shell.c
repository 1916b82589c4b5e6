#include "shell/shell.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/uart.h"
#include "kernel/sched.h"
#include "lib/string.h"
#include "shell/lineedit.h"
#include "shell/wire.h"

#define PROMPT "plinth> "
#define CTRL_C 0x03

#define COMMAND_SPACE                                                                                        \
    8192              /* a command begins when the wire takes so much: what it prints at once is less        \
                       */
#define RETRY_US 2000 /* how long to wait for the line when it is slower than a command */

static_assert(COMMAND_SPACE < UART_NOT_FOR_LOG, "a log that never ends must not keep commands from running");
static_assert(sizeof(PROMPT) + LINEEDIT_SHOW_MAX <= UART_FRAME_MAX, "the line comes back behind the log's");

static struct {
    struct lineedit edit;
    bool shown;             /* the prompt and the line are on the wire */
    char run[LINEEDIT_MAX]; /* the line that is being executed */
    bool running;
    bool json;          /* the running command was told --json */
    bool (*step)(void); /* what is left of the running command; NULL: nothing */
    void (*end)(void);  /* what it wants done at its end; NULL: nothing */
    struct timer retry;
    char ahead[256];                 /* typed while a command runs */
    unsigned ahead_head, ahead_tail; /* free-running */
    struct sched_work work;
} shell;

void shell_hide_line(void)
{
    if (shell.shown)
        lineedit_hide(&shell.edit);
}

void shell_show_line(void)
{
    if (shell.shown)
        lineedit_show(&shell.edit);
}

void shell_prompt(void)
{
    if (shell.running)
        return;
    wire_print("\r\n");
    shell.shown = true;
    shell_show_line();
}

int shell_split(char *line, char **word)
{
    int count = 0;

    while (count <= SHELL_ARGS) {
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

/* Takes --json out of the words, wherever it stands, if the command knows it. Returns their new count. */
static int take_options(const struct shell_command *command, int count, char **word)
{
    int left = 0;

    shell.json = false;
    for (int i = 0; i < count; i++) {
        if (strcmp(word[i], "--json") == 0 && command_takes(command, "--json"))
            shell.json = true;
        else
            word[left++] = word[i];
    }
    return left;
}

bool shell_json(void)
{
    return shell.json;
}

static void execute(void)
{
    char *words[SHELL_ARGS + 1], **word = words;
    int count = shell_split(shell.run, word);
    const struct shell_command *command;

    if (!count)
        return;
    command = command_find(&count, &word);
    if (!command)
        return;
    count = take_options(command, count, word);
    if (count - 1 > command->max)
        wire_print("%s: there is nothing to do with '%s'; usage: %s %s\r\n", word[0], word[command->max + 1],
                   command->name, command->arguments);
    else
        command->run(count, word);
}

static void enter(void)
{
    lineedit_take(&shell.edit, shell.run);
    shell.shown = false;
    shell.running = true;
    sched_queue_work(&shell.work);
}

/* Each finished line waits for the command before it. */
static void take_typed(void)
{
    while (!shell.running && shell.ahead_tail != shell.ahead_head)
        if (lineedit_input(&shell.edit, shell.ahead[shell.ahead_tail++ % sizeof(shell.ahead)]))
            enter();
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

bool shell_typed(void)
{
    return shell.ahead_tail != shell.ahead_head;
}

void shell_forget_typed(void)
{
    shell.ahead_tail = shell.ahead_head;
}

static bool work_step(struct sched_work *work)
{
    bool wait = !shell.step && uart_space() < COMMAND_SPACE;

    (void)work;
    if (!shell.step && !wait)
        execute();
    if (wait || (shell.step && shell.step())) {
        timer_arm(&shell.retry, tsc_now() + tsc_hz() / 1000000 * RETRY_US);
        return false;
    }
    shell.step = NULL;
    if (shell.end)
        shell.end();
    shell.end = NULL;
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

void shell_at_end(void (*end)(void))
{
    shell.end = end;
}

static void retry(struct timer *timer)
{
    (void)timer;
    sched_queue_work(&shell.work);
}

static void to_wire(void *context, const char *text, size_t length)
{
    (void)context;
    uart_write(text, length);
}

void shell_init(void)
{
    lineedit_init(&shell.edit);
    shell.edit.prompt = PROMPT;
    shell.edit.write = to_wire;
    shell.edit.word = command_word;
    shell.work.step = work_step;
    timer_init(&shell.retry, &this_cpu()->timers, retry);
}
