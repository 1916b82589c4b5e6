/* From the loader's memory map to page tables and the frame allocator. */
#pragma once

#include "boot/bootinfo.h"

/*
 * Sets up paging, frames and heap, keeping image, modules and the first MiB.
 * Boot CPU, once, on the boot stack; panics on failure.
 */
void memory_init(const struct bootinfo *info);

/*
 * The page below 1 MiB that is kept for the other CPUs' start-up code (smp.h); hpa(0) when the firmware left
 * none. It is mapped in the direct map.
 */
hpa_t memory_startup_page(void);
