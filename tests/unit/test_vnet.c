/* The network device between a driver's rings and a port of a network, whose other port keeps what it gets.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vvirtio_without.h"
#include "tests/unit/vnet_rig.h"

static const struct {
    uint64_t features;
} rings[] = { { 0 },
              { VIRTIO_F_PACKED },
              { VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT },
              { VIRTIO_F_EVENT_IDX | VIRTIO_F_PACKED } };

static int setup(void **state)
{
    (void)state;
    begin(0, 1);
    return 0;
}

static void it_says_what_it_is(void **state)
{
    uint8_t mac[6];

    (void)state;
    assert_int_equal(config_get(0), 0x10411af4);
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)get(0x2000 + i, 1);
    assert_memory_equal(mac, port->config.mac, 6);
    assert_int_equal(get(0x2006, 2), VIRTIO_NET_S_LINK_UP);
    assert_int_equal(get(0x200a, 2), 1500);
    assert_true((rig_offered() & ALL) == ALL);
    assert_false(port->open);
    rig_start(0, VNET_QUEUES(1), 16);
    assert_true(port->open);
    assert_int_equal(port->takes, 0);
}

static void frames_are_sent(void **state)
{
    static const uint32_t pieces[] = { 2000, 5, 12, 13, 300 };
    uint8_t *at = gmem_ptr(&mem, gpa(DATA), 1);

    (void)state;
    for (unsigned r = 0; r < ARRAY_SIZE(rings); r++) {
        rig_start(rings[r].features, VNET_QUEUES(1), 64);
        for (unsigned i = 0; i < ARRAY_SIZE(pieces); i++) {
            uint32_t bytes = make(at, 1, 2, 100 + i);
            const struct rig_frame *frame;

            peer->received = 0;
            send_pieces(bytes, pieces[i]);
            assert_int_equal(peer->received, 1);
            frame = &peer->frame[0];
            assert_int_equal(frame->bytes, bytes - HEADER);
            assert_memory_equal(frame->data, at + HEADER, frame->bytes);
            /* In a split ring with the event index, for the one that is asked for: the first. */
            assert_int_equal(came(1 + VNET_SEND(0)), i == 0 || r != 2);
        }
    }
}

/* A checksum and a segmentation that the peer takes go as they are; what makes no frame is dropped alone. */
static void offloads_pass(void **state)
{
    uint8_t *at = gmem_ptr(&mem, gpa(DATA), 1);
    struct virtio_net_hdr *header = (struct virtio_net_hdr *)(void *)at;

    (void)state;
    rig_start(VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4, VNET_QUEUES(1), 64);
    make(at, 1, 2, 20000);
    *header = (struct virtio_net_hdr){ NET_NEEDS_CSUM | NET_DATA_VALID, NET_GSO_TCP4, 54, 1400, 34, 16, 0 };
    send_pieces(HEADER + 20014, 4096);
    assert_int_equal(peer->received, 1);
    assert_int_equal(peer->frame[0].bytes, 20014);
    assert_int_equal(peer->frame[0].offload.flags, NET_NEEDS_CSUM);
    assert_int_equal(peer->frame[0].offload.gso_type, NET_GSO_TCP4);
    assert_int_equal(peer->frame[0].offload.gso_size, 1400);
    assert_int_equal(peer->frame[0].offload.csum_start, 34);
    assert_int_equal(peer->frame[0].offload.csum_offset, 16);
    send_pieces(HEADER - 1, 100);
    send_pieces(HEADER, 100);
    assert_int_equal(peer->received, 1);
    send_pieces(make(at, 9, 2, 64), 2000); /* somebody else's address */
    assert_int_equal(peer->received, 1);
    assert_int_equal(port->counts.drop[NET_DROP_MAC], 1);
    send_pieces(make(at, 1, 2, 64), 2000);
    assert_int_equal(peer->received, 2);
    assert_int_equal(status(), 0xf);
}

static void frames_are_received(void **state)
{
    uint8_t *at = gmem_ptr(&mem, gpa(DATA), 1), expected[2000];
    uint16_t id;
    uint32_t length;

    (void)state;
    for (unsigned r = 0; r < ARRAY_SIZE(rings); r++) {
        rig_start(rings[r].features, VNET_QUEUES(1), 16);
        assert_false(from_peer(100));
        give(DATA, 1600);
        memset(at, 0xee, 2000);
        assert_true(from_peer(100));
        assert_true(came(1 + VNET_RECEIVE(0)));
        assert_true(virtq_get(&q[VNET_RECEIVE(0)], &id, &length));
        assert_int_equal(length, HEADER + 114);
        make(expected, 2, 1, 100);
        expected[10] = 1; /* num_buffers */
        assert_memory_equal(at, expected, HEADER + 114);
        assert_int_equal(at[HEADER + 114], 0xee);
    }
}

/* One too small is left for a frame that fits: without mergeable buffers, none is made of two. */
static void small_buffers_wait(void **state)
{
    uint16_t id;
    uint32_t length;

    (void)state;
    rig_start(0, VNET_QUEUES(1), 16);
    give(DATA, 200);
    give(DATA + 0x1000, 200);
    assert_false(from_peer(300));
    assert_int_equal(port->counts.drop[NET_DROP_ROOM], 1);
    assert_false(virtq_get(&q[VNET_RECEIVE(0)], &id, &length));
    assert_true(from_peer(100));
    assert_true(from_peer(100));
    assert_false(from_peer(100));
    assert_true(virtq_get(&q[VNET_RECEIVE(0)], &id, &length) && virtq_get(&q[VNET_RECEIVE(0)], &id, &length));
    assert_int_equal(status(), 0xf);
}

static void buffers_are_merged(void **state)
{
    uint8_t *at = gmem_ptr(&mem, gpa(DATA), 1), expected[2000];
    uint32_t length[5];
    uint16_t id;

    (void)state;
    for (unsigned r = 0; r < ARRAY_SIZE(rings); r++) {
        rig_start(rings[r].features | VIRTIO_NET_F_MRG_RXBUF, VNET_QUEUES(1), 16);
        for (unsigned i = 0; i < 4; i++)
            give(DATA + i * 300, 300);
        assert_false(from_peer(1400)); /* there is not so much room: nothing is taken */
        assert_true(from_peer(700));
        for (unsigned i = 0; i < 3; i++)
            assert_true(virtq_get(&q[VNET_RECEIVE(0)], &id, &length[i]));
        assert_false(virtq_get(&q[VNET_RECEIVE(0)], &id, &length[3]));
        assert_int_equal(length[0] + length[1] + length[2], HEADER + 714);
        assert_int_equal(length[1], 300);
        make(expected, 2, 1, 700);
        expected[10] = 3;
        assert_memory_equal(at, expected, HEADER + 714);
        assert_true(from_peer(200));
        assert_false(from_peer(200));
    }
}

/* The first of the buffers that were taken for a frame is not held either. */
static void nonsense_in_the_second_buffer_breaks_the_ring(void **state)
{
    static struct vnet_state saved;

    (void)state;
    for (unsigned r = 0; r < ARRAY_SIZE(rings); r++) {
        rig_start(rings[r].features | VIRTIO_NET_F_MRG_RXBUF, VNET_QUEUES(1), 16);
        give(DATA, 300);
        give(UINT64_MAX - 4096, 300);
        assert_false(from_peer(400));
        assert_int_equal(status(), 0x4f);
        vnet_save(&vnet, &saved);
        assert_true(saved.virtio.queue[VNET_RECEIVE(0)].ring.broken);
        assert_int_equal(vnet_check(&vnet, &saved), 0);
        assert_true(vvirtio_is_idle(&vnet.virtio));
    }
}

static void commands_are_obeyed(void **state)
{
    uint64_t offloads = VIRTIO_NET_F_GUEST_CSUM;
    uint8_t data[40] = { 0 };

    (void)state;
    rig_start(ALL | VIRTIO_F_EVENT_IDX, VNET_QUEUES(1), 16);
    assert_int_equal(port->takes, NET_TAKES_CSUM | NET_TAKES_TCP4);
    assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, data, 1), VIRTIO_NET_OK);
    assert_int_equal(command(VIRTIO_NET_CTRL_RX, 6, data, 1), VIRTIO_NET_ERR);
    assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, data, 2), VIRTIO_NET_ERR);
    assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, 40), VIRTIO_NET_OK);
    assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 1, data, 6),
                     VIRTIO_NET_ERR); /* the address is not the guest's to change */
    assert_int_equal(command(VIRTIO_NET_CTRL_OFFLOADS, 0, &offloads, 8), VIRTIO_NET_OK);
    assert_int_equal(port->takes, NET_TAKES_CSUM);
    offloads = VIRTIO_NET_F_GUEST_UFO; /* was not negotiated */
    assert_int_equal(command(VIRTIO_NET_CTRL_OFFLOADS, 0, &offloads, 8), VIRTIO_NET_ERR);
    assert_int_equal(command(VIRTIO_NET_CTRL_OFFLOADS, 0, data, 40), VIRTIO_NET_ERR);
    assert_int_equal(port->takes, NET_TAKES_CSUM);
}

/* What the rate holds back stays in the ring, and goes when its time has come. */
static void a_rate_holds_frames_back(void **state)
{
    uint32_t bytes, length;
    uint8_t *at;
    uint16_t id;
    unsigned sent;

    teardown(state);
    begin(1000000, 1); /* 125 000 bytes a second, 625 at once */
    rig_start(VIRTIO_F_EVENT_IDX, VNET_QUEUES(1), 16);
    at = virtq_at(&q[0], DATA);
    bytes = make(at, 1, 2, 1000);
    for (unsigned i = 0; i < 5; i++)
        virtq_add(&q[VNET_SEND(0)], &(struct virtq_buffer){ DATA, bytes, false }, 1);
    kick(VNET_SEND(0));
    sent = peer->received;
    assert_in_range(sent, 1, 3);
    assert_true(timer_queue_next(&board.queue) != TIMER_NEVER);
    advance(&board, 100000000);
    assert_int_equal(peer->received, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_true(virtq_get(&q[VNET_SEND(0)], &id, &length));
    assert_true(vvirtio_is_idle(&vnet.virtio));
}

static void a_cable_can_be_pulled(void **state)
{
    uint8_t *at = gmem_ptr(&mem, gpa(DATA), 1);

    (void)state;
    rig_start(ALL, VNET_QUEUES(1), 16);
    give(DATA + 0x4000, 1600);
    vnet_set_link(&vnet, false);
    assert_true(came(0));
    assert_int_equal(get(0x2006, 2), 0);
    send_pieces(make(at, 1, 2, 64), 2000);
    assert_int_equal(peer->received, 0);
    assert_false(from_peer(64));
    vnet_set_link(&vnet, true);
    send_pieces(make(at, 1, 2, 64), 2000);
    assert_int_equal(peer->received, 1);
    assert_true(from_peer(64));
}

static void a_reset_closes_the_port(void **state)
{
    (void)state;
    rig_start(ALL, VNET_QUEUES(1), 16);
    give(DATA, 1600);
    put(VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(status(), 0);
    assert_false(port->open);
    assert_false(from_peer(64));
    rig_start(ALL, VNET_QUEUES(1), 16);
    give(DATA, 1600);
    vnet_reset(&vnet);
    assert_false(port->open);
    assert_false(from_peer(64));
    assert_true(vvirtio_is_idle(&vnet.virtio));
}

static void state_is_kept(void **state)
{
    static struct vnet_state saved, after;
    uint64_t offloads = VIRTIO_NET_F_GUEST_CSUM;

    (void)state;
    rig_start(ALL, VNET_QUEUES(1), 16);
    give(DATA, 1600);
    assert_int_equal(command(VIRTIO_NET_CTRL_OFFLOADS, 0, &offloads, 8), VIRTIO_NET_OK);
    vnet_save(&vnet, &saved);
    assert_int_equal(vnet_check(&vnet, &saved), 0);
    vnet_reset(&vnet);
    vnet_load(&vnet, &saved);
    vnet_save(&vnet, &after);
    assert_memory_equal(&saved, &after, sizeof(saved));
    assert_int_equal(port->takes, NET_TAKES_CSUM);
    assert_true(from_peer(64));
    saved.offloads = VIRTIO_NET_F_GUEST_UFO;
    assert_int_equal(vnet_check(&vnet, &saved), -EINVAL);
}

/* The last test: what is taken away stays so. A feature goes with those that need it. */
static void features_can_be_withheld(void **state)
{
    char names[512];

    (void)state;
    assert_int_equal(vvirtio_without("net"), -ENOENT);
    assert_true(rig_offered() & VIRTIO_NET_F_HOST_TSO4);
    teardown(NULL);
    assert_int_equal(vvirtio_without("net-csum"), 0);
    begin(0, 1);
    assert_false(rig_offered() & (VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_UFO));
    assert_int_equal(rig_offered() & (VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_F_PACKED),
                     VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_F_PACKED);
    teardown(NULL);
    begin(0, VNET_MAX_PAIRS);
    assert_true(rig_offered() & VIRTIO_NET_F_MQ);
    teardown(NULL);
    assert_int_equal(vvirtio_without("net-ctrl-vq"), 0);
    begin(0, VNET_MAX_PAIRS);
    assert_false(rig_offered() & (VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_MQ));
    teardown(NULL);
    assert_true(strlen(vvirtio_without_names) < sizeof(names));
    strcpy(names, vvirtio_without_names);
    for (char *name = strtok(names, ", "); name; name = strtok(NULL, ", "))
        assert_int_equal(vvirtio_without(name), 0);
    begin(0, VNET_MAX_PAIRS);
    assert_int_equal(rig_offered(), VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MAC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_what_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_are_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(offloads_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_are_received, setup, teardown),
        cmocka_unit_test_setup_teardown(small_buffers_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(buffers_are_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_in_the_second_buffer_breaks_the_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(commands_are_obeyed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_holds_frames_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cable_can_be_pulled, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_closes_the_port, setup, teardown),
        cmocka_unit_test_setup_teardown(state_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(features_can_be_withheld, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
