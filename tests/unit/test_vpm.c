#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vpm.h"
#include "devices/vreset.h"
#include "lib/errno.h"
#include "tests/unit/board.h"

#define PM1_STS 0x600
#define PM1_EN  0x602
#define PM1_CNT 0x604
#define PM_TMR  0x608

#define TMR    0x0001
#define PWRBTN 0x0100

static struct board board;
static struct vpm pm;
static struct vreset reset;
static unsigned power_offs, resets;

static void power_off(void *vm)
{
    assert_ptr_equal(vm, &board);
    power_offs++;
}

static void do_reset(void *vm)
{
    assert_ptr_equal(vm, &board);
    resets++;
}

static int setup(void **state)
{
    (void)state;
    power_offs = resets = 0;
    board_init(&board);
    vpm_init(&pm, &board.clock, &board.queue, board_line(&board, VPM_SCI), power_off, &board);
    vreset_init(&reset, do_reset, &board);
    assert_int_equal(vpm_attach(&pm, &board.ports), 0);
    assert_int_equal(vreset_attach(&reset, &board.ports), 0);
    return 0;
}

static void the_timer_counts_at_its_rate(void **state)
{
    (void)state;
    assert_int_equal(inl(&board, PM_TMR), 0);
    advance(&board, NS_PER_S);
    assert_int_equal(inl(&board, PM_TMR), 3579545);
    advance(&board, 1199 * NS_PER_S);
    assert_int_equal(inl(&board, PM_TMR), (uint32_t)(UINT64_C(1200) * 3579545)); /* 32 bits, wraps */
    assert_int_equal(inw(&board, PM_TMR + 2), (uint32_t)(UINT64_C(1200) * 3579545) >> 16);
    outl(&board, PM_TMR, 0);
    assert_int_equal(inl(&board, PM_TMR), (uint32_t)(UINT64_C(1200) * 3579545));
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
}

static void the_timer_status_follows_bit_31(void **state)
{
    uint64_t half = vclock_ns_of_ticks(BIT(31), VPM_TMR_HZ);

    (void)state;
    advance(&board, half - 1);
    assert_int_equal(inw(&board, PM1_STS), 0);
    advance(&board, 1);
    assert_int_equal(inw(&board, PM1_STS), TMR);
    assert_false(board.irq.level); /* not enabled */
    outw(&board, PM1_STS, TMR);
    assert_int_equal(inw(&board, PM1_STS), 0);
}

static void the_timer_interrupts_when_enabled(void **state)
{
    uint64_t half = vclock_ns_of_ticks(BIT(31), VPM_TMR_HZ);

    (void)state;
    outw(&board, PM1_EN, TMR);
    assert_int_not_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    advance(&board, half - 1);
    assert_false(board.irq.level);
    advance(&board, 1);
    assert_true(board.irq.level);
    assert_int_equal(board.irq.pin, 9);
    outb(&board, PM1_STS, TMR); /* byte access */
    assert_false(board.irq.level);
    advance(&board, half);
    assert_true(board.irq.level); /* bit 31 falls: that counts, too */
    outw(&board, PM1_EN, 0);
    assert_false(board.irq.level);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
}

static void the_power_button_asks_the_guest(void **state)
{
    (void)state;
    vpm_power_button(&pm);
    assert_int_equal(inw(&board, PM1_STS), PWRBTN);
    assert_false(board.irq.level);
    outw(&board, PM1_EN, PWRBTN);
    assert_true(board.irq.level);
    outw(&board, PM1_STS, TMR); /* not its bit */
    assert_true(board.irq.level);
    outw(&board, PM1_STS, PWRBTN);
    assert_false(board.irq.level);
    vpm_power_button(&pm);
    assert_true(board.irq.level);
    assert_int_equal(power_offs, 0);
}

static void enables_keep_the_bits_that_exist(void **state)
{
    (void)state;
    outw(&board, PM1_EN, 0xffff);
    assert_int_equal(inw(&board, PM1_EN), 0x0521);
    outb(&board, PM1_EN, 0);
    assert_int_equal(inw(&board, PM1_EN), 0x0500);
    assert_int_equal(inl(&board, PM1_STS), 0x05000000);
}

static void sleep_type_5_turns_off(void **state)
{
    (void)state;
    assert_int_equal(inw(&board, PM1_CNT), 1); /* SCI_EN */
    outw(&board, PM1_CNT, 5 << 10);
    assert_int_equal(power_offs, 0);
    outw(&board, PM1_CNT, 3 << 10 | 1 << 13);
    assert_int_equal(power_offs, 0); /* no such state */
    outw(&board, PM1_CNT, 5 << 10 | 1 << 13);
    assert_int_equal(power_offs, 1);
    assert_int_equal(inw(&board, PM1_CNT), 5 << 10 | 1); /* SLP_EN reads as 0, SCI_EN as 1 */
    outb(&board, PM1_CNT + 1, 5 << 2 | 1 << 5);
    assert_int_equal(power_offs, 2);
}

static void save_and_load_keep_the_event(void **state)
{
    struct vpm_state saved, bad;

    (void)state;
    outw(&board, PM1_EN, PWRBTN | TMR);
    vpm_power_button(&pm);
    vpm_save(&pm, &saved);
    assert_int_equal(vpm_check(&saved), 0);
    vpm_reset(&pm);
    assert_false(board.irq.level);
    assert_int_equal(inw(&board, PM1_EN), 0);
    vpm_load(&pm, &saved);
    assert_true(board.irq.level);
    assert_int_not_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    bad = saved;
    bad.pm1_sts = 0x8000;
    assert_int_equal(vpm_check(&bad), -EINVAL);
    bad = saved;
    bad.pm1_en = 0x8000;
    assert_int_equal(vpm_check(&bad), -EINVAL);
    bad = saved;
    bad.pm1_cnt = 0;
    assert_int_equal(vpm_check(&bad), -EINVAL);
}

static void cf9_resets_on_the_rising_bit(void **state)
{
    (void)state;
    vreset_cf9_write(&reset, 0, 1, 0x02);
    assert_int_equal(resets, 0);
    assert_int_equal(vreset_cf9_read(&reset, 0, 1), 0x02);
    vreset_cf9_write(&reset, 0, 1, 0x06);
    assert_int_equal(resets, 1);
    vreset_cf9_write(&reset, 0, 1, 0x0e);
    assert_int_equal(resets, 1); /* it was set already */
    vreset_reset(&reset);
    vreset_cf9_write(&reset, 0, 1, VRESET_CF9_FULL); /* the FADT's way: in one write */
    assert_int_equal(resets, 2);
}

static void port_92_resets_and_keeps_a20(void **state)
{
    (void)state;
    assert_int_equal(inb(&board, 0x92), 0x02);
    outb(&board, 0x92, 0xfe);
    assert_int_equal(inb(&board, 0x92), 0x02);
    outb(&board, 0x92, 0x00);
    assert_int_equal(inb(&board, 0x92), 0x00);
    assert_int_equal(resets, 0);
    outb(&board, 0x92, 0x01);
    assert_int_equal(resets, 1);
}

static void the_keyboard_controller_only_resets(void **state)
{
    (void)state;
    assert_int_equal(inb(&board, 0x64), 0xff);
    assert_int_equal(inb(&board, 0x60), 0xff);
    outb(&board, 0x64, 0xaa); /* self test: nobody answers */
    outb(&board, 0x64, 0xff); /* pulses nothing */
    outb(&board, 0x60, 0xfe);
    assert_int_equal(resets, 0);
    outb(&board, 0x64, 0xfe);
    assert_int_equal(resets, 1);
    assert_int_equal(board.ports.unclaimed, 0);
}

static void reset_state_is_saved(void **state)
{
    struct vreset_state saved, bad = { .cf9 = 0x01 };

    (void)state;
    outb(&board, 0x92, 0x00);
    vreset_cf9_write(&reset, 0, 1, 0x0a);
    vreset_save(&reset, &saved);
    assert_int_equal(vreset_check(&saved), 0);
    vreset_reset(&reset);
    vreset_load(&reset, &saved);
    assert_int_equal(inb(&board, 0x92), 0x00);
    assert_int_equal(vreset_cf9_read(&reset, 0, 1), 0x0a);
    assert_int_equal(vreset_check(&bad), -EINVAL);
    bad = (struct vreset_state){ .fast = 0x04 };
    assert_int_equal(vreset_check(&bad), -EINVAL);
    assert_int_equal(resets, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_timer_counts_at_its_rate, setup),
        cmocka_unit_test_setup(the_timer_status_follows_bit_31, setup),
        cmocka_unit_test_setup(the_timer_interrupts_when_enabled, setup),
        cmocka_unit_test_setup(the_power_button_asks_the_guest, setup),
        cmocka_unit_test_setup(enables_keep_the_bits_that_exist, setup),
        cmocka_unit_test_setup(sleep_type_5_turns_off, setup),
        cmocka_unit_test_setup(save_and_load_keep_the_event, setup),
        cmocka_unit_test_setup(cf9_resets_on_the_rising_bit, setup),
        cmocka_unit_test_setup(port_92_resets_and_keeps_a20, setup),
        cmocka_unit_test_setup(the_keyboard_controller_only_resets, setup),
        cmocka_unit_test_setup(reset_state_is_saved, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
