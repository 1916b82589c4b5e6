/*
 * The functions behind the table in commands.c, by their files. Each is called from the work list on the boot
 * CPU, with at most SHELL_ARGS words; word[0] is the name that was typed.
 */
#pragma once

#include "shell/shell.h"

/* names.c */
void run_help(int count, char *word[SHELL_ARGS]);

/* report.c: the VMs and the memory */
void run_list(int count, char *word[SHELL_ARGS]);
void run_info(int count, char *word[SHELL_ARGS]);
void run_mem(int count, char *word[SHELL_ARGS]);

/* balloon.c */
void run_balloon(int count, char *word[SHELL_ARGS]);
struct managed;
void balloon_print(const struct managed *vm); /* a part of what info tells; nothing if it has none */

/* stats.c */
void run_stats(int count, char *word[SHELL_ARGS]);
struct managed;
unsigned stats_vcpus(const struct managed *vm); /* that it has; 0 before its first start */
uint64_t stats_exits(const struct managed *vm); /* of all of them, since then */

/* shares.c: who has the CPUs, and how much of them */
void run_set(int count, char *word[SHELL_ARGS]);
void run_sched(int count, char *word[SHELL_ARGS]);
void run_cpus(int count, char *word[SHELL_ARGS]);
void run_top(int count, char *word[SHELL_ARGS]);

/* texts.c: what was written elsewhere */
void run_log(int count, char *word[SHELL_ARGS]);
void run_config(int count, char *word[SHELL_ARGS]);
void run_dmesg(int count, char *word[SHELL_ARGS]);

/* hardware.c: what the machine has */
void run_pci(int count, char *word[SHELL_ARGS]);
void run_irq(int count, char *word[SHELL_ARGS]);

/* disklist.c: the machine's disks */
void run_disks(int count, char *word[SHELL_ARGS]);

/* networks.c: the networks between VMs */
void run_networks(int count, char *word[SHELL_ARGS]);
void run_capture(int count, char *word[SHELL_ARGS]);

/* trace.c: the flight recorder */
void run_trace(int count, char *word[SHELL_ARGS]);

/* dump.c */
void run_dump(int count, char *word[SHELL_ARGS]);

/* doctor.c */
void run_doctor(int count, char *word[SHELL_ARGS]);
