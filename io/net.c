/* The switch: from one port to others. */
#include "io/net_network.h"
#include "arch/x86_64/tsc.h"
#include "io/net_offload.h"
#include "lib/errno.h"

#define TYPE_VLAN 0x8100 /* IEEE 802.1Q 9.3: a customer's tag, ... */
#define TYPE_STAG 0x88a8 /* ... a service provider's, ... */
#define TYPE_QINQ 0x9100 /* ... and what some used before there was one */
#define VID_MASK  0xfff
#define GROUP     BIT(0) /* of an address: broadcasts and multicasts (802.3 3.2.3) */

/* --- headers */

static __always_inline uint16_t get_be16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static __always_inline void put_be16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static bool is_tag(unsigned type)
{
    return type == TYPE_VLAN || type == TYPE_STAG || type == TYPE_QINQ;
}

/* The frame's next bytes, which it has, out of its segments: where they are many. */
static __cold void pull_pieces(struct net_frame *frame, uint8_t *to, uint32_t bytes)
{
    for (struct net_segment *segment = &frame->segment[1]; bytes; segment++) {
        uint32_t part = (uint32_t)min_u64(segment->bytes, bytes);

        memcpy(to, segment->data, part);
        segment->data += part;
        segment->bytes -= part;
        to += part;
        bytes -= part;
    }
}

/* Moves the frame's next `bytes` (a constant) into its head: from then on nobody else can change them. */
static __always_inline void pull(struct net_frame *frame, unsigned at, unsigned bytes)
{
    struct net_segment *segment = &frame->segment[1];

    if (unlikely(segment->bytes < bytes)) {
        pull_pieces(frame, frame->head + at, bytes);
        return;
    }
    memcpy(frame->head + at, segment->data, bytes);
    segment->data += bytes;
    segment->bytes -= bytes;
}

/* Offsets of the facts count from the frame's first byte, so a tag moves them. */
static void move_facts(struct net_frame *frame, int by)
{
    struct net_offload *offload = &frame->offload;

    frame->bytes += (uint32_t)by;
    frame->segment[0].bytes += (uint32_t)by;
    if (offload->flags & NET_NEEDS_CSUM) /* one that gets below 0 becomes too large to be accepted */
        offload->csum_start = (uint16_t)(offload->csum_start + by);
    if (offload->header_bytes >= NET_HEAD)
        offload->header_bytes = (uint16_t)min_u64((uint64_t)(offload->header_bytes + by), UINT16_MAX);
}

/* The header with its tag or without. */
static void set_tag(struct net_frame *frame, bool tag)
{
    uint8_t *head = frame->head;

    if (tag == (frame->segment[0].bytes == NET_HEAD + NET_TAG))
        return;
    if (tag) {
        memcpy(head + 16, head + 12, 2);
        put_be16(head + 12, TYPE_VLAN);
        put_be16(head + 14, frame->tci);
        move_facts(frame, NET_TAG);
    } else {
        memcpy(head + 12, head + 16, 2);
        move_facts(frame, -NET_TAG);
    }
}

/* --- who may send what */

static const unsigned needs_of[] = {
    [NET_GSO_NONE] = NET_TAKES_CSUM,
    [NET_GSO_TCP4] = NET_TAKES_CSUM | NET_TAKES_TCP4,
    [NET_GSO_UDP] = NET_TAKES_CSUM | NET_TAKES_UDP,
    [NET_GSO_TCP6] = NET_TAKES_CSUM | NET_TAKES_TCP6,
    [NET_GSO_UDP_L4] = NET_TAKES_CSUM | NET_TAKES_UDP_L4,
};

/*
 * What a receiver must be able to do; false: the facts cannot be. The headers themselves are looked at only
 * where they must be changed: a receiver that takes offloads knows not to believe them.
 */
static bool check_offload(const struct net_port *port, struct net_frame *frame, unsigned mtu)
{
    struct net_offload *offload = &frame->offload;
    unsigned type = offload->gso_type & ~(unsigned)NET_GSO_ECN,
             field = (unsigned)offload->csum_start + offload->csum_offset + 2;

    if (!(offload->flags & NET_NEEDS_CSUM)) {
        if (offload->gso_type != NET_GSO_NONE) /* virtio 1.2 5.1.6.2.1: the one needs the other */
            return false;
        *offload = (struct net_offload){ .flags = port->config.uplink ? offload->flags & NET_DATA_VALID : 0 };
        return true;
    }
    offload->flags = NET_NEEDS_CSUM;
    if (offload->csum_start < NET_HEAD || field > NET_HEADERS_MAX || field > frame->bytes ||
        type >= ARRAY_SIZE(needs_of) || !needs_of[type])
        return false;
    frame->needs = needs_of[type];
    if (type == NET_GSO_NONE)
        return offload->gso_type == 0;
    if (offload->gso_type & NET_GSO_ECN) {
        if (type != NET_GSO_TCP4 && type != NET_GSO_TCP6)
            return false;
        frame->needs |= NET_TAKES_ECN;
    }
    return offload->gso_size && (unsigned)offload->csum_start - NET_HEAD + offload->gso_size <= mtu &&
           offload->header_bytes <= frame->bytes;
}

static bool in_trunk(const struct net_port_config *config, unsigned vlan)
{
    if (config->trunk_all)
        return vlan >= 1 && vlan <= NET_VLAN_MAX;
    for (unsigned i = 0; i < config->trunk_count; i++)
        if (config->trunk[i] == vlan)
            return true;
    return false;
}

/*
 * Takes the tag off, and finds the frame's VLAN; false: the port may not send in that. A tag within a tag is
 * never let through: where the outer one is taken off, the inner one would be believed.
 */
static bool check_tag(const struct net_port *port, struct net_frame *frame)
{
    const struct net_port_config *config = &port->config;
    unsigned type = get_be16(frame->head + 12);

    if (likely(!is_tag(type))) {
        frame->vlan = frame->tci = (uint16_t)config->vlan;
        return config->vlan >= 0;
    }
    if (type != TYPE_VLAN || (!config->trunk_count && !config->trunk_all) ||
        frame->bytes < NET_HEAD + NET_TAG)
        return false;
    pull(frame, NET_HEAD, NET_TAG);
    frame->segment[0].bytes += NET_TAG;
    frame->tci = get_be16(frame->head + 14);
    frame->vlan = frame->tci & VID_MASK;
    set_tag(frame, false);
    if (is_tag(get_be16(frame->head + 12)))
        return false;
    if (frame->vlan)
        return in_trunk(config, frame->vlan);
    frame->vlan = (uint16_t)config->vlan; /* a tag for its priority only (802.1Q 6.9) */
    frame->tci |= frame->vlan;
    return config->vlan >= 0;
}

static struct net_port *port_of_mac(const struct network *network, uint64_t key)
{
    struct net_port *port = __atomic_load_n(&network->by_mac[net_hash(key)], __ATOMIC_ACQUIRE);

    while (port && port->mac_key != key)
        port = port->next;
    return port;
}

static bool check_source(const struct net_port *port, uint64_t source)
{
    if (likely(!port->config.many_macs))
        return source == port->mac_key;
    return source && !(source & GROUP) && !port_of_mac(port->network, source);
}

/* Takes the header over and checks all that can be said without a receiver. NET_DROPS: the frame is good. */
static enum net_drop check(const struct net_port *port, struct net_frame *frame)
{
    unsigned mtu = port->network->config.mtu;

    if (unlikely(frame->bytes < NET_HEAD))
        return NET_DROP_SHORT;
    frame->segment[0] = (struct net_segment){ frame->head, NET_HEAD };
    frame->needs = 0;
    pull(frame, 0, NET_HEAD);
    if (!check_source(port, net_mac_key(frame->head + NET_MAC)))
        return NET_DROP_MAC;
    if (!check_tag(port, frame))
        return NET_DROP_VLAN;
    if (frame->offload.flags | frame->offload.gso_type) {
        if (!check_offload(port, frame, mtu))
            return NET_DROP_OFFLOAD;
    } else {
        frame->offload = (struct net_offload){ 0 };
    }
    if (likely(frame->offload.gso_type == NET_GSO_NONE))
        return unlikely(frame->bytes > NET_HEAD + mtu) ? NET_DROP_LONG : NET_DROPS;
    return frame->bytes > NET_FRAME_MAX - NET_TAG ? NET_DROP_LONG : NET_DROPS; /* a tag may come to it */
}

/* --- limits */

/* One that was not empty may take more than is in it, and pays for it afterwards: any frame passes some time.
 */
static bool take(struct net_bucket *bucket, struct lock *lock, uint64_t units)
{
    uint64_t now = tsc_now(), full;
    bool may;

    lock_take(lock);
    may = bucket->at <= now;
    if (may) {
        full = now > bucket->burst ? now - bucket->burst : 0;
        bucket->at = max_u64(bucket->at, full) + (units * bucket->unit >> 16);
    }
    lock_release(lock);
    return may;
}

uint64_t net_ready_at(const struct net_port *port)
{
    return port->rate.at;
}

/* --- learning */

static uint64_t learned_key(uint64_t mac, unsigned vlan)
{
    return mac | (uint64_t)vlan << 48 | LEARNED_VALID;
}

static uint64_t ticks_now(void)
{
    return tsc_now() >> LEARNED_SHIFT;
}

static uint64_t age(const struct learned *entry, uint64_t now)
{
    return now - (entry->where >> LEARNED_SHIFT);
}

static uint64_t oldest_age(void)
{
    return tsc_hz() * LEARNED_AGE_S >> LEARNED_SHIFT;
}

/* Whether that is known already, and was seen in the last second: then there is nothing to write. */
static bool is_known(const struct learned *set, uint64_t key, const struct net_port *port, uint64_t now)
{
    for (unsigned i = 0; i < LEARNED_WAYS; i++) {
        struct learned entry = { .key = __atomic_load_n(&set[i].key, __ATOMIC_ACQUIRE) };

        if (entry.key != key)
            continue;
        entry.where = __atomic_load_n(&set[i].where, __ATOMIC_RELAXED);
        return (entry.where & (BIT(LEARNED_SHIFT) - 1)) == port->index &&
               age(&entry, now) <= tsc_hz() >> LEARNED_SHIFT;
    }
    return false;
}

/* The address was seen behind the port: in place of a former entry of its own, else of the oldest in its set.
 */
static void learn(struct network *network, const struct net_port *port, uint64_t mac, unsigned vlan)
{
    struct learned *set = network->learned[net_hash(mac)], *entry = &set[0];
    uint64_t key = learned_key(mac, vlan), now = ticks_now();
    uint64_t where = now << LEARNED_SHIFT | port->index;

    if (is_known(set, key, port, now))
        return;
    lock_take(&network->learning);
    for (unsigned i = 0; i < LEARNED_WAYS; i++) {
        if (set[i].key == key) {
            entry = &set[i];
            break;
        }
        if (!set[i].key || (entry->key && age(&set[i], now) > age(entry, now)))
            entry = &set[i];
    }
    if (entry->key != key)
        __atomic_store_n(&entry->key, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&entry->where, where, __ATOMIC_RELEASE);
    __atomic_store_n(&entry->key, key, __ATOMIC_RELEASE);
    lock_release(&network->learning);
}

static struct net_port *learned_port(struct network *network, uint64_t mac, unsigned vlan)
{
    struct learned *set = network->learned[net_hash(mac)];
    uint64_t key = learned_key(mac, vlan);

    for (unsigned i = 0; i < LEARNED_WAYS; i++) {
        struct learned entry = { .key = __atomic_load_n(&set[i].key, __ATOMIC_ACQUIRE) };

        if (entry.key != key)
            continue;
        entry.where = __atomic_load_n(&set[i].where, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&set[i].key, __ATOMIC_RELAXED) != key || age(&entry, ticks_now()) > oldest_age())
            return NULL;
        return network->port[entry.where & (BIT(LEARNED_SHIFT) - 1)];
    }
    return NULL;
}

/* --- delivery */

/* Whether the port belongs to the frame's VLAN, and if so whether it gets frames of it with a tag. */
static __always_inline bool is_member(const struct net_port *port, unsigned vlan, bool *tag)
{
    *tag = port->config.vlan != (int)vlan;
    return !*tag || (vlan && in_trunk(&port->config, vlan));
}

static bool receive_piece(void *context, const struct net_frame *piece)
{
    struct net_port *port = context;

    if (!port->receive(port, piece))
        return false;
    port->counts.received++;
    port->counts.received_bytes += piece->bytes;
    return true;
}

static void deliver(const struct net_port *from, struct net_port *to, struct net_frame *frame, bool tag)
{
    struct network *network = to->network;
    net_tap *tap = __atomic_load_n(&network->tap, __ATOMIC_ACQUIRE);

    set_tag(frame, tag);
    lock_take(&to->receiving);
    if (unlikely(!to->open)) {
        to->counts.drop[NET_DROP_ROOM]++;
    } else if (unlikely(frame->needs & ~to->takes)) {
        int error = net_offload_cut(frame, receive_piece, to);
        if (error)
            to->counts.drop[error == -ENOSPC ? NET_DROP_ROOM : NET_DROP_CUT]++;
    } else if (!receive_piece(to, frame)) {
        to->counts.drop[NET_DROP_ROOM]++;
    }
    lock_release(&to->receiving);
    if (unlikely(tap != NULL))
        tap(network->tap_context, from, to, frame);
}

/* To all, or to those only behind which unknown addresses may be. */
static void flood(struct net_port *from, struct net_frame *frame, bool all)
{
    struct network *network = from->network;
    unsigned count = __atomic_load_n(&network->port_count, __ATOMIC_ACQUIRE);
    bool tag;

    for (unsigned i = 0; i < count; i++) {
        struct net_port *to = network->port[i];

        if (to != from && (all || to->config.many_macs) && is_member(to, frame->vlan, &tag))
            deliver(from, to, frame, tag);
    }
}

static void count_drop(struct net_port *port, enum net_drop drop)
{
    __atomic_fetch_add(&port->counts.drop[drop], 1, __ATOMIC_RELAXED);
}

static void count_sent(struct net_port *port, const struct net_frame *frame)
{
    struct network *network = port->network;
    net_tap *tap = __atomic_load_n(&network->tap, __ATOMIC_ACQUIRE);

    __atomic_fetch_add(&port->counts.sent, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&port->counts.sent_bytes, frame->bytes, __ATOMIC_RELAXED);
    if (unlikely(tap != NULL))
        tap(network->tap_context, port, NULL, frame);
}

/* A frame for many, or for an address that nobody has shown. */
static void send_many(struct net_port *port, struct net_frame *frame, bool all)
{
    if (!all && port->network->many_count == port->config.many_macs) {
        count_drop(port, NET_DROP_NOWHERE); /* nobody else has more addresses than one */
        return;
    }
    if (port->storm.unit && !take(&port->storm, &port->sending, 1)) {
        count_drop(port, NET_DROP_STORM);
        return;
    }
    count_sent(port, frame);
    flood(port, frame, all);
}

static void forward(struct net_port *port, struct net_frame *frame)
{
    struct network *network = port->network;
    uint64_t target = net_mac_key(frame->head);
    struct net_port *to;
    bool tag;

    if (unlikely(target & GROUP)) {
        send_many(port, frame, true);
        return;
    }
    to = port_of_mac(network, target);
    if (!to && network->many_count)
        to = learned_port(network, target, frame->vlan);
    if (!to || !is_member(to, frame->vlan, &tag)) {
        send_many(port, frame, false);
        return;
    }
    count_sent(port, frame);
    if (to == port)
        count_drop(port, NET_DROP_NOWHERE); /* a switch sends nothing back to where it came from */
    else
        deliver(port, to, frame, tag);
}

int net_send(struct net_port *port, struct net_frame *frame)
{
    enum net_drop drop;

    if (port->rate.unit && !take(&port->rate, &port->sending, frame->bytes)) {
        __atomic_fetch_add(&port->counts.held, 1, __ATOMIC_RELAXED);
        return -EAGAIN;
    }
    drop = check(port, frame);
    if (unlikely(drop != NET_DROPS)) {
        count_drop(port, drop);
        return 0;
    }
    if (port->config.many_macs)
        learn(port->network, port, net_mac_key(frame->head + NET_MAC), frame->vlan);
    forward(port, frame);
    return 0;
}

/* --- receivers */

void net_open(struct net_port *port, net_receive *receive, void *owner, unsigned takes)
{
    lock_take(&port->receiving);
    port->receive = receive;
    port->owner = owner;
    port->takes = takes;
    port->open = true;
    lock_release(&port->receiving);
}

void net_close(struct net_port *port)
{
    lock_take(&port->receiving);
    port->open = false;
    lock_release(&port->receiving);
}

void net_hold(struct net_port *port)
{
    lock_take(&port->receiving);
}

void net_let_go(struct net_port *port)
{
    lock_release(&port->receiving);
}

uint32_t net_copy(const struct net_frame *frame, struct net_cursor *cursor, void *to, uint32_t bytes)
{
    uint8_t *at = to;
    uint32_t left = bytes;

    while (left && cursor->segment <= frame->count) {
        const struct net_segment *segment = &frame->segment[cursor->segment];
        uint32_t part = (uint32_t)min_u64(segment->bytes - cursor->offset, left);

        memcpy(at, segment->data + cursor->offset, part);
        at += part;
        left -= part;
        cursor->offset += part;
        if (cursor->offset == segment->bytes) {
            cursor->segment++;
            cursor->offset = 0;
        }
    }
    return bytes - left;
}
