#include "arch/x86_64/paging.h"
#include "arch/x86_64/cpu.h"
#include "boot/bootinfo.h"
#include "kernel/frames.h"
#include "kernel/lock.h"
#include "kernel/panic.h"
#include "lib/errno.h"
#include "lib/ptab.h"
#include "lib/string.h"

#define RAM_FLAGS    (PTAB_READ | PTAB_WRITE | PTAB_GLOBAL | PTAB_WB)
#define CODE_FLAGS   (PTAB_READ | PTAB_EXEC | PTAB_GLOBAL | PTAB_WB)
#define CONST_FLAGS  (PTAB_READ | PTAB_GLOBAL | PTAB_WB)
#define DEVICE_FLAGS (PTAB_READ | PTAB_WRITE | PTAB_GLOBAL | PTAB_UC)

/* Protects the tables and device_next. Rank: before the frames' lock. */
static struct lock lock;
static struct ptab_format format;
static struct ptab tables;
static uint64_t device_next = DEVICE_BASE;

/* Before frames.c runs, tables come from here; .used only grows. */
static struct {
    hpa_t start;
    uint64_t size, used;
    bool closed;
} pool;

static hpa_t table_alloc(void *context)
{
    hpa_t page;

    (void)context;
    if (pool.closed) {
        page = frames_alloc(FRAME_ORDER_4K, FRAME_PTAB);
    } else if (pool.used < pool.size) {
        page = hpa(pool.start.raw + pool.used);
        pool.used += PAGE_SIZE;
    } else {
        page = hpa(0);
    }
    if (page.raw != 0)
        memset(phys_to_virt(page), 0, PAGE_SIZE);
    return page;
}

static void table_free(void *context, hpa_t table)
{
    (void)context;
    (void)table; /* nothing is ever unmapped here, so a table comes back only when memory ran out half-way:
                    keep it */
}

static uint64_t *table_pointer(void *context, hpa_t table)
{
    (void)context;
    return phys_to_virt(table);
}

static const struct ptab_memory table_memory = {
    .alloc = table_alloc,
    .free = table_free,
    .pointer = table_pointer,
};

uint64_t paging_pool_size(const struct bootinfo *info)
{
    uint64_t pages = 64; /* root, image, and the first tables of each area */

    /* In the direct map a region's two ends may each need a table per level; its inside one for each GiB
     * without 1G pages. */
    for (unsigned i = 0; i < info->region_count; i++)
        pages += 6 + (info->region[i].type == BOOT_REGION_USABLE ? info->region[i].size / PAGE_1G : 0);
    return pages * PAGE_SIZE;
}

static void map_or_panic(uint64_t address, hpa_t target, uint64_t size, uint32_t flags)
{
    int error = ptab_map(&tables, address, target, size, flags);

    if (error)
        panic("cannot map %llx bytes at %016llx: error %d", (unsigned long long)size,
              (unsigned long long)address, error);
}

static void map_image(const char *from, const char *to, uint32_t flags)
{
    if (to > from)
        map_or_panic((uint64_t)(uintptr_t)from, virt_to_phys(from), (uint64_t)(to - from), flags);
}

static void map_ram(const struct bootinfo *info)
{
    for (unsigned i = 0; i < info->region_count; i++) {
        const struct boot_region *region = &info->region[i];
        uint64_t start = align_up(region->start.raw, PAGE_SIZE);
        uint64_t end = align_down(region->start.raw + region->size, PAGE_SIZE);

        if ((region->type == BOOT_REGION_USABLE || region->type == BOOT_REGION_ACPI) && start < end)
            map_or_panic(PHYS_BASE + start, hpa(start), end - start, RAM_FLAGS);
    }
}

void paging_load(void)
{
    __asm__ volatile("wbinvd" : : : "memory"); /* no line may be cached under two types (APM vol. 2, 7.8.2) */
    wrmsr(MSR_PAT, PTAB_X86_PAT);
    __asm__ volatile("wbinvd" : : : "memory");
    write_cr3(tables.root.raw);
    cpu_enable_protections();
}

void paging_init(const struct bootinfo *info, hpa_t pool_start, uint64_t pool_size)
{
    pool.start = pool_start;
    pool.size = pool_size;
    format = ptab_x86;
    if (!cpu_has(CPU_PAGE_1G))
        format.large_level = 1;
    if (ptab_init(&tables, &format, &table_memory))
        panic("no memory for the root page table");

    map_ram(info);
    map_image(image_text_start, image_text_end, CODE_FLAGS);
    map_image(image_text_end, image_rodata_end, CONST_FLAGS);
    map_image(image_rodata_end, image_end, RAM_FLAGS);
    /* The direct map must not be a way round the protection of code and constants. */
    map_or_panic(PHYS_BASE + virt_to_phys(image_text_start).raw, virt_to_phys(image_text_start),
                 (uint64_t)(image_rodata_end - image_text_start), CONST_FLAGS);
    paging_load();
}

uint64_t paging_use_frames(void)
{
    pool.closed = true;
    return pool.used;
}

int paging_map(uint64_t address, hpa_t target, uint64_t size, uint32_t flags)
{
    int error;

    lock_take(&lock);
    error = ptab_map(&tables, address, target, size, flags);
    lock_release(&lock);
    return error;
}

uint64_t paging_root(void)
{
    return tables.root.raw;
}

/* A window of the device area over [at, at + size), of any alignment. */
static void *map_window(hpa_t at, uint64_t size, uint32_t flags)
{
    uint64_t limit = BIT(cpu_features.maxphyaddr);
    uint64_t start = align_down(at.raw, PAGE_SIZE), window = 0, span;

    if (size == 0 || at.raw >= limit || size > limit - at.raw)
        return NULL;
    span = align_up(at.raw + size, PAGE_SIZE) - start;
    lock_take(&lock);
    if (span <= PERCPU_BASE - device_next && !ptab_map(&tables, device_next, hpa(start), span, flags)) {
        window = device_next;
        device_next += span;
    }
    lock_release(&lock);
    return window ? (void *)(uintptr_t)(window + (at.raw - start)) : NULL;
}

static bool in_direct_map(hpa_t at, uint64_t size)
{
    struct ptab_mapping mapping;

    for (uint64_t next = at.raw; next < at.raw + size; next = mapping.target.raw + mapping.size)
        if (!ptab_lookup(&tables, PHYS_BASE + next, &mapping))
            return false;
    return true;
}

const void *map_firmware(hpa_t at, uint64_t size)
{
    if (at.raw >= BIT(cpu_features.maxphyaddr) || size > GiB)
        return NULL;
    return in_direct_map(at, size) ? phys_to_virt(at) : map_window(at, size, CONST_FLAGS);
}

volatile void *map_device(hpa_t at, uint64_t size)
{
    return map_window(at, size, DEVICE_FLAGS);
}

volatile void *map_framebuffer(hpa_t at, uint64_t size)
{
    return map_window(at, size, PTAB_READ | PTAB_WRITE | PTAB_GLOBAL | PTAB_WC);
}
