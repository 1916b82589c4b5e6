/* Making networks and their ports. */
#include "io/net_network.h"
#include "arch/x86_64/tsc.h"
#include "kernel/heap.h"
#include "lib/errno.h"
#include "lib/format.h"

static struct network *networks, **networks_end = &networks;

struct network *net_network(unsigned index)
{
    struct network *network = networks;

    while (network && index--)
        network = network->next;
    return network;
}

const struct network_config *net_config(const struct network *network)
{
    return &network->config;
}

struct network *net_find(const char *name)
{
    struct network *network = networks;

    while (network && strcmp(network->config.name, name) != 0)
        network = network->next;
    return network;
}

struct network *net_make(const struct network_config *config)
{
    struct network *network = net_find(config->name);

    if (network)
        return network;
    network = heap_alloc(sizeof(*network));
    if (!network)
        return NULL;
    network->config = *config;
    *networks_end = network;
    networks_end = &network->next;
    return network;
}

struct net_port *net_port(const struct network *network, unsigned index)
{
    return index < network->port_count ? network->port[index] : NULL;
}

struct net_port *net_find_port(const char *name)
{
    for (const struct network *network = networks; network; network = network->next)
        for (unsigned i = 0; i < network->port_count; i++)
            if (strcmp(network->port[i]->config.name, name) == 0)
                return network->port[i];
    return NULL;
}

/* `each` units a second; `burst_ms` worth of them at once. */
static void set_bucket(struct net_bucket *bucket, uint64_t each, unsigned burst_ms)
{
    if (!each)
        return;
    bucket->unit = (tsc_hz() << 16) / each;
    bucket->burst = tsc_hz() / 1000 * burst_ms;
}

/* Two ports with one name or one address cannot be told apart. */
static bool is_taken(const struct network *network, const struct net_port_config *config, uint64_t key)
{
    for (unsigned i = 0; i < network->port_count; i++) {
        const struct net_port *other = network->port[i];

        if (strcmp(other->config.name, config->name) == 0)
            return true;
        if (other->mac_key == key && key)
            return true;
    }
    return false;
}

int net_add_port(struct network *network, const struct net_port_config *config, struct net_port **out)
{
    uint8_t mac[8] = { 0 };
    struct net_port *port;
    uint64_t key;

    memcpy(mac, config->mac, NET_MAC);
    key = net_mac_key(mac);
    if (is_taken(network, config, key))
        return -EEXIST;
    if (network->port_count == NET_MAX_PORTS)
        return -ENOSPC;
    port = heap_alloc(sizeof(*port));
    if (!port)
        return -ENOMEM;
    port->config = *config;
    port->network = network;
    port->mac_key = key;
    port->index = network->port_count;
    set_bucket(&port->rate, config->rate / 8, NET_RATE_BURST_MS);
    set_bucket(&port->storm, network->config.storm, 1000);
    if (config->many_macs) {
        network->many_count++;
    } else { /* the others' are learned */
        port->next = network->by_mac[net_hash(key)];
        __atomic_store_n(&network->by_mac[net_hash(key)], port, __ATOMIC_RELEASE);
    }
    network->port[port->index] = port;
    __atomic_store_n(&network->port_count, port->index + 1, __ATOMIC_RELEASE);
    *out = port;
    return 0;
}

void net_set_tap(struct network *network, net_tap *tap, void *context)
{
    network->tap_context = context;
    __atomic_store_n(&network->tap, tap, __ATOMIC_RELEASE);
}

const char *net_drop_name(enum net_drop drop)
{
    static const char *const names[NET_DROPS] = {
        [NET_DROP_SHORT] = "short",     [NET_DROP_LONG] = "long", [NET_DROP_OFFLOAD] = "offload",
        [NET_DROP_MAC] = "mac",         [NET_DROP_VLAN] = "vlan", [NET_DROP_STORM] = "storm",
        [NET_DROP_NOWHERE] = "nowhere", [NET_DROP_ROOM] = "room", [NET_DROP_CUT] = "cut",
    };

    return names[drop];
}

const char *net_mac_text(const uint8_t mac[NET_MAC], char to[NET_MAC_TEXT])
{
    format_text(to, NET_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                mac[5]);
    return to;
}
