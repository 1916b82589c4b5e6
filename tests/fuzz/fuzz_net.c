/*
 * Any frames, with any facts, in any pieces, from any port of a network with VLANs, while the sender goes on
 * writing to them: nobody gets what is not for him, and each frame arrives or is counted as dropped.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "tests/unit/net_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PLAIN, ALL, TEN, TEN2, TRUNK, BOTH, UPLINK, SPOOF, PORTS };

static struct network *net;
static struct net_port *port[PORTS];
static uint8_t memory[80000];
static uint32_t scramble; /* what a guest writes meanwhile */
static unsigned from, deliveries;

static void write_meanwhile(void)
{
    for (unsigned i = 0; i < 8 && scramble; i++) {
        scramble = scramble * 1664525 + 1013904223;
        memory[scramble % (i < 4 ? 80 : sizeof(memory))] = (uint8_t)(scramble >> 24);
    }
}

static bool is_tagged(const uint8_t *frame)
{
    return frame[12] == 0x81 && frame[13] == 0;
}

static bool receive(struct net_port *to, const struct net_frame *frame)
{
    static uint8_t copy[NET_FRAME_MAX];
    struct net_cursor cursor = { 0 };
    unsigned vlan;

    write_meanwhile();
    deliveries++;
    assert(frame->bytes >= NET_HEAD && frame->bytes <= sizeof(copy) && frame->count <= NET_SEGMENTS);
    assert(net_copy(frame, &cursor, copy, sizeof(copy)) == frame->bytes);
    assert(net_copy(frame, &cursor, copy, 1) == 0);
    assert(to != port[from]);
    if (from < UPLINK)
        assert(memcmp(copy + 6, port[from]->config.mac, 6) == 0);
    vlan = is_tagged(copy) ? (copy[14] & 15u) << 8 | copy[15] : 0;
    if (to == port[PLAIN] || to == port[ALL] || to == port[TEN] || to == port[TEN2] || to == port[SPOOF])
        assert(!is_tagged(copy));
    if (to == port[TRUNK])
        assert(vlan == 10 || vlan == 20);
    if (from == TEN || from == TEN2)
        assert(to == port[TEN] || to == port[TEN2] || vlan == 10 || (to == port[BOTH] && !is_tagged(copy)));
    if ((to == port[TEN] || to == port[TEN2]) && from < UPLINK)
        assert(from == TEN || from == TEN2 || from == TRUNK || from == BOTH);
    if (!to->takes)
        assert(!frame->offload.gso_type && !(frame->offload.flags & NET_NEEDS_CSUM));
    if (frame->offload.flags & NET_NEEDS_CSUM)
        assert(frame->offload.csum_start >= NET_HEAD &&
               frame->offload.csum_start + frame->offload.csum_offset + 2u <= frame->bytes);
    return true;
}

static void add(unsigned index, int vlan, unsigned first, unsigned second, unsigned takes)
{
    struct net_port_config config = rig_config(index);

    config.vlan = vlan;
    config.trunk[0] = (uint16_t)first;
    config.trunk[1] = (uint16_t)second;
    config.trunk_count = (first != 0) + (second != 0);
    config.uplink = index == UPLINK;
    config.many_macs = index >= UPLINK;
    config.trunk_all = index == UPLINK;
    config.rate = index == BOTH ? 100000000 : 0;
    if (net_add_port(net, &config, &port[index]))
        abort();
    net_open(port[index], receive, NULL, takes);
}

static void build(void)
{
    net = rig_network(1500, 500);
    add(PLAIN, 0, 0, 0, 0);
    add(ALL, 0, 0, 0, ~0u);
    add(TEN, 10, 0, 0, NET_TAKES_CSUM);
    add(TEN2, 10, 0, 0, 0);
    add(TRUNK, -1, 10, 20, 0);
    add(BOTH, 10, 20, 0, ~0u);
    add(UPLINK, 0, 0, 0, 0);
    add(SPOOF, 0, 0, 0, NET_TAKES_CSUM | NET_TAKES_TCP4);
}

static uint64_t drops(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < PORTS; i++)
        for (unsigned k = 0; k < NET_DROPS; k++)
            sum += port[i]->counts.drop[k];
    return sum;
}

/* One frame: port and target, facts, pieces, then its bytes from `data` and as many more as are said. */
static size_t send_one(const uint8_t *data, size_t size)
{
    struct net_frame frame;
    size_t bytes = data[1] | (size_t)data[2] << 8, piece = 1 + data[3] * 16u, at = 0, take = size - 20;
    uint64_t dropped = drops(), sent = port[data[0] % PORTS]->counts.sent;
    int result;

    from = data[0] % PORTS;
    if (take > 120)
        take = 120;
    memcpy(memory, data + 20, take);
    if (data[0] & 0x40) { /* from its own address, and to one that is known */
        memcpy(memory + 6, port[from]->config.mac, 6);
        memcpy(memory, port[data[4] % PORTS]->config.mac, 6);
    }
    memcpy(&scramble, data + 5, 4);
    net_frame_init(&frame);
    memcpy(&frame.offload, data + 9, sizeof(frame.offload));
    while (at < bytes) {
        size_t part = bytes - at < piece ? bytes - at : piece;
        if (!net_frame_add(&frame, memory + at, (uint32_t)part))
            break;
        at += part;
        piece += piece / 4 + (data[4] & 1);
    }
    deliveries = 0;
    result = net_send(port[from], &frame);
    assert(result == 0 || (result == -EAGAIN && deliveries == 0));
    if (result == 0)
        assert(port[from]->counts.sent > sent || drops() > dropped);
    host_tsc += data[19] * 1000u;
    return 20 + take;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!net)
        build();
    host_tsc += HOST_TSC_HZ;
    memset(memory, 0, 200);
    while (size >= 20) {
        size_t used = send_one(data, size);
        data += used;
        size -= used;
    }
    return 0;
}
