#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "devices/vpci.h"
#include "lib/errno.h"
#include "tests/unit/board.h"

#define ADDRESS 0xcf8
#define DATA    0xcfc

static struct board board;
static struct vpci pci;
static struct vreset reset;
static struct vpci_function function;
static unsigned resets, writes, written_dword;

static void do_reset(void *vm)
{
    (void)vm;
    resets++;
}

static void note_write(void *device, unsigned dword)
{
    assert_ptr_equal(device, &function);
    writes++;
    written_dword = dword;
}

static uint32_t read_live(void *device, unsigned dword)
{
    assert_ptr_equal(device, &function);
    return 0xabcd0000u + dword;
}

static int setup(void **state)
{
    (void)state;
    resets = writes = 0;
    board_init(&board);
    vreset_init(&reset, do_reset, NULL);
    vpci_init(&pci, &reset);
    assert_int_equal(vpci_attach(&pci, &board.ports, &board.mmio), 0);
    function = (struct vpci_function){ .written = note_write, .device = &function };
    function.config[0] = 0x10411af4;
    function.config[4] = 0x00000008;
    function.writable[1] = 0x0000ffff;
    function.writable[4] = 0xfffff000;
    return 0;
}

static uint32_t address(unsigned bus, unsigned slot, unsigned func, unsigned offset)
{
    return 0x80000000u | bus << 16 | slot << 11 | func << 8 | offset;
}

static void the_address_takes_dwords_only(void **state)
{
    (void)state;
    outb(&board, ADDRESS + 3, 0x01); /* Linux's check for mechanism 1 */
    assert_int_equal(inl(&board, ADDRESS), 0);
    outl(&board, ADDRESS, 0x80000000);
    assert_int_equal(inl(&board, ADDRESS), 0x80000000);
    outb(&board, ADDRESS, 0x55);
    outw(&board, ADDRESS, 0x5555);
    outw(&board, ADDRESS + 2, 0x5555);
    assert_int_equal(inl(&board, ADDRESS), 0x80000000);
    assert_int_equal(inb(&board, ADDRESS), 0xff); /* nor does mechanism 2 look present */
    assert_int_equal(inw(&board, ADDRESS + 2), 0xffff);
    outl(&board, ADDRESS, 0xffffffff);
    assert_int_equal(inl(&board, ADDRESS), 0x80fffffc);
}

static void the_host_bridge_is_there(void **state)
{
    (void)state;
    outl(&board, ADDRESS, address(0, 0, 0, 0));
    assert_int_equal(inl(&board, DATA), 0x12378086);
    assert_int_equal(inw(&board, DATA), 0x8086);
    assert_int_equal(inw(&board, DATA + 2), 0x1237);
    assert_int_equal(inb(&board, DATA + 3), 0x12);
    outl(&board, ADDRESS, address(0, 0, 0, 8));
    assert_int_equal(inl(&board, DATA) >> 8, 0x060000);
    outl(&board, ADDRESS, address(0, 0, 0, 0x0c));
    assert_int_equal(inb(&board, DATA + 2), 0); /* header type 0, one function */
    outl(&board, ADDRESS, address(0, 0, 0, 4));
    outl(&board, DATA, 0xffffffff);
    assert_int_equal(inl(&board, DATA), 0x00000006);
}

static void what_is_absent_reads_as_ones(void **state)
{
    static const uint32_t absent[] = { 0x80000100, 0x80000800, 0x80010000, 0x8000f800, 0x00000000 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        outl(&board, ADDRESS, absent[i]);
        outl(&board, DATA, 0);
        assert_int_equal(inl(&board, DATA), 0xffffffff);
        assert_int_equal(inw(&board, DATA + 2), 0xffff);
        assert_int_equal(inb(&board, DATA + 1), 0xff);
    }
}

/* The same registers as by the ports, and nothing else: bus 0, function 0, 256 bytes each. */
static void memory_shows_the_same(void **state)
{
    const uint64_t at = 0xfeb00000 + (5 << 15);

    (void)state;
    assert_int_equal(vpci_add(&pci, 5, &function), 0);
    assert_int_equal(iobus_read(&board.mmio, 0xfeb00000, 4), 0x12378086);
    assert_int_equal(iobus_read(&board.mmio, at, 4), 0x10411af4);
    assert_int_equal(iobus_read(&board.mmio, at + 2, 2), 0x1041);
    assert_int_equal(iobus_read(&board.mmio, at + 1, 1), 0x1a);
    assert_int_equal(iobus_read(&board.mmio, at + 0x100, 4), 0xffffffff);
    assert_int_equal(iobus_read(&board.mmio, at + 0x1000, 4), 0xffffffff);
    assert_int_equal(iobus_read(&board.mmio, at + (1 << 15), 2), 0xffff);
    iobus_write(&board.mmio, at + 0x11, 1, 0x34);
    iobus_write(&board.mmio, at + 0x12, 2, 0x5678);
    assert_int_equal(writes, 2);
    assert_int_equal(written_dword, 4);
    assert_int_equal(iobus_read(&board.mmio, at + 0x10, 4), 0x56783008);
    outl(&board, ADDRESS, address(0, 5, 0, 0x10));
    assert_int_equal(inl(&board, DATA), 0x56783008);
    iobus_write(&board.mmio, at + 0x110, 4, 0);
    iobus_write(&board.mmio, at + 0x1010, 4, 0);
    assert_int_equal(writes, 2);
    function.read = read_live;
    assert_int_equal(iobus_read(&board.mmio, at + 0x40, 4), 0xabcd0010);
}

static bool level[VPCI_LINES], asserts[2];

static void set_line(void *context, unsigned pin, bool to)
{
    (void)context;
    level[pin] = to;
}

static bool asserts_pin(void *device)
{
    return *(bool *)device;
}

/* Functions share a line; only those that have a pin say so. */
static void pins_are_wired_to_lines(void **state)
{
    const struct irq_line line[VPCI_LINES] = { { set_line, NULL, 0 }, { set_line, NULL, 1 } };
    static struct vpci_function with[2];

    (void)state;
    vpci_connect(&pci, line, NULL, NULL);
    for (unsigned i = 0; i < 2; i++) {
        with[i] = (struct vpci_function){ .asserts_pin = asserts_pin, .device = &asserts[i] };
        assert_int_equal(vpci_add(&pci, 5 + 2 * i, &with[i]), 0);
    }
    assert_int_equal(vpci_add(&pci, 6, &function), 0);
    vpci_reset(&pci);
    outl(&board, ADDRESS, address(0, 5, 0, 0x3c));
    assert_int_equal(inl(&board, DATA), 0x10b);
    outl(&board, DATA, 0x1234);
    assert_int_equal(inl(&board, DATA), 0x134); /* only the line is the guest's to change */
    outl(&board, ADDRESS, address(0, 6, 0, 0x3c));
    assert_int_equal(inl(&board, DATA), 0);
    for (unsigned i = 0; i < 4; i++) {
        asserts[0] = i & 1;
        asserts[1] = i & 2;
        vpci_update_pins(&pci);
        assert_false(level[0]);
        assert_int_equal(level[1], i != 0);
    }
    asserts[0] = asserts[1] = false;
    vpci_reset(&pci);
    assert_false(level[1]);
}

static void a_function_can_be_added(void **state)
{
    (void)state;
    assert_int_equal(vpci_add(&pci, 0, &function), -EEXIST);
    assert_int_equal(vpci_add(&pci, 32, &function), -EINVAL);
    assert_int_equal(vpci_add(&pci, 3, &function), 0);
    outl(&board, ADDRESS, address(0, 3, 0, 0));
    assert_int_equal(inl(&board, DATA), 0x10411af4);
    outl(&board, DATA, 0);
    assert_int_equal(inl(&board, DATA), 0x10411af4); /* not writable */
    outl(&board, ADDRESS, address(0, 3, 0, 0x10));
    outl(&board, DATA, 0xffffffff); /* BAR sizing */
    assert_int_equal(inl(&board, DATA), 0xfffff008);
    assert_int_equal(writes, 2);
    assert_int_equal(written_dword, 4);
    outl(&board, ADDRESS, address(0, 3, 0, 4));
    outb(&board, DATA + 1, 0x04);
    outw(&board, DATA + 2, 0xffff);
    assert_int_equal(inl(&board, DATA), 0x0400); /* bytes land where they belong, the mask holds */
    function.read = read_live;
    assert_int_equal(inl(&board, DATA), 0xabcd0001);
}

static void byte_cf9_is_the_reset_register(void **state)
{
    (void)state;
    outl(&board, ADDRESS, 0x80000600); /* a dword across it is not */
    assert_int_equal(resets, 0);
    outw(&board, 0xcf8, 0x0600);
    assert_int_equal(resets, 0);
    outb(&board, 0xcf9, 0x02);
    assert_int_equal(inb(&board, 0xcf9), 0x02);
    outb(&board, 0xcf9, 0x06);
    assert_int_equal(resets, 1);
    assert_int_equal(inl(&board, ADDRESS), 0x80000600);
}

static void the_address_is_saved(void **state)
{
    struct vpci_state saved, bad = { .address = 1 };

    (void)state;
    outl(&board, ADDRESS, address(0, 0, 0, 8));
    vpci_save(&pci, &saved);
    assert_int_equal(vpci_check(&saved), 0);
    vpci_reset(&pci);
    assert_int_equal(inl(&board, DATA), 0xffffffff);
    vpci_load(&pci, &saved);
    assert_int_equal(inl(&board, DATA) >> 8, 0x060000);
    assert_int_equal(vpci_check(&bad), -EINVAL);
}

/* --- base address registers --- */

#define HOLE     0xc0000000u
#define HOLE_END 0xfeb00000u
#define COMMAND  0x04u
#define BAR(n)   (0x10u + 4 * (n))

static struct vpci_function low, high; /* in slots 2 and 5 */
static uint64_t last_write;

/* What is behind a BAR says who it is, and where in it was read. */
static uint64_t read_bar(void *device, uint32_t offset, unsigned size)
{
    (void)size;
    return (uint64_t)(uintptr_t)device << 12 | offset;
}

static void write_bar(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    (void)device, (void)offset, (void)size;
    last_write = value;
}

static struct vpci_bar bar(enum vpci_space space, uint32_t size, uintptr_t id)
{
    return (struct vpci_bar){ .space = space,
                              .region = { .size = size,
                                          .widths = IO_8 | IO_16 | IO_32,
                                          .read = read_bar,
                                          .write = write_bar,
                                          .device = (void *)id,
                                          .name = "BAR" } };
}

/* `low`: 4 KiB of memory, 32 ports, 16 KiB of memory with 64-bit addresses. `high`: 16 bytes of memory. */
static int setup_bars(void **state)
{
    const struct io_region fixed = { 0x2000, 16, IO_32, read_bar, write_bar, (void *)99, "fixed" };

    setup(state);
    board_init(&board);
    assert_int_equal(iobus_add(&board.ports, &fixed), 0);
    vpci_init(&pci, &reset);
    low = (struct vpci_function){ .bar = { bar(VPCI_MEM32, 4096, 1), bar(VPCI_IO, 32, 2),
                                           bar(VPCI_MEM64, 16384, 3) } };
    high = (struct vpci_function){ .bar = { [5] = bar(VPCI_MEM32, 16, 4) } };
    low.config[0] = 0x10411af4;
    low.bar[2].prefetchable = true;
    low.writable[1] = 4; /* bus master */
    high.config[0] = 0x25ab8086;
    assert_int_equal(vpci_add(&pci, 5, &high), 0);
    assert_int_equal(vpci_add(&pci, 2, &low), 0);
    assert_int_equal(vpci_attach(&pci, &board.ports, &board.mmio), 0);
    return 0;
}

static uint32_t get(unsigned slot, unsigned offset)
{
    outl(&board, ADDRESS, address(0, slot, 0, offset));
    return inl(&board, DATA);
}

static void put(unsigned slot, unsigned offset, uint32_t value)
{
    outl(&board, ADDRESS, address(0, slot, 0, offset));
    outl(&board, DATA, value);
}

static uint32_t readl(uint64_t at)
{
    return (uint32_t)iobus_read(&board.mmio, at, 4);
}

static bool is_at(uint64_t at, unsigned id)
{
    return readl(at) == id << 12;
}

static void reset_gives_each_bar_a_place(void **state)
{
    (void)state;
    assert_int_equal(get(2, COMMAND), 3);
    assert_int_equal(get(2, BAR(0)), HOLE);
    assert_int_equal(get(2, BAR(1)), 0x1001);
    assert_int_equal(get(2, BAR(2)), (HOLE + 0x4000) | 0xc); /* 64-bit, prefetchable, aligned to its size */
    assert_int_equal(get(2, BAR(3)), 0);
    assert_int_equal(get(5, COMMAND), 2);
    assert_int_equal(get(5, BAR(5)), HOLE + 0x8000);
    assert_true(is_at(HOLE, 1) && is_at(HOLE + 0x4000, 3) && is_at(HOLE + 0x8000, 4));
    assert_int_equal(readl(HOLE + 0xffc), 0x1ffc);
    assert_int_equal(readl(HOLE + 0x1000), UINT32_MAX);
    assert_int_equal(inl(&board, 0x1004), 0x2004);
    put(2, BAR(0), 0xd0000000);
    put(2, COMMAND, 6);
    put(5, COMMAND, 0);
    vpci_reset(&pci);
    assert_int_equal(get(2, COMMAND), 3);
    assert_true(is_at(HOLE, 1) && is_at(HOLE + 0x8000, 4));
    assert_int_equal(readl(0xd0000000), UINT32_MAX);
}

/* 6.2.5.1: write all ones, read the size back. */
static void bars_tell_their_size(void **state)
{
    (void)state;
    put(2, BAR(0), UINT32_MAX);
    assert_int_equal(get(2, BAR(0)), 0xfffff000);
    put(2, BAR(1), UINT32_MAX);
    assert_int_equal(get(2, BAR(1)), 0xffffffe1);
    put(2, BAR(2), UINT32_MAX);
    put(2, BAR(3), UINT32_MAX);
    assert_int_equal(get(2, BAR(2)), 0xffffc00c);
    assert_int_equal(get(2, BAR(3)), 0xffffffff);
    put(2, BAR(4), UINT32_MAX);
    assert_int_equal(get(2, BAR(4)), 0);
    put(5, BAR(5), UINT32_MAX);
    assert_int_equal(get(5, BAR(5)), 0xfffffff0);
    assert_int_equal(readl(HOLE), UINT32_MAX); /* nothing is left where they were, nor where they say */
    assert_int_equal(board.mmio.count, 1);     /* the enhanced space */
    assert_int_equal(inl(&board, 0x1004), UINT32_MAX);
    put(2, BAR(0), HOLE);
    put(2, BAR(2), HOLE + 0x4000);
    put(2, BAR(3), 0);
    assert_true(is_at(HOLE, 1) && is_at(HOLE + 0x4000, 3));
}

static void bars_move_with_the_register(void **state)
{
    (void)state;
    assert_true(is_at(HOLE, 1)); /* the bus remembers its last hit */
    put(2, BAR(0), 0xfeaff000);
    assert_int_equal(readl(HOLE), UINT32_MAX);
    assert_true(is_at(0xfeaff000, 1));
    iobus_write(&board.mmio, 0xfeaff010, 4, 0x1234);
    assert_int_equal(last_write, 0x1234);
    outl(&board, ADDRESS, address(0, 2, 0, BAR(0)));
    outb(&board, DATA + 3, 0xe0); /* a byte of it is enough */
    assert_true(is_at(0xe0aff000, 1));
    put(2, BAR(1), 0xff80);
    assert_int_equal(inl(&board, 0xff84), 0x2004);
    assert_int_equal(inl(&board, 0x1004), UINT32_MAX);
}

static void the_command_register_turns_them_off(void **state)
{
    (void)state;
    put(2, COMMAND, 1); /* ports only */
    assert_int_equal(readl(HOLE), UINT32_MAX);
    assert_int_equal(readl(HOLE + 0x4000), UINT32_MAX);
    assert_int_equal(inl(&board, 0x1004), 0x2004);
    assert_true(is_at(HOLE + 0x8000, 4)); /* the other function's own */
    put(2, BAR(0), 0xd0000000);
    assert_int_equal(readl(0xd0000000), UINT32_MAX);
    put(2, COMMAND, 2);
    assert_true(is_at(0xd0000000, 1));
    assert_int_equal(inl(&board, 0x1004), UINT32_MAX);
    put(2, COMMAND, UINT32_MAX);
    assert_int_equal(get(2, COMMAND), 7);
}

/* RAM, the legacy hole, the APICs, beyond 4 GiB, and across the window's ends. */
static void nothing_is_decoded_outside_of_the_window(void **state)
{
    static const uint32_t bad[] = { 0,          0x1000,     0xa0000,    0x100000,   0xbffff000,
                                    0xfec00000, 0xfee00000, 0xfffff000, 0x7ffff000, HOLE_END };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        put(2, BAR(0), bad[i]);
        assert_int_equal(get(2, BAR(0)), bad[i]); /* the register itself takes it */
        assert_false(low.bar[0].mapped);
        assert_int_equal(readl(bad[i]), bad[i] == HOLE_END ? get(0, 0) : UINT32_MAX); /* the enhanced space */
    }
    put(2, BAR(3), 1); /* 64-bit: 5 GiB */
    assert_int_equal(readl(0x1c0004000), UINT32_MAX);
    assert_int_equal(readl(0xc0004000), UINT32_MAX);
    for (uint32_t port = 0; port < 0x1000; port += 32) {
        put(2, BAR(1), port);
        assert_false(low.bar[1].mapped);
    }
    put(2, BAR(1), 0x10000);
    assert_false(low.bar[1].mapped);
    put(2, BAR(1), 0xffffffe0);
    assert_false(low.bar[1].mapped);
    put(2, BAR(1), 0xffe0);
    assert_true(low.bar[1].mapped);
}

static void where_two_overlap_one_is_hidden(void **state)
{
    (void)state;
    put(5, BAR(5), HOLE + 0x20); /* inside slot 2's: the lower slot keeps it ... */
    assert_int_equal(readl(HOLE + 0x20), 0x1020);
    assert_int_equal(readl(HOLE + 0x8000), UINT32_MAX);
    put(2, BAR(0), 0xd0000000); /* ... until it moves away */
    assert_true(is_at(HOLE + 0x20, 4));
    put(2, BAR(0), HOLE); /* in whatever order they came */
    assert_int_equal(readl(HOLE + 0x20), 0x1020);
    put(2, BAR(2), HOLE); /* within one function the lower BAR */
    assert_true(is_at(HOLE, 1));
    assert_int_equal(readl(HOLE + 0x1000), UINT32_MAX);
    put(2, BAR(1), 0x2000); /* a device of the board always */
    assert_int_equal(inl(&board, 0x2000), 99 << 12);
    assert_int_equal(inl(&board, 0x2010), UINT32_MAX);
    put(2, BAR(1), 0x1000);
    assert_int_equal(inl(&board, 0x2000), 99 << 12);
    assert_int_equal(inl(&board, 0x1004), 0x2004);
}

static void impossible_bars_are_refused(void **state)
{
    const struct vpci_bar bad[] = { bar(VPCI_MEM32, 8, 1), bar(VPCI_MEM32, 48, 1), bar(VPCI_MEM32, 0, 1),
                                    bar(VPCI_IO, 2, 1),    bar(VPCI_IO, 512, 1),   bar(VPCI_MEM64, 8, 1) };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vpci_function other = { .bar = { bad[i] } };

        assert_int_equal(vpci_add(&pci, 7, &other), -EINVAL);
    }
    function = (struct vpci_function){ .bar = { [5] = bar(VPCI_MEM64, 16, 1) } };
    assert_int_equal(vpci_add(&pci, 7, &function), -EINVAL);
    function = (struct vpci_function){ .bar = { bar(VPCI_MEM64, 16, 1), bar(VPCI_MEM32, 16, 1) } };
    assert_int_equal(vpci_add(&pci, 7, &function), -EINVAL);
    assert_int_equal(get(7, 0), UINT32_MAX);
}

static void a_bar_too_large_for_the_window_stays_off(void **state)
{
    (void)state;
    function = (struct vpci_function){ .bar = { bar(VPCI_MEM32, 0x80000000, 7) } };
    assert_int_equal(vpci_add(&pci, 7, &function), 0);
    vpci_reset(&pci);
    assert_int_equal(get(7, BAR(0)), 0);
    put(7, BAR(0), 0xc0000000);
    assert_int_equal(get(7, BAR(0)), 0x80000000);
    assert_false(function.bar[0].mapped);
    assert_true(is_at(HOLE, 1));
}

static void loaded_config_moves_the_bars(void **state)
{
    uint32_t saved[VPCI_CONFIG_DWORDS], bad[VPCI_CONFIG_DWORDS];

    (void)state;
    put(2, BAR(0), 0xd0000000);
    memcpy(saved, low.config, sizeof(saved));
    assert_int_equal(vpci_check_config(&low, saved), 0);
    vpci_reset(&pci);
    assert_true(is_at(HOLE, 1));
    vpci_load_config(&low, saved);
    assert_true(is_at(0xd0000000, 1));
    assert_int_equal(readl(HOLE), UINT32_MAX);
    for (unsigned dword = 0; dword < VPCI_CONFIG_DWORDS; dword++) {
        memcpy(bad, saved, sizeof(bad));
        bad[dword] ^= 1; /* nowhere can a guest change bit 0 but in the command and in a 64-bit BAR */
        assert_int_equal(vpci_check_config(&low, bad), dword == 1 || dword == 7 ? 0 : -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_address_takes_dwords_only, setup),
        cmocka_unit_test_setup(the_host_bridge_is_there, setup),
        cmocka_unit_test_setup(what_is_absent_reads_as_ones, setup),
        cmocka_unit_test_setup(memory_shows_the_same, setup),
        cmocka_unit_test_setup(pins_are_wired_to_lines, setup),
        cmocka_unit_test_setup(a_function_can_be_added, setup),
        cmocka_unit_test_setup(byte_cf9_is_the_reset_register, setup),
        cmocka_unit_test_setup(the_address_is_saved, setup),
        cmocka_unit_test_setup(reset_gives_each_bar_a_place, setup_bars),
        cmocka_unit_test_setup(bars_tell_their_size, setup_bars),
        cmocka_unit_test_setup(bars_move_with_the_register, setup_bars),
        cmocka_unit_test_setup(the_command_register_turns_them_off, setup_bars),
        cmocka_unit_test_setup(nothing_is_decoded_outside_of_the_window, setup_bars),
        cmocka_unit_test_setup(where_two_overlap_one_is_hidden, setup_bars),
        cmocka_unit_test_setup(impossible_bars_are_refused, setup_bars),
        cmocka_unit_test_setup(a_bar_too_large_for_the_window_stays_off, setup_bars),
        cmocka_unit_test_setup(loaded_config_moves_the_bars, setup_bars),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
