/* The Linux loader over bzImages made here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <asm/bootparam.h>
#include "guests/linux.h"
#include "tests/unit/host/host.h"

/* The kernel's own header agrees on every place that the loader uses. */
static_assert(offsetof(struct boot_params, acpi_rsdp_addr) ==
                  offsetof(struct linux_boot_params, acpi_rsdp_addr),
              "layout");
static_assert(offsetof(struct boot_params, e820_entries) == offsetof(struct linux_boot_params, e820_entries),
              "layout");
static_assert(offsetof(struct boot_params, e820_table) == offsetof(struct linux_boot_params, e820_table),
              "layout");
static_assert(offsetof(struct boot_params, hdr) == offsetof(struct linux_boot_params, hdr), "layout");
static_assert(sizeof(struct setup_header) == sizeof(struct linux_setup_header), "layout");
static_assert(offsetof(struct setup_header, init_size) == offsetof(struct linux_setup_header, init_size),
              "layout");
static_assert(offsetof(struct setup_header, cmdline_size) ==
                  offsetof(struct linux_setup_header, cmdline_size),
              "layout");
static_assert(sizeof(struct boot_params) == sizeof(struct linux_boot_params), "layout");

#define SETUP_SECTS 3
#define CODE_OFFSET ((SETUP_SECTS + 1) * 512)
#define CODE_SIZE   (3 * 4096)
#define PREF        UINT64_C(0x1000000)
#define INIT_SIZE   0x400000u
#define MEMORY      (64 * MiB)

static uint8_t file[CODE_OFFSET + CODE_SIZE];
static struct linux_setup_header *const hdr = (void *)(file + LINUX_HEADER_OFFSET);
static uint8_t initrd[100001];
static struct gmem mem;
static struct load_request request;
static struct load_error error;
static struct boot_state boot;

static int set_up(void **state)
{
    (void)state;
    host_gmem_init(&mem, MEMORY);
    for (unsigned i = 0; i < sizeof(file); i++)
        file[i] = (uint8_t)(i * 7 + i / 256);
    for (unsigned i = 0; i < sizeof(initrd); i++)
        initrd[i] = (uint8_t)(i ^ i >> 8);
    *hdr = (struct linux_setup_header){
        .setup_sects = SETUP_SECTS,
        .syssize = CODE_SIZE / 16,
        .vid_mode = 0xffff,
        .boot_flag = LINUX_BOOT_FLAG,
        .header_length = 0x6a,
        .header = LINUX_HEADER_MAGIC,
        .version = 0x020f,
        .loadflags = LINUX_LOADED_HIGH,
        .code32_start = 0x100000,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = 0x200000,
        .relocatable_kernel = 1,
        .xloadflags = LINUX_XLF_KERNEL_64,
        .cmdline_size = 2047,
        .setup_data = 0x1234,
        .pref_address = PREF,
        .init_size = INIT_SIZE,
    };
    request = (struct load_request){
        .mem = &mem,
        .kernel = { file, sizeof(file), "vmlinuz", NULL },
        .cmdline = "console=ttyS0 quiet",
        .rsdp = { 0xe0000 },
    };
    memset(&error, 0, sizeof(error));
    memset(&boot, 0xff, sizeof(boot));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

static uint64_t read_u64(uint64_t at)
{
    uint64_t value = 0;

    assert_int_equal(gmem_read(&mem, gpa(at), &value, sizeof(value)), 0);
    return value;
}

static void assert_bytes(uint64_t at, const void *expected, size_t size)
{
    uint8_t *got = malloc(size);

    assert_int_equal(gmem_read(&mem, gpa(at), got, size), 0);
    assert_memory_equal(got, expected, size);
    free(got);
}

/* What the 64-bit boot protocol demands of the state at the entry. */
static void test_entry_state(void **state)
{
    struct boot_params params;

    (void)state;
    assert_true(linux_probe(&request.kernel));
    assert_int_equal(linux_load(&request, &boot, &error), 0);
    assert_int_equal(boot.mode, BOOT_MODE_LONG);
    assert_int_equal(boot.rip, PREF + 0x200);
    assert_int_equal(boot.cs, 0x10);
    assert_int_equal(boot.ds, 0x18);
    assert_int_equal(boot.rax | boot.rbx, 0);
    assert_true(boot.gdt_limit >= 0x1f);
    /* code: present, L set, D clear, executable, readable; data: present, writable (SDM vol. 3, 3.4.5) */
    assert_int_equal(read_u64(boot.gdt.raw + boot.cs) >> 40 & 0x60fa, 0x209a);
    assert_int_equal(read_u64(boot.gdt.raw + boot.ds) >> 40 & 0xfa, 0x92);
    assert_bytes(PREF, file + CODE_OFFSET, CODE_SIZE);

    assert_int_equal(gmem_read(&mem, gpa(boot.rsi), &params, sizeof(params)), 0);
    assert_int_equal(params.hdr.header, LINUX_HEADER_MAGIC);
    assert_int_equal(params.hdr.vid_mode, 0xffff);
    assert_int_equal(params.hdr.init_size, INIT_SIZE);
    assert_int_equal(params.hdr.type_of_loader, 0xff);
    assert_int_equal(params.hdr.setup_data, 0);
    assert_int_equal(params.hdr.ramdisk_size, 0);
    assert_int_equal(params.sentinel, 0);
    assert_int_equal(params.acpi_rsdp_addr, 0xe0000);
    assert_bytes(params.hdr.cmd_line_ptr, "console=ttyS0 quiet", 20);
    assert_int_equal(params.e820_entries, 3);
    assert_int_equal(params.e820_table[2].addr, MiB);
    assert_int_equal(params.e820_table[2].size, MEMORY - MiB);
    assert_int_equal(params.e820_table[2].type, E820_RAM);
}

/* The CPU's own walk of the tables: everything below 4 GiB maps to itself. */
static void test_identity_map(void **state)
{
    (void)state;
    assert_int_equal(linux_load(&request, &boot, &error), 0);
    for (uint64_t at = 0; at < 4 * GiB; at += 2 * MiB) {
        uint64_t pml4e = read_u64(boot.cr3 + (at >> 39 & 511) * 8), pdpte, pde;

        assert_int_equal(pml4e & 3, 3);
        pdpte = read_u64((pml4e & ~0xfffull) + (at >> 30 & 511) * 8);
        assert_int_equal(pdpte & 0x83, 3);
        pde = read_u64((pdpte & ~0xfffull) + (at >> 21 & 511) * 8);
        assert_int_equal(pde, at | 0x83);
    }
}

/* The header is copied up to where its jump says, no further. */
static void test_short_header(void **state)
{
    struct boot_params params;

    (void)state;
    hdr->header_length = 0x30; /* ends before kernel_alignment */
    assert_int_equal(linux_load(&request, &boot, &error), 0);
    assert_int_equal(gmem_read(&mem, gpa(boot.rsi), &params, sizeof(params)), 0);
    assert_int_equal(params.hdr.initrd_addr_max, 0x7fffffff);
    assert_int_equal(params.hdr.init_size, 0);
}

static void test_initrd(void **state)
{
    struct boot_params params;

    (void)state;
    request.initrd = (struct image){ initrd, sizeof(initrd), "initrd.img", NULL };
    assert_int_equal(linux_load(&request, &boot, &error), 0);
    assert_int_equal(gmem_read(&mem, gpa(boot.rsi), &params, sizeof(params)), 0);
    assert_int_equal(params.hdr.ramdisk_size, sizeof(initrd));
    assert_int_equal(params.hdr.ramdisk_image % 4096, 0);
    assert_int_equal(params.hdr.ramdisk_image, (MEMORY - sizeof(initrd)) / 4096 * 4096);
    assert_bytes(params.hdr.ramdisk_image, initrd, sizeof(initrd));

    hdr->initrd_addr_max = 0x1fffffe; /* one byte short of 32 MiB */
    assert_int_equal(linux_load(&request, &boot, &error), 0);
    assert_int_equal(gmem_read(&mem, gpa(boot.rsi), &params, sizeof(params)), 0);
    assert_true(params.hdr.ramdisk_image + sizeof(initrd) <= 0x1ffffff);
    assert_true(params.hdr.ramdisk_image >= PREF + INIT_SIZE);

    hdr->initrd_addr_max = (uint32_t)(PREF + INIT_SIZE + sizeof(initrd) -
                                      1); /* room, but not for whole pages */
    assert_int_equal(linux_load(&request, &boot, &error), -ENOEXEC);
    hdr->initrd_addr_max = 0;
    assert_int_equal(linux_load(&request, &boot, &error), -ENOEXEC);
    assert_non_null(strstr(error.text, "initrd.img"));
}

static void assert_refused(const char *name, const char *word)
{
    assert_int_equal(linux_load(&request, &boot, &error), -ENOEXEC);
    assert_ptr_equal(strstr(error.text, name), error.text);
    if (!strstr(error.text, word))
        fail_msg("\"%s\" does not say \"%s\"", error.text, word);
    assert_true(strlen(error.text) < sizeof(error.text) - 1);
}

#define REFUSED_WITH(field, value, word)                                                                     \
    do {                                                                                                     \
        struct linux_setup_header good = *hdr;                                                               \
        hdr->field = (value);                                                                                \
        assert_refused("vmlinuz", word);                                                                     \
        *hdr = good;                                                                                         \
        assert_int_equal(linux_load(&request, &boot, &error), 0);                                            \
    } while (0)

static void test_refusals(void **state)
{
    (void)state;
    REFUSED_WITH(header, 0, "no Linux kernel");
    REFUSED_WITH(boot_flag, 0xaa54, "no Linux kernel");
    REFUSED_WITH(version, 0x020b, "2.11");
    REFUSED_WITH(xloadflags, 0, "32-bit kernel");
    REFUSED_WITH(loadflags, 0, "zImage");
    REFUSED_WITH(syssize, CODE_SIZE / 16 + 1, "cut short");
    REFUSED_WITH(setup_sects, 255, "cut short");
    REFUSED_WITH(pref_address, 0x80000, "wants to run at");
    REFUSED_WITH(pref_address, PREF + 1, "wants to run at");
    REFUSED_WITH(pref_address, UINT64_MAX - 0xfff, "wants to run at");
    REFUSED_WITH(pref_address, MEMORY - INIT_SIZE + 4096, "raise 'memory'");
    REFUSED_WITH(init_size, UINT32_MAX, "needs 4112 MiB");
    REFUSED_WITH(cmdline_size, 18, "18 characters");
    REFUSED_WITH(cmdline_size, 0, "shorten");

    request.module_count = 1;
    assert_refused("vmlinuz", "no modules");
    request.module_count = 0;
    for (size_t size = 0; size < CODE_OFFSET + LINUX_ENTRY_64; size += 7) {
        request.kernel.size = size;
        assert_int_equal(linux_load(&request, &boot, &error), -ENOEXEC);
    }
}

/* The longest command line that the header allows, and no character more. */
static void test_cmdline_limit(void **state)
{
    static char words[0x10001];

    (void)state;
    memset(words, 'x', sizeof(words) - 1);
    words[0xffff] = 0;
    hdr->cmdline_size = UINT32_MAX;
    request.cmdline = words;
    assert_int_equal(linux_load(&request, &boot, &error), 0);
    words[0xffff] = 'x';
    assert_refused("vmlinuz", "65535");
}

/* Protocol: 0 setup sectors mean 4. */
static void test_setup_sects_zero(void **state)
{
    (void)state;
    hdr->setup_sects = 0;
    hdr->syssize = (CODE_SIZE - 512) / 16;
    assert_int_equal(linux_load(&request, &boot, &error), 0);
    assert_bytes(PREF, file + 5 * 512, CODE_SIZE - 512);
}

/* Memory above 4 GiB has its own entry; the hole never appears as RAM. */
static void test_e820_of_large_vm(void **state)
{
    struct e820_entry map[E820_MAX];
    struct gmem large = {
        .count = 2, .slot = { { .size = GUEST_LOW_MAX }, { .base = { GUEST_HIGH_BASE }, .size = 5 * GiB } }
    };

    (void)state;
    assert_int_equal(guest_e820(&large, map), 4);
    assert_int_equal(map[0].base, 0);
    assert_int_equal(map[0].size, GUEST_HOLE_BASE);
    assert_int_equal(map[1].base, GUEST_BIOS_BASE);
    assert_int_equal(map[1].base + map[1].size, MiB);
    assert_int_equal(map[1].type, E820_RESERVED);
    assert_int_equal(map[2].base + map[2].size, GUEST_LOW_MAX);
    assert_int_equal(map[3].base, GUEST_HIGH_BASE);
    assert_int_equal(map[3].size, 5 * GiB);
    assert_int_equal(map[3].type, E820_RAM);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_entry_state),      CASE(test_identity_map),     CASE(test_short_header),
        CASE(test_initrd),           CASE(test_refusals),         CASE(test_cmdline_limit),
        CASE(test_setup_sects_zero), CASE(test_e820_of_large_vm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
