#include "drivers/ahci.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/tsc.h"
#include "drivers/ahci_port.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define PORT_ORDER 5
#define RESET_MS   1000u /* in which a reset ends (10.4.3) */
#define HANDOFF_MS 25u   /* in which firmware lets go, unless it says that it is busy (10.6.3) */
#define BUSY_MS    2000u
#define LINK_MS    20u /* in which a disk shows on the link */
#define SPIN_UP_MS 10000u

static_assert(AHCI_PORT_BYTES <= PAGE_SIZE << PORT_ORDER, "a port's memory");

struct hba {
    struct pci_device pci;
    volatile uint8_t *registers;
    unsigned number;
    unsigned ports; /* for which there are registers: HBAs with fewer than 32 may have a smaller BAR */
    struct ahci_port *port[AHCI_PORTS]; /* NULL: no disk */
    uint32_t seen; /* ports that had a link before the reset; all, if that says nothing */
};

static unsigned hbas;

void ahci_delay_us(unsigned us)
{
    tsc_delay_us(us);
}

static uint32_t in(const struct hba *hba, unsigned reg)
{
    return *(const volatile uint32_t *)(hba->registers + reg);
}

static void out(struct hba *hba, unsigned reg, uint64_t value)
{
    *(volatile uint32_t *)(hba->registers + reg) = (uint32_t)value;
}

static bool cleared(const struct hba *hba, unsigned reg, uint64_t bits, unsigned ms)
{
    for (; (in(hba, reg) & bits) && ms; ms--)
        tsc_delay_us(1000);
    return !(in(hba, reg) & bits);
}

static bool has_link(const struct hba *hba, unsigned n)
{
    return AHCI_DETECT(in(hba, AHCI_PORT(n) + AHCI_PxSSTS)) == AHCI_DETECT_THERE;
}

/* --- Requests */

static int submit(struct block_device *device, struct block_request *request)
{
    return ahci_submit(device->driver, request);
}

static void poll(struct disk *disk)
{
    ahci_poll(container_of(disk, struct ahci_port, disk));
}

static bool look(struct watch *watch)
{
    return ahci_look(container_of(watch, struct ahci_port, watch));
}

/* Ports first, then the HBA's own register: so what comes meanwhile interrupts again (5.6.4). */
static void interrupt(void *context)
{
    struct hba *hba = context;
    uint32_t ports = in(hba, AHCI_IS);

    for (unsigned i = 0; i < AHCI_PORTS; i++)
        if ((ports & BIT(i)) && hba->port[i])
            ahci_poll(hba->port[i]);
    out(hba, AHCI_IS, ports);
}

/* --- Ports */

/* A port that may have a disk; whether it has is seen when the link has had its time. */
static struct ahci_port *make_port(struct hba *hba, unsigned n)
{
    struct ahci_port *port = heap_alloc(sizeof(*port));
    hpa_t memory = frames_alloc(PORT_ORDER, FRAME_HEAP);
    unsigned slots = AHCI_CAP_SLOTS(in(hba, AHCI_CAP));

    if (!port || !memory.raw) {
        heap_free(port);
        return NULL;
    }
    memset(phys_to_virt(memory), 0, PAGE_SIZE << PORT_ORDER);
    *port = (struct ahci_port){ .registers = hba->registers + AHCI_PORT(n),
                                .memory = phys_to_virt(memory),
                                .slots = (uint32_t)(BIT(slots) - 1),
                                .disk = { .poll = poll } };
    watch_init(&port->watch, look);
    ahci_port_prepare(port);
    return port;
}

/* Its memory goes back only if the HBA does not write there any more. */
static void drop_port(struct hba *hba, unsigned n)
{
    struct ahci_port *port = hba->port[n];
    unsigned command = AHCI_PORT(n) + AHCI_PxCMD;

    hba->port[n] = NULL;
    out(hba, command, in(hba, command) & ~(AHCI_CMD_FIS | AHCI_CMD_START));
    if (cleared(hba, command, AHCI_CMD_FIS_RUNS | AHCI_CMD_RUNS, 500)) {
        frames_free(virt_to_phys(port->memory), PORT_ORDER, FRAME_HEAP);
        heap_free(port);
    }
}

/* NULL: it is ready to be added; else why not. */
static const char *find_disk(struct hba *hba, unsigned n)
{
    static const struct block_ops ops = { submit };
    static uint8_t identity[ATA_IDENTIFY];
    struct ahci_port *port = hba->port[n];
    struct block_device *block = &port->disk.block;
    const char *wrong;

    if (ahci_port_start(port) != 0 || ahci_identify(port, identity) != 0)
        return "it does not answer";
    wrong = ata_parse(&port->identity, identity);
    ata_describe(block, &port->identity);
    block->ops = &ops;
    block->driver = port;
    block->max_sectors = port->identity.has_48 ? AHCI_MAX_SECTORS : 256;
    block->has_discard = port->identity.has_trim;
    return wrong;
}

static void add_port(struct hba *hba, unsigned n)
{
    struct block_device *block = &hba->port[n]->disk.block;
    const char *wrong;

    format_text(block->name, sizeof(block->name), "ahci%u.%u", hba->number, n);
    wrong = find_disk(hba, n);
    if (wrong) {
        log_warn("%s: not used: %s", block->name, wrong);
        drop_port(hba, n);
    }
}

/* Whether it is a disk is known by its signature, which comes with its first FIS. */
static bool is_disk(const struct hba *hba, unsigned n)
{
    return in(hba, AHCI_PORT(n) + AHCI_PxSIG) == AHCI_SIG_DISK;
}

/* For those that were there: on a board that spins disks up by itself, no others come now. */
static void await_links(const struct hba *hba)
{
    for (unsigned us = 0; us < LINK_MS * 1000; us += 10) {
        unsigned n = 0;

        while (n < hba->ports && (!(hba->seen & BIT(n)) || has_link(hba, n)))
            n++;
        if (n == hba->ports)
            return;
        tsc_delay_us(10);
    }
}

static void find_disks(struct hba *hba)
{
    uint32_t there = in(hba, AHCI_PI);

    for (unsigned n = 0; n < hba->ports; n++)
        if (there & BIT(n))
            hba->port[n] = make_port(hba, n);
    await_links(hba);
    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        if (!hba->port[n])
            continue;
        if (has_link(hba, n) && cleared(hba, AHCI_PORT(n) + AHCI_PxTFD, ATA_STATUS_BUSY, SPIN_UP_MS) &&
            is_disk(hba, n))
            add_port(hba, n);
        else
            drop_port(hba, n);
    }
}

/* --- The HBA */

/* Firmware lets go of it, and it begins anew (10.6, 10.4.3). */
static int take(struct hba *hba)
{
    if (in(hba, AHCI_CAP2) & AHCI_CAP2_HANDOFF) {
        out(hba, AHCI_BOHC, in(hba, AHCI_BOHC) | AHCI_BOHC_OS);
        if (!cleared(hba, AHCI_BOHC, AHCI_BOHC_BIOS, HANDOFF_MS) && (in(hba, AHCI_BOHC) & AHCI_BOHC_BUSY))
            (void)cleared(hba, AHCI_BOHC, AHCI_BOHC_BIOS, BUSY_MS);
    }
    out(hba, AHCI_GHC, AHCI_GHC_AE);
    for (unsigned n = 0; n < hba->ports; n++)
        if ((in(hba, AHCI_CAP) & AHCI_CAP_STAGGERED) || has_link(hba, n))
            hba->seen |= (uint32_t)BIT(n);
    hba->seen &= in(hba, AHCI_PI);
    out(hba, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_RESET);
    if (!cleared(hba, AHCI_GHC, AHCI_GHC_RESET, RESET_MS))
        return -EIO;
    out(hba, AHCI_GHC, AHCI_GHC_AE);
    return 0;
}

static const char *start(struct hba *hba)
{
    uint64_t size = min_u64(pci_bar(&hba->pci, AHCI_BAR).size, AHCI_SIZE);

    hba->registers = pci_map(&hba->pci, AHCI_BAR, max_u64(size, AHCI_PORT(1)));
    hba->ports = (unsigned)(size - AHCI_PORT(0)) / AHCI_PORT_SIZE;
    if (!hba->registers)
        return "its registers cannot be mapped";
    if (!(in(hba, AHCI_CAP) & AHCI_CAP_64) && frames_owner(hpa(4 * GiB)) != FRAME_RESERVED)
        return "it reaches only the first 4 GiB of this machine's memory";
    if (take(hba) != 0)
        return "it does not start";
    pci_command(&hba->pci, (uint32_t)PCI_COMMAND_MASTER, 0);
    return NULL;
}

static void enable(struct hba *hba)
{
    unsigned disks = 0;

    for (unsigned n = 0; n < AHCI_PORTS; n++)
        disks += hba->port[n] != NULL;
    if (!disks)
        return;
    if (pci_interrupt(&hba->pci, interrupt, hba) != 0)
        log_warn("ahci%u: gives no interrupts: it is asked once a second", hba->number);
    for (unsigned n = 0; n < AHCI_PORTS; n++)
        if (hba->port[n])
            out(hba, AHCI_PORT(n) + AHCI_PxIE,
                AHCI_INT_FIS | AHCI_INT_ERRORS | AHCI_INT_PHY | AHCI_INT_CHANGE);
    out(hba, AHCI_IS, AHCI_GONE);
    out(hba, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_IE);
}

static int probe(struct pci_device *pci)
{
    struct hba *hba = heap_alloc(sizeof(*hba));
    const char *wrong;

    if (!hba)
        return -ENOMEM;
    *hba = (struct hba){ .pci = *pci, .number = hbas++ };
    wrong = start(hba);
    if (wrong) {
        log_warn("ahci%u: not used: %s", hba->number, wrong);
        pci_command(pci, 0, (uint32_t)PCI_COMMAND_MASTER);
        heap_free(hba);
        return -ENODEV;
    }
    find_disks(hba);
    enable(hba);
    for (unsigned n = 0; n < AHCI_PORTS; n++)
        if (hba->port[n])
            storage_add(&hba->port[n]->disk);
    return 0;
}

const struct pci_driver ahci_driver = { .name = "ahci",
                                        .by_class = true,
                                        .class = PCI_CLASS_SATA,
                                        .interface = 1, /* AHCI */
                                        .interface_mask = 0xff,
                                        .probe = probe };
