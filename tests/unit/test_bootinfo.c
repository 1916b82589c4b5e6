#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "boot/bootinfo.h"

/* Builds an information block tag by tag. */
struct block {
    uint8_t bytes[16384];
    uint32_t size;
};

static void start(struct block *block)
{
    memset(block, 0, sizeof(*block));
    block->size = 8;
}

static void add(struct block *block, uint32_t type, const void *payload, uint32_t size)
{
    uint32_t head[2] = { type, size + 8 };

    memcpy(block->bytes + block->size, head, sizeof(head));
    if (size)
        memcpy(block->bytes + block->size + 8, payload, size);
    block->size += (size + 8 + 7) & ~7u;
}

static void end(struct block *block)
{
    add(block, 0, NULL, 0);
    memcpy(block->bytes, &block->size, 4);
}

struct entry {
    uint64_t base, length;
    uint32_t type, zero;
};

static void add_map(struct block *block, const struct entry *entries, unsigned count)
{
    uint8_t payload[8 + 300 * sizeof(struct entry)] = { sizeof(struct entry) };

    memcpy(payload + 8, entries, count * sizeof(*entries));
    add(block, 6, payload, (uint32_t)(8 + count * sizeof(*entries)));
}

static void add_module(struct block *block, uint32_t from, uint32_t to, const char *name)
{
    uint8_t payload[512];
    uint32_t range[2] = { from, to };

    memcpy(payload, range, 8);
    memcpy(payload + 8, name, strlen(name) + 1);
    add(block, 3, payload, (uint32_t)(8 + strlen(name) + 1));
}

static const struct entry plain[] = { { 0, 0x9fc00, 1, 0 }, { 0x100000, 0x7f00000, 1, 0 } };

static struct bootinfo info;
static const char *why;

static int parse(const struct block *block)
{
    /* In a heap block of just its size, so that the sanitizer sees any read beyond. */
    void *copy = malloc(block->size);

    memcpy(copy, block->bytes, block->size);

    int result = bootinfo_parse(&info, copy, block->size, &why);

    free(copy);
    return result;
}

static void reads_all_tags(void **state)
{
    static const struct {
        uint64_t address;
        uint32_t pitch, width, height;
        uint8_t bits, type;
        uint16_t reserved;
        uint8_t rgb[6];
    } __packed framebuffer = { 0xfd000000, 4096, 1024, 768, 32, 1, 0, { 16, 8, 8, 8, 0, 8 } };
    uint64_t system_table = 0x1234;
    struct block block;
    uint8_t rsdp[36];

    (void)state;
    memset(rsdp, 0x55, sizeof(rsdp));
    start(&block);
    add(&block, 1, "log=debug panic=reboot", 23);
    add(&block, 2, "GRUB 2.06", 10);
    add_module(&block, 0x200000, 0x200123, "plinth.toml");
    add_module(&block, 0x300000, 0x300000, "empty");
    add_map(&block, plain, 2);
    add(&block, 8, &framebuffer, sizeof(framebuffer));
    add(&block, 12, &system_table, 8);
    add(&block, 15, rsdp, 36);
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_null(why);
    assert_string_equal(info.cmdline, "log=debug panic=reboot");
    assert_string_equal(info.loader, "GRUB 2.06");
    assert_true(info.uefi);
    assert_int_equal(info.module_count, 2);
    assert_string_equal(info.module[0].name, "plinth.toml");
    assert_int_equal(info.module[0].start.raw, 0x200000);
    assert_int_equal(info.module[0].size, 0x123);
    assert_int_equal(info.module[1].size, 0);
    assert_int_equal(info.region_count, 2);
    assert_int_equal(info.framebuffer.start.raw, 0xfd000000);
    assert_int_equal(info.framebuffer.pitch, 4096);
    assert_int_equal(info.framebuffer.red_shift, 16);
    assert_false(info.framebuffer.text);
    assert_true(info.has_rsdp);
    assert_memory_equal(info.rsdp, rsdp, 36);
}

static void reserved_wins_over_usable(void **state)
{
    static const struct entry map[] = {
        { 0x100000, 0x900000, 1, 0 },
        { 0x400000, 0x100000, 2, 0 },
        { 0x480000, 0x100000, 3, 0 },
        { 0, 0x1000, 1, 0 },
    };
    static const struct {
        uint64_t start, size;
        enum boot_region_type type;
    } expected[] = {
        { 0, 0x1000, BOOT_REGION_USABLE },
        { 0x100000, 0x300000, BOOT_REGION_USABLE },
        { 0x400000, 0x100000, BOOT_REGION_RESERVED },
        { 0x500000, 0x80000, BOOT_REGION_ACPI },
        { 0x580000, 0x480000, BOOT_REGION_USABLE },
    };
    struct block block;

    (void)state;
    start(&block);
    add_map(&block, map, 4);
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_int_equal(info.region_count, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(info.region[i].start.raw, expected[i].start);
        assert_int_equal(info.region[i].size, expected[i].size);
        assert_int_equal(info.region[i].type, expected[i].type);
    }
}

static void neighbours_of_one_type_are_joined(void **state)
{
    static const struct entry map[] = { { 0x200000, 0x100000, 1, 0 },
                                        { 0x100000, 0x100000, 1, 0 },
                                        { 0x180000, 0x1000, 1, 0 } };
    struct block block;

    (void)state;
    start(&block);
    add_map(&block, map, 3);
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_int_equal(info.region_count, 1);
    assert_int_equal(info.region[0].start.raw, 0x100000);
    assert_int_equal(info.region[0].size, 0x200000);
}

static void a_region_beyond_all_addresses_is_cut(void **state)
{
    static const struct entry map[] = { { 0x100000, UINT64_MAX, 1, 0 }, { UINT64_MAX - 5, 100, 1, 0 } };
    struct block block;

    (void)state;
    start(&block);
    add_map(&block, map, 2);
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_int_equal(info.region_count, 1);
    assert_int_equal(info.region[0].start.raw + info.region[0].size, UINT64_C(1) << 52);
}

static void too_much_is_an_error(void **state)
{
    static struct entry map[300];
    struct block block;

    (void)state;
    for (unsigned i = 0; i < 300; i++)
        map[i] = (struct entry){ 0x200000u * i, 0x100000, 1, 0 };
    start(&block);
    add_map(&block, map, 257);
    end(&block);
    assert_int_equal(parse(&block), -22);
    assert_non_null(strstr(why, "256"));

    start(&block);
    add_map(&block, plain, 2);
    for (unsigned i = 0; i <= BOOT_MAX_MODULES; i++)
        add_module(&block, 0, 0, "m");
    end(&block);
    assert_int_equal(parse(&block), -22);
    assert_non_null(strstr(why, "64 modules"));
}

static void damaged_blocks_are_refused(void **state)
{
    struct block block;
    uint32_t value;

    (void)state;
    start(&block);
    add_map(&block, plain, 2);
    end(&block);

    struct block good = block;

    value = good.size + 8; /* more than there is */
    memcpy(block.bytes, &value, 4);
    assert_int_equal(parse(&block), -22);

    block = good;
    value = 0xfffffff0; /* a tag that would wrap */
    memcpy(block.bytes + 12, &value, 4);
    assert_int_equal(parse(&block), -22);

    block = good;
    value = 4; /* a tag shorter than its own header */
    memcpy(block.bytes + 12, &value, 4);
    assert_int_equal(parse(&block), -22);

    block = good;
    value = 8; /* map entries shorter than an entry */
    memcpy(block.bytes + 16, &value, 4);
    assert_int_equal(parse(&block), -22);

    start(&block);
    add_map(&block, plain, 2); /* no end tag */
    memcpy(block.bytes, &block.size, 4);
    assert_int_equal(parse(&block), -22);

    start(&block);
    end(&block); /* no memory map */
    assert_int_equal(parse(&block), -22);
    assert_non_null(strstr(why, "no memory map"));

    start(&block);
    add_map(&block, plain, 2);
    add_module(&block, 0x2000, 0x1000, "backwards");
    end(&block);
    assert_int_equal(parse(&block), -22);
    assert_int_equal(bootinfo_parse(&info, block.bytes, 3, &why), -22);
}

static void long_strings_are_cut(void **state)
{
    struct block block;
    char name[300], line[2000];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[299] = '\0';
    memset(line, 'c', sizeof(line)); /* and not terminated */
    start(&block);
    add_map(&block, plain, 2);
    add_module(&block, 0, 0, name);
    add(&block, 1, line, sizeof(line));
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_int_equal(strlen(info.module[0].name), BOOT_MODULE_NAME_MAX - 1);
    assert_int_equal(strlen(info.cmdline), BOOT_CMDLINE_MAX - 1);
}

static void places_are_checked_against_the_map(void **state)
{
    struct {
        uint64_t address;
        uint32_t pitch, width, height;
        uint8_t bits, type;
        uint16_t reserved;
    } __packed screen = { 0xb8000, 160, 80, 25, 16, 2, 0 };
    struct block block;

    (void)state;
    start(&block);
    add_map(&block, plain, 2);
    add_module(&block, 0x7fff000, 0x8000001, "beyond");
    end(&block);
    assert_int_equal(parse(&block), -22);
    assert_non_null(strstr(why, "outside usable memory"));

    start(&block);
    add_map(&block, plain, 2);
    add(&block, 8, &screen, sizeof(screen));
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_int_equal(info.framebuffer.start.raw, 0xb8000);
    assert_true(info.framebuffer.text);

    screen.address = 0x100000 - 4000 + 1; /* its last byte is the first of usable memory */
    start(&block);
    add_map(&block, plain, 2);
    add(&block, 8, &screen, sizeof(screen));
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_int_equal(info.framebuffer.start.raw, 0);
}

static void newer_rsdp_is_kept(void **state)
{
    struct block block;
    uint8_t old[20], new[36];

    (void)state;
    memset(old, 1, sizeof(old));
    memset(new, 2, sizeof(new));
    start(&block);
    add_map(&block, plain, 2);
    add(&block, 15, new, 36);
    add(&block, 14, old, 20);
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_memory_equal(info.rsdp, new, 36);

    start(&block);
    add_map(&block, plain, 2);
    add(&block, 14, old, 20);
    end(&block);
    assert_int_equal(parse(&block), 0);
    assert_memory_equal(info.rsdp, old, 20);
    assert_int_equal(info.rsdp[20], 0);
}

static void options(void **state)
{
    char value[8];

    (void)state;
    assert_true(bootinfo_option("  console=com2 log=debug", "console", value, sizeof(value)));
    assert_string_equal(value, "com2");
    assert_true(bootinfo_option("a=1 a=2", "a", value, sizeof(value)));
    assert_string_equal(value, "2");
    assert_true(bootinfo_option("quiet x", "quiet", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_true(bootinfo_option("k=0123456789", "k", value, sizeof(value)));
    assert_string_equal(value, "0123456");
    assert_false(bootinfo_option("console2=x xconsole=y", "console", value, sizeof(value)));
    assert_false(bootinfo_option("", "console", value, sizeof(value)));
    assert_false(bootinfo_option("con", "console", value, sizeof(value)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_tags),
        cmocka_unit_test(reserved_wins_over_usable),
        cmocka_unit_test(neighbours_of_one_type_are_joined),
        cmocka_unit_test(a_region_beyond_all_addresses_is_cut),
        cmocka_unit_test(too_much_is_an_error),
        cmocka_unit_test(damaged_blocks_are_refused),
        cmocka_unit_test(long_strings_are_cut),
        cmocka_unit_test(places_are_checked_against_the_map),
        cmocka_unit_test(newer_rsdp_is_kept),
        cmocka_unit_test(options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
