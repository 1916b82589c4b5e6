/* What a network is made of. Part of net.c and net_make.c; nobody else includes this. */
#pragma once

#include "io/net.h"
#include "lib/string.h"

#define NET_HASH      64  /* lists of ports by address */
#define LEARNED_SETS  64  /* sets of ... */
#define LEARNED_WAYS  4   /* ... addresses that were seen behind ports with many */
#define LEARNED_AGE_S 300 /* IEEE 802.1Q 8.8.3: the default */
#define LEARNED_VALID BIT(60)
#define LEARNED_SHIFT 16

/*
 * An address that came from a port with many. Read without a lock, and written under `learning`: whoever
 * reads takes `where` for the truth only if `key` is the same before and behind.
 */
struct learned {
    uint64_t key;   /* the address, its VLAN << 48, LEARNED_VALID; 0: free */
    uint64_t where; /* TSC >> 16 when it was seen, << LEARNED_SHIFT; index of the port */
};

static_assert(NET_MAX_PORTS <= 1 << LEARNED_SHIFT, "a port's index fits");

/* Ports are only ever added, and so read without a lock. */
struct network {
    struct network_config config;
    struct network *next;
    unsigned port_count;
    unsigned many_count; /* of its ports have many addresses */
    struct net_port *port[NET_MAX_PORTS];
    struct net_port *by_mac[NET_HASH];
    net_tap *tap; /* NULL: none */
    void *tap_context;
    struct lock learning; /* guards `learned`. Nothing is taken under it */
    struct learned learned[LEARNED_SETS][LEARNED_WAYS];
};

/* An address as a number: its first byte, with the group bit in bit 0, is the lowest. Reads 8 bytes. */
static __always_inline uint64_t net_mac_key(const uint8_t *at)
{
    uint64_t key;

    memcpy(&key, at, sizeof(key));
    return key & (BIT(48) - 1);
}

static __always_inline unsigned net_hash(uint64_t key)
{
    return (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

static_assert(NET_HASH == 64 && LEARNED_SETS == 64, "6 bits");
static_assert(NET_HEAD + NET_MTU_MAX <= NET_FRAME_MAX - NET_TAG, "what the MTU allows has room for a tag");
