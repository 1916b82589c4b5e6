/* An AHCI port. The test is the HBA: the port's registers are memory here, and it does what an HBA does to
 * them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/paging.h"
#include "drivers/ahci_port.h"
#include "lib/errno.h"

static uint32_t registers[AHCI_PORT_SIZE / 4];
static struct ahci_port port;
static uint32_t issued; /* what the HBA knows of: written 1 to CI, and not ended yet */
static unsigned done_count, resets;
static int last_status;
static struct block_request *last_done;
static bool list_stops; /* the HBA does stop when told to */

#define REG(at) (registers[(at) / 4])

/* Time goes by: the HBA reacts. */
void ahci_delay_us(unsigned us)
{
    (void)us;
    if (!(REG(AHCI_PxCMD) & AHCI_CMD_START) && list_stops)
        REG(AHCI_PxCMD) &= ~(uint32_t)AHCI_CMD_RUNS;
    if (REG(AHCI_PxSCTL) == AHCI_SCTL_RESET) {
        resets++;
        REG(AHCI_PxTFD) = ATA_STATUS_READY;
        REG(AHCI_PxCMD) &= ~(uint32_t)AHCI_CMD_RUNS;
    }
}

void watch_begin(struct watch *watch)
{
    watch->active = true;
}

static void done(struct block_request *request, int status)
{
    done_count++;
    last_done = request;
    last_status = status;
}

static int setup(void **state)
{
    (void)state;
    memset(registers, 0, sizeof(registers));
    port = (struct ahci_port){ .registers = (volatile uint8_t *)registers,
                               .memory = aligned_alloc(PAGE_SIZE, 32 * PAGE_SIZE),
                               .slots = 0xffffffff };
    memset(port.memory, 0, 32 * PAGE_SIZE);
    port.identity = (struct ata_identity){ .has_48 = true, .has_flush_ext = true };
    REG(AHCI_PxCMD) = (uint32_t)(AHCI_CMD_START | AHCI_CMD_RUNS);
    REG(AHCI_PxSSTS) = 0x113;
    REG(AHCI_PxTFD) = ATA_STATUS_READY;
    issued = done_count = resets = 0;
    list_stops = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(port.memory);
    return 0;
}

/* The HBA has seen what was written to CI. */
static void see(void)
{
    issued |= REG(AHCI_PxCI);
    REG(AHCI_PxCI) = issued;
    REG(AHCI_PxIS) = 0; /* what was cleared by writing 1 */
}

static int submit(struct block_request *request)
{
    int error = ahci_submit(&port, request);

    see();
    return error;
}

static void interrupt(uint32_t ended, uint64_t why)
{
    issued &= ~ended;
    REG(AHCI_PxCI) = issued;
    REG(AHCI_PxIS) = (uint32_t)why;
    ahci_poll(&port);
    REG(AHCI_PxIS) = 0;
}

static const struct ahci_header *header(unsigned slot)
{
    return (const struct ahci_header *)(const void *)port.memory + slot;
}

static const uint8_t *table(unsigned slot)
{
    return phys_to_virt(hpa(header(slot)->table));
}

static const struct ahci_region *region(unsigned slot)
{
    return (const struct ahci_region *)(const void *)(table(slot) + AHCI_TABLE_REGIONS);
}

static void a_write_goes_and_ends(void **state)
{
    static uint8_t data[1024];
    struct block_segment segment[] = { { data, 1022 }, { data + 1022, 2 } };
    struct block_request write = { .op = BLOCK_WRITE,
                                   .start = UINT64_C(0x665544332211),
                                   .sectors = 2,
                                   .segment = segment,
                                   .segments = 2,
                                   .done = done };
    static const uint8_t fis[FIS_BYTES] = { 0x27, 0x80, 0x35, 0,    0x11, 0x22, 0x33,
                                            0x40, 0x44, 0x55, 0x66, 0,    2 };

    (void)state;
    assert_int_equal(submit(&write), 0);
    assert_int_equal(issued, 1);
    assert_int_equal(header(0)->what, 5 | 1 << 6 | 2 << 16);
    assert_memory_equal(table(0), fis, sizeof(fis));
    assert_true(region(0)[0].at == virt_to_phys(data).raw && region(0)[0].bytes == 1021);
    assert_true(region(0)[1].at == virt_to_phys(data + 1022).raw && region(0)[1].bytes == 1);
    interrupt(0, 0);
    assert_int_equal(done_count, 0);
    interrupt(1, BIT(0));
    assert_int_equal(done_count, 1);
    assert_ptr_equal(last_done, &write);
    assert_int_equal(last_status, 0);
}

static void reads_and_flushes_are_formed(void **state)
{
    static uint8_t data[512];
    struct block_segment segment = { data, 512 };
    struct block_request read = {
        .op = BLOCK_READ, .start = 0x1234567, .sectors = 1, .segment = &segment, .segments = 1
    };
    struct block_request flush = { .op = BLOCK_FLUSH, .done = done }, zeroes = { .op = BLOCK_WRITE_ZEROES };

    (void)state;
    port.identity.has_48 = false;
    assert_int_equal(submit(&read), 0);
    assert_int_equal(submit(&flush), 0);
    assert_int_equal(issued, 3);
    assert_int_equal(header(0)->what, 5 | 1 << 16);
    assert_int_equal(table(0)[FIS_COMMAND], ATA_READ_DMA);
    assert_int_equal(table(0)[FIS_DEVICE], 0x41);
    assert_int_equal(table(0)[FIS_LBA_UP], 0);
    assert_int_equal(header(1)->what, 5);
    assert_int_equal(table(1)[FIS_COMMAND], ATA_FLUSH_EXT);
    assert_int_equal(submit(&zeroes), -EOPNOTSUPP);
}

static void the_list_fills(void **state)
{
    static struct block_request request[AHCI_SLOTS + 1];
    unsigned readies;

    (void)state;
    for (unsigned i = 0; i <= AHCI_SLOTS; i++) {
        request[i] = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
        assert_int_equal(submit(&request[i]), i < AHCI_SLOTS ? 0 : -EBUSY);
    }
    assert_int_equal(issued, 0xffffffff);
    readies = port.disk.block.readies;
    interrupt(0x80000001, BIT(0));
    assert_int_equal(done_count, 2);
    assert_int_equal(port.disk.block.readies, readies + 1);
    assert_int_equal(submit(&request[0]), 0);
    interrupt(0x7fffffff, BIT(0));
    assert_int_equal(done_count, 33);
    assert_int_equal(port.disk.block.readies, readies + 1);
    assert_int_equal(port.busy, 0);
}

/* The HBA stops at an error: `left` is what PxCI says then. */
static void error(uint32_t left)
{
    issued = REG(AHCI_PxCI) = left;
    REG(AHCI_PxTFD) = ATA_STATUS_READY | ATA_STATUS_ERROR;
    REG(AHCI_PxIS) = (uint32_t)AHCI_INT_TASK_FILE;
    REG(AHCI_PxCMD) |= (uint32_t)AHCI_CMD_RUNS;
    ahci_poll(&port);
    issued = REG(AHCI_PxCI); /* it forgot what it had, and was told anew */
    REG(AHCI_PxIS) = 0;
}

/* Of four commands the second one fails, which is found out by doing them one by one; a fifth comes
 * meanwhile. */
static void one_error_ends_one_request(void **state)
{
    static struct block_request request[5];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        request[i] = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
        assert_int_equal(submit(&request[i]), 0);
    }
    error(0xc); /* an HBA that has cleared the bit of the one that failed */
    assert_int_equal(done_count, 0);
    assert_int_equal(issued, 1);
    assert_true(REG(AHCI_PxCMD) & AHCI_CMD_START); /* it was stopped and goes on */
    request[4] = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
    assert_int_equal(ahci_submit(&port, &request[4]), 0);
    assert_int_equal(REG(AHCI_PxCI), 1);
    interrupt(1, BIT(0));
    assert_ptr_equal(last_done, &request[0]);
    assert_int_equal(last_status, 0);
    assert_int_equal(REG(AHCI_PxCI), 2);
    error(2);
    assert_ptr_equal(last_done, &request[1]);
    assert_int_equal(last_status, -EIO);
    for (unsigned i = 2; i < 5; i++) {
        assert_int_equal(issued, 1 << i);
        interrupt(1u << i, BIT(0));
        assert_ptr_equal(last_done, &request[i]);
        assert_int_equal(last_status, 0);
        issued = REG(AHCI_PxCI);
    }
    assert_int_equal(done_count, 5);
    assert_int_equal(port.busy | port.pending, 0);
    assert_int_equal(resets, 0);
    REG(AHCI_PxCI) = issued = 0;
    assert_int_equal(submit(&request[0]), 0); /* side by side again */
    assert_int_equal(submit(&request[1]), 0);
    assert_int_equal(issued, 3);
}

/* The HBA reports an error though it has nothing to do, and later does not stop. */
static void errors_that_make_no_sense(void **state)
{
    struct block_request request = { .op = BLOCK_FLUSH, .done = done }, second = request;

    (void)state;
    REG(AHCI_PxIS) = (uint32_t)AHCI_INT_INTERFACE;
    ahci_poll(&port);
    assert_int_equal(done_count, 0);
    assert_false(port.one_by_one);
    REG(AHCI_PxIS) = 0;
    REG(AHCI_PxCMD) = (uint32_t)(AHCI_CMD_START | AHCI_CMD_RUNS);
    list_stops = false;
    assert_int_equal(submit(&second), 0);
    REG(AHCI_PxIS) = (uint32_t)AHCI_INT_TASK_FILE;
    ahci_poll(&port);
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, -EIO);
    assert_int_equal(resets, 1);
    assert_int_equal(port.state, AHCI_WORKS);
    assert_int_equal(submit(&request), 0);
}

static void a_disk_that_is_pulled_out(void **state)
{
    struct block_request request = { .op = BLOCK_FLUSH, .done = done };

    (void)state;
    assert_int_equal(submit(&request), 0);
    interrupt(0, AHCI_INT_PHY); /* the link is there again, or still */
    assert_int_equal(done_count, 0);
    REG(AHCI_PxSSTS) = 0;
    interrupt(0, AHCI_INT_PHY);
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, -ENODEV);
    assert_int_equal(port.disk.block.health, BLOCK_GONE);
    assert_int_equal(submit(&request), -ENODEV);
    REG(AHCI_PxSSTS) = 0x113; /* comes back: it may be another one */
    interrupt(0, AHCI_INT_PHY | AHCI_INT_CHANGE);
    assert_int_equal(submit(&request), -ENODEV);
}

static void an_hba_that_is_gone(void **state)
{
    struct block_request request = { .op = BLOCK_FLUSH, .done = done };

    (void)state;
    assert_int_equal(submit(&request), 0);
    memset(registers, 0xff, sizeof(registers));
    ahci_poll(&port);
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, -ENODEV);
    assert_int_equal(port.disk.block.health, BLOCK_GONE);
}

static void what_takes_too_long_is_given_up(void **state)
{
    struct block_request request = { .op = BLOCK_FLUSH, .done = done };

    (void)state;
    assert_int_equal(submit(&request), 0);
    port.watch.tick = WATCH_SECONDS;
    assert_true(ahci_look(&port));
    assert_int_equal(done_count, 0);
    port.watch.tick++;
    assert_false(ahci_look(&port));
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, -EIO);
    assert_int_equal(resets, 1);
    issued = 0;
    REG(AHCI_PxCI) = 0;
    assert_int_equal(submit(&request), 0);
    assert_true(ahci_look(&port));
    issued = REG(AHCI_PxCI) = 0; /* ended, but the interrupt was lost */
    assert_false(ahci_look(&port));
    assert_int_equal(done_count, 2);
    assert_int_equal(last_status, 0);
}

static void a_discard_in_parts(void **state)
{
    struct block_request discard = {
        .op = BLOCK_DISCARD, .start = 5, .sectors = 64 * 65535 + 7, .done = done
    };
    uint64_t range[64];

    (void)state;
    assert_int_equal(submit(&discard), 0);
    assert_int_equal(table(0)[FIS_COMMAND], ATA_DATASET);
    assert_int_equal(table(0)[FIS_FEATURE], 1);
    assert_int_equal(table(0)[FIS_COUNT], 1);
    assert_int_equal(header(0)->what, 5 | 1 << 6 | 1 << 16);
    assert_int_equal(region(0)[0].bytes, 511);
    memcpy(range, phys_to_virt(hpa(region(0)[0].at)), 512);
    assert_true(range[0] == (5 | UINT64_C(65535) << 48));
    assert_true(range[63] == ((5 + 63 * 65535) | UINT64_C(65535) << 48));
    interrupt(1, BIT(0));
    see();
    assert_int_equal(done_count, 0);
    assert_int_equal(issued, 1);
    memcpy(range, phys_to_virt(hpa(region(0)[0].at)), 512);
    assert_true(range[0] == ((5 + 64 * 65535) | UINT64_C(7) << 48));
    assert_true(range[1] == 0);
    interrupt(1, BIT(0));
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_write_goes_and_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_and_flushes_are_formed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_list_fills, setup, teardown),
        cmocka_unit_test_setup_teardown(one_error_ends_one_request, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_that_make_no_sense, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_is_pulled_out, setup, teardown),
        cmocka_unit_test_setup_teardown(an_hba_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_takes_too_long_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_discard_in_parts, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
