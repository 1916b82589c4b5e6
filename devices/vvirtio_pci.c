/* A virtio device's configuration space. Section numbers are those of OASIS virtio 1.2. */
#include "devices/vvirtio_pci.h"

/* Dwords of configuration space; the capabilities in the order of their list. */
#define HEADER_ID        0
#define HEADER_COMMAND   1
#define HEADER_CLASS     2
#define HEADER_SUBSYSTEM 11
#define HEADER_CAPS      13
#define CAP_MSIX         (0x40 / 4)
#define CAP_COMMON       (0x50 / 4)
#define CAP_NOTIFY       (0x60 / 4)
#define CAP_ISR          (0x74 / 4)
#define CAP_DEVICE       (0x84 / 4)
#define CAP_ACCESS       (0x94 / 4)
#define CAP_BAR          1 /* dwords of a struct virtio_pci_cap */
#define CAP_OFFSET       2
#define CAP_LENGTH       3
#define CAP_EXTRA        4

#define COMMAND_MASTER  BIT(2)
#define COMMAND_NO_INTX BIT(10)
#define STATUS_INTX     BIT(19) /* PCI 3.0, 6.2.3 */
#define STATUS_CAPS     BIT(20)

/* 4.1.4.9: a window on the BAR for those who cannot reach it. False: what it says is no access. */
static bool access_window(const struct vvirtio *v, uint32_t *offset, unsigned *size)
{
    const uint32_t *cap = &v->function.config[CAP_ACCESS];

    *offset = cap[CAP_OFFSET];
    *size = cap[CAP_LENGTH];
    if ((cap[CAP_BAR] & 0xff) != 0 || (*size != 1 && *size != 2 && *size != 4))
        return false;
    return *offset < VVIRTIO_BAR_SIZE && *offset % *size == 0;
}

/* 4.1.5.1.2, 4.1.5.3: without MSI-X the pin is what the ISR says; the status register shows it, the command
 * register cuts it off (PCI 3.0, 6.2.2). */
static bool wants_pin(const struct vvirtio *v)
{
    return !vmsix_enabled(&v->msix) && __atomic_load_n(&v->s.isr, __ATOMIC_SEQ_CST);
}

static bool asserts_pin(void *virtio)
{
    const struct vvirtio *v = virtio;

    return wants_pin(v) && !(v->function.config[HEADER_COMMAND] & COMMAND_NO_INTX);
}

static uint32_t config_read(void *virtio, unsigned dword)
{
    struct vvirtio *v = virtio;
    uint32_t offset, value = v->function.config[dword];
    unsigned size;

    if (dword == CAP_ACCESS + CAP_EXTRA)
        return access_window(v, &offset, &size) ? (uint32_t)vvirtio_read(v, offset, size) : 0;
    if (dword == HEADER_COMMAND && wants_pin(v))
        value |= STATUS_INTX;
    return value;
}

static void config_written(void *virtio, unsigned dword)
{
    struct vvirtio *v = virtio;
    uint32_t offset, value = v->function.config[dword];
    unsigned size;

    if (dword == CAP_MSIX)
        vmsix_control(&v->msix, value);
    else if (dword == CAP_ACCESS + CAP_EXTRA && access_window(v, &offset, &size))
        vvirtio_write(v, offset, size, value & (UINT32_MAX >> (32 - 8 * size)));
}

static void add_cap(struct vvirtio *v, unsigned dword, unsigned next, unsigned type, uint32_t page,
                    uint32_t length)
{
    uint32_t *cap = &v->function.config[dword];
    bool longer = type == VIRTIO_PCI_NOTIFY || type == VIRTIO_PCI_ACCESS;

    cap[0] = VIRTIO_PCI_CAP_VENDOR | 4 * next << 8 | (longer ? 20u : 16u) << 16 | type << 24;
    cap[CAP_OFFSET] = VVIRTIO_PAGES(page);
    cap[CAP_LENGTH] = length;
}

void vvirtio_pci_init(struct vvirtio *v, const struct vvirtio_kind *kind)
{
    struct vpci_function *function = &v->function;
    uint32_t *writable = function->writable;
    unsigned behind_isr = kind->config_size ? CAP_DEVICE : CAP_ACCESS;

    function->config[HEADER_ID] = VIRTIO_PCI_VENDOR | VIRTIO_PCI_DEVICE(kind->id) << 16;
    function->config[HEADER_COMMAND] = STATUS_CAPS;
    function->config[HEADER_CLASS] = kind->class_code << 8 | 1; /* 4.1.2.1: a revision of 1 or more */
    function->config[HEADER_SUBSYSTEM] = VIRTIO_PCI_VENDOR | VIRTIO_PCI_DEVICE(kind->id) << 16;
    function->config[HEADER_CAPS] = 4 * CAP_MSIX;
    writable[HEADER_COMMAND] = COMMAND_MASTER | COMMAND_NO_INTX;
    vmsix_capability(&v->msix, function, CAP_MSIX, 4 * CAP_COMMON, 0, VVIRTIO_PAGES(VVIRTIO_TABLE),
                     VVIRTIO_PAGES(VVIRTIO_PENDING));
    add_cap(v, CAP_COMMON, CAP_NOTIFY, VIRTIO_PCI_COMMON, VVIRTIO_COMMON, VIRTIO_COMMON_SIZE);
    add_cap(v, CAP_NOTIFY, CAP_ISR, VIRTIO_PCI_NOTIFY, VVIRTIO_NOTIFY,
            VVIRTIO_NOTIFY_MULTIPLIER * kind->queues);
    function->config[CAP_NOTIFY + CAP_EXTRA] = VVIRTIO_NOTIFY_MULTIPLIER;
    add_cap(v, CAP_ISR, behind_isr, VIRTIO_PCI_ISR, VVIRTIO_ISR, 4);
    if (kind->config_size)
        add_cap(v, CAP_DEVICE, CAP_ACCESS, VIRTIO_PCI_DEVICE_CFG, VVIRTIO_DEVICE, kind->config_size);
    add_cap(v, CAP_ACCESS, 0, VIRTIO_PCI_ACCESS, 0, 0);
    writable[CAP_ACCESS + CAP_BAR] = 0xff;
    writable[CAP_ACCESS + CAP_OFFSET] = writable[CAP_ACCESS + CAP_LENGTH] = UINT32_MAX;
    writable[CAP_ACCESS + CAP_EXTRA] = UINT32_MAX;
    function->read = config_read;
    function->written = config_written;
    function->asserts_pin = asserts_pin;
    function->device = v;
    function->bar[0] = (struct vpci_bar){ .space = VPCI_MEM32,
                                          .region = { .size = VVIRTIO_BAR_SIZE,
                                                      .widths = IO_8 | IO_16 | IO_32,
                                                      .read = vvirtio_read,
                                                      .write = vvirtio_write,
                                                      .device = v,
                                                      .name = "virtio" } };
}

void vvirtio_pci_reset(struct vvirtio *v)
{
    uint32_t *config = v->function.config;

    config[HEADER_COMMAND] &= ~v->function.writable[HEADER_COMMAND];
    config[CAP_MSIX] &= ~v->function.writable[CAP_MSIX];
    for (unsigned i = CAP_BAR; i <= CAP_EXTRA; i++)
        config[CAP_ACCESS + i] &= ~v->function.writable[CAP_ACCESS + i];
}

void vvirtio_pci_load(struct vvirtio *v, const uint32_t config[VPCI_CONFIG_DWORDS])
{
    vpci_load_config(&v->function, config);
    vmsix_control(&v->msix, config[CAP_MSIX]);
}
