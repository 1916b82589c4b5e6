#include "drivers/net_test.h"
#include "arch/x86_64/paging.h"
#include "io/nic.h"
#include "kernel/frames.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "lib/format.h"
#include "lib/string.h"

#define MTU         9000 /* if the card can */
#define SLOTS       32   /* a power of two */
#define BYTES       (MTU + NET_HEAD)
#define SLOTS_ORDER 7

struct slot {
    uint32_t bytes;
    uint8_t data[BYTES];
};

static_assert(SLOTS * sizeof(struct slot) <= PAGE_SIZE << SLOTS_ORDER, "the slots' memory");

static struct {
    struct net_port *port;
    struct sched_work work;
    unsigned head, tail; /* free-running: the port's lock has the one, the work the other */
    struct slot *slot;
} echo;

/* From inside of the receiving port nothing may be sent, so that is done by a work item. */
static bool receive(struct net_port *port, const struct net_frame *frame)
{
    unsigned at = echo.head % SLOTS;
    struct net_cursor cursor = { 0 };

    (void)port;
    if (echo.head - __atomic_load_n(&echo.tail, __ATOMIC_ACQUIRE) == SLOTS || frame->bytes > BYTES)
        return false;
    echo.slot[at].bytes = net_copy(frame, &cursor, echo.slot[at].data, BYTES);
    __atomic_store_n(&echo.head, echo.head + 1, __ATOMIC_RELEASE);
    sched_queue_work(&echo.work);
    return true;
}

static bool step(struct sched_work *work)
{
    struct net_frame frame;
    uint8_t *data;

    (void)work;
    if (echo.tail == __atomic_load_n(&echo.head, __ATOMIC_ACQUIRE))
        return false;
    data = echo.slot[echo.tail % SLOTS].data;
    memcpy(data, data + NET_MAC, NET_MAC);
    memcpy(data + NET_MAC, echo.port->config.mac, NET_MAC);
    net_frame_init(&frame);
    if (net_frame_add(&frame, data, echo.slot[echo.tail % SLOTS].bytes))
        (void)!net_send(echo.port, &frame);
    __atomic_store_n(&echo.tail, echo.tail + 1, __ATOMIC_RELEASE);
    return true;
}

void net_test(const char *card)
{
    static const struct net_port_config port = { .name = "net-test/0", .mac = { 2, 0, 0, 0, 0, 1 } };
    const struct nic *nic = nic_find(card);
    struct network_config config = { .name = "net-test",
                                     .mtu = nic ? (unsigned)min_u64(nic->mtu, MTU) : MTU };
    hpa_t slots = frames_alloc(SLOTS_ORDER, FRAME_HEAP);
    struct network *network;

    format_text(config.uplink, sizeof(config.uplink), "%s", card);
    network = net_make(&config);
    if (!slots.raw || !network || net_add_port(network, &port, &echo.port)) {
        log_error("net-test: no memory");
        return;
    }
    echo.slot = phys_to_virt(slots);
    echo.work.step = step;
    net_open(echo.port, receive, NULL, 0);
    nic_connect();
    log_info("net-test: %s", nic ? "echo" : "there is no such card");
}
