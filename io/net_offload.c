/* Checksums and segmentation in software. */
#include "io/net_offload.h"
#include "lib/errno.h"
#include "lib/string.h"

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd

/* RFC 791 3.1, RFC 8200 3: where fields stand in a header. */
#define IP4_HEADER   20
#define IP4_LENGTH   2
#define IP4_ID       4
#define IP4_FRAGMENT 6 /* flags and offset */
#define IP4_PROTOCOL 9
#define IP4_CHECKSUM 10
#define IP4_SOURCE   12
#define IP4_MF       0x2000
#define IP4_OFFSET   0x1fff
#define IP6_HEADER   40
#define IP6_LENGTH   4
#define IP6_SOURCE   8

/* RFC 9293 3.1, RFC 768. */
#define TCP_HEADER   20
#define TCP_SEQUENCE 4
#define TCP_OFFSET   12
#define TCP_FLAGS    13
#define TCP_CHECKSUM 16
#define TCP_FIN      0x01
#define TCP_PSH      0x08
#define TCP_CWR      0x80
#define UDP_HEADER   8
#define UDP_LENGTH   4
#define UDP_CHECKSUM 6
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17

#define PIECES_MAX 1024 /* of a frame: what a guest can have done by one send is bounded */

/* --- checksums */

static uint64_t add(uint64_t sum, uint64_t value)
{
    sum += value;
    return sum + (sum < value); /* end-around carry */
}

uint64_t net_sum(uint64_t sum, const void *data, size_t bytes)
{
    const uint8_t *at = data;

    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t value;
        memcpy(&value, at, sizeof(value));
        sum = add(sum, value);
    }
    if (bytes) {
        uint64_t value = 0;
        for (size_t i = 0; i < bytes; i++)
            value |= (uint64_t)at[i] << (8 * i);
        sum = add(sum, value);
    }
    return sum;
}

static uint16_t fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t net_sum_end(uint64_t sum)
{
    return (uint16_t)~fold(sum);
}

/* --- the frame and its pieces */

static uint16_t get_be16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put_be16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t get_be32(const uint8_t *at)
{
    return (uint32_t)get_be16(at) << 16 | get_be16(at + 2);
}

static void put_be32(uint8_t *at, uint32_t value)
{
    put_be16(at, value >> 16);
    put_be16(at + 2, value & 0xffff);
}

/* What is being cut. The headers are read once, and changed here. */
struct cut {
    const struct net_frame *frame;
    struct net_cursor at; /* behind what pieces have taken */
    net_offload_to *to;
    void *context;
    unsigned l3, l4;  /* where the IP header and the one behind it begin */
    unsigned headers; /* bytes of all */
    unsigned protocol;
    bool v6;
    uint8_t head[NET_HEADERS_MAX];
    struct net_frame piece;
};

/* The piece is `headers` bytes of the head, and the frame's next `payload`, which it has. */
static void make_piece(struct cut *cut, unsigned headers, uint32_t payload)
{
    struct net_frame *piece = &cut->piece;
    const struct net_segment *from = cut->frame->segment;

    net_frame_init(piece);
    piece->segment[0] = (struct net_segment){ cut->head, headers };
    piece->bytes = headers + payload;
    while (payload) {
        const struct net_segment *segment = &from[cut->at.segment];
        uint32_t part = (uint32_t)min_u64(segment->bytes - cut->at.offset, payload);

        if (part)
            piece->segment[++piece->count] = (struct net_segment){ segment->data + cut->at.offset, part };
        cut->at.offset += part;
        payload -= part;
        if (cut->at.offset == segment->bytes)
            cut->at = (struct net_cursor){ cut->at.segment + 1, 0 };
    }
}

/* The checksum of the piece from `start` in its head on, upon `sum`, into the head at `field`. */
static void complete(struct cut *cut, uint64_t sum, unsigned start, unsigned field)
{
    const struct net_frame *piece = &cut->piece;
    uint16_t result;
    bool odd = false;

    for (unsigned i = 0; i <= piece->count; i++) {
        unsigned skip = i ? 0 : start;
        const struct net_segment *segment = &piece->segment[i];
        uint16_t part = fold(net_sum(0, segment->data + skip, segment->bytes - skip));

        sum = add(sum, odd ? __builtin_bswap16(part) : part); /* RFC 1071 2 (B) */
        odd ^= (segment->bytes - skip) & 1;
    }
    result = net_sum_end(sum);
    if (result == 0) /* in UDP 0 means that there is none; elsewhere both are the same */
        result = 0xffff;
    memcpy(cut->head + field, &result, sizeof(result));
}

/* --- headers */

static bool find_ip(struct cut *cut)
{
    const uint8_t *ip = cut->head + cut->l3;
    unsigned type = get_be16(ip - 2);

    cut->v6 = type == TYPE_IPV6;
    if (cut->v6) /* with options its transport header is further behind; what the last of them names is not
                    checked */
        return cut->l4 >= cut->l3 + IP6_HEADER && ip[0] >> 4 == 6;
    return type == TYPE_IPV4 && cut->l4 >= cut->l3 + IP4_HEADER && ip[0] >> 4 == 4 &&
           cut->l3 + (ip[0] & 15u) * 4 == cut->l4 && ip[IP4_PROTOCOL] == cut->protocol &&
           !(get_be16(ip + IP4_FRAGMENT) & (IP4_MF | IP4_OFFSET));
}

static bool find_headers(struct cut *cut, unsigned type, unsigned copied)
{
    unsigned csum_offset = cut->frame->offload.csum_offset;
    bool tcp = type == NET_GSO_TCP4 || type == NET_GSO_TCP6;

    cut->protocol = tcp ? PROTOCOL_TCP : PROTOCOL_UDP;
    cut->headers = cut->l4 + (tcp ? TCP_HEADER : UDP_HEADER);
    if (cut->headers > copied || csum_offset != (tcp ? TCP_CHECKSUM : UDP_CHECKSUM) || !find_ip(cut))
        return false;
    if ((type == NET_GSO_TCP4 && cut->v6) || (type == NET_GSO_TCP6 && !cut->v6))
        return false;
    if (tcp) {
        unsigned bytes = (cut->head[cut->l4 + TCP_OFFSET] >> 4) * 4u;
        cut->headers = cut->l4 + bytes;
        return bytes >= TCP_HEADER && cut->headers <= copied;
    }
    return true;
}

/* RFC 9293 3.1, RFC 8200 8.1: addresses, protocol, length. */
static uint64_t pseudo_header(const struct cut *cut, uint32_t length)
{
    const uint8_t *ip = cut->head + cut->l3;
    uint8_t rest[8] = { 0 };

    put_be32(rest, length);
    rest[7] = (uint8_t)cut->protocol;
    return net_sum(cut->v6 ? net_sum(0, ip + IP6_SOURCE, 32) : net_sum(0, ip + IP4_SOURCE, 8), rest,
                   sizeof(rest));
}

static void set_ip(struct cut *cut, uint32_t length, unsigned id, unsigned fragment)
{
    uint8_t *ip = cut->head + cut->l3;
    uint16_t sum;

    if (cut->v6) {
        put_be16(ip + IP6_LENGTH, length - IP6_HEADER);
        return;
    }
    put_be16(ip + IP4_LENGTH, length);
    put_be16(ip + IP4_ID, id & 0xffff);
    put_be16(ip + IP4_FRAGMENT, fragment);
    put_be16(ip + IP4_CHECKSUM, 0);
    sum = net_sum_end(net_sum(0, ip, cut->l4 - cut->l3));
    memcpy(ip + IP4_CHECKSUM, &sum, sizeof(sum));
}

/* --- the ways to cut */

/* TCP segments, or UDP datagrams: each has all headers. */
static int cut_segments(struct cut *cut, uint32_t size)
{
    uint32_t left = cut->frame->bytes - cut->headers, sequence, part;
    uint8_t *ip = cut->head + cut->l3, *header = cut->head + cut->l4;
    bool tcp = cut->protocol == PROTOCOL_TCP;
    unsigned field = cut->l4 + (tcp ? TCP_CHECKSUM : UDP_CHECKSUM), flags = tcp ? header[TCP_FLAGS] : 0;
    unsigned id = get_be16(ip + IP4_ID), fragment = get_be16(ip + IP4_FRAGMENT);

    if (left / size >= PIECES_MAX)
        return -EINVAL;
    sequence = tcp ? get_be32(header + TCP_SEQUENCE) : 0;
    do {
        part = (uint32_t)min_u64(left, size);
        left -= part;
        make_piece(cut, cut->headers, part);
        set_ip(cut, cut->headers - cut->l3 + part, id++, fragment);
        if (tcp) {
            put_be32(header + TCP_SEQUENCE, sequence);
            header[TCP_FLAGS] = (uint8_t)(left ? flags & ~(unsigned)(TCP_FIN | TCP_PSH) : flags);
            sequence += part;
            flags &= ~(unsigned)TCP_CWR; /* RFC 3168 6.1.2: says once that the window was reduced */
        } else {
            put_be16(header + UDP_LENGTH, UDP_HEADER + part);
        }
        put_be16(cut->head + field, 0);
        complete(cut, pseudo_header(cut, cut->headers - cut->l4 + part), cut->l4, field);
        if (!cut->to(cut->context, &cut->piece))
            return -ENOSPC;
    } while (left);
    return 0;
}

/* IPv4 fragments of one datagram. The first has the UDP header, whose checksum is of the whole. */
static int cut_fragments(struct cut *cut, uint32_t size)
{
    uint32_t left = cut->frame->bytes - cut->headers, offset = 0, part;
    struct net_cursor payload = cut->at;
    unsigned id = get_be16(cut->head + cut->l3 + IP4_ID);

    size &= ~7u; /* of all fragments but the last */
    if (cut->v6 || cut->l4 != cut->l3 + IP4_HEADER || size < UDP_HEADER || left / size >= PIECES_MAX)
        return -EINVAL;
    make_piece(cut, cut->headers, left);
    complete(cut, 0, cut->l4, cut->l4 + UDP_CHECKSUM);
    cut->at = payload;
    left += UDP_HEADER;
    do {
        unsigned own = offset ? 0 : UDP_HEADER;

        part = (uint32_t)min_u64(left, size);
        left -= part;
        make_piece(cut, cut->l4 + own, part - own);
        set_ip(cut, IP4_HEADER + part, id, offset / 8 | (left ? IP4_MF : 0));
        if (!cut->to(cut->context, &cut->piece))
            return -ENOSPC;
        offset += part;
    } while (left);
    return 0;
}

/* Nothing but the checksum. The sum of the pseudo-header is in its field. */
static int only_complete(struct cut *cut, unsigned field)
{
    make_piece(cut, cut->headers, cut->frame->bytes - cut->headers);
    complete(cut, 0, cut->l4, field);
    return cut->to(cut->context, &cut->piece) ? 0 : -ENOSPC;
}

/* Behind the frame's first bytes, which were read already: read twice, they could differ. */
static struct net_cursor behind(const struct net_frame *frame, uint32_t bytes)
{
    struct net_cursor at = { 0 };

    while (bytes >= frame->segment[at.segment].bytes && at.segment < frame->count)
        bytes -= frame->segment[at.segment++].bytes;
    at.offset = bytes;
    return at;
}

int net_offload_cut(const struct net_frame *frame, net_offload_to *to, void *context)
{
    const struct net_offload *offload = &frame->offload;
    unsigned type = offload->gso_type & ~(unsigned)NET_GSO_ECN,
             field = (unsigned)offload->csum_start + offload->csum_offset;
    struct cut cut;
    struct net_cursor start = { 0 };
    uint32_t copied = net_copy(frame, &start, cut.head, sizeof(cut.head));

    cut.frame = frame;
    cut.to = to;
    cut.context = context;
    cut.l3 = frame->segment[0].bytes;
    cut.l4 = offload->csum_start;
    if (type != NET_GSO_NONE && !find_headers(&cut, type, copied))
        return -EINVAL;
    if (type == NET_GSO_NONE)
        cut.headers = field + 2;
    cut.at = behind(frame, cut.headers);
    switch (type) {
    case NET_GSO_NONE:
        return only_complete(&cut, field);
    case NET_GSO_UDP:
        return cut_fragments(&cut, offload->gso_size);
    default:
        return cut_segments(&cut, offload->gso_size);
    }
}
