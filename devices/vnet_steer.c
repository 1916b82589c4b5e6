#include "devices/vnet_steer.h"
#include "lib/string.h"

/* Of Ethernet (IEEE 802.3 3.2.6), 802.1Q (9.3), IPv4 (RFC 791), IPv6 (RFC 8200) and their protocols. */
#define TYPE_AT    12u
#define TYPE_VLAN  0x8100u
#define TYPE_IPV4  0x0800u
#define TYPE_IPV6  0x86ddu
#define IPV4_MAX   60u     /* bytes: the length has 4 bits, and counts dwords */
#define IPV4_PART  0x3fffu /* of flags and offset: it is a fragment, of which the first only has ports */
#define IPV6_BYTES 40u
#define TCP        6u
#define UDP        17u
#define PORTS      4u /* bytes */

#define HEADERS_MAX (NET_HEAD + NET_TAG + IPV4_MAX + PORTS)
static_assert(IPV6_BYTES <= IPV4_MAX, "there is room for either");

static uint32_t get_16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get_32(const uint8_t *at)
{
    return get_16(at) << 16 | get_16(at + 2);
}

/* Both directions of a flow have the same number, so source and destination are added up. */
static uint32_t ports(unsigned protocol, const uint8_t *at)
{
    return protocol == TCP || protocol == UDP ? get_16(at) + get_16(at + 2) : 0;
}

/*
 * Of an IPv6 packet with extension headers the addresses count alone. The copy is made once, since the sender
 * can change the frame at any time; what the frame does not have is zero in it. Whatever its fields say, no
 * header ends behind it.
 */
static unsigned flow_of(const struct net_frame *frame)
{
    uint8_t copy[HEADERS_MAX] = { 0 }, *ip = copy + NET_HEAD;
    struct net_cursor cursor = { .segment = frame->segment[0].bytes ? 0 : 1 }; /* the switch's, or not yet */
    uint32_t type, addresses = 0, both_ports = 0;

    net_copy(frame, &cursor, copy, sizeof(copy));
    type = get_16(copy + TYPE_AT);
    if (type == TYPE_VLAN) {
        type = get_16(copy + TYPE_AT + NET_TAG);
        ip += NET_TAG;
    }
    if (type == TYPE_IPV4) {
        addresses = get_32(ip + 12) + get_32(ip + 16);
        if (!(get_16(ip + 6) & IPV4_PART))
            both_ports = ports(ip[9], ip + (ip[0] & 15) * 4);
    } else if (type == TYPE_IPV6) {
        for (unsigned i = 8; i < IPV6_BYTES; i += 4)
            addresses += get_32(ip + i);
        both_ports = ports(ip[6], ip + IPV6_BYTES);
    } else {
        addresses = get_32(copy + 2) + get_32(copy + NET_MAC + 2);
    }
    /* Multiplied by odd numbers, so that the upper bits depend on all of them. */
    return (addresses * 0x9e3779b1u + both_ports * 0x85ebca77u) >> 24;
}

void vnet_steer_reset(struct vnet_steer *steer)
{
    for (unsigned i = 0; i < VNET_FLOWS; i++)
        __atomic_store_n(&steer->pair[i], 0, __ATOMIC_RELAXED);
}

void vnet_steer_sent(struct vnet_steer *steer, const struct net_frame *frame, unsigned pair)
{
    uint8_t *entry = &steer->pair[flow_of(frame)];

    /* CPUs share the entries' cache lines, which are written when there is something new only. */
    if (__atomic_load_n(entry, __ATOMIC_RELAXED) != pair + 1)
        __atomic_store_n(entry, (uint8_t)(pair + 1), __ATOMIC_RELAXED);
}

unsigned vnet_steer_receiver(const struct vnet_steer *steer, const struct net_frame *frame, unsigned pairs)
{
    unsigned flow = flow_of(frame), sent = __atomic_load_n(&steer->pair[flow], __ATOMIC_RELAXED);

    return sent && sent <= pairs ? sent - 1 : flow % pairs;
}
