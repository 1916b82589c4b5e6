/* A guest's machine with one virtio device on its PCI bus, and the driver's first steps: for tests of virtio
 * devices. After cmocka.h. Messages are counted by vector, as the one local APIC gets them. */
#pragma once

#include "devices/vlapic.h"
#include "devices/vvirtio.h"
#include "lib/errno.h"
#include "tests/unit/board.h"
#include "tests/unit/virtq_driver.h"

#define SLOT   3
#define BAR    UINT64_C(0xc0000000) /* where vpci_reset() puts it, being the only one */
#define VECTOR 0x40u                /* that of MSI-X entry 0 */
#define RINGS  0x100000u            /* of queue 0; the next one 64 KiB behind */
#define MEMORY (4 * PAGE_2M)

static struct board board;
static struct vpci pci;
static struct vreset reset_port;
static struct vlapic_bus apics;
static struct vlapic lapic;
static struct gmem mem;
static struct virtq q[VVIRTIO_MAX_QUEUES];

static inline void rig_none(void *vm)
{
    (void)vm;
}

static inline void rig_none_8(void *vm, uint8_t what)
{
    (void)vm;
    (void)what;
}

static const struct vlapic_up rig_up = {
    rig_none, rig_none_8, rig_none, rig_none, rig_none_8, NULL, rig_none
};

/* Before the device's own init. */
static inline void rig_init(void)
{
    board_init(&board);
    memset(&apics, 0, sizeof(apics));
    vlapic_init(&lapic, &apics, 0, &rig_up, NULL, &board.clock, &board.queue);
    vlapic_write(&lapic, APIC_SVR, 4, 0x1ff);
    vreset_init(&reset_port, rig_none, NULL);
    vpci_init(&pci, &reset_port);
    host_gmem_init(&mem, MEMORY);
}

/* Behind it. */
static inline void rig_attach(struct vvirtio *v)
{
    assert_int_equal(vpci_add(&pci, SLOT, &v->function), 0);
    assert_int_equal(vpci_attach(&pci, &board.ports, &board.mmio), 0);
}

static inline uint32_t config_get(unsigned offset)
{
    outl(&board, 0xcf8, 0x80000000u | SLOT << 11 | (offset & 0xfc));
    return inl(&board, 0xcfc) >> 8 * (offset % 4);
}

static inline void config_put(unsigned offset, uint32_t value)
{
    outl(&board, 0xcf8, 0x80000000u | SLOT << 11 | (offset & 0xfc));
    outl(&board, 0xcfc, value);
}

static inline uint32_t get(uint32_t offset, unsigned size)
{
    return (uint32_t)iobus_read(&board.mmio, BAR + offset, size);
}

static inline void put(uint32_t offset, unsigned size, uint32_t value)
{
    iobus_write(&board.mmio, BAR + offset, size, value);
}

static inline uint8_t status(void)
{
    return (uint8_t)get(VIRTIO_COMMON_STATUS, 1);
}

/* Whether the vector has come since it was last asked. */
static inline bool came(unsigned entry)
{
    unsigned vector = VECTOR + entry;
    uint64_t bit = BIT(vector % 64);

    return __atomic_fetch_and(&lapic.state.irr[vector / 64], ~bit, __ATOMIC_SEQ_CST) & bit;
}

/* MSI-X on; entry n has VECTOR + n. */
static inline void rig_msix(unsigned count)
{
    config_put(0x40, 0x80000000);
    for (unsigned i = 0; i < count; i++) {
        put(0x4000 + 16 * i, 4, 0xfee00000);
        put(0x4008 + 16 * i, 4, VECTOR + i);
        put(0x400c + 16 * i, 4, 0);
    }
    put(VIRTIO_COMMON_CONFIG_VECTOR, 2, 0);
}

static inline uint64_t rig_offered(void)
{
    uint64_t features;

    put(VIRTIO_COMMON_DEVICE_FEATURE_SELECT, 4, 0);
    features = get(VIRTIO_COMMON_DEVICE_FEATURE, 4);
    put(VIRTIO_COMMON_DEVICE_FEATURE_SELECT, 4, 1);
    return features | (uint64_t)get(VIRTIO_COMMON_DEVICE_FEATURE, 4) << 32;
}

/* 3.1.1 up to FEATURES_OK; returns the status. */
static inline uint8_t rig_negotiate(uint64_t features)
{
    put(VIRTIO_COMMON_STATUS, 1, 0);
    put(VIRTIO_COMMON_STATUS, 1, 1);
    put(VIRTIO_COMMON_STATUS, 1, 3);
    put(VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    put(VIRTIO_COMMON_DRIVER_FEATURE, 4, (uint32_t)features);
    put(VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 1);
    put(VIRTIO_COMMON_DRIVER_FEATURE, 4, (uint32_t)(features >> 32));
    put(VIRTIO_COMMON_STATUS, 1, 0xb);
    return status();
}

static inline void put64(uint32_t offset, uint64_t value)
{
    put(offset, 4, (uint32_t)value);
    put(offset + 4, 4, (uint32_t)(value >> 32));
}

/* Queue `n` with MSI-X entry n + 1. */
static inline void rig_queue(unsigned n, uint16_t size, uint64_t features)
{
    virtq_init(&q[n], &mem, RINGS + 0x10000 * n, size, features & VIRTIO_F_PACKED);
    q[n].indirect = features & VIRTIO_F_INDIRECT;
    put(VIRTIO_COMMON_QUEUE_SELECT, 2, n);
    put(VIRTIO_COMMON_QUEUE_SIZE, 2, size);
    put(VIRTIO_COMMON_QUEUE_VECTOR, 2, n + 1);
    put64(VIRTIO_COMMON_QUEUE_DESC, q[n].desc);
    put64(VIRTIO_COMMON_QUEUE_DRIVER, q[n].driver);
    put64(VIRTIO_COMMON_QUEUE_DEVICE, q[n].device);
    put(VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
}

static inline void rig_driver_ok(void)
{
    put(VIRTIO_COMMON_STATUS, 1, status() | 4u);
}

/* All of it, for `queues` queues of `size`. */
static inline void rig_start(uint64_t features, unsigned queues, uint16_t size)
{
    assert_int_equal(rig_negotiate(features | VIRTIO_F_VERSION_1), 0xb);
    rig_msix(queues + 1);
    for (unsigned n = 0; n < queues; n++)
        rig_queue(n, size, features);
    rig_driver_ok();
    assert_int_equal(status(), 0xf);
}

static inline void kick(unsigned n)
{
    put(0x3000 + 4 * n, 2, n);
}
