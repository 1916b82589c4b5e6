/* The rings of the e1000 driver. The test is the card: it fills receive descriptors and looks at what is
 * sent. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "drivers/e1000.h"
#include "tests/unit/net_rig.h"

static uint32_t registers[E1000_SIZE / 4];
static struct e1000_rx_descriptor rx[E1000_RING];
static struct e1000_tx_descriptor tx[E1000_RING];
static uint8_t rx_buffers[E1000_RING * E1000_BUFFER], tx_buffers[E1000_RING * E1000_BUFFER];
static struct e1000 card;
static struct rig_port *vm;
static uint8_t text[9014];

static void make(unsigned mtu)
{
    struct network *network = rig_network(mtu, 0);
    struct net_port_config config = { .name = "pci:00:03.0", .uplink = true, .many_macs = true };
    struct net_port_config own = rig_config(1);

    memset(registers, 0, sizeof(registers));
    memset(rx, 0xff, sizeof(rx));
    memset(tx, 0xff, sizeof(tx));
    card = (struct e1000){ .registers = (uint8_t *)registers,
                           .rx = rx,
                           .tx = tx,
                           .rx_buffers = rx_buffers,
                           .tx_buffers = tx_buffers,
                           .nic = { .link = true } };
    e1000_ring_init(&card, 0x100000, 0x200000);
    vm = rig_add(network, &own, 0);
    assert_int_equal(net_add_port(network, &config, &card.nic.port), 0);
    net_open(card.nic.port, e1000_transmit, &card.nic, 0);
}

static int setup(void **state)
{
    (void)state;
    make(1500);
    return 0;
}

static int setup_long(void **state)
{
    (void)state;
    make(9000);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(vm);
    return 0;
}

/* The card puts a frame (or a part of one) into descriptor `at`. */
static void arrive(unsigned at, size_t bytes, unsigned status, unsigned errors)
{
    uint8_t *buffer = rx_buffers + at % E1000_RING * E1000_BUFFER;

    assert_true(rx[at % E1000_RING].status == 0);
    assert_true(rx[at % E1000_RING].address == 0x100000 + at % E1000_RING * E1000_BUFFER);
    memset(buffer, (int)at, E1000_BUFFER);
    memcpy(buffer, "\2\0\0\0\0\1\2\0\0\0\0\x99\x88\xb5", 14);
    rx[at % E1000_RING].length = (uint16_t)bytes;
    rx[at % E1000_RING].errors = (uint8_t)errors;
    rx[at % E1000_RING].status = (uint8_t)status;
}

static uint32_t reg(unsigned at)
{
    return registers[at / 4];
}

static void received_frames_reach_the_network(void **state)
{
    (void)state;
    assert_int_equal(e1000_receive(&card, 64), 0);
    assert_int_equal(reg(E1000_RDT), 0); /* not touched */
    for (unsigned i = 0; i < 1000; i++) {
        arrive(i, 60 + i, 3, 0);
        assert_int_equal(e1000_receive(&card, 64), 1);
        assert_int_equal(vm->received, i + 1);
        assert_int_equal(vm->frame[i % RIG_KEEP].bytes, 60 + i);
        assert_int_equal(vm->frame[i % RIG_KEEP].data[59 + i], i & 0xff);
        assert_int_equal(reg(E1000_RDT), i % E1000_RING); /* one is always the driver's */
    }
    assert_int_equal(card.nic.port->counts.sent, 1000);
}

static void a_batch_is_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        arrive(i, 60, 3, 0);
    assert_int_equal(e1000_receive(&card, 64), 64);
    assert_int_equal(vm->received, 64);
    assert_int_equal(reg(E1000_RDT), 63);
    assert_int_equal(e1000_receive(&card, 64), 36);
    assert_int_equal(e1000_receive(&card, 64), 0);
}

static void bad_frames_are_not_taken(void **state)
{
    (void)state;
    arrive(0, 60, 3, 0x80); /* an error */
    arrive(1, 2048, 1, 0);  /* longer than is allowed: two parts, of which the second looks like a frame */
    arrive(2, 60, 3, 0);
    arrive(3, 2049, 3, 0); /* what cannot be */
    arrive(4, 60, 3, 0);
    assert_int_equal(e1000_receive(&card, 64), 5);
    assert_int_equal(vm->received, 1);
    assert_int_equal(vm->frame[0].data[59], 4);
    assert_int_equal(card.rx_bad, 2);
    assert_int_equal(card.nic.port->counts.drop[NET_DROP_LONG], 1);
    arrive(5, 5, 3, 0);
    assert_int_equal(e1000_receive(&card, 64), 1);
    assert_int_equal(card.nic.port->counts.drop[NET_DROP_SHORT], 1);
    for (unsigned i = 6; i < 6 + 11; i++) /* longer than any frame can be, twice */
        arrive(i, 2048, i == 6 + 10 ? 3 : 1, 0);
    assert_int_equal(e1000_receive(&card, 64), 11);
    for (unsigned i = 17; i < 17 + 8; i++)
        arrive(i, 2048, 1, 0);
    assert_int_equal(e1000_receive(&card, 64), 8);
    arrive(25, 60, 3, 0); /* its end */
    arrive(26, 60, 3, 0);
    assert_int_equal(e1000_receive(&card, 64), 2);
    assert_int_equal(card.rx_bad, 6);
    assert_int_equal(vm->received, 2);
    assert_int_equal(vm->frame[1].data[59], 26);
}

static void long_frames_are_received(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1000; i += 5) {
        const uint8_t *data = vm->frame[i / 5 % RIG_KEEP].data;

        for (unsigned k = 0; k < 4; k++)
            arrive(i + k, 2048, 1, 0x80);              /* errors are the last one's to tell */
        assert_int_equal(e1000_receive(&card, 64), 0); /* it is not all there yet */
        arrive(i + 4, 9014 - 4 * 2048, 3, 0);
        assert_int_equal(e1000_receive(&card, 64), 5);
        assert_int_equal(vm->received, i / 5 + 1);
        assert_int_equal(vm->frame[i / 5 % RIG_KEEP].bytes, 9014);
        assert_true(data[2047] == (uint8_t)i && data[9013] == (uint8_t)(i + 4));
    }
    assert_int_equal(card.rx_bad, 0);
}

static void send(size_t bytes, unsigned fill)
{
    memset(text, (int)fill, sizeof(text));
    memcpy(text, "\2\0\0\0\0\x99\2\0\0\0\0\1\x88\xb5", 14);
    assert_int_equal(rig_send_facts(vm, text, bytes, 200, NULL), 0);
}

static void frames_are_sent(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        const struct e1000_tx_descriptor *descriptor = &tx[i % E1000_RING];
        const uint8_t *buffer = tx_buffers + i % E1000_RING * E1000_BUFFER;

        send(200 + i, i);
        assert_int_equal(reg(E1000_TDT), (i + 1) % E1000_RING);
        assert_int_equal(descriptor->address, 0x200000 + i % E1000_RING * E1000_BUFFER);
        assert_int_equal(descriptor->length, 200 + i);
        assert_int_equal(descriptor->command, 0x0b);
        assert_int_equal(descriptor->status, 0);
        assert_memory_equal(buffer, text, 200 + i);
        tx[i % E1000_RING].status = E1000_DONE;
    }
}

static void long_frames_are_sent(void **state)
{
    static const unsigned sizes[] = { 2048, 2049, 4096, 9014 };

    (void)state;
    for (unsigned i = 0, at = 0; i < 1000; i++) {
        unsigned size = sizes[i % 4], left = size;

        send(size, i);
        for (const uint8_t *from = text; left; at++) {
            struct e1000_tx_descriptor *descriptor = &tx[at % E1000_RING];
            unsigned part = left < E1000_BUFFER ? left : E1000_BUFFER;

            left -= part;
            assert_int_equal(descriptor->length, part);
            assert_int_equal(descriptor->command, left ? 0x0a : 0x0b);
            assert_memory_equal(tx_buffers + at % E1000_RING * E1000_BUFFER, from, part);
            descriptor->status = E1000_DONE;
            from += part;
        }
        assert_int_equal(reg(E1000_TDT), at % E1000_RING);
    }
    for (unsigned i = 0; i < 52; i++)
        send(9014, 1);
    assert_int_equal(card.nic.port->counts.drop[NET_DROP_ROOM], 1); /* 51 times 5 */
}

static void short_frames_are_padded_with_zeroes(void **state)
{
    (void)state;
    memset(tx_buffers, 0xcc, E1000_BUFFER);
    send(20, 7);
    assert_int_equal(tx[0].length, 60);
    assert_memory_equal(tx_buffers, text, 20);
    for (unsigned i = 20; i < 60; i++)
        assert_int_equal(tx_buffers[i], 0);
}

static void a_full_ring_or_a_missing_cable_takes_nothing(void **state)
{
    const uint64_t *dropped = &card.nic.port->counts.drop[NET_DROP_ROOM];

    (void)state;
    for (unsigned i = 0; i < E1000_RING + 10; i++)
        send(100, 1);
    assert_int_equal(reg(E1000_TDT), E1000_RING - 1);
    assert_int_equal(*dropped, 11);
    tx[0].status = tx[1].status = E1000_DONE; /* the card got so far */
    for (unsigned i = 0; i < 3; i++)
        send(100, 2);
    assert_int_equal(*dropped, 12);
    assert_int_equal(reg(E1000_TDT), 1);
    for (unsigned i = 0; i < E1000_RING; i++)
        tx[i].status = E1000_DONE;
    card.nic.link = false;
    send(100, 3);
    assert_int_equal(*dropped, 13);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(received_frames_reach_the_network),
        TEST(a_batch_is_bounded),
        TEST(bad_frames_are_not_taken),
        TEST(frames_are_sent),
        cmocka_unit_test_setup_teardown(long_frames_are_received, setup_long, teardown),
        cmocka_unit_test_setup_teardown(long_frames_are_sent, setup_long, teardown),
        TEST(short_frames_are_padded_with_zeroes),
        TEST(a_full_ring_or_a_missing_cable_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
