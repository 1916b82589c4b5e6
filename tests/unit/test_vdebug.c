#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vdebug.h"
#include "tests/unit/board.h"

static struct board board;
static struct vdebug debug;
static unsigned exits;
static uint32_t code;

static void note_exit(void *vm, uint32_t value)
{
    assert_ptr_equal(vm, &board);
    exits++;
    code = value;
}

static int setup(void **state)
{
    (void)state;
    exits = 0;
    board_init(&board);
    vdebug_init(&debug, note_exit, &board);
    assert_int_equal(vdebug_attach(&debug, &board.ports), 0);
    return 0;
}

static void the_exit_port_tells_its_code(void **state)
{
    (void)state;
    outl(&board, 0xf4, 0x12345678);
    assert_int_equal(code, 0x12345678);
    outb(&board, 0xf4, 0x21);
    assert_int_equal(code, 0x21);
    assert_int_equal(exits, 2);
    outb(&board, 0xf5, 1); /* only its first byte acts */
    assert_int_equal(exits, 2);
    assert_int_equal(inl(&board, 0xf4), 0xffffffff);
}

static void without_a_callback_there_is_no_exit_port(void **state)
{
    (void)state;
    board_init(&board);
    vdebug_init(&debug, NULL, NULL);
    assert_int_equal(vdebug_attach(&debug, &board.ports), 0);
    outl(&board, 0xf4, 1);
    assert_int_equal(board.ports.unclaimed, 1);
}

static void the_other_ports_are_harmless(void **state)
{
    struct vdebug_state saved;

    (void)state;
    assert_int_equal(inb(&board, 0xe9), 0xff);
    outb(&board, 0xe9, 'x');
    outb(&board, 0x80, 0x5a);
    assert_int_equal(inb(&board, 0x80), 0x5a);
    vdebug_save(&debug, &saved);
    assert_int_equal(vdebug_check(&saved), 0);
    vdebug_reset(&debug);
    assert_int_equal(inb(&board, 0x80), 0);
    vdebug_load(&debug, &saved);
    assert_int_equal(inb(&board, 0x80), 0x5a);
    assert_int_equal(board.ports.unclaimed, 0);
    assert_int_equal(exits, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_exit_port_tells_its_code, setup),
        cmocka_unit_test_setup(without_a_callback_there_is_no_exit_port, setup),
        cmocka_unit_test_setup(the_other_ports_are_harmless, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
