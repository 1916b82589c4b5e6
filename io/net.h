/*
 * Networks: where the network cards that guests see meet each other and those that the machine has. A network
 * is a switch with ports; it has nothing in common with another network, so what is sent in one cannot
 * arrive in another. Compiles on the host.
 *
 *     vnet -> net_send() -> the switch (net.c) -> receive() of each port it is for: a vnet, or a driver's
 * uplink driver's interrupt -> net_send() on the uplink's port -> the same way
 *
 * A frame is delivered while it is sent, and copied once, by the receiver, from the sender's memory to its
 * own. Nothing is queued in between: a receiver without room loses the frame, and that is counted.
 *
 * Locks. receive() is called with the receiving port's lock held, one CPU at a time; nothing else of the
 * switch is locked then. net_send() may be called with locks of the sender's device held; so receive() must
 * take none that a sender may hold (such as a VM's device lock), and must not call net_send(). Several CPUs
 * may send on one port at a time.
 */
#pragma once

#include "kernel/lock.h"
#include "lib/types.h"

#define NET_NAME_MAX      32  /* of a network */
#define NET_PORT_NAME     40  /* "web/0": a VM and its card; "pci:00:03.0": an uplink */
#define NET_MAC           6   /* bytes */
#define NET_MAX_PORTS     260 /* of a network: 64 VMs with 4 each, and uplinks */
#define NET_SEGMENTS      64  /* of a frame as its sender has it */
#define NET_HEAD          14  /* an Ethernet header without a tag (IEEE 802.3 3.1.1) */
#define NET_TAG           4   /* IEEE 802.1Q 9.3: type 0x8100 and the TCI */
#define NET_FRAME_MAX     (65535 + NET_HEAD + NET_TAG)
#define NET_MTU           1500 /* default of a network */
#define NET_MTU_MIN       576
#define NET_MTU_MAX       65535
#define NET_VLAN_MAX      4094
#define NET_TRUNK_MAX     16   /* VLANs of a trunk */
#define NET_RATE_BURST_MS 5    /* what a port with a rate may send at once when it was quiet */
#define NET_STORM         1000 /* default: broadcasts and the like of a port in a second */

/* A piece of memory in the hypervisor's map. May be empty. */
struct net_segment {
    uint8_t *data;
    uint32_t bytes;
};

/*
 * What is left to do for a frame, as virtio says it: the first 10 bytes of struct virtio_net_hdr (virtio 1.2
 * 5.1.6). All zero: nothing. Offsets count from the frame's first byte.
 */
struct net_offload {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t header_bytes; /* gso: Ethernet, IP and TCP or UDP headers; no more than a hint */
    uint16_t gso_size;     /* payload of each packet that is to be made of it */
    uint16_t csum_start;   /* the checksum is of what begins here, ... */
    uint16_t csum_offset;  /* ... and stands so far behind that; the sum of the pseudo-header is there */
};

#define NET_HEADERS_MAX 256 /* the checksum's field must stand within so many bytes of a frame */

#define NET_NEEDS_CSUM 1 /* flags: checksum to be completed */
#define NET_DATA_VALID                                                                                       \
    2 /* flags: the checksum was checked; only an uplink is believed. Nothing for a receiver                 \
         that does not take NET_TAKES_CSUM */

#define NET_GSO_NONE   0
#define NET_GSO_TCP4   1
#define NET_GSO_UDP    3 /* one UDP datagram, to be cut into IP fragments (UFO) */
#define NET_GSO_TCP6   4
#define NET_GSO_UDP_L4 5    /* several UDP datagrams (USO) */
#define NET_GSO_ECN    0x80 /* with a TCP type: CWR is set, and goes with the first packet only */

/* What a port's receiver leaves to do to whoever reads the frame; the switch does the rest before. */
enum net_takes {
    NET_TAKES_CSUM = 1, /* the others need it */
    NET_TAKES_TCP4 = 2,
    NET_TAKES_TCP6 = 4,
    NET_TAKES_UDP = 8,
    NET_TAKES_UDP_L4 = 16,
    NET_TAKES_ECN = 32,
};

/*
 * A frame in flight. The sender fills in `offload`, `bytes`, `count` and segment[1] to segment[count], which
 * hold the frame from its Ethernet header on, without checksum (FCS); net_frame_init() and net_frame_add()
 * do. segment[0] is empty then and is the switch's: it moves the header there, to memory of its own, so that
 * what was checked is what is delivered, even if a guest writes to the frame meanwhile. A receiver sees
 * segment[0] to segment[count], `bytes` in all.
 */
struct net_frame {
    struct net_offload offload;
    uint32_t bytes;
    unsigned count;
    unsigned needs; /* the switch's: enum net_takes */
    uint16_t vlan;  /* the switch's: 0: of the network itself */
    uint16_t tci;   /* the switch's: the tag, if it is delivered with one */
    uint8_t head[NET_HEAD + NET_TAG];
    struct net_segment segment[1 + NET_SEGMENTS];
};

/* Why frames were not delivered. SHORT to RATE are counted at the sender's port, the rest at the receiver's.
 */
enum net_drop {
    NET_DROP_SHORT,   /* less than a header */
    NET_DROP_LONG,    /* more than the MTU */
    NET_DROP_OFFLOAD, /* offload facts that cannot be */
    NET_DROP_MAC,     /* a source address that is not the port's, or a group's */
    NET_DROP_VLAN,    /* a tag, or none, where that is not allowed */
    NET_DROP_STORM,   /* too many broadcasts and the like */
    NET_DROP_NOWHERE, /* nobody to send it to */
    NET_DROP_ROOM,    /* no room, or the port is closed */
    NET_DROP_CUT,     /* could not be cut to what the receiver takes */
    NET_DROPS
};

struct net_counts {
    uint64_t sent, sent_bytes;         /* by whoever is at the port, without what was dropped there */
    uint64_t received, received_bytes; /* by the same */
    uint64_t held;                     /* sends put off by `rate` */
    uint64_t drop[NET_DROPS];
};

/* Lets so many units a second pass, and `burst` at once. Unit 0: all pass. */
struct net_bucket {
    uint64_t unit;  /* ticks of the TSC for each, in 1/65536 */
    uint64_t burst; /* ticks */
    uint64_t at;    /* TSC: when it is empty no more */
};

struct net_port;
struct network;

/* False: no room. See above for what it may do. `frame` is gone when it returns. */
typedef bool net_receive(struct net_port *port, const struct net_frame *frame);

/* What is said of a port when it is made. */
struct net_port_config {
    char name[NET_PORT_NAME];
    uint8_t mac[NET_MAC];
    bool uplink;
    bool many_macs; /* any source address but those of other ports; unknown addresses may be behind it.
                       Uplinks are so */
    int vlan; /* of untagged frames; 0: the network's own, without a tag on uplinks; -1: no untagged ones */
    unsigned trunk_count;
    uint16_t trunk[NET_TRUNK_MAX]; /* VLANs whose frames have a tag here */
    bool trunk_all;                /* all of them */
    uint64_t rate;                 /* bits a second that it may send; 0: no limit */
};

/*
 * A port stays for ever once it was made; open or closed. Fields are the switch's, but for reading: `config`,
 * `network`, `owner`, counts (each of them whole, not all of one moment).
 */
struct net_port {
    struct net_port_config config;
    struct network *network;
    struct net_port *next;  /* among those whose address has the same hash */
    uint64_t mac_key;       /* config.mac as a number */
    unsigned index;         /* among the network's */
    struct lock sending;    /* guards the buckets. Nothing is taken under it */
    struct net_bucket rate; /* of bytes */
    struct net_bucket storm;
    struct net_counts counts;
    struct lock
        receiving; /* guards what follows and what is received. Nothing of the switch is taken under it */
    bool open;
    unsigned takes; /* enum net_takes */
    net_receive *receive;
    void *owner; /* the receiver's own */
};

struct network_config {
    char name[NET_NAME_MAX];
    char uplink[NET_PORT_NAME]; /* "pci:00:03.0"; empty: none */
    unsigned mtu;               /* NET_MTU_MIN .. NET_MTU_MAX: of Ethernet's payload, without a tag */
    unsigned storm; /* broadcasts, multicasts and unknown addresses of a port in a second; 0: no limit */
};

/* --- For who builds networks: the boot CPU. */

/* Finds or makes one; NULL: no memory. An existing one keeps its config. */
struct network *net_make(const struct network_config *config);
struct network *net_find(const char *name);  /* NULL: there is none */
struct network *net_network(unsigned index); /* in the order in which they were made; NULL: no more */
const struct network_config *net_config(const struct network *network);

/*
 * Adds a port, closed. -EEXIST: another port of the network has its name, or its address and neither has
 * many; -ENOMEM; -ENOSPC: NET_MAX_PORTS are there.
 */
int net_add_port(struct network *network, const struct net_port_config *config,
                 struct net_port **out) __must_check;
struct net_port *net_port(const struct network *network, unsigned index); /* NULL: no more */
struct net_port *net_find_port(const char *name);                         /* in any network; NULL: none */

/* --- For vnet and drivers. */

/*
 * Frames come by receive() from now on. net_close() returns when none is under way and none will come: what
 * was reached by receive() may be reset then.
 */
void net_open(struct net_port *port, net_receive *receive, void *owner, unsigned takes);
void net_close(struct net_port *port);

/* No frame is received in between. Not from receive(); as a lock, it stands behind a VM's device lock. */
void net_hold(struct net_port *port);
void net_let_go(struct net_port *port);

/*
 * Sends a frame, which is used up. 0, also if it was dropped: that is counted. -EAGAIN: the port may not send
 * now, nothing was done, and net_ready_at() says at which TSC to try again; the frame is as it was.
 */
int net_send(struct net_port *port, struct net_frame *frame) __must_check;
uint64_t net_ready_at(const struct net_port *port);

static inline void net_frame_init(struct net_frame *frame)
{
    frame->offload = (struct net_offload){ 0 };
    frame->bytes = 0;
    frame->count = 0;
    frame->segment[0].bytes = 0;
}

/* False: it has NET_SEGMENTS already, or more bytes than any frame. */
static inline bool __must_check net_frame_add(struct net_frame *frame, uint8_t *data, uint32_t bytes)
{
    if (frame->count == NET_SEGMENTS || bytes > NET_FRAME_MAX)
        return false;
    frame->count++;
    frame->bytes += bytes;
    frame->segment[frame->count] = (struct net_segment){ data, bytes };
    return true;
}

/* For receivers that copy a frame piece by piece: where they are. Begin with all zero. */
struct net_cursor {
    unsigned segment;
    uint32_t offset;
};

/* Copies the next `bytes` to `to`, or what is left; returns how many. */
uint32_t net_copy(const struct net_frame *frame, struct net_cursor *cursor, void *to, uint32_t bytes);

/* --- For all: words. */

#define NET_MAC_TEXT 18

const char *net_drop_name(enum net_drop drop);                               /* "short", ... : keys of JSON */
const char *net_mac_text(const uint8_t mac[NET_MAC], char to[NET_MAC_TEXT]); /* returns `to` */

/* --- For captures (pcap.h). */

/*
 * Each frame that passes the sender's checks, and so is sent, is shown to `tap` once, with the port that sent
 * it; NULL: no more; and again with each port that it is for in `to`. Called on any CPU, several at a time.
 */
typedef void net_tap(void *context, const struct net_port *from, const struct net_port *to,
                     const struct net_frame *frame);
void net_set_tap(struct network *network, net_tap *tap, void *context);
