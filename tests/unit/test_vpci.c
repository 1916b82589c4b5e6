#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
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
    assert_int_equal(vpci_attach(&pci, &board.ports), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_address_takes_dwords_only, setup),
        cmocka_unit_test_setup(the_host_bridge_is_there, setup),
        cmocka_unit_test_setup(what_is_absent_reads_as_ones, setup),
        cmocka_unit_test_setup(a_function_can_be_added, setup),
        cmocka_unit_test_setup(byte_cf9_is_the_reset_register, setup),
        cmocka_unit_test_setup(the_address_is_saved, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
