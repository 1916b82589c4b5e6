/* ATA commands, and an IDE channel. The test is the controller: it keeps what is written to each port. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "drivers/ata_channel.h"
#include "arch/x86_64/paging.h"
#include "lib/errno.h"

#define AT(n) ((uint8_t *)(uintptr_t)(n)) /* only its address matters */

/* --- IDENTIFY */

static uint8_t identity[ATA_IDENTIFY];

static void set(unsigned word, unsigned value)
{
    identity[2 * word] = (uint8_t)value;
    identity[2 * word + 1] = (uint8_t)(value >> 8);
}

/* A disk of 2^32 + 5 sectors with all that this driver knows. */
static void a_disk(void)
{
    memset(identity, 0, sizeof(identity));
    memcpy(identity + 2 * ATA_ID_SERIAL, "ESIRLA1                  ", 20);
    memcpy(identity + 2 * ATA_ID_MODEL, "oMed l                                  ", 40);
    set(ATA_ID_ABLE, 0x300);
    set(ATA_ID_SECTORS, 0xffff);
    set(ATA_ID_SECTORS + 1, 0x0fff);
    set(ATA_ID_COMMANDS, 0x7400);
    set(ATA_ID_SECTORS48, 5);
    set(ATA_ID_SECTORS48 + 2, 1);
}

static void identity_is_parsed(void **state)
{
    struct ata_identity disk;

    (void)state;
    a_disk();
    assert_null(ata_parse(&disk, identity));
    assert_string_equal(disk.serial, "SERIAL 1");
    assert_string_equal(disk.model, "Model");
    assert_true(disk.sectors == UINT64_C(0x100000005));
    assert_true(disk.has_48 && disk.has_flush && disk.has_flush_ext);
    assert_int_equal(disk.shift, 0);
    assert_int_equal(disk.physical_block, 512);
    set(ATA_ID_BLOCKS, 0x6003); /* 8 logical ones to a physical one */
    assert_null(ata_parse(&disk, identity));
    assert_int_equal(disk.physical_block, 4096);
    set(ATA_ID_BLOCKS, 0x5000); /* 2048 words */
    set(ATA_ID_BLOCK, 2048);
    assert_null(ata_parse(&disk, identity));
    assert_int_equal(disk.shift, 3);
    assert_true(disk.sectors == UINT64_C(0x100000005) * 8);
    set(ATA_ID_BLOCKS, 0xd000); /* the word is not valid */
    assert_null(ata_parse(&disk, identity));
    assert_int_equal(disk.shift, 0);
    set(ATA_ID_COMMANDS, 0x3400);
    assert_null(ata_parse(&disk, identity));
    assert_true(disk.sectors == 0x0fffffff && !disk.has_48 && !disk.has_flush);
}

static void what_is_no_disk(void **state)
{
    struct ata_identity disk;

    (void)state;
    memset(identity, 0xff, sizeof(identity));
    assert_non_null(ata_parse(&disk, identity));
    memset(identity, 0, sizeof(identity));
    assert_non_null(ata_parse(&disk, identity));
    a_disk();
    set(ATA_ID_ABLE, 0x200);
    assert_non_null(ata_parse(&disk, identity));
    a_disk();
    set(ATA_ID_GENERAL, 0x8000);
    assert_non_null(ata_parse(&disk, identity));
    a_disk();
    set(ATA_ID_SECTORS48, 0);
    set(ATA_ID_SECTORS48 + 2, 0);
    assert_non_null(ata_parse(&disk, identity));
    a_disk();
    set(ATA_ID_BLOCKS, 0x5000);
    set(ATA_ID_BLOCK, 260);
    assert_non_null(ata_parse(&disk, identity));
    set(ATA_ID_BLOCK, 0);
    assert_non_null(ata_parse(&disk, identity));
}

/* --- Commands */

static void commands_are_formed(void **state)
{
    struct ata_identity disk = { .has_48 = true, .has_flush = true, .has_flush_ext = true };
    struct block_request request = { .op = BLOCK_READ, .start = UINT64_C(0x123456789a), .sectors = 256 };
    struct ata_taskfile file;

    (void)state;
    ata_form(&file, &disk, &request);
    assert_true(file.command == ATA_READ_DMA_EXT && file.has_48 && file.has_data && !file.writes);
    assert_true(file.lba == request.start && file.count == 256 && file.device == ATA_DEVICE_LBA);
    request.op = BLOCK_WRITE;
    disk.shift = 3;
    ata_form(&file, &disk, &request);
    assert_true(file.command == ATA_WRITE_DMA_EXT && file.writes && file.lba == request.start / 8 &&
                file.count == 32);
    request.op = BLOCK_FLUSH;
    ata_form(&file, &disk, &request);
    assert_true(file.command == ATA_FLUSH_EXT && !file.has_data && !file.writes);
    disk = (struct ata_identity){ .has_flush = true };
    ata_form(&file, &disk, &request);
    assert_true(file.command == ATA_FLUSH && !file.has_48);
    request = (struct block_request){ .op = BLOCK_READ, .start = 0xabcdef1, .sectors = 1 };
    ata_form(&file, &disk, &request);
    assert_true(file.command == ATA_READ_DMA && !file.has_48 && file.device == (ATA_DEVICE_LBA | 0xa));
    request.op = BLOCK_WRITE;
    ata_form(&file, &disk, &request);
    assert_int_equal(file.command, ATA_WRITE_DMA);
}

static void regions_keep_their_borders(void **state)
{
    static const struct block_segment segment[] = {
        { AT(0x10000), 0x10000 },
        { AT(0x2fffe), 4 },
        { AT(0xfffffe00), 512 },
        { AT(0x30000), 0x20000 },
    };
    static const struct ata_region expected[] = {
        { 0x10000, 0, 0 },      { 0x2fffe, 2, 0 }, { 0x30000, 2, 0 },
        { 0xfffffe00, 512, 0 }, { 0x30000, 0, 0 }, { 0x40000, 0, ATA_REGION_LAST },
    };
    struct block_segment above = { AT(0xfffffe00), 1024 };
    struct ata_region region[6];

    (void)state;
    assert_int_equal(ata_regions(region, 6, segment, 4), 6);
    assert_memory_equal(region, expected, sizeof(expected));
    assert_int_equal(ata_regions(region, 5, segment, 4), -EINVAL);
    assert_int_equal(ata_regions(region, 6, &above, 1), -EINVAL);
}

/* --- A channel */

#define MASTER 0xc000

static uint8_t registers[8], older[8], control, bm_command, bm_status;
static uint32_t bm_table;
static bool is_packet_device;
static unsigned commands, data_reads, resets, done_count;
static int last_status;
static struct ata_channel channel;
static struct ata_disk disks[2];
static uint8_t status, bounce[ATA_BOUNCE];
static struct ata_region table[ATA_REGIONS_MAX];

uint8_t ata_in8(uint16_t port)
{
    if (port == ATA_PRIMARY_CONTROL || port == ATA_PRIMARY + ATA_COMMAND)
        return status;
    if (port == MASTER + ATA_BM_STATUS)
        return bm_status;
    assert_true(port > ATA_PRIMARY && port < ATA_PRIMARY + 8);
    return registers[port - ATA_PRIMARY];
}

uint16_t ata_in16(uint16_t port)
{
    assert_int_equal(port, ATA_PRIMARY);
    return (uint16_t)data_reads++;
}

void ata_out8(uint16_t port, uint8_t value)
{
    if (port == ATA_PRIMARY_CONTROL) {
        control = value;
        resets += value == ATA_CONTROL_RESET;
    } else if (port == MASTER + ATA_BM_COMMAND) {
        bm_command = value;
    } else if (port == MASTER + ATA_BM_STATUS) {
        bm_status &= (uint8_t) ~(value & 6);
    } else {
        assert_true(port > ATA_PRIMARY && port < ATA_PRIMARY + 8);
        older[port - ATA_PRIMARY] = registers[port - ATA_PRIMARY];
        registers[port - ATA_PRIMARY] = value;
        commands += port == ATA_PRIMARY + ATA_COMMAND;
        if (port == ATA_PRIMARY + ATA_COMMAND && is_packet_device) {
            registers[ATA_LBA_MID] = ATA_ATAPI_MID;
            registers[ATA_LBA_HI] = ATA_ATAPI_HI;
        }
    }
}

void ata_out32(uint16_t port, uint32_t value)
{
    assert_int_equal(port, MASTER + ATA_BM_TABLE);
    bm_table = value;
}

void ata_delay_us(unsigned us)
{
    (void)us;
}

void watch_begin(struct watch *watch)
{
    watch->active = true;
}

static void done(struct block_request *request, int result)
{
    (void)request;
    done_count++;
    last_status = result;
}

static int setup(void **state)
{
    (void)state;
    channel = (struct ata_channel){ .command = ATA_PRIMARY,
                                    .control = ATA_PRIMARY_CONTROL,
                                    .master = MASTER,
                                    .table = table,
                                    .bounce = bounce,
                                    .disk = { &disks[0], &disks[1] } };
    memset(disks, 0, sizeof(disks));
    for (unsigned i = 0; i < 2; i++) {
        disks[i].channel = &channel;
        disks[i].number = i;
        disks[i].identity.has_48 = true;
    }
    status = ATA_STATUS_READY;
    control = bm_command = bm_status = 0;
    commands = done_count = resets = data_reads = 0;
    host_memory = bounce - 0x100000; /* so that what the test has is low */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_memory = NULL;
    return 0;
}

/* The disk has ended its command. */
static void interrupt(uint8_t disk, uint8_t master)
{
    status = disk;
    bm_status |= master;
    ata_poll(&channel);
}

static struct block_segment one = { bounce, 4096 }; /* as good a place as any */

static void a_read_goes_and_comes(void **state)
{
    struct block_request read = { .op = BLOCK_READ,
                                  .start = UINT64_C(0x665544332211),
                                  .sectors = 8,
                                  .segment = &one,
                                  .segments = 1,
                                  .done = done };
    static const uint8_t first[] = { 0, 0x44, 0x55, 0x66 }, second[] = { 8, 0x11, 0x22, 0x33 };

    (void)state;
    assert_int_equal(ata_submit(&disks[1], &read), 0);
    assert_int_equal(commands, 1);
    assert_memory_equal(older + ATA_COUNT, first, 4);
    assert_memory_equal(registers + ATA_COUNT, second, 4);
    assert_int_equal(registers[ATA_COMMAND], ATA_READ_DMA_EXT);
    assert_int_equal(registers[ATA_DEVICE], 0xf0);
    assert_int_equal(bm_command, ATA_BM_START | ATA_BM_TO_MEMORY);
    assert_true(table[0].at == 0x100000 && table[0].bytes == 4096 && table[0].last == ATA_REGION_LAST);
    assert_int_equal(bm_table, (uint32_t)virt_to_phys(table).raw);
    ata_poll(&channel); /* no interrupt */
    assert_int_equal(done_count, 0);
    interrupt(ATA_STATUS_READY, ATA_BM_INTERRUPT);
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, 0);
    assert_int_equal(bm_command, 0);
    assert_int_equal(bm_status & 6, 0);
    interrupt(ATA_STATUS_READY, ATA_BM_INTERRUPT); /* nobody's: acknowledged */
    assert_int_equal(done_count, 1);
    assert_int_equal(bm_status & 6, 0);
}

static void errors_are_told(void **state)
{
    static const struct {
        uint8_t disk, master;
        int result;
    } rows[] = {
        { ATA_STATUS_READY | ATA_STATUS_ERROR, ATA_BM_INTERRUPT, -EIO },
        { ATA_STATUS_READY | ATA_STATUS_FAULT, ATA_BM_INTERRUPT, -EIO },
        { ATA_STATUS_READY | ATA_STATUS_DRQ, ATA_BM_INTERRUPT, -EIO },
        { ATA_STATUS_NONE, ATA_BM_INTERRUPT, -EIO },
        { ATA_STATUS_READY, ATA_BM_INTERRUPT | ATA_BM_ERROR, -EIO },
        { ATA_STATUS_READY, ATA_BM_INTERRUPT | ATA_BM_ACTIVE, -EIO },
        { ATA_STATUS_READY, ATA_BM_INTERRUPT, 0 },
    };
    struct block_request write = {
        .op = BLOCK_WRITE, .sectors = 8, .segment = &one, .segments = 1, .done = done
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        status = ATA_STATUS_READY;
        bm_status = 0;
        assert_int_equal(ata_submit(&disks[0], &write), 0);
        assert_int_equal(bm_command, ATA_BM_START);
        interrupt(rows[i].disk, rows[i].master);
        assert_int_equal(done_count, i + 1);
        assert_int_equal(last_status, rows[i].result);
    }
}

static void one_at_a_time(void **state)
{
    struct block_request flush = { .op = BLOCK_FLUSH, .done = done }, other = flush,
                         zeroes = { .op = BLOCK_WRITE_ZEROES };

    (void)state;
    disks[0].identity.has_flush_ext = true;
    assert_int_equal(ata_submit(&disks[0], &flush), 0);
    assert_int_equal(registers[ATA_COMMAND], ATA_FLUSH_EXT);
    assert_int_equal(bm_command, 0);
    assert_int_equal(ata_submit(&disks[1], &other), -EBUSY);
    assert_int_equal(ata_submit(&disks[1], &zeroes), -EOPNOTSUPP);
    interrupt(ATA_STATUS_READY, ATA_BM_INTERRUPT);
    assert_int_equal(done_count, 1);
    assert_int_equal(disks[0].disk.block.readies, 1);
    assert_int_equal(disks[1].disk.block.readies, 1);
    assert_int_equal(ata_submit(&disks[1], &other), 0);
    status = ATA_STATUS_BUSY; /* and stays so */
    interrupt(ATA_STATUS_READY, ATA_BM_INTERRUPT);
    assert_int_equal(disks[1].disk.block.readies, 1);
    status = ATA_STATUS_BUSY;
    assert_int_equal(ata_submit(&disks[0], &flush), -EIO);
    status = ATA_STATUS_NONE;
    assert_int_equal(ata_submit(&disks[0], &flush), -EIO);
}

static void high_memory_is_bounced(void **state)
{
    uint8_t *high = malloc(1024);
    struct block_segment segment[] = { { high, 512 }, { high + 512, 512 } };
    struct block_request write = {
        .op = BLOCK_WRITE, .sectors = 2, .segment = segment, .segments = 2, .done = done
    };

    (void)state;
    assert_true(virt_to_phys(high).raw >= 4 * GiB);
    memset(high, 0x5a, 1024);
    assert_int_equal(ata_submit(&disks[0], &write), 0);
    assert_int_equal(table[0].at, 0x100000);
    assert_int_equal(table[0].bytes, 1024);
    assert_memory_equal(bounce, high, 1024);
    interrupt(ATA_STATUS_READY, ATA_BM_INTERRUPT);
    write.op = BLOCK_READ;
    assert_int_equal(ata_submit(&disks[0], &write), 0);
    memset(bounce, 0xa5, 1024);
    interrupt(ATA_STATUS_READY, ATA_BM_INTERRUPT);
    assert_memory_equal(bounce, high, 1024);
    free(high);
}

static void what_takes_too_long_is_given_up(void **state)
{
    struct block_request read = {
        .op = BLOCK_READ, .sectors = 8, .segment = &one, .segments = 1, .done = done
    };

    (void)state;
    assert_int_equal(ata_submit(&disks[0], &read), 0);
    status = ATA_STATUS_BUSY;
    channel.watch.tick = WATCH_SECONDS;
    assert_true(ata_look(&channel));
    assert_int_equal(done_count, 0);
    channel.watch.tick++;
    assert_true(ata_look(&channel));
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, -EIO);
    assert_int_equal(resets, 1);
    assert_int_equal(control, 0);
    assert_int_equal(bm_command, 0);
    assert_false(ata_look(&channel));
    status = ATA_STATUS_READY;
    assert_int_equal(ata_submit(&disks[0], &read), 0);
    bm_status = ATA_BM_INTERRUPT; /* an interrupt that was lost is found */
    assert_false(ata_look(&channel));
    assert_int_equal(done_count, 2);
    assert_int_equal(last_status, 0);
}

static void disks_are_found(void **state)
{
    static uint8_t data[ATA_IDENTIFY];

    (void)state;
    status = ATA_STATUS_READY | ATA_STATUS_DRQ;
    assert_int_equal(ata_identify(&channel, 1, data), 0);
    assert_int_equal(registers[ATA_DEVICE], 0xb0);
    assert_int_equal(data_reads, 256);
    assert_true(data[2 * 200] == 200 && data[2 * 255] == 255);
    assert_int_equal(control, 0);
    status = ATA_STATUS_READY | ATA_STATUS_ERROR;
    assert_int_equal(ata_identify(&channel, 0, data), -ENODEV);
    status = ATA_STATUS_READY | ATA_STATUS_DRQ; /* which a packet device does not say, but who knows */
    is_packet_device = true;
    assert_int_equal(ata_identify(&channel, 0, data), -ENODEV);
    is_packet_device = false;
    status = ATA_STATUS_NONE;
    assert_int_equal(ata_identify(&channel, 0, data), -ENODEV);
    status = 0;
    commands = 0;
    assert_int_equal(ata_identify(&channel, 0, data), -ENODEV);
    status = ATA_STATUS_BUSY;
    assert_int_equal(ata_identify(&channel, 0, data), -ENODEV);
    assert_int_equal(commands, 0);
    assert_int_equal(data_reads, 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_is_parsed),
        cmocka_unit_test(what_is_no_disk),
        cmocka_unit_test(commands_are_formed),
        cmocka_unit_test(regions_keep_their_borders),
        cmocka_unit_test_setup_teardown(a_read_goes_and_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(high_memory_is_bounced, setup, teardown),
        cmocka_unit_test_setup_teardown(what_takes_too_long_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(disks_are_found, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
