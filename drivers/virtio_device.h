/*
 * What the drivers of virtio devices share: modern virtio-pci, from the capabilities to a queue that is
 * enabled. Source: VIRTIO 1.2, 3.1 and 4.1. Boot CPU, but where told otherwise. Compiles on the host, where a
 * test is the device.
 */
#pragma once

#include "drivers/pci.h"
#include "drivers/virtio_ring.h"
#include "kernel/post.h"

struct virtio_device {
    struct pci_device pci;
    struct post stop; /* turns bus mastering off, which the boot CPU has to do */
    volatile uint8_t *common, *notify, *isr, *config;
    uint32_t notify_size, notify_step, config_size;
    uint64_t features; /* those that both sides have agreed on */
};

/* Finds the registers of the function. NULL, or why it cannot be used. */
const char *virtio_device_map(struct virtio_device *device, const struct pci_device *pci) __must_check;

/*
 * Resets it, and agrees on those of the `wanted` features that it has. NULL, or why it cannot be used: one
 * that is `needed` is not among them, for example; the device has been told so.
 */
const char *virtio_device_begin(struct virtio_device *device, uint64_t wanted, uint64_t needed) __must_check;

/*
 * Reads the device's configuration into the structure at `to`: `count` fields, each with its width in bytes
 * (8 as two of 4), behind each other. What the device does not have reads as zero.
 */
void virtio_device_config(const struct virtio_device *device, void *to, const uint8_t *width, unsigned count);

/* How many entries queue n can have, a power of two; 0: there is no such queue. */
unsigned virtio_device_queue_size(struct virtio_device *device, unsigned n);

/*
 * Makes `ring`, which has been placed, queue n of the device, by this vector of MSI-X or VIRTIO_NO_VECTOR.
 * -ENODEV: the queue is not there or is smaller, its bell lies nowhere, or the device refuses the vector.
 */
int virtio_device_queue(struct virtio_device *device, struct virtio_ring *ring, unsigned n,
                        unsigned vector) __must_check;

/* Changes of its configuration come by this vector. False: the device refuses it. */
bool virtio_device_config_vector(struct virtio_device *device, unsigned vector) __must_check;

/* The queues are made: it works from now on, and may touch memory. */
void virtio_device_go(struct virtio_device *device);

/* Its status: 0xff when it is gone, 0 when a reset is over. Any CPU. */
unsigned virtio_device_status(const struct virtio_device *device);

/* Why a line's interrupt came: VIRTIO_ISR_ bits. Reading it ends the interrupt (4.1.5.4). */
unsigned virtio_device_isr(const struct virtio_device *device);

/* Resets it, without waiting for the end of that. Any CPU. */
void virtio_device_reset(struct virtio_device *device);

/* Stops it for good: resets it, and turns its bus mastering off. Soon it touches no memory any more. Any CPU.
 */
void virtio_device_stop(struct virtio_device *device);

/* 2^order pages of zeroes for what a device reaches; NULL: no memory. */
void *virtio_device_pages(unsigned order) __must_check;

/* --- virtio_mmio.c: its registers, 1, 2 or 4 bytes at once. Host tests have their own. */

uint32_t virtio_read(const volatile uint8_t *at, unsigned bytes);
void virtio_write(volatile uint8_t *at, unsigned bytes, uint32_t value);
