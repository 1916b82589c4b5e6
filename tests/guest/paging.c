/* The guest's memory: all RAM of the memory map can be used, holes are holes, and the guest's page tables do
 * what they say. */
#include "lib/guest.h"

#define LIMIT_4G UINT64_C(0x100000000)
#define STEP     UINT64_C(0x200000)
#define HOLE     UINT64_C(0xa0000)
#define MMAP_RAM 1u

extern uint64_t page_pdpt[], page_pd[];
extern const char image_end[];

static uint64_t high_directory[512] __attribute__((aligned(4096)));

/* RAM above 4 GiB, 1 GiB at a time, appears at 4 GiB (the first entry beyond what the start code mapped). */
static volatile uint64_t *window(uint64_t gpa)
{
    if (gpa < LIMIT_4G)
        return (volatile uint64_t *)gpa;
    for (uint64_t i = 0; i < 512; i++)
        high_directory[i] = ((gpa & ~UINT64_C(0x3fffffff)) + i * STEP) | 0x83;
    page_pdpt[4] = (uintptr_t)high_directory | 3;
    write_cr3(read_cr3());
    return (volatile uint64_t *)(LIMIT_4G + (gpa & 0x3fffffff));
}

static uint64_t pattern(uint64_t gpa)
{
    return gpa * UINT64_C(0x9e3779b97f4a7c15) ^ UINT64_C(0x5555aaaa5555aaaa);
}

/* Calls visit() on one word of each 64 KiB of RAM above the guest's own image and the loader's data. */
static uint64_t each(void (*visit)(uint64_t gpa))
{
    uint64_t total = 0;
    const uint8_t *at = (const uint8_t *)(uintptr_t)boot_info->mmap_addr;
    const uint8_t *end = at + boot_info->mmap_length;

    for (; at < end; at += ((const struct boot_mmap *)(const void *)at)->size + 4) {
        const struct boot_mmap *entry = (const void *)at;
        uint64_t first = entry->base < 0x400000 ? 0x400000 : entry->base;

        if (entry->type != MMAP_RAM)
            continue;
        total += entry->length;
        for (uint64_t gpa = first; gpa + 8 <= entry->base + entry->length; gpa += 0x10000)
            visit(gpa);
    }
    return total;
}

static uint64_t visited, wrong;

static void write_word(uint64_t gpa)
{
    *window(gpa) = pattern(gpa);
    visited++;
}

static void read_word(uint64_t gpa)
{
    if (*window(gpa) != pattern(gpa))
        wrong++;
}

static void test_map(void)
{
    uint64_t total;

    check_equal("Multiboot magic", boot_magic, 0x2badb002);
    check("the loader gives a memory map", boot_info->flags & BIT(6));
    note("map entries", boot_info->mmap_length / 24);
    total = each(write_word);
    each(read_word);
    note("RAM in bytes by the map", total);
    check("RAM was visited", visited > 16);
    check_equal("each word holds what was written", wrong, 0);
    check_equal("mem_lower is at most 640 KiB", boot_info->mem_lower <= 640, 1);
    check_range("mem_upper and the map agree (KiB)", boot_info->mem_upper, 1024, total / 1024);
}

static void test_low(void)
{
    volatile uint32_t *below = (volatile uint32_t *)UINT64_C(0x9f000);
    volatile uint32_t *hole = (volatile uint32_t *)HOLE;
    uint32_t old = *below;

    *below = 0x12345678;
    check_equal("RAM below the hole", *below, 0x12345678);
    *below = old;
    qemu_differs();
    check_equal("the hole at 640 KiB reads all ones", *hole, 0xffffffff);
    *hole = 0;
    qemu_differs();
    check_equal("and cannot be written", *hole, 0xffffffff);
    qemu_differs();
    check_equal("its last word", *(volatile uint32_t *)UINT64_C(0xbfffc), 0xffffffff);
    qemu_differs();
    check_equal("no RAM at 0xd0000000: all ones", *(volatile uint32_t *)UINT64_C(0xd0000000), 0xffffffff);
}

/* Accessed and dirty bits are the guest's own page tables' business, also where the hypervisor walks them. */
static void test_accessed(void)
{
    static volatile uint64_t table[512] __attribute__((aligned(4096)));
    static volatile uint32_t page[1024] __attribute__((aligned(4096)));
    uintptr_t alias = 0x40000000;

    page_pd[alias >> 21] = (uintptr_t)table | 3;
    table[0] = (uintptr_t)page | 3;
    invlpg(alias);
    *(volatile uint32_t *)alias;
    check_equal("a read sets accessed, not dirty", table[0] & 0x60, 0x20);
    *(volatile uint32_t *)alias = 1;
    check_equal("a write sets dirty", table[0] & 0x60, 0x60);
    table[0] = 0xfee00000 | 3;
    invlpg(alias);
    mmio_read32(alias + 0x30);
    check_equal("a device read sets accessed, not dirty", table[0] & 0x60, 0x20);
    mmio_write32(alias + 0x80, 0);
    check_equal("a device write sets dirty", table[0] & 0x60, 0x60);
}

void guest_main(void)
{
    test_low();
    test_map();
    test_accessed();
}
