/*
 * A VM's nested page table: guest physical to host physical, over its RAM. The format is the back end's
 * (lib/ptab.h); tables are frames that bear the VM's owner tag. The caller sees to it that no CPU has stale
 * translations: no vCPU has run, or its TLB is flushed. Compiles on the host.
 */
#pragma once

#include "lib/types.h"
#include "vmx/vm.h"

/*
 * Makes vm->nested in `format` and maps all of vm->mem with `ram_flags` (PTAB_), but for the hole, in the
 * largest pages that alignment and format allow. -ENOMEM with nothing kept. For memory_create of struct
 * vmx_ops.
 */
int nested_create(struct vm *vm, const struct ptab_format *format, uint32_t ram_flags) __must_check;

/* Frees the tables, not what they map. No vCPU may be left. */
void nested_destroy(struct vm *vm);

/*
 * Removes or restores the mapping of a chunk of RAM, `host` its address; larger pages are split. -ENOMEM with
 * nothing changed. With vm->ram; to remove, with all vCPUs off the CPUs, whose TLBs are the caller's.
 */
int nested_unmap_chunk(struct vm *vm, gpa_t at) __must_check;
int nested_map_chunk(struct vm *vm, gpa_t at, const uint8_t *host) __must_check;

/*
 * Maps a 4 KiB page that is no RAM of the guest's, in place of what was there: to be read and written, not
 * executed, write-back. The page stays the caller's, who keeps it until nested_destroy(). -EINVAL if either
 * address is no multiple of 4 KiB or not one that the format can hold; -ENOMEM.
 */
int nested_map_page(struct vm *vm, gpa_t at, hpa_t page) __must_check;
