/*
 * A virtio device as its driver sees it: PCI function, registers, queues. It is strict about what the driver
 * does, and as wrong as a test wants it to be. Included by the one file of a program.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/paging.h"
#include "arch/x86_64/smp.h"
#include "drivers/virtio_device.h"
#include "kernel/sched.h"
#include "lib/errno.h"

#define DEVICE_QUEUES     3
#define DEVICE_BAR        4 /* with all of its registers */
#define DEVICE_ISR        0x1000u
#define DEVICE_CONFIG     0x2000u
#define DEVICE_NOTIFY     0x3000u
#define DEVICE_STEP       4u /* between two queues' bells */
#define DEVICE_VECTORS    4
#define DEVICE_STATUS_MAX 32

struct device_queue {
    uint16_t max, size, vector, enable, notify_off;
    uint32_t address[6]; /* desc, driver, device */
    uint16_t taken;      /* of avail->index */
};

static struct {
    uint32_t pci[64];
    struct pci_address at;
    uint64_t offers, accepts;
    uint32_t device_select, driver_select;
    uint8_t status, generation, isr;
    uint8_t statuses[DEVICE_STATUS_MAX]; /* all that was written */
    unsigned status_count;
    uint16_t select, queues, config_vector;
    struct device_queue queue[DEVICE_QUEUES];
    uint8_t config[64], config_changes; /* config_changes: so many readings are disturbed */
    const uint8_t *widths;              /* of its fields, the last one 0 */
    bool refuses_features, refuses_vectors, is_gone;
    unsigned reset_takes; /* reads of the status */
    struct {
        irq_handler *handler;
        void *context;
    } vector[DEVICE_VECTORS], line;
    unsigned vectors; /* of MSI-X; 0: it has a line */
    bool no_interrupt;
} device;
static _Alignas(4096) uint8_t device_bar[0x4000];
static struct sched_work *device_work; /* what the driver queued */

/* --- PCI */

uint32_t pci_read(struct pci_address at, unsigned offset)
{
    assert_true(offset < 256 && offset % 4 == 0);
    return memcmp(&at, &device.at, sizeof(at)) == 0 ? device.pci[offset / 4] : 0xffffffff;
}

void pci_write(struct pci_address at, unsigned offset, uint32_t value)
{
    assert_memory_equal(&at, &device.at, sizeof(at));
    assert_int_equal(offset, PCI_COMMAND);
    device.pci[offset / 4] = (device.pci[offset / 4] & ~PCI_COMMAND_MASK) | value;
}

volatile void *pci_map(const struct pci_device *pci, unsigned bar, uint64_t size)
{
    (void)pci;
    return bar == DEVICE_BAR && size && size <= sizeof(device_bar) ? device_bar : NULL;
}

unsigned pci_msix_entries(const struct pci_device *pci)
{
    (void)pci;
    return device.vectors;
}

int pci_msix(struct pci_device *pci, unsigned entry, uint32_t apic_id, irq_handler *handler, void *context)
{
    (void)pci;
    (void)apic_id;
    if (device.no_interrupt)
        return -ENOSPC;
    assert_true(entry < device.vectors && !device.vector[entry].handler);
    device.vector[entry].handler = handler;
    device.vector[entry].context = context;
    return 0;
}

int pci_interrupt(struct pci_device *pci, irq_handler *handler, void *context)
{
    (void)pci;
    assert_int_equal(device.vectors, 0);
    if (device.no_interrupt)
        return -ENODEV;
    device.line.handler = handler;
    device.line.context = context;
    return 0;
}

/* --- The kernel's services */

static struct cpu device_cpu;
struct cpu *smp_cpus[CPU_MAX] = { &device_cpu };

void post_boot(struct post *post)
{
    post->run(post);
}

void sched_queue_work(struct sched_work *work)
{
    device_work = work;
}

/* --- Its registers */

static uint32_t read_queue(const struct device_queue *queue, unsigned at)
{
    switch (at) {
    case VIRTIO_COMMON_QUEUE_SIZE:
        return queue->size;
    case VIRTIO_COMMON_QUEUE_VECTOR:
        return queue->vector;
    case VIRTIO_COMMON_QUEUE_ENABLE:
        return queue->enable;
    case VIRTIO_COMMON_QUEUE_NOTIFY_OFF:
        return queue->notify_off;
    default:
        fail_msg("register %#x is read", at);
        return 0;
    }
}

static uint32_t read_common(unsigned at)
{
    static struct device_queue none;

    switch (at) {
    case VIRTIO_COMMON_DEVICE_FEATURE:
        return device.device_select < 2 ? (uint32_t)(device.offers >> 32 * device.device_select) : 0;
    case VIRTIO_COMMON_CONFIG_VECTOR:
        return device.config_vector;
    case VIRTIO_COMMON_NUM_QUEUES:
        return device.queues;
    case VIRTIO_COMMON_STATUS:
        if (device.status == 0 && device.reset_takes) {
            device.reset_takes--;
            return VIRTIO_ACKNOWLEDGE;
        }
        return device.status;
    case VIRTIO_COMMON_GENERATION:
        if (device.config_changes) {
            device.config_changes--;
            device.generation++;
        }
        return device.generation;
    default:
        return read_queue(device.select < DEVICE_QUEUES ? &device.queue[device.select] : &none, at);
    }
}

/* A field is read as a whole, and no more than that (4.1.3.1). */
static uint32_t read_config(unsigned at, unsigned bytes)
{
    unsigned field = 0;
    const uint8_t *width = device.widths;
    uint32_t value = 0;

    while (*width && field + *width <= at)
        field += *width++;
    assert_true(*width == bytes || (*width == 8 && bytes == 4));
    assert_int_equal((at - field) % bytes, 0);
    memcpy(&value, device.config + at, bytes);
    return value;
}

uint32_t virtio_read(const volatile uint8_t *where, unsigned bytes)
{
    unsigned at = (unsigned)(where - device_bar);
    uint32_t value;

    if (device.is_gone)
        return UINT32_MAX >> (32 - 8 * bytes);
    if (at < DEVICE_ISR) {
        assert_true(at < VIRTIO_COMMON_SIZE);
        return read_common(at);
    }
    if (at == DEVICE_ISR) {
        value = device.isr;
        device.isr = 0;
        return value;
    }
    assert_true(at >= DEVICE_CONFIG && at + bytes <= DEVICE_CONFIG + sizeof(device.config));
    return read_config(at - DEVICE_CONFIG, bytes);
}

static void reset_queues(void)
{
    for (unsigned i = 0; i < DEVICE_QUEUES; i++)
        device.queue[i] = (struct device_queue){ .max = device.queue[i].max,
                                                 .size = device.queue[i].max,
                                                 .notify_off = device.queue[i].notify_off,
                                                 .vector = VIRTIO_NO_VECTOR };
    device.config_vector = VIRTIO_NO_VECTOR;
}

static void write_status(uint8_t value)
{
    if (device.status_count < DEVICE_STATUS_MAX)
        device.statuses[device.status_count++] = value;
    if (value == 0) {
        reset_queues();
        device.accepts = 0;
    } else {
        assert_int_equal(value & device.status, device.status & ~VIRTIO_NEEDS_RESET); /* 2.1.1 */
    }
    if (device.refuses_features)
        value &= (uint8_t)~VIRTIO_FEATURES_OK;
    device.status = value;
}

static void write_queue(struct device_queue *queue, unsigned at, unsigned bytes, uint32_t value)
{
    assert_int_equal(queue->enable, 0);
    if (at >= VIRTIO_COMMON_QUEUE_DESC && at < VIRTIO_COMMON_QUEUE_NOTIFY_DATA) {
        assert_int_equal(bytes, 4);
        queue->address[(at - VIRTIO_COMMON_QUEUE_DESC) / 4] = value;
        return;
    }
    assert_int_equal(bytes, 2);
    if (at == VIRTIO_COMMON_QUEUE_SIZE)
        queue->size = (uint16_t)value;
    else if (at == VIRTIO_COMMON_QUEUE_VECTOR)
        queue->vector = (uint16_t)(device.refuses_vectors ? VIRTIO_NO_VECTOR : value);
    else if (at == VIRTIO_COMMON_QUEUE_ENABLE)
        queue->enable = (uint16_t)value;
    else
        fail_msg("register %#x is written", at);
}

void virtio_write(volatile uint8_t *where, unsigned bytes, uint32_t value)
{
    unsigned at = (unsigned)(where - device_bar);

    assert_true(at < VIRTIO_COMMON_SIZE);
    if (device.is_gone)
        return;
    switch (at) {
    case VIRTIO_COMMON_DEVICE_FEATURE_SELECT:
        device.device_select = value;
        break;
    case VIRTIO_COMMON_DRIVER_FEATURE_SELECT:
        device.driver_select = value;
        break;
    case VIRTIO_COMMON_DRIVER_FEATURE:
        assert_true(device.driver_select < 2);
        device.accepts |= (uint64_t)value << 32 * device.driver_select;
        break;
    case VIRTIO_COMMON_CONFIG_VECTOR:
        device.config_vector = (uint16_t)value;
        break;
    case VIRTIO_COMMON_STATUS:
        assert_int_equal(bytes, 1);
        write_status((uint8_t)value);
        break;
    case VIRTIO_COMMON_QUEUE_SELECT:
        device.select = (uint16_t)value;
        break;
    default:
        assert_true(device.select < device.queues);
        write_queue(&device.queue[device.select], at, bytes, value);
    }
}

/* --- Made by tests */

static void device_capability(unsigned at, unsigned next, unsigned type, uint32_t offset, uint32_t size)
{
    device.pci[at / 4] = PCI_CAP_VENDOR | next << 8 | 20 << 16 | type << 24;
    device.pci[at / 4 + 1] = DEVICE_BAR;
    device.pci[at / 4 + 2] = offset;
    device.pci[at / 4 + 3] = size;
    device.pci[at / 4 + 4] = DEVICE_STEP;
}

/* A device that does all right, with this id, as QEMU's are laid out. */
static void device_make(unsigned id, uint64_t offers, const uint8_t *widths)
{
    static uint8_t slot; /* each has a place of its own: cards are for ever */

    memset(&device, 0, sizeof(device));
    memset(device_bar, 0xff, sizeof(device_bar));
    device_work = NULL;
    device.at = (struct pci_address){ .bus = slot / 31, .slot = slot % 31 + 1 };
    slot++;
    device.pci[0] = VIRTIO_PCI_VENDOR | id << 16;
    device.pci[1] = (uint32_t)PCI_STATUS_CAPS;
    device.pci[PCI_CAPS / 4] = 0x40;
    device_capability(0x40, 0x54, VIRTIO_PCI_ACCESS, 0, 0);
    device_capability(0x54, 0x68, VIRTIO_PCI_NOTIFY, DEVICE_NOTIFY, 0x1000);
    device_capability(0x68, 0x7c, VIRTIO_PCI_DEVICE_CFG, DEVICE_CONFIG, 0x40);
    device_capability(0x7c, 0x90, VIRTIO_PCI_ISR, DEVICE_ISR, 1);
    device_capability(0x90, 0, VIRTIO_PCI_COMMON, 0, VIRTIO_COMMON_SIZE);
    device.offers = offers;
    device.widths = widths;
    device.queues = DEVICE_QUEUES;
    device.vectors = DEVICE_VECTORS;
    for (unsigned i = 0; i < DEVICE_QUEUES; i++) {
        device.queue[i].max = 256;
        device.queue[i].notify_off = (uint16_t)i;
    }
    reset_queues();
}

static void *device_part(const struct device_queue *queue, unsigned part)
{
    return phys_to_virt(hpa(queue->address[2 * part] | (uint64_t)queue->address[2 * part + 1] << 32));
}

static struct virtq_desc *device_desc(const struct device_queue *queue)
{
    return device_part(queue, 0);
}

static struct virtio_avail *device_avail(const struct device_queue *queue)
{
    return device_part(queue, 1);
}

static struct virtio_used *device_used(const struct device_queue *queue)
{
    return device_part(queue, 2);
}

/* Whether the driver rang since it was last asked. */
static bool device_bell(unsigned n)
{
    uint8_t *bell = device_bar + DEVICE_NOTIFY + n * DEVICE_STEP;
    bool rang = bell[0] == n && bell[1] == 0;

    bell[0] = bell[1] = 0xff;
    return rang;
}

/* The next chain that the driver gave: its first descriptor. */
static inline unsigned device_take(struct device_queue *queue)
{
    unsigned id;

    assert_true(queue->enable == 1 && (device.status & VIRTIO_DRIVER_OK));
    assert_int_not_equal(device_avail(queue)->index, queue->taken);
    id = device_avail(queue)->ring[queue->taken++ % queue->size];
    assert_true(id < queue->size);
    return id;
}

/* And gives one back, or what it says is one. */
static inline void device_give(struct device_queue *queue, uint32_t id, uint32_t bytes)
{
    struct virtio_used *used = device_used(queue);

    used->ring[used->index % queue->size] = (struct virtio_used_entry){ id, bytes };
    used->index++;
}

/* By the vector of a queue, or of the configuration; whether there is one and the driver wants it. */
static inline bool device_interrupt(unsigned vector)
{
    if (vector >= DEVICE_VECTORS || !device.vector[vector].handler)
        return false;
    device.vector[vector].handler(device.vector[vector].context);
    return true;
}
