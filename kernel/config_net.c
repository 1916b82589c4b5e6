#include "kernel/config_net.h"
#include "kernel/config_read.h"
#include "lib/format.h"
#include "lib/string.h"

static const struct key nic_keys[NIC_KEYS] = {
    [NIC_NAME] = { "name", KIND_NETWORK, true, STRING(config_nic, name), "\"lan0\"", NULL },
    [NIC_MAC] = { "mac", KIND_MAC, false, offsetof(struct config_nic, mac), 0, "\"52:54:00:12:34:56\"",
                  NULL },
    [NIC_VLAN] = { "vlan", KIND_COUNT, false, offsetof(struct config_nic, vlan), CONFIG_MAX_VLAN, "10",
                   NULL },
    [NIC_TRUNK] = { "trunk", KIND_TRUNK, false, 0, 0, "[10, 20]", NULL },
    [NIC_RATE] = { "rate", KIND_BITRATE, false, offsetof(struct config_nic, rate), 0, "\"100Mbit\"", NULL },
    [NIC_MAC_SPOOFING] = { "mac-spoofing", KIND_FLAG, false, offsetof(struct config_nic, mac_spoofing), 0,
                           NULL, NULL },
};

static const struct key network_keys[NETWORK_KEYS] = {
    [NETWORK_UPLINK] = { "uplink", KIND_UPLINK, false, STRING(config_network, uplink), "\"pci:00:03.0\"",
                         NULL },
    [NETWORK_MTU] = { "mtu", KIND_MTU, false, offsetof(struct config_network, mtu), 0, "9000", NULL },
    [NETWORK_STORM] = { "storm", KIND_LIMIT, false, offsetof(struct config_network, storm), CONFIG_MAX_STORM,
                        "1000", NULL },
};

const struct table config_nic_table = { nic_keys, NIC_KEYS };
const struct table config_network_table = { network_keys, NETWORK_KEYS };

/* --- single values */

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Two digits of base 16 at *at, which moves behind them; -1: there are none. */
static int read_byte(const char **at)
{
    int high = digit((*at)[0]), low = high < 0 ? -1 : digit((*at)[1]);

    if (low < 0)
        return -1;
    *at += 2;
    return high << 4 | low;
}

const char *config_read_mac(const char *text, uint8_t mac[6])
{
    uint8_t bytes[6], any = 0;

    for (unsigned i = 0; i < 6; i++) {
        int byte = read_byte(&text);

        if (byte < 0 || *text++ != (i < 5 ? ':' : '\0'))
            return "must be six bytes such as \"52:54:00:12:34:56\"";
        bytes[i] = (uint8_t)byte;
        any |= bytes[i];
    }
    if (bytes[0] & 1)
        return "is the address of a group: its first byte must be even";
    if (!any)
        return "is no address: not all of it may be 0";
    memcpy(mac, bytes, 6);
    return NULL;
}

const char *config_read_bitrate(const char *text, uint64_t *rate)
{
    static const struct {
        const char *name;
        uint64_t bits;
    } units[] = { { "kbit", 1000 }, { "Mbit", 1000000 }, { "Gbit", 1000000000 } };
    uint64_t number = 0, unit = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++)
        number = min_u64(number * 10 + (uint64_t)(*at - '0'), UINT32_MAX);
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(at, units[i].name) == 0)
            unit = units[i].bits;
    if (at == text || !unit)
        return "must be a whole number with kbit, Mbit or Gbit behind it, such as \"100Mbit\"";
    if (number * unit < CONFIG_MIN_BITRATE || number * unit > CONFIG_MAX_BITRATE)
        return "must be 64kbit to 400Gbit a second; for no limit leave the key out";
    *rate = number * unit;
    return NULL;
}
static_assert(CONFIG_MIN_BITRATE == 64000 && CONFIG_MAX_BITRATE == UINT64_C(400000000000),
              "as the text says");

const char *config_read_uplink(const char *text)
{
    const char *at = text + 4;
    int slot;

    if (strncmp(text, "pci:", 4) == 0 && read_byte(&at) >= 0 && *at++ == ':' &&
        (slot = read_byte(&at)) >= 0 && slot < 32 && *at++ == '.' && *at >= '0' && *at <= '7' &&
        at[1] == '\0')
        return NULL;
    return "must be a network card of the machine such as \"pci:00:03.0\"; 'pci' in the shell lists them";
}

void config_derive_mac(const char *vm, unsigned nic, uint8_t mac[6])
{
    char text[CONFIG_NAME_MAX + 16];
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    format_text(text, sizeof(text), "%s/%u", vm, nic);
    for (const char *c = text; *c; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    hash ^= hash >> 40;
    mac[0] = 0x02; /* locally administered, of one station (IEEE 802 8.2) */
    for (unsigned i = 1; i < 6; i++)
        mac[i] = (uint8_t)(hash >> (8 * (5 - i)));
}

/* --- values in the file */

void value_network(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char *to = field;

    if (!config_take_text(r, key, to, event) || config_is_name(to))
        return;
    add_error(r, event->place, "'%s' is no name for a network: 1 to %d letters, digits, '-' and '_'", to,
              CONFIG_NAME_MAX - 1);
    to[0] = '\0';
}

void value_mtu(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    if (event->integer < CONFIG_MIN_MTU || event->integer > CONFIG_MAX_MTU)
        add_error(r, event->place, "%s must be %d to %d", key->name, CONFIG_MIN_MTU, CONFIG_MAX_MTU);
    else
        *(unsigned *)field = (unsigned)event->integer;
}

/* A short text; one that is too long is empty, which nothing here understands. */
static const char *short_text(const struct toml_event *event, char *text, size_t size)
{
    if (toml_string(event, text, size) >= size)
        text[0] = '\0';
    return text;
}

static void say_fault(struct reader *r, const struct key *key, const struct toml_event *event,
                      const char *fault)
{
    if (fault)
        add_error(r, event->place, "%s %s", key->name, fault);
}

void value_mac(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char text[32];

    say_fault(r, key, event, config_read_mac(short_text(event, text, sizeof(text)), field));
}

void value_bitrate(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char text[32];

    say_fault(r, key, event, config_read_bitrate(short_text(event, text, sizeof(text)), field));
}

/* Kept in small letters, as the machine's own addresses are written. */
void value_uplink(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char text[32], *to = field;
    const char *fault = config_read_uplink(short_text(event, text, sizeof(text)));

    say_fault(r, key, event, fault);
    if (fault)
        return;
    for (const char *c = text;; c++, to++) {
        *to = *c >= 'A' && *c <= 'F' ? (char)(*c - 'A' + 'a') : *c;
        if (!*c)
            return;
    }
}

void value_trunk(struct reader *r, struct config_nic *nic, unsigned level, const struct toml_event *event)
{
    const struct toml_step *step = &event->path[level];

    if (!step->element || event->depth > level + 1)
        return;
    if (step->index >= CONFIG_MAX_TRUNK) {
        if (step->index == CONFIG_MAX_TRUNK)
            add_error(r, step->place, "trunk takes at most %d VLANs", CONFIG_MAX_TRUNK);
        return;
    }
    if (event->type != TOML_INTEGER || event->integer < 1 || event->integer > CONFIG_MAX_VLAN) {
        add_error(r, step->place, "trunk must be VLANs from 1 to %d, such as [10, 20]", CONFIG_MAX_VLAN);
        return;
    }
    nic->trunk[nic->trunk_count++] = (uint16_t)event->integer;
}

/* --- networks */

static struct config_network *find_network(struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->network_count; i++)
        if (strcmp(config->network[i].name, name) == 0)
            return &config->network[i];
    return NULL;
}

struct config_network *config_make_network(struct config *config, const char *name, struct toml_place place)
{
    struct config_network *network = find_network(config, name);

    if (network)
        return network;
    if (!config_is_name(name) || config->network_count == CONFIG_MAX_NETWORKS)
        return NULL;
    network = &config->network[config->network_count++];
    memcpy(network->name, name, strlen(name) + 1);
    network->place = place;
    network->mtu = 1500;
    network->storm = 1000;
    return network;
}

/* --- all of them */

static void check_uplinks(struct config *config)
{
    for (unsigned i = 1; i < config->network_count; i++) {
        struct config_network *network = &config->network[i];

        for (unsigned k = 0; k < i && network->uplink[0]; k++) {
            if (strcmp(config->network[k].uplink, network->uplink) != 0)
                continue;
            config_error(config, NULL, network->at[NETWORK_UPLINK],
                         "uplink %s is that of [network.%s]; give each a card of its own", network->uplink,
                         config->network[k].name);
            network->uplink[0] = '\0';
        }
    }
}

/* A VLAN's frames have tags or not. */
static void check_vlans(struct config *config, struct config_vm *vm, const struct config_nic *nic)
{
    for (unsigned i = 0; i < nic->trunk_count; i++)
        if (nic->trunk[i] == nic->vlan) {
            config_error(config, vm, nic->at[NIC_TRUNK],
                         "trunk has VLAN %u, which vlan says is without a tag; take one of the two out",
                         nic->vlan);
            return;
        }
}

/* The first card before vm->nic[index], in the file's order, that has the same address in the same network.
 */
static const struct config_vm *user_of_mac(const struct config *config, const struct config_vm *vm,
                                           unsigned index)
{
    const struct config_nic *nic = &vm->nic[index];

    for (const struct config_vm *other = config->vm; other <= vm; other++)
        for (unsigned i = 0; i < (other == vm ? index : other->nic_count); i++)
            if (memcmp(other->nic[i].mac, nic->mac, sizeof(nic->mac)) == 0 &&
                strcmp(other->nic[i].name, nic->name) == 0)
                return other;
    return NULL;
}

static void check_nic(struct config *config, struct config_vm *vm, unsigned index)
{
    static const uint8_t none[6];
    struct config_nic *nic = &vm->nic[index];
    const struct config_vm *other;

    if (memcmp(nic->mac, none, sizeof(none)) == 0)
        config_derive_mac(vm->name, index, nic->mac);
    if (nic->name[0] == '\0') /* was refused already */
        return;
    if (!config_make_network(config, nic->name, nic->at[NIC_NAME])) {
        config_error(config, vm, nic->at[NIC_NAME], "network '%s' is one too many: there can be %d",
                     nic->name, CONFIG_MAX_NETWORKS);
        return;
    }
    check_vlans(config, vm, nic);
    other = user_of_mac(config, vm, index);
    if (other)
        config_error(
            config, vm, nic->at[NIC_MAC].line ? nic->at[NIC_MAC] : nic->place,
            "mac %02x:%02x:%02x:%02x:%02x:%02x is in network '%s' already, in [vm.%s]; give each card "
            "one of its own",
            nic->mac[0], nic->mac[1], nic->mac[2], nic->mac[3], nic->mac[4], nic->mac[5], nic->name,
            other->name);
}

void config_check_networks(struct config *config)
{
    check_uplinks(config);
    for (unsigned i = 0; i < config->vm_count; i++)
        for (unsigned k = 0; k < config->vm[i].nic_count; k++)
            check_nic(config, &config->vm[i], k);
}
