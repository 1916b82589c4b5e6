/* The entropy device: bytes by way of its queue, and where they come from. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vrng.h"
#include "tests/unit/virtio_rig.h"

#define DATA (PAGE_2M - 0x10000)

static struct vrng vrng;
static unsigned seeds;
static bool dry;

static bool entropy(uint8_t seed[CHACHA20_KEY])
{
    if (dry)
        return false;
    memset(seed, (int)++seeds, CHACHA20_KEY);
    return true;
}

static int setup(void **state)
{
    (void)state;
    rig_init();
    seeds = 0;
    dry = false;
    vrng_init(&vrng, &mem, &apics, entropy);
    rig_attach(&vrng.virtio);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

/* Asks for bytes, returns how many came. */
static uint32_t ask(uint64_t at, uint32_t bytes)
{
    uint16_t id, got = 0;
    uint32_t length = 0;

    id = virtq_add(&q[0], &(struct virtq_buffer){ at, bytes, true }, 1);
    kick(0);
    assert_true(virtq_get(&q[0], &got, &length));
    assert_int_equal(id, got);
    assert_true(came(1));
    return length;
}

static void bytes_come(void **state)
{
    static const uint64_t features[] = { 0, VIRTIO_F_PACKED, VIRTIO_F_PACKED | VIRTIO_F_INDIRECT,
                                         VIRTIO_F_INDIRECT };
    uint8_t last[64] = { 0 }, *p;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
        rig_start(features[i], 1, 8);
        p = virtq_at(&q[0], DATA);
        for (unsigned j = 0; j < 20; j++) {
            memset(p, 0, 128);
            assert_int_equal(ask(DATA, 64), 64);
            assert_memory_not_equal(p, last, 64);
            assert_true(p[64] == 0 && p[65] == 0 && p[66] == 0 && p[67] == 0);
            memcpy(last, p, 64);
        }
    }
    assert_int_equal(config_get(0), 0x10441af4);
    assert_true(rig_offered() ==
                (VIRTIO_F_VERSION_1 | VIRTIO_F_PACKED | VIRTIO_F_INDIRECT | VIRTIO_F_RING_RESET));
}

/* What the host has in two pieces, what is too long, and what cannot be written at all. */
static void buffers_of_any_form(void **state)
{
    struct virtq_buffer odd[3] = { { DATA, 4, false }, { DATA + 8, 4, true }, { DATA + 16, 4, true } };
    uint8_t *end = mem.slot[0].chunk[0] + PAGE_2M - 8, *begin = mem.slot[0].chunk[1], zero[8] = { 0 };
    uint16_t id;
    uint32_t length;

    (void)state;
    rig_start(0, 1, 8);
    assert_int_equal(ask(PAGE_2M - 8, 16), 16);
    assert_memory_not_equal(end, zero, 8);
    assert_memory_not_equal(begin, zero, 8);
    assert_int_equal(begin[8], 0);
    assert_int_equal(ask(PAGE_2M, 100000), VRNG_MAX);
    virtq_add(&q[0], odd, 3);
    virtq_add(&q[0], odd, 1);
    kick(0);
    assert_true(virtq_get(&q[0], &id, &length));
    assert_int_equal(length, 8);
    assert_memory_equal(virtq_at(&q[0], DATA), zero, 4);
    assert_true(virtq_get(&q[0], &id, &length));
    assert_int_equal(length, 0);
    assert_int_equal(status(), 0xf);
}

static void it_is_seeded_as_it_gives(void **state)
{
    (void)state;
    rig_start(0, 1, 8);
    assert_int_equal(ask(DATA, 1024), 1024);
    assert_int_equal(seeds, 1);
    for (unsigned i = 0; i < 3; i++)
        ask(DATA, 1024);
    assert_int_equal(seeds, 1);
    ask(DATA, 1);
    assert_int_equal(seeds, 2);
    dry = true;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(ask(DATA, 1024), 1024); /* it goes on with what it has */
}

static void without_entropy_there_is_nothing(void **state)
{
    uint8_t zero[64] = { 0 };

    (void)state;
    dry = true;
    rig_start(0, 1, 8);
    memset(virtq_at(&q[0], DATA), 0, 64);
    assert_int_equal(ask(DATA, 64), 0);
    assert_memory_equal(virtq_at(&q[0], DATA), zero, 64);
    dry = false;
    assert_int_equal(ask(DATA, 64), 64);
}

static void a_copy_has_another_future(void **state)
{
    struct vrng_state saved, bad;
    uint8_t first[32];

    (void)state;
    rig_start(VIRTIO_F_PACKED, 1, 8);
    ask(DATA, 32);
    vrng_save(&vrng, &saved);
    assert_int_equal(vrng_check(&vrng, &saved), 0);
    bad = saved;
    bad.virtio.status = 4;
    assert_int_equal(vrng_check(&vrng, &bad), -EINVAL);
    vrng_reset(&vrng);
    vpci_reset(&pci);
    vrng_load(&vrng, &saved);
    ask(DATA, 32);
    memcpy(first, virtq_at(&q[0], DATA), 32);
    assert_int_equal(seeds, 2);
    vrng_load(&vrng, &saved);
    rig_start(VIRTIO_F_PACKED, 1, 8);
    ask(DATA, 32);
    assert_memory_not_equal(first, virtq_at(&q[0], DATA), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_come, setup, teardown),
        cmocka_unit_test_setup_teardown(buffers_of_any_form, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_seeded_as_it_gives, setup, teardown),
        cmocka_unit_test_setup_teardown(without_entropy_there_is_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_has_another_future, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
