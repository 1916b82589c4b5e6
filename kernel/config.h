/*
 * plinth.toml, parsed and checked. All strings are copies inside the config. Errors never stop the parse early where
 * something more can be said: a VM with an error is marked, the others stay usable. Compiles on the host;
 * tools/mkiso checks a config with this very code.
 */
#pragma once

#include "lib/types.h"

#define CONFIG_MAX_VMS     64
#define CONFIG_MAX_MODULES 8
#define CONFIG_MAX_ERRORS  16
#define CONFIG_NAME_MAX    32   /* VM names: [A-Za-z0-9_-]+ */
#define CONFIG_PATH_MAX    128
#define CONFIG_CMDLINE_MAX 1024
#define CONFIG_MAX_VCPUS   16

enum config_all_stopped { ALL_STOPPED_SHELL, ALL_STOPPED_POWEROFF, ALL_STOPPED_REBOOT };

struct config_module {
    char path[CONFIG_PATH_MAX];
    char cmdline[CONFIG_CMDLINE_MAX]; /* modules = ["file", { path = "file", cmdline = "words" }] */
};

struct config_vm {
    char name[CONFIG_NAME_MAX];
    unsigned line;     /* of its [vm.NAME] header, for messages */
    bool broken;       /* an error was found in it: do not start it */
    unsigned cpus;     /* 1 .. CONFIG_MAX_VCPUS; default 1 */
    uint64_t memory;   /* bytes, multiple of 2 MiB, at least 2 MiB; required */
    char kernel[CONFIG_PATH_MAX]; /* required */
    char initrd[CONFIG_PATH_MAX]; /* empty: none */
    char cmdline[CONFIG_CMDLINE_MAX];
    unsigned module_count;
    struct config_module module[CONFIG_MAX_MODULES];
    bool autostart;    /* default true */
    bool debug_exit;   /* isa-debug-exit at port 0xf4; default false */
};

struct config_error {
    unsigned line, column; /* from 1 */
    char text[192];        /* what, and what to do: "unknown key 'memry' in [vm.web]; did you mean 'memory'?" */
};

struct config {
    char console[64]; /* host.console, e.g. "com1,115200"; empty: not said */
    char attach[CONFIG_NAME_MAX];
    enum config_all_stopped when_all_stopped;
    unsigned vm_count;
    struct config_vm vm[CONFIG_MAX_VMS];
    unsigned error_count; /* may exceed CONFIG_MAX_ERRORS: the first ones are kept */
    struct config_error error[CONFIG_MAX_ERRORS];
};

/*
 * Parses `size` bytes of UTF-8 text. 0 if there was no error, else -EINVAL with error[] filled and with everything that could be
 * understood in place. `config` is large: allocate it, do not put it on a stack.
 */
int config_parse(struct config *config, const char *text, size_t size) __must_check;
