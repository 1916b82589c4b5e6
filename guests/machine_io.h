/*
 * A machine's virtio devices: its disks, its network cards, its entropy, its second console, as the config
 * has them. Boot CPU only, unless said otherwise.
 */
#pragma once

#include "devices/vpci.h"

struct machine;

/* On the PCI bus: that of the first disk; the others follow. */
#define MACHINE_DISK_SLOT 8

/*
 * Opens the disks, makes the devices and puts them on the PCI bus, before vpci_attach(); `line` is where the
 * bus's interrupt pins lead. -EPERM: it cannot have one of its disks, as the log says; -ENOMEM. What was made
 * stays until machine_io_destroy().
 */
int machine_io_create(struct machine *m, const struct irq_line line[VPCI_LINES]) __must_check;
void machine_io_destroy(struct machine *m);

/* Requests that wait are given up; the devices are reset. With vm.devices: the latter. */
void machine_io_cancel(struct machine *m);
void machine_io_reset(struct machine *m);

/* No request is in flight: nothing writes to the VM's memory any more. After both of these. */
bool machine_io_idle(struct machine *m);
