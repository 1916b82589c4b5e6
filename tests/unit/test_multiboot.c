/* The Multiboot loader over kernels made here: with load addresses in the header, ELF32 and ELF64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "guests/multiboot.h"
#include "tests/unit/host/host.h"

#define MEMORY (16 * MiB)
#define BASE   0x200000u

static uint8_t file[16384];
static struct gmem mem;
static struct load_request request;
static struct load_error error;
static struct boot_state boot;

static int set_up(void **state)
{
    (void)state;
    host_gmem_init(&mem, MEMORY);
    assert_int_equal(gmem_fill(&mem, gpa(MiB), 0xcc, MEMORY - MiB), 0); /* so that cleared bss shows */
    for (unsigned i = 0; i < sizeof(file); i++)
        file[i] = (uint8_t)(i * 5 + i / 256);
    request = (struct load_request){ .mem = &mem,
                                     .kernel = { file, sizeof(file), "kernel", NULL },
                                     .cmdline = "a b=c" };
    memset(&error, 0, sizeof(error));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

static struct multiboot_header *put_header(uint32_t offset, uint32_t flags)
{
    struct multiboot_header *header = (void *)(file + offset);

    header->magic = MULTIBOOT_HEADER_MAGIC;
    header->flags = flags;
    header->checksum = 0u - header->magic - flags;
    return header;
}

/* A header at 0x1004 of the file, which loads from 0x1000 of the file, 0x2000 bytes, and 0x500 of bss. */
static struct multiboot_header *put_address_header(void)
{
    struct multiboot_header *header = put_header(0x1004, MULTIBOOT_HAS_ADDRESSES | MULTIBOOT_PAGE_ALIGN |
                                                             MULTIBOOT_MEMORY_INFO);

    header->header_addr = BASE + 4;
    header->load_addr = BASE;
    header->load_end_addr = BASE + 0x2000;
    header->bss_end_addr = BASE + 0x2500;
    header->entry_addr = BASE + 0x24;
    return header;
}

static Elf32_Phdr *put_elf32(void)
{
    Elf32_Ehdr *elf = (void *)file;
    Elf32_Phdr *phdr = (void *)(file + 256);

    memset(file, 0, 512);
    memcpy(elf->e_ident, "\177ELF\1\1\1", 7);
    elf->e_type = ET_EXEC;
    elf->e_machine = EM_386;
    elf->e_entry = 0xc0000010;
    elf->e_phoff = 256;
    elf->e_phentsize = sizeof(*phdr);
    elf->e_phnum = 3;
    phdr[0] = (Elf32_Phdr){ .p_type = PT_NOTE, .p_filesz = UINT32_MAX };
    phdr[1] = (Elf32_Phdr){ PT_LOAD, 0x1000, 0xc0000000, BASE, 0x1000, 0x1800, PF_X, 4096 };
    phdr[2] = (Elf32_Phdr){ PT_LOAD, 0x2001, 0xc0400000, BASE + 0x400000, 0x123, 0x123, PF_W, 4096 };
    put_header(512, MULTIBOOT_MEMORY_INFO);
    return phdr;
}

static Elf64_Phdr *put_elf64(void)
{
    Elf64_Ehdr *elf = (void *)file;
    Elf64_Phdr *phdr = (void *)(file + 256);

    memset(file, 0, 512);
    memcpy(elf->e_ident, "\177ELF\2\1\1", 7);
    elf->e_machine = EM_X86_64;
    elf->e_entry = 0xffffffff80000040;
    elf->e_phoff = 256;
    elf->e_phentsize = sizeof(*phdr);
    elf->e_phnum = 1;
    phdr[0] = (Elf64_Phdr){ PT_LOAD, PF_X, 0x1000, 0xffffffff80000000, BASE, 0x1000, 0x3000, 4096 };
    put_header(512, 0);
    return phdr;
}

static void assert_bytes(uint64_t at, const void *expected, size_t size)
{
    uint8_t *got = malloc(size);

    assert_int_equal(gmem_read(&mem, gpa(at), got, size), 0);
    assert_memory_equal(got, expected, size);
    free(got);
}

static void assert_filled(uint64_t at, uint8_t byte, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t got;

        assert_int_equal(gmem_read(&mem, gpa(at + i), &got, 1), 0);
        assert_int_equal(got, byte);
    }
}

static struct multiboot_info load_info(void)
{
    struct multiboot_info info;

    if (multiboot_load(&request, &boot, &error))
        fail_msg("%s", error.text);
    assert_int_equal(boot.mode, BOOT_MODE_PROTECTED);
    assert_int_equal(boot.rax, 0x2badb002);
    assert_int_equal(gmem_read(&mem, gpa(boot.rbx), &info, sizeof(info)), 0);
    return info;
}

static void test_addresses_in_header(void **state)
{
    struct multiboot_header *header = put_address_header();

    (void)state;
    assert_true(multiboot_probe(&request.kernel));
    load_info();
    assert_int_equal(boot.rip, BASE + 0x24);
    assert_bytes(BASE, file + 0x1000, 0x2000);
    assert_filled(BASE + 0x2000, 0, 0x500);
    assert_filled(BASE + 0x2500, 0xcc, 16);

    header->load_end_addr = header->bss_end_addr = 0; /* to the end of the file, no bss */
    load_info();
    assert_bytes(BASE, file + 0x1000, sizeof(file) - 0x1000);
    assert_filled(BASE + sizeof(file) - 0x1000, 0xcc, 16);
}

static void test_elf32(void **state)
{
    (void)state;
    put_elf32();
    load_info();
    assert_int_equal(boot.rip, BASE + 0x10); /* the physical address of the virtual entry */
    assert_bytes(BASE, file + 0x1000, 0x1000);
    assert_filled(BASE + 0x1000, 0, 0x800);
    assert_filled(BASE + 0x1800, 0xcc, 16);
    assert_bytes(BASE + 0x400000, file + 0x2001, 0x123);
}

static void test_elf64(void **state)
{
    (void)state;
    put_elf64();
    load_info();
    assert_int_equal(boot.rip, BASE + 0x40);
    assert_bytes(BASE, file + 0x1000, 0x1000);
    assert_filled(BASE + 0x1000, 0, 0x2000);
}

static void test_info(void **state)
{
    struct multiboot_info info;
    struct multiboot_mmap mmap[3];

    (void)state;
    put_elf32();
    info = load_info();
    assert_int_equal(info.flags, 0x24d);
    assert_int_equal(info.mem_lower, 640);
    assert_int_equal(info.mem_upper, (MEMORY - MiB) / KiB);
    assert_int_equal(info.mods_count, 0);
    assert_bytes(info.cmdline, "a b=c", 6);
    assert_bytes(info.boot_loader_name, "Plinth", 7);
    assert_int_equal(info.mmap_length, sizeof(mmap));
    assert_int_equal(gmem_read(&mem, gpa(info.mmap_addr), mmap, sizeof(mmap)), 0);
    assert_int_equal(mmap[0].size, 20);
    assert_int_equal(mmap[0].entry.size, 0xa0000);
    assert_int_equal(mmap[1].entry.type, E820_RESERVED);
    assert_int_equal(mmap[2].entry.base, MiB);
    assert_int_equal(mmap[2].entry.size, MEMORY - MiB);
    assert_true(boot.rbx < 0x9f000);
}

static void test_modules(void **state)
{
    static uint8_t first[5000], second[1];
    static const struct image image[] = { { first, sizeof(first), "one", "first words" },
                                          { second, sizeof(second), "two", NULL },
                                          { NULL, 0, "empty", "" } };
    struct multiboot_module module[3];
    struct multiboot_info info;

    (void)state;
    memset(first, 0x11, sizeof(first));
    second[0] = 0x22;
    put_elf32();
    request.module = image;
    request.module_count = 3;
    info = load_info();
    assert_int_equal(info.mods_count, 3);
    assert_int_equal(gmem_read(&mem, gpa(info.mods_addr), module, sizeof(module)), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(module[i].start % 4096, 0);
        assert_int_equal(module[i].end - module[i].start, image[i].size);
        assert_int_equal(module[i].reserved, 0);
        assert_true(module[i].start >= (i ? module[i - 1].end : BASE + 0x400000 + 0x123));
    }
    assert_bytes(module[0].start, first, sizeof(first));
    assert_bytes(module[1].start, second, sizeof(second));
    assert_bytes(module[0].string, "first words", 12);
    assert_bytes(module[1].string, "", 1);
}

/* A kernel below 1 MiB: the information goes behind it. */
static void test_low_kernel(void **state)
{
    Elf32_Phdr *phdr = put_elf32();
    struct multiboot_info info;

    (void)state;
    phdr[1].p_paddr = 0x50000;
    phdr[1].p_memsz = 0x40000;
    info = load_info();
    assert_true(boot.rbx >= 0x90000 && info.cmdline >= 0x90000 && info.mmap_addr >= 0x90000);
    assert_filled(0x51000, 0, 0x3f000);
    phdr[1].p_memsz = 0x9f000 - 0x50000;
    assert_int_equal(multiboot_load(&request, &boot, &error), -ENOEXEC);
    assert_non_null(strstr(error.text, "no room"));
    phdr[1].p_memsz++;
    assert_int_equal(multiboot_load(&request, &boot, &error), -ENOEXEC);
    assert_non_null(strstr(error.text, "outside"));
}

static void assert_refused(const char *word)
{
    assert_int_equal(multiboot_load(&request, &boot, &error), -ENOEXEC);
    assert_ptr_equal(strstr(error.text, "kernel"), error.text);
    if (!strstr(error.text, word))
        fail_msg("\"%s\" does not say \"%s\"", error.text, word);
}

/* Sets a field, expects a refusal, and restores it. */
#define REFUSED_WITH(field, value, word)                                                                     \
    do {                                                                                                     \
        typeof(field) good = (field);                                                                        \
        (field) = (typeof(field))(value);                                                                    \
        assert_refused(word);                                                                                \
        (field) = good;                                                                                      \
        assert_int_equal(multiboot_load(&request, &boot, &error), 0);                                        \
    } while (0)

static void test_header_refusals(void **state)
{
    struct multiboot_header *header;

    (void)state;
    assert_false(multiboot_probe(&request.kernel));
    assert_refused("no Multiboot header");
    put_header(0x1002, MULTIBOOT_HAS_ADDRESSES); /* not on a multiple of 4 */
    assert_refused("no Multiboot header");
    put_header(8192 - 12, MULTIBOOT_HAS_ADDRESSES); /* its addresses would be behind the 8 KiB */
    assert_refused("no Multiboot header");
    put_header(8192 - 12, 0);
    assert_refused("ELF"); /* found, but this is no ELF file */
    memset(file + 8192 - 12, 0, 12);

    header = put_address_header();
    REFUSED_WITH(header->checksum, 1, "no Multiboot header");
    REFUSED_WITH(header->load_addr, header->header_addr + 4, "impossible");
    REFUSED_WITH(header->header_addr, BASE + 0x1008, "impossible");
    REFUSED_WITH(header->load_end_addr, BASE + 0x10000, "cut short");
    REFUSED_WITH(header->load_end_addr, 4, "cut short");
    REFUSED_WITH(header->bss_end_addr, MEMORY + 1, "outside");
    REFUSED_WITH(header->bss_end_addr, 4, "outside");

    put_header(0x1004, MULTIBOOT_HAS_ADDRESSES | MULTIBOOT_VIDEO_MODE);
    assert_refused("video mode");
    put_header(0x1004, MULTIBOOT_HAS_ADDRESSES | 0x100);
    assert_refused("0x100");
    put_address_header();
    REFUSED_WITH(request.initrd.size, 1, "no initrd");
}

static void test_elf_refusals(void **state)
{
    Elf32_Ehdr *elf = (void *)file;
    Elf32_Phdr *phdr = put_elf32();

    (void)state;
    REFUSED_WITH(elf->e_ident[0], 0, "no whole x86 ELF");
    REFUSED_WITH(elf->e_ident[EI_CLASS], ELFCLASS64, "no whole x86 ELF");
    REFUSED_WITH(elf->e_ident[EI_DATA], ELFDATA2MSB, "no whole x86 ELF");
    REFUSED_WITH(elf->e_machine, EM_ARM, "no whole x86 ELF");
    REFUSED_WITH(elf->e_phentsize, 31, "no whole x86 ELF");
    REFUSED_WITH(elf->e_phoff, sizeof(file) - 1, "no whole x86 ELF");
    REFUSED_WITH(elf->e_phoff, UINT32_MAX, "no whole x86 ELF");
    REFUSED_WITH(elf->e_phnum, 0xffff, "no whole x86 ELF");
    REFUSED_WITH(elf->e_phnum, 1, "nothing to load");
    REFUSED_WITH(phdr[1].p_offset, sizeof(file), "cut short");
    REFUSED_WITH(phdr[1].p_offset, UINT32_MAX, "cut short");
    REFUSED_WITH(phdr[1].p_filesz, 0x1801, "larger in the file");
    REFUSED_WITH(phdr[1].p_memsz, MEMORY, "outside");
    REFUSED_WITH(phdr[1].p_paddr, MEMORY - 0x17ff, "outside");
    REFUSED_WITH(phdr[1].p_paddr, 0xfff, "outside");
    REFUSED_WITH(phdr[1].p_paddr, 0x9e900, "outside");
    REFUSED_WITH(phdr[1].p_paddr, 0xe0000, "outside");
    phdr[1].p_paddr = phdr[2].p_paddr = MiB;
    phdr[1].p_memsz = phdr[2].p_memsz = MEMORY - MiB;
    assert_refused("overlap");
}

static void test_elf64_refusals(void **state)
{
    Elf64_Ehdr *elf = (void *)file;
    Elf64_Phdr *phdr = put_elf64();

    (void)state;
    REFUSED_WITH(elf->e_phoff, UINT64_MAX, "no whole x86 ELF");
    REFUSED_WITH(elf->e_entry, 0xffffffff00000000, "starts above 4 GiB");
    REFUSED_WITH(phdr[0].p_paddr, UINT64_MAX - 0x100, "outside");
    REFUSED_WITH(phdr[0].p_memsz, UINT64_MAX, "outside");
    REFUSED_WITH(phdr[0].p_offset, UINT64_MAX, "cut short");
    REFUSED_WITH(phdr[0].p_filesz, UINT64_MAX, "cut short");
}

static void test_large_module(void **state)
{
    static const struct image image = { file, sizeof(file), "big.bin", "" };
    Elf32_Phdr *phdr = put_elf32();

    (void)state;
    request.module = &image;
    request.module_count = 1;
    phdr[1].p_memsz = MEMORY - BASE - sizeof(file);
    phdr[2].p_paddr = BASE;
    load_info();
    phdr[1].p_memsz++;
    assert_int_equal(multiboot_load(&request, &boot, &error), -ENOEXEC);
    assert_non_null(strstr(error.text, "big.bin (16 KiB)"));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_addresses_in_header),
        CASE(test_elf32),
        CASE(test_elf64),
        CASE(test_info),
        CASE(test_modules),
        CASE(test_low_kernel),
        CASE(test_header_refusals),
        CASE(test_elf_refusals),
        CASE(test_elf64_refusals),
        CASE(test_large_module),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
