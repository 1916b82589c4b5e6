/* What a loader leaves behind: how the first vCPU starts. Shared by linux.c, multiboot.c and machine.c. */
#pragma once

#include "lib/types.h"
#include "vmx/gmem.h"
#include "vmx/guestmap.h"

/* A file that the boot loader brought. */
struct image {
    const uint8_t *data;
    size_t size;
    const char *name;    /* path as the config writes it */
    const char *cmdline; /* multiboot modules: its words; else NULL */
};

enum boot_mode {
    BOOT_MODE_PROTECTED, /* flat 32-bit, paging off (Multiboot 0.6.96, 3.2) */
    BOOT_MODE_LONG,      /* 64-bit, paging on, flat (Linux x86 boot protocol, 64-bit) */
};

/* Registers not named are zero; segments are flat, CS = cs, the others = ds; RFLAGS = 2; IDT limit 0. */
struct boot_state {
    enum boot_mode mode;
    uint64_t rip, rsp, rax, rbx, rsi, cr3;
    gpa_t gdt; /* BOOT_MODE_LONG: base of a GDT in guest memory */
    uint16_t gdt_limit;
    uint16_t cs, ds; /* selectors */
};

/* A loader's refusal: one sentence for the log, naming the file and what to do. */
struct load_error {
    char text[192];
};

/* What every loader needs to know. */
struct load_request {
    const struct gmem *mem;
    struct image kernel;
    struct image initrd; /* size 0: none */
    const char *cmdline; /* never NULL */
    const struct image *module;
    unsigned module_count;
    gpa_t rsdp; /* of the ACPI tables already placed; 0: none */
};

/* The e820 view of the guest's memory map (guestmap.h). Linux and multiboot share it. */
#define E820_MAX      8
#define E820_RAM      1u
#define E820_RESERVED 2u
#define E820_ACPI     3u

struct e820_entry {
    uint64_t base, size;
    uint32_t type;
} __packed;

/* Fills `map`, sorted; returns how many entries (at most E820_MAX). */
unsigned guest_e820(const struct gmem *mem, struct e820_entry map[E820_MAX]);

/* The end of the RAM below GUEST_LOW_MAX: what a 32-bit kernel can use, in one piece from 1 MiB. */
uint64_t guest_low_end(const struct gmem *mem);

/* Writes the sentence and returns -ENOEXEC, so that a loader can refuse in one line. */
int load_refuse(struct load_error *error, const char *fmt, ...) __printf(2, 3) __must_check;
