/* Networks for tests: ports that keep what they receive. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include "arch/x86_64/paging.h"
#include "io/net.h"
#include "kernel/frames.h"
#include "tests/unit/host/host.h"

#define RIG_KEEP 64

struct rig_frame {
    struct net_offload offload;
    uint32_t bytes;
    uint8_t data[NET_FRAME_MAX];
};

struct rig_port {
    struct net_port *port;
    unsigned received; /* all of them; the last RIG_KEEP are kept */
    bool full;
    struct rig_frame frame[RIG_KEEP];
};

static inline bool rig_receive(struct net_port *port, const struct net_frame *frame)
{
    struct rig_port *rig = port->owner;
    struct rig_frame *to = &rig->frame[rig->received % RIG_KEEP];
    struct net_cursor cursor = { 0 };

    if (rig->full)
        return false;
    to->offload = frame->offload;
    to->bytes = 0;
    for (uint32_t part = 1, got; (got = net_copy(frame, &cursor, to->data + to->bytes, part)) != 0; part += 7)
        to->bytes += got;
    if (to->bytes != frame->bytes)
        abort();
    rig->received++;
    return true;
}

/* The memory of networks, which are never freed. */
static inline void rig_memory(void)
{
    static const struct frame_range usable[] = { { { PAGE_SIZE }, 128 * MiB - PAGE_SIZE } };
    struct frame_setup setup = { .usable = usable, .usable_count = 1, .pointer = phys_to_virt };

    if (host_memory)
        return;
    host_memory = aligned_alloc(4 * MiB, 128 * MiB);
    if (!host_memory || frames_init(&setup))
        abort();
}

static inline struct network *rig_network(unsigned mtu, unsigned storm)
{
    static unsigned count;
    struct network_config config = { .mtu = mtu, .storm = storm };

    rig_memory();

    snprintf(config.name, sizeof(config.name), "lan%u", count++);
    return net_make(&config);
}

/* A port with the address 02:00:00:00:00:NUMBER; nothing else is said of it. */
static inline struct net_port_config rig_config(unsigned number)
{
    struct net_port_config config = { .mac = { 2, 0, 0, 0, 0, (uint8_t)number } };

    snprintf(config.name, sizeof(config.name), "vm%u/0", number);
    return config;
}

static inline struct rig_port *rig_add(struct network *network, const struct net_port_config *config,
                                       unsigned takes)
{
    struct rig_port *rig = calloc(1, sizeof(*rig));

    if (!rig || net_add_port(network, config, &rig->port))
        abort();
    net_open(rig->port, rig_receive, rig, takes);
    return rig;
}

/* Sends bytes in pieces of at most `piece`, each in memory of its own. */
static inline int rig_send_facts(struct rig_port *rig, const void *data, size_t bytes, size_t piece,
                                 const struct net_offload *facts)
{
    struct net_frame frame;
    uint8_t *copy[NET_SEGMENTS];
    unsigned count = 0;
    int result;

    net_frame_init(&frame);
    if (facts)
        frame.offload = *facts;
    for (size_t at = 0; at < bytes; at += piece) {
        size_t part = bytes - at < piece ? bytes - at : piece;

        copy[count] = malloc(part);
        memcpy(copy[count], (const uint8_t *)data + at, part);
        if (!net_frame_add(&frame, copy[count++], (uint32_t)part))
            abort();
    }
    result = net_send(rig->port, &frame);
    while (count)
        free(copy[--count]);
    return result;
}

static inline int rig_send(struct rig_port *rig, const void *data, size_t bytes)
{
    return rig_send_facts(rig, data, bytes, bytes ? bytes : 1, NULL);
}
