/* From a source in the config to a device. Part of disks.c; the shell asks it what a device is. */
#pragma once

#include "io/disks.h"

/*
 * What `config` names; errors as disk_open() has them. A file that the VM may write to is copied for it:
 * *copy, which disks_give_back() takes back; a shared one stays for good.
 */
int disks_find(const struct config_disk *config, const struct disk_opener *opener,
               struct block_device **device, struct ramdisk **copy, char why[DISKS_WHY_MAX]) __must_check;
void disks_give_back(struct ramdisk *copy);

/* It is a file in memory and no disk of the machine. */
bool disks_is_file(const struct block_device *device);
