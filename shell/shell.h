/* The shell on the wire: a line editor and one table of commands. Boot CPU only. */
#pragma once

#include "lib/types.h"

#define SHELL_ARGS 5

struct lineedit;
struct managed;

struct shell_command {
    const char *name;
    const char
        *arguments;   /* for help: "", or out of "VM", "[VM]" (completed by Tab), "[--json]", "[COMMAND]", "KEY", "[DISK]" */
    int max;          /* arguments that it takes at most; --json, if it knows that, does not count */
    const char *help; /* one line; behind a \n, two more for `help COMMAND` */
    void (*run)(int count, char *word[SHELL_ARGS]); /* word[0] is the command's name */
};

/* commands.c; ends with a NULL name. */
extern const struct shell_command shell_commands[];

/*
 * The command of *count words, by its name or an alias; "vm" before it is taken away. NULL after saying what
 * is wrong.
 */
const struct shell_command *command_find(int *count, char ***word);

/* Whether `what` ("VM", "--json") is among its arguments. */
bool command_takes(const struct shell_command *command, const char *what);

/* The VM that word[1] names, or NULL after saying what is wrong. */
struct managed *command_vm(int count, char *word[SHELL_ARGS]);

/* Whether keys wait that were typed since the running command began; and forgets them. */
bool shell_typed(void);
void shell_forget_typed(void);

/* Splits a line at blanks, in place, into at most SHELL_ARGS + 1 words; returns how many. */
int shell_split(char *line, char **word);

/* The words that Tab completes, as in lineedit.h. */
const char *command_word(void *context, const struct lineedit *edit, unsigned start, unsigned index);

/* True if the running command was told --json; then it prints one line of JSON. Called by its run(). */
bool shell_json(void);

void shell_init(void);

/* One character that was typed; the finished line is executed from the work list. */
void shell_input(char c);

/*
 * The running command has more output than the wire takes at once: `step` is called again and again from the
 * work list, each time for at most about 100 us, until it returns false. Ctrl-C ends it early. Called by a
 * command's run().
 */
void shell_go_on(bool (*step)(void));

/* Has `end` called once when the running command ends, in whatever way. Called by a command's run(). */
void shell_at_end(void (*end)(void));

/* Begins a new input line; while a command runs, its end does. */
void shell_prompt(void);

/* Takes the input line, if there is one, off the wire while something else is printed, and puts it back. */
void shell_hide_line(void);
void shell_show_line(void);
