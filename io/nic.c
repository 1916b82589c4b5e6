#include "io/nic.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/string.h"

static struct nic *nics, **nics_end = &nics;

struct nic *nic_get(unsigned index)
{
    struct nic *nic = nics;

    while (nic && index--)
        nic = nic->next;
    return nic;
}

struct nic *nic_find(const char *name)
{
    struct nic *nic = nics;

    while (nic && strcmp(nic->name, name) != 0)
        nic = nic->next;
    return nic;
}

/* The network that names the card as its uplink; NULL: none. The config gives a card to one only. */
static struct network *user_of(const struct nic *nic)
{
    struct network *network;

    for (unsigned i = 0; (network = net_network(i)) != NULL; i++)
        if (strcmp(net_config(network)->uplink, nic->name) == 0)
            return network;
    return NULL;
}

static void connect(struct nic *nic, struct network *network)
{
    struct net_port_config config = { .uplink = true, .many_macs = true, .trunk_all = true };
    const char *name = net_config(network)->name;
    struct net_port *port;
    int error;

    nic->refused = true; /* until it is done: what is wrong with it is said once */
    if (nic->mtu < net_config(network)->mtu) {
        log_error("network %s: not connected to %s (%s): its frames take %u bytes at most, the network's %u; "
                  "set the network's mtu to that",
                  name, nic->name, nic->model, nic->mtu, net_config(network)->mtu);
        return;
    }
    memcpy(config.name, nic->name, sizeof(config.name));
    memcpy(config.mac, nic->mac, sizeof(config.mac));
    error = net_add_port(network, &config, &port);
    if (error) {
        log_error("network %s: not connected to %s (%s): %s", name, nic->name, nic->model,
                  error == -EEXIST ? "a VM has the card's address" : "there is no room for its port");
        return;
    }
    net_open(port, nic->transmit, nic, nic->takes);
    nic->port = port;
    if (nic->start(nic)) {
        net_close(port);
        return;
    }
    nic->refused = false;
    log_info("network %s: connected to %s (%s)", name, nic->name, nic->model);
}

void nic_add(struct nic *nic)
{
    *nics_end = nic;
    nics_end = &nic->next;
    nic_connect();
}

void nic_connect(void)
{
    for (struct nic *nic = nics; nic; nic = nic->next) {
        struct network *network = nic->port || nic->refused ? NULL : user_of(nic);
        if (network)
            connect(nic, network);
    }
}
