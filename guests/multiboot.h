/*
 * Starts a kernel by the Multiboot specification, version 0.6.96 ("MB" below): ELF32, ELF64 (loaded by
 * physical addresses and entered in 32-bit mode, as GRUB does) or any file whose header bears load addresses.
 * The files are hostile. Compiles on the host.
 */
#pragma once

#include "guests/boot.h"

#define MULTIBOOT_HEADER_MAGIC 0x1badb002u
#define MULTIBOOT_LOADER_MAGIC 0x2badb002u /* in EAX at the entry (MB 3.2) */
#define MULTIBOOT_SEARCH       8192        /* the header lies within these first bytes (MB 3.1) */

/* Header flags (MB 3.1.2); a loader must refuse those of bits 0-15 that it does not know. */
#define MULTIBOOT_PAGE_ALIGN    0x00000001u
#define MULTIBOOT_MEMORY_INFO   0x00000002u
#define MULTIBOOT_VIDEO_MODE    0x00000004u
#define MULTIBOOT_REQUIRED      0x0000ffffu
#define MULTIBOOT_HAS_ADDRESSES 0x00010000u

struct multiboot_header {
    uint32_t magic;
    uint32_t flags;
    uint32_t checksum; /* makes the sum of the three 0 */
    /* with MULTIBOOT_HAS_ADDRESSES (MB 3.1.3) */
    uint32_t header_addr; /* where this header is to be in memory */
    uint32_t load_addr;
    uint32_t load_end_addr; /* 0: the rest of the file */
    uint32_t bss_end_addr;  /* 0: no bss */
    uint32_t entry_addr;
} __packed;

#define MULTIBOOT_HEADER_MIN 12 /* without addresses */

static_assert(sizeof(struct multiboot_header) == 32, "MB 3.1.1");

/* What the kernel gets (MB 3.3). */
#define MULTIBOOT_INFO_MEMORY  0x001u
#define MULTIBOOT_INFO_CMDLINE 0x004u
#define MULTIBOOT_INFO_MODULES 0x008u
#define MULTIBOOT_INFO_MMAP    0x040u
#define MULTIBOOT_INFO_LOADER  0x200u

struct multiboot_info {
    uint32_t flags;
    uint32_t mem_lower; /* KiB from 0 */
    uint32_t mem_upper; /* KiB from 1 MiB */
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t mods_count;
    uint32_t mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length; /* bytes */
    uint32_t mmap_addr;
    uint32_t drives_length;
    uint32_t drives_addr;
    uint32_t config_table;
    uint32_t boot_loader_name;
} __packed;

struct multiboot_module {
    uint32_t start, end; /* end: first byte after it */
    uint32_t string;
    uint32_t reserved;
} __packed;

struct multiboot_mmap {
    uint32_t size; /* of the rest of the entry */
    struct e820_entry entry;
} __packed;

static_assert(offsetof(struct multiboot_info, mmap_length) == 44, "MB 3.3");
static_assert(offsetof(struct multiboot_info, boot_loader_name) == 64, "MB 3.3");
static_assert(sizeof(struct multiboot_module) == 16, "MB 3.3");
static_assert(sizeof(struct multiboot_mmap) == 24, "MB 3.3");

/* Has the file a valid Multiboot header? */
bool multiboot_probe(const struct image *image);

/*
 * Places kernel, modules and the information structure in the VM's memory, which is all zeroes, and says how
 * the first vCPU starts. -ENOEXEC with *error set. Before the VM runs.
 */
int multiboot_load(const struct load_request *request, struct boot_state *state,
                   struct load_error *error) __must_check;
