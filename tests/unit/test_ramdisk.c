#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/paging.h"
#include "io/ramdisk.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "lib/errno.h"
#include "tests/unit/host/host.h"

#define ARENA (16 * MiB)
#define SIZE  (300 * KiB + 100) /* neither whole sectors nor whole pieces */
#define OWNER (FRAME_VM + 3)

static struct ramdisk disk;
static struct block_user user;
static struct timer_queue queue;
static uint8_t *file, *model; /* what the disk must hold */
static unsigned done_count;
static int last_status;

static int setup(void **state)
{
    static const struct frame_range usable[] = { { { PAGE_SIZE }, ARENA - PAGE_SIZE } };
    const struct frame_setup frames = { .usable = usable, .usable_count = 1, .pointer = phys_to_virt };

    (void)state;
    host_memory = aligned_alloc(4 * MiB, ARENA);
    memset(host_memory, 0xa5, ARENA);
    timer_queue_init(&queue);
    file = malloc(SIZE); /* exactly, so that a read beyond its end is seen */
    model = calloc(1, SIZE + BLOCK_SECTOR);
    for (unsigned i = 0; i < SIZE; i++)
        file[i] = model[i] = (uint8_t)(i * 7 + i / 256);
    return frames_init(&frames);
}

static int teardown(void **state)
{
    (void)state;
    free(file);
    free(model);
    free(host_memory);
    host_memory = NULL;
    return 0;
}

static void done(struct block_request *request, int status)
{
    (void)request;
    done_count++;
    last_status = status;
}

/* In segments of the given sizes, which repeat. */
static int transfer(enum block_op op, uint64_t sector, uint32_t sectors, uint8_t *data, uint32_t step)
{
    struct block_segment segment[BLOCK_MAX_SEGMENTS];
    struct block_request request = {
        .op = op, .sector = sector, .sectors = sectors, .segment = segment, .done = done
    };
    uint32_t bytes = sectors * BLOCK_SECTOR;

    for (uint32_t at = 0; at < bytes; at += step)
        segment[request.segments++] = (struct block_segment){ data + at,
                                                              bytes - at < step ? bytes - at : step };
    done_count = 0;
    block_submit(&user, &request);
    assert_int_equal(done_count, 1);
    assert_true(block_user_idle(&user));
    return last_status;
}

static void check_all(void)
{
    uint8_t *data = malloc(SIZE + BLOCK_SECTOR);
    uint32_t sectors = (SIZE + BLOCK_SECTOR - 1) / BLOCK_SECTOR;

    memset(data, 0xee, SIZE + BLOCK_SECTOR);
    assert_int_equal(transfer(BLOCK_READ, 0, sectors, data, 30000), 0);
    assert_memory_equal(data, model, sectors * BLOCK_SECTOR);
    free(data);
}

static void shared_reads_the_file_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(ramdisk_create_shared(&disk, file, SIZE), 0);
    block_add(&disk.device);
    assert_int_equal(disk.device.sectors, 601);
    assert_int_equal(block_open(&user, &disk.device, "vm", false, NULL, &queue), -EROFS);
    assert_int_equal(block_open(&user, &disk.device, "vm", true, NULL, &queue), 0);
    check_all(); /* zeroes fill the last sector */
    assert_int_equal(transfer(BLOCK_WRITE, 0, 1, model, 512), -EROFS);
    assert_int_equal(frames_count(OWNER), 0);
    block_close(&user);
    block_remove(&disk.device);
}

static void a_private_copy_keeps_what_is_written(void **state)
{
    uint8_t data[64 * BLOCK_SECTOR];

    (void)state;
    assert_int_equal(ramdisk_create_private(&disk, file, SIZE, OWNER), 0);
    block_add(&disk.device);
    assert_int_equal(frames_count(OWNER), 5 * 16);
    assert_int_equal(block_open(&user, &disk.device, "vm", false, NULL, &queue), 0);
    check_all();
    assert_int_equal(frames_count(OWNER), 5 * 16); /* all of it was there from the start */
    for (unsigned i = 0; i < 200; i++) {
        uint32_t sectors = 1 + (unsigned)rand() % 64, at = (unsigned)rand() % (601 - sectors);

        memset(data, (int)(i + 1), sizeof(data));
        memset(model + at * BLOCK_SECTOR, (int)(i + 1), sectors * BLOCK_SECTOR);
        assert_int_equal(transfer(BLOCK_WRITE, at, sectors, data, 2 + 2 * ((unsigned)rand() % 4096) + 512),
                         0);
        if (i % 20 == 0)
            check_all();
    }
    check_all();
    for (unsigned i = 0; i < SIZE; i++)
        assert_int_equal(file[i], (uint8_t)(i * 7 + i / 256)); /* the file itself is untouched */
    block_close(&user);
    block_remove(&disk.device);
    ramdisk_destroy(&disk);
    assert_int_equal(frames_count(OWNER), 0);
    assert_int_equal(heap_used(), 0);
}

static void a_flush_succeeds_and_no_more_is_promised(void **state)
{
    struct block_request flush = { .op = BLOCK_FLUSH, .done = done };

    (void)state;
    assert_int_equal(ramdisk_create_private(&disk, file, SIZE, OWNER), 0);
    block_add(&disk.device);
    assert_int_equal(block_open(&user, &disk.device, "vm", false, NULL, &queue), 0);
    last_status = 1;
    block_submit(&user, &flush);
    assert_int_equal(last_status, 0);
    flush.op = BLOCK_DISCARD;
    flush.sectors = 1;
    block_submit(&user, &flush);
    assert_int_equal(last_status, -EOPNOTSUPP);
    block_close(&user);
    block_remove(&disk.device);
    ramdisk_destroy(&disk);
}

static void short_memory_keeps_nothing(void **state)
{
    (void)state;
    assert_int_equal(ramdisk_create_shared(&disk, file, 0), -EINVAL);
    assert_int_equal(ramdisk_create_private(&disk, file, 0, OWNER), -EINVAL);
    assert_int_equal(ramdisk_create_private(&disk, file, 20 * MiB, OWNER), -ENOMEM); /* not read yet */
    assert_int_equal(frames_count(OWNER), 0);
    assert_int_equal(heap_used(), 0);
    assert_int_equal(ramdisk_create_private(&disk, file, 17 * GiB, OWNER), -ENOMEM);
    assert_int_equal(heap_used(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shared_reads_the_file_and_nothing_else),
        TEST(a_private_copy_keeps_what_is_written),
        TEST(a_flush_succeeds_and_no_more_is_promised),
        TEST(short_memory_keeps_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
