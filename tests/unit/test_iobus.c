#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "vmx/iobus.h"
#include "lib/errno.h"

static struct iobus bus;

/* A device that is bytes, and that holds its handlers to their contract. */
struct bytes {
    uint8_t byte[64];
    uint32_t size, widths;
    unsigned accesses;
};

static void check_contract(struct bytes *device, uint32_t offset, unsigned size)
{
    assert_true(device->widths & size);
    assert_int_equal(offset % size, 0);
    assert_true(offset + size <= device->size);
    device->accesses++;
}

static uint64_t bytes_read(void *opaque, uint32_t offset, unsigned size)
{
    struct bytes *device = opaque;
    uint64_t value = 0;

    check_contract(device, offset, size);
    memcpy(&value, device->byte + offset, size);
    return value;
}

static void bytes_write(void *opaque, uint32_t offset, unsigned size, uint64_t value)
{
    struct bytes *device = opaque;

    check_contract(device, offset, size);
    if (size < 8)
        assert_int_equal(value >> (8 * size), 0);
    memcpy(device->byte + offset, &value, size);
}

static int add(struct bytes *device, uint64_t base, uint32_t size, uint32_t widths)
{
    const struct io_region region = { base, size, widths, bytes_read, bytes_write, device, "bytes" };

    memset(device, 0, sizeof(*device));
    device->size = size;
    device->widths = widths;
    for (unsigned i = 0; i < 64; i++)
        device->byte[i] = (uint8_t)(i + 1);
    return iobus_add(&bus, &region);
}

static int setup(void **state)
{
    (void)state;
    iobus_init(&bus);
    return 0;
}

static void an_empty_bus_reads_as_ones(void **state)
{
    (void)state;
    assert_int_equal(iobus_read(&bus, 0, 1), 0xff);
    assert_int_equal(iobus_read(&bus, 0, 2), 0xffff);
    assert_int_equal(iobus_read(&bus, UINT64_MAX - 3, 4), 0xffffffff);
    assert_int_equal(iobus_read(&bus, UINT64_MAX, 8), UINT64_MAX);
    iobus_write(&bus, 0, 4, 1);
    assert_int_equal(bus.unclaimed, 5);
}

static void regions_are_found_whatever_the_order(void **state)
{
    struct bytes a, b, c;

    (void)state;
    assert_int_equal(add(&b, 0x100, 16, IO_8), 0);
    assert_int_equal(add(&c, 0x200, 16, IO_8), 0);
    assert_int_equal(add(&a, 0x40, 4, IO_8), 0);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(iobus_read(&bus, 0x40, 1), 1);
        assert_int_equal(iobus_read(&bus, 0x10f, 1), 16);
        assert_int_equal(iobus_read(&bus, 0x200, 1), 1);
        assert_int_equal(iobus_read(&bus, 0x44, 1), 0xff);
        assert_int_equal(iobus_read(&bus, 0x3f, 1), 0xff);
    }
    assert_int_equal(bus.unclaimed, 4);
    iobus_write(&bus, 0x41, 1, 0x99);
    assert_int_equal(a.byte[1], 0x99);
}

static void overlap_and_nonsense_are_refused(void **state)
{
    struct bytes a, b;

    (void)state;
    assert_int_equal(add(&a, 0x100, 16, IO_8), 0);
    assert_int_equal(add(&b, 0x10f, 1, IO_8), -EEXIST);
    assert_int_equal(add(&b, 0xf8, 9, IO_8), -EEXIST);
    assert_int_equal(add(&b, 0x100, 16, IO_8), -EEXIST);
    assert_int_equal(add(&b, 0x80, 0x200, IO_8), -EEXIST);
    assert_int_equal(add(&b, 0x300, 0, IO_8), -EINVAL);
    assert_int_equal(add(&b, 0x300, 4, 0), -EINVAL);
    assert_int_equal(add(&b, 0x300, 4, 16), -EINVAL);
    assert_int_equal(add(&b, 0x300, 6, IO_8 | IO_32), -EINVAL);
    assert_int_equal(add(&b, 0x300, 12, IO_32 | IO_64), -EINVAL);
    assert_int_equal(add(&b, UINT64_MAX - 3, 16, IO_8), -EINVAL);
    assert_int_equal(add(&b, 0xf8, 8, IO_8), 0);
    assert_int_equal(bus.count, 2);
}

static void a_full_bus_says_so(void **state)
{
    static struct bytes device[IOBUS_MAX_REGIONS];
    struct bytes more;

    (void)state;
    for (unsigned i = 0; i < IOBUS_MAX_REGIONS; i++)
        assert_int_equal(add(&device[i], 0x1000 - 16 * i, 16, IO_8), 0);
    assert_int_equal(add(&more, 0x2000, 16, IO_8), -ENOSPC);
    assert_int_equal(iobus_read(&bus, 0x1000, 1), 1);
}

static void allowed_accesses_pass_whole(void **state)
{
    struct bytes a;

    (void)state;
    assert_int_equal(add(&a, 0x100, 16, IO_8 | IO_16 | IO_32 | IO_64), 0);
    assert_int_equal(iobus_read(&bus, 0x104, 4), 0x08070605);
    assert_int_equal(iobus_read(&bus, 0x108, 8), UINT64_C(0x100f0e0d0c0b0a09));
    assert_int_equal(a.accesses, 2);
}

static void wide_accesses_are_split(void **state)
{
    struct bytes a;

    (void)state;
    assert_int_equal(add(&a, 0x100, 16, IO_8), 0);
    assert_int_equal(iobus_read(&bus, 0x104, 4), 0x08070605);
    assert_int_equal(a.accesses, 4);
    iobus_write(&bus, 0x100, 2, 0xbbaa);
    assert_int_equal(a.byte[0], 0xaa);
    assert_int_equal(a.byte[1], 0xbb);
    assert_int_equal(bus.unclaimed, 0);
}

static void unaligned_accesses_are_split(void **state)
{
    struct bytes a;

    (void)state;
    assert_int_equal(add(&a, 0x100, 16, IO_8 | IO_16 | IO_32), 0);
    assert_int_equal(iobus_read(&bus, 0x101, 4), 0x05040302);
    assert_int_equal(a.accesses, 3); /* 1 + 2 + 1 */
    iobus_write(&bus, 0x102, 4, 0xddccbbaa);
    assert_int_equal(a.accesses, 5);
    assert_memory_equal(a.byte + 2, "\xaa\xbb\xcc\xdd", 4);
}

static void accesses_cross_regions_and_ends(void **state)
{
    struct bytes a, b;

    (void)state;
    assert_int_equal(add(&a, 0x60, 1, IO_8), 0);
    assert_int_equal(add(&b, 0x61, 2, IO_8 | IO_16), 0);
    assert_int_equal(iobus_read(&bus, 0x60, 4), 0xff020101);
    assert_int_equal(bus.unclaimed, 1);
    iobus_write(&bus, 0x5f, 4, 0x04030201);
    assert_int_equal(a.byte[0], 2);
    assert_int_equal(b.byte[0], 3);
    assert_int_equal(b.byte[1], 4);
    assert_int_equal(bus.unclaimed, 2);
    assert_int_equal(iobus_read(&bus, 0x61, 2),
                     0x0403); /* last hit, but the pair before is not whole in it */
    assert_int_equal(iobus_read(&bus, 0x62, 2), 0xff04);
}

static void what_a_region_refuses_is_unclaimed(void **state)
{
    struct bytes a;

    (void)state;
    assert_int_equal(add(&a, 0xfec00000, 0x20, IO_32), 0);
    assert_int_equal(iobus_read(&bus, 0xfec00000, 4), 0x04030201);
    assert_int_equal(iobus_read(&bus, 0xfec00000, 1), 0xff);
    assert_int_equal(iobus_read(&bus, 0xfec00002, 4), 0xffffffff);
    iobus_write(&bus, 0xfec00000, 2, 0);
    assert_int_equal(a.byte[0], 1);
    assert_int_equal(bus.unclaimed, 3);
    iobus_write(&bus, 0xfec00008, 8, UINT64_C(0x1122334455667788)); /* two dwords */
    assert_int_equal(a.byte[8], 0x88);
    assert_int_equal(a.byte[15], 0x11);
    assert_int_equal(bus.unclaimed, 3);
}

static void regions_can_be_taken_away(void **state)
{
    static struct bytes a, b, c;

    (void)state;
    assert_int_equal(add(&a, 0x100, 16, IO_8), 0);
    assert_int_equal(add(&b, 0x110, 16, IO_8), 0);
    assert_int_equal(add(&c, 0x120, 16, IO_8), 0);
    assert_int_equal(iobus_read(&bus, 0x121, 1), 2); /* the last hit, which moves */
    iobus_remove(&bus, 0x110);
    assert_int_equal(iobus_read(&bus, 0x110, 1), 0xff);
    assert_int_equal(iobus_read(&bus, 0x101, 1), 2);
    assert_int_equal(iobus_read(&bus, 0x121, 1), 2);
    iobus_remove(&bus, 0x111); /* begins nowhere */
    assert_int_equal(bus.count, 2);
    assert_int_equal(add(&b, 0x118, 8, IO_8), 0);
    assert_int_equal(iobus_read(&bus, 0x118, 1), 1);
    iobus_remove(&bus, 0x118);
    iobus_remove(&bus, 0x120);
    assert_int_equal(iobus_read(&bus, 0x101, 1), 2);
    iobus_remove(&bus, 0x100); /* the last one, and the last hit */
    assert_int_equal(iobus_read(&bus, 0x101, 1), 0xff);
    iobus_write(&bus, 0x101, 1, 0);
    assert_int_equal(a.byte[1], 2);
    assert_int_equal(bus.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_bus_reads_as_ones, setup),
        cmocka_unit_test_setup(regions_are_found_whatever_the_order, setup),
        cmocka_unit_test_setup(overlap_and_nonsense_are_refused, setup),
        cmocka_unit_test_setup(a_full_bus_says_so, setup),
        cmocka_unit_test_setup(allowed_accesses_pass_whole, setup),
        cmocka_unit_test_setup(wide_accesses_are_split, setup),
        cmocka_unit_test_setup(unaligned_accesses_are_split, setup),
        cmocka_unit_test_setup(accesses_cross_regions_and_ends, setup),
        cmocka_unit_test_setup(what_a_region_refuses_is_unclaimed, setup),
        cmocka_unit_test_setup(regions_can_be_taken_away, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
