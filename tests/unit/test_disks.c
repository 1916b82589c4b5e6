/* Which disk a source means, and who may have it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "io/disks.h"
#include "io/disks_find.h"
#include "io/partition.h"
#include "tests/unit/disk_rig.h"
#include "tests/unit/host/host.h"

#define BYTES (64 * KiB)

static struct rig_disk nvme, sata;
static uint8_t nvme_image[BYTES], sata_image[BYTES];
static struct timer_queue queue;
static const struct disk_opener web = { "web", FRAME_VM + 1, &queue }, db = { "db", FRAME_VM + 2, &queue };
static char why[DISKS_WHY_MAX];
static const char file_data[3000] = "file";

static const void *find_file(const char *path, uint64_t *size)
{
    *size = strcmp(path, "empty.img") == 0 ? 0 : sizeof(file_data);
    return strcmp(path, "data.img") == 0 || strcmp(path, "empty.img") == 0 ? file_data : NULL;
}

static const char *file_name(unsigned n)
{
    return n == 0 ? "data.img" : n == 1 ? "empty.img" : NULL;
}

/* nvme0: "root" in 10-29, "data" in 30-49, "inner" in 40-44 of it. ata0: "data" in 10-19, "web-root" in
 * 20-29.
 */
static void make_tables(void)
{
    struct rig_gpt gpt = { nvme_image, BYTES / 512, 512, 8 };

    memset(nvme_image, 0, BYTES);
    memset(sata_image, 0, BYTES);
    rig_gpt_entry(&gpt, 0, 10, 29, "root");
    rig_gpt_entry(&gpt, 1, 30, 49, "data");
    rig_gpt_entry(&gpt, 2, 40, 44, "inner");
    rig_gpt_finish(&gpt);
    gpt.image = sata_image;
    rig_gpt_entry(&gpt, 4, 10, 19, "data");
    rig_gpt_entry(&gpt, 5, 20, 29, "web-root");
    rig_gpt_finish(&gpt);
}

static int setup(void **state)
{
    static const struct disks_files files = { find_file, file_name };

    (void)state;
    host_log_quiet = true;
    timer_queue_init(&queue);
    if (rig_memory())
        return 1;
    make_tables();
    rig_disk(&nvme, "nvme0", nvme_image, BYTES, 512);
    rig_disk(&sata, "ata0", sata_image, BYTES, 512);
    strcpy(nvme.device.serial, "S4EVNX0N");
    strcpy(sata.device.serial, "QM00001");
    disks_set_files(&files);
    disks_scan(&queue);
    why[0] = '\0';
    return disks_scan_step();
}

static int teardown(void **state)
{
    struct block_device *device;

    (void)state;
    while ((device = block_device(0)) != NULL) {
        struct partition *part = partition_of(device);

        assert_null(device->users);
        if (disks_is_file(device)) {
            disks_give_back(container_of(device, struct ramdisk, device));
        } else {
            block_remove(device);
            heap_free(part);
        }
    }
    assert_int_equal(heap_used(), 0);
    assert_int_equal(frames_count(FRAME_VM + 1) + frames_count(FRAME_VM + 2), 0);
    rig_memory_free();
    return 0;
}

static int open_as(struct vm_disk *disk, const char *source, bool readonly, const struct disk_opener *opener)
{
    struct config_disk config = { .readonly = readonly };

    snprintf(config.source, sizeof(config.source), "%s", source);
    *disk = (struct vm_disk){ .copy = NULL };
    return disk_open(disk, &config, opener, why);
}

/* It is opened, and is this device. */
static void expect(const char *source, const char *device)
{
    struct vm_disk disk;

    assert_int_equal(open_as(&disk, source, false, &web), 0);
    assert_string_equal(disk.user.opened->name, device);
    assert_string_equal(disk.user.name, "web");
    disk_close(&disk);
    assert_null(disk.user.device);
}

static void refuse(const char *source, bool readonly, int err, const char *reason)
{
    struct vm_disk disk;

    assert_int_equal(open_as(&disk, source, readonly, &web), err);
    assert_string_equal(why, reason);
    assert_null(disk.user.device);
    assert_null(disk.copy);
}

/* --- Names */

static void each_way_to_name_a_disk(void **state)
{
    (void)state;
    expect("part:root", "nvme0p1");
    expect("part:web-root", "ata0p6");
    expect("partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae05", "ata0p6");
    expect("partuuid:A3A2A1A0-A5A4-a7a6-a8a9-aaabacadae05", "ata0p6");
    expect("disk:nvme0", "nvme0");
    expect("disk:QM00001", "ata0");
}

static void what_is_not_there(void **state)
{
    (void)state;
    refuse("part:rooot", false, -ENOENT, "no partition has this label; did you mean 'root'?");
    refuse("part:Root", false, -ENOENT, "no partition has this label; did you mean 'root'?");
    refuse("part:swap", false, -ENOENT,
           "no partition has this label; there are root, data, inner, data, web-root");
    refuse("part:nvme0p1", false, -ENOENT,
           "no partition has this label; there are root, data, inner, data, web-root");
    refuse("partuuid:1234abcd-01", false, -ENOENT,
           "no partition has this UUID; there are a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae00, "
           "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae01, a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae02, "
           "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae04 and 1 more");
    refuse("disk:nothing", false, -ENOENT,
           "no disk has this serial number or name; there are S4EVNX0N, QM00001");
    refuse("disk:QM00002", false, -ENOENT, "no disk has this serial number or name; did you mean 'QM00001'?");
    refuse("disk:nvme0p2", false, -ENOENT,
           "it is a partition and no disk; write partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae01");
    refuse("module:dat.img", false, -ENOENT, "this file is not on the boot medium; did you mean 'data.img'?");
    refuse("module:empty.img", true, -EINVAL, "this file is empty; replace it");
    refuse("nonsense", true, -EINVAL,
           "it must be \"part:LABEL\", \"partuuid:UUID\", \"disk:SERIAL\" or \"module:FILE\"");
}

static void a_machine_without_disks(void **state)
{
    static const struct disks_files none = { NULL, NULL };

    (void)state;
    teardown(NULL);
    assert_int_equal(rig_memory(), 0);
    disks_set_files(&none);
    refuse("part:root", false, -ENOENT, "no partition of this machine has a label");
    refuse("partuuid:1234abcd-01", false, -ENOENT, "this machine has no partitions");
    refuse("disk:x", false, -ENOENT, "this machine has no disks that Plinth can drive");
    refuse("module:x", false, -ENOENT, "the boot medium has no files for VMs");
}

static void what_fits_two_is_refused(void **state)
{
    (void)state;
    refuse("part:data", false, -EEXIST,
           "nvme0p2 and ata0p5 both have this label; write "
           "partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae01 or "
           "partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae04, or change a label");
    refuse("part:data", true, -EEXIST, why); /* for readers too */
    strcpy(sata.device.serial, "S4EVNX0N");
    refuse("disk:S4EVNX0N", false, -EEXIST,
           "it fits both nvme0 and ata0; write the name or number of one that fits it alone");
    strcpy(partition_of(block_device(1))->uuid, partition_of(block_device(2))->uuid);
    refuse("partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae01", false, -EEXIST,
           "nvme0p1 and nvme0p2 both have this UUID, as when one disk is a copy of the other; take one out, "
           "or change a UUID");
}

/* --- Who may have it */

static void one_writer_and_any_readers(void **state)
{
    struct vm_disk first, second, third;

    (void)state;
    assert_int_equal(open_as(&first, "part:root", false, &db), 0);
    refuse("part:root", false, -EBUSY,
           "db writes to it already; two VMs cannot write to one disk: give one of them readonly = true, or "
           "a disk of its own");
    refuse("partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae00", false, -EBUSY, why); /* whatever the name */
    assert_int_equal(open_as(&second, "part:root", true, &web), 0);
    assert_int_equal(open_as(&third, "part:root", true, &web), 0);
    disk_close(&first);
    assert_int_equal(open_as(&first, "part:root", false, &db), 0);
    disk_close(&first);
    disk_close(&second);
    disk_close(&third);
    disk_close(&third); /* does nothing */
    expect("part:root", "nvme0p1");
}

static void a_whole_disk_and_its_partitions(void **state)
{
    struct vm_disk part, whole;

    (void)state;
    assert_int_equal(open_as(&part, "part:root", true, &db), 0);
    refuse("disk:nvme0", false, -EBUSY,
           "it is the whole of nvme0, and db reads its partition nvme0p1; take one of the two out, or make "
           "both read-only");
    assert_int_equal(open_as(&whole, "disk:nvme0", true, &web), 0); /* two readers */
    expect("disk:ata0", "ata0");                                    /* another disk */
    refuse("part:inner", false, -EBUSY,
           "it is a partition of nvme0, which web reads as a whole; take one of the two out, or make both "
           "read-only");
    disk_close(&part);
    disk_close(&whole);
    assert_int_equal(open_as(&part, "part:root", false, &db), 0);
    refuse("disk:nvme0", true, -EBUSY,
           "it is the whole of nvme0, and db writes to its partition nvme0p1; take one of the two out, or "
           "make both read-only");
    disk_close(&part);
    assert_int_equal(open_as(&whole, "disk:nvme0", false, &db), 0);
    refuse("part:root", true, -EBUSY,
           "it is a partition of nvme0, which db writes to as a whole; take one of the two out, or make both "
           "read-only");
    disk_close(&whole);
}

static void partitions_that_overlap(void **state)
{
    struct vm_disk inner, data;

    (void)state;
    assert_int_equal(open_as(&inner, "part:inner", true, &db), 0);
    refuse("partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae01", false, -EBUSY,
           "nvme0p2 and nvme0p3 overlap in the partition table, and db reads the second; mend the table");
    assert_int_equal(open_as(&data, "partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae01", true, &web), 0);
    expect("part:root", "nvme0p1"); /* ends where "data" begins */
    disk_close(&data);
    disk_close(&inner);
    assert_int_equal(open_as(&data, "part:root", false, &db), 0);
    expect("partuuid:a3a2a1a0-a5a4-a7a6-a8a9-aaabacadae01", "nvme0p2"); /* and the other way round */
    disk_close(&data);
}

static void the_boot_medium_and_what_cannot_be_written(void **state)
{
    struct vm_disk disk;

    (void)state;
    nvme.device.is_boot_medium = true;
    refuse("disk:nvme0", false, -EROFS,
           "nvme0 is the medium that Plinth was started from, which no VM may write to; write readonly = "
           "true");
    refuse("part:root", false, -EROFS, why);
    assert_int_equal(open_as(&disk, "part:root", true, &web), 0);
    disk_close(&disk);
    sata.device.readonly = true;
    refuse("part:web-root", false, -EROFS, "ata0 cannot be written to; write readonly = true");
    assert_int_equal(open_as(&disk, "disk:ata0", true, &web), 0);
    disk_close(&disk);
    sata.device.health = BLOCK_GONE;
    refuse("part:web-root", true, -ENODEV, "ata0 is gone: it does not answer any more");
}

/* --- Files */

static int last_status;

static void done(struct block_request *request, int status)
{
    (void)request;
    last_status = status;
}

static int transfer(struct vm_disk *disk, enum block_op op, char *data)
{
    struct block_segment segment = { (uint8_t *)data, 512 };
    struct block_request request = {
        .op = op, .sectors = 1, .segment = &segment, .segments = 1, .done = done
    };

    last_status = 1;
    block_submit(&disk->user, &request);
    return last_status;
}

static void a_file_is_shared_or_copied(void **state)
{
    struct vm_disk reader, other, writer, second;
    char data[512] = "new";

    (void)state;
    assert_int_equal(open_as(&reader, "module:data.img", true, &web), 0);
    assert_int_equal(open_as(&other, "module:data.img", true, &db), 0);
    assert_ptr_equal(reader.user.device, other.user.device);
    assert_null(reader.copy);
    assert_string_equal(reader.user.device->model, "data.img");
    assert_int_equal(open_as(&writer, "module:data.img", false, &web), 0);
    assert_int_equal(open_as(&second, "module:data.img", false, &db), 0);
    assert_ptr_not_equal(writer.user.device, second.user.device);
    assert_string_equal(writer.user.device->model, "copy of data.img");
    assert_int_equal(frames_count(FRAME_VM + 1), 16);
    assert_int_equal(frames_count(FRAME_VM + 2), 16);
    assert_int_equal(transfer(&writer, BLOCK_WRITE, data), 0);
    assert_int_equal(transfer(&second, BLOCK_READ, data), 0);
    assert_string_equal(data, "file");
    assert_int_equal(transfer(&writer, BLOCK_READ, data), 0);
    assert_string_equal(data, "new");
    refuse("disk:ram0", true, -ENOENT,
           "no disk has this serial number or name; there are S4EVNX0N, QM00001"); /* it is no disk */
    disk_close(&writer);
    assert_int_equal(frames_count(FRAME_VM + 1), 0);
    disk_close(&second);
    disk_close(&reader);
    disk_close(&other);
    assert_int_equal(open_as(&reader, "module:data.img", true, &web), 0); /* the shared one is still there */
    disk_close(&reader);
}

static void no_memory_for_a_copy(void **state)
{
    static struct {
        hpa_t at;
        unsigned order;
    } block[4096];
    unsigned count = 0;

    (void)state;
    for (unsigned order = FRAME_ORDER_2M; order-- > 4;)
        while ((block[count].at = frames_alloc(order, FRAME_MODULE)).raw)
            block[count++].order = order;
    refuse("module:data.img", false, -ENOMEM,
           "there is no memory for a copy of it (2 KiB); write readonly = true, or give a VM less memory");
    while (count--)
        frames_free(block[count].at, block[count].order, FRAME_MODULE);
}

/* --- All of a VM's */

static void limits_are_passed_on(void **state)
{
    struct config_disk config = { .source = "part:root", .iops = 7, .bandwidth = MiB };
    struct vm_disk disk = { .copy = NULL };

    (void)state;
    assert_int_equal(disk_open(&disk, &config, &web, why), 0);
    assert_int_equal(disk.user.limits.iops, 7);
    assert_int_equal(disk.user.limits.bandwidth, MiB);
    disk_close(&disk);
}

static void all_or_none(void **state)
{
    static struct config_vm config;
    struct vm_disk disk[CONFIG_MAX_DISKS] = { 0 };
    unsigned which = 99;

    (void)state;
    config.disk_count = 3;
    strcpy(config.disk[0].source, "part:root");
    strcpy(config.disk[1].source, "module:data.img");
    strcpy(config.disk[2].source, "part:none-such");
    assert_int_equal(disks_open(disk, &config, &web, &which, why), -ENOENT);
    assert_int_equal(which, 2);
    assert_int_equal(frames_count(FRAME_VM + 1), 0);
    expect("part:root", "nvme0p1"); /* nobody has it */
    strcpy(config.disk[2].source, "part:web-root");
    assert_int_equal(disks_open(disk, &config, &web, &which, why), 0);
    assert_true(disks_idle(disk));
    sata.defer = true;
    char data[512];
    struct block_segment segment = { (uint8_t *)data, 512 };
    struct block_request request = {
        .op = BLOCK_READ, .sectors = 1, .segment = &segment, .segments = 1, .done = done
    };
    block_submit(&disk[2].user, &request);
    disks_cancel(disk);
    assert_false(disks_idle(disk));
    rig_complete(&sata);
    assert_true(disks_idle(disk));
    disks_close(disk);
    expect("part:root", "nvme0p1");
}

static void a_disk_that_does_not_answer_is_named(void **state)
{
    (void)state;
    teardown(NULL);
    assert_int_equal(rig_memory(), 0);
    rig_disk(&nvme, "nvme0", nvme_image, BYTES, 512);
    rig_disk(&sata, "ata0", sata_image, BYTES, 512);
    sata.defer = true;
    disks_scan(&queue);
    assert_true(disks_scan_step());
    assert_true(disks_scan_step());
    disks_scan_late();
    assert_string_equal(host_log_last, "disk ata0: it does not answer: its partitions are not known");
    expect("part:root", "nvme0p1");
    while (disks_scan_step())
        rig_complete(&sata);
    expect("part:web-root", "ata0p6"); /* better late than never */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_way_to_name_a_disk),
        TEST(what_is_not_there),
        TEST(a_machine_without_disks),
        TEST(what_fits_two_is_refused),
        TEST(one_writer_and_any_readers),
        TEST(a_whole_disk_and_its_partitions),
        TEST(partitions_that_overlap),
        TEST(the_boot_medium_and_what_cannot_be_written),
        TEST(a_file_is_shared_or_copied),
        TEST(no_memory_for_a_copy),
        TEST(limits_are_passed_on),
        TEST(all_or_none),
        TEST(a_disk_that_does_not_answer_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
