/*
 * What passes in a network, written down as a pcap file
 * (https://www.tcpdump.org/manpages/pcap-savefile.5.html), for tcpdump and its like. One capture at a time,
 * into a bounded ring: what its reader does not take in time is lost, and counted. Frames are those of the
 * senders: one that many get is there once, and one with offloads is whole, with its checksum still to be
 * completed. Compiles on the host.
 */
#pragma once

#include "io/net.h"
#include "lib/types.h"

#define PCAP_RING     (256 * KiB)
#define PCAP_SNAP     1518 /* default: bytes kept of a frame */
#define PCAP_SNAP_MAX NET_FRAME_MAX

struct pcap_counts {
    uint64_t frames, lost;
};

/*
 * Begins. `only`: what this port sends and is sent, as it sees it; NULL: all of the network, with the tags of
 * their VLANs. `count` frames are written, 0: no end; `snap` <= PCAP_SNAP_MAX bytes of each. `utc` is the
 * time now, in seconds since 1970. -EBUSY: there is a capture already. Boot CPU, as all here.
 */
int pcap_start(struct network *network, const struct net_port *only, uint64_t count, unsigned snap,
               uint64_t utc) __must_check;

/* The file's next bytes, at most `bytes`; 0: none yet. */
size_t pcap_take(void *to, size_t bytes);

/* The count is reached, and all was taken. */
bool pcap_done(void);

/* Ends it; what was not taken is gone. */
struct pcap_counts pcap_stop(void);
