/*
 * A modern virtio device on the PCI bus: the transport (OASIS virtio 1.2, section 4.1) and what all kinds of
 * devices share (section 2). What is special to a kind stands behind a struct vvirtio_ops.
 *
 * Interrupts are MSI-X messages, or the pin for a driver that does not enable them. BAR 0 has all of it, a
 * page for each structure: 0x0000 common  0x1000 ISR  0x2000 device  0x3000 notify, 4 bytes a queue  0x4000
 * MSI-X table 0x5000 pending bits
 *
 * Locks. The BAR's handlers and all that says so run with vm.devices held. A queue's lock guards its ring and
 * what the device behind keeps for the queue's buffers; a disk's interrupt takes it without vm.devices.
 * Order: vm.devices, a queue's (one at a time), MSI-X's.
 */
#pragma once

#include "devices/vmsix.h"
#include "devices/vpci.h"
#include "devices/vring.h"
#include "kernel/lock.h"

#define VVIRTIO_MAX_QUEUES 16

/* What a kind of device does. `device` is its own pointer. */
struct vvirtio_ops {
    /* Buffers may be there. vm.devices is held, the queue's lock is not. */
    void (*notified)(void *device, unsigned queue);
    /* A dword of the device's configuration, index * 4 < config_size; vm.devices is held. */
    uint32_t (*config_read)(void *device, unsigned index);
    /* A driver's write; NULL: nothing can be written. */
    void (*config_write)(void *device, uint32_t offset, unsigned size, uint32_t value);
    /* The driver is ready, its features are known, and queues run; vm.devices is held. NULL: nothing to do.
     */
    void (*started)(void *device);
    /* The device was reset, and holds no buffer of any queue; vm.devices is held. NULL: nothing to do. */
    void (*reset)(void *device);
};

struct vvirtio_queue_state {
    uint64_t desc, driver, device; /* guest physical */
    struct vring_state ring;       /* if enabled */
    uint16_t size, vector;
    uint8_t enabled, resetting;
};

/* Kept while nothing is in flight: see vvirtio_is_idle(). */
struct vvirtio_state {
    uint32_t config[VPCI_CONFIG_DWORDS];
    struct vmsix_state msix;
    uint64_t driver_features;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t config_vector, queue_select;
    uint8_t status, generation, isr, resetting;
    struct vvirtio_queue_state queue[VVIRTIO_MAX_QUEUES];
};

struct vvirtio_queue {
    struct lock lock; /* for what follows; also read by holders of vm.devices, who alone change `s` */
    struct vring ring;
    bool running;  /* the device may take buffers: enabled, DRIVER_OK, no reset under way */
    unsigned held; /* chains that it has taken */
    struct vvirtio_queue_state s;
    uint16_t max_size;
};

struct vvirtio {
    struct vvirtio_state s; /* s.config, s.msix and s.queue only in what is saved */
    struct vpci_function function;
    struct vmsix msix;
    struct vvirtio_queue queue[VVIRTIO_MAX_QUEUES];
    unsigned queues;
    const struct gmem *mem;
    const struct vvirtio_ops *ops;
    void *device;
    uint64_t features;    /* offered */
    uint32_t config_size; /* bytes of the device's configuration, up to 4096 */
};

/* What a device is made of. */
struct vvirtio_kind {
    unsigned id;         /* VIRTIO_ID_ */
    uint32_t class_code; /* PCI class, subclass and interface, 24 bits */
    unsigned queues;     /* 1 to VVIRTIO_MAX_QUEUES */
    uint16_t queue_size; /* the most that a queue can have, a power of two */
    uint64_t features;   /* beside VERSION_1, which is always offered */
    uint32_t config_size;
    const struct vvirtio_ops *ops;
};

/*
 * All calls belong to the holder of vm.devices unless they say otherwise. `bus` takes the interrupts. After
 * vvirtio_init() the owner puts v->function on the PCI bus.
 */
void vvirtio_init(struct vvirtio *v, const struct vvirtio_kind *kind, const struct gmem *mem,
                  struct vlapic_bus *bus, void *device);

/*
 * The VM is reset. No buffer is taken any more; those that are held must come back before the guest's memory
 * is anything else: see vvirtio_is_idle(). The device reads as reset when they have.
 */
void vvirtio_reset(struct vvirtio *v);
/* No buffer is held. Any CPU. Without vm.devices and a stopped VM it is true only for the moment. */
bool vvirtio_is_idle(struct vvirtio *v);

void vvirtio_save(struct vvirtio *v, struct vvirtio_state *out);
int vvirtio_check(const struct vvirtio *v, const struct vvirtio_state *state) __must_check;
void vvirtio_load(struct vvirtio *v, const struct vvirtio_state *state);

/* Handlers of BAR 0, for aligned accesses of 8, 16 and 32 bits. */
uint64_t vvirtio_read(void *virtio, uint32_t offset, unsigned size);
void vvirtio_write(void *virtio, uint32_t offset, unsigned size, uint64_t value);

/* --- For the device behind: any CPU --- */

/* Whether the driver has accepted a feature. Constant while a queue runs. */
static inline bool vvirtio_has(const struct vvirtio *v, uint64_t feature)
{
    return (v->s.status & VIRTIO_FEATURES_OK) && (v->s.driver_features & feature);
}

/*
 * vring_pop() with the queue's lock held; 0 as well if the queue does not run, or its ring is nonsense: then
 * the driver has been told that the device needs a reset. Each chain taken is given to vvirtio_push().
 */
int vvirtio_pop(struct vvirtio *v, struct vvirtio_queue *queue, struct vring_chain *chain,
                struct vring_segment *segment, unsigned max) __must_check;
/*
 * With the queue's lock held: where the queue stands, and back to there, as if what was popped since had not
 * been; of it nothing may have been pushed.
 */
struct vvirtio_mark {
    struct vring_state ring;
    unsigned held;
};

static inline struct vvirtio_mark vvirtio_mark(const struct vvirtio_queue *queue)
{
    return (struct vvirtio_mark){ queue->ring.s, queue->held };
}

static inline void vvirtio_rewind(struct vvirtio_queue *queue, const struct vvirtio_mark *mark)
{
    uint8_t broken = queue->ring.s.broken; /* what is nonsense stays it */

    queue->held = mark->held;
    queue->ring.s = mark->ring;
    queue->ring.s.broken |= broken;
}

/* With the queue's lock held. A chain whose queue was reset meanwhile is only forgotten. */
void vvirtio_push(struct vvirtio_queue *queue, const struct vring_chain *chain, uint32_t written);
/* Behind pushes, without the queue's lock: an interrupt, if the driver wants one. */
void vvirtio_interrupt(struct vvirtio *v, struct vvirtio_queue *queue);

/* The device is at its wits' end with what the driver has asked: 2.1.2. With or without the queue's lock. */
void vvirtio_needs_reset(struct vvirtio *v);
/* Its configuration has changed, and the driver is told. No queue's lock is needed. */
void vvirtio_config_changed(struct vvirtio *v);
