/* A VM's nested page table over its RAM: whole runs in large pages, the hole, a page of a device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "lib/errno.h"
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "vmx/guestmap.h"
#include "vmx/nested.h"

#define POOL_SIZE   (4 * MiB)
#define OWNER       (FRAME_VM + 3)
#define LOW_CHUNKS  6
#define HIGH_CHUNKS 600
#define HIGH_HOST   (8 * GiB) /* where the upper RAM starts in the host; nothing reads it */
#define RAM         (PTAB_READ | PTAB_WRITE | PTAB_EXEC | PTAB_WB)

static uint8_t *low_chunk[LOW_CHUNKS], *high_chunk[HIGH_CHUNKS];
static struct vm vm;

static void *pointer(hpa_t at)
{
    return phys_to_virt(at);
}

static int setup(void **state)
{
    static const struct frame_range usable = { { 0 }, POOL_SIZE };
    /* Chunks 0 and 1 are neighbours, 2 stands alone, 4 comes right before 3. */
    static const unsigned place[LOW_CHUNKS] = { 20, 21, 30, 41, 40, 50 };

    (void)state;
    host_memory = aligned_alloc(PAGE_SIZE, POOL_SIZE);
    for (unsigned i = 0; i < LOW_CHUNKS; i++)
        low_chunk[i] = phys_to_virt(hpa(place[i] * GMEM_CHUNK));
    for (unsigned i = 0; i < HIGH_CHUNKS; i++)
        high_chunk[i] = phys_to_virt(hpa(HIGH_HOST + i * GMEM_CHUNK));
    return frames_init(&(struct frame_setup){ .usable = &usable, .usable_count = 1, .pointer = pointer });
}

static int teardown(void **state)
{
    (void)state;
    free(host_memory);
    host_memory = NULL;
    return 0;
}

static void start(void)
{
    vm = (struct vm){
        .index = 3,
        .mem = { .count = 2,
                 .slot = { { gpa(0), LOW_CHUNKS * GMEM_CHUNK, low_chunk },
                           { gpa(GUEST_HIGH_BASE), HIGH_CHUNKS * GMEM_CHUNK, high_chunk } },
                 .hole_base = gpa(GUEST_HOLE_BASE),
                 .hole_size = GUEST_HOLE_SIZE },
    };
}

static void check_page(uint64_t at, uint64_t target, uint64_t size, uint32_t flags)
{
    struct ptab_mapping found;

    assert_true(ptab_lookup(&vm.nested, at, &found));
    assert_int_equal(found.target.raw + (at - found.address), target);
    assert_int_equal(found.size, size);
    assert_int_equal(found.flags, flags);
}

static void check_nothing(uint64_t at)
{
    struct ptab_mapping found;

    assert_false(ptab_lookup(&vm.nested, at, &found));
}

static void check_ram(const struct ptab_format *format, uint32_t flags)
{
    start();
    assert_int_equal(nested_create(&vm, format, flags), 0);
    assert_ptr_equal(vm.nested.format, format);
    assert_int_equal(frames_count(OWNER), vm.nested.tables);
    check_page(0, 20 * GMEM_CHUNK, PAGE_SIZE, flags);
    check_page(GUEST_HOLE_BASE - 1, 20 * GMEM_CHUNK + GUEST_HOLE_BASE - 1, PAGE_SIZE, flags);
    check_nothing(GUEST_HOLE_BASE);
    check_nothing(GUEST_HOLE_BASE + GUEST_HOLE_SIZE - 1);
    check_page(GUEST_BIOS_BASE, 20 * GMEM_CHUNK + GUEST_BIOS_BASE, PAGE_SIZE, flags);
    for (unsigned i = 1; i < LOW_CHUNKS; i++)
        check_page(i * GMEM_CHUNK + 5, virt_to_phys(low_chunk[i]).raw + 5, PAGE_2M, flags);
    check_nothing(LOW_CHUNKS * GMEM_CHUNK);
    check_nothing(GUEST_HIGH_BASE - 1);
    check_page(GUEST_HIGH_BASE + 7, HIGH_HOST + 7, PAGE_1G, flags); /* 512 chunks as one page */
    check_page(GUEST_HIGH_BASE + PAGE_1G, HIGH_HOST + PAGE_1G, PAGE_2M, flags);
    check_page(GUEST_HIGH_BASE + 599 * GMEM_CHUNK, HIGH_HOST + 599 * GMEM_CHUNK, PAGE_2M, flags);
    check_nothing(GUEST_HIGH_BASE + 600 * GMEM_CHUNK);
    nested_destroy(&vm);
    assert_int_equal(frames_count(OWNER), 0);
}

static void test_ram(void **state)
{
    (void)state;
    check_ram(&ptab_x86, RAM | PTAB_USER);
    check_ram(&ptab_ept, RAM);
}

static void check_device(const struct ptab_format *format, uint32_t flags)
{
    start();
    assert_int_equal(nested_create(&vm, format, RAM | PTAB_USER), 0);
    assert_int_equal(nested_map_page(&vm, gpa(GUEST_LAPIC_BASE), hpa(0x7654000)), 0);
    check_page(GUEST_LAPIC_BASE + 0x20, 0x7654020, PAGE_SIZE, flags);
    check_nothing(GUEST_LAPIC_BASE - 1);
    check_nothing(GUEST_LAPIC_BASE + PAGE_SIZE);
    assert_int_equal(frames_count(OWNER), vm.nested.tables);
    /* What was there is replaced. */
    assert_int_equal(nested_map_page(&vm, gpa(3 * GMEM_CHUNK), hpa(0x7655000)), 0);
    check_page(3 * GMEM_CHUNK, 0x7655000, PAGE_SIZE, flags);
    check_page(3 * GMEM_CHUNK + PAGE_SIZE, 41 * GMEM_CHUNK + PAGE_SIZE, PAGE_SIZE, flags | PTAB_EXEC);
    assert_int_equal(nested_map_page(&vm, gpa(GUEST_LAPIC_BASE + 8), hpa(0x7654000)), -EINVAL);
    assert_int_equal(nested_map_page(&vm, gpa(GUEST_LAPIC_BASE), hpa(0x7654008)), -EINVAL);
    nested_destroy(&vm);
    assert_int_equal(frames_count(OWNER), 0);
}

static void test_device(void **state)
{
    (void)state;
    check_device(&ptab_x86, PTAB_READ | PTAB_WRITE | PTAB_USER | PTAB_WB); /* NPT refuses other pages */
    check_device(&ptab_ept, PTAB_READ | PTAB_WRITE | PTAB_WB);
}

/* Of a large page one chunk goes, and comes back elsewhere; its neighbours stay. */
static void check_chunk(const struct ptab_format *format, uint32_t flags)
{
    gpa_t at = gpa(GUEST_HIGH_BASE + 3 * GMEM_CHUNK);

    start();
    assert_int_equal(nested_create(&vm, format, flags), 0);
    assert_int_equal(nested_unmap_chunk(&vm, at), 0);
    check_nothing(at.raw);
    check_nothing(at.raw + GMEM_CHUNK - 1);
    check_page(at.raw - 1, HIGH_HOST + 3 * GMEM_CHUNK - 1, PAGE_2M, flags);
    check_page(at.raw + GMEM_CHUNK, HIGH_HOST + 4 * GMEM_CHUNK, PAGE_2M, flags);
    assert_int_equal(nested_map_chunk(&vm, at, low_chunk[1]), 0);
    check_page(at.raw + 9, virt_to_phys(low_chunk[1]).raw + 9, PAGE_2M, flags);
    for (unsigned i = 0; i < 600; i++)
        assert_int_equal(nested_unmap_chunk(&vm, gpa(GUEST_HIGH_BASE + i * GMEM_CHUNK)), 0);
    check_nothing(GUEST_HIGH_BASE);
    assert_int_equal(nested_map_chunk(&vm, at, low_chunk[1]), 0);
    check_page(at.raw, virt_to_phys(low_chunk[1]).raw, PAGE_2M, flags);
    assert_int_equal(frames_count(OWNER), vm.nested.tables);
    nested_destroy(&vm);
    assert_int_equal(frames_count(OWNER), 0);
}

static void test_chunk(void **state)
{
    (void)state;
    check_chunk(&ptab_x86, RAM | PTAB_USER);
    check_chunk(&ptab_ept, RAM);
}

/* With 0, 1, 2, ... frames left: nothing is kept, until it succeeds with as many as it needs. */
static void test_out_of_memory(void **state)
{
    static hpa_t taken[POOL_SIZE / PAGE_SIZE];
    unsigned count = 0, left = 0;
    int err;

    (void)state;
    for (;; count++) {
        taken[count] = frames_alloc(FRAME_ORDER_4K, FRAME_HEAP);
        if (!taken[count].raw)
            break;
    }
    do {
        start();
        err = nested_create(&vm, &ptab_ept, RAM);
        if (err) {
            assert_int_equal(err, -ENOMEM);
            assert_int_equal(frames_count(OWNER), 0);
            frames_free(taken[--count], FRAME_ORDER_4K, FRAME_HEAP);
            left++;
        }
    } while (err && left < 20);
    /* Root, one table of 1G entries, two of 2M entries, one of 4K entries for the hole. */
    assert_int_equal(left, 5);
    assert_int_equal(err, 0);
    assert_int_equal(nested_map_page(&vm, gpa(GUEST_LAPIC_BASE), hpa(0x7654000)), -ENOMEM);
    check_nothing(GUEST_LAPIC_BASE);
    nested_destroy(&vm);
    while (count)
        frames_free(taken[--count], FRAME_ORDER_4K, FRAME_HEAP);
    assert_int_equal(frames_count(OWNER), 0);
    assert_int_equal(frames_audit(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ram),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_chunk),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
