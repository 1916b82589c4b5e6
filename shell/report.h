/* The shell's commands that show something of the VMs: list, info, stats, mem; as text or as JSON. Boot CPU.
 */
#pragma once

#include "shell/shell.h"

void run_list(int count, char *word[SHELL_ARGS]);
void run_info(int count, char *word[SHELL_ARGS]);
void run_stats(int count, char *word[SHELL_ARGS]);
void run_mem(int count, char *word[SHELL_ARGS]);
