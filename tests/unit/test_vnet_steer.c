/* Which pair of queues a frame belongs to. Frames are sent in pieces of memory of their own size. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "devices/vnet_steer.h"

#define PAIRS 200u

static struct vnet_steer steer;

/* One of the two directions of a flow, or what is left of it. */
struct packet {
    uint8_t byte[100];
    unsigned bytes;
};

enum { V4, V6 };

static void put_16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Between host `a` port `m` and host `b` port `n`; `options` are bytes of IPv4 options. */
static struct packet make(int version, unsigned a, unsigned m, unsigned b, unsigned n, unsigned protocol,
                          bool tag, unsigned options)
{
    struct packet packet = { .byte = { 2, 0, 0, 0, 0, (uint8_t)b, 2, 0, 0, 0, 0, (uint8_t)a } };
    uint8_t *at = packet.byte + 12;

    if (tag) {
        put_16(at, 0x8100);
        put_16(at + 2, 7);
        at += 4;
    }
    put_16(at, version == V4 ? 0x0800 : 0x86dd);
    at += 2;
    if (version == V4) {
        at[0] = (uint8_t)(0x45 + options / 4);
        at[9] = (uint8_t)protocol;
        put_16(at + 14, a);
        put_16(at + 18, b);
        at += 20 + options;
    } else {
        at[0] = 0x60;
        at[6] = (uint8_t)protocol;
        put_16(at + 22, a);
        put_16(at + 38, b);
        at += 40;
    }
    put_16(at, m);
    put_16(at + 2, n);
    packet.bytes = (unsigned)(at + 4 - packet.byte);
    return packet;
}

/* The frame in pieces of `piece` bytes, with `call` made of it: sent on a pair, or which pair it is for. */
static unsigned with(const struct packet *packet, unsigned bytes, unsigned piece, int sent_on)
{
    struct net_frame frame;
    uint8_t *copy[NET_SEGMENTS];
    unsigned count = 0, pair = 0;

    net_frame_init(&frame);
    for (unsigned at = 0; at < bytes; at += piece) {
        unsigned part = bytes - at < piece ? bytes - at : piece;

        copy[count] = malloc(part);
        memcpy(copy[count], packet->byte + at, part);
        assert_true(net_frame_add(&frame, copy[count++], part));
    }
    if (sent_on >= 0)
        vnet_steer_sent(&steer, &frame, (unsigned)sent_on);
    else
        pair = vnet_steer_receiver(&steer, &frame, PAIRS);
    while (count)
        free(copy[--count]);
    return pair;
}

static void sent(struct packet packet, unsigned pair)
{
    with(&packet, packet.bytes, 7, (int)pair);
}

static unsigned receiver(struct packet packet)
{
    return with(&packet, packet.bytes, packet.bytes, -1);
}

static int setup(void **state)
{
    (void)state;
    vnet_steer_reset(&steer);
    return 0;
}

static void an_answer_comes_where_the_flow_was_sent(void **state)
{
    static const struct {
        int version;
        unsigned protocol, options;
        bool tag;
    } kinds[] = { { V4, 6, 0, false },  { V4, 17, 0, false }, { V4, 6, 40, false }, { V4, 17, 12, true },
                  { V6, 17, 0, false }, { V6, 6, 0, true },   { V4, 1, 0, false },  { V6, 58, 0, false } };

    (void)state;
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++)
        for (unsigned n = 0; n < 100; n++) {
            unsigned pair = (n * 7 + k) % PAIRS, m = 40000 + n, protocol = kinds[k].protocol;

            sent(make(kinds[k].version, 1, m, 2, 80, protocol, kinds[k].tag, kinds[k].options), pair);
            assert_int_equal(
                receiver(make(kinds[k].version, 2, 80, 1, m, protocol, kinds[k].tag, kinds[k].options)),
                pair);
        }
}

/* How many of 256 flows, which differ in one thing, have an entry of their own. */
static unsigned apart(struct packet (*flow)(unsigned n))
{
    unsigned own = 0;

    vnet_steer_reset(&steer);
    for (unsigned n = 0; n < 256; n++)
        sent(flow(n), 0);
    for (unsigned n = 0; n < VNET_FLOWS; n++)
        own += steer.pair[n] != 0;
    return own;
}

static struct packet by_port(unsigned n)
{
    return make(V4, 1, 32768 + 2 * n, 2, 80, 6, false, 0);
}

static struct packet by_host(unsigned n)
{
    return make(V4, 1, 0, n, 0, 1, false, 0);
}

static struct packet by_host_6(unsigned n)
{
    return make(V6, 1, 5353, 2 + n, 5353, 17, false, 0);
}

static struct packet by_port_6(unsigned n)
{
    return make(V6, 1, 1000 + n, 2, 80, 6, true, 0);
}

static struct packet by_port_behind_options(unsigned n)
{
    return make(V4, 1, 1000 + n, 2, 80, 17, false, 40);
}

static struct packet by_address(unsigned n)
{
    struct packet packet = make(V4, 1, 0, n, 0, 0, false, 0);

    put_16(packet.byte + 12, 0x88b5); /* no IP */
    return packet;
}

static struct packet by_port_of_icmp(unsigned n) /* which has none */
{
    return make(V4, 1, n, 2, n * 3, 1, false, 0);
}

static struct packet by_port_of_fragment(unsigned n) /* which stands where others have data */
{
    struct packet packet = by_port(n);

    put_16(packet.byte + 14 + 6, n % 2 ? 0x2000 : 1 + n);
    return packet;
}

static void flows_are_told_apart(void **state)
{
    (void)state;
    assert_true(apart(by_port) > 100);
    assert_true(apart(by_host) > 100);
    assert_true(apart(by_host_6) > 100);
    assert_true(apart(by_port_6) > 100);
    assert_true(apart(by_port_behind_options) > 100);
    assert_true(apart(by_address) > 100);
    assert_int_equal(apart(by_port_of_icmp), 1);
    assert_int_equal(apart(by_port_of_fragment), 1);
}

/* Of whatever length, and with whatever in it, a frame has a pair; and nothing behind it is read. */
static void a_frame_may_say_anything(void **state)
{
    struct packet packet;

    (void)state;
    for (int version = V4; version <= V6; version++)
        for (unsigned tag = 0; tag < 2; tag++) {
            packet = make(version, 1, 2, 3, 4, 6, tag, 0);
            packet.byte[14 + 4 * tag] = 0x4f; /* the longest header there can be */
            for (unsigned bytes = 0; bytes <= packet.bytes; bytes++) {
                with(&packet, bytes, 64, (int)bytes);
                assert_int_equal(with(&packet, bytes, 64, -1), bytes);
            }
        }
    memset(packet.byte, 0xff, sizeof(packet.byte));
    assert_true(with(&packet, sizeof(packet.byte), 50, -1) < PAIRS);
}

static void there_may_be_fewer_pairs(void **state)
{
    struct packet packet = make(V4, 1, 2, 3, 4, 6, false, 0);
    struct net_frame frame;
    bool used[4] = { false };

    (void)state;
    net_frame_init(&frame);
    assert_true(net_frame_add(&frame, packet.byte, packet.bytes));
    vnet_steer_sent(&steer, &frame, 3);
    assert_int_equal(vnet_steer_receiver(&steer, &frame, 4), 3);
    for (unsigned pairs = 1; pairs < 4; pairs++)
        assert_true(vnet_steer_receiver(&steer, &frame, pairs) < pairs);
    assert_int_equal(vnet_steer_receiver(&steer, &frame, 4), 3);
    /* Those of which nothing was sent have all of them. */
    vnet_steer_reset(&steer);
    for (unsigned n = 0; n < 256; n++) {
        packet = by_port(n);
        used[vnet_steer_receiver(&steer, &frame, 4)] = true;
    }
    assert_true(used[0] && used[1] && used[2] && used[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_answer_comes_where_the_flow_was_sent, setup),
        cmocka_unit_test_setup(flows_are_told_apart, setup),
        cmocka_unit_test_setup(a_frame_may_say_anything, setup),
        cmocka_unit_test_setup(there_may_be_fewer_pairs, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
