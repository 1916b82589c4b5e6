/*
 * virtio's console (OASIS virtio 1.2, section 5.3) with one port: a second device at the console of a VM,
 * beside its 16550. What the guest sends goes there at once, as with the 16550: if nobody takes it the oldest
 * gives way, and the guest never waits. What is typed is this device's from the driver's first output on,
 * until the other device puts something there, or the driver is gone; it waits until the driver has buffers.
 *
 * The event index is not offered: a notification is then sent for all that is made available, so what one
 * finds is bounded by the ring. Neither is the reset of a single queue, so that one that is begun anew is so
 * by a reset of the device, which is told of.
 */
#pragma once

#include "devices/vvirtio.h"
#include "io/console.h"
#include "vmx/vclock.h"

#define VCON_SLOT       31
#define VCON_QUEUE_SIZE 64
#define VCON_SEGMENTS   128     /* pieces of one buffer, which has at most VCON_QUEUE_SIZE descriptors */
#define VCON_TURN       4096u   /* bytes that a doorbell puts out before others have their turn */
#define VCON_PAUSE_NS   1000000 /* until what is left then goes on */

struct vcon_state {
    struct vvirtio_state virtio;
    uint64_t sent;   /* bytes of the next buffer of the transmit queue that are out already */
    uint8_t listens; /* what is typed is for it */
    uint8_t reserved[7];
};

struct vcon {
    struct vvirtio virtio;
    struct console *console;
    void (*other_ready)(void *context); /* who listens when this device does not */
    void *other;
    struct vtimer again; /* goes on with what a turn has left */
    uint64_t sent;
    struct vring_segment segment[VCON_SEGMENTS]; /* of the buffer at hand; too much for a stack */
};

/*
 * Who listens at *console now does so again whenever this device does not. All calls belong to the holder of
 * vm.devices; `queue` is the caller's CPU's.
 */
void vcon_init(struct vcon *vcon, const struct gmem *mem, struct vlapic_bus *bus, const struct vclock *clock,
               struct timer_queue *queue, struct console *console);
void vcon_reset(struct vcon *vcon);

void vcon_save(struct vcon *vcon, struct vcon_state *out);
int vcon_check(const struct vcon *vcon, const struct vcon_state *state) __must_check;
void vcon_load(struct vcon *vcon, const struct vcon_state *state);

/* The console's input_ready: what was typed goes into the driver's buffers. `vcon` is a struct vcon. */
void vcon_input(void *vcon);

/* Puts it on the bus, before vpci_attach(); errors are those of vpci_add(). */
int vcon_attach(struct vcon *vcon, struct vpci *pci) __must_check;
