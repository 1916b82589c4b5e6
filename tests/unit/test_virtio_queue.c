/* A queue of a virtio disk. The test is the device: it reads the rings and writes what a device writes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/paging.h"
#include "drivers/virtio_queue.h"
#include "lib/errno.h"

static struct virtio_disk disk;
static struct virtio_queue queue;
static uint16_t bell, taken; /* taken: of avail.index */
static unsigned done_count;
static int last_status;
static struct block_request *last_done;

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
    disk = (struct virtio_disk){ .queues = 1, .queue = { &queue }, .max_discard = 100, .max_zeroes = 1000 };
    queue = (struct virtio_queue){ .disk = &disk,
                                   .memory = aligned_alloc(PAGE_SIZE, 64 * PAGE_SIZE),
                                   .ring = { .bell = &bell, .number = 3 } };
    memset(queue.memory, 0, 64 * PAGE_SIZE);
    virtio_queue_init(&queue);
    bell = 0xffff;
    taken = 0;
    done_count = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(queue.memory);
    return 0;
}

/* The device takes the next chain: its number, and where its table is. */
static unsigned take(const struct virtq_desc **table, unsigned *length)
{
    unsigned id;

    assert_int_not_equal(queue.ring.avail->index, taken);
    id = queue.ring.avail->ring[taken++ % VIRTIO_SLOTS];
    assert_true(id < VIRTIO_SLOTS);
    assert_int_equal(queue.ring.desc[id].flags, VIRTQ_DESC_INDIRECT);
    *table = phys_to_virt(hpa(queue.ring.desc[id].address));
    *length = queue.ring.desc[id].length / 16;
    for (unsigned i = 0; i < *length; i++) {
        assert_int_equal((*table)[i].flags & VIRTQ_DESC_NEXT, i + 1 < *length);
        assert_true(!((*table)[i].flags & VIRTQ_DESC_NEXT) || (*table)[i].next == i + 1);
    }
    return id;
}

static const struct virtio_blk_header *header(const struct virtq_desc *table)
{
    assert_int_equal(table[0].length, 16);
    return phys_to_virt(hpa(table[0].address));
}

/* And ends one: `status` where the chain's last descriptor says. */
static void answer(unsigned id, uint8_t status)
{
    const struct virtq_desc *desc = &queue.ring.desc[id % VIRTIO_SLOTS];

    if (desc->length) {
        const struct virtq_desc *table = phys_to_virt(hpa(desc->address));
        const struct virtq_desc *last = &table[desc->length / 16 - 1];

        assert_true(last->length == 1 && last->flags == VIRTQ_DESC_WRITE);
        *(uint8_t *)phys_to_virt(hpa(last->address)) = status;
    }
    queue.ring.used->ring[queue.ring.used->index++ % VIRTIO_SLOTS].id = id;
}

static void a_read_goes_and_comes(void **state)
{
    static uint8_t data[4096];
    struct block_segment segment[] = { { data, 512 }, { data + 1024, 3072 } };
    struct block_request read = { .op = BLOCK_READ,
                                  .start = UINT64_C(0x123456789a),
                                  .sectors = 7,
                                  .segment = segment,
                                  .segments = 2,
                                  .done = done };
    const struct virtq_desc *table;
    unsigned length, id;

    (void)state;
    assert_int_equal(virtio_queue_submit(&queue, &read), 0);
    assert_int_equal(bell, 3);
    id = take(&table, &length);
    assert_int_equal(length, 4);
    assert_int_equal(header(table)->type, VIRTIO_BLK_T_IN);
    assert_true(header(table)->sector == read.start);
    assert_true(table[1].address == virt_to_phys(data).raw && table[1].length == 512);
    assert_true(table[2].address == virt_to_phys(data + 1024).raw && table[2].length == 3072);
    assert_true((table[1].flags & table[2].flags & VIRTQ_DESC_WRITE) != 0);
    virtio_queue_poll(&queue);
    assert_int_equal(done_count, 0);
    answer(id, VIRTIO_BLK_S_OK);
    virtio_queue_poll(&queue);
    assert_int_equal(done_count, 1);
    assert_ptr_equal(last_done, &read);
    assert_int_equal(last_status, 0);

    read.op = BLOCK_WRITE;
    bell = 0xffff;
    queue.ring.used->flags = VIRTQ_NO_NOTIFY;
    assert_int_equal(virtio_queue_submit(&queue, &read), 0);
    assert_int_equal(bell, 0xffff);
    id = take(&table, &length);
    assert_int_equal(header(table)->type, VIRTIO_BLK_T_OUT);
    assert_false((table[1].flags | table[2].flags) & VIRTQ_DESC_WRITE);
    answer(id, VIRTIO_BLK_S_IOERR);
    virtio_queue_poll(&queue);
    assert_int_equal(last_status, -EIO);
}

static void answers_are_understood(void **state)
{
    static const struct {
        uint8_t status;
        int result;
    } rows[] = { { 0, 0 }, { 1, -EIO }, { 2, -EOPNOTSUPP }, { 3, -EIO }, { 0xff, -EIO } };
    struct block_request flush = { .op = BLOCK_FLUSH, .done = done };
    const struct virtq_desc *table;
    unsigned length, id;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(virtio_queue_submit(&queue, &flush), 0);
        id = take(&table, &length);
        assert_int_equal(length, 2);
        assert_int_equal(header(table)->type, VIRTIO_BLK_T_FLUSH);
        answer(id, rows[i].status);
        virtio_queue_poll(&queue);
        assert_int_equal(done_count, i + 1);
        assert_int_equal(last_status, rows[i].result);
    }
}

static void the_ring_fills(void **state)
{
    static struct block_request request[VIRTIO_SLOTS + 1];
    const struct virtq_desc *table;
    unsigned length, id[VIRTIO_SLOTS];

    (void)state;
    for (unsigned round = 0; round < 1100; round++) { /* the indices wrap, too */
        unsigned readies = disk.disk.block.readies;

        for (unsigned i = 0; i <= VIRTIO_SLOTS; i++) {
            request[i] = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
            assert_int_equal(virtio_queue_submit(&queue, &request[i]), i < VIRTIO_SLOTS ? 0 : -EBUSY);
        }
        for (unsigned i = 0; i < VIRTIO_SLOTS; i++)
            id[i] = take(&table, &length);
        for (unsigned i = VIRTIO_SLOTS; i-- > 0;)
            answer(id[i], 0);
        virtio_queue_poll(&queue);
        assert_int_equal(done_count, (round + 1) * VIRTIO_SLOTS);
        assert_int_equal(disk.disk.block.readies, readies + 1);
    }
    assert_false(disk.confused);
}

static void ranges_in_parts(void **state)
{
    struct block_request request = { .op = BLOCK_DISCARD, .start = 7, .sectors = 250, .done = done };
    static const uint64_t from[] = { 7, 107, 207 };
    static const uint32_t sectors[] = { 100, 100, 50 };
    const struct virtq_desc *table;
    const struct virtio_blk_range *range;
    unsigned length, id;

    (void)state;
    assert_int_equal(virtio_queue_submit(&queue, &request), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(done_count, 0);
        id = take(&table, &length);
        assert_int_equal(length, 3);
        assert_int_equal(header(table)->type, VIRTIO_BLK_T_DISCARD);
        assert_true(table[1].length == 16 && !(table[1].flags & VIRTQ_DESC_WRITE));
        range = phys_to_virt(hpa(table[1].address));
        assert_true(range->sector == from[i] && range->sectors == sectors[i] && range->flags == 0);
        answer(id, 0);
        virtio_queue_poll(&queue);
    }
    assert_int_equal(done_count, 1);
    request.op = BLOCK_WRITE_ZEROES;
    disk.zeroes_may_unmap = true;
    assert_int_equal(virtio_queue_submit(&queue, &request), 0);
    id = take(&table, &length);
    assert_int_equal(header(table)->type, VIRTIO_BLK_T_WRITE_ZEROES);
    range = phys_to_virt(hpa(table[1].address));
    assert_true(range->sectors == 250 && range->flags == VIRTIO_BLK_RANGE_UNMAP);
    answer(id, 1);
    virtio_queue_poll(&queue);
    assert_int_equal(last_status, -EIO);
}

static void lies_are_noticed(void **state)
{
    static const uint32_t ids[] = { 0, VIRTIO_SLOTS - 1, VIRTIO_SLOTS, 0xffffffff };
    struct block_request flush = { .op = BLOCK_FLUSH, .done = done };
    const struct virtq_desc *table;
    unsigned length, id;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        disk.confused = false;
        queue.ring.used->ring[queue.ring.used->index++ % VIRTIO_SLOTS].id = ids[i];
        virtio_queue_poll(&queue);
        assert_true(disk.confused);
    }
    disk.confused = false;
    assert_int_equal(virtio_queue_submit(&queue, &flush), 0);
    id = take(&table, &length);
    queue.ring.used->ring[queue.ring.used->index++ % VIRTIO_SLOTS].id = id + VIRTIO_SLOTS;
    virtio_queue_poll(&queue);
    assert_true(disk.confused);
    assert_int_equal(done_count, 0);
    disk.confused = false;
    answer(id, 0);
    answer(id, 0);
    virtio_queue_poll(&queue);
    assert_true(disk.confused);
    assert_int_equal(done_count, 1);
    queue.ring.used->index = (uint16_t)(queue.ring.seen - 1); /* the index ran away */
    virtio_queue_poll(&queue);
    assert_int_equal(done_count, 1);
}

static void a_stopped_device_ends_all(void **state)
{
    struct block_request flush = { .op = BLOCK_FLUSH, .done = done }, other = flush;
    bool overdue = false;

    (void)state;
    assert_int_equal(virtio_queue_submit(&queue, &flush), 0);
    disk.watch.tick = WATCH_SECONDS;
    assert_int_equal(virtio_queue_load(&queue, &overdue), 1);
    assert_false(overdue);
    disk.watch.tick++;
    assert_int_equal(virtio_queue_load(&queue, &overdue), 1);
    assert_true(overdue);
    disk.state = VIRTIO_STOPPED;
    virtio_queue_end(&queue, -EIO);
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, -EIO);
    assert_int_equal(virtio_queue_load(&queue, &overdue), 0);
    assert_int_equal(virtio_queue_submit(&queue, &other), -EIO);
    disk.state = VIRTIO_LOST;
    assert_int_equal(virtio_queue_submit(&queue, &other), -ENODEV);
}

static void the_serial_number_is_asked_for(void **state)
{
    char id[VIRTIO_BLK_ID_BYTES] = { 0 };
    const struct virtq_desc *table;
    unsigned length, slot;

    (void)state;
    virtio_queue_ask_id(&queue, id);
    assert_false(virtio_queue_has_id(&queue));
    slot = take(&table, &length);
    assert_int_equal(header(table)->type, VIRTIO_BLK_T_GET_ID);
    assert_true(length == 3 && table[1].length == 20 && (table[1].flags & VIRTQ_DESC_WRITE));
    answer(slot, 0);
    assert_true(virtio_queue_has_id(&queue));
    virtio_queue_poll(&queue);
    assert_false(disk.confused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_read_goes_and_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_are_understood, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ring_fills, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(lies_are_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stopped_device_ends_all, setup, teardown),
        cmocka_unit_test_setup_teardown(the_serial_number_is_asked_for, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
