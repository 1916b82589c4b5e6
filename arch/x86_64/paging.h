/*
 * The hypervisor's own address space. All of RAM is mapped writable and never executable at PHYS_BASE; the
 * image runs at IMAGE_BASE with its code read-only, its constants read-only and not executable, its data not
 * executable.
 *
 *   0xffff800000000000  direct map of physical memory (PHYS_BASE)
 *   0xffffc00000000000  device memory, uncached (map_device)
 *   0xffffd00000000000  per-CPU blocks (percpu.h)
 *   0xffffffff80000000  the image (IMAGE_BASE + its physical address)
 */
#pragma once

#include "lib/types.h"

#define PHYS_BASE   UINT64_C(0xffff800000000000)
#define DEVICE_BASE UINT64_C(0xffffc00000000000)
#define PERCPU_BASE UINT64_C(0xffffd00000000000)
#define IMAGE_BASE  UINT64_C(0xffffffff80000000)

/* Parts of the image, page-aligned; linker.ld. */
extern const char image_start[], image_text_start[], image_text_end[], image_rodata_end[], image_end[];

/* The address of RAM in the direct map. */
static inline void *phys_to_virt(hpa_t at)
{
    return (void *)(uintptr_t)(at.raw + PHYS_BASE);
}

/* The inverse, for addresses in the direct map and in the image. */
static inline hpa_t virt_to_phys(const void *at)
{
    uint64_t raw = (uint64_t)(uintptr_t)at;

    return hpa(raw >= IMAGE_BASE ? raw - IMAGE_BASE : raw - PHYS_BASE);
}

struct bootinfo;

/*
 * Leaves the loader's tables for the hypervisor's own: direct map of all usable and ACPI memory in `info`,
 * image with W^X, nothing at low addresses. Tables come from `pool` (page-aligned, below 4 GiB, RAM, unused)
 * until paging_use_frames(). Boot CPU; panics if the pool is too small, see paging_pool_size().
 */
void paging_init(const struct bootinfo *info, hpa_t pool, uint64_t pool_size);

/* Bytes that paging_init() needs at most. */
uint64_t paging_pool_size(const struct bootinfo *info);

/*
 * From now on tables come from frames.c. Returns how many bytes at
 * the start of the pool are in use; the rest is free.
 */
uint64_t paging_use_frames(void);

/*
 * Loads the memory types (PAT), the tables and the protections into
 * this CPU; paging_init() does it for the boot CPU.
 */
void paging_load(void);

/* What goes to CR3; it may lie above 4 GiB. */
uint64_t paging_root(void);

/* Maps pages in the hypervisor's address space, not mapped before. Multiples of 4 KiB; PTAB_ flags. -ENOMEM.
 */
int paging_map(uint64_t address, hpa_t target, uint64_t size, uint32_t flags) __must_check;

/*
 * Firmware's tables, read-only, wherever they lie; NULL where no memory
 * can be or tables run out of memory. Never unmapped.
 */
const void *map_firmware(hpa_t at, uint64_t size) __must_check;

/*
 * Maps device registers uncached; NULL when tables run out of
 * memory. `size` bytes at any alignment; never unmapped.
 */
volatile void *map_device(hpa_t at, uint64_t size) __must_check;

/* Maps a device's memory write-combining (framebuffers). */
volatile void *map_framebuffer(hpa_t at, uint64_t size) __must_check;
