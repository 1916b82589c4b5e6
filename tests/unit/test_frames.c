/* The frame allocator over a sparse 6 GiB "physical" memory, against a simple model. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "tests/unit/host/host.h"

#define MEMORY (6 * GiB)

static int set_up(void **state)
{
    (void)state;
    host_memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                       0);
    return host_memory == MAP_FAILED;
}

static int tear_down(void **state)
{
    (void)state;
    return munmap(host_memory, MEMORY);
}

static int init(const struct frame_range *usable, unsigned usable_count, const struct frame_range *reserved,
                const enum frame_owner *owner, unsigned reserved_count)
{
    struct frame_setup setup = { usable, usable_count, reserved, owner, reserved_count, phys_to_virt };

    return frames_init(&setup);
}

/* A PC: low memory, 1 MiB to 3 GiB less a little, 4 GiB up; image, modules, an area outside. */
static const struct frame_range pc[] = {
    { { 0 }, 0x9f000 },
    { { 1 * MiB }, 3 * GiB - 5 * PAGE_SIZE - 1 * MiB },
    { { 4 * GiB }, 2 * GiB },
};
static const struct frame_range pc_reserved[] = {
    { { 64 * MiB }, 3 * MiB + PAGE_SIZE },
    { { 2 * MiB }, 1 * MiB },
    { { 66 * MiB }, 8 * MiB },
    { { 3 * GiB }, 1 * GiB },
};
static const enum frame_owner pc_owner[] = { FRAME_MODULE, FRAME_IMAGE, FRAME_RESERVED, FRAME_PTAB };

static void init_pc(void)
{
    assert_int_equal(init(pc, ARRAY_SIZE(pc), pc_reserved, pc_owner, ARRAY_SIZE(pc_reserved)), 0);
    assert_int_equal(frames_audit(), 0);
}

static uint64_t frames_of_pc(void)
{
    return (pc[0].size + pc[1].size + pc[2].size) / PAGE_SIZE;
}

static void test_setup(void **state)
{
    uint64_t record_frames = (frames_of_pc() * 4 + PAGE_SIZE - 1) / PAGE_SIZE;

    (void)state;
    init_pc();
    assert_int_equal(frames_total(), frames_of_pc());
    assert_int_equal(frames_owner(hpa(0)), FRAME_RESERVED);
    assert_int_equal(frames_owner(hpa(PAGE_SIZE)), FRAME_FREE);
    assert_int_equal(frames_owner(hpa(0x9f000)), FRAME_RESERVED);
    assert_int_equal(frames_owner(hpa(2 * MiB + 0x5000)), FRAME_IMAGE);
    assert_int_equal(frames_owner(hpa(67 * MiB)), FRAME_MODULE); /* the first one named wins */
    assert_int_equal(frames_owner(hpa(67 * MiB + PAGE_SIZE)), FRAME_RESERVED);
    assert_int_equal(frames_owner(hpa(3 * GiB)), FRAME_RESERVED);
    assert_int_equal(frames_owner(hpa(100 * GiB)), FRAME_RESERVED);
    assert_int_equal(frames_count(FRAME_IMAGE), MiB / PAGE_SIZE);
    assert_int_equal(frames_count(FRAME_MODULE), 3 * MiB / PAGE_SIZE + 1);
    assert_int_equal(frames_count(FRAME_PTAB), 0);
    assert_int_equal(frames_count(FRAME_FRAMES), record_frames);
    assert_int_equal(frames_count(FRAME_RESERVED), 1 + 7 * MiB / PAGE_SIZE - 1);
    assert_int_equal(frames_count(FRAME_FREE), frames_total() - 1 - record_frames - 11 * MiB / PAGE_SIZE);
    assert_int_equal(frames_free_blocks(0), frames_count(FRAME_FREE));
    assert_int_equal(frames_free_blocks(FRAME_ORDER_1G), 3); /* at 1, 4 and 5 GiB */
}

static void test_bad_setup(void **state)
{
    static const struct frame_range unsorted[] = { { { 2 * MiB }, MiB }, { { MiB }, MiB } };
    static const struct frame_range overlapping[] = { { { MiB }, 2 * MiB }, { { 2 * MiB }, MiB } };
    static const struct frame_range misaligned[] = { { { MiB + 1 }, MiB } };
    static const struct frame_range wrapping[] = { { { 0 - 2 * MiB }, 4 * MiB } };
    static const struct frame_range good[] = { { { MiB }, MiB } };
    static const struct frame_range touching[] = { { { 1 * GiB }, GiB / 2 },
                                                   { { 3 * GiB / 2 }, GiB / 2 },
                                                   { { 2 * GiB }, MiB } };
    static const enum frame_owner owner[] = { FRAME_IMAGE };

    (void)state;
    assert_int_equal(init(unsorted, 2, NULL, NULL, 0), -EINVAL);
    assert_int_equal(init(overlapping, 2, NULL, NULL, 0), -EINVAL);
    assert_int_equal(init(misaligned, 1, NULL, NULL, 0), -EINVAL);
    assert_int_equal(init(wrapping, 1, NULL, NULL, 0), -EINVAL);
    assert_int_equal(init(good, 1, misaligned, owner, 1), -EINVAL);
    assert_int_equal(init(good, 1, good, owner, 1), -ENOMEM);
    assert_int_equal(init(NULL, 0, NULL, NULL, 0), -ENOMEM);
    assert_int_equal(init(good, 1, NULL, NULL, 0), 0);
    /* Ranges that touch are one: their parts join to a block across the seam. */
    assert_int_equal(init(touching, 3, (const struct frame_range[]){ { { 0 }, PAGE_SIZE } }, owner, 1), 0);
    assert_int_equal(frames_audit(), 0);
    assert_int_equal(frames_free_blocks(FRAME_ORDER_1G - 1), 1);
}

static void test_large_blocks(void **state)
{
    hpa_t block[3];

    (void)state;
    init_pc();
    for (unsigned i = 0; i < 3; i++) {
        block[i] = frames_alloc(FRAME_ORDER_1G, FRAME_VM + 3);
        assert_true(block[i].raw && is_aligned(block[i].raw, PAGE_1G));
        assert_int_equal(frames_owner(hpa(block[i].raw + PAGE_1G - 1)), FRAME_VM + 3);
        assert_int_equal(frames_order(hpa(block[i].raw + 0x1234567)), FRAME_ORDER_1G);
    }
    assert_int_equal(frames_alloc(FRAME_ORDER_1G, FRAME_VM).raw, 0);
    assert_int_equal(frames_alloc(FRAME_ORDERS, FRAME_VM).raw, 0);
    assert_int_equal(frames_count(FRAME_VM + 3), 3 * PAGE_1G / PAGE_SIZE);
    assert_int_equal(frames_count(FRAME_VM + 2), 0);
    assert_int_equal(frames_audit(), 0);
    for (unsigned i = 0; i < 3; i++)
        frames_free(block[i], FRAME_ORDER_1G, FRAME_VM + 3);
    assert_int_equal(frames_free_blocks(FRAME_ORDER_1G), 3);
    assert_int_equal(frames_audit(), 0);
}

static uint64_t seed = 7;

static uint64_t random_below(uint64_t limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % limit;
}

struct given {
    hpa_t block;
    unsigned order, owner;
};

/* Blocks overlap neither each other nor anything reserved; counters agree; all comes back. */
static void test_random(void **state)
{
    static const struct frame_range usable[] = { { { MiB }, 3 * MiB }, { { 5 * MiB + PAGE_SIZE }, 4 * MiB } };
    static const struct frame_range reserved[] = { { { 2 * MiB }, 0x11000 } };
    static const enum frame_owner owner[] = { FRAME_IMAGE };
    static uint8_t
        owner_of[10 * MiB / PAGE_SIZE]; /* the model: 0 free or unknown, else index of the block + 1 */
    static struct given given[200];
    unsigned live = 0;
    uint64_t free_at_start, in_use = 0;

    (void)state;
    assert_int_equal(init(usable, 2, reserved, owner, 1), 0);
    free_at_start = frames_count(FRAME_FREE);
    memset(owner_of, 0, sizeof(owner_of));
    for (unsigned step = 0; step < 20000; step++) {
        if (live < ARRAY_SIZE(given) && random_below(5) < (step / 2000 % 2 ? 2 : 3)) {
            struct given g = { .order = (unsigned)random_below(random_below(8) + 1),
                               .owner = FRAME_VM + (unsigned)random_below(3) };

            g.block = frames_alloc(g.order, g.owner);
            if (!g.block.raw) {
                assert_int_equal(frames_free_blocks(g.order), 0);
                continue;
            }
            assert_true(is_aligned(g.block.raw, PAGE_SIZE << g.order));
            for (uint64_t i = 0; i < BIT(g.order); i++) {
                assert_int_equal(owner_of[g.block.raw / PAGE_SIZE + i], 0);
                owner_of[g.block.raw / PAGE_SIZE + i] = 1;
                assert_int_equal(frames_owner(hpa(g.block.raw + i * PAGE_SIZE)), g.owner);
            }
            memset(phys_to_virt(g.block), 0xdd, PAGE_SIZE << g.order); /* the owner may write every byte */
            in_use += BIT(g.order);
            given[live++] = g;
        } else if (live) {
            unsigned victim = (unsigned)random_below(live);
            struct given g = given[victim];

            frames_free(g.block, g.order, g.owner);
            memset(&owner_of[g.block.raw / PAGE_SIZE], 0, BIT(g.order));
            in_use -= BIT(g.order);
            given[victim] = given[--live];
        }
        assert_int_equal(frames_count(FRAME_FREE), free_at_start - in_use);
        if (step % 500 == 0)
            assert_int_equal(frames_audit(), 0);
    }
    while (live--)
        frames_free(given[live].block, given[live].order, given[live].owner);
    assert_int_equal(frames_count(FRAME_FREE), free_at_start);
    assert_int_equal(frames_count(FRAME_VM), 0);
    assert_int_equal(frames_audit(), 0);
}

/* The last frame can be had, and then there is none. */
static void test_exhaustion(void **state)
{
    static const struct frame_range usable[] = { { { MiB }, MiB } };
    uint64_t given = 0;

    (void)state;
    assert_int_equal(init(usable, 1, NULL, NULL, 0), 0);
    while (frames_alloc(0, FRAME_HEAP).raw)
        given++;
    assert_int_equal(given, 255); /* one holds the records */
    assert_int_equal(frames_count(FRAME_FREE), 0);
    assert_int_equal(frames_audit(), 0);
}

/* What a stray write does to a free frame, or to a record, is found. */
static void test_audit_finds_damage(void **state)
{
    static const struct frame_range usable[] = { { { MiB }, MiB } };
    hpa_t a, b, c, records = hpa(MiB);
    uint64_t *links;
    uint8_t *record;
    unsigned logged;

    (void)state;
    host_log_quiet = true;
    assert_int_equal(init(usable, 1, NULL, NULL, 0), 0);
    assert_int_equal(frames_owner(records), FRAME_FRAMES);
    a = frames_alloc(0, FRAME_HEAP);
    b = frames_alloc(0, FRAME_HEAP);
    c = frames_alloc(0, FRAME_HEAP);
    frames_free(a, 0, FRAME_HEAP);
    frames_free(c, 0, FRAME_HEAP);
    assert_int_equal(frames_audit(), 0);

    links = phys_to_virt(c);
    for (unsigned word = 0; word < 2; word++) {
        uint64_t good = links[word];

        links[word] = 0xdeadbeefdeadbeef;
        logged = host_log_count;
        assert_int_equal(frames_audit(), -EFAULT);
        assert_true(host_log_count > logged && host_log_count <= logged + 8);
        links[word] = good;
        assert_int_equal(frames_audit(), 0);
    }

    for (uint64_t byte = 0; byte < 4; byte++) {
        record = (uint8_t *)phys_to_virt(records) + (b.raw - MiB) / PAGE_SIZE * 4 + byte;
        *record ^= 1;
        logged = host_log_count;
        assert_int_equal(frames_audit(), -EFAULT);
        assert_true(host_log_count > logged && host_log_count <= logged + 8);
        *record ^= 1;
        assert_int_equal(frames_audit(), 0);
    }
    memset(phys_to_virt(records), 0xff, PAGE_SIZE);
    assert_int_equal(frames_audit(), -EFAULT);
    host_log_quiet = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setup),        cmocka_unit_test(test_bad_setup),
        cmocka_unit_test(test_large_blocks), cmocka_unit_test(test_random),
        cmocka_unit_test(test_exhaustion),   cmocka_unit_test(test_audit_finds_damage),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
