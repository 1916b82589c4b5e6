/* What a loader leaves behind: how the first vCPU starts. Shared by linux.c, multiboot.c and machine.c. */
#pragma once

#include "lib/types.h"
#include "vmx/gmem.h"

/* A file that the boot loader brought. */
struct image {
    const uint8_t *data;
    size_t size;
    const char *name; /* path as the config writes it */
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
    gpa_t gdt;          /* BOOT_MODE_LONG: base of a GDT in guest memory */
    uint16_t gdt_limit;
    uint16_t cs, ds;    /* selectors */
};

/* A loader's refusal: one sentence for the log, naming the file and what to do. */
struct load_error {
    char text[192];
};

/* What every loader needs to know. */
struct load_request {
    const struct gmem *mem;
    struct image kernel;
    struct image initrd;    /* size 0: none */
    const char *cmdline;    /* never NULL */
    const struct image *module;
    unsigned module_count;
    gpa_t rsdp;             /* of the ACPI tables already placed; 0: none */
};

/*
 * The guest's physical memory map, as every loader and the ACPI tables describe it:
 *   0x00000000 - 0x0009ffff  RAM          0x000a0000 - 0x000bffff  hole (legacy video memory)
 *   0x000c0000 - 0x000dffff  RAM, reserved 0x000e0000 - 0x000fffff  RAM, reserved: RSDP and ACPI tables
 *   0x00100000 - 0xbfffffff  RAM up to 3 GiB
 *   0xfec00000 I/O APIC      0xfee00000 local APIC
 *   0x100000000 -            the rest of the RAM
 */
#define GUEST_HOLE_BASE   UINT64_C(0x000a0000)
#define GUEST_HOLE_SIZE   UINT64_C(0x00020000)
#define GUEST_BIOS_BASE   UINT64_C(0x000c0000)
#define GUEST_ACPI_BASE   UINT64_C(0x000e0000)
#define GUEST_ACPI_SIZE   UINT64_C(0x00020000)
#define GUEST_LOW_MAX     UINT64_C(0xc0000000)
#define GUEST_HIGH_BASE   UINT64_C(0x100000000)
#define GUEST_IOAPIC_BASE UINT64_C(0xfec00000)
#define GUEST_LAPIC_BASE  UINT64_C(0xfee00000)

/* The e820 view of that map (Linux and multiboot share it). */
#define E820_MAX 8
#define E820_RAM      1u
#define E820_RESERVED 2u
#define E820_ACPI     3u

struct e820_entry {
    uint64_t base, size;
    uint32_t type;
} __packed;

/* Fills `map`, sorted; returns how many entries (at most E820_MAX). */
unsigned guest_e820(const struct gmem *mem, struct e820_entry map[E820_MAX]);
