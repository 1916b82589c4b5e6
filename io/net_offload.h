/*
 * What network cards do for their drivers, in software: for a frame that one port may send and another does
 * not take. Compiles on the host.
 */
#pragma once

#include "io/net.h"

/* Gets one frame that needs nothing more, while it lasts; what it returns is given on. */
typedef bool net_offload_to(void *context, const struct net_frame *frame);

/*
 * Completes the checksum of a frame that passed net_send()'s checks; cuts it to TCP segments (gso TCP4 and
 * TCP6), UDP datagrams (UDP_L4) or IPv4 fragments (UDP), each with its headers in memory of its own and the
 * payload where it was: what a guest writes there meanwhile can spoil its own checksums only. Calls `to` for
 * each until that returns false. 0; -EINVAL: the headers are not what the frame's facts say, and nothing was
 * called; -ENOSPC: `to` returned false.
 */
int net_offload_cut(const struct net_frame *frame, net_offload_to *to, void *context) __must_check;

/* The Internet checksum (RFC 1071): adds `bytes` from `data` to a sum that stands for an even number of
 * bytes; and the end of it. */
uint64_t net_sum(uint64_t sum, const void *data, size_t bytes);
uint16_t net_sum_end(uint64_t sum); /* in network byte order, as memory has it */
