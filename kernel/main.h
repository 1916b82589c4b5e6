/* Where the hypervisor starts. */
#pragma once

#include "lib/types.h"

/* From boot/multiboot2.asm, on the boot stack: `block` is the physical address of the multiboot2 information.
 */
_Noreturn void kernel_start(uint32_t block);
