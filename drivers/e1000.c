#include "drivers/e1000.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/tsc.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define RESET_US      10000 /* until it has read its address from its EEPROM again */
#define EEPROM_US     10000 /* for a word */
#define ITR_50_US     195   /* at most 20,000 interrupts a second */
#define BUFFERS_ORDER 7

#define INTERRUPTS ((uint32_t)(E1000_INT_LSC | E1000_INT_RXDMT0 | E1000_INT_RXO | E1000_INT_RXT0))

static_assert(PAGE_SIZE << BUFFERS_ORDER == E1000_RING * E1000_BUFFER, "a buffer for each descriptor");
static_assert(E1000_RING * sizeof(struct e1000_rx_descriptor) == PAGE_SIZE, "a ring is a page");

static uint32_t read32(const struct e1000 *card, unsigned at)
{
    return *(const volatile uint32_t *)(card->registers + at);
}

static void write32(const struct e1000 *card, unsigned at, uint32_t value)
{
    *(volatile uint32_t *)(card->registers + at) = value;
}

/* --- At work */

static void look_at_link(struct e1000 *card)
{
    static const unsigned speeds[] = { 10, 100, 1000, 1000 };
    uint32_t status = read32(card, E1000_STATUS);
    bool link = status & E1000_STATUS_LU;

    card->nic.mbit = link ? speeds[E1000_STATUS_SPEED(status)] : 0;
    if (card->nic.link != link)
        log_info("%s (%s): link %s", card->nic.name, card->nic.model, link ? "up" : "down");
    card->nic.link = link;
}

/* On the boot CPU. The line may be shared: then there is no cause. */
static void interrupt(void *context)
{
    struct e1000 *card = context;
    uint32_t cause = read32(card, E1000_ICR);

    if (!cause)
        return;
    if (cause & E1000_INT_LSC)
        look_at_link(card);
    if (e1000_receive(card, E1000_BATCH) >= E1000_BATCH) /* others' turn, then the rest */
        write32(card, E1000_ICS, (uint32_t)E1000_INT_RXT0);
}

/* --- Start */

static void *pages(unsigned order)
{
    hpa_t at = frames_alloc(order, FRAME_HEAP);

    if (!at.raw)
        return NULL;
    memset(phys_to_virt(at), 0, PAGE_SIZE << order);
    return phys_to_virt(at);
}

static int make_rings(struct e1000 *card)
{
    void *rx = pages(0), *tx = pages(0);

    card->rx = rx;
    card->tx = tx;
    card->rx_buffers = pages(BUFFERS_ORDER);
    card->tx_buffers = pages(BUFFERS_ORDER);
    if (!rx || !tx || !card->rx_buffers || !card->tx_buffers)
        return -ENOMEM; /* what there is is lost; so little memory is no state to go on in */
    e1000_ring_init(card, virt_to_phys(card->rx_buffers).raw, virt_to_phys(card->tx_buffers).raw);
    write32(card, E1000_RDBAL, (uint32_t)virt_to_phys(rx).raw);
    write32(card, E1000_RDBAH, (uint32_t)(virt_to_phys(rx).raw >> 32));
    write32(card, E1000_RDLEN, PAGE_SIZE);
    write32(card, E1000_RDH, 0);
    write32(card, E1000_RDT, 0);
    write32(card, E1000_TDBAL, (uint32_t)virt_to_phys(tx).raw);
    write32(card, E1000_TDBAH, (uint32_t)(virt_to_phys(tx).raw >> 32));
    write32(card, E1000_TDLEN, PAGE_SIZE);
    write32(card, E1000_TDH, 0);
    write32(card, E1000_TDT, 0);
    return 0;
}

/* A network wants it (14.3 to 14.5). It takes all frames, since those for guests are not for its address. */
static int start(struct nic *nic)
{
    struct e1000 *card = container_of(nic, struct e1000, nic);
    uint32_t filter = (uint32_t)(E1000_RCTL_EN | E1000_RCTL_UPE | E1000_RCTL_MPE | E1000_RCTL_BAM |
                                 E1000_RCTL_SECRC);
    int error = make_rings(card);

    if (!error)
        error = pci_interrupt(&card->pci, interrupt, card);
    if (error) {
        log_error("%s (%s): cannot be used: %s", nic->name, nic->model,
                  error == -ENOMEM ? "no memory for its rings" : "its interrupt cannot be had");
        return error;
    }
    pci_command(&card->pci, (uint32_t)PCI_COMMAND_MASTER, 0);
    for (unsigned i = 0; i < E1000_MTA_SIZE; i++)
        write32(card, E1000_MTA(i), 0);
    if (card->pci.device == E1000_82540EM)
        write32(card, E1000_TIPG, E1000_TIPG_COPPER);
    write32(card, E1000_TCTL, (uint32_t)(E1000_TCTL_EN | E1000_TCTL_PSP) | E1000_TCTL_CT | E1000_TCTL_COLD);
    write32(card, E1000_RDTR, 0);
    write32(card, E1000_ITR, ITR_50_US);
    if (net_config(nic->port->network)->mtu > NET_MTU)
        filter |= (uint32_t)E1000_RCTL_LPE;
    write32(card, E1000_RCTL, filter);
    write32(card, E1000_RDT, E1000_RING - 1);
    (void)read32(card, E1000_ICR);
    write32(card, E1000_IMS, INTERRUPTS);
    look_at_link(card);
    return 0;
}

/* --- Finding it */

/* Stopped, whatever firmware had it do, with the address that its EEPROM has. */
static void reset(struct e1000 *card)
{
    uint32_t ctrl;

    write32(card, E1000_IMC, UINT32_MAX);
    write32(card, E1000_RCTL, 0);
    write32(card, E1000_TCTL, 0);
    write32(card, E1000_CTRL, read32(card, E1000_CTRL) | (uint32_t)E1000_CTRL_RST);
    tsc_delay_us(RESET_US);
    write32(card, E1000_IMC, UINT32_MAX);
    (void)read32(card, E1000_ICR);
    ctrl = read32(card, E1000_CTRL) | (uint32_t)(E1000_CTRL_SLU | E1000_CTRL_ASDE);
    ctrl &= ~(uint32_t)(E1000_CTRL_ILOS | E1000_CTRL_PHY_RST | E1000_CTRL_VME);
    if (card->pci.device == E1000_82540EM)
        ctrl &= ~(uint32_t)E1000_CTRL_LRST;
    write32(card, E1000_CTRL, ctrl);
}

/* The EEPROM's first three words, where the card has not taken its address from there by itself: Bochs' does
 * not. */
static bool read_eeprom(const struct e1000 *card, uint32_t *low, uint32_t *high)
{
    uint16_t word[3];

    for (unsigned i = 0; i < ARRAY_SIZE(word); i++) {
        uint32_t value = 0;

        write32(card, E1000_EERD, E1000_EERD_WORD(i) | (uint32_t)E1000_EERD_START);
        for (unsigned tries = EEPROM_US; tries && !(value & E1000_EERD_DONE); tries--) {
            tsc_delay_us(1);
            value = read32(card, E1000_EERD);
        }
        if (!(value & E1000_EERD_DONE))
            return false;
        word[i] = E1000_EERD_DATA(value);
    }
    *low = word[0] | (uint32_t)word[1] << 16;
    *high = word[2] | (uint32_t)E1000_RAH_VALID;
    write32(card, E1000_RAL0, *low);
    write32(card, E1000_RAH0, *high);
    return true;
}

/* False: it has none. */
static bool read_mac(struct e1000 *card)
{
    uint32_t low = read32(card, E1000_RAL0), high = read32(card, E1000_RAH0);

    if (!(high & E1000_RAH_VALID) && (card->pci.device != E1000_82540EM || !read_eeprom(card, &low, &high)))
        return false;
    for (unsigned i = 0; i < 4; i++)
        card->nic.mac[i] = (uint8_t)(low >> (8 * i));
    card->nic.mac[4] = (uint8_t)high;
    card->nic.mac[5] = (uint8_t)(high >> 8);
    return !(low & 1) && (low || high & 0xffff);
}

static int probe(struct pci_device *device)
{
    struct e1000 *card = heap_alloc(sizeof(*card));
    struct nic *nic = &card->nic;
    char mac[NET_MAC_TEXT];

    if (!card)
        return -ENOMEM;
    card->pci = *device;
    card->pci.msix = 0; /* in MSI-X mode the 82574's causes are others; MSI has those that both cards know */
    format_text(nic->name, sizeof(nic->name), "pci:%02x:%02x.%x", device->at.bus, device->at.slot,
                device->at.function);
    format_text(nic->model, sizeof(nic->model), "%s", device->device == E1000_82540EM ? "e1000" : "e1000e");
    nic->mtu = E1000_MTU;
    nic->transmit = e1000_transmit;
    nic->start = start;
    nic->driver = card;
    card->registers = pci_map(&card->pci, 0, E1000_SIZE);
    if (!card->registers)
        goto refuse;
    reset(card);
    if (!read_mac(card)) {
        log_warn("%s (%s): is not used: it has no address", nic->name, nic->model);
        goto refuse;
    }
    log_info("%s: %s, address %s", nic->name, nic->model, net_mac_text(nic->mac, mac));
    nic_add(nic);
    return 0;
refuse:
    heap_free(card);
    return -ENODEV;
}

void e1000_init(void)
{
    static const struct pci_driver e1000 = {
        .name = "e1000", .vendor = E1000_VENDOR, .device = E1000_82540EM, .probe = probe
    };
    static const struct pci_driver e1000e = {
        .name = "e1000e", .vendor = E1000_VENDOR, .device = E1000_82574L, .probe = probe
    };
    static const struct pci_driver *const drivers[] = { &e1000, &e1000e };

    pci_probe(drivers, ARRAY_SIZE(drivers));
}
