#include "drivers/disk_test.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "drivers/storage.h"
#include "kernel/frames.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "lib/errno.h"
#include "lib/string.h"

#define SLOTS        8
#define BUFFER_ORDER 7 /* 512 KiB for each slot: a request and the gaps between its pieces */
#define BUFFER       (PAGE_SIZE << BUFFER_ORDER)
#define REQUEST_MAX  (BUFFER / 2 / BLOCK_SECTOR)
#define AREA         (16 * MiB / BLOCK_SECTOR)
#define READS        200 /* of which the cheapest is told */
#define READ_SECONDS 2

/* What is done, one after the other; each goes over the whole area but FLUSH. */
enum phase { WRITE, FLUSH, READ, ZEROES, READ_ZEROES, DISCARD, REWRITE, COST, PHASES };

static struct slot {
    struct block_request request;
    struct block_segment segment[BLOCK_MAX_SEGMENTS];
    uint8_t *buffer;
    bool busy, ended; /* ended: set by done(), on any CPU */
    int status;
} slots[SLOTS];

static struct block_user user;
static struct block_device *disk;
static struct sched_work work;
static enum phase phase;
static uint64_t next_sector, area, requests, errors, wrong, random = 0x9e3779b97f4a7c15;
static uint64_t started;

/* Marsaglia's xorshift: the same sizes and pieces in every run. */
static uint64_t dice(uint64_t sides)
{
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random % sides;
}

/* What the n-th 8 bytes of the disk are to be. */
static uint64_t pattern(uint64_t n)
{
    return phase == READ_ZEROES ? 0 : (n + 1) * UINT64_C(0xbf58476d1ce4e5b9);
}

static void request_done(struct block_request *request, int status)
{
    struct slot *slot = container_of(request, struct slot, request);

    slot->status = status;
    __atomic_store_n(&slot->ended, true, __ATOMIC_RELEASE);
    sched_queue_work(&work);
}

/* --- Data */

/* Pieces of odd sizes at odd places, as a guest's may be; every other request is of whole pages. */
static void cut(struct slot *slot)
{
    uint64_t left = slot->request.sectors * BLOCK_SECTOR, gaps = BUFFER - left;
    bool even = dice(2);
    uint8_t *at = slot->buffer + (even ? 0 : dice(gaps / 8 / 16) * 16);
    unsigned n = 0;

    while (left) {
        uint64_t bytes = n + 1 == disk->max_segments ? left
                                                     : (dice(even ? 4 : 1024) + 1) * (even ? 4096 : 16);

        bytes = min_u64(bytes, left);
        slot->segment[n++] = (struct block_segment){ at, (uint32_t)bytes };
        at += bytes;
        left -= bytes;
        at += even ? dice(2) * 4096 : dice(16) * 16;
    }
    slot->request.segment = slot->segment;
    slot->request.segments = n;
}

/* Writes the pattern to the pieces, or counts where they differ from it. */
static void go_through(struct slot *slot, bool fill)
{
    uint64_t n = slot->request.sector * BLOCK_SECTOR / 8, bit = 0, value = 0;

    for (unsigned i = 0; i < slot->request.segments; i++) {
        uint32_t *at = (uint32_t *)(void *)slot->segment[i].data;

        for (uint32_t k = 0; k < slot->segment[i].bytes / 4; k++, bit ^= 32) {
            if (bit == 0)
                value = pattern(n++);
            if (fill)
                at[k] = (uint32_t)(value >> bit);
            else
                wrong += at[k] != (uint32_t)(value >> bit);
        }
    }
}

/* --- Requests */

static enum block_op operation(void)
{
    static const enum block_op ops[] = { BLOCK_WRITE, BLOCK_FLUSH,   BLOCK_READ,  BLOCK_WRITE_ZEROES,
                                         BLOCK_READ,  BLOCK_DISCARD, BLOCK_WRITE, BLOCK_READ };

    return ops[phase];
}

static bool can_do_phase(void)
{
    if (phase == ZEROES || phase == READ_ZEROES)
        return disk->has_write_zeroes;
    if (phase == DISCARD)
        return disk->has_discard;
    return true;
}

static void submit_here(void *request)
{
    block_submit(&user, request);
}

/* On each CPU in turn, as guests would. */
static void submit(struct slot *slot)
{
    struct cpu *cpu = smp_cpu((unsigned)(requests++ % smp_online()));

    slot->busy = true;
    if (cpu->index == 0)
        submit_here(&slot->request);
    else
        smp_call(cpu, submit_here, &slot->request);
}

static void begin(struct slot *slot)
{
    struct block_request *request = &slot->request;
    uint32_t block = disk->logical_block / BLOCK_SECTOR;
    uint64_t most = min_u64(REQUEST_MAX, disk->max_sectors);

    *request = (struct block_request){ .op = operation(), .done = request_done };
    if (request->op == BLOCK_FLUSH) {
        next_sector = area;
        submit(slot);
        return;
    }
    if (request->op > BLOCK_FLUSH)
        most = area; /* such have no data */
    request->sector = next_sector;
    request->sectors = (uint32_t)min_u64(align_down(dice(most) + block, block), area - next_sector);
    next_sector += request->sectors;
    if (request->op <= BLOCK_WRITE) {
        cut(slot);
        if (request->op == BLOCK_WRITE)
            go_through(slot, true);
    }
    submit(slot);
}

static void end(struct slot *slot)
{
    slot->busy = slot->ended = false;
    if (slot->status) {
        if (errors++ == 0)
            log_error("disk-test: %s: operation %d of %u sectors from %llu failed: %d", disk->name,
                      (int)slot->request.op, slot->request.sectors, (unsigned long long)slot->request.sector,
                      slot->status);
    } else if (phase == READ || phase == READ_ZEROES) {
        go_through(slot, false);
    }
}

/* --- What a read of 4 KiB costs, with its interrupt: in an emulator that counts instructions, so many. */

static uint64_t read_cost(void)
{
    struct slot *slot = &slots[0];
    uint64_t cost, before = tsc_now(), after, give_up = before + READ_SECONDS * tsc_hz();

    slot->ended = false;
    block_submit(&user, &slot->request);
    cost = tsc_now() - before;
    do {
        for (unsigned i = 0; i < 100; i++)
            cpu_pause();
        before = tsc_now();
        cpu_take_interrupts();
        after = tsc_now();
    } while (!__atomic_load_n(&slot->ended, __ATOMIC_ACQUIRE) && after < give_up);
    return cost + after - before;
}

static uint64_t cheapest_read(void)
{
    struct slot *slot = &slots[0];
    uint64_t cheapest = UINT64_MAX;

    slot->segment[0] = (struct block_segment){ slot->buffer, 4096 };
    for (unsigned i = 0; i < READS && (i == 0 || slot->ended); i++) {
        slot->request = (struct block_request){ .op = BLOCK_READ,
                                                .done = request_done,
                                                .sector = 8 * dice(area / 8),
                                                .sectors = 8,
                                                .segment = slot->segment,
                                                .segments = 1 };
        cheapest = min_u64(cheapest, read_cost());
    }
    return cheapest;
}

/* --- The whole */

static void report(void)
{
    uint64_t ms = (tsc_now() - started) / (tsc_hz() / 1000);

    if (errors || wrong)
        log_error("disk-test: %s: FAILED: %llu of %llu requests failed, %llu words are not what was written",
                  disk->name, (unsigned long long)errors, (unsigned long long)requests,
                  (unsigned long long)wrong);
    else
        log_info("disk-test: %s: passed: %llu requests in %llu ms; a read of 4 KiB costs %llu ticks",
                 disk->name, (unsigned long long)requests, (unsigned long long)ms,
                 (unsigned long long)cheapest_read());
    block_close(&user);
}

/* One request more, or one less. True: there is more to do now. */
static bool step(struct sched_work *unused)
{
    bool busy = false;

    (void)unused;
    if (phase == COST)
        return false; /* its reads end here too */
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slots[i].busy && __atomic_load_n(&slots[i].ended, __ATOMIC_ACQUIRE)) {
            end(&slots[i]);
            return true;
        }
        if (!slots[i].busy && next_sector < area) {
            begin(&slots[i]);
            return true;
        }
        busy |= slots[i].busy;
    }
    if (busy)
        return false; /* request_done() comes back here */
    do
        phase++;
    while (phase < COST && !can_do_phase());
    next_sector = 0;
    if (phase < COST)
        return true;
    report();
    return false;
}

static struct block_device *find(const char *serial)
{
    struct block_device *found = NULL, *device;

    for (unsigned i = 0; (device = block_device(i)) != NULL; i++) {
        if (device->serial[0] == '\0' || strcmp(device->serial, serial) != 0)
            continue;
        if (found) {
            log_error("disk-test: both %s and %s have serial number %s", found->name, device->name, serial);
            return NULL;
        }
        found = device;
    }
    if (!found)
        log_error("disk-test: no disk has serial number %s", serial);
    else if (found->is_boot_medium || found->readonly || found->sectors < AREA) {
        log_error("disk-test: %s is not tested: it is %s", found->name,
                  found->is_boot_medium ? "the boot medium"
                  : found->readonly     ? "read-only"
                                        : "too small");
        found = NULL;
    }
    return found;
}

void disk_test(const char *serial)
{
    disk = find(serial);
    if (!disk || block_open(&user, disk, "disk-test", false, NULL, &this_cpu()->timers) != 0)
        return;
    for (unsigned i = 0; i < SLOTS; i++) {
        hpa_t buffer = frames_alloc(BUFFER_ORDER, FRAME_HEAP);

        if (!buffer.raw) {
            log_error("disk-test: there is no memory for it");
            return;
        }
        slots[i].buffer = phys_to_virt(buffer);
    }
    area = AREA;
    started = tsc_now();
    work.step = step;
    sched_queue_work(&work);
}
