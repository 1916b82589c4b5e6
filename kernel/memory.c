#include "kernel/memory.h"
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "kernel/log.h"
#include "kernel/panic.h"

#define FIXED_RESERVED 4         /* start-up page, first MiB, image, page tables */
#define POOL_LIMIT     (4 * GiB) /* what the early tables map */

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

void memory_init(const struct bootinfo *info)
{
    unsigned usable_count = collect_usable(info);
    uint64_t pool_size = paging_pool_size(info);
    hpa_t pool;
    int error;

    startup_page = find_startup_page(info, usable_count);
    reserve(startup_page, startup_page.raw ? PAGE_SIZE : 0, FRAME_PERCPU);
    reserve(hpa(0), MiB, FRAME_RESERVED); /* firmware's data */
    reserve(virt_to_phys(image_start), (uint64_t)(image_end - image_start), FRAME_IMAGE);
    for (unsigned i = 0; i < info->module_count; i++)
        reserve(info->module[i].start, info->module[i].size, FRAME_MODULE);

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
    log_info("memory: %llu MiB, %llu MiB free", (unsigned long long)(frames_total() * PAGE_SIZE / MiB),
             (unsigned long long)(frames_count(FRAME_FREE) * PAGE_SIZE / MiB));
}
