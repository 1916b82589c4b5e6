/* The block device over the block layer and a disk of this file's, which answers at once or when it is told.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "devices/vblk.h"
#include "tests/unit/virtio_rig.h"

#define SECTORS 4096u
#define HEADER  0x190000u /* request n has its header at HEADER + 64 n, its status byte 32 behind */
#define DATA    0x380000u
#define DEPTH   200
#define ALL                                                                                                  \
    (VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_TOPOLOGY |          \
     VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_MQ)

static struct vblk vblk;
static struct vblk_queue *queues;
static struct block_device device;
static struct block_user user;
static uint8_t content[SECTORS * BLOCK_SECTOR];
static struct block_request *waiting[DEPTH];
static unsigned count, flushes, discards, laters, later_queue, submitted;
static bool at_once;
static int answer;

static void transfer(struct block_request *request)
{
    uint8_t *at = content + request->start * BLOCK_SECTOR;

    flushes += request->op == BLOCK_FLUSH;
    discards += request->op == BLOCK_DISCARD;
    if (request->op == BLOCK_WRITE_ZEROES)
        memset(at, 0, request->sectors * BLOCK_SECTOR);
    for (unsigned i = 0; i < request->segments; i++) {
        if (request->op == BLOCK_READ)
            memcpy(request->segment[i].data, at, request->segment[i].bytes);
        else
            memcpy(at, request->segment[i].data, request->segment[i].bytes);
        at += request->segment[i].bytes;
    }
}

static int submit(struct block_device *disk, struct block_request *request)
{
    submitted++;
    if (at_once) {
        if (!answer)
            transfer(request);
        block_complete(disk, request, answer);
        return 0;
    }
    assert_true(count < DEPTH);
    waiting[count++] = request;
    return 0;
}

/* The disk's interrupt for its oldest request. */
static void answer_one(void)
{
    struct block_request *request = waiting[0];

    assert_true(count > 0);
    memmove(waiting, waiting + 1, --count * sizeof(waiting[0]));
    if (!answer)
        transfer(request);
    block_complete(&device, request, answer);
}

static void later(void *context, unsigned queue)
{
    assert_ptr_equal(context, &device);
    laters++;
    later_queue = queue;
}

static void make(bool readonly)
{
    vblk_init(&vblk, &user, "disk-0123456789-abcdefgh", queues, 2, &mem, &apics, later, &device);
    assert_int_equal(vblk_attach(&vblk, &pci, SLOT), 0);
    assert_int_equal(vpci_attach(&pci, &board.ports, &board.mmio), 0);
    assert_int_equal(user.readonly, readonly);
}

static void prepare(bool readonly)
{
    static const struct block_ops ops = { submit };

    rig_init();
    device = (struct block_device){ .ops = &ops,
                                    .sectors = SECTORS,
                                    .physical_block = 4096,
                                    .logical_block = 512,
                                    .max_sectors = 1024,
                                    .max_segments = 128,
                                    .segment_align = 2,
                                    .has_flush = true,
                                    .has_discard = true,
                                    .has_write_zeroes = true };
    memset(&user, 0, sizeof(user));
    assert_int_equal(block_open(&user, &device, "test", readonly, NULL, &board.queue), 0);
    queues = calloc(2, sizeof(*queues));
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i / 512 * 7 + i);
    count = flushes = discards = laters = submitted = 0;
    at_once = true;
    answer = 0;
    make(readonly);
}

static int setup(void **state)
{
    (void)state;
    prepare(false);
    return 0;
}

static int setup_readonly(void **state)
{
    (void)state;
    prepare(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    block_close(&user);
    free(queues);
    host_gmem_free(&mem);
    return 0;
}

static uint8_t *status_of(unsigned n)
{
    return virtq_at(&q[0], HEADER + 64 * n + 32);
}

/* Makes request `n` available: header, data in pieces of `piece`, status. */
static void ask(unsigned queue, unsigned n, uint32_t type, uint64_t sector, uint64_t at, uint32_t bytes,
                uint32_t piece)
{
    struct virtio_blk_header header = { type, 0, sector };
    struct virtq_buffer b[40] = { { HEADER + 64 * n, sizeof(header), false } };
    unsigned used = 1;

    memcpy(virtq_at(&q[0], HEADER + 64 * n), &header, sizeof(header));
    *status_of(n) = 0xff;
    for (uint32_t done = 0; done < bytes; done += piece)
        b[used++] = (struct virtq_buffer){ at + done, (uint32_t)min_u64(piece, bytes - done),
                                           type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID };
    b[used++] = (struct virtq_buffer){ HEADER + 64 * n + 32, 1, true };
    virtq_add(&q[queue], b, used);
}

static bool ended(unsigned queue, uint32_t *bytes)
{
    uint16_t id;

    return virtq_get(&q[queue], &id, bytes);
}

/* Room for indirect chains of all that a queue can hold. */
static void many_tables(void)
{
    for (unsigned n = 0; n < 2; n++) {
        q[n].tables = 0x500000 + 0x40000 * n;
        q[n].table_count = 128;
    }
}

/* A whole request; returns its status. */
static uint8_t request(uint32_t type, uint64_t sector, uint64_t at, uint32_t bytes)
{
    uint32_t length;

    ask(0, 0, type, sector, at, bytes, 4096);
    kick(0);
    assert_true(ended(0, &length));
    assert_true(came(1));
    assert_int_equal(length, 1 + (type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? bytes : 0));
    return *status_of(0);
}

static void data_goes_both_ways(void **state)
{
    static const uint64_t features[] = { 0, VIRTIO_F_PACKED, VIRTIO_F_INDIRECT,
                                         VIRTIO_F_PACKED | VIRTIO_F_INDIRECT };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
        uint8_t *data;

        rig_start(features[i] | ALL, 2, 64);
        data = virtq_at(&q[0], DATA);
        for (unsigned j = 0; j < 50; j++) {
            uint32_t bytes = 512 * (j % 30 + 1);

            memset(data, 0, bytes);
            assert_int_equal(request(VIRTIO_BLK_T_IN, j * 3, DATA, bytes), VIRTIO_BLK_S_OK);
            assert_memory_equal(data, content + j * 3 * 512, bytes);
            memset(data, (int)(j + i), bytes);
            assert_int_equal(request(VIRTIO_BLK_T_OUT, 1000 + j, DATA, bytes), VIRTIO_BLK_S_OK);
            assert_memory_equal(data, content + (1000 + j) * 512, bytes);
        }
    }
    assert_int_equal(vblk.virtio.queue[0].held, 0);
}

/* In one buffer with header or status, in odd pieces, across chunks of the host. */
static void the_cut_means_nothing(void **state)
{
    struct virtio_blk_header header = { VIRTIO_BLK_T_IN, 0, 5 };
    uint64_t across = 2 * PAGE_2M - 700;
    struct virtq_buffer b[4] = { { HEADER, 5, false }, { HEADER + 5, 11, false }, { across, 1025, true } };
    uint8_t *first, *second;
    uint32_t length;

    (void)state;
    rig_start(ALL, 1, 16);
    memcpy(virtq_at(&q[0], HEADER), &header, sizeof(header));
    device.segment_align = 2;
    virtq_add(&q[0], b, 3);
    kick(0);
    assert_true(ended(0, &length));
    assert_int_equal(length, 1025);
    first = mem.slot[0].chunk[1] + PAGE_2M - 700;
    second = mem.slot[0].chunk[2];
    assert_memory_equal(first, content + 5 * 512, 700);
    assert_memory_equal(second, content + 5 * 512 + 700, 324);
    assert_int_equal(second[324], VIRTIO_BLK_S_OK);
    /* A write whose header and data are one buffer. */
    header = (struct virtio_blk_header){ VIRTIO_BLK_T_OUT, 0, 9 };
    memcpy(virtq_at(&q[0], DATA), &header, sizeof(header));
    memset((uint8_t *)virtq_at(&q[0], DATA) + 16, 0x5a, 512);
    b[0] = (struct virtq_buffer){ DATA, 16 + 512, false };
    b[1] = (struct virtq_buffer){ HEADER + 32, 1, true };
    virtq_add(&q[0], b, 2);
    kick(0);
    assert_true(ended(0, &length));
    assert_int_equal(*status_of(0), VIRTIO_BLK_S_OK);
    assert_int_equal(content[9 * 512], 0x5a);
    assert_int_equal(content[9 * 512 + 511], 0x5a);
}

static void other_commands(void **state)
{
    struct virtio_blk_range range = { 8, 16, 0 };
    uint8_t zero[16 * 512] = { 0 };
    char *id;

    (void)state;
    rig_start(ALL, 1, 16);
    assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(flushes, 1);
    id = virtq_at(&q[0], DATA);
    memset(id, '!', 24);
    assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 20), VIRTIO_BLK_S_OK);
    assert_memory_equal(id, "disk-0123456789-abcd!!!!", 24);
    memset(id, '!', 24);
    assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 4), VIRTIO_BLK_S_OK);
    assert_memory_equal(id, "disk!!!!", 8);
    memcpy(id, &range, sizeof(range));
    assert_int_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16), VIRTIO_BLK_S_OK);
    assert_memory_equal(content + 8 * 512, zero, sizeof(zero));
    assert_int_not_equal(content[7 * 512 + 511], 0);
    assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, DATA, 16), VIRTIO_BLK_S_OK);
    assert_int_equal(discards, 1);
    range.flags = VIRTIO_BLK_RANGE_UNMAP;
    memcpy(id, &range, sizeof(range));
    assert_int_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16), VIRTIO_BLK_S_OK);
    assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, DATA, 16), VIRTIO_BLK_S_UNSUPP);
    range.flags = 2;
    memcpy(id, &range, sizeof(range));
    assert_int_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 32), VIRTIO_BLK_S_IOERR); /* two ranges */
    assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, DATA, 8), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(99, 0, DATA, 512), VIRTIO_BLK_S_UNSUPP);
    rig_start(VIRTIO_BLK_F_FLUSH, 1, 16); /* neither was negotiated */
    range.flags = 0;
    memcpy(id, &range, sizeof(range));
    assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, DATA, 16), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(discards, 1);
}

static void errors_reach_the_guest(void **state)
{
    (void)state;
    rig_start(ALL, 1, 16);
    assert_int_equal(request(VIRTIO_BLK_T_IN, SECTORS, DATA, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(VIRTIO_BLK_T_IN, SECTORS - 1, DATA, 1024), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(VIRTIO_BLK_T_IN, UINT64_MAX, DATA, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, DATA, 100), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, DATA, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(VIRTIO_BLK_T_IN, 0, DATA + 1, 512), VIRTIO_BLK_S_IOERR); /* the disk cannot */
    assert_int_equal(submitted, 0);
    answer = -EIO;
    assert_int_equal(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_IOERR);
    answer = -EOPNOTSUPP;
    assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_UNSUPP);
    answer = 0;
    assert_int_equal(request(VIRTIO_BLK_T_IN, SECTORS - 1, DATA, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(status(), 0xf);
}

static void a_chain_that_is_no_request(void **state)
{
    struct virtq_buffer b[2] = { { HEADER, 15, false }, { HEADER + 32, 1, true } };
    uint32_t length;

    (void)state;
    rig_start(ALL, 1, 16);
    virtq_add(&q[0], b, 2); /* a short header */
    kick(0);
    assert_int_equal(status(), 0x4f);
    assert_true(ended(0, &length));
    assert_int_equal(length, 0);
    rig_start(ALL, 1, 16);
    b[0].bytes = 16;
    virtq_add(&q[0], b, 1); /* no status */
    kick(0);
    assert_int_equal(status(), 0x4f);
    put(VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(status(), 0); /* nothing is held */
}

static void what_it_says_of_itself(void **state)
{
    (void)state;
    assert_int_equal(config_get(0), 0x10421af4);
    assert_int_equal(config_get(8) >> 8, 0x010000);
    assert_true(rig_offered() == (ALL | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX |
                                  VIRTIO_F_PACKED | VIRTIO_F_RING_RESET));
    assert_int_equal(get(0x2000, 4), SECTORS);
    assert_int_equal(get(0x2004, 4), 0);
    assert_int_equal(get(0x2008, 4), 8192); /* 1024 sectors in 64 segments */
    assert_int_equal(get(0x200c, 4), 64);
    assert_int_equal(get(0x2014, 4), 512);
    assert_int_equal(get(0x2018, 1), 3); /* 8 blocks of 512 are a physical one */
    assert_int_equal(get(0x201a, 2), 8);
    assert_int_equal(get(0x2022, 2), 2); /* queues */
    assert_int_equal(get(0x2024, 4), 1 << 22);
    assert_int_equal(get(0x2028, 4), 1);
    assert_int_equal(get(0x202c, 4), 8);
    assert_int_equal(get(0x2030, 4), 1 << 22);
    assert_int_equal(get(0x2034, 4), 1);
    assert_int_equal(get(VIRTIO_COMMON_NUM_QUEUES, 2), 2);
}

static void a_small_disk_has_small_limits(void **state)
{
    (void)state;
    device.max_sectors = 256;
    device.max_segments = 128;
    device.has_flush = device.has_discard = device.has_write_zeroes = false;
    vblk_init(&vblk, &user, "", queues, 1, &mem, &apics, later, &device);
    assert_int_equal(vblk.config.seg_max, 32);
    assert_int_equal(vblk.config.size_max, 4096);
    assert_int_equal(vblk.virtio.features & (VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD |
                                             VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_MQ),
                     0);
    device.max_sectors = 65535;
    device.max_segments = 1;
    vblk_init(&vblk, &user, "", queues, 1, &mem, &apics, later, &device);
    assert_int_equal(vblk.config.seg_max, 1);
    assert_int_equal(vblk.config.size_max, 1 << 20);
}

static void a_disk_that_is_read_only(void **state)
{
    uint8_t before = content[0];

    (void)state;
    assert_true(rig_offered() & VIRTIO_BLK_F_RO);
    assert_false(rig_offered() & (VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES));
    rig_start(VIRTIO_BLK_F_RO, 1, 16);
    *(uint8_t *)virtq_at(&q[0], DATA) = (uint8_t)~before;
    assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(content[0], before);
    assert_int_equal(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
}

static void without_flush_each_write_is_safe(void **state)
{
    (void)state;
    rig_start(ALL & ~VIRTIO_BLK_F_FLUSH, 1, 16);
    assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(flushes, 1);
    assert_int_equal(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(flushes, 1);
    rig_start(ALL, 1, 16);
    assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(flushes, 1);
}

/* More than there are requests for: what is left is taken as the disk answers. */
static void a_deep_queue(void **state)
{
    uint32_t length;

    (void)state;
    for (unsigned event = 0; event < 2; event++) {
        at_once = false;
        rig_start(ALL | VIRTIO_F_INDIRECT | (event ? VIRTIO_F_EVENT_IDX : 0), 2, 128);
        many_tables();
        for (unsigned i = 0; i < 100; i++)
            ask(0, i, VIRTIO_BLK_T_IN, i, DATA + 512 * i, 512, 512);
        kick(0);
        assert_int_equal(count, VBLK_DEPTH);
        ask(1, 100, VIRTIO_BLK_T_IN, 1, DATA, 512, 512);
        kick(1);
        assert_int_equal(count, VBLK_DEPTH + 1); /* the other queue does not wait */
        for (unsigned i = 0; i < 101; i++)
            answer_one();
        for (unsigned i = 0; i < 100; i++) {
            assert_true(ended(0, &length));
            assert_int_equal(*status_of(i), VIRTIO_BLK_S_OK);
        }
        assert_true(ended(1, &length));
        assert_false(ended(0, &length));
        assert_int_equal(count, 0);
        assert_int_equal(laters, 0);
        assert_memory_equal(virtq_at(&q[0], DATA + 512), content + 512, 99 * 512);
        at_once = true; /* and the next doorbell rings */
        ask(0, 0, VIRTIO_BLK_T_IN, 0, DATA, 512, 512);
        kick(0);
        assert_true(ended(0, &length));
    }
}

/* A disk that answers at once does not keep the CPU beyond a turn. */
static void a_turn_has_an_end(void **state)
{
    uint32_t length;
    unsigned n = 0;

    (void)state;
    rig_start(ALL | VIRTIO_F_INDIRECT, 2, 128);
    many_tables();
    for (unsigned i = 0; i < 100; i++)
        ask(1, i, VIRTIO_BLK_T_IN, i, DATA, 512, 512);
    kick(1);
    while (ended(1, &length))
        n++;
    assert_int_equal(n, 64);
    assert_int_equal(laters, 1);
    assert_int_equal(later_queue, 1);
    vblk_run(&vblk, 1);
    while (ended(1, &length))
        n++;
    assert_int_equal(n, 100);
    assert_int_equal(laters, 1);
    for (unsigned i = 0; i < 10; i++) /* by bytes: 4 requests of 256 KiB */
        ask(1, i, VIRTIO_BLK_T_IN, 0, DATA, 256 << 10, 8192);
    kick(1);
    for (n = 0; ended(1, &length);)
        n++;
    assert_int_equal(n, 4);
    assert_int_equal(laters, 2);
}

static void a_reset_waits_for_the_disk(void **state)
{
    uint8_t *data;
    uint32_t length;

    (void)state;
    at_once = false;
    rig_start(ALL, 1, 128);
    for (unsigned i = 0; i < 30; i++)
        ask(0, i, VIRTIO_BLK_T_IN, i, DATA + 512 * i, 512, 512);
    kick(0);
    put(VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_not_equal(status(), 0);
    data = status_of(0);
    while (count) {
        assert_int_not_equal(status(), 0);
        answer_one();
    }
    assert_int_equal(*data, 0xff); /* nobody is told any more */
    assert_false(ended(0, &length));
    assert_int_equal(status(), 0);
    at_once = true;
    rig_start(ALL, 1, 128);
    assert_int_equal(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
}

/* What requests in flight use: their data, and the byte for their status. */
static void memory_in_flight_is_known(void **state)
{
    uint8_t *at;

    (void)state;
    at_once = false;
    rig_start(ALL, 2, 128);
    at = virtq_at(&q[0], DATA);
    assert_false(vblk_uses(&vblk, at, PAGE_SIZE));
    ask(0, 0, VIRTIO_BLK_T_FLUSH, 0, 0, 0, 1);
    kick(0);
    ask(1, 1, VIRTIO_BLK_T_IN, 1, DATA + 512, 1024, 512);
    kick(1);
    assert_true(vblk_uses(&vblk, at, PAGE_SIZE));
    assert_true(vblk_uses(&vblk, at + 1535, 1));
    assert_false(vblk_uses(&vblk, at + 1536, 512));
    assert_false(vblk_uses(&vblk, at, 512));
    assert_true(vblk_uses(&vblk, status_of(0), 1));
    assert_false(vblk_uses(&vblk, status_of(0) + 1, 1));
    assert_true(vblk_uses(&vblk, status_of(1), 1));
    answer_one();
    assert_false(vblk_uses(&vblk, status_of(0), 1));
    answer_one();
    assert_false(vblk_uses(&vblk, at, PAGE_SIZE));
}

static void its_state_goes_elsewhere(void **state)
{
    struct vblk_state saved, bad;

    (void)state;
    rig_start(ALL | VIRTIO_F_PACKED, 2, 16);
    for (unsigned i = 0; i < 7; i++)
        request(VIRTIO_BLK_T_IN, i, DATA, 512);
    vblk_save(&vblk, &saved);
    assert_int_equal(vblk_check(&vblk, &saved), 0);
    bad = saved;
    bad.sectors++;
    assert_int_equal(vblk_check(&vblk, &bad), -EINVAL);
    bad = saved;
    bad.virtio.status = 4;
    assert_int_equal(vblk_check(&vblk, &bad), -EINVAL);
    vblk_reset(&vblk);
    vpci_reset(&pci);
    vblk_load(&vblk, &saved);
    assert_int_equal(request(VIRTIO_BLK_T_IN, 3, DATA, 512), VIRTIO_BLK_S_OK);
    assert_memory_equal(virtq_at(&q[0], DATA), content + 3 * 512, 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(data_goes_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(the_cut_means_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(other_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_reach_the_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(a_chain_that_is_no_request, setup, teardown),
        cmocka_unit_test_setup_teardown(what_it_says_of_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_small_disk_has_small_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_is_read_only, setup_readonly, teardown),
        cmocka_unit_test_setup_teardown(without_flush_each_write_is_safe, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deep_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(a_turn_has_an_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_waits_for_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_in_flight_is_known, setup, teardown),
        cmocka_unit_test_setup_teardown(its_state_goes_elsewhere, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
