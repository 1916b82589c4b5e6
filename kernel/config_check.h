/* The list of errors, and what can be checked of a config only when all of it was read: names of VMs that
 * other places use, and values that must fit each other. Part of config.c; nobody else includes this. */
#pragma once

#include <stdarg.h>
#include "kernel/config.h"

/* Appends an error; it breaks `vm` unless that is NULL. */
void config_error(struct config *config, struct config_vm *vm, struct toml_place place, const char *fmt, ...)
    __printf(4, 5);
void config_error_v(struct config *config, struct config_vm *vm, struct toml_place place, const char *fmt,
                    va_list args) __printf(4, 0);

/* Puts them in the order of the file. */
void config_sort_errors(struct config *config);

struct config_vm *config_find_vm(struct config *config, const char *name);

/* config_net.c: networks that VMs name are made, cards get their addresses; no two may have the same in a
 * network, and no two networks one uplink. */
void config_check_networks(struct config *config);

/* An `attach` that names no VM, or one that the wire does not show, is taken back; no two consoles may have
 * one port; a VM has a disk once; `after` gets its VMs' numbers and may make no circle; `cap` must fit `cpus`
 * and `reserve`. */
void config_check_whole(struct config *config);
