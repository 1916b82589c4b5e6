/*
 * Starts Linux: a bzImage by the 64-bit entry of the x86 boot protocol. Source:
 * Documentation/arch/x86/boot.rst and zero-page.rst of the Linux kernel; "boot.rst" below. The file is
 * hostile. Compiles on the host.
 */
#pragma once

#include "guests/boot.h"

/* The setup header (boot.rst, "The real-mode kernel header"): in the file, and copied into boot_params, at
 * 0x1f1. */
struct linux_setup_header {
    uint8_t setup_sects; /* 512-byte sectors of real-mode code after the first; 0 means 4 */
    uint16_t root_flags;
    uint32_t syssize; /* of the protected-mode code, in 16 bytes */
    uint16_t ram_size;
    uint16_t vid_mode;
    uint16_t root_dev;
    uint16_t boot_flag;    /* LINUX_BOOT_FLAG */
    uint8_t jump;          /* opcode of a short jump over the header ... */
    uint8_t header_length; /* ... whose displacement, from `header`, is the header's length */
    uint32_t header;       /* LINUX_HEADER_MAGIC */
    uint16_t version;      /* of the protocol: major << 8 | minor */
    uint32_t realmode_swtch;
    uint16_t start_sys_seg;
    uint16_t kernel_version;
    uint8_t type_of_loader;
    uint8_t loadflags; /* LINUX_LOADED_HIGH */
    uint16_t setup_move_size;
    uint32_t code32_start;
    uint32_t ramdisk_image;
    uint32_t ramdisk_size;
    uint32_t bootsect_kludge;
    uint16_t heap_end_ptr;
    uint8_t ext_loader_ver;
    uint8_t ext_loader_type;
    uint32_t cmd_line_ptr;
    uint32_t initrd_addr_max; /* last byte that the initrd may occupy */
    uint32_t kernel_alignment;
    uint8_t relocatable_kernel;
    uint8_t min_alignment;
    uint16_t xloadflags;   /* LINUX_XLF_ */
    uint32_t cmdline_size; /* longest command line, without its NUL */
    uint32_t hardware_subarch;
    uint64_t hardware_subarch_data;
    uint32_t payload_offset;
    uint32_t payload_length;
    uint64_t setup_data;
    uint64_t pref_address; /* where the kernel wants to run */
    uint32_t init_size;    /* memory that it needs from there before it knows the memory map */
    uint32_t handover_offset;
    uint32_t kernel_info_offset;
} __packed;

#define LINUX_HEADER_OFFSET 0x1f1
#define LINUX_HEADER_SPACE  (0x290 - LINUX_HEADER_OFFSET) /* what boot_params has for it */
#define LINUX_HEADER_MAGIC  0x53726448u                   /* "HdrS" */
#define LINUX_BOOT_FLAG     0xaa55
#define LINUX_PROTOCOL_MIN  0x020c /* 2.12 added xloadflags */
#define LINUX_LOADED_HIGH   0x01
#define LINUX_XLF_KERNEL_64 0x0001 /* has the 64-bit entry at 0x200 */
#define LINUX_ENTRY_64      0x200
#define LINUX_LOADER_OTHER  0xff /* type_of_loader: no number assigned */

static_assert(offsetof(struct linux_setup_header, header) + LINUX_HEADER_OFFSET == 0x202, "boot.rst");
static_assert(offsetof(struct linux_setup_header, type_of_loader) + LINUX_HEADER_OFFSET == 0x210, "boot.rst");
static_assert(offsetof(struct linux_setup_header, cmd_line_ptr) + LINUX_HEADER_OFFSET == 0x228, "boot.rst");
static_assert(offsetof(struct linux_setup_header, xloadflags) + LINUX_HEADER_OFFSET == 0x236, "boot.rst");
static_assert(offsetof(struct linux_setup_header, pref_address) + LINUX_HEADER_OFFSET == 0x258, "boot.rst");
static_assert(offsetof(struct linux_setup_header, kernel_info_offset) + LINUX_HEADER_OFFSET == 0x268,
              "boot.rst");

/* The "zero page", as far as Plinth fills it (zero-page.rst). */
#define LINUX_E820_ENTRIES 128

struct linux_boot_params {
    uint8_t reserved0[0x70];
    uint64_t acpi_rsdp_addr;
    uint8_t reserved1[0x1e8 - 0x78];
    uint8_t e820_entries;
    uint8_t reserved2[LINUX_HEADER_OFFSET - 0x1e9];
    union {
        struct linux_setup_header hdr;
        uint8_t hdr_space[LINUX_HEADER_SPACE];
    } __packed;
    uint8_t reserved3[0x2d0 - 0x290];
    struct e820_entry e820_table[LINUX_E820_ENTRIES];
    uint8_t reserved4[0x1000 - 0xcd0];
} __packed;

static_assert(offsetof(struct linux_boot_params, acpi_rsdp_addr) == 0x70, "zero-page.rst");
static_assert(offsetof(struct linux_boot_params, e820_entries) == 0x1e8, "zero-page.rst");
static_assert(offsetof(struct linux_boot_params, hdr) == 0x1f1, "zero-page.rst");
static_assert(offsetof(struct linux_boot_params, e820_table) == 0x2d0, "zero-page.rst");
static_assert(sizeof(struct linux_boot_params) == 0x1000, "zero-page.rst");

/* Is this a Linux kernel in the form that x86 boot loaders take (of any age and width)? */
bool linux_probe(const struct image *image);

/*
 * Places kernel, initrd, command line, page tables and GDT in the VM's memory, which is all zeroes, and says
 * how the first vCPU starts. -ENOEXEC with *error set. Before the VM runs.
 */
int linux_load(const struct load_request *request, struct boot_state *state,
               struct load_error *error) __must_check;
