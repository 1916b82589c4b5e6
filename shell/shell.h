/* The shell on the wire: a line editor and one table of commands. Boot CPU only. */
#pragma once

#include "lib/types.h"

#define SHELL_ARGS 4

struct shell_command {
    const char *name;
    const char *arguments;                          /* for help: "VM", or "" */
    int max;                                        /* arguments that it takes at most */
    const char *help;                               /* one line */
    void (*run)(int count, char *word[SHELL_ARGS]); /* word[0] is the command's name */
};

/* commands.c; ends with a NULL name. */
extern const struct shell_command shell_commands[];

void shell_init(void);

/* One character that was typed; the finished line is executed from the work list. */
void shell_input(char c);

/*
 * The running command has more output than the wire takes at once: `step` is called again and again from the
 * work list, each time for at most about 100 us, until it returns false. Ctrl-C ends it early. Called by a
 * command's run().
 */
void shell_go_on(bool (*step)(void));

/* Begins a new input line; while a command runs, its end does. */
void shell_prompt(void);

/* Takes the input line, if there is one, off the wire while something else is printed, and puts it back. */
void shell_hide_line(void);
void shell_show_line(void);
