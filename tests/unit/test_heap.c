/* The heap over real frames in a test arena. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "kernel/heap.h"

#define ARENA (16 * MiB)

static int set_up(void **state)
{
    static const struct frame_range usable[] = { { { PAGE_SIZE }, ARENA - PAGE_SIZE } };
    struct frame_setup setup = { .usable = usable, .usable_count = 1, .pointer = phys_to_virt };

    (void)state;
    host_memory = aligned_alloc(4 * MiB, ARENA);
    memset(host_memory, 0xa5, ARENA); /* so that zeroing shows */
    return frames_init(&setup);
}

static int tear_down(void **state)
{
    (void)state;
    free(host_memory);
    return 0;
}

static bool is_zero(const uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (at[i])
            return false;
    return true;
}

static void test_sizes(void **state)
{
    static const size_t size[] = { 1, 16, 17, 100, 1024, 1025, 4096, 4097, 100000, 4 * MiB };
    static const size_t rounded[] = { 16, 16, 32, 128, 1024, 4096, 4096, 8192, 131072, 4 * MiB };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(size); i++) {
        void *at = heap_alloc(size[i]);

        assert_non_null(at);
        assert_true(is_aligned((uintptr_t)at, 16));
        assert_true(is_zero(at, size[i]));
        memset(at, 0xee, size[i]);
        assert_int_equal(heap_used(), rounded[i]);
        heap_free(at);
        assert_int_equal(heap_used(), 0);
    }
    assert_null(heap_alloc(0));
    assert_null(heap_alloc(4 * MiB + 1));
    assert_null(heap_alloc(SIZE_MAX));
    heap_free(NULL);
    assert_int_equal(frames_count(FRAME_HEAP), 0);
}

static void test_exhaustion(void **state)
{
    uint64_t free_frames = frames_count(FRAME_FREE);
    void **first = NULL, **at;
    unsigned objects = 0;

    (void)state;
    while ((at = heap_alloc(1024))) {
        *at = first;
        first = at;
        objects++;
    }
    assert_int_equal(objects, free_frames * 3); /* three to a slab */
    assert_null(heap_alloc(16));
    assert_null(heap_alloc(8192));
    while (first) {
        at = *first;
        heap_free(first);
        first = at;
    }
    assert_int_equal(frames_count(FRAME_FREE), free_frames);
    assert_int_equal(frames_audit(), 0);
}

static uint64_t seed = 3;

static uint64_t random_below(uint64_t limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % limit;
}

/* Objects do not overlap: each keeps the pattern that its owner wrote. */
static void test_random(void **state)
{
    static struct {
        uint8_t *at;
        size_t size;
        uint8_t pattern;
    } object[600];

    (void)state;
    for (unsigned step = 0; step < 30000; step++) {
        uint64_t i = random_below(ARRAY_SIZE(object));

        if (object[i].at) {
            for (size_t j = 0; j < object[i].size; j++)
                assert_int_equal(object[i].at[j], object[i].pattern);
            heap_free(object[i].at);
            object[i].at = NULL;
            continue;
        }
        object[i].size = 1 + random_below(UINT64_C(1) << random_below(14));
        object[i].pattern = (uint8_t)step;
        object[i].at = heap_alloc(object[i].size);
        assert_non_null(object[i].at);
        assert_true(is_zero(object[i].at, object[i].size));
        memset(object[i].at, object[i].pattern, object[i].size);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(object); i++)
        heap_free(object[i].at);
    assert_int_equal(heap_used(), 0);
    assert_int_equal(frames_count(FRAME_HEAP), 0);
    assert_int_equal(frames_audit(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_exhaustion),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
