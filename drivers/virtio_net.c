#include "drivers/virtio_net.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "kernel/timer_here.h"
#include "lib/errno.h"
#include "lib/format.h"

/* Without VIRTIO_NET_F_CTRL_RX nobody tells the device to leave out frames that are not for its own address.
 */
#define NEEDED (VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MAC)
#define WANTED (NEEDED | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_MTU)

#define BUFFERS_ORDER 7
#define RING_ORDER    1
#define RING_MIN      4  /* entries: fewer are no use */
#define RING_FRAMES   4  /* the longest frame takes no more of a ring than its part in so many */
#define STUCK_LOOKS   30 /* seconds without any of the frames that are to be sent having gone */
#define RESET_LOOKS   5  /* seconds that a reset may take */
#define GOOD_LOOKS    30 /* seconds of work that make up for a reset */
#define TROUBLE_MAX   4  /* resets in a row after which it is given up */

static_assert(PAGE_SIZE << BUFFERS_ORDER == VIRTIO_NET_RING * VIRTIO_NET_BUFFER, "a buffer for each entry");
static_assert(PAGE_SIZE << RING_ORDER >= VIRTIO_RING_BYTES(VIRTIO_NET_RING), "a ring's memory");

static const uint8_t said_widths[] = { 1, 1, 1, 1, 1, 1, 2, 2, 2 }; /* of struct virtio_net_config's fields */

/* --- At work */

static struct virtio_net_config ask(const struct virtio_net *card)
{
    struct virtio_net_config said;

    virtio_device_config(&card->device, &said, said_widths, ARRAY_SIZE(said_widths));
    return said;
}

static void set_link(struct virtio_net *card, bool link)
{
    if (card->nic.link != link)
        log_info("%s (%s): link %s", card->nic.name, card->nic.model, link ? "up" : "down");
    card->nic.link = link;
}

/* One that does not tell is always up (5.1.4.2). */
static void look_at_link(struct virtio_net *card)
{
    set_link(card, card->state == VIRTIO_NET_WORKS && (!(card->device.features & VIRTIO_NET_F_STATUS) ||
                                                       (ask(card).status & VIRTIO_NET_S_LINK_UP)));
}

static void frames_interrupt(void *context)
{
    struct virtio_net *card = context;

    if (virtio_net_receive(card)) /* others' turn, then the rest */
        sched_queue_work(&card->work);
}

static bool take_rest(struct sched_work *work)
{
    return virtio_net_receive(container_of(work, struct virtio_net, work));
}

static void config_interrupt(void *context)
{
    struct virtio_net *card = context;

    if (card->state == VIRTIO_NET_WORKS)
        look_at_link(card);
}

static void line_interrupt(void *context)
{
    struct virtio_net *card = context;
    unsigned why = virtio_device_isr(&card->device);

    if (why & VIRTIO_ISR_QUEUE)
        frames_interrupt(card);
    if (why & VIRTIO_ISR_CONFIG)
        config_interrupt(card);
}

/* --- Start, and start again (3.1.1) */

/* Rings and all, whatever was before. NULL, or what is wrong. Nobody sends meanwhile. */
static const char *begin(struct virtio_net *card)
{
    const char *wrong = virtio_device_begin(&card->device, WANTED, NEEDED);

    if (wrong)
        return wrong;
    virtio_net_rings(card, card->rx.size, card->tx.size);
    if (!virtio_device_config_vector(&card->device, card->config_vector) ||
        virtio_device_queue(&card->device, &card->rx, VIRTIO_NET_QUEUE_RECEIVE, card->rx_vector) ||
        virtio_device_queue(&card->device, &card->tx, VIRTIO_NET_QUEUE_TRANSMIT, VIRTIO_NO_VECTOR))
        return "its queues cannot be used";
    card->stuck_looks = card->good_looks = card->resets_waited = 0;
    card->tx_seen = 0;
    card->wrong = NULL;
    virtio_device_go(&card->device);
    __atomic_store_n(&card->state, VIRTIO_NET_WORKS, __ATOMIC_RELEASE);
    virtio_ring_tell(&card->rx);
    look_at_link(card);
    return NULL;
}

static void give_up(struct virtio_net *card, const char *why)
{
    log_error("%s (%s): %s: it is not used any more", card->nic.name, card->nic.model, why);
    __atomic_store_n(&card->state, VIRTIO_NET_GIVEN_UP, __ATOMIC_RELEASE);
    set_link(card, false);
    virtio_device_stop(&card->device);
}

static void reset(struct virtio_net *card, const char *why)
{
    if (++card->trouble > TROUBLE_MAX) {
        give_up(card, why);
        return;
    }
    log_error("%s (%s): %s: it is reset", card->nic.name, card->nic.model, why);
    __atomic_store_n(&card->state, VIRTIO_NET_RESETTING, __ATOMIC_RELEASE);
    set_link(card, false);
    virtio_device_reset(&card->device);
}

static void begin_again(struct virtio_net *card)
{
    const char *wrong;

    if (virtio_device_status(&card->device) != 0) {
        if (++card->resets_waited > RESET_LOOKS)
            give_up(card, "it does not come back from its reset");
        return;
    }
    net_hold(card->nic.port);
    wrong = begin(card);
    net_let_go(card->nic.port);
    if (wrong)
        give_up(card, wrong);
}

/* Whether frames wait and none of them has gone for so long. */
static bool is_stuck(struct virtio_net *card)
{
    net_hold(card->nic.port);
    virtio_net_reclaim(card);
    card->stuck_looks = card->tx_free_count == card->tx.size || card->tx_seen != card->tx.seen
                            ? 0
                            : card->stuck_looks + 1;
    card->tx_seen = card->tx.seen;
    net_let_go(card->nic.port);
    return card->stuck_looks >= STUCK_LOOKS;
}

static void look_at_work(struct virtio_net *card)
{
    unsigned status = virtio_device_status(&card->device);
    bool stuck = is_stuck(card);

    if (status == 0xff) {
        give_up(card, "is gone");
    } else if ((status & VIRTIO_NEEDS_RESET) || !(status & VIRTIO_DRIVER_OK)) {
        reset(card, "the device failed");
    } else if (card->wrong) {
        reset(card, card->wrong);
    } else if (stuck) {
        reset(card, "it sends nothing");
    } else {
        frames_interrupt(card); /* one that was lost */
        if (card->config_vector == VIRTIO_NO_VECTOR)
            look_at_link(card);
        if (++card->good_looks >= GOOD_LOOKS && card->trouble) {
            card->good_looks = 0;
            card->trouble--;
        }
    }
}

/* Once a second. */
static void look(struct timer *timer)
{
    struct virtio_net *card = container_of(timer, struct virtio_net, timer);

    if (card->state == VIRTIO_NET_RESETTING)
        begin_again(card);
    else
        look_at_work(card);
    if (card->state != VIRTIO_NET_GIVEN_UP)
        timer_arm(timer, tsc_now() + tsc_hz());
}

/*
 * Frames come by the first vector; changes of the link by the second, if there is one. A device with INTx
 * only has the line for both.
 */
static int connect_interrupts(struct virtio_net *card)
{
    struct pci_device *pci = &card->device.pci;
    uint32_t cpu = smp_cpu(0)->apic_id;

    card->rx_vector = card->config_vector = VIRTIO_NO_VECTOR;
    if (!pci_msix_entries(pci))
        return pci_interrupt(pci, line_interrupt, card);
    if (pci_msix(pci, 0, cpu, frames_interrupt, card))
        return -ENODEV;
    card->rx_vector = 0;
    if (pci_msix_entries(pci) > 1 && pci_msix(pci, 1, cpu, config_interrupt, card) == 0)
        card->config_vector = 1;
    return 0;
}

static const char *prepare(struct virtio_net *card)
{
    card->rx_memory = virtio_device_pages(RING_ORDER);
    card->tx_memory = virtio_device_pages(RING_ORDER);
    card->rx_buffers = virtio_device_pages(BUFFERS_ORDER);
    card->tx_buffers = virtio_device_pages(BUFFERS_ORDER);
    if (!card->rx_memory || !card->tx_memory || !card->rx_buffers || !card->tx_buffers)
        return "no memory for its rings"; /* what there is is lost; so little memory is no state to go on in
                                           */
    if (connect_interrupts(card))
        return "its interrupt cannot be had";
    return begin(card);
}

/* A network wants it. */
static int start(struct nic *nic)
{
    struct virtio_net *card = container_of(nic, struct virtio_net, nic);
    const char *wrong = prepare(card);

    if (wrong) {
        log_error("%s (%s): cannot be used: %s", nic->name, nic->model, wrong);
        virtio_device_stop(&card->device);
        return -ENODEV;
    }
    timer_arm(&card->timer, tsc_now() + tsc_hz());
    return 0;
}

/* --- Finding it */

/* What it can receive and send; it may say that there is less (5.1.4). */
static unsigned find_mtu(const struct virtio_net *card, const struct virtio_net_config *said)
{
    const unsigned around = (unsigned)sizeof(struct virtio_net_hdr) + NET_HEAD + NET_TAG;
    uint64_t most = VIRTIO_NET_BUFFER;

    if (card->device.features & VIRTIO_NET_F_MRG_RXBUF)
        most *= max_u64(min_u64(card->rx.size, card->tx.size) / RING_FRAMES, 1);
    most = min_u64(most - around, NET_MTU_MAX);
    if (card->device.features & VIRTIO_NET_F_MTU)
        most = min_u64(most, said->mtu);
    return (unsigned)most;
}

static const char *describe(struct virtio_net *card)
{
    unsigned rx = virtio_device_queue_size(&card->device, VIRTIO_NET_QUEUE_RECEIVE),
             tx = virtio_device_queue_size(&card->device, VIRTIO_NET_QUEUE_TRANSMIT);
    struct virtio_net_config said = ask(card);
    static const uint8_t none[NET_MAC];

    if (rx < RING_MIN || tx < RING_MIN)
        return "its queues are too small";
    if (memcmp(said.mac, none, NET_MAC) == 0 || (said.mac[0] & 1))
        return "it has no address";
    card->rx.size = (uint16_t)min_u64(rx, VIRTIO_NET_RING);
    card->tx.size = (uint16_t)min_u64(tx, VIRTIO_NET_RING);
    memcpy(card->nic.mac, said.mac, NET_MAC);
    card->nic.mtu = find_mtu(card, &said);
    return NULL;
}

static const char *find(struct virtio_net *card, const struct pci_device *pci)
{
    const char *wrong = virtio_device_map(&card->device, pci);

    if (!wrong)
        wrong = virtio_device_begin(&card->device, WANTED, NEEDED);
    return wrong ? wrong : describe(card);
}

static int probe(struct pci_device *pci)
{
    struct virtio_net *card = heap_alloc(sizeof(*card));
    struct nic *nic = &card->nic;
    char mac[NET_MAC_TEXT];
    const char *wrong;

    if (!card)
        return -ENOMEM;
    *card = (struct virtio_net){
        .nic = { .model = "virtio-net", .transmit = virtio_net_transmit, .start = start, .driver = card },
        .work = { .step = take_rest }
    };
    format_text(nic->name, sizeof(nic->name), "pci:%02x:%02x.%x", pci->at.bus, pci->at.slot,
                pci->at.function);
    timer_init(&card->timer, timer_queue_here(NULL), look);
    wrong = find(card, pci);
    if (wrong) {
        log_warn("%s (%s): is not used: %s", nic->name, nic->model, wrong);
        heap_free(card);
        return -ENODEV;
    }
    log_info("%s: %s, address %s", nic->name, nic->model, net_mac_text(nic->mac, mac));
    nic_add(nic);
    return 0;
}

void virtio_net_init(void)
{
    static const struct pci_driver modern = { .name = "virtio-net",
                                              .vendor = VIRTIO_PCI_VENDOR,
                                              .device = VIRTIO_PCI_DEVICE(VIRTIO_ID_NET),
                                              .probe = probe };
    static const struct pci_driver transitional = { .name = "virtio-net, transitional",
                                                    .vendor = VIRTIO_PCI_VENDOR,
                                                    .device = VIRTIO_PCI_TRANSITIONAL_NET,
                                                    .probe = probe };
    static const struct pci_driver *const drivers[] = { &modern, &transitional };

    pci_probe(drivers, ARRAY_SIZE(drivers));
}
