/* Guest memory: what is RAM, what is not, and copies across chunks and slots. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "vmx/gmem.h"

#define LOW_SIZE  (2 * GMEM_CHUNK)
#define HIGH_BASE (4 * GiB)
#define HIGH_SIZE (1 * GMEM_CHUNK)
#define HOLE      0xa0000u
#define HOLE_SIZE 0x20000u

static uint8_t *low_chunks[2], *high_chunks[1];
static struct gmem mem;

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++)
        low_chunks[i] = calloc(1, GMEM_CHUNK);
    high_chunks[0] = calloc(1, GMEM_CHUNK);
    mem = (struct gmem){
        .count = 2,
        .direct = LOW_SIZE,
        .slot = { { gpa(0), LOW_SIZE, low_chunks }, { gpa(HIGH_BASE), HIGH_SIZE, high_chunks } },
        .hole_base = gpa(HOLE),
        .hole_size = HOLE_SIZE,
    };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(low_chunks[0]);
    free(low_chunks[1]);
    free(high_chunks[0]);
    return 0;
}

static void test_size(void **state)
{
    (void)state;
    assert_int_equal(gmem_size(&mem), LOW_SIZE + HIGH_SIZE);
}

static void test_ptr(void **state)
{
    (void)state;
    assert_ptr_equal(gmem_ptr(&mem, gpa(0), 1), low_chunks[0]);
    assert_ptr_equal(gmem_ptr(&mem, gpa(0x1234), 8), low_chunks[0] + 0x1234);
    assert_ptr_equal(gmem_ptr(&mem, gpa(GMEM_CHUNK), GMEM_CHUNK), low_chunks[1]);
    assert_ptr_equal(gmem_ptr(&mem, gpa(LOW_SIZE - 1), 1), low_chunks[1] + GMEM_CHUNK - 1);
    assert_ptr_equal(gmem_ptr(&mem, gpa(HIGH_BASE + 16), 16), high_chunks[0] + 16);
}

static void test_ptr_refuses(void **state)
{
    static const struct {
        uint64_t at;
        size_t size;
    } bad[] = {
        { LOW_SIZE, 1 },                     /* after the slot */
        { LOW_SIZE - 4, 8 },                 /* over its end */
        { GMEM_CHUNK - 4, 8 },               /* across chunks, which need not be neighbours */
        { 0, GMEM_CHUNK + 1 },               /* larger than a chunk */
        { 0, SIZE_MAX },                     /* sums wrap */
        { 16, SIZE_MAX - 8 },                /* ... to a small end */
        { HIGH_BASE - 1, 1 },                /* between slots */
        { HIGH_BASE - 1, 2 },                /* into a slot from below */
        { HIGH_BASE + HIGH_SIZE, 1 },        /* after the last */
        { UINT64_MAX, 1 },                   /* the last byte of all */
        { UINT64_MAX, 2 },                   /* wraps to RAM at 0 */
        { UINT64_MAX - 7, 16 },              /* the same */
        { UINT64_C(0x8000000000000000), 1 }, /* a sign that must not matter */
        { HOLE, 1 },                         /* the hole's ends, from in and out */
        { HOLE + HOLE_SIZE - 1, 1 },
        { HOLE - 1, 2 },
        { HOLE + HOLE_SIZE - 1, 2 },
        { HOLE - 16, HOLE_SIZE + 32 }, /* around it */
        { 0, GMEM_CHUNK },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_null(gmem_ptr(&mem, gpa(bad[i].at), bad[i].size));
}

static void test_hole_edges(void **state)
{
    (void)state;
    assert_non_null(gmem_ptr(&mem, gpa(HOLE - 1), 1));
    assert_non_null(gmem_ptr(&mem, gpa(HOLE - 8), 8));
    assert_non_null(gmem_ptr(&mem, gpa(HOLE + HOLE_SIZE), 8));
    assert_non_null(gmem_ptr(&mem, gpa(0), HOLE));
}

static void test_no_hole(void **state)
{
    struct gmem plain = mem;

    (void)state;
    plain.hole_base = gpa(0);
    plain.hole_size = 0;
    assert_ptr_equal(gmem_ptr(&plain, gpa(HOLE), 1), low_chunks[0] + HOLE);
    assert_ptr_equal(gmem_ptr(&plain, gpa(0), GMEM_CHUNK), low_chunks[0]);
}

static void test_no_memory(void **state)
{
    const struct gmem none = { 0 };
    uint8_t byte = 7;

    (void)state;
    assert_null(gmem_ptr(&none, gpa(0), 1));
    assert_int_equal(gmem_size(&none), 0);
    assert_int_equal(gmem_read(&none, gpa(0), &byte, 1), -EFAULT);
    assert_int_equal(byte, 7);
}

static void test_copy_across_chunks(void **state)
{
    const uint8_t text[8] = "abcdefgh";
    uint8_t back[8];

    (void)state;
    assert_int_equal(gmem_write(&mem, gpa(GMEM_CHUNK - 3), text, 8), 0);
    assert_memory_equal(low_chunks[0] + GMEM_CHUNK - 3, "abc", 3);
    assert_memory_equal(low_chunks[1], "defgh", 5);
    assert_int_equal(gmem_read(&mem, gpa(GMEM_CHUNK - 3), back, 8), 0);
    assert_memory_equal(back, text, 8);
}

static void test_failed_copy_changes_nothing(void **state)
{
    uint8_t ones[8], back[8] = { 0 }, zero[8] = { 0 };

    (void)state;
    memset(ones, 0xff, sizeof(ones));
    memset(low_chunks[1] + GMEM_CHUNK - 8, 0, 8);
    assert_int_equal(gmem_write(&mem, gpa(LOW_SIZE - 4), ones, 8), -EFAULT);
    assert_memory_equal(low_chunks[1] + GMEM_CHUNK - 8, zero, 8);
    assert_int_equal(gmem_fill(&mem, gpa(LOW_SIZE - 4), 0xff, 8), -EFAULT);
    assert_memory_equal(low_chunks[1] + GMEM_CHUNK - 8, zero, 8);
    assert_int_equal(gmem_write(&mem, gpa(HOLE - 4), ones, 8), -EFAULT);
    assert_memory_equal(low_chunks[0] + HOLE - 4, zero, 4);
    memset(low_chunks[1] + GMEM_CHUNK - 8, 0xee, 8);
    assert_int_equal(gmem_read(&mem, gpa(LOW_SIZE - 4), back, 8), -EFAULT);
    assert_memory_equal(back, zero, 8);
}

static void test_fill(void **state)
{
    (void)state;
    assert_int_equal(gmem_fill(&mem, gpa(GMEM_CHUNK - 2), 0x5a, 4), 0);
    assert_memory_equal(low_chunks[0] + GMEM_CHUNK - 2, "\x5a\x5a", 2);
    assert_memory_equal(low_chunks[1], "\x5a\x5a", 2);
    assert_int_not_equal(low_chunks[1][2], 0x5a);
    assert_int_equal(gmem_fill(&mem, gpa(HIGH_BASE), 1, HIGH_SIZE), 0);
    assert_int_equal(high_chunks[0][GMEM_CHUNK - 1], 1);
    assert_int_equal(gmem_fill(&mem, gpa(HIGH_BASE), 2, UINT64_MAX), -EFAULT);
    assert_int_equal(high_chunks[0][0], 1);
}

static void test_empty_copy(void **state)
{
    (void)state;
    assert_int_equal(gmem_read(&mem, gpa(LOW_SIZE), NULL, 0), 0);
    assert_int_equal(gmem_write(&mem, gpa(UINT64_MAX), NULL, 0), 0);
}

static unsigned fills;

static uint8_t *fill(const struct gmem *from, unsigned slot, uint64_t chunk)
{
    assert_ptr_equal(from, &mem);
    assert_int_equal(slot, 0);
    assert_int_equal(chunk, 1);
    fills++;
    if (fills > 1)
        return NULL;
    mem.slot[0].chunk[1] = low_chunks[1] = calloc(1, GMEM_CHUNK);
    return mem.slot[0].chunk[1];
}

/* A chunk that is away comes back when it is asked for, but not to somebody who only looks. */
static void test_away(void **state)
{
    uint8_t *places[2] = { low_chunks[0], NULL }, byte;

    (void)state;
    fills = 0;
    mem.direct = 0;
    mem.slot[0].chunk = places;
    free(low_chunks[1]);
    low_chunks[1] = NULL;
    assert_null(gmem_ptr(&mem, gpa(GMEM_CHUNK + 5), 1)); /* nobody brings it back */
    mem.fill = fill;
    assert_null(gmem_peek(&mem, gpa(GMEM_CHUNK + 5), 1));
    assert_ptr_equal(gmem_peek(&mem, gpa(5), 1), low_chunks[0] + 5);
    assert_int_equal(fills, 0);
    assert_ptr_equal(gmem_ptr(&mem, gpa(5), 1), low_chunks[0] + 5);
    assert_int_equal(gmem_write(&mem, gpa(GMEM_CHUNK - 2), "abcd", 4), 0);
    assert_int_equal(fills, 1);
    assert_memory_equal(low_chunks[1], "cd", 2);
    assert_ptr_equal(gmem_ptr(&mem, gpa(GMEM_CHUNK + 5), 1), low_chunks[1] + 5);
    assert_int_equal(fills, 1);
    places[1] = NULL;
    assert_int_equal(gmem_read(&mem, gpa(GMEM_CHUNK), &byte, 1), -EFAULT); /* it cannot be had */
    assert_int_equal(fills, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_ptr),
        cmocka_unit_test(test_ptr_refuses),
        cmocka_unit_test(test_hole_edges),
        cmocka_unit_test(test_no_hole),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_copy_across_chunks),
        cmocka_unit_test(test_failed_copy_changes_nothing),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_empty_copy),
        cmocka_unit_test(test_away),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
