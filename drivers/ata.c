#include "drivers/ata.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/tsc.h"
#include "drivers/ata_channel.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"

#define CHANNELS     2
#define BOUNCE_ORDER 5
#define TRIES        32

static unsigned channels; /* that have got a number */

uint8_t ata_in8(uint16_t port)
{
    return in8(port);
}

uint16_t ata_in16(uint16_t port)
{
    return in16(port);
}

void ata_out8(uint16_t port, uint8_t value)
{
    out8(port, value);
}

void ata_out32(uint16_t port, uint32_t value)
{
    out32(port, value);
}

void ata_delay_us(unsigned us)
{
    tsc_delay_us(us);
}

static int submit(struct block_device *device, struct block_request *request)
{
    return ata_submit(device->driver, request);
}

static void poll(struct disk *disk)
{
    ata_poll(container_of(disk, struct ata_disk, disk)->channel);
}

static void interrupt(void *channel)
{
    ata_poll(channel);
}

static bool look(struct watch *watch)
{
    return ata_look(container_of(watch, struct ata_channel, watch));
}

/* Memory that 32 bits can address: others are taken until one is, and then given back. */
static void *low_memory(unsigned order)
{
    hpa_t taken[TRIES], found = hpa(0);
    unsigned count = 0;

    while (count < TRIES) {
        hpa_t at = frames_alloc(order, FRAME_HEAP);

        if (!at.raw)
            break;
        if (at.raw + (PAGE_SIZE << order) <= 4 * GiB) {
            found = at;
            break;
        }
        taken[count++] = at;
    }
    while (count)
        frames_free(taken[--count], order, FRAME_HEAP);
    return found.raw ? phys_to_virt(found) : NULL;
}

static void add_disk(struct ata_channel *channel, unsigned number, unsigned name,
                     const uint8_t identity[ATA_IDENTIFY])
{
    static const struct block_ops ops = { submit };
    struct ata_disk *disk = heap_alloc(sizeof(*disk));
    const char *wrong = "there is no memory for it";

    if (disk) {
        struct block_device *block = &disk->disk.block;

        *disk = (struct ata_disk){ .disk = { .poll = poll }, .channel = channel, .number = number };
        wrong = ata_parse(&disk->identity, identity);
        ata_describe(block, &disk->identity);
        block->ops = &ops;
        block->driver = disk;
        block->max_sectors = ATA_MAX_SECTORS;
        format_text(block->name, sizeof(block->name), "ide%u.%u", name, number);
    }
    if (wrong) {
        log_warn("ide%u.%u: not used: %s", name, number, wrong);
        heap_free(disk);
        return;
    }
    channel->disk[number] = disk;
}

static struct ata_channel *make_channel(uint16_t command, uint16_t control, uint16_t master)
{
    struct ata_channel *channel = heap_alloc(sizeof(*channel));

    static_assert(ATA_BOUNCE == PAGE_SIZE << BOUNCE_ORDER, "it takes any request");
    static_assert(ATA_REGIONS_MAX * sizeof(struct ata_region) == PAGE_SIZE, "the table has a page");
    if (!channel)
        return NULL;
    *channel = (struct ata_channel){ .command = command, .control = control, .master = master };
    channel->bounce = low_memory(BOUNCE_ORDER);
    channel->table = low_memory(0);
    watch_init(&channel->watch, look);
    if (channel->bounce && channel->table)
        return channel;
    log_warn("ide: the channel at port 0x%x is not used: there is no memory below 4 GiB", command);
    return NULL;
}

/* A channel's disks; it gets an interrupt if it has any. */
static void probe_channel(struct pci_device *pci, unsigned n, uint16_t command, uint16_t control,
                          uint16_t master, int isa)
{
    struct ata_channel *channel = NULL, trial = { .command = command, .control = control };
    static uint8_t identity[ATA_IDENTIFY];
    unsigned name = channels + n;
    int error;

    for (unsigned number = 0; number < ATA_DEVICES; number++) {
        if (ata_identify(&trial, number, identity) != 0)
            continue;
        if (!channel)
            channel = make_channel(command, control, master);
        if (!channel)
            return;
        add_disk(channel, number, name, identity);
    }
    if (!channel)
        return;
    channel->selected = ATA_DEVICES;
    error = isa >= 0 ? irq_connect_isa((unsigned)isa, interrupt, channel)
                     : pci_interrupt(pci, interrupt, channel);
    if (error)
        log_warn("ide%u: gives no interrupts: it is asked once a second", name);
    for (unsigned number = 0; number < ATA_DEVICES; number++)
        if (channel->disk[number])
            storage_add(&channel->disk[number]->disk);
}

static int probe(struct pci_device *pci)
{
    static const uint16_t command[] = { ATA_PRIMARY, ATA_SECONDARY };
    static const uint16_t control[] = { ATA_PRIMARY_CONTROL, ATA_SECONDARY_CONTROL };
    static const int isa[] = { ATA_PRIMARY_IRQ, ATA_SECONDARY_IRQ };
    struct pci_bar master = pci_bar(pci, 4);

    if (!master.io || master.size < CHANNELS * ATA_BM_PORTS) {
        log_warn("ide: the controller at %02x:%02x.%x is no bus master: not used", pci->at.bus, pci->at.slot,
                 pci->at.function);
        return -ENODEV;
    }
    pci_command(pci, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 0);
    for (unsigned n = 0; n < CHANNELS; n++) {
        uint16_t ports = (uint16_t)(master.base + n * ATA_BM_PORTS);
        struct pci_bar block, alternate;

        if (!(pci->interface & ATA_INTERFACE_NATIVE(n))) {
            probe_channel(pci, n, command[n], control[n], ports, isa[n]);
            continue;
        }
        block = pci_bar(pci, 2 * n);
        alternate = pci_bar(pci, 2 * n + 1);
        if (block.io && alternate.io && block.size >= 8 && alternate.size >= 4)
            probe_channel(pci, n, (uint16_t)block.base, (uint16_t)(alternate.base + 2), ports, -1);
    }
    channels += CHANNELS;
    return 0;
}

const struct pci_driver ata_driver = { .name = "ata",
                                       .by_class = true,
                                       .class = PCI_CLASS_IDE,
                                       .interface = ATA_INTERFACE_MASTER,
                                       .interface_mask = ATA_INTERFACE_MASTER,
                                       .probe = probe };
