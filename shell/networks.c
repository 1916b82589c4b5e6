/* Commands about the networks between the VMs. */
#include "arch/x86_64/cmos.h"
#include "io/nic.h"
#include "io/pcap.h"
#include "lib/base64.h"
#include "lib/format.h"
#include "lib/string.h"
#include "shell/commands.h"
#include "shell/output.h"
#include "shell/wire.h"

/* --- networks */

/* "10", "10 +20,30" with the VLANs that have tags; empty: the network's own only. */
static void vlan_text(const struct net_port_config *config, char *to, size_t size)
{
    size_t length = 0;

    to[0] = '\0';
    if (config->vlan > 0)
        length = (size_t)format_text(to, size, "%d", config->vlan);
    if (config->trunk_all && length < size)
        format_text(to + length, size - length, "+all");
    for (unsigned i = 0; i < config->trunk_count && length < size; i++)
        length += (size_t)format_text(to + length, size - length, "%s%u", i ? "," : "+", config->trunk[i]);
}

static void drop_cells(const struct net_counts *counts)
{
    char key[24], text[160];
    size_t length = 0;
    uint64_t sum = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < NET_DROPS; i++)
        sum += counts->drop[i];
    cell_number("dropped", 9, sum);
    for (unsigned i = 0; i < NET_DROPS; i++) {
        if (shell_json()) {
            format_text(key, sizeof(key), "dropped_%s", net_drop_name(i));
            cell_number(key, 0, counts->drop[i]);
        } else if (counts->drop[i] && length < sizeof(text)) {
            length += (size_t)format_text(text + length, sizeof(text) - length, "%s%llu %s",
                                          length ? ", " : "", (unsigned long long)counts->drop[i],
                                          net_drop_name(i));
        }
    }
    if (shell_json())
        cell_number("held", 0, counts->held);
    else
        cell_below("drops", "    dropped: ", text);
}

static const char *port_state(const struct net_port *port)
{
    const struct nic *nic = port->config.uplink ? nic_find(port->config.name) : NULL;

    if (!port->open)
        return "closed";
    return nic && !nic->link ? "no link" : "open";
}

static void port_row(const struct net_port *port)
{
    const struct net_counts *counts = &port->counts;
    char text[NET_TRUNK_MAX * 6];

    cell_text("network", 12, net_config(port->network)->name);
    cell_text("port", 16, port->config.name);
    cell_text("mac", 17, net_mac_text(port->config.mac, text));
    vlan_text(&port->config, text, sizeof(text));
    cell_text("vlan", 8, text);
    cell_text("state", 7, port_state(port));
    cell_number("sent", 10, counts->sent);
    cell_number("received", 10, counts->received);
    if (shell_json()) {
        cell_number("sent_bytes", 0, counts->sent_bytes);
        cell_number("received_bytes", 0, counts->received_bytes);
        cell_number("mtu", 0, net_config(port->network)->mtu);
        cell_number("rate", 0, port->config.rate);
    }
    drop_cells(counts);
}

/* An uplink that the config names and nobody has found. */
static void missing_row(const struct network_config *config)
{
    cell_text("network", 12, config->name);
    cell_text("port", 16, config->uplink);
    cell_text("mac", 17, "");
    cell_text("vlan", 8, "");
    cell_text("state", 7, "missing");
}

/* Each network's ports, then its uplink if that is not among them. */
static enum output_more network_row(unsigned at)
{
    struct network *network;

    for (unsigned i = 0; (network = net_network(i)) != NULL; i++) {
        const struct network_config *config = net_config(network);
        struct net_port *port;
        unsigned count = 0;
        bool missing = config->uplink[0] != '\0';

        for (; (port = net_port(network, count)) != NULL; count++) {
            missing &= strcmp(port->config.name, config->uplink) != 0;
            if (count != at)
                continue;
            port_row(port);
            return OUTPUT_MORE;
        }
        if (missing && count++ == at) {
            missing_row(config);
            return OUTPUT_MORE;
        }
        at -= count;
    }
    return OUTPUT_END;
}

void run_networks(int count, char *word[SHELL_ARGS])
{
    static const struct listing networks = {
        "ports",
        "NETWORK      PORT             MAC               VLAN     STATE         SENT   RECEIVED   DROPPED",
        network_row
    };

    (void)count;
    (void)word;
    output_listing(&networks);
}

/* --- capture */

#define LINE_BYTES 57 /* 76 digits */
#define LINES      64 /* in one item */
#define COUNT_MAX  1000000000

static_assert(LINES * (BASE64_LENGTH(LINE_BYTES) + 32) <= OUTPUT_ITEM, "as output.h wants it");

static uint64_t position; /* in the file */

static enum output_more capture_item(unsigned at)
{
    uint8_t bytes[LINE_BYTES];
    char text[BASE64_LENGTH(LINE_BYTES) + 1];
    size_t length = 0;

    (void)at;
    for (unsigned i = 0; i < LINES && (length = pcap_take(bytes, sizeof(bytes))) != 0; i++) {
        base64_encode(text, bytes, length);
        wire_print("pcap %llu %s\r\n", (unsigned long long)position, text);
        position += length;
    }
    if (shell_typed() || pcap_done()) {
        shell_forget_typed();
        return OUTPUT_END;
    }
    return length == sizeof(bytes) ? OUTPUT_MORE : OUTPUT_LATER;
}

/* However it ended: by a key, by Ctrl-C, or because someone went to a console. */
static void capture_end(void)
{
    struct pcap_counts counts = pcap_stop();

    if (!wire_in_shell())
        return;
    wire_print("pcap end: %llu frames, %llu lost\r\n", (unsigned long long)counts.frames,
               (unsigned long long)counts.lost);
}

/* A decimal number from 1 to COUNT_MAX; 0: it is none. */
static uint64_t number(const char *text)
{
    uint64_t value = 0;

    for (; *text >= '0' && *text <= '9' && value <= COUNT_MAX; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return *text || value > COUNT_MAX ? 0 : value;
}

void run_capture(int count, char *word[SHELL_ARGS])
{
    struct network *network = count > 1 ? net_find(word[1]) : NULL;
    struct net_port *port = count > 1 && !network ? net_find_port(word[1]) : NULL;
    uint64_t frames = count > 2 ? number(word[2]) : 0;

    if (count < 2) {
        wire_print("capture: which network, or which port of one? 'networks' lists them\r\n");
        return;
    }
    if (!network && !port) {
        wire_print("capture: there is no network or port '");
        print_plain(word[1]);
        wire_print("'; 'networks' lists them\r\n");
        return;
    }
    if (count > 2 && !frames) {
        wire_print("capture: a count of frames is 1 to %d\r\n", COUNT_MAX);
        return;
    }
    if (pcap_start(port ? port->network : network, port, frames, PCAP_SNAP, cmos_utc_seconds())) {
        wire_print("capture: another one is going on\r\n");
        return;
    }
    position = 0;
    if (!frames)
        wire_print("any key ends it; tools/pcap makes a file of what follows\r\n");
    shell_at_end(capture_end);
    output_begin(capture_item);
}
