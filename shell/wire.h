/*
 * The serial line of the machine: it shows one console at a time, a VM's or the shell's, and the log. One
 * key, Ctrl-A unless the config names another, is the prefix for Plinth's own keys. Called by the boot CPU
 * only.
 */
#pragma once

#include "guests/manager.h"

void wire_init(void);

/* What the config says of the prefix and of the echo of all consoles; NULL: there is none. */
void wire_configure(const struct config *config);

/* The name of the prefix: "Ctrl-A". */
const char *wire_prefix(void);

/*
 * Shows this VM's console, which must not be on a port of its own: the output that it still holds and that
 * was not shown yet, below the last lines that were. NULL: the shell.
 */
void wire_attach(struct managed *vm);

/* True if the wire shows the shell. */
bool wire_in_shell(void);

/* True if the wire shows this VM's console. */
bool wire_shows(const struct managed *vm);

/* A line (without its newline) on a line of its own, whatever is shown; it goes on behind it. */
void wire_line(const char *text, size_t length);

/* Text of the shell itself. */
void wire_print(const char *fmt, ...) __printf(1, 2);

/* Waits until everything is out, on the ports of other consoles too, for the last words before power-off. */
void wire_flush(void);
