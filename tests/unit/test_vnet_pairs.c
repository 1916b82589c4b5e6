/* The network device with several pairs of queues. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vvirtio_without.h"
#include "tests/unit/vnet_rig.h"

#define PAIRS   4u
#define MQ      (VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_VQ)
#define BUFFERS 8u /* of each receiving queue */
#define NOWHERE PAIRS

static int setup(void **state)
{
    (void)state;
    begin(0, PAIRS);
    control = VNET_CONTROL(PAIRS);
    return 0;
}

/* IPv4 and UDP between port `number` of one of the two and port 9 of the other. */
static uint32_t make_flow(uint8_t *at, bool from_us, unsigned number)
{
    uint32_t bytes = make(at, from_us ? 1 : 2, from_us ? 2 : 1, 60);
    uint8_t *ip = at + HEADER + 14, *port_at = ip + 20 + (from_us ? 0 : 2);

    memset(ip - 2, 0, 32);
    ip[-2] = 8;
    ip[0] = 0x45;
    ip[9] = 17;
    ip[15] = from_us ? 1 : 2;
    ip[19] = from_us ? 2 : 1;
    port_at[0] = (uint8_t)(number >> 8);
    port_at[1] = (uint8_t)number;
    ip[20 + (from_us ? 3 : 1)] = 9;
    return bytes;
}

static void fill_up(unsigned pair)
{
    for (unsigned i = 0; i < BUFFERS; i++)
        give_to(pair, DATA + 0x10000 + 0x1000 * (pair * BUFFERS + i), 1600);
}

static uint8_t set_pairs(unsigned pairs)
{
    return command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_PAIRS_SET, &(uint16_t){ (uint16_t)pairs }, 2);
}

/* Whether the driver need not tell of buffers in a split ring (2.7.10). */
static bool is_muted(unsigned queue)
{
    return *(const uint16_t *)(const void *)gmem_ptr(&mem, gpa(q[queue].device), 2) & VIRTQ_NO_NOTIFY;
}

static void start(uint64_t features, unsigned pairs)
{
    rig_start(features, VNET_QUEUES(PAIRS), 16);
    for (unsigned i = 0; i < PAIRS; i++)
        fill_up(i);
    if (pairs > 1)
        assert_int_equal(set_pairs(pairs), VIRTIO_NET_OK);
}

/* The peer sends a frame of the flow. The pair that has it; its interrupt has come, and its buffer is there
 * anew. */
static unsigned receiver(unsigned flow)
{
    uint8_t frame[HEADER + 14 + 60];
    unsigned pair = NOWHERE;
    uint32_t length;
    uint16_t id;

    make_flow(frame, false, flow);
    assert_int_equal(rig_send(peer, frame + HEADER, sizeof(frame) - HEADER), 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        bool interrupt = came(1 + VNET_RECEIVE(i));

        assert_int_equal(virtq_get(&q[VNET_RECEIVE(i)], &id, &length), interrupt);
        if (!interrupt)
            continue;
        assert_int_equal(pair, NOWHERE);
        assert_int_equal(length, sizeof(frame));
        pair = i;
        give_to(i, DATA + 0x10000 + 0x1000 * pair * BUFFERS, 1600);
    }
    return pair;
}

static void send_flow(unsigned pair, unsigned flow)
{
    send_pieces_on(pair, make_flow(gmem_ptr(&mem, gpa(DATA), 1), true, flow), 2000);
    assert_true(came(1 + VNET_SEND(pair)));
}

static void reset_queue(unsigned queue)
{
    put(VIRTIO_COMMON_QUEUE_SELECT, 2, queue);
    put(VIRTIO_COMMON_QUEUE_RESET, 2, 1);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_RESET, 2), 0);
}

static void it_says_how_many(void **state)
{
    (void)state;
    assert_int_equal(get(0x2008, 2), PAIRS);
    assert_int_equal(get(VIRTIO_COMMON_NUM_QUEUES, 2), 2 * PAIRS + 1);
    assert_true(rig_offered() & VIRTIO_NET_F_MQ);
    teardown(state);
    begin(0, 1);
    assert_int_equal(get(0x2008, 2), 1);
    assert_int_equal(get(VIRTIO_COMMON_NUM_QUEUES, 2), 3);
    assert_false(rig_offered() & VIRTIO_NET_F_MQ);
}

/* All by the first pair, until the driver says that it has more. Then what was not sent has any. */
static void the_driver_enables_pairs(void **state)
{
    bool used[PAIRS] = { false };

    (void)state;
    start(MQ, 1);
    for (unsigned pair = 0; pair < PAIRS; pair++)
        assert_true(is_muted(VNET_RECEIVE(pair)) && !is_muted(VNET_SEND(pair)));
    send_flow(3, 5);
    for (unsigned flow = 0; flow < 16; flow++)
        assert_int_equal(receiver(flow), 0);
    for (unsigned pairs = PAIRS; pairs > 0; pairs--) {
        assert_int_equal(set_pairs(pairs), VIRTIO_NET_OK);
        for (unsigned flow = 0; flow < 64; flow++) {
            unsigned pair = receiver(flow);

            assert_in_range(pair, 0, pairs - 1);
            used[pair] = true;
        }
        for (unsigned i = 0; i < pairs; i++)
            assert_true(used[i]);
        memset(used, 0, sizeof(used));
    }
    assert_int_equal(set_pairs(0), VIRTIO_NET_ERR);
    assert_int_equal(set_pairs(PAIRS + 1), VIRTIO_NET_ERR);
    assert_int_equal(set_pairs(0x8000), VIRTIO_NET_ERR);
    assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, &(uint32_t){ 2 }, 1), VIRTIO_NET_ERR);
    assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, &(uint32_t){ 2 }, 4), VIRTIO_NET_ERR);
    assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 1, &(uint16_t){ 2 }, 2),
                     VIRTIO_NET_ERR); /* RSS: not offered */
    assert_int_equal(vnet.pairs, 1);
}

static void a_flow_is_received_where_it_was_sent(void **state)
{
    static const uint64_t rings[] = { 0, VIRTIO_F_PACKED };

    (void)state;
    for (unsigned r = 0; r < ARRAY_SIZE(rings); r++) {
        start(MQ | rings[r], PAIRS);
        for (unsigned flow = 100; flow < 120; flow++)
            for (unsigned i = 0; i < PAIRS; i++) {
                send_flow((flow + i) % PAIRS, flow);
                assert_int_equal(receiver(flow), (flow + i) % PAIRS);
            }
        send_flow(3, 7);
        assert_int_equal(set_pairs(3), VIRTIO_NET_OK);
        assert_in_range(receiver(7), 0, 2);
        send_flow(2, 7);
        assert_int_equal(receiver(7), 2);
    }
}

/* 5.1.2: behind all pairs, if the driver knows that there are several. */
static void the_control_queue_has_its_place(void **state)
{
    struct virtq_buffer b[2] = { { DATA, 3, false }, { DATA + 64, 1, true } };
    uint8_t *at = gmem_ptr(&mem, gpa(DATA), 1);
    uint32_t length;
    uint16_t id;

    (void)state;
    rig_start(VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX, VNET_QUEUES(PAIRS), 16);
    for (unsigned n = 3; n < VNET_QUEUES(PAIRS); n++) {
        memset(at, 0, 3);
        at[64] = 0xaa;
        virtq_add(&q[n], b, 2);
        kick(n);
        assert_false(virtq_get(&q[n], &id, &length));
        assert_int_equal(at[64], 0xaa);
    }
    control = VNET_CONTROL(1);
    assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, at, 1), VIRTIO_NET_OK);
    assert_int_equal(set_pairs(1), VIRTIO_NET_ERR);
    assert_true(came(1 + VNET_CONTROL(1)));
    fill_up(0);
    for (unsigned flow = 0; flow < 16; flow++)
        assert_int_equal(receiver(flow), 0);
    assert_int_equal(status(), 0xf);
    control = VNET_CONTROL(PAIRS);
    start(MQ, PAIRS);
}

/* What the rate holds back of each is sent when its time has come; not, if its queue is reset meanwhile. */
static void each_pair_has_its_timer(void **state)
{
    uint32_t bytes, length;
    uint16_t id;

    teardown(state);
    begin(1000000, PAIRS); /* 125 000 bytes a second, 625 at once */
    start(MQ | VIRTIO_F_RING_RESET, PAIRS);
    bytes = make(gmem_ptr(&mem, gpa(DATA), 1), 1, 2, 1000);
    for (unsigned pair = 0; pair < PAIRS; pair++) {
        for (unsigned i = 0; i < 3; i++)
            virtq_add(&q[VNET_SEND(pair)], &(struct virtq_buffer){ DATA, bytes, false }, 1);
        kick(VNET_SEND(pair));
        assert_true(timer_armed(&vnet.sender[pair].again));
    }
    assert_in_range(peer->received, 1, 3);
    reset_queue(VNET_SEND(2));
    advance(&board, 1000000000);
    assert_int_equal(peer->received, 9);
    for (unsigned pair = 0; pair < PAIRS; pair++)
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(virtq_get(&q[VNET_SEND(pair)], &id, &length), pair != 2);
    kick(VNET_SEND(0));
    assert_true(vvirtio_is_idle(&vnet.virtio));
}

/* 2.6.1: others go on, and get the frames for it until it is there again. */
static void one_queue_is_reset(void **state)
{
    uint64_t features = MQ | VIRTIO_F_RING_RESET;

    (void)state;
    start(features, PAIRS);
    for (unsigned pair = 0; pair < PAIRS; pair++)
        send_flow(pair, 1000 + pair);
    reset_queue(VNET_RECEIVE(1));
    for (unsigned pair = 0; pair < PAIRS; pair++)
        assert_int_equal(receiver(1000 + pair), pair == 1 ? 2 : pair);
    reset_queue(VNET_RECEIVE(0));
    assert_int_equal(set_pairs(2), VIRTIO_NET_OK);
    assert_int_equal(receiver(1001), NOWHERE);
    assert_int_equal(port->counts.drop[NET_DROP_ROOM], 1);
    assert_int_equal(set_pairs(PAIRS), VIRTIO_NET_OK);
    reset_queue(VNET_RECEIVE(2));
    reset_queue(VNET_RECEIVE(3));
    assert_int_equal(receiver(1001), NOWHERE);
    rig_queue(VNET_RECEIVE(1), 16, features);
    fill_up(1);
    for (unsigned pair = 0; pair < PAIRS; pair++)
        assert_int_equal(receiver(1000 + pair), 1);
    assert_int_equal(vnet.pairs, PAIRS);
}

static void a_reset_leaves_one_pair(void **state)
{
    (void)state;
    start(MQ, PAIRS);
    send_flow(3, 1);
    put(VIRTIO_COMMON_STATUS, 1, 0);
    start(MQ, 1);
    assert_int_equal(receiver(1), 0);
    assert_int_equal(set_pairs(PAIRS), VIRTIO_NET_OK);
    for (unsigned i = 0; i < VNET_FLOWS; i++)
        assert_int_equal(vnet.steer.pair[i], 0);
    vnet_reset(&vnet);
    start(MQ, 1);
    assert_int_equal(receiver(1), 0);
}

static void state_is_kept(void **state)
{
    static struct vnet_state saved, after;
    uint32_t bytes = make(gmem_ptr(&mem, gpa(DATA), 1), 1, 2, 100);
    unsigned before;

    (void)state;
    start(MQ, 3);
    before = peer->received;
    for (unsigned pair = 0; pair < PAIRS; pair++)
        virtq_add(&q[VNET_SEND(pair)], &(struct virtq_buffer){ DATA, bytes, false }, 1);
    vnet_save(&vnet, &saved);
    assert_int_equal(saved.pairs, 3);
    assert_int_equal(vnet_check(&vnet, &saved), 0);
    vnet_reset(&vnet);
    vnet_load(&vnet, &saved);
    vnet_save(&vnet, &after);
    assert_memory_equal(&saved, &after, sizeof(saved));
    advance(&board, 1000);
    assert_int_equal(peer->received, before + PAIRS);
    for (unsigned flow = 0; flow < 32; flow++)
        assert_in_range(receiver(flow), 0, 2);
    send_flow(2, 5);
    assert_int_equal(receiver(5), 2);
}

static void impossible_states_are_refused(void **state)
{
    static struct vnet_state saved;

    (void)state;
    start(MQ, PAIRS);
    vnet_save(&vnet, &saved);
    assert_int_equal(vnet_check(&vnet, &saved), 0);
    saved.pairs = PAIRS + 1;
    assert_int_equal(vnet_check(&vnet, &saved), -EINVAL);
    saved.pairs = 0;
    assert_int_equal(vnet_check(&vnet, &saved), -EINVAL);
    saved.pairs = UINT64_C(1) << 32 | 1;
    assert_int_equal(vnet_check(&vnet, &saved), -EINVAL);
    saved.pairs = 2;
    saved.virtio.driver_features &= ~VIRTIO_NET_F_MQ;
    assert_int_equal(vnet_check(&vnet, &saved), -EINVAL);
    saved.pairs = 1;
    assert_int_equal(vnet_check(&vnet, &saved), 0);
}

/* The last test: what is taken away stays so. */
static void several_pairs_can_be_withheld(void **state)
{
    assert_int_equal(vvirtio_without("net-mq"), 0);
    teardown(state);
    begin(0, PAIRS);
    assert_int_equal(rig_offered() & MQ, VIRTIO_NET_F_CTRL_VQ);
    assert_int_equal(rig_negotiate(MQ | VIRTIO_F_VERSION_1), 0x3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_how_many, setup, teardown),
        cmocka_unit_test_setup_teardown(the_driver_enables_pairs, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flow_is_received_where_it_was_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(the_control_queue_has_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(each_pair_has_its_timer, setup, teardown),
        cmocka_unit_test_setup_teardown(one_queue_is_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_leaves_one_pair, setup, teardown),
        cmocka_unit_test_setup_teardown(state_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_states_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(several_pairs_can_be_withheld, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
