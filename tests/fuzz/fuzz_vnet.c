/* The network device with rings of anything, rewritten as it reads, while frames come from another port and a
 * second pair sends. */
#include "devices/vnet.h"
#include "tests/fuzz/virtio_guest.h"
#include "tests/unit/net_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vnet vnet;
static struct net_port *port;
static struct rig_port *peer;

static void make_network(void)
{
    struct network *network = rig_network(1500, 0);
    struct net_port_config config = rig_config(1), other = rig_config(2);

    if (net_add_port(network, &config, &port))
        abort();
    peer = rig_add(network, &other, 0);
}

/* Behind its addresses it is what the thread writes. */
static void send_to_guest(const struct guest_material *material, uint32_t payload)
{
    static uint8_t frame[1514] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };
    size_t bytes = min_u64(material->size, 80);

    memset(frame + 12, 0, 80);
    if (bytes)
        memcpy(frame + 12, material->data, bytes);
    assert(rig_send(peer, frame, 14 + payload % 1501) == 0);
}

/* Another CPU, on which a timer has the pair send. */
static void *second_sender(void *context)
{
    (void)context;
    for (unsigned i = 0; i < 4; i++)
        guest_kick(&vnet.virtio, VNET_SEND(1));
    return NULL;
}

/* A byte of choices, the start of each ring, and what the thread writes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const unsigned pairs = size && data[0] & 4 ? 2 : 1, queues = VNET_QUEUES(pairs);
    struct guest_material material = { .queues = queues };
    static struct vnet_state before, after;
    const size_t start = 0x1c0; /* the rings, and behind them what the seeds send */
    pthread_t thread, second;

    if (size < 1 + queues * start)
        return 0;
    if (!port)
        make_network();
    guest_init();
    vnet_init(&vnet, &mem, &apics, &board.queue, port, pairs);
    assert(vnet_attach(&vnet, &pci, 0) == 0 && vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    guest_start(&vnet.virtio,
                (data[0] & 1 ? VIRTIO_F_PACKED : 0) | (data[0] & 2 ? VIRTIO_NET_F_MRG_RXBUF : 0) |
                    (data[0] & 8 ? VIRTIO_NET_F_MQ : 0),
                queues);
    for (unsigned i = 0; i < queues; i++)
        memcpy(gmem_ptr(&mem, gpa(GUEST_RING + i * GUEST_AREA), start), data + 1 + i * start, start);
    material.data = data + 1 + queues * start;
    material.size = size - 1 - queues * start;
    if (pthread_create(&thread, NULL, guest_thread, &material))
        abort();
    if (pairs > 1 && pthread_create(&second, NULL, second_sender, NULL))
        abort();
    for (unsigned i = 0; i < 4; i++) {
        guest_kick(&vnet.virtio, queues - 1); /* commands, or none if the driver has one pair */
        for (unsigned pair = 0; pair < pairs; pair++)
            guest_kick(&vnet.virtio, VNET_SEND(pair));
        send_to_guest(&material, data[0] * 12u + i);
        guest_kick(&vnet.virtio, VNET_CONTROL(1)); /* or the second pair's buffers to receive */
        guest_kick(&vnet.virtio, VNET_RECEIVE(0));
    }
    pthread_join(thread, NULL);
    if (pairs > 1)
        pthread_join(second, NULL);
    assert(vvirtio_is_idle(&vnet.virtio));
    vnet_save(&vnet, &before);
    assert(vnet_check(&vnet, &before) == 0);
    vnet_load(&vnet, &before);
    vnet_save(&vnet, &after);
    assert(memcmp(&before, &after, sizeof(before)) == 0);
    vnet_reset(&vnet);
    assert(!port->open && timer_queue_next(&board.queue) == TIMER_NEVER);
    return 0;
}
