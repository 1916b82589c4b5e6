#include "guests/netports.h"
#include "io/nic.h"
#include "kernel/log.h"
#include "lib/format.h"
#include "lib/string.h"

static_assert(CONFIG_MAX_MTU <= NET_MTU_MAX && CONFIG_MIN_MTU >= NET_MTU_MIN &&
                  CONFIG_MAX_VLAN == NET_VLAN_MAX && CONFIG_MAX_TRUNK <= NET_TRUNK_MAX &&
                  CONFIG_NAME_MAX <= NET_NAME_MAX && CONFIG_UPLINK_MAX <= NET_PORT_NAME &&
                  CONFIG_NAME_MAX + 2 <= NET_PORT_NAME && CONFIG_MAX_VMS * CONFIG_MAX_NICS < NET_MAX_PORTS,
              "what the config may say, networks can do");

static void port_name(const struct config_vm *vm, unsigned nic, char to[NET_PORT_NAME])
{
    format_text(to, NET_PORT_NAME, "%s/%u", vm->name, nic);
}

static void make_network(const struct config_network *from)
{
    struct network_config config = { .mtu = from->mtu, .storm = from->storm };

    memcpy(config.name, from->name, sizeof(from->name));
    memcpy(config.uplink, from->uplink, sizeof(from->uplink));
    if (!net_make(&config))
        log_error("network %s: no memory for it", from->name);
}

static void make_port(const struct config_vm *vm, unsigned index)
{
    const struct config_nic *nic = &vm->nic[index];
    struct network *network = net_find(nic->name);
    struct net_port_config config = { .many_macs = nic->mac_spoofing,
                                      .vlan = nic->vlan          ? (int)nic->vlan
                                              : nic->trunk_count ? -1
                                                                 : 0,
                                      .trunk_count = nic->trunk_count,
                                      .rate = nic->rate };
    struct net_port *port;

    port_name(vm, index, config.name);
    memcpy(config.mac, nic->mac, sizeof(config.mac));
    memcpy(config.trunk, nic->trunk, sizeof(nic->trunk));
    if (!network || net_add_port(network, &config, &port)) /* the config has no other reason */
        log_error("network %s: no memory for the card %u of %s", nic->name, index, vm->name);
}

void netports_init(const struct config *config)
{
    for (unsigned i = 0; config && i < config->network_count; i++)
        make_network(&config->network[i]);
    for (unsigned i = 0; config && i < config->vm_count; i++)
        for (unsigned k = 0; k < config->vm[i].nic_count && !config->vm[i].broken; k++)
            make_port(&config->vm[i], k);
    nic_connect();
    for (unsigned i = 0; config && i < config->network_count; i++)
        if (config->network[i].uplink[0] && !nic_find(config->network[i].uplink))
            log_warn("network %s: goes without its uplink %s: there is no network card that Plinth has a "
                     "driver for; "
                     "'pci' lists what is there",
                     config->network[i].name, config->network[i].uplink);
}

struct net_port *netports_get(const struct config_vm *vm, unsigned nic)
{
    char name[NET_PORT_NAME];

    port_name(vm, nic, name);
    return net_find_port(name);
}
