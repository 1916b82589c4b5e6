/* A guest for fuzz targets of virtio devices: it sets a device up as a driver does, and a thread of it writes
 * the input into the rings and buffers while the device works. */
#pragma once

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include "devices/vlapic.h"
#include "devices/vvirtio.h"
#include "tests/unit/board.h"

#define GUEST_RING 0x1000u /* of queue 0; the next one 4 KiB behind: descriptors, driver and device areas */
#define GUEST_SIZE 16u     /* descriptors of a queue */
#define GUEST_AREA 4096u   /* bytes of each queue that the thread writes */

static struct board board;
static struct vpci pci;
static struct vreset reset_port;
static struct vlapic_bus apics;
static struct vlapic lapic;
static struct gmem mem;

/* What the thread writes: words of place and value. */
struct guest_material {
    const uint8_t *data;
    size_t size;
    unsigned queues;
};

static inline void guest_none(void *vm)
{
    (void)vm;
}

static inline void guest_none_8(void *vm, uint8_t what)
{
    (void)vm;
    (void)what;
}

/* Before the device's own init; the guest's memory is made once. */
static inline void guest_init(void)
{
    static const struct vlapic_up up = { guest_none,   guest_none_8, guest_none, guest_none,
                                         guest_none_8, NULL,         guest_none };

    if (!mem.count)
        host_gmem_init(&mem, 2 * GMEM_CHUNK);
    memset(gmem_ptr(&mem, gpa(0), 0x10000), 0, 0x10000);
    host_log_quiet = true;
    board_init(&board);
    memset(&apics, 0, sizeof(apics));
    vlapic_init(&lapic, &apics, 0, &up, NULL, &board.clock, &board.queue);
    vreset_init(&reset_port, guest_none, NULL);
    vpci_init(&pci, &reset_port);
}

/* With all features but those of `less`. */
static inline void guest_start(struct vvirtio *v, uint64_t less, unsigned queues)
{
    uint64_t features = v->features & ~less;

    vvirtio_write(v, VIRTIO_COMMON_STATUS, 1, 0);
    vvirtio_write(v, VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    vvirtio_write(v, VIRTIO_COMMON_DRIVER_FEATURE, 4, (uint32_t)features);
    vvirtio_write(v, VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 1);
    vvirtio_write(v, VIRTIO_COMMON_DRIVER_FEATURE, 4, features >> 32);
    vvirtio_write(v, VIRTIO_COMMON_STATUS, 1, 0xb);
    for (unsigned i = 0; i < queues; i++) {
        vvirtio_write(v, VIRTIO_COMMON_QUEUE_SELECT, 2, i);
        vvirtio_write(v, VIRTIO_COMMON_QUEUE_SIZE, 2, GUEST_SIZE);
        vvirtio_write(v, VIRTIO_COMMON_QUEUE_DESC, 4, GUEST_RING + i * GUEST_AREA);
        vvirtio_write(v, VIRTIO_COMMON_QUEUE_DRIVER, 4, GUEST_RING + i * GUEST_AREA + 0x100);
        vvirtio_write(v, VIRTIO_COMMON_QUEUE_DEVICE, 4, GUEST_RING + i * GUEST_AREA + 0x200);
        vvirtio_write(v, VIRTIO_COMMON_QUEUE_VECTOR, 2, i + 1);
        vvirtio_write(v, VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
    }
    vvirtio_write(v, VIRTIO_COMMON_STATUS, 1, 0xf);
}

static inline void guest_kick(struct vvirtio *v, unsigned queue)
{
    vvirtio_write(v, 0x3000 + 4 * queue, 2, queue);
}

static inline uint16_t guest_word(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

static inline void *guest_thread(void *context)
{
    const struct guest_material *material = context;
    uint16_t *area = (uint16_t *)(void *)gmem_ptr(&mem, gpa(GUEST_RING), 2);
    unsigned words = material->queues * GUEST_AREA / 2;

    for (size_t i = 0; i + 3 < material->size; i += 4)
        __atomic_store_n(&area[guest_word(material->data + i) % words], guest_word(material->data + i + 2),
                         __ATOMIC_RELAXED);
    return NULL;
}
