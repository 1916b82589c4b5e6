/*
 * The balloon of a machine: what its guest does without goes to the machine's free memory. Boot CPU only,
 * unless said otherwise.
 */
#pragma once

#include "devices/vballoon.h"
#include "kernel/sched.h"

struct machine;

#define BALLOON_BATCH 64 /* chunks that are taken away at a time */

struct machine_balloon {
    struct vballoon device;
    struct vtimer delay; /* until chunks are taken away: a guest cannot ask for it all the time */
    uint8_t *detached[2 * BALLOON_BATCH]; /* no longer the guest's, but a disk's may be writing there */
    unsigned detached_count;
};

/* With `balloon` in the config: makes the device and puts it on the PCI bus. -ENOMEM, or as vpci_add(). What
 * was made stays until machine_balloon_destroy(). */
int machine_balloon_create(struct machine *m) __must_check;
void machine_balloon_destroy(struct machine *m);

/* With vm.devices. */
void machine_balloon_reset(struct machine *m);

/* No disk writes to the VM's memory any more: nothing of it is kept back. */
void machine_balloon_idle(struct machine *m);

/* How much the balloon is to have, in bytes. -ENODEV: there is none. */
int machine_balloon_set(struct machine *m, uint64_t bytes) __must_check;

/* What is to be seen of it; false: there is none. Statistics are those that came last: new ones are asked
 * for. */
struct machine_balloon_info {
    uint64_t target, actual; /* bytes: wished, and as the driver says */
    uint64_t away;           /* bytes of its RAM that the machine has */
    uint64_t came_back;      /* bytes that were taken back since it was started */
    uint64_t stat[VIRTIO_BALLOON_S_COUNT];
    uint32_t stat_known; /* a bit for each */
    bool driver;         /* there is one */
};
bool machine_balloon_info(struct machine *m, struct machine_balloon_info *out);
