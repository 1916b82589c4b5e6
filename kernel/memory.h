/* From the loader's memory map to page tables and the frame allocator. */
#pragma once

#include "boot/bootinfo.h"

/*
 * Sets up paging, frames and heap, keeping image, modules and the first MiB.
 * Boot CPU, once, on the boot stack; panics on failure.
 */
void memory_init(const struct bootinfo *info);
