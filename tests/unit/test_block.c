#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "io/block.h"
#include "lib/errno.h"
#include "tests/unit/host/host.h"

#define US (HOST_TSC_HZ / 1000000)
#define MS (HOST_TSC_HZ / 1000)

/* A driver whose tests decide how much room it has, and when it completes what it took. */
static struct block_device disk, part;
static struct block_user user, other;
static struct timer_queue queue;
static struct block_request *taken[64];
static unsigned taken_count, room;
static bool inline_completion, ready_inside_submit;
static unsigned done_count, order[64];
static int last_status;
static struct block_request request[16];
static struct block_segment segment[BLOCK_MAX_SEGMENTS + 1];
static uint8_t memory[1 << 16] __aligned(4096);

static int submit(struct block_device *device, struct block_request *r)
{
    assert_ptr_equal(device, &disk);
    assert_true(lock_try(&device->lock)); /* a driver may come back from here */
    lock_release(&device->lock);
    if (room == 0) {
        if (ready_inside_submit) { /* as if another CPU's interrupt came just now */
            ready_inside_submit = false;
            room = 16;
            block_ready(device);
        }
        return -EBUSY;
    }
    room--;
    taken[taken_count++] = r;
    if (inline_completion)
        block_complete(device, r, 0);
    return 0;
}

static const struct block_ops ops = { submit };

static void done(struct block_request *r, int status)
{
    assert_true(lock_try(&disk.lock));
    lock_release(&disk.lock);
    last_status = status;
    order[done_count++ % 64] = (unsigned)(r - request);
}

/* Request n: one block of 4 KiB at sector 8 * n. */
static struct block_request *make(unsigned n, enum block_op op)
{
    bool has_data = op <= BLOCK_WRITE;

    segment[n] = (struct block_segment){ memory + 4096 * n, 4096 };
    request[n] = (struct block_request){ .op = op,
                                         .sector = op == BLOCK_FLUSH ? 0 : 8ull * n,
                                         .sectors = op == BLOCK_FLUSH ? 0 : 8,
                                         .segment = has_data ? &segment[n] : NULL,
                                         .segments = has_data,
                                         .done = done };
    return &request[n];
}

static int status_of(struct block_request *r)
{
    unsigned before = done_count;

    last_status = 1;
    block_submit(&user, r);
    assert_int_equal(done_count, before + 1);
    return last_status;
}

static int setup(void **state)
{
    (void)state;
    memset(&disk, 0, sizeof(disk));
    memset(&part, 0, sizeof(part));
    host_tsc = 1000 * MS;
    timer_queue_init(&queue);
    disk = (struct block_device){ .ops = &ops,
                                  .name = "test0",
                                  .sectors = 1000,
                                  .physical_block = 4096,
                                  .logical_block = 512,
                                  .max_sectors = 256,
                                  .max_segments = 16,
                                  .segment_align = 4,
                                  .has_flush = true,
                                  .has_discard = true,
                                  .has_write_zeroes = true };
    part = (struct block_device){ .whole = &disk, .first = 100, .sectors = 50, .name = "test0p1" };
    room = 64;
    taken_count = done_count = 0;
    inline_completion = ready_inside_submit = false;
    block_add(&disk);
    block_add(&part);
    return block_open(&user, &disk, "vm", false, NULL, &queue);
}

static int teardown(void **state)
{
    (void)state;
    block_close(&user);
    block_remove(&part);
    block_remove(&disk);
    return disk.users || block_device(0);
}

/* --- One request */

static void a_read_reaches_the_driver_and_done_comes_once(void **state)
{
    (void)state;
    assert_true(block_user_idle(&user));
    block_submit(&user, make(3, BLOCK_READ));
    assert_int_equal(taken_count, 1);
    assert_ptr_equal(taken[0], &request[3]);
    assert_int_equal(taken[0]->start, 24);
    assert_int_equal(done_count, 0);
    assert_false(block_user_idle(&user));
    block_complete(&disk, taken[0], 0);
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, 0);
    assert_true(block_user_idle(&user));
}

static bool idle_inside_done;

static void done_looks(struct block_request *r, int status)
{
    (void)r;
    (void)status;
    idle_inside_done = block_user_idle(&user);
}

static void a_user_is_not_idle_while_done_runs(void **state)
{
    (void)state;
    inline_completion = true;
    make(0, BLOCK_READ)->done = done_looks;
    idle_inside_done = true;
    block_submit(&user, &request[0]);
    assert_false(idle_inside_done);
    assert_true(block_user_idle(&user));
}

static void an_error_is_told_and_counted(void **state)
{
    struct block_counts counts;

    (void)state;
    block_submit(&user, make(0, BLOCK_WRITE));
    assert_int_equal(disk.health, BLOCK_HEALTHY);
    block_complete(&disk, taken[0], -EIO);
    assert_int_equal(last_status, -EIO);
    assert_int_equal(disk.health, BLOCK_FAILING);
    assert_int_equal(user.counts.errors, 1);
    block_count(&disk, &counts);
    assert_int_equal(counts.errors, 1);
    assert_int_equal(counts.requests[BLOCK_WRITE], 1);
    disk.health = BLOCK_GONE;
    assert_int_equal(status_of(make(0, BLOCK_READ)), -ENODEV);
    assert_int_equal(block_open(&other, &disk, "other", true, NULL, &queue), -ENODEV);
}

/* --- What is refused */

static void ranges_are_checked(void **state)
{
    static const struct {
        uint64_t sector;
        uint32_t sectors;
    } bad[] = { { 993, 8 }, { 1000, 8 },           { 1001, 8 }, { UINT64_MAX, 8 }, { UINT64_MAX - 7, 8 },
                { 0, 0 },   { 0, UINT32_MAX - 7 }, { 1000, 0 }, { 1ull << 63, 8 } };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        make(0, BLOCK_READ);
        request[0].sector = bad[i].sector;
        request[0].sectors = bad[i].sectors;
        segment[0].bytes = bad[i].sectors * BLOCK_SECTOR;
        assert_int_equal(status_of(&request[0]), -EINVAL);
    }
    make(0, BLOCK_READ)->sector = 992;
    block_submit(&user, &request[0]);
    assert_int_equal(taken_count, 1);
    block_complete(&disk, taken[0], 0);
    assert_int_equal(last_status, 0);
}

static void segments_are_checked(void **state)
{
    (void)state;
    make(0, BLOCK_READ);
    segment[0].bytes = 4092;
    assert_int_equal(status_of(&request[0]), -EINVAL); /* too little */
    segment[0].bytes = 8192;
    assert_int_equal(status_of(&request[0]), -EINVAL); /* too much */
    segment[0] = (struct block_segment){ memory + 2, 4096 };
    assert_int_equal(status_of(&request[0]), -EINVAL); /* not aligned */
    segment[0] = (struct block_segment){ memory, 4094 };
    segment[1] = (struct block_segment){ memory + 4096, 2 };
    request[0].segments = 2;
    assert_int_equal(status_of(&request[0]), -EINVAL); /* sizes not aligned */
    segment[0] = (struct block_segment){ memory, 4096 };
    segment[1] = (struct block_segment){ memory + 4096, 0 };
    assert_int_equal(status_of(&request[0]), -EINVAL); /* an empty one */
    request[0].segments = 0;
    assert_int_equal(status_of(&request[0]), -EINVAL);        /* none */
    segment[0].bytes = segment[1].bytes = 0x80000000u + 2048; /* 2^32 + 4096 */
    request[0].segments = 2;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    assert_int_equal(taken_count, 0);
}

static void more_than_the_device_takes_is_refused(void **state)
{
    (void)state;
    make(0, BLOCK_WRITE);
    for (unsigned i = 0; i < 17; i++)
        segment[i] = (struct block_segment){ memory + 512 * i, 512 };
    request[0].segments = 17;
    request[0].sectors = 17;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    request[0].segments = request[0].sectors = 16;
    block_submit(&user, &request[0]);
    assert_int_equal(taken_count, 1);
    make(1, BLOCK_WRITE)->sectors = 257;
    segment[1].bytes = 257 * 512;
    assert_int_equal(status_of(&request[1]), -EINVAL);
    block_complete(&disk, taken[0], 0);
}

static void requests_are_multiples_of_the_logical_block(void **state)
{
    (void)state;
    disk.logical_block = 4096;
    make(0, BLOCK_READ)->sector = 4;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    make(0, BLOCK_READ)->sectors = 4;
    segment[0].bytes = 2048;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    make(0, BLOCK_DISCARD)->sectors = 9;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    assert_int_equal(taken_count, 0);
}

static void a_reader_cannot_write(void **state)
{
    static const enum block_op writes[] = { BLOCK_WRITE, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

    (void)state;
    block_close(&user);
    assert_int_equal(block_open(&user, &disk, "vm", true, NULL, &queue), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(writes); i++)
        assert_int_equal(status_of(make(0, writes[i])), -EROFS);
    assert_int_equal(taken_count, 0);
    block_submit(&user, make(0, BLOCK_READ));
    block_submit(&user, make(1, BLOCK_FLUSH));
    assert_int_equal(taken_count, 2);
    block_complete(&disk, taken[0], 0);
    block_complete(&disk, taken[1], 0);
    disk.readonly = true;
    assert_int_equal(block_open(&other, &disk, "other", false, NULL, &queue), -EROFS);
    assert_int_equal(block_open(&other, &part, "other", false, NULL, &queue), -EROFS);
    assert_int_equal(block_open(&other, &part, "other", true, NULL, &queue), 0);
    block_close(&other);
}

static void what_the_device_cannot_do_is_said(void **state)
{
    (void)state;
    disk.has_flush = disk.has_discard = disk.has_write_zeroes = false;
    assert_int_equal(status_of(make(0, BLOCK_DISCARD)), -EOPNOTSUPP);
    assert_int_equal(status_of(make(0, BLOCK_WRITE_ZEROES)), -EOPNOTSUPP);
    assert_int_equal(status_of(make(0, BLOCK_FLUSH)), 0); /* it keeps nothing back */
    make(0, BLOCK_READ)->op = BLOCK_OPS;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    make(0, BLOCK_FLUSH)->sectors = 8;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    disk.has_discard = true;
    make(0, BLOCK_DISCARD)->segments = 1;
    assert_int_equal(status_of(&request[0]), -EINVAL);
    assert_int_equal(taken_count, 0);
    make(0, BLOCK_DISCARD)->sectors = 512; /* max_sectors is about data */
    block_submit(&user, &request[0]);
    assert_int_equal(taken_count, 1);
    block_complete(&disk, taken[0], 0);
}

/* --- Ranges */

static void a_range_is_offset_and_bounded(void **state)
{
    struct block_counts counts;

    (void)state;
    assert_int_equal(block_open(&other, &part, "other", false, NULL, &queue), 0);
    assert_int_equal(other.sectors, 50);
    assert_ptr_equal(part.users, &other);
    block_submit(&other, make(5, BLOCK_WRITE));
    assert_int_equal(taken_count, 1);
    assert_int_equal(taken[0]->start, 140);
    block_complete(&disk, taken[0], 0);
    block_submit(&other, make(6, BLOCK_WRITE)); /* sectors 48 to 55 */
    assert_int_equal(last_status, -EINVAL);
    assert_int_equal(taken_count, 1);
    block_count(&part, &counts);
    assert_int_equal(counts.requests[BLOCK_WRITE], 1);
    assert_int_equal(counts.sectors[BLOCK_WRITE], 8);
    block_count(&disk, &counts); /* with what its ranges had */
    assert_int_equal(counts.requests[BLOCK_WRITE], 1);
    assert_int_equal(user.counts.requests[BLOCK_WRITE], 0);
    block_close(&other);
    assert_null(part.users);
    block_count(&part, &counts); /* its users' past is not forgotten, and counted once */
    assert_int_equal(counts.requests[BLOCK_WRITE], 1);
    block_close(&other);
    block_count(&disk, &counts);
    assert_int_equal(counts.requests[BLOCK_WRITE], 1);
}

/* --- A busy driver */

static void what_a_busy_driver_refuses_is_kept_in_order(void **state)
{
    (void)state;
    room = 2;
    for (unsigned i = 0; i < 6; i++)
        block_submit(&user, make(i, BLOCK_READ));
    assert_int_equal(taken_count, 2);
    room = 1;
    block_ready(&disk);
    assert_int_equal(taken_count, 3);
    room = 64;
    block_submit(&user, make(6, BLOCK_READ)); /* must not overtake */
    assert_int_equal(taken_count, 3);
    block_ready(&disk);
    assert_int_equal(taken_count, 7);
    for (unsigned i = 0; i < 7; i++) {
        assert_ptr_equal(taken[i], &request[i]);
        block_complete(&disk, taken[i], 0);
    }
    assert_int_equal(done_count, 7);
}

static void room_that_came_meanwhile_is_seen(void **state)
{
    (void)state;
    room = 0;
    ready_inside_submit = true;
    block_submit(&user, make(0, BLOCK_READ));
    assert_int_equal(taken_count, 1);
    room = 0;
    block_submit(&user, make(1, BLOCK_READ));
    ready_inside_submit = true; /* the same while the queue is emptied */
    block_ready(&disk);
    assert_int_equal(taken_count, 2);
    block_complete(&disk, taken[0], 0);
    block_complete(&disk, taken[1], 0);
}

static unsigned chain;

static void done_goes_on(struct block_request *r, int status)
{
    done(r, status);
    if (chain < 5)
        block_submit(&user, make(++chain, BLOCK_READ));
    request[chain].done = done_goes_on;
}

static void done_may_submit(void **state)
{
    (void)state;
    chain = 0;
    room = 0;
    block_submit(&user, make(0, BLOCK_READ));
    request[0].done = done_goes_on;
    room = 64;
    inline_completion = true;
    block_ready(&disk); /* what done() submits stands in line and is taken by the same loop */
    assert_int_equal(taken_count, 6);
    assert_int_equal(chain, 5);
    assert_true(block_user_idle(&user));
}

/* --- Limits */

static void run(uint64_t ticks)
{
    host_advance(&queue, ticks);
}

static void open_limited(uint64_t iops, uint64_t bandwidth)
{
    const struct block_limits limits = { iops, bandwidth };

    block_close(&user);
    assert_int_equal(block_open(&user, &disk, "vm", false, &limits, &queue), 0);
    inline_completion = true;
}

static void requests_a_second_are_limited(void **state)
{
    (void)state;
    open_limited(100, 0); /* one in 10 ms */
    for (unsigned i = 0; i < 8; i++)
        block_submit(&user, make(i, i == 4 ? BLOCK_FLUSH : BLOCK_READ));
    assert_int_equal(done_count, 1);
    run(10 * MS - 1);
    assert_int_equal(done_count, 1);
    run(1);
    assert_int_equal(done_count, 2);
    run(40 * MS);
    assert_int_equal(done_count, 6);
    run(1000 * MS);
    assert_int_equal(done_count, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
}

static void nobody_overtakes_who_is_held(void **state)
{
    (void)state;
    open_limited(100, 0);
    block_submit(&user, make(0, BLOCK_READ));
    block_submit(&user, make(1, BLOCK_READ));
    host_tsc += 15 * MS; /* its turn has come, but the timer's interrupt has not */
    block_submit(&user, make(2, BLOCK_READ));
    run(0);
    run(100 * MS);
    assert_int_equal(done_count, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(order[i], i);
}

static void the_unused_is_saved_for_a_tenth_of_a_second(void **state)
{
    (void)state;
    open_limited(100, 0);
    run(60 * 1000 * MS);
    for (unsigned i = 0; i < 16; i++)
        block_submit(&user, make(i, BLOCK_READ));
    assert_int_equal(done_count, 11); /* ten saved and the present one */
    run(50 * MS);
    assert_int_equal(done_count, 16);
}

static void bytes_a_second_are_limited(void **state)
{
    (void)state;
    open_limited(0, 4096 * 100);
    for (unsigned i = 0; i < 3; i++)
        block_submit(&user, make(i, BLOCK_WRITE));
    block_submit(&user, make(3, BLOCK_DISCARD)); /* moves no bytes, but keeps its place */
    block_submit(&user, make(4, BLOCK_WRITE));
    assert_int_equal(done_count, 1);
    run(10 * MS);
    assert_int_equal(done_count, 2);
    run(10 * MS);
    assert_int_equal(done_count, 3);
    run(10 * MS);
    assert_int_equal(done_count, 5);
    make(0, BLOCK_READ)->sectors = 64; /* a large one goes, and the next waits for its debt */
    segment[0].bytes = 64 * 512;
    run(10 * MS);
    block_submit(&user, &request[0]);
    assert_int_equal(done_count, 6);
    block_submit(&user, make(1, BLOCK_READ));
    run(79 * MS);
    assert_int_equal(done_count, 6);
    run(2 * MS);
    assert_int_equal(done_count, 7);
}

static void over_a_long_time_the_limit_is_met(void **state)
{
    (void)state;
    open_limited(3000, 10 * MiB); /* 10 MiB are 2560 blocks */
    while (host_tsc < 10 * HOST_TSC_HZ) {
        for (unsigned i = 0; i < 8; i++)
            block_submit(&user, make(i, BLOCK_READ));
        while (!block_user_idle(&user))
            run(MS / 10);
        taken_count = 0;
        room = 64;
    }
    double rate = (double)user.counts.requests[BLOCK_READ] * HOST_TSC_HZ / (double)(host_tsc - 1000 * MS);
    assert_true(rate > 2500 && rate < 2580);
}

static void one_users_limit_is_not_anothers(void **state)
{
    (void)state;
    open_limited(10, 0);
    assert_int_equal(block_open(&other, &disk, "other", true, NULL, &queue), 0);
    block_submit(&user, make(0, BLOCK_READ));
    block_submit(&user, make(1, BLOCK_READ));
    assert_int_equal(done_count, 1);
    block_submit(&other, make(2, BLOCK_READ));
    assert_int_equal(done_count, 2);
    assert_int_equal(order[1], 2);
    block_close(&other);
}

/* --- The end */

static void cancel_ends_what_waits_and_only_that(void **state)
{
    (void)state;
    assert_int_equal(block_open(&other, &disk, "other", true, NULL, &queue), 0);
    room = 1;
    block_submit(&user, make(0, BLOCK_READ));
    block_submit(&user, make(1, BLOCK_READ));
    block_submit(&other, make(2, BLOCK_READ));
    block_submit(&user, make(3, BLOCK_READ));
    block_cancel(&user);
    assert_int_equal(done_count, 2);
    assert_int_equal(last_status, -ENODEV);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 3);
    assert_false(block_user_idle(&user)); /* the driver has one */
    block_complete(&disk, taken[0], 0);
    assert_true(block_user_idle(&user));
    room = 64;
    block_ready(&disk);
    assert_int_equal(taken_count, 2);
    assert_ptr_equal(taken[1], &request[2]);
    block_complete(&disk, taken[1], 0);
    assert_true(block_user_idle(&other));
    block_close(&other);
}

static void close_ends_what_a_limit_held(void **state)
{
    (void)state;
    open_limited(10, 0);
    block_submit(&user, make(0, BLOCK_READ));
    block_submit(&user, make(1, BLOCK_READ));
    block_submit(&user, make(2, BLOCK_READ));
    block_close(&user);
    assert_int_equal(done_count, 3);
    assert_int_equal(last_status, -ENODEV);
    assert_true(block_user_idle(&user));
    assert_int_equal(timer_queue_next(&queue), TIMER_NEVER);
    block_close(&user);
    assert_int_equal(done_count, 3);
}

/* --- Counts */

static void latencies_fall_into_buckets(void **state)
{
    static const struct {
        uint64_t ticks;
        unsigned bucket;
    } cases[] = {
        { 0, 0 },         { 1 * US, 0 },       { 2 * US + 1, 1 }, { 4 * US + 1, 2 }, { 1024 * US + 9, 10 },
        { 1023 * US, 9 }, { 3600000 * MS, 23 }
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        taken_count = 0;
        block_submit(&user, make(0, BLOCK_READ));
        host_tsc += cases[i].ticks;
        memset(&user.counts, 0, sizeof(user.counts));
        block_complete(&disk, taken[0], 0);
        assert_int_equal(user.counts.latency[BLOCK_READ][cases[i].bucket], 1);
    }
    host_tsc = 1000 * MS;
    taken_count = 0;
    block_submit(&user, make(0, BLOCK_READ));
    host_tsc -= 5; /* another CPU's counter may be a little behind */
    block_complete(&disk, taken[0], 0);
    assert_int_equal(user.counts.latency[BLOCK_READ][0], 1);
}

static void devices_are_listed_in_order(void **state)
{
    struct block_device third = { .name = "test1" }, late = { .name = "test0p2", .whole = &disk };

    (void)state;
    block_add(&third);
    block_add(&late); /* a range follows its disk */
    assert_ptr_equal(block_device(2), &late);
    block_remove(&late);
    assert_ptr_equal(block_device(0), &disk);
    assert_ptr_equal(block_device(1), &part);
    assert_ptr_equal(block_device(2), &third);
    assert_null(block_device(3));
    block_remove(&part);
    assert_ptr_equal(block_device(1), &third);
    block_remove(&third);
    assert_null(block_device(1));
    block_remove(&third); /* not there any more: nothing happens */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_read_reaches_the_driver_and_done_comes_once),
        TEST(a_user_is_not_idle_while_done_runs),
        TEST(an_error_is_told_and_counted),
        TEST(ranges_are_checked),
        TEST(segments_are_checked),
        TEST(more_than_the_device_takes_is_refused),
        TEST(requests_are_multiples_of_the_logical_block),
        TEST(a_reader_cannot_write),
        TEST(what_the_device_cannot_do_is_said),
        TEST(a_range_is_offset_and_bounded),
        TEST(what_a_busy_driver_refuses_is_kept_in_order),
        TEST(room_that_came_meanwhile_is_seen),
        TEST(done_may_submit),
        TEST(requests_a_second_are_limited),
        TEST(nobody_overtakes_who_is_held),
        TEST(the_unused_is_saved_for_a_tenth_of_a_second),
        TEST(bytes_a_second_are_limited),
        TEST(over_a_long_time_the_limit_is_met),
        TEST(one_users_limit_is_not_anothers),
        TEST(cancel_ends_what_waits_and_only_that),
        TEST(close_ends_what_a_limit_held),
        TEST(latencies_fall_into_buckets),
        TEST(devices_are_listed_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
