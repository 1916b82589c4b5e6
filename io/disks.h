/*
 * The machine's disks by name: which one a VM's config means, and whether the VM may have it. Says in words
 * why not. Compiles on the host. Boot CPU only, all of it.
 */
#pragma once

#include "io/block.h"
#include "io/ramdisk.h"
#include "kernel/config.h"

#define DISKS_WHY_MAX 224

/* The files on the boot medium, for "module:" sources. */
struct disks_files {
    /* The bytes of the file, NULL: there is none. They stay for good. */
    const void *(*find)(const char *path, uint64_t *size);
    const char *(*name)(unsigned n); /* of the n-th, from 0; NULL: there are no more */
};

void disks_set_files(const struct disks_files *files);

/*
 * Looks for partitions on all disks that were added so far; once. It goes on in disks_scan_step(), which is
 * called until it says false: then each disk has answered. Interrupts must be taken between the calls.
 */
void disks_scan(struct timer_queue *queue);
bool disks_scan_step(void);

/* Says in the log which disks have not answered so far; their partitions are not known. */
void disks_scan_late(void);

/* A disk that a VM has. All zeroes: none. */
struct vm_disk {
    struct block_user user;
    struct ramdisk *copy; /* the VM's own, of a file */
};

/* For whom a disk is opened. */
struct disk_opener {
    const char *vm;            /* its name */
    unsigned owner;            /* of its frames */
    struct timer_queue *queue; /* the CPU's, for limits */
};

/*
 * Opens what `config` names. 0; else *disk is as before and `why` says what is wrong and what to do, to
 * follow a colon: -ENOENT (there is none), -EEXIST (there are several), -EBUSY (in use), -EROFS (it cannot be
 * written), -ENODEV (it is gone), -ENOMEM, -EINVAL.
 */
int disk_open(struct vm_disk *disk, const struct config_disk *config, const struct disk_opener *opener,
              char why[DISKS_WHY_MAX]) __must_check;

/*
 * Gives it back, with the VM's copy. block_user_idle(), and after block_cancel() and sched_barrier(): the VM
 * makes no requests any more. Does nothing if none is open.
 */
void disk_close(struct vm_disk *disk);

/*
 * Opens all disks of a VM, as many as `config` has; what was opened is closed again if one is refused, whose
 * index is then in *which.
 */
int disks_open(struct vm_disk disk[CONFIG_MAX_DISKS], const struct config_vm *config,
               const struct disk_opener *opener, unsigned *which, char why[DISKS_WHY_MAX]) __must_check;
void disks_close(struct vm_disk disk[CONFIG_MAX_DISKS]);

/* block_cancel() for all of them; they are all idle. Those not open are passed over. */
void disks_cancel(struct vm_disk disk[CONFIG_MAX_DISKS]);
bool disks_idle(const struct vm_disk disk[CONFIG_MAX_DISKS]);
