/* virtio's network device. Section numbers are those of OASIS virtio 1.2. */
#include "devices/vnet.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CLASS_ETHERNET 0x020000u

/* What the driver may leave on or off once it has it (5.1.6.5.8). */
#define GUEST_OFFLOADS                                                                                       \
    (VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN |  \
     VIRTIO_NET_F_GUEST_UFO)

#define SEND_SEGMENTS    (NET_SEGMENTS + 1) /* the header may stand alone */
#define RECEIVE_SEGMENTS 128                /* of all buffers of a frame */
#define BUFFER_SEGMENTS  32                 /* of one: Linux has 19 at most */
#define RECEIVE_BUFFERS  64                 /* a frame takes at most */
#define CONTROL_SEGMENTS 8
#define CONTROL_BYTES    16
#define TURN             (4 * VNET_QUEUE_SIZE) /* frames that one doorbell sends, before others have the CPU */

static bool is_link_up(const struct vnet *vnet)
{
    return vnet->config.status & VIRTIO_NET_S_LINK_UP;
}

/* Pairs that the driver has queues for. */
static unsigned pairs_of(const struct vnet *vnet, uint64_t driver_features)
{
    return driver_features & VIRTIO_NET_F_MQ ? vnet->config.max_virtqueue_pairs : 1;
}

/* --- Sending: 5.1.6.2 */

/* The first `bytes` of the readable part; false: it is shorter. *segment and *offset stand behind them. */
static bool read_bytes(const struct vring_chain *chain, const struct vring_segment *from, void *to,
                       uint32_t bytes, unsigned *segment, uint32_t *offset)
{
    uint8_t *at = to;

    *segment = *offset = 0;
    while (bytes && *segment < chain->readable) {
        uint32_t part = (uint32_t)min_u64(from[*segment].bytes - *offset, bytes);

        memcpy(at, from[*segment].data + *offset, part);
        at += part;
        bytes -= part;
        *offset += part;
        if (*offset == from[*segment].bytes) {
            ++*segment;
            *offset = 0;
        }
    }
    return bytes == 0;
}

/* A buffer as a frame; false: it is none, and is dropped. The header is read once. */
static bool make_frame(const struct vring_chain *chain, const struct vring_segment *segment,
                       struct net_frame *frame)
{
    struct virtio_net_hdr header;
    uint32_t offset;
    unsigned i;

    net_frame_init(frame);
    if (!read_bytes(chain, segment, &header, sizeof(header), &i, &offset))
        return false;
    frame->offload = (struct net_offload){ .flags = header.flags & NET_NEEDS_CSUM,
                                           .gso_type = header.gso_type,
                                           .header_bytes = header.hdr_len,
                                           .gso_size = header.gso_size,
                                           .csum_start = header.csum_start,
                                           .csum_offset = header.csum_offset };
    for (; i < chain->readable; i++, offset = 0)
        if (!net_frame_add(frame, segment[i].data + offset, segment[i].bytes - offset))
            return false;
    return true;
}

/* As net_send(). A queue that runs has its features. */
static int send_frame(struct vnet *vnet, const struct vvirtio_queue *queue, struct net_frame *frame)
{
    if (unlikely(vnet->virtio.s.driver_features & VIRTIO_NET_F_MQ))
        vnet_steer_sent(&vnet->steer, frame, (unsigned)(queue - vnet->virtio.queue) / 2);
    return net_send(vnet->port, frame);
}

/* Sends what is there. True: not all, and the timer is to come for the rest at *at. */
static bool send_some(struct vnet *vnet, struct vvirtio_queue *queue, unsigned *left, uint64_t *at)
{
    struct vring_segment segment[SEND_SEGMENTS];
    struct vring_chain chain;
    struct net_frame frame;

    for (; *left > 0; --*left) {
        struct vvirtio_mark mark = vvirtio_mark(queue);

        if (vvirtio_pop(&vnet->virtio, queue, &chain, segment, SEND_SEGMENTS) != 1)
            return false;
        if (likely(make_frame(&chain, segment, &frame) && is_link_up(vnet)) &&
            send_frame(vnet, queue, &frame) == -EAGAIN) {
            vvirtio_rewind(queue, &mark);
            *at = net_ready_at(vnet->port);
            return true;
        }
        vvirtio_push(queue, &chain, 0);
    }
    *at = 0; /* at once */
    return true;
}

/*
 * All that waits, with the driver's doorbell muted meanwhile. A driver that goes on making frames on another
 * CPU does not keep this one: the rest is left to the timer, before which others have their turn.
 */
static void send(struct vnet *vnet, unsigned pair)
{
    struct vvirtio_queue *queue = &vnet->virtio.queue[VNET_SEND(pair)];
    unsigned left = TURN;
    uint64_t at = 0;
    bool later;

    lock_take(&queue->lock);
    if (queue->running) {
        vring_disable_notify(&queue->ring);
        do
            later = send_some(vnet, queue, &left, &at);
        while (!later && vring_enable_notify(&queue->ring));
        if (later)
            timer_arm(&vnet->sender[pair].again, at);
    }
    lock_release(&queue->lock);
    vvirtio_interrupt(&vnet->virtio, queue);
}

static void send_again(struct timer *timer)
{
    struct vnet_sender *sender = container_of(timer, struct vnet_sender, again);

    send(sender->vnet, (unsigned)(sender - sender->vnet->sender));
}

/* --- Receiving: 5.1.6.4 */

/* Buffers for one frame, of which the first `count` are used. */
struct room {
    struct vring_chain chain[RECEIVE_BUFFERS];
    struct vring_segment segment[RECEIVE_SEGMENTS];
    unsigned count, segments;
};

/* Buffers of at least `bytes` together; false: there are not so many, and none is taken. */
static bool find_room(struct vnet *vnet, struct vvirtio_queue *queue, struct room *room, uint64_t bytes)
{
    const unsigned most = vvirtio_has(&vnet->virtio, VIRTIO_NET_F_MRG_RXBUF) ? RECEIVE_BUFFERS : 1;
    struct vvirtio_mark mark = vvirtio_mark(queue);
    uint64_t found = 0;

    room->count = room->segments = 0;
    while (found < bytes && room->count < most && room->segments + BUFFER_SEGMENTS <= RECEIVE_SEGMENTS) {
        struct vring_chain *chain = &room->chain[room->count];
        struct vring_segment *segment = &room->segment[room->segments];

        if (vvirtio_pop(&vnet->virtio, queue, chain, segment, BUFFER_SEGMENTS) != 1)
            break;
        /* What the driver would have us read in a buffer to be filled has no meaning (5.1.6.3.1). */
        memmove(segment, segment + chain->readable, chain->writable * sizeof(*segment));
        found += chain->writable_bytes;
        room->segments += chain->writable;
        room->count++;
    }
    if (found >= bytes)
        return true;
    vvirtio_rewind(queue, &mark);
    return false;
}

/* The header, then the frame, into one buffer after the other. */
static void fill(struct vvirtio_queue *queue, const struct room *room, const struct net_frame *frame)
{
    struct virtio_net_hdr header = { .flags = frame->offload.flags,
                                     .gso_type = frame->offload.gso_type,
                                     .hdr_len = frame->offload.header_bytes,
                                     .gso_size = frame->offload.gso_size,
                                     .csum_start = frame->offload.csum_start,
                                     .csum_offset = frame->offload.csum_offset,
                                     .num_buffers = (uint16_t)room->count };
    const struct vring_segment *segment = room->segment;
    const uint8_t *head = (const uint8_t *)&header;
    uint32_t left = sizeof(header);
    struct net_cursor cursor = { 0 };

    for (unsigned i = 0; i < room->count; i++) {
        uint32_t written = 0;

        for (unsigned n = room->chain[i].writable; n > 0; n--, segment++) {
            uint32_t part = (uint32_t)min_u64(left, segment->bytes);

            memcpy(segment->data, head, part);
            head += part;
            left -= part;
            written += part + net_copy(frame, &cursor, segment->data + part, segment->bytes - part);
        }
        vvirtio_push(queue, &room->chain[i], written);
    }
}

/* Of several pairs that receive: the queue for a frame, or another one while that is reset (5.1.6.5.6). */
static struct vvirtio_queue *choose_receiver(struct vnet *vnet, const struct net_frame *frame)
{
    unsigned pairs = vnet->pairs, pair = vnet_steer_receiver(&vnet->steer, frame, pairs);
    struct vvirtio_queue *queue;
    bool running;

    for (unsigned i = 0; i < pairs; i++, pair = (pair + 1) % pairs) {
        queue = &vnet->virtio.queue[VNET_RECEIVE(pair)];
        lock_take(&queue->lock);
        running = queue->running;
        lock_release(&queue->lock);
        if (likely(running))
            break;
    }
    return queue;
}

/* Called by the switch, see vnet.h. */
static bool receive(struct net_port *port, const struct net_frame *frame)
{
    struct vnet *vnet = port->owner;
    struct vvirtio_queue *queue = &vnet->virtio.queue[VNET_RECEIVE(0)];
    struct room room;
    bool found;

    if (unlikely(vnet->pairs > 1))
        queue = choose_receiver(vnet, frame);
    lock_take(&queue->lock);
    found = find_room(vnet, queue, &room, sizeof(struct virtio_net_hdr) + frame->bytes);
    if (likely(found))
        fill(queue, &room, frame);
    lock_release(&queue->lock);
    if (likely(found))
        vvirtio_interrupt(&vnet->virtio, queue);
    return found;
}

/* Buffers are looked for when a frame comes, so the driver need not tell of them. */
static void mute(struct vvirtio_queue *queue)
{
    lock_take(&queue->lock);
    if (queue->running)
        vring_disable_notify(&queue->ring);
    lock_release(&queue->lock);
}

/* --- Control: 5.1.6.5 */

static void open_port(struct vnet *vnet)
{
    static const struct {
        uint64_t feature;
        unsigned takes;
    } table[] = { { VIRTIO_NET_F_GUEST_CSUM, NET_TAKES_CSUM },
                  { VIRTIO_NET_F_GUEST_TSO4, NET_TAKES_TCP4 },
                  { VIRTIO_NET_F_GUEST_TSO6, NET_TAKES_TCP6 },
                  { VIRTIO_NET_F_GUEST_ECN, NET_TAKES_ECN },
                  { VIRTIO_NET_F_GUEST_UFO, NET_TAKES_UDP } };
    unsigned takes = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        if (vnet->offloads & table[i].feature)
            takes |= table[i].takes;
    if (is_link_up(vnet))
        net_open(vnet->port, receive, vnet, takes);
    else
        net_close(vnet->port);
}

static uint8_t set_offloads(struct vnet *vnet, const uint8_t *data)
{
    uint64_t offloads;

    memcpy(&offloads, data, sizeof(offloads));
    if (offloads & ~(vnet->virtio.s.driver_features & GUEST_OFFLOADS))
        return VIRTIO_NET_ERR;
    vnet->offloads = offloads;
    open_port(vnet);
    return VIRTIO_NET_OK;
}

/*
 * 5.1.6.5.6: behind the answer no other pair receives. What is sent on one, the driver has made before: it
 * goes out.
 */
static uint8_t set_pairs(struct vnet *vnet, const uint8_t *data)
{
    uint16_t pairs;

    memcpy(&pairs, data, sizeof(pairs));
    if (pairs == 0 || pairs > pairs_of(vnet, vnet->virtio.s.driver_features))
        return VIRTIO_NET_ERR;
    net_hold(vnet->port);
    vnet->pairs = pairs;
    net_let_go(vnet->port);
    return VIRTIO_NET_OK;
}

/*
 * Receive modes and address lists are acknowledged only: they are a driver's offer to do with less, and a
 * guest gets the frames for its own address and those for many in any case, and no others.
 */
static uint8_t obey(struct vnet *vnet, const uint8_t *command, uint64_t bytes)
{
    if (command[0] == VIRTIO_NET_CTRL_RX && command[1] <= VIRTIO_NET_CTRL_RX_LAST && bytes == 3)
        return VIRTIO_NET_OK;
    if (command[0] == VIRTIO_NET_CTRL_MAC && command[1] == VIRTIO_NET_CTRL_MAC_TABLE_SET && bytes >= 10)
        return VIRTIO_NET_OK;
    if (command[0] == VIRTIO_NET_CTRL_MQ && command[1] == VIRTIO_NET_CTRL_MQ_PAIRS_SET && bytes == 4 &&
        vvirtio_has(&vnet->virtio, VIRTIO_NET_F_MQ))
        return set_pairs(vnet, command + 2);
    if (command[0] == VIRTIO_NET_CTRL_OFFLOADS && command[1] == VIRTIO_NET_CTRL_OFFLOADS_SET && bytes == 10 &&
        vvirtio_has(&vnet->virtio, VIRTIO_NET_F_GUEST_OFFLOADS))
        return set_offloads(vnet, command + 2);
    return VIRTIO_NET_ERR;
}

/* A command's one byte of answer, if there is room for it. Returns what was written. */
static uint32_t answer(struct vnet *vnet, const struct vring_chain *chain,
                       const struct vring_segment *segment)
{
    uint8_t command[CONTROL_BYTES] = { 0 }, result = VIRTIO_NET_ERR;
    uint64_t bytes = chain->readable_bytes;
    uint32_t offset;
    unsigned at;

    if (!chain->writable)
        return 0;
    if (bytes >= 2 &&
        read_bytes(chain, segment, command, (uint32_t)min_u64(bytes, sizeof(command)), &at, &offset))
        result = obey(vnet, command, bytes);
    *segment[chain->readable].data = result;
    return 1;
}

/* Not more than a driver can have made that waits for its answers. */
static void control(struct vnet *vnet, struct vvirtio_queue *queue)
{
    struct vring_segment segment[CONTROL_SEGMENTS];
    struct vring_chain chain;

    for (unsigned i = 0; i < 2 * VNET_QUEUE_SIZE; i++) {
        bool taken, more;
        uint32_t written;

        lock_take(&queue->lock);
        taken = vvirtio_pop(&vnet->virtio, queue, &chain, segment, CONTROL_SEGMENTS) == 1;
        more = taken || (queue->running && vring_enable_notify(&queue->ring));
        lock_release(&queue->lock);
        if (!more)
            break;
        if (!taken)
            continue;
        written = answer(vnet, &chain, segment); /* it may open the port: without the queue's lock */
        lock_take(&queue->lock);
        vvirtio_push(queue, &chain, written);
        lock_release(&queue->lock);
    }
    vvirtio_interrupt(&vnet->virtio, queue);
}

/* --- Life */

/* Without VIRTIO_NET_F_MQ a queue behind the control queue is nobody's, should a driver have set one up. */
static void notified(void *device, unsigned queue)
{
    struct vnet *vnet = device;
    unsigned pairs = pairs_of(vnet, vnet->virtio.s.driver_features);

    if (queue == VNET_CONTROL(pairs))
        control(vnet, &vnet->virtio.queue[queue]);
    else if (queue > VNET_CONTROL(pairs))
        return;
    else if (queue % 2)
        send(vnet, queue / 2);
    else
        mute(&vnet->virtio.queue[queue]);
}

static void started(void *device)
{
    struct vnet *vnet = device;

    vnet->offloads = vnet->virtio.s.driver_features & GUEST_OFFLOADS;
    open_port(vnet);
}

/* The queues have stopped: what is left are the timers and the port. */
static void stop(struct vnet *vnet)
{
    for (unsigned i = 0; i < VNET_MAX_PAIRS; i++)
        timer_cancel(&vnet->sender[i].again);
    net_close(vnet->port);
    vnet_steer_reset(&vnet->steer);
}

static void was_reset(void *device)
{
    struct vnet *vnet = device;

    stop(vnet);
    vnet->offloads = 0;
    vnet->pairs = 1;
}

static uint32_t config_read(void *device, unsigned index)
{
    const struct vnet *vnet = device;
    uint32_t value;

    memcpy(&value, (const uint8_t *)&vnet->config + index * sizeof(value), sizeof(value));
    return value;
}

void vnet_init(struct vnet *vnet, const struct gmem *mem, struct vlapic_bus *bus, struct timer_queue *queue,
               struct net_port *port, unsigned pairs)
{
    static const struct vvirtio_ops ops = {
        .notified = notified, .config_read = config_read, .started = started, .reset = was_reset
    };
    const struct vvirtio_kind kind = {
        .id = VIRTIO_ID_NET,
        .class_code = CLASS_ETHERNET,
        .queues = VNET_QUEUES(pairs),
        .queue_size = VNET_QUEUE_SIZE,
        .features = VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_PACKED | VIRTIO_F_RING_RESET |
                    VIRTIO_NET_F_CSUM | GUEST_OFFLOADS | VIRTIO_NET_F_GUEST_OFFLOADS | VIRTIO_NET_F_MTU |
                    VIRTIO_NET_F_MAC | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 |
                    VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_UFO | VIRTIO_NET_F_MRG_RXBUF |
                    VIRTIO_NET_F_STATUS | VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX |
                    (pairs > 1 ? VIRTIO_NET_F_MQ : 0),
        .config_size = sizeof(struct virtio_net_config),
        .ops = &ops,
    };

    memset(vnet, 0, sizeof(*vnet));
    vnet->port = port;
    memcpy(vnet->config.mac, port->config.mac, sizeof(vnet->config.mac));
    vnet->config.status = VIRTIO_NET_S_LINK_UP;
    vnet->config.max_virtqueue_pairs = (uint16_t)pairs;
    vnet->config.mtu = (uint16_t)net_config(port->network)->mtu;
    for (unsigned i = 0; i < VNET_MAX_PAIRS; i++) {
        timer_init(&vnet->sender[i].again, queue, send_again);
        vnet->sender[i].vnet = vnet;
    }
    vvirtio_init(&vnet->virtio, &kind, mem, bus, vnet);
}

void vnet_reset(struct vnet *vnet)
{
    net_close(vnet->port);
    vnet->config.status = VIRTIO_NET_S_LINK_UP;
    vvirtio_reset(&vnet->virtio);
}

void vnet_set_link(struct vnet *vnet, bool up)
{
    vnet->config.status = up ? VIRTIO_NET_S_LINK_UP : 0;
    if (vnet->virtio.s.status & VIRTIO_DRIVER_OK)
        open_port(vnet);
    vvirtio_config_changed(&vnet->virtio);
}

int vnet_attach(struct vnet *vnet, struct vpci *pci, unsigned card)
{
    return vpci_add(pci, VNET_SLOT + card, &vnet->virtio.function);
}

/* --- State */

void vnet_save(struct vnet *vnet, struct vnet_state *out)
{
    vvirtio_save(&vnet->virtio, &out->virtio);
    out->offloads = vnet->offloads;
    out->pairs = vnet->pairs;
}

int vnet_check(const struct vnet *vnet, const struct vnet_state *state)
{
    uint64_t features = state->virtio.status & VIRTIO_DRIVER_OK ? state->virtio.driver_features : 0;

    if ((state->offloads & ~(features & GUEST_OFFLOADS)) || state->pairs == 0 ||
        state->pairs > pairs_of(vnet, features))
        return -EINVAL;
    return vvirtio_check(&vnet->virtio, &state->virtio);
}

/* What the driver had made and not been asked for is sent. Which flow had been sent where is not kept. */
void vnet_load(struct vnet *vnet, const struct vnet_state *state)
{
    stop(vnet);
    vvirtio_load(&vnet->virtio, &state->virtio);
    vnet->offloads = state->offloads;
    vnet->pairs = (unsigned)state->pairs;
    if (!(state->virtio.status & VIRTIO_DRIVER_OK))
        return;
    open_port(vnet);
    for (unsigned i = 0; i < pairs_of(vnet, state->virtio.driver_features); i++)
        timer_arm(&vnet->sender[i].again, 0);
}
