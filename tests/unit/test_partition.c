#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "io/partition.h"
#include "tests/unit/disk_rig.h"
#include "tests/unit/host/host.h"

#define BYTES (256 * KiB)

static struct rig_disk disk;
static struct partition_scan scan;
static struct timer_queue queue;
static struct rig_gpt gpt;

static void use_blocks(uint32_t block, uint32_t entries)
{
    gpt.block = block;
    gpt.blocks = BYTES / block;
    gpt.entries = entries;
    disk.device.logical_block = block;
}

static int setup(void **state)
{
    (void)state;
    timer_queue_init(&queue);
    gpt.image = calloc(1, BYTES);
    host_log_last[0] = '\0';
    host_log_quiet = true;
    if (rig_memory())
        return 1;
    rig_disk(&disk, "nvme0", gpt.image, BYTES, 512);
    use_blocks(512, 128);
    return 0;
}

static int teardown(void **state)
{
    struct block_device *device;

    (void)state;
    while ((device = block_device(0)) != NULL) {
        struct partition *part = partition_of(device);

        block_remove(device);
        heap_free(part);
    }
    assert_int_equal(heap_used(), 0);
    assert_null(disk.device.users);
    free(gpt.image);
    rig_memory_free();
    return 0;
}

static void run_scan(void)
{
    assert_int_equal(partition_scan_begin(&scan, &disk.device, &queue), 0);
    assert_false(partition_scan_step(&scan));
}

/* The n-th partition found, from 0. */
static struct partition *found(unsigned n)
{
    struct block_device *device = block_device(n + 1);

    return device ? partition_of(device) : NULL;
}

static void check(unsigned n, unsigned number, uint64_t first, uint64_t sectors, const char *label)
{
    struct partition *part = found(n);

    assert_non_null(part);
    assert_int_equal(part->number, number);
    assert_int_equal(part->device.first, first);
    assert_int_equal(part->device.sectors, sectors);
    assert_string_equal(part->label, label);
    assert_ptr_equal(part->device.whole, &disk.device);
}

/* --- GPT */

static void two_partitions(void)
{
    uint64_t first = 2 + rig_gpt_array_blocks(&gpt);

    rig_gpt_entry(&gpt, 0, first, first + 9, "web-root");
    rig_gpt_entry(&gpt, 5, first + 10, gpt.blocks - 2 - rig_gpt_array_blocks(&gpt), "data");
    rig_gpt_finish(&gpt);
}

static void a_gpt_is_read(void **state)
{
    (void)state;
    two_partitions();
    run_scan();
    check(0, 1, 34, 10, "web-root");
    check(1, 6, 44, 512 - 33 - 44, "data");
    assert_null(found(2));
    assert_string_equal(found(0)->device.name, "nvme0p1");
    assert_string_equal(found(1)->device.name, "nvme0p6");
    assert_string_equal(found(0)->uuid, "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae00");
    assert_string_equal(found(1)->uuid, "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae05");
    assert_string_equal(host_log_last, "");
    assert_false(disk.device.is_boot_medium);
}

static void blocks_of_4096_bytes(void **state)
{
    (void)state;
    use_blocks(4096, 128);
    disk.device.max_sectors = 12; /* no multiple of a block */
    two_partitions();
    run_scan();
    check(0, 1, 6 * 8, 10 * 8, "web-root");
    check(1, 6, 16 * 8, (64 - 5 - 16) * 8, "data");
}

static void a_small_array_and_small_requests(void **state)
{
    (void)state;
    use_blocks(512, 8);
    disk.device.max_sectors = 1;
    two_partitions();
    run_scan();
    check(0, 1, 4, 10, "web-root");
    assert_null(found(2));
    assert_int_equal(disk.reads, 5); /* volume descriptor, MBR, header, 2 of entries */
}

static void a_disk_that_takes_its_time(void **state)
{
    unsigned rounds = 0;

    (void)state;
    two_partitions();
    disk.defer = true;
    assert_int_equal(partition_scan_begin(&scan, &disk.device, &queue), 0);
    while (partition_scan_step(&scan)) {
        assert_true(partition_scan_step(&scan)); /* asking twice does not matter */
        assert_non_null(disk.late);
        rig_complete(&disk);
        assert_true(++rounds < 20);
    }
    check(0, 1, 34, 10, "web-root");
}

static void the_copy_at_the_end_is_used(void **state)
{
    (void)state;
    two_partitions();
    memset(rig_block(&gpt, 1), 0, 512);
    run_scan();
    check(0, 1, 34, 10, "web-root");
    assert_non_null(strstr(host_log_last, "disk nvme0: its GPT has no signature: the copy of it is used"));
}

static void wrong_entries_lead_to_the_copy(void **state)
{
    (void)state;
    two_partitions();
    rig_block(&gpt, 2)[60] ^= 1; /* a letter of a label */
    run_scan();
    check(0, 1, 34, 10, "web-root");
    assert_non_null(strstr(host_log_last, "entries with a wrong checksum"));
}

static void on_a_disk_that_has_grown_the_copy_is_found(void **state)
{
    (void)state;
    gpt.blocks = 300; /* of 512: the table was made when the disk had less */
    two_partitions();
    rig_block(&gpt, 2)[60] ^= 1;
    run_scan();
    check(0, 1, 34, 10, "web-root");
}

static void a_part_that_cannot_be_read_leads_to_the_copy(void **state)
{
    (void)state;
    two_partitions();
    disk.bad_sector = 3;
    run_scan();
    check(0, 1, 34, 10, "web-root");
    assert_non_null(strstr(host_log_last, "cannot be read: the copy of it is used"));
}

static void without_either_there_is_nothing(void **state)
{
    (void)state;
    two_partitions();
    rig_block(&gpt, 1)[20] ^= 1;
    rig_block(&gpt, gpt.blocks - 1)[0] = 'e';
    run_scan();
    assert_null(found(0));
    assert_non_null(
        strstr(host_log_last, "its GPT has a wrong checksum, and the copy of it has no signature"));
}

static void a_disk_that_fails_has_none(void **state)
{
    (void)state;
    two_partitions();
    disk.bad_sector = 64; /* the volume descriptor is not needed */
    run_scan();
    check(0, 1, 34, 10, "web-root");
    teardown(NULL);
    setup(NULL);
    two_partitions();
    disk.bad_all = true;
    run_scan();
    assert_null(found(0));
    assert_non_null(strstr(host_log_last, "disk nvme0: its partition table cannot be read"));
}

/* Each field of the header that can be wrong is refused, though its checksum is right. */
static void each_field_of_the_header_is_checked(void **state)
{
    static const struct {
        unsigned offset, bytes;
        uint64_t value;
        const char *says;
    } cases[] = {
        { 0, 8, 0, "signature" },
        { 8, 4, 0x20000, "revision" },
        { 12, 4, 91, "size" },
        { 12, 4, 513, "size" },
        { 24, 8, 2, "not where it says" },
        { 40, 8, 500, "blocks that the disk has not" }, /* first usable behind the last */
        { 48, 8, 512, "blocks that the disk has not" },
        { 40, 8, 1, "blocks of its own" },
        { 40, 8, 33, "blocks of its own" }, /* the last of the entries */
        { 72, 8, 447, "blocks of its own" },
        { 72, 8, 511, "blocks that the disk has not" },
        { 72, 8, UINT64_MAX - 1, "blocks that the disk has not" },
        { 80, 4, 0, "entries" },
        { 80, 4, 1025, "entries" },
        { 80, 4, UINT32_MAX, "entries" },
        { 84, 4, 64, "size of entries" },
        { 84, 4, 192, "size of entries" },
        { 84, 4, 8192, "size of entries" },
    };

    (void)state;
    two_partitions();
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t block[512];
        struct gpt_header header;
        const char *fault;

        memcpy(block, rig_block(&gpt, 1), 512);
        assert_null(gpt_read_header(&header, block, 512, 1, 512));
        if (cases[i].bytes == 8)
            put64(block + cases[i].offset, cases[i].value);
        else
            put32(block + cases[i].offset, cases[i].value);
        put32(block + 16, 0);
        put32(block + 16, crc32(0, block, 92));
        fault = gpt_read_header(&header, block, 512, 1, 512);
        assert_non_null(fault);
        assert_non_null(strstr(fault, cases[i].says));
    }
}

static void entries_out_of_bounds_are_left_out(void **state)
{
    (void)state;
    rig_gpt_entry(&gpt, 0, 33, 40, "in the array");
    rig_gpt_entry(&gpt, 1, 400, 479, "in the copy");
    rig_gpt_entry(&gpt, 2, 50, 49, "backwards");
    rig_gpt_entry(&gpt, 3, 34, UINT64_MAX, "endless");
    rig_gpt_entry(&gpt, 4, 478, 478, "good");
    rig_gpt_finish(&gpt);
    run_scan();
    check(0, 5, 478, 1, "good");
    assert_null(found(1));
    assert_non_null(strstr(host_log_last, "4 of its"));
}

static void labels_become_utf8(void **state)
{
    static const uint16_t units[] = { 'a', 0xe4, 0x20ac, 0xd83d, 0xdcbe, '\n', 0xd800, 'b', 0xdc00, 0x9b };
    uint8_t *entry = rig_block(&gpt, 2);

    (void)state;
    rig_gpt_entry(&gpt, 0, 40, 41, "");
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
        put16(entry + 56 + 2 * i, units[i]);
    rig_gpt_entry(&gpt, 1, 42, 43, "");
    for (unsigned i = 0; i < 36; i++)
        put16(entry + 128 + 56 + 2 * i, 0xffff); /* as long as can be, without an end */
    rig_gpt_finish(&gpt);
    run_scan();
    check(0, 1, 40, 2, "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbe??b??");
    assert_int_equal(strlen(found(1)->label), 108);
}

static void at_most_128_are_taken(void **state)
{
    (void)state;
    use_blocks(512, 200);
    for (unsigned i = 0; i < 200; i++)
        rig_gpt_entry(&gpt, i, 100 + i, 100 + i, "many");
    rig_gpt_finish(&gpt);
    run_scan();
    assert_non_null(found(127));
    assert_null(found(128));
    assert_non_null(strstr(host_log_last, "72 of its"));
}

/* --- MBR */

static void an_mbr_is_read(void **state)
{
    (void)state;
    put32(gpt.image + 440, 0x1234abcd);
    rig_mbr_entry(gpt.image, 0, 0x83, 10, 20);
    gpt.image[446] = 0x80;
    rig_mbr_entry(gpt.image, 2, 0x82, 30, 482);
    run_scan();
    check(0, 1, 10, 20, "");
    check(1, 3, 30, 482, "");
    assert_string_equal(found(0)->uuid, "1234abcd-01");
    assert_string_equal(found(1)->uuid, "1234abcd-03");
    assert_null(found(2));
}

static void an_mbr_out_of_bounds(void **state)
{
    (void)state;
    rig_mbr_entry(gpt.image, 0, 0x83, 0, 20);
    rig_mbr_entry(gpt.image, 1, 0x83, 30, 483);
    rig_mbr_entry(gpt.image, 2, 0x83, UINT32_MAX, UINT32_MAX);
    rig_mbr_entry(gpt.image, 3, 0x83, 511, 1);
    run_scan();
    check(0, 4, 511, 1, "");
    assert_null(found(1));
    assert_non_null(strstr(host_log_last, "3 of its"));
}

static void a_boot_sector_of_a_file_system_is_no_mbr(void **state)
{
    (void)state;
    rig_mbr_entry(gpt.image, 0, 0x83, 10, 20);
    gpt.image[446] = 0x20;
    run_scan();
    assert_null(found(0));
    gpt.image[446] = 0;
    gpt.image[511] = 0;
    run_scan();
    assert_null(found(0));
}

static void logical_partitions(void **state)
{
    (void)state;
    put32(gpt.image + 440, 0xff);
    rig_mbr_entry(gpt.image, 1, 0x0f, 100, 300);
    rig_mbr_entry(gpt.image + 100 * 512, 0, 0x83, 2, 10);
    rig_mbr_entry(gpt.image + 100 * 512, 1, 0x05, 50, 20);
    rig_mbr_entry(gpt.image + 150 * 512, 0, 0x83, 1, 19);
    rig_mbr_entry(gpt.image + 150 * 512, 1, 0x05, 100, 200);
    rig_mbr_entry(gpt.image + 200 * 512, 0, 0x83, 1, 200); /* beyond the extended one */
    run_scan();
    check(0, 5, 102, 10, "");
    check(1, 6, 151, 19, "");
    assert_null(found(2));
    assert_string_equal(found(1)->uuid, "000000ff-06");
    assert_non_null(strstr(host_log_last, "1 of its"));
}

static void a_chain_in_a_circle_ends(void **state)
{
    (void)state;
    rig_mbr_entry(gpt.image, 0, 0x05, 100, 300);
    rig_mbr_entry(gpt.image + 100 * 512, 1, 0x05, 50, 20);
    rig_mbr_entry(gpt.image + 150 * 512, 1, 0x05, 50, 20);
    run_scan();
    assert_null(found(0));
    assert_true(disk.reads < 100);
}

/* --- The boot medium, and disks that are too small for anything */

static void the_boot_medium_is_known(void **state)
{
    (void)state;
    memcpy(gpt.image + 32768 + 1, "CD001", 5);
    memcpy(gpt.image + 32768 + 40, "PLINTH          ", 16);
    rig_mbr_entry(gpt.image, 0, 0x83, 10, 20);
    run_scan();
    assert_true(disk.device.is_boot_medium);
    assert_true(found(0)->device.is_boot_medium);
    teardown(NULL);
    setup(NULL);
    memcpy(gpt.image + 32768 + 1, "CD001", 5);
    memcpy(gpt.image + 32768 + 40, "PLINTHUS        ", 16);
    run_scan();
    assert_false(disk.device.is_boot_medium);
}

static void tiny_disks(void **state)
{
    (void)state;
    for (unsigned sectors = 0; sectors < 80; sectors++) {
        two_partitions();
        disk.device.sectors = sectors;
        run_scan();
        assert_null(found(0));
    }
    disk.device.logical_block = 8192;
    assert_int_equal(partition_scan_begin(&scan, &disk.device, &queue), -EINVAL);
    disk.device.logical_block = 512;
    disk.device.health = BLOCK_GONE;
    assert_int_equal(partition_scan_begin(&scan, &disk.device, &queue), -ENODEV);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_gpt_is_read),
        TEST(blocks_of_4096_bytes),
        TEST(a_small_array_and_small_requests),
        TEST(a_disk_that_takes_its_time),
        TEST(the_copy_at_the_end_is_used),
        TEST(wrong_entries_lead_to_the_copy),
        TEST(on_a_disk_that_has_grown_the_copy_is_found),
        TEST(a_part_that_cannot_be_read_leads_to_the_copy),
        TEST(without_either_there_is_nothing),
        TEST(a_disk_that_fails_has_none),
        TEST(each_field_of_the_header_is_checked),
        TEST(entries_out_of_bounds_are_left_out),
        TEST(labels_become_utf8),
        TEST(at_most_128_are_taken),
        TEST(an_mbr_is_read),
        TEST(an_mbr_out_of_bounds),
        TEST(a_boot_sector_of_a_file_system_is_no_mbr),
        TEST(logical_partitions),
        TEST(a_chain_in_a_circle_ends),
        TEST(the_boot_medium_is_known),
        TEST(tiny_disks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
