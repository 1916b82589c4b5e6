/* NVMe commands and queues. The test is the controller: it reads the doorbells and writes completions. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/paging.h"
#include "drivers/nvme_queue.h"
#include "lib/errno.h"

/* --- PRPs */

#define AT(n) ((uint8_t *)(uintptr_t)(n)) /* only its address matters */

static uint64_t list[NVME_LIST_ENTRIES];

static int prps(struct nvme_command *command, const struct block_segment *segment, unsigned segments)
{
    memset(list, 0, sizeof(list));
    *command = (struct nvme_command){ 0 };
    return nvme_prps(command, segment, segments, list, hpa(0x77000));
}

static void prps_of_one_piece(void **state)
{
    static const struct {
        uint64_t at;
        uint32_t bytes, entries; /* in the list */
    } rows[] = {
        { 0x10000, 4096, 0 },    { 0x10000, 512, 0 },     { 0x10e00, 512, 0 },  { 0x10e00, 1024, 1 },
        { 0x10004, 4096, 1 },    { 0x10000, 8192, 1 },    { 0x10ffc, 8192, 2 }, { 0x10000, 12288, 2 },
        { 0x10000, 262144, 63 }, { 0x10ffc, 262144, 64 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct block_segment segment = { AT(rows[i].at), rows[i].bytes };
        struct nvme_command command;

        assert_int_equal(prps(&command, &segment, 1), 0);
        assert_true(command.prp1 == rows[i].at);
        if (rows[i].entries < 2)
            assert_true(command.prp2 == (rows[i].entries ? 0x11000 : 0));
        else
            assert_true(command.prp2 == 0x77000);
        for (unsigned k = 0; k < rows[i].entries; k++)
            assert_true(list[k] == 0x11000 + k * PAGE_SIZE);
    }
}

static void prps_of_pieces(void **state)
{
    static const struct {
        struct block_segment segment[4];
        unsigned segments;
        int error;
        uint64_t second, third; /* the second page, and the third one */
    } rows[] = {
        /* whole pages, and a beginning and an end that are not */
        { { { AT(0x10e00), 512 }, { AT(0x30000), 4096 }, { AT(0x20000), 512 } }, 3, 0, 0x30000, 0x20000 },
        /* one goes on where the other ended */
        { { { AT(0x10000), 512 }, { AT(0x10200), 3584 }, { AT(0x50000), 16 } }, 3, 0, 0x50000, 0 },
        { { { AT(0x10800), 512 }, { AT(0x10a00), 4096 } }, 2, 0, 0x11000, 0 },
        /* a hole in the middle of a page */
        { { { AT(0x10000), 512 }, { AT(0x20000), 512 } }, 2, -EINVAL, 0, 0 },
        { { { AT(0x10000), 4096 }, { AT(0x20200), 512 } }, 2, -EINVAL, 0, 0 },
        { { { AT(0x10e00), 512 }, { AT(0x20000), 2048 }, { AT(0x30000), 4096 } }, 3, -EINVAL, 0, 0 },
        { { { AT(0x10200), 512 }, { AT(0x10600), 512 } }, 2, -EINVAL, 0, 0 },
        /* too long */
        { { { AT(0x10000), 262144 }, { AT(0x100000), 8192 } }, 2, -EINVAL, 0, 0 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct nvme_command command;

        assert_int_equal(prps(&command, rows[i].segment, rows[i].segments), rows[i].error);
        if (rows[i].error)
            continue;
        assert_true(list[0] == rows[i].second && list[1] == rows[i].third);
    }
}

/* --- What a controller says of itself */

static void identity_of_a_controller(void **state)
{
    uint8_t data[NVME_IDENTIFY_BYTES] = { 0 };
    struct nvme_identity identity;

    (void)state;
    memcpy(data + NVME_CTRL_SERIAL, "  S/N 1\x07\xff           ", 20);
    memset(data + NVME_CTRL_MODEL, 'M', NVME_CTRL_MODEL_SIZE);
    data[NVME_CTRL_MDTS] = 3;
    data[NVME_CTRL_ONCS] = 0x0c;
    data[NVME_CTRL_VWC] = 1;
    nvme_parse_controller(&identity, data, 0);
    assert_string_equal(identity.serial, "S/N 1??");
    assert_int_equal(strlen(identity.model), BLOCK_SERIAL_MAX - 1);
    assert_int_equal(identity.max_bytes, 32768);
    assert_true(identity.has_cache && identity.has_dataset && identity.has_zeroes);
    data[NVME_CTRL_MDTS] = 0;
    data[NVME_CTRL_ONCS] = 0xf3;
    data[NVME_CTRL_VWC] = 0xfe;
    nvme_parse_controller(&identity, data, 0);
    assert_int_equal(identity.max_bytes, NVME_MAX_BYTES);
    assert_false(identity.has_cache || identity.has_dataset || identity.has_zeroes);
    data[NVME_CTRL_MDTS] = 255;
    nvme_parse_controller(&identity, data, 15);
    assert_int_equal(identity.max_bytes, NVME_MAX_BYTES);
}

static const char *parse(struct nvme_shape *shape, uint64_t blocks, uint32_t format)
{
    uint8_t data[NVME_IDENTIFY_BYTES] = { 0 };

    memcpy(data, &blocks, 8);
    data[NVME_NS_FORMAT] = 0xf2;
    data[NVME_NS_ATTRIBUTE] = 1;
    memcpy(data + NVME_NS_FORMATS + 8, &format, 4);
    return nvme_parse_namespace(shape, data);
}

static void shape_of_a_namespace(void **state)
{
    struct nvme_shape shape;

    (void)state;
    assert_null(parse(&shape, 1000, 0x010c0000));
    assert_int_equal(shape.blocks, 1000);
    assert_int_equal(shape.shift, 12);
    assert_true(shape.readonly);
    assert_null(parse(&shape, UINT64_MAX >> 12, 0x01090000));
    assert_non_null(parse(&shape, 0, 0x010c0000));
    assert_non_null(parse(&shape, UINT64_MAX, 0x010c0000));
    assert_non_null(parse(&shape, 1000, 0x01090008)); /* metadata */
    assert_non_null(parse(&shape, 1000, 0x01080000)); /* blocks of 256 bytes */
    assert_non_null(parse(&shape, 1000, 0x010d0000));
    assert_non_null(parse(&shape, 1000, 0x01ff0000));
}

/* --- A queue */

static struct nvme nvme;
static struct nvme_namespace ns;
static struct nvme_queue queue;
static struct nvme_completion completions[NVME_DEPTH];
static uint32_t tail_bell, head_bell, written, phase;
static unsigned watches, done_count;
static int last_status;
static struct block_request *last_done;

void watch_begin(struct watch *watch)
{
    watch->active = true;
    watches++;
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
    memset(&nvme, 0, sizeof(nvme));
    memset(&ns, 0, sizeof(ns));
    memset(completions, 0, sizeof(completions));
    queue = (struct nvme_queue){ .nvme = &nvme,
                                 .commands = calloc(NVME_DEPTH, sizeof(struct nvme_command)),
                                 .completions = completions,
                                 .tail_bell = &tail_bell,
                                 .head_bell = &head_bell,
                                 .lists = aligned_alloc(PAGE_SIZE, 8 * PAGE_SIZE) };
    queue.lists_at = virt_to_phys(queue.lists);
    nvme_queue_init(&queue);
    nvme.bounce = aligned_alloc(PAGE_SIZE, NVME_MAX_BYTES);
    nvme.ns[0] = &ns;
    nvme.namespaces = 1;
    nvme.queue[0] = &queue;
    nvme.queues = 1;
    ns.nvme = &nvme;
    ns.nsid = 7;
    ns.shift = 3;
    tail_bell = head_bell = written = watches = done_count = 0;
    phase = NVME_STATUS_PHASE;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(queue.commands);
    free(queue.lists);
    free(nvme.bounce);
    return 0;
}

/* The controller ends a command. */
static void answer(unsigned id, uint32_t code)
{
    completions[written].status = id | code << 17 | phase;
    if (++written == NVME_DEPTH) {
        written = 0;
        phase ^= NVME_STATUS_PHASE;
    }
}

static const struct nvme_command *command(unsigned n)
{
    return &queue.commands[n % NVME_DEPTH];
}

static unsigned id_of(const struct nvme_command *c)
{
    return c->opcode >> 16;
}

static void a_read_goes_and_comes(void **state)
{
    struct block_segment segment = { AT(0x10000), 8192 };
    struct block_request request = { .op = BLOCK_READ,
                                     .start = UINT64_C(0x800000008),
                                     .sectors = 16,
                                     .segment = &segment,
                                     .segments = 1,
                                     .done = done };

    (void)state;
    assert_int_equal(nvme_queue_submit(&queue, &ns, &request), 0);
    assert_int_equal(tail_bell, 1);
    assert_int_equal(watches, 1);
    assert_int_equal(command(0)->opcode & 0xffff, NVME_READ);
    assert_int_equal(command(0)->nsid, 7);
    assert_true(command(0)->prp1 == 0x10000 && command(0)->prp2 == 0x11000);
    assert_int_equal(command(0)->dword[0], 1); /* in blocks of 4 KiB */
    assert_int_equal(command(0)->dword[1], 1);
    assert_int_equal(command(0)->dword[2], 1);
    nvme_queue_poll(&queue);
    assert_int_equal(done_count, 0);
    answer(id_of(command(0)), 0);
    nvme_queue_poll(&queue);
    assert_int_equal(done_count, 1);
    assert_ptr_equal(last_done, &request);
    assert_int_equal(last_status, 0);
    assert_int_equal(head_bell, 1);
    nvme_queue_poll(&queue); /* the entry behind is of the last round */
    assert_int_equal(done_count, 1);
}

static void errors_are_told(void **state)
{
    static const struct {
        uint32_t code;
        int status;
    } rows[] = { { 0x281, -EIO },   { 0x080, -EIO },   { 0x081, -ENOSPC },
                 { 0x020, -EROFS }, { 0x182, -EROFS }, { 0, 0 } };
    struct block_request request = { .op = BLOCK_FLUSH, .done = done };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(nvme_queue_submit(&queue, &ns, &request), 0);
        assert_int_equal(command(i)->opcode & 0xffff, NVME_FLUSH);
        answer(id_of(command(i)), rows[i].code);
        nvme_queue_poll(&queue);
        assert_int_equal(last_status, rows[i].status);
    }
    assert_int_equal(done_count, ARRAY_SIZE(rows));
}

/* Full, refused, and ready again; out of order, and many times around both rings. */
static void the_queue_fills(void **state)
{
    static struct block_request request[NVME_SLOTS + 1];
    unsigned readies;

    (void)state;
    for (unsigned round = 0, n = 0; round < 10; round++, n += NVME_SLOTS) {
        for (unsigned i = 0; i < NVME_SLOTS; i++) {
            request[i] = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
            assert_int_equal(nvme_queue_submit(&queue, &ns, &request[i]), 0);
        }
        request[NVME_SLOTS] = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
        assert_int_equal(nvme_queue_submit(&queue, &ns, &request[NVME_SLOTS]), -EBUSY);
        assert_int_equal(tail_bell, (n + NVME_SLOTS) % NVME_DEPTH);
        readies = ns.disk.block.readies;
        for (unsigned i = 0; i < NVME_SLOTS; i++)
            answer(id_of(command(n + NVME_SLOTS - 1 - i)), 0);
        nvme_queue_poll(&queue);
        assert_int_equal(done_count, n + NVME_SLOTS);
        assert_int_equal(ns.disk.block.readies, readies + 1);
        assert_int_equal(head_bell, (n + NVME_SLOTS) % NVME_DEPTH);
    }
}

static void zeroes_in_parts(void **state)
{
    struct block_request request = {
        .op = BLOCK_WRITE_ZEROES, .start = 80, .sectors = 2 * 8 * 65536 + 8, .done = done
    };
    static const uint32_t from[] = { 10, 10 + 65536, 10 + 2 * 65536 }, less_one[] = { 65535, 65535, 0 };

    (void)state;
    assert_int_equal(nvme_queue_submit(&queue, &ns, &request), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(done_count, 0);
        assert_int_equal(tail_bell, i + 1);
        assert_int_equal(command(i)->opcode & 0xffff, NVME_WRITE_ZEROES);
        assert_int_equal(command(i)->dword[0], from[i]);
        assert_int_equal(command(i)->dword[2], less_one[i]);
        answer(id_of(command(i)), 0);
        nvme_queue_poll(&queue);
    }
    assert_int_equal(done_count, 1);
    request.start = 0;
    assert_int_equal(nvme_queue_submit(&queue, &ns, &request), 0);
    answer(id_of(command(3)), 0x281); /* an error ends it at once */
    nvme_queue_poll(&queue);
    assert_int_equal(done_count, 2);
    assert_int_equal(last_status, -EIO);
    assert_int_equal(tail_bell, 4);
}

static void a_discard_has_one_range(void **state)
{
    struct block_request request = {
        .op = BLOCK_DISCARD, .start = 8000, .sectors = 0xfffffff8, .done = done
    };
    const struct nvme_range *range;

    (void)state;
    assert_int_equal(nvme_queue_submit(&queue, &ns, &request), 0);
    assert_int_equal(command(0)->opcode & 0xffff, NVME_DATASET);
    assert_int_equal(command(0)->dword[0], 0);
    assert_int_equal(command(0)->dword[1], 4);
    range = (const struct nvme_range *)phys_to_virt(hpa(command(0)->prp1));
    assert_int_equal(range->start, 1000);
    assert_int_equal(range->blocks, 0x1fffffff);
}

static void odd_data_goes_by_the_bounce_buffer(void **state)
{
    static uint8_t one[512], two[3584], other[4096];
    struct block_segment segment[] = { { one, 512 }, { two, 3584 } };
    struct block_request write = {
        .op = BLOCK_WRITE, .sectors = 8, .segment = segment, .segments = 2, .done = done
    };
    struct block_request read = write, second;
    unsigned readies = ns.disk.block.readies;

    (void)state;
    read.op = BLOCK_READ;
    second = read;
    memset(one, 0x11, sizeof(one));
    memset(two, 0x22, sizeof(two));
    assert_int_equal(nvme_queue_submit(&queue, &ns, &write), 0);
    assert_true(command(0)->prp1 == virt_to_phys(nvme.bounce).raw);
    assert_memory_equal(nvme.bounce, one, 512);
    assert_memory_equal(nvme.bounce + 512, two, 3584);
    assert_int_equal(nvme_queue_submit(&queue, &ns, &read), -EBUSY);
    answer(id_of(command(0)), 0);
    nvme_queue_poll(&queue);
    assert_int_equal(ns.disk.block.readies, readies + 1);

    assert_int_equal(nvme_queue_submit(&queue, &ns, &read), 0);
    for (unsigned i = 0; i < 4096; i++)
        other[i] = (uint8_t)(i * 7);
    memcpy(nvme.bounce, other, 4096);
    answer(id_of(command(1)), 0);
    nvme_queue_poll(&queue);
    assert_memory_equal(one, other, 512);
    assert_memory_equal(two, other + 512, 3584);
    assert_int_equal(nvme_queue_submit(&queue, &ns, &second), 0); /* free again */
}

/* What no controller may say. */
static void lies_are_noticed(void **state)
{
    static const unsigned ids[] = { 0, NVME_SLOTS - 1, NVME_SLOTS, NVME_DEPTH, 0xffff };
    struct block_request request = { .op = BLOCK_FLUSH, .done = done };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        nvme.confused = false;
        answer(ids[i], 0);
        nvme_queue_poll(&queue);
        assert_true(nvme.confused);
    }
    nvme.confused = false;
    assert_int_equal(nvme_queue_submit(&queue, &ns, &request), 0);
    answer(id_of(command(0)), 0);
    answer(id_of(command(0)), 0); /* twice */
    nvme_queue_poll(&queue);
    assert_true(nvme.confused);
    assert_int_equal(done_count, 1);
    for (unsigned i = 0; i < NVME_DEPTH; i++) /* an entry that is always new, as it were */
        completions[i].status = i | (i < written ? phase : phase ^ (uint32_t)NVME_STATUS_PHASE);
    nvme_queue_poll(&queue);
    assert_int_equal(done_count, 1);
}

static void a_stopped_controller_ends_all(void **state)
{
    static struct block_request request[NVME_SLOTS];
    bool overdue = false;

    (void)state;
    for (unsigned i = 0; i < NVME_SLOTS; i++) {
        request[i] = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
        assert_int_equal(nvme_queue_submit(&queue, &ns, &request[i]), 0);
    }
    assert_int_equal(nvme_queue_load(&queue, &overdue), NVME_SLOTS);
    assert_false(overdue);
    nvme.watch.tick = WATCH_SECONDS;
    assert_int_equal(nvme_queue_load(&queue, &overdue), NVME_SLOTS);
    assert_false(overdue);
    nvme.watch.tick++;
    assert_int_equal(nvme_queue_load(&queue, &overdue), NVME_SLOTS);
    assert_true(overdue);
    nvme.state = NVME_STOPPED;
    nvme_queue_end(&queue, -EIO);
    assert_int_equal(done_count, NVME_SLOTS);
    assert_int_equal(last_status, -EIO);
    overdue = false;
    assert_int_equal(nvme_queue_load(&queue, &overdue), 0);
    assert_false(overdue);
    assert_int_equal(nvme_queue_submit(&queue, &ns, &request[0]), -EIO);
    nvme.state = NVME_LOST;
    assert_int_equal(nvme_queue_submit(&queue, &ns, &request[0]), -ENODEV);
    assert_int_equal(done_count, NVME_SLOTS);
}

static void boot_media_are_known(void **state)
{
    uint8_t sector[BLOCK_SECTOR] = { 0 };

    (void)state;
    memcpy(sector, "\1CD001\1", 7);
    memset(sector + 40, ' ', 32);
    assert_false(storage_is_boot_medium(sector));
    memcpy(sector + 40, "PLINTH", 6);
    assert_true(storage_is_boot_medium(sector));
    sector[46] = '2';
    assert_false(storage_is_boot_medium(sector));
    sector[46] = ' ';
    sector[0] = 2;
    assert_false(storage_is_boot_medium(sector));
}

static void texts_are_cleaned(void **state)
{
    char text[BLOCK_SERIAL_MAX];

    (void)state;
    storage_text(text, "IDKS 1  ", 8, true);
    assert_string_equal(text, "DISK1");
    storage_text(text, "        ", 8, false);
    assert_string_equal(text, "");
    storage_text(text, "ab\0cd", 5, false);
    assert_string_equal(text, "ab");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prps_of_one_piece),
        cmocka_unit_test(prps_of_pieces),
        cmocka_unit_test(identity_of_a_controller),
        cmocka_unit_test(shape_of_a_namespace),
        cmocka_unit_test_setup_teardown(a_read_goes_and_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(the_queue_fills, setup, teardown),
        cmocka_unit_test_setup_teardown(zeroes_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_discard_has_one_range, setup, teardown),
        cmocka_unit_test_setup_teardown(odd_data_goes_by_the_bounce_buffer, setup, teardown),
        cmocka_unit_test_setup_teardown(lies_are_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stopped_controller_ends_all, setup, teardown),
        cmocka_unit_test(boot_media_are_known),
        cmocka_unit_test(texts_are_cleaned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
