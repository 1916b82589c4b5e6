/* Virtqueues from the device's side: each test that can is run for a split and for a packed ring. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vring.h"
#include "lib/errno.h"
#include "tests/unit/host/host.h"
#include "tests/unit/virtq_driver.h"

#define BASE  0x100000u
#define DATA  0x180000u
#define CHUNK UINT64_C(0x200000)
#define MAX   16

static struct gmem mem;
static struct virtq q;
static struct vring ring;
static struct vring_chain chain;
static struct vring_segment segment[MAX];

static struct vring_config config_of(bool event_idx)
{
    return (struct vring_config){ q.desc, q.driver, q.device, q.size, q.packed, event_idx, true };
}

static void make(bool packed, uint16_t size, bool event_idx)
{
    struct vring_config config;

    virtq_init(&q, &mem, BASE, size, packed);
    config = config_of(event_idx);
    assert_int_equal(vring_init(&ring, &mem, &config), 0);
}

static int setup(void **state)
{
    (void)state;
    host_gmem_init(&mem, 4 * CHUNK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

static int pop(void)
{
    return vring_pop(&ring, &chain, segment, MAX);
}

static void chains_go_round(bool packed, bool indirect)
{
    make(packed, 8, false);
    q.indirect = indirect;
    assert_int_equal(pop(), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct virtq_buffer b[3] = { { DATA, 16, false },
                                     { DATA + 0x1000, 100 + i, true },
                                     { DATA + 0x3000, 1, true } };
        uint16_t id = virtq_add(&q, b, 3), got;
        uint32_t bytes;

        assert_int_equal(pop(), 1);
        assert_int_equal(chain.id, id);
        assert_int_equal(chain.descriptors, indirect ? 1 : 3);
        assert_int_equal(chain.readable, 1);
        assert_int_equal(chain.writable, 2);
        assert_int_equal(chain.readable_bytes, 16);
        assert_int_equal(chain.writable_bytes, 101 + i);
        assert_ptr_equal(segment[0].data, virtq_at(&q, DATA));
        assert_ptr_equal(segment[1].data, virtq_at(&q, DATA + 0x1000));
        assert_int_equal(segment[1].bytes, 100 + i);
        assert_int_equal(segment[2].bytes, 1);
        assert_int_equal(pop(), 0);
        assert_int_equal(ring.s.in_flight, indirect ? 1 : 3);
        assert_false(virtq_get(&q, &got, &bytes));
        chain.id = id; /* pop() cleared it */
        chain.descriptors = indirect ? 1 : 3;
        vring_push(&ring, &chain, i);
        assert_true(virtq_get(&q, &got, &bytes));
        assert_int_equal(got, id);
        assert_int_equal(bytes, i);
        assert_false(virtq_get(&q, &got, &bytes));
        assert_int_equal(ring.s.in_flight, 0);
    }
}

static void split_chains(void **state)
{
    (void)state;
    chains_go_round(false, false);
    chains_go_round(false, true);
}

static void packed_chains(void **state)
{
    (void)state;
    chains_go_round(true, false);
    chains_go_round(true, true);
}

static void they_end_in_any_order(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        struct vring_chain held[4];
        struct virtq_buffer b[2] = { { DATA, 8, false }, { DATA + 0x1000, 8, true } };
        uint16_t id[4], got;
        uint32_t bytes;

        make(packed, 8, false);
        for (unsigned round = 0; round < 9; round++) {
            for (unsigned i = 0; i < 4; i++)
                id[i] = virtq_add(&q, b, 2);
            for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(pop(), 1);
                held[i] = chain;
            }
            assert_int_equal(pop(), 0);
            for (unsigned i = 0; i < 4; i++)
                vring_push(&ring, &held[i ^ 3], 0);
            for (unsigned i = 0; i < 4; i++) {
                assert_true(virtq_get(&q, &got, &bytes));
                assert_int_equal(got, id[i ^ 3]);
            }
            assert_false(virtq_get(&q, &got, &bytes));
        }
    }
}

/* Two chunks of the guest are two pieces of the host, or one if they happen to touch. */
static void a_buffer_across_chunks_is_split(void **state)
{
    struct virtq_buffer b = { CHUNK - 10, 30, true }, all = { CHUNK, 2 * CHUNK, false };

    (void)state;
    make(false, 4, false);
    virtq_add(&q, &b, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.writable, 2);
    assert_int_equal(chain.writable_bytes, 30);
    assert_ptr_equal(segment[0].data, mem.slot[0].chunk[0] + CHUNK - 10);
    assert_int_equal(segment[0].bytes, 10);
    assert_ptr_equal(segment[1].data, mem.slot[0].chunk[1]);
    assert_int_equal(segment[1].bytes, 20);
    virtq_add(&q, &all, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable_bytes, 2 * CHUNK);
    assert_true(chain.readable <= 2);
}

static void neighbours_are_joined(void **state)
{
    struct virtq_buffer b[4] = {
        { DATA, 8, false }, { DATA + 8, 8, false }, { DATA + 16, 8, true }, { DATA + 24, 0, true }
    };

    (void)state;
    make(true, 4, false);
    virtq_add(&q, b, 4);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable, 1);
    assert_int_equal(segment[0].bytes, 16);
    assert_int_equal(chain.writable, 1); /* not joined to what is read, nor made longer by nothing */
    assert_int_equal(segment[1].bytes, 8);
    assert_int_equal(chain.descriptors, 4);
}

static void desc(unsigned i, uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next)
{
    ((struct virtq_desc *)virtq_at(&q, q.desc))[i] = (struct virtq_desc){ at, bytes, flags, next };
}

static void avail(uint16_t head, uint16_t index)
{
    uint16_t *area = virtq_at(&q, q.driver);

    area[2] = head;
    area[1] = index;
}

/* Each is nonsense of its own kind; the ring is broken for good, and nobody else is. */
static void nonsense_breaks_the_ring(void **state)
{
    enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
    const struct {
        uint16_t head, index;
        struct virtq_desc d[2];
    } cases[] = {
        { 8, 1, { { 0 } } },                                                 /* no such descriptor */
        { 0, 9, { { DATA, 1, 0, 0 } } },                                     /* more than the ring has */
        { 0, 1, { { DATA, 1, NEXT, 8 } } },                                  /* next is none */
        { 0, 1, { { DATA, 1, NEXT, 0 } } },                                  /* a loop */
        { 0, 1, { { DATA, 1, NEXT, 1 }, { DATA, 1, NEXT, 0 } } },            /* a longer one */
        { 0, 1, { { DATA, 1, NEXT | WRITE, 1 }, { DATA, 1, 0, 0 } } },       /* read behind written */
        { 0, 1, { { 4 * CHUNK, 1, 0, 0 } } },                                /* not RAM */
        { 0, 1, { { 4 * CHUNK - 1, 2, 0, 0 } } },                            /* not all RAM */
        { 0, 1, { { 0x9ffff, 2, 0, 0 } } },                                  /* the hole */
        { 0, 1, { { UINT64_MAX, 2, 0, 0 } } },                               /* wraps */
        { 0, 1, { { 0, UINT32_MAX, NEXT, 1 }, { 0, UINT32_MAX, 0, 0 } } },   /* 4 GiB */
        { 0, 1, { { DATA, 16, INDIRECT | NEXT, 1 }, { DATA, 1, 0, 0 } } },   /* both */
        { 0, 1, { { DATA, 0, INDIRECT, 0 } } },                              /* no table */
        { 0, 1, { { DATA, 24, INDIRECT, 0 } } },                             /* half a descriptor */
        { 0, 1, { { 4 * CHUNK, 16, INDIRECT, 0 } } },                        /* table not in RAM */
        { 0, 1, { { BASE + 16, 16, INDIRECT, 0 }, { 0, 0, INDIRECT, 0 } } }, /* in a table, a table */
        { 0, 1, { { BASE + 16, 16, INDIRECT, 0 }, { DATA, 1, NEXT, 0 } } },  /* a loop in a table */
        { 0, 1, { { BASE + 16, 16, INDIRECT, 0 }, { DATA, 1, NEXT, 1 } } },  /* out of the table */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        make(false, 8, false);
        for (unsigned j = 0; j < 2; j++)
            desc(j, cases[i].d[j].address, cases[i].d[j].length, cases[i].d[j].flags, cases[i].d[j].next);
        avail(cases[i].head, cases[i].index);
        assert_int_equal(pop(), -EINVAL);
        make(false, 8, false);
        assert_int_equal(pop(), 0);
        ring.s.broken = 1;
        virtq_add(&q, &(struct virtq_buffer){ DATA, 1, false }, 1);
        assert_int_equal(pop(), -EINVAL);
        assert_false(vring_enable_notify(&ring));
        vring_push(&ring, &chain, 1);
        assert_int_equal(ring.s.next_used, 0);
    }
}

static void nonsense_breaks_a_packed_ring(void **state)
{
    const struct virtq_packed_desc cases[] = {
        { DATA, 1, 0, VIRTQ_DESC_AVAIL | VIRTQ_DESC_NEXT }, /* all of them, for ever */
        { DATA, 16, 0, VIRTQ_DESC_AVAIL | VIRTQ_DESC_NEXT | VIRTQ_DESC_INDIRECT },
        { DATA, 17, 0, VIRTQ_DESC_AVAIL | VIRTQ_DESC_INDIRECT },
        { DATA, 16 * 5, 0, VIRTQ_DESC_AVAIL | VIRTQ_DESC_INDIRECT }, /* longer than the ring */
        { CHUNK * 4, 16, 0, VIRTQ_DESC_AVAIL },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        make(true, 4, false);
        for (unsigned j = 0; j < 4; j++)
            ((struct virtq_packed_desc *)virtq_at(&q, q.desc))[j] = cases[i];
        assert_int_equal(pop(), -EINVAL);
        assert_int_equal(pop(), -EINVAL);
    }
}

/* What the device holds cannot be made available once more. */
static void a_packed_ring_is_not_overrun(void **state)
{
    struct virtq_buffer b = { DATA, 1, false };

    (void)state;
    make(true, 4, false);
    for (unsigned i = 0; i < 4; i++) {
        virtq_add(&q, &b, 1);
        assert_int_equal(pop(), 1);
    }
    virtq_add(&q, &b, 1);
    assert_int_equal(pop(), -EINVAL);
}

static void too_many_pieces(void **state)
{
    struct virtq_buffer b[MAX + 1];

    (void)state;
    for (unsigned i = 0; i <= MAX; i++)
        b[i] = (struct virtq_buffer){ DATA + 64 * i, 8, i > 4 };
    make(false, 32, false);
    virtq_add(&q, b, MAX);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable + chain.writable, MAX);
    virtq_add(&q, b, MAX + 1);
    assert_int_equal(pop(), -EINVAL);
}

static void indirect_needs_its_feature(void **state)
{
    struct virtq_buffer b = { DATA, 1, false };

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make(packed, 4, false);
        q.indirect = true;
        ring.config.indirect = false;
        virtq_add(&q, &b, 1);
        assert_int_equal(pop(), -EINVAL);
    }
}

/* 2.7.5.3.2: some descriptors of the ring, the last of which is a table; it may stand anywhere. */
static void a_table_may_end_a_chain(void **state)
{
    struct virtq_desc table = { DATA + 64, 5, VIRTQ_DESC_WRITE, 0 };

    (void)state;
    make(false, 4, false);
    memcpy(virtq_at(&q, DATA + 3), &table, sizeof(table));
    desc(0, DATA + 32, 7, VIRTQ_DESC_NEXT, 1);
    desc(1, DATA + 3, 16, VIRTQ_DESC_INDIRECT, 0);
    avail(0, 1);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.readable_bytes, 7);
    assert_int_equal(chain.writable_bytes, 5);
    assert_int_equal(chain.descriptors, 2);
}

static void push_one(void)
{
    virtq_add(&q, &(struct virtq_buffer){ DATA, 1, false }, 1);
    assert_int_equal(pop(), 1);
    vring_push(&ring, &chain, 0);
}

static void interrupts_by_flag(void **state)
{
    uint16_t *driver;

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make(packed, 4, false);
        driver = virtq_at(&q, q.driver);
        assert_false(vring_should_notify(&ring)); /* nothing was used */
        push_one();
        assert_true(vring_should_notify(&ring));
        assert_false(vring_should_notify(&ring));
        driver[packed] = 1;
        push_one();
        assert_false(vring_should_notify(&ring));
        driver[packed] = 0;
        assert_false(vring_should_notify(&ring)); /* that chance is past */
        push_one();
        assert_true(vring_should_notify(&ring));
    }
}

/* The driver asks for the one after the next. */
static void interrupts_by_event_index(void **state)
{
    (void)state;
    make(false, 4, true);
    ring.s.next_avail = ring.s.next_used = q.avail = q.used = 0xfffe; /* counts go on behind 0xffff */
    ((uint16_t *)virtq_at(&q, q.device))[1] = 0xfffe;
    ((uint16_t *)virtq_at(&q, q.driver))[1] = 0xfffe;
    ((uint16_t *)virtq_at(&q, q.driver))[2 + q.size] = 0xffff;
    push_one();
    assert_false(vring_should_notify(&ring));
    push_one();
    assert_true(vring_should_notify(&ring));
    push_one();
    assert_false(vring_should_notify(&ring));
    ((uint16_t *)virtq_at(&q, q.driver))[2 + q.size] = 2;
    push_one();
    push_one();
    push_one();
    assert_true(vring_should_notify(&ring));     /* went past it */
    ((uint16_t *)virtq_at(&q, q.driver))[0] = 1; /* the flag means nothing now */
    ((uint16_t *)virtq_at(&q, q.driver))[2 + q.size] = 4;
    push_one();
    assert_true(vring_should_notify(&ring));
}

static void interrupts_by_packed_event(void **state)
{
    uint16_t *event;

    (void)state;
    make(true, 4, true);
    event = virtq_at(&q, q.driver);
    event[1] = 2;
    event[0] = 0x8001;
    push_one(); /* position 0 */
    assert_false(vring_should_notify(&ring));
    push_one();
    assert_true(vring_should_notify(&ring));
    event[0] = 0x0000; /* position 0 of the next lap */
    push_one();
    push_one();
    assert_false(vring_should_notify(&ring));
    push_one();
    assert_true(vring_should_notify(&ring));
    event[0] = 0x8003; /* the lap before: past already */
    push_one();
    assert_false(vring_should_notify(&ring));
    push_one(); /* position 2 */
    event[0] = 0x0003;
    for (unsigned i = 0; i < 3; i++)
        push_one();
    assert_true(vring_should_notify(&ring)); /* from 3 to 1: over the end */
    event[1] = 0;
    push_one();
    assert_true(vring_should_notify(&ring));
    event[1] = 1;
    push_one();
    assert_false(vring_should_notify(&ring));
}

static void asking_the_driver_to_tell(void **state)
{
    struct virtq_buffer b = { DATA, 1, false };

    (void)state;
    make(false, 4, false);
    vring_disable_notify(&ring);
    assert_int_equal(*(uint16_t *)virtq_at(&q, q.device), 1);
    assert_false(vring_enable_notify(&ring));
    assert_int_equal(*(uint16_t *)virtq_at(&q, q.device), 0);
    virtq_add(&q, &b, 1);
    assert_true(vring_enable_notify(&ring));

    make(false, 4, true);
    push_one();
    vring_disable_notify(&ring);
    assert_false(vring_enable_notify(&ring));
    assert_int_equal(((uint16_t *)virtq_at(&q, q.device))[2 + 4 * q.size], 1);
    virtq_add(&q, &b, 1);
    assert_true(vring_enable_notify(&ring));

    for (unsigned event = 0; event < 2; event++) {
        make(true, 4, event);
        for (unsigned i = 0; i < 5; i++)
            push_one();
        vring_disable_notify(&ring);
        assert_int_equal(((uint16_t *)virtq_at(&q, q.device))[1], 1);
        assert_false(vring_enable_notify(&ring));
        assert_int_equal(((uint16_t *)virtq_at(&q, q.device))[1], event ? 2 : 0);
        if (event)
            assert_int_equal(((uint16_t *)virtq_at(&q, q.device))[0], 1); /* wrap counter 0 */
        virtq_add(&q, &b, 1);
        assert_true(vring_enable_notify(&ring));
    }
}

static void where_a_ring_cannot_be(void **state)
{
    struct vring_config good, bad;

    (void)state;
    make(false, 8, false);
    good = config_of(false);
#define REFUSED(error, change)                                                                               \
    bad = good;                                                                                              \
    change;                                                                                                  \
    assert_int_equal(vring_init(&ring, &mem, &bad), error);                                                  \
    assert_int_equal(pop(), -EINVAL)
    REFUSED(-EINVAL, bad.size = 0);
    REFUSED(-EINVAL, bad.size = 6);
    REFUSED(-EINVAL, bad.size = 32769);
    REFUSED(-EINVAL, bad.desc += 8);
    REFUSED(-EINVAL, bad.driver += 1);
    REFUSED(-EINVAL, bad.device += 2);
    REFUSED(-EINVAL, (bad.packed = true, bad.driver += 2));
    REFUSED(-EFAULT, bad.desc = 4 * CHUNK - 64);
    REFUSED(-EFAULT, bad.driver = 4 * CHUNK);
    REFUSED(-EFAULT, bad.device = 0xa0000 - 16);
    REFUSED(-EFAULT, bad.desc = UINT64_MAX - 15);
#undef REFUSED
    bad = good;
    bad.packed = true;
    bad.size = 6;
    assert_int_equal(vring_init(&ring, &mem, &bad), 0);
}

static void impossible_state_is_refused(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        struct vring_state good, bad;

        make(packed, 4, false);
        for (unsigned i = 0; i < 6; i++)
            push_one();
        virtq_add(&q, &(struct virtq_buffer){ DATA, 1, false }, 1);
        assert_int_equal(pop(), 1);
        good = ring.s;
        assert_int_equal(vring_check(&ring.config, &good), 0);
#define REFUSED(change)                                                                                      \
    bad = good;                                                                                              \
    change;                                                                                                  \
    assert_int_equal(vring_check(&ring.config, &bad), -EINVAL)
        REFUSED(bad.in_flight = 5);
        REFUSED(bad.added = 5);
        REFUSED(bad.broken = 2);
        REFUSED(bad.avail_wrap = 2);
        REFUSED(bad.used_wrap ^= 1);
        if (packed) {
            REFUSED(bad.next_avail = 4);
            REFUSED(bad.next_used = 4);
            REFUSED(bad.in_flight = 0);
            REFUSED(bad.next_avail++);
        }
#undef REFUSED
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(split_chains, setup, teardown),
        cmocka_unit_test_setup_teardown(packed_chains, setup, teardown),
        cmocka_unit_test_setup_teardown(they_end_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_buffer_across_chunks_is_split, setup, teardown),
        cmocka_unit_test_setup_teardown(neighbours_are_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_breaks_the_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_breaks_a_packed_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(a_packed_ring_is_not_overrun, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(indirect_needs_its_feature, setup, teardown),
        cmocka_unit_test_setup_teardown(a_table_may_end_a_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(interrupts_by_flag, setup, teardown),
        cmocka_unit_test_setup_teardown(interrupts_by_event_index, setup, teardown),
        cmocka_unit_test_setup_teardown(interrupts_by_packed_event, setup, teardown),
        cmocka_unit_test_setup_teardown(asking_the_driver_to_tell, setup, teardown),
        cmocka_unit_test_setup_teardown(where_a_ring_cannot_be, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_state_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
