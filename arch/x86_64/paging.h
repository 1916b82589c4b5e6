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

/* Maps device registers uncached; NULL when tables run out of memory. `size` bytes at any alignment; never
 * unmapped. */
volatile void *map_device(hpa_t at, uint64_t size) __must_check;

/* Maps a device's memory write-combining (framebuffers). */
volatile void *map_framebuffer(hpa_t at, uint64_t size) __must_check;
