/*
 * Disks of a hypervisor below: virtio block devices by modern virtio-pci, with a queue for each CPU where the
 * device has so many. Source: VIRTIO 1.2, 4.1 and 5.2.
 */
#pragma once

#include "drivers/pci.h"

/* A device has one of two ids: the modern one, and the transitional one. */
extern const struct pci_driver virtio_blk_driver, virtio_blk_driver_transitional;
