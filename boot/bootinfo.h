/*
 * What the boot loader said, in the one form that the rest of Plinth sees. Filled from a multiboot2
 * information block (Multiboot2 specification 2.0, section 3.6), which is hostile: every length is checked.
 * Compiles on the host.
 */
#pragma once

#include "lib/types.h"

#define BOOT_MAX_REGIONS     256
#define BOOT_MAX_MODULES     64
#define BOOT_CMDLINE_MAX     1024
#define BOOT_MODULE_NAME_MAX 128

enum boot_region_type {
    BOOT_REGION_USABLE = 1,
    BOOT_REGION_RESERVED,
    BOOT_REGION_ACPI,
    BOOT_REGION_NVS,
    BOOT_REGION_BAD
};

struct boot_region {
    hpa_t start;
    uint64_t size;
    enum boot_region_type type;
};

struct boot_module {
    char name[BOOT_MODULE_NAME_MAX]; /* the module's string: the path as the config writes it */
    hpa_t start;
    uint64_t size; /* bytes; 0 for an empty file */
};

struct boot_framebuffer {
    hpa_t start;                   /* 0: none */
    uint32_t width, height, pitch; /* pixels, pixels, bytes; text: columns, rows, bytes */
    uint8_t bits;                  /* per pixel */
    bool text;                     /* EGA text mode */
    uint8_t red_shift, green_shift, blue_shift, red_bits, green_bits, blue_bits;
};

struct bootinfo {
    char loader[64];
    char cmdline[BOOT_CMDLINE_MAX];
    bool uefi;
    unsigned region_count;
    struct boot_region region[BOOT_MAX_REGIONS]; /* sorted, not overlapping; reserved wins over usable */
    unsigned module_count;
    struct boot_module module[BOOT_MAX_MODULES];
    struct boot_framebuffer framebuffer;
    uint8_t rsdp[36]; /* copy of the ACPI RSDP, if has_rsdp */
    bool has_rsdp;
};

/*
 * Reads the information block of `size` readable bytes at `block`. -EINVAL with *why set to a sentence if it
 * is no valid block; module names and command line that are too long are cut, too many modules or regions are
 * an error.
 */
int bootinfo_parse(struct bootinfo *info, const void *block, size_t size, const char **why) __must_check;

/*
 * The value of `key=value` in a command line, copied to `value` (size > 0); for a bare `key` an empty string.
 * False if it is not there. The last one wins. Values cannot hold spaces.
 */
bool bootinfo_option(const char *cmdline, const char *key, char *value, size_t size);
