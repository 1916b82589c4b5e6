/* Segmentation in software, checked by a plain sum of 16-bit words as RFC 1071 writes it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "io/net_offload.h"
#include "lib/errno.h"
#include "tests/unit/net_rig.h"

static struct network *net;
static struct rig_port *a, *b, *trunk;
static uint8_t text[NET_FRAME_MAX];

/* Continues a sum of big-endian words; 0xffff at the end of all: right. */
static uint32_t words(uint32_t sum, const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static unsigned be16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t be32(const uint8_t *at)
{
    return be16(at) << 16 | be16(at + 2);
}

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* The sum of the pseudo-header of the IP header at `ip`. */
static uint32_t pseudo(const uint8_t *ip, unsigned protocol, unsigned length)
{
    bool v6 = ip[0] >> 4 == 6;

    return words(protocol + length, ip + (v6 ? 8 : 12), v6 ? 32 : 8);
}

#define V4 34 /* where TCP or UDP begins */
#define V6 54

/* A TCP or UDP frame from port 1 to port `to`, with facts for it. Returns its bytes. */
static size_t make(unsigned to, bool v6, bool tcp, size_t payload, unsigned mss, struct net_offload *facts)
{
    size_t l4 = v6 ? V6 : V4, headers = l4 + (tcp ? 32 : 8), length = headers + payload;
    uint8_t *ip = text + 14, *at = text + l4;

    memset(text, 0, headers);
    memcpy(text, (uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)to, 2, 0, 0, 0, 0, 1, 0x08, 0x00 }, 14);
    if (v6) {
        memcpy(text + 12, "\x86\xdd", 2);
        ip[0] = 0x60;
        put16(ip + 4, (unsigned)(length - 54));
        ip[6] = tcp ? 6 : 17;
        ip[7] = 64;
        for (unsigned i = 8; i < 40; i++)
            ip[i] = (uint8_t)(i * 11);
    } else {
        ip[0] = 0x45;
        put16(ip + 2, (unsigned)(length - 14));
        put16(ip + 4, 0xfffe);
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = tcp ? 6 : 17;
        memcpy(ip + 12, (uint8_t[]){ 192, 168, 0, 1, 192, 168, 0, 2 }, 8);
        put16(ip + 10, 0xffff - words(0, ip, 20));
    }
    put16(at, 1234);
    put16(at + 2, 80);
    if (tcp) {
        memcpy(at + 4, "\xff\xff\xf0\x00\x12\x34\x56\x78\x80\x99\x20\x00", 12); /* FIN, PSH, ACK and CWR */
        at[13] = 0x99;
        memcpy(at + 20, "\x01\x01\x08\x0a\x01\x02\x03\x04\x05\x06\x07\x08", 12);
    } else {
        put16(at + 4, (unsigned)(8 + payload));
    }
    put16(at + (tcp ? 16 : 6), pseudo(ip, tcp ? 6 : 17, (unsigned)(length - l4)));
    for (size_t i = 0; i < payload; i++)
        text[headers + i] = (uint8_t)(i * 31 + i / 256);
    *facts = (struct net_offload){ .flags = NET_NEEDS_CSUM,
                                   .gso_type = !mss   ? 0
                                               : !tcp ? NET_GSO_UDP_L4
                                               : v6   ? NET_GSO_TCP6
                                                      : NET_GSO_TCP4,
                                   .header_bytes = (uint16_t)headers,
                                   .gso_size = (uint16_t)mss,
                                   .csum_start = (uint16_t)l4,
                                   .csum_offset = tcp ? 16 : 6 };
    return length;
}

static void send(size_t bytes, size_t piece, struct net_offload facts)
{
    assert_int_equal(rig_send_facts(a, text, bytes, piece, &facts), 0);
}

/* Both checksums and the lengths of a received packet. */
static void check_sums(const uint8_t *frame, size_t bytes, size_t head, unsigned protocol)
{
    const uint8_t *ip = frame + head;
    bool v6 = ip[0] >> 4 == 6;
    size_t l4 = head + (v6 ? 40 : 20);

    if (v6) {
        assert_int_equal(be16(ip + 4), bytes - l4);
    } else {
        assert_int_equal(be16(ip + 2), bytes - head);
        assert_int_equal(words(0, ip, 20), 0xffff);
    }
    assert_int_equal(words(pseudo(ip, protocol, (unsigned)(bytes - l4)), frame + l4, bytes - l4), 0xffff);
    if (protocol == 17)
        assert_int_equal(be16(frame + l4 + 4), bytes - l4);
}

static int setup(void **state)
{
    struct net_port_config config = rig_config(1);

    (void)state;
    net = rig_network(1500, 0);
    a = rig_add(net, &config, 0);
    config = rig_config(2);
    b = rig_add(net, &config, 0);
    config = rig_config(3);
    config.vlan = -1;
    config.trunk[config.trunk_count++] = 7;
    trunk = rig_add(net, &config, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(a);
    free(b);
    free(trunk);
    return 0;
}

static void sums_are_those_of_the_books(void **state)
{
    static const uint8_t rfc1071[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
    static const uint8_t header[] = { 0x45, 0, 0,   0x73, 0, 0, 0x40, 0,   0x40, 0x11,
                                      0,    0, 192, 168,  0, 1, 192,  168, 0,    0xc7 };
    uint16_t sum = net_sum_end(net_sum(0, rfc1071, sizeof(rfc1071)));

    (void)state;
    assert_memory_equal(&sum, "\x22\x0d", 2); /* ~0xddf2 */
    sum = net_sum_end(net_sum(0, header, sizeof(header)));
    assert_memory_equal(&sum, "\xb8\x61", 2);
    for (size_t bytes = 0; bytes < 100; bytes++) {
        for (size_t i = 0; i < bytes; i++)
            text[i] = (uint8_t)(0xff - i % 3);
        sum = net_sum_end(net_sum(0, text, bytes));
        assert_int_equal(be16((uint8_t *)&sum), ~words(0, text, bytes) & 0xffff);
    }
}

/* Eight bytes in a datagram, with the sum by hand. */
static void a_known_packet_gets_its_checksum(void **state)
{
    static const uint8_t query[] = { 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0x02 };
    struct net_offload facts;
    size_t bytes = make(2, false, false, sizeof(query), 0, &facts);

    (void)state;
    memcpy(text + V4 + 8, query, sizeof(query));
    /* 192.168.0.1:1234 > 192.168.0.2:80, 16 bytes: c0a8+1+c0a8+2+11+10+04d2+50+10 + c0a8+1+c0a8+2 = 307f9,
       folded 07fc, inverted f803 */
    send(bytes, bytes, facts);
    assert_memory_equal(b->frame[0].data + V4 + 6, "\xf8\x03", 2);
}

static void checksums_are_completed(void **state)
{
    struct net_offload facts;

    (void)state;
    for (unsigned kind = 0; kind < 4; kind++)
        for (size_t payload = 0; payload < 70; payload++)
            for (size_t piece = 7; piece < 140; piece += 33) {
                size_t bytes = make(2, kind & 1, kind & 2, payload, 0, &facts);
                struct rig_frame *got = &b->frame[b->received % RIG_KEEP];

                send(bytes, piece, facts);
                assert_int_equal(got->bytes, bytes);
                assert_int_equal(got->offload.flags, 0);
                check_sums(got->data, bytes, 14, kind & 2 ? 6 : 17);
                memcpy(got->data + facts.csum_start + facts.csum_offset,
                       text + facts.csum_start + facts.csum_offset, 2);
                assert_memory_equal(got->data, text, bytes); /* nothing else */
            }
}

static void a_udp_checksum_is_never_zero(void **state)
{
    struct net_offload facts;
    size_t bytes = make(2, false, false, 2, 0, &facts);
    uint32_t sum;

    (void)state;
    put16(text + V4 + 8, 0);
    sum = words(pseudo(text + 14, 17, 10), text + V4, 6);
    put16(text + V4 + 8, 0xffff - words(sum, text + V4 + 8, 2));
    send(bytes, bytes, facts);
    assert_memory_equal(b->frame[0].data + V4 + 6, "\xff\xff", 2);
}

static void check_tcp(bool v6, size_t payload, unsigned mss, size_t piece)
{
    struct net_offload facts;
    size_t bytes = make(2, v6, true, payload, mss, &facts), headers = facts.header_bytes,
           l4 = facts.csum_start, at = 0;
    unsigned count = payload ? (unsigned)((payload + mss - 1) / mss) : 1;

    b->received = 0;
    if (payload > mss * 3 && !v6)
        facts.gso_type |= NET_GSO_ECN;
    send(bytes, piece, facts);
    assert_int_equal(b->received, count);
    for (unsigned i = 0; i < count; i++) {
        const struct rig_frame *got = &b->frame[i];
        size_t part = payload - at < mss ? payload - at : mss;
        unsigned flags = 0x10;

        assert_int_equal(got->bytes, headers + part);
        assert_int_equal(got->offload.flags | got->offload.gso_type, 0);
        check_sums(got->data, got->bytes, 14, 6);
        assert_memory_equal(got->data, text, 14);
        if (!v6)
            assert_int_equal(be16(got->data + 18), (0xfffe + i) & 0xffff);
        assert_int_equal(be32(got->data + l4 + 4), (uint32_t)(0xfffff000 + at));
        flags |= (i == 0 ? 0x80u : 0) | (i == count - 1 ? 0x09u : 0);
        assert_int_equal(got->data[l4 + 13], flags);
        assert_memory_equal(got->data + l4 + 20, text + l4 + 20, 12);
        assert_memory_equal(got->data + headers, text + headers + at, part);
        at += part;
    }
}

static void tcp_is_cut(void **state)
{
    (void)state;
    check_tcp(false, 60000, 1448, 4096);
    check_tcp(true, 60000, 1428, 4096);
    check_tcp(false, 1448, 1448, 100);
    check_tcp(false, 1449, 1448, 100);
    check_tcp(false, 0, 1448, 100);
    check_tcp(true, 3001, 77, 61);
    check_tcp(false, 3001, 63, 1000);
}

static void udp_is_cut(void **state)
{
    struct net_offload facts;

    (void)state;
    for (unsigned v6 = 0; v6 < 2; v6++) {
        size_t bytes = make(2, v6, false, 30001, 1200, &facts), headers = facts.header_bytes;

        b->received = 0;
        send(bytes, 1000, facts);
        assert_int_equal(b->received, 26);
        for (unsigned i = 0; i < 26; i++) {
            size_t part = i < 25 ? 1200 : 1;
            assert_int_equal(b->frame[i].bytes, headers + part);
            check_sums(b->frame[i].data, b->frame[i].bytes, 14, 17);
            assert_memory_equal(b->frame[i].data + headers, text + headers + i * 1200, part);
        }
    }
}

static void datagrams_are_cut_to_fragments(void **state)
{
    static uint8_t whole[NET_FRAME_MAX];
    struct net_offload facts;
    size_t bytes = make(2, false, false, 20001, 1480, &facts), at = 0;

    (void)state;
    facts.gso_type = NET_GSO_UDP;
    facts.gso_size = 1479; /* not a multiple of 8 */
    send(bytes, 999, facts);
    assert_int_equal(b->received, 14);
    for (unsigned i = 0; i < 14; i++) {
        const uint8_t *ip = b->frame[i].data + 14;
        size_t part = b->frame[i].bytes - V4;

        assert_int_equal(be16(ip + 2), 20 + part);
        assert_int_equal(words(0, ip, 20), 0xffff);
        assert_int_equal(be16(ip + 4), 0xfffe);
        assert_int_equal(be16(ip + 6), at / 8 | (i < 13 ? 0x2000u : 0));
        memcpy(whole + V4 + at, ip + 20, part);
        at += part;
    }
    assert_int_equal(at, 20009);
    memcpy(whole, text, V4);
    assert_int_equal(words(pseudo(whole + 14, 17, 20009), whole + V4, 20009), 0xffff);
    assert_memory_equal(whole + V4 + 8, text + V4 + 8, 20001);
}

static void a_tag_is_kept(void **state)
{
    struct net_port_config config = rig_config(4);
    struct rig_port *seven;
    struct net_offload facts;
    size_t bytes = make(3, false, true, 5000, 1000, &facts);

    (void)state;
    config.vlan = 7;
    seven = rig_add(net, &config, 0);
    text[11] = 4;
    assert_int_equal(rig_send_facts(seven, text, bytes, 1000, &facts), 0);
    assert_int_equal(trunk->received, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_memory_equal(trunk->frame[i].data + 12, "\x81\x00\x00\x07\x08\x00", 6);
        check_sums(trunk->frame[i].data, trunk->frame[i].bytes, 18, 6);
    }
    free(seven);
}

static void headers_must_be_what_is_said(void **state)
{
    struct net_offload facts;
    size_t bytes;
    unsigned wrong = 0;

    (void)state;
#define WRONG(change)                                                                                        \
    bytes = make(2, false, true, 5000, 1000, &facts);                                                        \
    change;                                                                                                  \
    send(bytes, 1000, facts);                                                                                \
    assert_int_equal(b->port->counts.drop[NET_DROP_CUT], ++wrong)
    WRONG(text[14] = 0x46); /* longer than csum_start says */
    WRONG(text[14] = 0x65);
    WRONG(text[12] = 0x86);
    WRONG(text[23] = 17);
    WRONG(text[20] |= 0x20); /* a fragment already */
    WRONG(text[21] |= 1);
    WRONG(text[V4 + 12] = 0x40); /* less than a TCP header */
    WRONG(facts.csum_offset = 6);
    WRONG(facts.csum_start = 33);
    WRONG(facts.gso_type = NET_GSO_TCP6);
    WRONG(facts.gso_type = NET_GSO_UDP_L4);
    WRONG((bytes = make(2, true, true, 5000, 1000, &facts), facts.gso_type = NET_GSO_TCP4));
    WRONG((bytes = make(2, true, false, 5000, 1000, &facts), facts.gso_type = NET_GSO_UDP));
    WRONG((bytes = make(2, false, false, 5000, 7, &facts), facts.gso_type = NET_GSO_UDP));
    WRONG(facts.gso_size = 4);                        /* too many pieces */
    WRONG((bytes = V4 + 18, facts.header_bytes = 0)); /* half a header */
    WRONG((text[V4 + 12] = 0xf0, bytes = V4 + 40));
    assert_int_equal(b->received, 0);
}

static void a_full_receiver_ends_it(void **state)
{
    struct net_offload facts;
    size_t bytes = make(2, false, true, 50000, 1000, &facts);

    (void)state;
    b->full = true;
    send(bytes, 1000, facts);
    assert_int_equal(b->port->counts.drop[NET_DROP_ROOM], 1);
    assert_int_equal(b->port->counts.received, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(sums_are_those_of_the_books),
        TEST(a_known_packet_gets_its_checksum),
        TEST(checksums_are_completed),
        TEST(a_udp_checksum_is_never_zero),
        TEST(tcp_is_cut),
        TEST(udp_is_cut),
        TEST(datagrams_are_cut_to_fragments),
        TEST(a_tag_is_kept),
        TEST(headers_must_be_what_is_said),
        TEST(a_full_receiver_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
