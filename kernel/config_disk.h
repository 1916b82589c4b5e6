/* What the config says of a VM's disks: reading and checking it. Compiles on the host. */
#pragma once

#include "kernel/config.h"

/* By what a source names a disk. */
enum config_disk_kind {
    CONFIG_DISK_PART,     /* "part:LABEL", of a GPT */
    CONFIG_DISK_PARTUUID, /* "partuuid:UUID", of a GPT, or DISK-NN of an MBR */
    CONFIG_DISK_DISK,     /* "disk:NAME", its serial number or what `disks` in the shell calls it */
    CONFIG_DISK_MODULE,   /* "module:FILE", a file on the boot medium */
    CONFIG_DISK_KINDS
};

/* The part of `source` behind its colon, and what it is. NULL, or what is wrong with it, to follow "source"
 * in a sentence. */
const char *config_read_source(const char *source, enum config_disk_kind *kind, const char **name);

/* "part" and so on. */
const char *config_disk_kind_name(enum config_disk_kind kind);

/* The file of a "module:" source, NULL if it is another. The source was checked. */
const char *config_disk_file(const struct config_disk *disk);

/* "50M" into bytes a second. NULL, or what is wrong with it, to follow the key in a sentence. */
const char *config_read_rate(const char *text, uint64_t *rate);
