#include "drivers/virtio_device.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/tsc.h"
#include "kernel/frames.h"
#include "lib/errno.h"

#define CAPS_MAX     16u
#define RESET_MS     100u
#define CONFIG_TRIES 16u
#define PART_MAX     (64 * KiB)
#define CONFIG_SPACE 256u

static uint32_t in(const struct virtio_device *device, unsigned at, unsigned bytes)
{
    return virtio_read(device->common + at, bytes);
}

static void out(struct virtio_device *device, unsigned at, unsigned bytes, uint32_t value)
{
    virtio_write(device->common + at, bytes, value);
}

static void out64(struct virtio_device *device, unsigned at, uint64_t value)
{
    out(device, at, 4, (uint32_t)value);
    out(device, at + 4, 4, (uint32_t)(value >> 32));
}

/* --- Finding its registers (4.1.4) */

/* `least`: how many bytes it must have. `extra` may be NULL: gets the word behind the capability. */
static volatile uint8_t *map_part(struct virtio_device *device, unsigned type, uint32_t least, unsigned align,
                                  uint32_t *size, uint32_t *extra)
{
    const struct pci_device *pci = &device->pci;
    unsigned at = 0, words = extra ? 5 : 4;

    for (unsigned i = 0; i < CAPS_MAX && (at = pci_capability(pci, PCI_CAP_VENDOR, at)) != 0; i++) {
        volatile uint8_t *base;
        uint32_t bar, offset;

        if (at + words * 4 > CONFIG_SPACE || pci_read(pci->at, at) >> 24 != type)
            continue;
        bar = pci_read(pci->at, at + 4) & 0xff;
        offset = pci_read(pci->at, at + 8);
        *size = (uint32_t)min_u64(pci_read(pci->at, at + 12), PART_MAX);
        if (extra)
            *extra = pci_read(pci->at, at + 16);
        if (*size < least || (offset & (align - 1)))
            return NULL;
        base = pci_map(pci, bar, (uint64_t)offset + *size);
        return base ? base + offset : NULL;
    }
    return NULL;
}

static void stop_mastering(struct post *post)
{
    pci_command(&container_of(post, struct virtio_device, stop)->pci, 0, (uint32_t)PCI_COMMAND_MASTER);
}

const char *virtio_device_map(struct virtio_device *device, const struct pci_device *pci)
{
    uint32_t size;

    *device = (struct virtio_device){ .pci = *pci, .stop = { .run = stop_mastering } };
    device->common = map_part(device, VIRTIO_PCI_COMMON, VIRTIO_COMMON_QUEUE_NOTIFY_DATA, 4, &size, NULL);
    device->notify = map_part(device, VIRTIO_PCI_NOTIFY, 2, 2, &device->notify_size, &device->notify_step);
    device->isr = map_part(device, VIRTIO_PCI_ISR, 1, 1, &size, NULL);
    device->config = map_part(device, VIRTIO_PCI_DEVICE_CFG, 8, 4, &device->config_size, NULL);
    if (device->common && device->notify && device->isr && device->config)
        return NULL;
    return "it has no modern registers";
}

/* --- Start (3.1) */

unsigned virtio_device_status(const struct virtio_device *device)
{
    return in(device, VIRTIO_COMMON_STATUS, 1);
}

void virtio_device_reset(struct virtio_device *device)
{
    out(device, VIRTIO_COMMON_STATUS, 1, 0);
}

static uint64_t offered(struct virtio_device *device)
{
    uint64_t features = 0;

    for (unsigned half = 0; half < 2; half++) {
        out(device, VIRTIO_COMMON_DEVICE_FEATURE_SELECT, 4, half);
        features |= (uint64_t)in(device, VIRTIO_COMMON_DEVICE_FEATURE, 4) << 32 * half;
    }
    return features;
}

static const char *negotiate(struct virtio_device *device, uint64_t wanted, uint64_t needed)
{
    device->features = offered(device) & wanted;
    if ((device->features & needed) != needed)
        return "it lacks features that are needed, or is of an older kind";
    for (unsigned half = 0; half < 2; half++) {
        out(device, VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, half);
        out(device, VIRTIO_COMMON_DRIVER_FEATURE, 4, (uint32_t)(device->features >> 32 * half));
    }
    out(device, VIRTIO_COMMON_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    if (!(virtio_device_status(device) & VIRTIO_FEATURES_OK))
        return "it does not accept what it offered";
    return NULL;
}

const char *virtio_device_begin(struct virtio_device *device, uint64_t wanted, uint64_t needed)
{
    const char *wrong;

    virtio_device_reset(device);
    for (unsigned ms = 0; virtio_device_status(device) != 0; ms++) {
        if (ms == RESET_MS)
            return "it does not come back from its reset";
        tsc_delay_us(1000);
    }
    out(device, VIRTIO_COMMON_STATUS, 1, VIRTIO_ACKNOWLEDGE);
    out(device, VIRTIO_COMMON_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    wrong = negotiate(device, wanted, needed);
    if (wrong)
        out(device, VIRTIO_COMMON_STATUS, 1, virtio_device_status(device) | VIRTIO_FAILED);
    return wrong;
}

/* --- Its configuration (2.5) */

/* Each field by its own width (4.1.3.1). */
static void read_fields(const struct virtio_device *device, uint8_t *to, const uint8_t *width, unsigned count)
{
    unsigned at = 0;

    for (unsigned i = 0; i < count; at += width[i++]) {
        for (unsigned part = 0; part < width[i]; part += 4) {
            unsigned bytes = width[i] < 4 ? width[i] : 4;
            uint32_t value = 0;

            if (at + part + bytes <= device->config_size)
                value = virtio_read(device->config + at + part, bytes);
            memcpy(to + at + part, &value, bytes);
        }
    }
}

/* Again while it changes under the reader's eyes (2.5.3); one that never stops is taken as it is. */
void virtio_device_config(const struct virtio_device *device, void *to, const uint8_t *width, unsigned count)
{
    uint32_t generation;

    for (unsigned i = 0; i < CONFIG_TRIES; i++) {
        generation = in(device, VIRTIO_COMMON_GENERATION, 1);
        read_fields(device, to, width, count);
        if (in(device, VIRTIO_COMMON_GENERATION, 1) == generation)
            return;
    }
}

/* --- Its queues (4.1.5.1.3) */

unsigned virtio_device_queue_size(struct virtio_device *device, unsigned n)
{
    uint32_t size;

    if (n >= in(device, VIRTIO_COMMON_NUM_QUEUES, 2))
        return 0;
    out(device, VIRTIO_COMMON_QUEUE_SELECT, 2, n);
    size = in(device, VIRTIO_COMMON_QUEUE_SIZE, 2);
    return size & (size - 1) ? 0 : size; /* 2.7: anything else is no split queue */
}

int virtio_device_queue(struct virtio_device *device, struct virtio_ring *ring, unsigned n, unsigned vector)
{
    unsigned size = virtio_device_queue_size(device, n);
    uint64_t bell = (uint64_t)in(device, VIRTIO_COMMON_QUEUE_NOTIFY_OFF, 2) * device->notify_step;

    if (size < ring->size || bell + 2 > device->notify_size || (bell & 1))
        return -ENODEV;
    out(device, VIRTIO_COMMON_QUEUE_VECTOR, 2, vector);
    if (in(device, VIRTIO_COMMON_QUEUE_VECTOR, 2) != vector)
        return -ENODEV;
    ring->bell = (volatile uint16_t *)(device->notify + bell);
    ring->number = (uint16_t)n;
    out(device, VIRTIO_COMMON_QUEUE_SIZE, 2, ring->size);
    out64(device, VIRTIO_COMMON_QUEUE_DESC, virt_to_phys(ring->desc).raw);
    out64(device, VIRTIO_COMMON_QUEUE_DRIVER, virt_to_phys(ring->avail).raw);
    out64(device, VIRTIO_COMMON_QUEUE_DEVICE, virt_to_phys((const void *)ring->used).raw);
    out(device, VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
    return 0;
}

bool virtio_device_config_vector(struct virtio_device *device, unsigned vector)
{
    out(device, VIRTIO_COMMON_CONFIG_VECTOR, 2, vector);
    return in(device, VIRTIO_COMMON_CONFIG_VECTOR, 2) == vector;
}

/* --- At work, and its end */

void virtio_device_go(struct virtio_device *device)
{
    pci_command(&device->pci, (uint32_t)PCI_COMMAND_MASTER, 0);
    out(device, VIRTIO_COMMON_STATUS, 1,
        VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
}

unsigned virtio_device_isr(const struct virtio_device *device)
{
    return virtio_read(device->isr, 1);
}

void virtio_device_stop(struct virtio_device *device)
{
    virtio_device_reset(device);
    post_boot(&device->stop);
}

void *virtio_device_pages(unsigned order)
{
    hpa_t at = frames_alloc(order, FRAME_HEAP);

    if (!at.raw)
        return NULL;
    memset(phys_to_virt(at), 0, PAGE_SIZE << order);
    return phys_to_virt(at);
}
