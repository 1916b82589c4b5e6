/* virtio's balloon: pages in and out, whole chunks to the owner, statistics, reports, and bad drivers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vballoon.h"
#include "tests/unit/virtio_rig.h"

#define IN      VIRTIO_BALLOON_INFLATEQ
#define OUT     VIRTIO_BALLOON_DEFLATEQ
#define STATS   VIRTIO_BALLOON_STATSQ
#define REPORTS 3
#define TELL    VIRTIO_BALLOON_F_MUST_TELL_HOST
#define ALL     (TELL | VIRTIO_BALLOON_F_STATS_VQ | VIRTIO_BALLOON_F_PAGE_REPORTING)
#define DATA    0x180000u /* behind the rings, in the first chunk */
#define PER     (GMEM_CHUNK / PAGE_SIZE)
#define CONFIG  0x2000u

static struct vballoon vb;
static uint64_t pages[VBALLOON_PAGE_WORDS(MEMORY)], kept[VBALLOON_PAGE_WORDS(MEMORY)];
static uint64_t chunks[VBALLOON_CHUNK_WORDS(MEMORY)];
static unsigned told;

static void tell(void *context)
{
    assert_ptr_equal(context, &told);
    told++;
}

static int setup(void **state)
{
    static const struct vballoon_owner owner = { tell, &told };

    (void)state;
    rig_init();
    vballoon_init(&vb, &mem, &apics, &board.clock, &board.queue, pages, chunks, &owner);
    rig_attach(&vb.virtio);
    told = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

static uint32_t *numbers(void)
{
    return virtq_at(&q[0], DATA);
}

static bool used(unsigned n, uint16_t id)
{
    uint16_t got = 0;
    uint32_t length = 99;

    if (!virtq_get(&q[n], &got, &length))
        return false;
    assert_int_equal(got, id);
    assert_int_equal(length, 0);
    return true;
}

/* Tells `count` page numbers from `first` on, and waits for the answer. */
static void say(unsigned n, uint32_t first, uint32_t count)
{
    uint16_t id;

    for (uint32_t i = 0; i < count; i++)
        numbers()[i] = first + i;
    id = virtq_add(&q[n], &(struct virtq_buffer){ DATA, 4 * count, false }, 1);
    kick(n);
    assert_true(used(n, id));
    assert_true(came(n + 1));
}

static uint64_t taken(void)
{
    gpa_t at = gpa(1);

    return vballoon_take(&vb, &at) ? at.raw : 1;
}

static void full_chunks_are_given(void **state)
{
    static const uint64_t features[] = { 0, VIRTIO_F_PACKED, VIRTIO_F_PACKED | VIRTIO_F_INDIRECT };

    (void)state;
    assert_int_equal(config_get(0), 0x10451af4);
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
        rig_start(features[i] | ALL, 4, 8);
        told = 0;
        say(IN, PER, PER - 1);
        assert_int_equal(vb.inflated, PER - 1);
        assert_int_equal(told, 0);
        say(IN, 3 * PER, PER); /* another one, whole */
        assert_int_equal(told, 1);
        assert_int_equal(taken(), 3 * PAGE_2M);
        say(IN, 2 * PER - 1, 1);
        assert_int_equal(told, 2);
        assert_int_equal(taken(), PAGE_2M);
        assert_int_equal(taken(), 1);
        assert_int_equal(vb.inflated, 2 * PER);
        say(IN, PER, PER); /* once more: they are there already */
        assert_int_equal(told, 2);
        assert_int_equal(vb.inflated, 2 * PER);
    }
}

/* A page that comes back before its chunk is taken keeps it from being taken. */
static void deflating_keeps_a_chunk(void **state)
{
    (void)state;
    rig_start(ALL, 4, 8);
    say(IN, PER, PER);
    say(OUT, PER + 77, 1);
    assert_int_equal(taken(), 1);
    assert_int_equal(vb.inflated, PER - 1);
    say(OUT, PER + 77, 1); /* twice */
    assert_int_equal(vb.inflated, PER - 1);
    say(IN, PER + 77, 1);
    assert_int_equal(taken(), PAGE_2M);
}

/* 5.5.3: without MUST_TELL_HOST the driver may use a page while it is being taken. */
static void a_driver_that_does_not_tell_keeps_all(void **state)
{
    (void)state;
    rig_start(ALL & ~TELL, 4, 8);
    say(IN, PER, PER);
    assert_int_equal(vb.inflated, PER);
    assert_int_equal(told, 0);
    assert_int_equal(taken(), 1);
}

static void what_is_no_ram_is_in_no_balloon(void **state)
{
    (void)state;
    rig_start(ALL, 4, 8);
    say(IN, 0, PER); /* the first chunk has the hole */
    assert_int_equal(vb.inflated, PER - 32);
    say(OUT, 0, PER);
    assert_int_equal(vb.inflated, 0);
    say(IN, MEMORY / PAGE_SIZE, 5);
    say(IN, UINT32_MAX - 3, 4);
    say(OUT, 0xfee00, 4);
    assert_int_equal(vb.inflated, 0);
    assert_int_equal(told, 0);
    assert_int_equal(status(), 0xf);
}

/* Numbers that are cut by the ends of pieces, and three bytes that are none. */
static void numbers_in_pieces(void **state)
{
    struct virtq_buffer cut[4] = {
        { DATA, 5, false }, { DATA + 16, 2, false }, { DATA + 32, 8, false }, { DATA + 64, 4, true }
    };
    uint8_t *at = virtq_at(&q[0], 0);
    uint16_t id;

    (void)state;
    rig_start(ALL | VIRTIO_F_INDIRECT, 4, 8);
    at = virtq_at(&q[0], DATA);
    memcpy(at, "\x01\x02\0\0\x33", 5);
    memcpy(at + 16, "\x03\0", 2);
    memcpy(at + 32, "\0\x44\x04\0\0\x01\0\0", 8);
    id = virtq_add(&q[IN], cut, 4);
    kick(IN);
    assert_true(used(IN, id));
    assert_int_equal(vb.inflated, 3);
    assert_true(pages[0x201 / 64] & BIT(0x201 % 64));
    assert_true(pages[0x333 / 64] & BIT(0x333 % 64));
    assert_true(pages[0x444 / 64] & BIT(0x444 % 64));
}

static void a_doorbell_is_bounded(void **state)
{
    struct vballoon_state saved;
    uint32_t count = VBALLOON_TURN + 1;
    uint16_t id;

    (void)state;
    rig_start(ALL, 4, 8);
    for (uint32_t i = 0; i < count; i++)
        numbers()[i] = i % 100;
    numbers()[count - 1] = 700;
    id = virtq_add(&q[IN], &(struct virtq_buffer){ DATA, 4 * count, false }, 1);
    kick(IN);
    assert_false(used(IN, id));
    assert_int_equal(vb.inflated, 100);
    vballoon_save(&vb, &saved, kept);
    assert_int_equal(saved.done[IN], 4 * VBALLOON_TURN);
    vballoon_reset(&vb);
    vpci_reset(&pci);
    assert_int_equal(vballoon_check(&vb, &saved, kept), 0);
    vballoon_load(&vb, &saved, kept);
    advance(&board, VBALLOON_PAUSE_NS);
    assert_true(used(IN, id));
    assert_int_equal(vb.inflated, 101);
    /* A buffer of just a turn ends with it. */
    say(OUT, 0, VBALLOON_TURN);
    assert_false(vtimer_armed(&vb.again));
    assert_int_equal(vb.inflated, 0);
}

static void put_stat(unsigned index, uint16_t tag, uint64_t value)
{
    struct virtio_balloon_stat stat = { tag, value };

    memcpy((uint8_t *)virtq_at(&q[0], DATA) + index * sizeof(stat), &stat, sizeof(stat));
}

static void statistics(void **state)
{
    uint16_t id;

    (void)state;
    rig_start(ALL, 4, 8);
    vballoon_ask_stats(&vb); /* nothing is there */
    put_stat(0, VIRTIO_BALLOON_S_MEMFREE, 0x123456789abc);
    put_stat(1, 99, 7);
    put_stat(2, VIRTIO_BALLOON_S_MEMTOT, 5);
    id = virtq_add(&q[STATS], &(struct virtq_buffer){ DATA, 30 + 9, false }, 1);
    kick(STATS);
    assert_false(used(STATS, id));
    assert_int_equal(vb.stat_known, 1u << VIRTIO_BALLOON_S_MEMFREE | 1u << VIRTIO_BALLOON_S_MEMTOT);
    assert_int_equal(vb.stat[VIRTIO_BALLOON_S_MEMFREE], 0x123456789abc);
    assert_int_equal(vb.stat[VIRTIO_BALLOON_S_MEMTOT], 5);
    put_stat(0, VIRTIO_BALLOON_S_MEMFREE, 1);
    kick(STATS); /* it was not asked */
    assert_int_equal(vb.stat[VIRTIO_BALLOON_S_MEMFREE], 0x123456789abc);
    vballoon_ask_stats(&vb);
    assert_true(used(STATS, id));
    assert_true(came(STATS + 1));
    vballoon_ask_stats(&vb);
    virtq_add(&q[STATS], &(struct virtq_buffer){ DATA, 10, false }, 1);
    kick(STATS);
    assert_int_equal(vb.stat[VIRTIO_BALLOON_S_MEMFREE], 1);
    assert_int_equal(vb.stat_known, 1u << VIRTIO_BALLOON_S_MEMFREE);
}

static void reports_come_back_when_taken(void **state)
{
    struct virtq_buffer first[3] = { { PAGE_2M, PAGE_2M, true },
                                     { 3 * PAGE_2M - PAGE_SIZE, 2 * PAGE_SIZE, true },
                                     { 3 * PAGE_2M + 8, PAGE_2M - 8, true } };
    struct virtq_buffer second = { 2 * PAGE_2M, 2 * PAGE_2M, true };
    uint16_t id[2];

    (void)state;
    for (unsigned n = STATS; n <= 4; n++) { /* by either count of queues */
        rig_start(n == STATS ? ALL & ~VIRTIO_BALLOON_F_STATS_VQ : ALL, 5, 8);
        told = 0;
        id[0] = virtq_add(&q[n], first, 3);
        id[1] = virtq_add(&q[n], &second, 1);
        kick(n);
        assert_int_equal(told, 1);
        assert_false(used(n, id[0]));
        assert_int_equal(taken(), PAGE_2M);
        assert_int_equal(taken(), 1); /* the others are no whole chunks */
        assert_false(used(n, id[0]));
        vballoon_taken(&vb);
        assert_int_equal(told, 2);
        assert_true(used(n, id[0]));
        assert_true(came(n + 1));
        assert_false(used(n, id[1]));
        assert_int_equal(taken(), 2 * PAGE_2M);
        assert_int_equal(taken(), 3 * PAGE_2M);
        vballoon_taken(&vb);
        assert_true(used(n, id[1]));
        assert_int_equal(told, 2);
        vballoon_taken(&vb); /* nothing waits */
        assert_int_equal(told, 2);
        assert_int_equal(vb.reported, 4 * PAGE_2M + 2 * PAGE_SIZE - 8);
        vb.reported = 0;
    }
}

/* It is given back as it was found, though its memory is away by then and the driver has changed its mind. */
static void a_report_is_read_once(void **state)
{
    struct virtq_buffer all = { PAGE_2M, PAGE_2M, true };
    uint8_t *chunk;
    uint16_t id;

    (void)state;
    rig_start(ALL, 4, 8);
    id = virtq_add(&q[REPORTS], &all, 1);
    kick(REPORTS);
    assert_int_equal(taken(), PAGE_2M);
    chunk = mem.slot[0].chunk[1];
    mem.slot[0].chunk[1] = NULL;
    mem.direct = 0;
    memset(virtq_at(&q[REPORTS], q[REPORTS].desc), 0xff, 16);
    vballoon_taken(&vb);
    assert_true(used(REPORTS, id));
    assert_int_equal(status(), 0xf);
    assert_int_equal(vb.reported, PAGE_2M);
    kick(REPORTS);
    assert_int_equal(told, 1);
    mem.slot[0].chunk[1] = chunk;
}

static uint8_t *never(const struct gmem *from, unsigned slot, uint64_t chunk)
{
    (void)from;
    fail_msg("chunk %u/%u was brought back", slot, (unsigned)chunk);
    return NULL;
}

/* A guest reports again what is away already: what it got back of the balloon and has not touched. */
static void what_is_away_stays_away(void **state)
{
    struct virtq_buffer both = { PAGE_2M, 3 * PAGE_2M, true };
    uint8_t *chunk;
    uint16_t id;

    (void)state;
    rig_start(ALL | VIRTIO_F_INDIRECT, 4, 8);
    id = virtq_add(&q[REPORTS], &both, 1);
    chunk = mem.slot[0].chunk[2];
    mem.slot[0].chunk[2] = NULL;
    mem.direct = 0;
    mem.fill = never;
    kick(REPORTS);
    assert_int_equal(taken(), PAGE_2M);
    assert_int_equal(taken(), 3 * PAGE_2M);
    assert_int_equal(taken(), 1);
    vballoon_taken(&vb);
    assert_true(used(REPORTS, id));
    mem.slot[0].chunk[2] = chunk;
}

/* Of buffers that were there before the driver was ready. */
static void buffers_before_driver_ok(void **state)
{
    uint16_t id;

    (void)state;
    assert_int_equal(rig_negotiate(ALL | VIRTIO_F_VERSION_1), 0xb);
    rig_msix(5);
    for (unsigned n = 0; n < 4; n++)
        rig_queue(n, 8, ALL);
    put_stat(0, VIRTIO_BALLOON_S_MEMTOT, 5);
    virtq_add(&q[STATS], &(struct virtq_buffer){ DATA, 10, false }, 1);
    numbers()[16] = 600;
    id = virtq_add(&q[IN], &(struct virtq_buffer){ DATA + 64, 4, false }, 1);
    virtq_add(&q[REPORTS], &(struct virtq_buffer){ PAGE_2M, PAGE_2M, true }, 1);
    for (unsigned n = 0; n < 4; n++)
        kick(n);
    assert_int_equal(vb.stat_known, 0);
    rig_driver_ok();
    assert_int_equal(vb.stat[VIRTIO_BALLOON_S_MEMTOT], 5);
    assert_true(used(IN, id));
    assert_int_equal(vb.inflated, 1);
    assert_int_equal(taken(), PAGE_2M);
}

/* What is read-only is no report; what is no RAM is nonsense. */
static void bad_reports(void **state)
{
    struct virtq_buffer read = { PAGE_2M, PAGE_2M, false }, none = { MEMORY, PAGE_2M, true };
    uint16_t id;

    (void)state;
    rig_start(ALL, 4, 8);
    id = virtq_add(&q[REPORTS], &read, 1);
    kick(REPORTS);
    assert_int_equal(taken(), 1);
    vballoon_taken(&vb);
    assert_true(used(REPORTS, id));
    virtq_add(&q[REPORTS], &none, 1);
    kick(REPORTS);
    assert_int_equal(status(), 0x4f);
    assert_int_equal(taken(), 1);
    rig_start(ALL & ~VIRTIO_BALLOON_F_PAGE_REPORTING, 4, 8);
    virtq_add(&q[REPORTS], &(struct virtq_buffer){ PAGE_2M, PAGE_2M, true }, 1);
    told = 0;
    kick(REPORTS);
    assert_int_equal(told, 0);
    assert_int_equal(taken(), 1);
}

static void a_reset_empties_it(void **state)
{
    uint16_t id;

    (void)state;
    rig_start(ALL, 4, 8);
    say(IN, PER, PER);
    put(CONFIG + 4, 4, PER);
    id = virtq_add(&q[REPORTS], &(struct virtq_buffer){ 2 * PAGE_2M, PAGE_2M, true }, 1);
    kick(REPORTS);
    vballoon_set_target(&vb, 7);
    put(VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(status(), 0);
    assert_int_equal(taken(), 1);
    vballoon_taken(&vb);
    assert_false(used(REPORTS, id));
    assert_int_equal(vb.inflated, 0);
    assert_int_equal(get(CONFIG, 4), 7);
    assert_int_equal(get(CONFIG + 4, 4), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
        assert_int_equal(pages[i], 0);
}

static void the_target_is_told(void **state)
{
    (void)state;
    rig_start(ALL, 4, 8);
    vballoon_set_target(&vb, 300);
    assert_true(came(0));
    assert_int_equal(get(CONFIG, 4), 300);
    vballoon_set_target(&vb, 300);
    assert_false(came(0));
    vballoon_set_target(&vb, UINT64_MAX);
    assert_int_equal(get(CONFIG, 4), MEMORY / PAGE_SIZE);
    put(CONFIG, 4, 1); /* not the driver's */
    put(CONFIG + 4, 4, 44);
    assert_int_equal(get(CONFIG, 4), MEMORY / PAGE_SIZE);
    assert_int_equal(get(CONFIG + 4, 4), 44);
}

static void nothing_without_an_owner(void **state)
{
    (void)state;
    vballoon_init(&vb, &mem, &apics, &board.clock, &board.queue, pages, chunks, NULL);
    assert_false(vb.virtio.features & VIRTIO_BALLOON_F_PAGE_REPORTING);
    assert_true(vb.virtio.features & VIRTIO_BALLOON_F_STATS_VQ);
}

static void state_is_kept(void **state)
{
    struct vballoon_state saved;
    uint16_t id;

    (void)state;
    rig_start(ALL | VIRTIO_F_PACKED, 4, 8);
    say(IN, PER, 5);
    put(CONFIG + 4, 4, 5);
    vballoon_set_target(&vb, 9);
    put_stat(0, VIRTIO_BALLOON_S_AVAIL, 3);
    virtq_add(&q[STATS], &(struct virtq_buffer){ DATA, 10, false }, 1);
    kick(STATS);
    id = virtq_add(&q[REPORTS], &(struct virtq_buffer){ 2 * PAGE_2M, PAGE_2M, true }, 1);
    kick(REPORTS);
    vballoon_save(&vb, &saved, kept);
    assert_int_equal(vballoon_check(&vb, &saved, kept), 0);
    vballoon_reset(&vb);
    vballoon_set_target(&vb, 0);
    vpci_reset(&pci);
    told = 0;
    vballoon_load(&vb, &saved, kept);
    assert_int_equal(vb.inflated, 5);
    assert_int_equal(vb.target, 9);
    assert_int_equal(vb.actual, 5);
    assert_int_equal(vb.stat[VIRTIO_BALLOON_S_AVAIL], 3);
    assert_false(vb.asked);
    assert_int_equal(told, 1);
    assert_int_equal(taken(), 2 * PAGE_2M);
    vballoon_taken(&vb);
    assert_true(used(REPORTS, id));
}

static void bad_state_is_refused(void **state)
{
    struct vballoon_state saved, bad;

    (void)state;
    rig_start(ALL, 4, 8);
    vballoon_save(&vb, &saved, kept);
    assert_int_equal(vballoon_check(&vb, &saved, kept), 0);
    bad = saved;
    bad.asked = 2;
    assert_int_equal(vballoon_check(&vb, &bad, kept), -EINVAL);
    bad = saved;
    bad.reserved[2] = 1;
    assert_int_equal(vballoon_check(&vb, &bad, kept), -EINVAL);
    bad = saved;
    bad.target = MEMORY / PAGE_SIZE + 1;
    assert_int_equal(vballoon_check(&vb, &bad, kept), -EINVAL);
    bad = saved;
    bad.stat_known = 1u << VIRTIO_BALLOON_S_COUNT;
    assert_int_equal(vballoon_check(&vb, &bad, kept), -EINVAL);
    bad = saved;
    bad.done[OUT] = 4;
    assert_int_equal(vballoon_check(&vb, &bad, kept), 0);
    bad.done[OUT] = 5;
    assert_int_equal(vballoon_check(&vb, &bad, kept), -EINVAL);
    bad.done[OUT] = 4;
    bad.virtio.queue[OUT].enabled = 0;
    assert_int_equal(vballoon_check(&vb, &bad, kept), -EINVAL);
    bad = saved;
    bad.virtio.status = 4;
    assert_int_equal(vballoon_check(&vb, &bad, kept), -EINVAL);
    kept[0xa0 / 64] |= BIT(0xa0 % 64); /* in the hole */
    assert_int_equal(vballoon_check(&vb, &saved, kept), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(full_chunks_are_given),
        TEST(deflating_keeps_a_chunk),
        TEST(a_driver_that_does_not_tell_keeps_all),
        TEST(what_is_no_ram_is_in_no_balloon),
        TEST(numbers_in_pieces),
        TEST(a_doorbell_is_bounded),
        TEST(statistics),
        TEST(reports_come_back_when_taken),
        TEST(a_report_is_read_once),
        TEST(buffers_before_driver_ok),
        TEST(what_is_away_stays_away),
        TEST(bad_reports),
        TEST(a_reset_empties_it),
        TEST(the_target_is_told),
        TEST(nothing_without_an_owner),
        TEST(state_is_kept),
        TEST(bad_state_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
