#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "io/pcap.h"
#include "lib/errno.h"
#include "tests/unit/net_rig.h"

#define SECOND HOST_TSC_HZ

static struct network *net;
static struct rig_port *a, *b, *ten, *trunk;
static uint8_t frame[1514], file[2 * PCAP_RING];

static struct rig_port *add(unsigned number, int vlan, unsigned tagged)
{
    struct net_port_config config = rig_config(number);

    config.vlan = vlan;
    config.trunk[0] = (uint16_t)tagged;
    config.trunk_count = tagged != 0;
    return rig_add(net, &config, 0);
}

static int setup(void **state)
{
    (void)state;
    host_tsc = 77 * SECOND;
    net = rig_network(1500, 0);
    a = add(1, 0, 0);
    b = add(2, 0, 0);
    ten = add(3, 10, 0);
    trunk = add(4, -1, 10);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pcap_stop();
    free(a);
    free(b);
    free(ten);
    free(trunk);
    return 0;
}

static void send(struct rig_port *from, unsigned number, unsigned to, size_t bytes)
{
    memset(frame, 0xaa, sizeof(frame));
    memcpy(frame, (uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)to, 2, 0, 0, 0, 0, (uint8_t)number, 0x88, 0xb5 }, 14);
    if (!to)
        memset(frame, 0xff, 6);
    assert_int_equal(rig_send(from, frame, bytes), 0);
}

static size_t take_all(size_t piece)
{
    size_t bytes = 0, part;

    while ((part = pcap_take(file + bytes, piece)) != 0)
        bytes += part;
    return bytes;
}

static uint32_t u32(size_t at)
{
    uint32_t value;

    memcpy(&value, file + at, 4);
    return value;
}

static void the_file_is_as_tcpdump_wants_it(void **state)
{
    (void)state;
    assert_int_equal(pcap_start(net, NULL, 0, 100, 1700000000), 0);
    assert_int_equal(pcap_start(net, NULL, 0, 100, 1700000000), -EBUSY);
    host_tsc += 5 * SECOND / 2;
    send(a, 1, 2, 64);
    send(b, 2, 1, 500);
    assert_int_equal(take_all(7), 24 + 16 + 64 + 16 + 100);
    assert_memory_equal(file, "\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\x64\0\0\0\1\0\0\0", 24);
    assert_int_equal(u32(24), 1700000002);
    assert_int_equal(u32(28), 500000);
    assert_int_equal(u32(32), 64);
    assert_int_equal(u32(36), 64);
    assert_int_equal(u32(104 + 8), 100);
    assert_int_equal(u32(104 + 12), 500);
    assert_memory_equal(file + 120, frame, 100);
    assert_false(pcap_done());
    struct pcap_counts counts = pcap_stop();
    assert_int_equal(counts.frames, 2);
    assert_int_equal(counts.lost, 0);
    send(a, 1, 2, 64);
    assert_int_equal(take_all(100), 0);
}

static void a_count_ends_it(void **state)
{
    (void)state;
    assert_int_equal(pcap_start(net, NULL, 3, 1518, 0), 0);
    for (unsigned i = 0; i < 5; i++)
        send(a, 1, 2, 64);
    assert_false(pcap_done());
    assert_int_equal(take_all(1000), 24 + 3 * 80);
    assert_true(pcap_done());
    assert_int_equal(pcap_stop().frames, 3);
}

static void a_broadcast_is_there_once_and_tags_are_shown(void **state)
{
    (void)state;
    assert_int_equal(pcap_start(net, NULL, 0, 1518, 0), 0);
    send(a, 1, 0, 64);
    assert_int_equal(take_all(1000), 24 + 80);
    send(ten, 3, 4, 64);
    assert_int_equal(take_all(1000), 84);
    assert_int_equal(u32(8), 68);
    assert_memory_equal(file + 16, frame, 12);
    assert_memory_equal(file + 28, "\x81\x00\x00\x0a", 4);
    assert_memory_equal(file + 32, frame + 12, 52);
}

static void a_port_shows_what_it_sees(void **state)
{
    (void)state;
    assert_int_equal(pcap_start(net, ten->port, 0, 1518, 0), 0);
    send(a, 1, 0, 64);
    send(a, 1, 2, 64);
    assert_int_equal(take_all(1000), 24);
    send(ten, 3, 4, 64);
    assert_int_equal(take_all(1000), 80);
    assert_memory_equal(file + 16, frame, 64);
    pcap_stop();
    assert_int_equal(pcap_start(net, trunk->port, 0, 1518, 0), 0);
    send(ten, 3, 4, 64);
    assert_int_equal(take_all(1000), 24 + 84);
    assert_memory_equal(file + 24 + 28, "\x81\x00\x00\x0a", 4);
    assert_memory_equal(file + 24 + 32, frame + 12, 52);
}

/* A reader that is too slow gets whole records, and the number of those that are missing. */
static void the_ring_is_bounded(void **state)
{
    size_t bytes, at = 24;
    unsigned records = 0;
    struct pcap_counts counts;

    (void)state;
    assert_int_equal(pcap_start(net, NULL, 0, 1518, 0), 0);
    for (unsigned i = 0; i < 400; i++)
        send(a, 1, 2, 1000);
    assert_int_equal(pcap_take(file, 100000), 100000);
    for (unsigned i = 0; i < 400; i++)
        send(a, 1, 2, 1001);
    bytes = 100000 + pcap_take(file + 100000, PCAP_RING);
    assert_true(bytes <= 100000 + PCAP_RING);
    for (; at < bytes; records++) {
        assert_int_equal(u32(at + 8), records < 257 ? 1000 : 1001);
        assert_memory_equal(file + at + 16, frame, 1000);
        at += 16 + u32(at + 8);
    }
    assert_int_equal(at, bytes);
    counts = pcap_stop();
    assert_int_equal(counts.frames, records);
    assert_int_equal(counts.lost, 800 - records);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_file_is_as_tcpdump_wants_it),
        TEST(a_count_ends_it),
        TEST(a_broadcast_is_there_once_and_tags_are_shown),
        TEST(a_port_shows_what_it_sees),
        TEST(the_ring_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
