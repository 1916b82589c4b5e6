#include "kernel/memory.h"
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/recorder.h"

#define FIXED_RESERVED 5         /* start-up page, first MiB, image, recorder, page tables */
#define POOL_LIMIT     (4 * GiB) /* what the early tables map */
#define RECORDER_STEP  (16 * MiB)
#define RING_ORDER     4

static_assert(PAGE_SIZE << RING_ORDER == RECORDER_RING, "a block holds a ring");

/* What must not be given out, and whose it is. */
static struct {
    unsigned count;
    struct frame_range range[FIXED_RESERVED + BOOT_MAX_MODULES];
    enum frame_owner owner[FIXED_RESERVED + BOOT_MAX_MODULES];
} reserved;

/* Where a start-up page may lie: firmware is known to scribble below, and video memory is above (smp.c). */
#define STARTUP_FIRST (64 * KiB)
#define STARTUP_END   (640 * KiB)

static hpa_t startup_page;

static struct frame_range usable[BOOT_MAX_REGIONS];

static void reserve(hpa_t start, uint64_t size, enum frame_owner owner)
{
    uint64_t first = align_down(start.raw, PAGE_SIZE);

    if (size == 0)
        return;
    reserved.range[reserved.count] = (struct frame_range){ hpa(first),
                                                           align_up(start.raw + size, PAGE_SIZE) - first };
    reserved.owner[reserved.count++] = owner;
}

static unsigned collect_usable(const struct bootinfo *info)
{
    unsigned count = 0;

    for (unsigned i = 0; i < info->region_count; i++) {
        const struct boot_region *region = &info->region[i];
        uint64_t start = align_up(region->start.raw, PAGE_SIZE);
        uint64_t end = align_down(region->start.raw + region->size, PAGE_SIZE);

        if (region->type == BOOT_REGION_USABLE && start < end)
            usable[count++] = (struct frame_range){ hpa(start), end - start };
    }
    return count;
}

/* The end of the lowest reserved range that [start, start + size) touches, or 0. */
static uint64_t obstacle_end(uint64_t start, uint64_t size)
{
    for (unsigned i = 0; i < reserved.count; i++) {
        uint64_t first = reserved.range[i].start.raw, end = first + reserved.range[i].size;

        if (start < end && first < start + size)
            return end;
    }
    return 0;
}

/* The lowest unreserved stretch of usable memory that holds `size` bytes. */
static hpa_t find_pool(unsigned usable_count, uint64_t size)
{
    for (unsigned i = 0; i < usable_count; i++) {
        uint64_t at = usable[i].start.raw, end = min_u64(at + usable[i].size, POOL_LIMIT), skip;

        while (at + size <= end && (skip = obstacle_end(at, size)) != 0)
            at = skip;
        if (at + size <= end)
            return hpa(at);
    }
    panic("no %llu KiB of memory below 4 GiB are free for page tables", (unsigned long long)(size / KiB));
}

static bool holds_module(const struct bootinfo *info, uint64_t page)
{
    for (unsigned i = 0; i < info->module_count; i++)
        if (info->module[i].start.raw < page + PAGE_SIZE &&
            page < info->module[i].start.raw + info->module[i].size)
            return true;
    return false;
}

static hpa_t find_startup_page(const struct bootinfo *info, unsigned usable_count)
{
    for (unsigned i = 0; i < usable_count; i++) {
        uint64_t at = max_u64(usable[i].start.raw, STARTUP_FIRST);
        uint64_t end = min_u64(usable[i].start.raw + usable[i].size, STARTUP_END);

        for (; at + PAGE_SIZE <= end; at += PAGE_SIZE)
            if (!holds_module(info, at))
                return hpa(at);
    }
    return hpa(0);
}

hpa_t memory_startup_page(void)
{
    return startup_page;
}

/*
 * Where the flight recorder lies: it must be the same place on the next start, whatever the loader brings
 * then, and one that loaders and firmware leave alone. They work upwards from the first MiB, or downwards
 * from the top: so the middle of the largest stretch, rounded so that small changes in it do not matter. 0:
 * something is there, or there is no such stretch.
 */
static hpa_t find_recorder(unsigned usable_count)
{
    struct frame_range largest = { .size = 0 };
    uint64_t at;

    for (unsigned i = 0; i < usable_count; i++) {
        uint64_t end = min_u64(usable[i].start.raw + usable[i].size, POOL_LIMIT);

        if (usable[i].start.raw < end && end - usable[i].start.raw > largest.size)
            largest = (struct frame_range){ usable[i].start, end - usable[i].start.raw };
    }
    at = align_down(largest.start.raw + largest.size / 2, RECORDER_STEP);
    if (at < largest.start.raw || largest.size / 2 < RECORDER_REGION || obstacle_end(at, RECORDER_REGION))
        return hpa(0);
    return hpa(at);
}

static void *copy_ring(void)
{
    hpa_t frames = frames_alloc(RING_ORDER, FRAME_PERCPU);

    return frames.raw ? phys_to_virt(frames) : NULL;
}

void memory_init(const struct bootinfo *info)
{
    unsigned usable_count = collect_usable(info);
    uint64_t pool_size = paging_pool_size(info);
    hpa_t pool, recorder;
    int error;

    startup_page = find_startup_page(info, usable_count);
    reserve(startup_page, startup_page.raw ? PAGE_SIZE : 0, FRAME_PERCPU);
    reserve(hpa(0), MiB, FRAME_RESERVED); /* firmware's data */
    reserve(virt_to_phys(image_start), (uint64_t)(image_end - image_start), FRAME_IMAGE);
    for (unsigned i = 0; i < info->module_count; i++)
        reserve(info->module[i].start, info->module[i].size, FRAME_MODULE);
    recorder = find_recorder(usable_count);
    reserve(recorder, recorder.raw ? RECORDER_REGION : 0, FRAME_PERCPU);

    pool = find_pool(usable_count, pool_size);
    paging_init(info, pool, pool_size);
    reserve(pool, paging_use_frames(), FRAME_PTAB);

    struct frame_setup setup = {
        .usable = usable,
        .usable_count = usable_count,
        .reserved = reserved.range,
        .reserved_owner = reserved.owner,
        .reserved_count = reserved.count,
        .pointer = phys_to_virt,
    };

    error = frames_init(&setup);
    if (error)
        panic("the memory map is not usable: frames_init() says %d", error);
    recorder_init(recorder.raw ? phys_to_virt(recorder) : NULL, copy_ring);
    log_info("memory: %llu MiB, %llu MiB free", (unsigned long long)(frames_total() * PAGE_SIZE / MiB),
             (unsigned long long)(frames_count(FRAME_FREE) * PAGE_SIZE / MiB));
}
