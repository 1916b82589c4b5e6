/*
 * The serial line of the machine: it shows one console at a time, a VM's or the shell's, and the log. Ctrl-A
 * is the prefix for Plinth's own keys. Called by the boot CPU only.
 */
#pragma once

#include "guests/manager.h"

#define WIRE_PREFIX 0x01 /* Ctrl-A */
#define WIRE_DETACH 0x1d /* Ctrl-] */

void wire_init(void);

/* Shows this VM's console, from the oldest output that it still holds; NULL: the shell. */
void wire_attach(struct managed *vm);

/* True if the wire shows the shell. */
bool wire_in_shell(void);

/* Text of the shell itself. */
void wire_print(const char *fmt, ...) __printf(1, 2);

/* Waits until everything is out, for the last words before power-off. */
void wire_flush(void);
