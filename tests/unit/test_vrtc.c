#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vrtc.h"
#include "lib/calendar.h"
#include "lib/errno.h"
#include "tests/unit/board.h"

#define MS  UINT64_C(1000000)
#define SEC NS_PER_S

#define A_UIP  0x80
#define B_SET  0x80
#define B_PIE  0x40
#define B_AIE  0x20
#define B_UIE  0x10
#define B_DM   0x04
#define B_24H  0x02
#define C_IRQF 0x80

static struct board board;
static struct vrtc rtc;

static int setup(void **state)
{
    (void)state;
    board_init(&board);
    vrtc_init(&rtc, &board.clock, &board.queue, board_line(&board, VRTC_IRQ),
              1709251198 /* 2024-02-29 23:59:58 */, 2 * GiB, 3 * GiB);
    assert_int_equal(vrtc_attach(&rtc, &board.ports), 0);
    return 0;
}

static uint8_t get(uint8_t index)
{
    outb(&board, 0x70, index);
    return inb(&board, 0x71);
}

static void set(uint8_t index, uint8_t value)
{
    outb(&board, 0x70, index);
    outb(&board, 0x71, value);
}

static void assert_time(uint8_t hour, uint8_t minute, uint8_t second)
{
    assert_int_equal(get(4), hour);
    assert_int_equal(get(2), minute);
    assert_int_equal(get(0), second);
}

static void the_calendar_knows_every_day(void **state)
{
    static const struct {
        struct calendar date;
        uint64_t unix_time;
    } cases[] = {
        { { 1970, 1, 1, 0, 0, 0, 4 }, 0 },
        { { 2000, 2, 29, 12, 0, 0, 2 }, 951825600 },
        { { 2000, 12, 31, 23, 59, 59, 0 }, 978307199 },
        { { 2038, 1, 19, 3, 14, 8, 2 }, 2147483648 },
        { { 2100, 3, 1, 0, 0, 0, 1 }, 4107542400 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct calendar date = calendar_from_seconds(CALENDAR_UNIX_EPOCH + cases[i].unix_time);

        assert_int_equal(calendar_to_seconds(&cases[i].date), CALENDAR_UNIX_EPOCH + cases[i].unix_time);
        assert_int_equal(date.year, cases[i].date.year);
        assert_int_equal(date.month, cases[i].date.month);
        assert_int_equal(date.day, cases[i].date.day);
        assert_int_equal(date.hour, cases[i].date.hour);
        assert_int_equal(date.second, cases[i].date.second);
        assert_int_equal(date.weekday, cases[i].date.weekday);
    }
    for (uint64_t day = 1; day < 146097 + 1000; day++) {
        struct calendar before = calendar_from_seconds((day - 1) * CALENDAR_DAY);
        struct calendar date = calendar_from_seconds(day * CALENDAR_DAY);

        assert_int_equal(calendar_to_seconds(&date), day * CALENDAR_DAY);
        assert_in_range(date.month, 1, 12);
        if (date.day == 1) {
            assert_in_range(before.day, 28, 31);
            assert_int_equal(date.month % 12, (before.month + 1) % 12);
            assert_int_equal(date.year, before.year + (date.month == 1));
        } else {
            assert_int_equal(date.day, before.day + 1);
            assert_int_equal(date.month, before.month);
        }
    }
}

static void the_time_is_bcd_and_runs(void **state)
{
    (void)state;
    assert_time(0x23, 0x59, 0x58);
    assert_int_equal(get(7), 0x29);
    assert_int_equal(get(8), 0x02);
    assert_int_equal(get(9), 0x24);
    assert_int_equal(get(0x32), 0x20);
    assert_int_equal(get(6), 5); /* Thursday */
    advance(&board, 1999 * MS);
    assert_time(0x23, 0x59, 0x59);
    advance(&board, 1 * MS);
    assert_time(0x00, 0x00, 0x00);
    assert_int_equal(get(7), 0x01);
    assert_int_equal(get(8), 0x03);
    assert_int_equal(get(6), 6);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
}

static void binary_and_12_hours(void **state)
{
    (void)state;
    set(0x0b, B_DM | B_24H);
    assert_time(23, 59, 58);
    assert_int_equal(get(0x32), 20);
    set(0x0b, B_DM);
    assert_time(0x80 | 11, 59, 58);
    set(0x0b, 0);
    assert_time(0x91, 0x59, 0x58);
    advance(&board, 2 * SEC);
    assert_int_equal(get(4), 0x12); /* midnight is 12 am */
    advance(&board, 12 * 3600 * SEC);
    assert_int_equal(get(4), 0x92); /* noon is 12 pm */
}

static void set_stops_the_clock_for_writing(void **state)
{
    (void)state;
    set(0x0b, B_SET | B_UIE | B_24H);
    assert_int_equal(get(0x0b), B_SET | B_24H); /* SET turns UIE off */
    advance(&board, 5 * SEC);
    assert_time(0x23, 0x59, 0x58);
    set(0, 0x30);
    set(2, 0x45);
    set(4, 0x12);
    set(7, 0x31);
    set(8, 0x12);
    set(9, 0x99);
    set(0x32, 0x19);
    assert_time(0x12, 0x45, 0x30);
    set(0x0b, B_24H);
    assert_time(0x12, 0x45, 0x30);
    assert_int_equal(get(6), 6); /* 1999-12-31 was a Friday, whatever was written */
    advance(&board, (11 * 3600 + 14 * 60 + 30) * SEC);
    assert_time(0, 0, 0);
    assert_int_equal(get(9), 0x00);
    assert_int_equal(get(0x32), 0x20);
}

static void a_write_to_the_running_clock_counts(void **state)
{
    (void)state;
    advance(&board, 400 * MS);
    set(4, 0x07);
    set(9, 0x31);
    set(1, 0x44); /* an alarm byte is no time */
    assert_time(0x07, 0x59, 0x58);
    assert_int_equal(get(9), 0x31);
    assert_int_equal(get(8), 0x03); /* 29 February 2031 is 1 March */
    assert_int_equal(get(1), 0x44);
    advance(&board, 600 * MS);
    assert_time(0x07, 0x59, 0x59); /* the second itself was not disturbed */
}

static void releasing_the_divider_starts_half_a_second_before_an_update(void **state)
{
    (void)state;
    advance(&board, 300 * MS);
    set(0x0a, 0x76);
    advance(&board, 10 * SEC);
    assert_time(0x23, 0x59, 0x58);
    set(0x0a, 0x26);
    advance(&board, 499 * MS);
    assert_time(0x23, 0x59, 0x58);
    advance(&board, 1 * MS);
    assert_time(0x23, 0x59, 0x59);
}

static void update_in_progress_announces_the_update(void **state)
{
    (void)state;
    assert_int_equal(get(0x0a), 0x26);
    advance(&board, 997 * MS);
    assert_int_equal(get(0x0a) & A_UIP, 0);
    advance(&board, 1 * MS);
    assert_int_equal(get(0x0a) & A_UIP, A_UIP);
    advance(&board, 2 * MS);
    assert_int_equal(get(0x0a) & A_UIP, 0);
    assert_int_equal(get(0), 0x59);
    set(0x0a, 0xa6); /* UIP is for reading */
    assert_int_equal(get(0x0a), 0x26);
}

static void the_update_interrupt_comes_each_second(void **state)
{
    (void)state;
    set(0x0b, B_UIE | B_24H);
    advance(&board, 999 * MS);
    assert_false(board.irq.level);
    advance(&board, 1 * MS);
    assert_true(board.irq.level);
    assert_int_equal(board.irq.pin, 8);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER); /* until register C is read */
    advance(&board, 10 * SEC);
    assert_int_equal(board.irq.rises, 1);
    assert_int_equal(get(0x0c), C_IRQF | 0x70); /* PF and AF (it is past midnight) need no enable */
    assert_false(board.irq.level);
    assert_int_equal(get(0x0c), 0);
    advance(&board, 1 * SEC);
    assert_int_equal(board.irq.rises, 2);
}

static void flags_need_no_enable_but_the_line_does(void **state)
{
    (void)state;
    advance(&board, 1 * SEC);
    assert_int_equal(get(0x0c) & 0x10, 0x10);
    assert_int_equal(get(0x0c), 0);
    advance(&board, 1 * SEC);
    set(0x0b, B_UIE | B_24H); /* the flag is set already */
    assert_true(board.irq.level);
    set(0x0b, B_24H);
    assert_false(board.irq.level);
}

static void periodic_rates(void **state)
{
    static const uint64_t hz[16] = {
        0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2
    };

    (void)state;
    for (uint8_t rate = 0; rate < 16; rate++) {
        setup(NULL);
        set(0x0a, (uint8_t)(0x20 | rate));
        set(0x0b, B_PIE | B_24H);
        for (unsigned i = 0; i < 20 && hz[rate]; i++) {
            advance(&board, vclock_ns_of_ticks(i + 1, (uint32_t)hz[rate]) - vclock_ns(&board.clock) - 1);
            assert_int_equal(board.irq.rises, i);
            advance(&board, 1);
            assert_int_equal(board.irq.rises, i + 1);
            assert_int_equal(get(0x0c) & 0xc0, 0xc0);
        }
        if (rate == 0)
            assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    }
}

static void an_alarm_comes_at_its_time(void **state)
{
    (void)state;
    set(5, 0x00);
    set(3, 0x00);
    set(1, 0x05); /* 7 seconds from now, tomorrow */
    set(0x0b, B_AIE | B_24H);
    advance(&board, 7 * SEC - 1);
    assert_false(board.irq.level);
    advance(&board, 1);
    assert_true(board.irq.level);
    assert_int_equal(get(0x0c) & 0xa0, 0xa0);
    advance(&board, 86400 * SEC - 1);
    assert_false(board.irq.level);
    advance(&board, 1);
    assert_true(board.irq.level);
}

static void alarm_wildcards(void **state)
{
    (void)state;
    set(5, 0xff);
    set(3, 0xff);
    set(1, 0xc0);
    set(0x0b, B_AIE | B_24H);
    for (unsigned i = 1; i <= 5; i++) {
        advance(&board, SEC);
        assert_int_equal(board.irq.rises, i); /* each second */
        get(0x0c);
    }
    set(1, 0x10); /* each minute; it is 3 seconds past */
    board.irq.rises = 0;
    advance(&board, 7 * SEC - 1);
    assert_int_equal(board.irq.rises, 0);
    advance(&board, 1);
    assert_int_equal(board.irq.rises, 1);
    get(0x0c);
    set(3, 0x30); /* each hour at half past */
    advance(&board, 30 * 60 * SEC);
    assert_int_equal(board.irq.rises, 2);
    get(0x0c);
    advance(&board, 3600 * SEC);
    assert_int_equal(board.irq.rises, 3);
}

static void an_impossible_alarm_never_comes(void **state)
{
    (void)state;
    set(5, 0x00);
    set(3, 0x60);
    set(1, 0x00);
    set(0x0b, B_AIE | B_24H);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    set(3, 0x1f); /* not BCD */
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    set(3, 0x10);
    assert_int_not_equal(timer_queue_next(&board.queue), TIMER_NEVER);
}

static void an_alarm_in_12_hours(void **state)
{
    (void)state;
    set(0x0b, B_SET | B_DM);
    set(4, 0x80 | 12);
    set(2, 59);
    set(0, 0);
    set(5, 0x80 | 1); /* 1 pm */
    set(3, 0);
    set(1, 0);
    set(0x0b, B_AIE | B_DM);
    advance(&board, 60 * SEC - 1);
    assert_false(board.irq.level);
    advance(&board, 1);
    assert_true(board.irq.level);
}

static void memory_sizes_are_in_cmos(void **state)
{
    unsigned sum = 0;

    (void)state;
    assert_int_equal(get(0x15) | get(0x16) << 8, 640);
    assert_int_equal(get(0x17) | get(0x18) << 8, 0xffff);
    assert_int_equal(get(0x30) | get(0x31) << 8, 0xffff);
    assert_int_equal(get(0x34) | get(0x35) << 8, (2048 - 16) * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 3 * 16384);
    for (uint8_t i = 0x10; i <= 0x2d; i++)
        sum += get(i);
    assert_int_equal(get(0x2e) << 8 | get(0x2f), sum);
    set(0x7f, 0xa5);
    assert_int_equal(get(0xff), 0xa5); /* bit 7 of the index is the NMI mask */
    assert_int_equal(inb(&board, 0x70), 0xff);
    assert_int_equal(get(0x0d), 0x80);
    set(0x0d, 0);
    set(0x0c, 0xff);
    assert_int_equal(get(0x0d), 0x80);
    assert_int_equal(get(0x0c), 0);
}

static void reset_keeps_time_and_memory(void **state)
{
    (void)state;
    set(0x0b, B_PIE | B_AIE | B_UIE | B_24H);
    set(0x40, 0x77);
    advance(&board, 1 * SEC);
    assert_true(board.irq.level);
    vrtc_reset(&rtc);
    assert_false(board.irq.level);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    assert_int_equal(get(0x0b), B_24H);
    assert_int_equal(get(0x0c), 0);
    assert_int_equal(get(0x40), 0x77);
    assert_time(0x23, 0x59, 0x59);
}

static void save_and_load_keep_the_alarm(void **state)
{
    struct vrtc_state saved;

    (void)state;
    set(5, 0x00);
    set(3, 0x00);
    set(1, 0x00);
    set(0x0b, B_AIE | B_24H);
    advance(&board, 1500 * MS);
    vrtc_save(&rtc, &saved);
    assert_int_equal(vrtc_check(&saved), 0);
    set(0x0b, B_24H);
    set(4, 0x11);
    vrtc_load(&rtc, &saved);
    advance(&board, 499 * MS);
    assert_false(board.irq.level);
    assert_time(0x23, 0x59, 0x59);
    advance(&board, 1 * MS);
    assert_true(board.irq.level);
    vrtc_save(&rtc, &saved);
    vrtc_reset(&rtc);
    vrtc_load(&rtc, &saved);
    assert_true(board.irq.level);
}

static void a_bad_state_is_refused(void **state)
{
    struct vrtc_state good, bad;

    (void)state;
    vrtc_save(&rtc, &good);
    assert_int_equal(vrtc_check(&good), 0);
#define REFUSES(field, value)                                                                                \
    do {                                                                                                     \
        bad = good;                                                                                          \
        bad.field = value;                                                                                   \
        assert_int_equal(vrtc_check(&bad), -EINVAL);                                                         \
    } while (0)
    REFUSES(base_ns, INT64_MIN);
    REFUSES(base_ns, INT64_MAX);
    REFUSES(base_seconds, UINT64_MAX);
    REFUSES(seen_ns, UINT64_MAX);
    REFUSES(cmos[0x0a], 0x80);
    REFUSES(cmos[0x0c], 0x80);
    REFUSES(cmos[0x0d], 0);
#undef REFUSES
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_calendar_knows_every_day, setup),
        cmocka_unit_test_setup(the_time_is_bcd_and_runs, setup),
        cmocka_unit_test_setup(binary_and_12_hours, setup),
        cmocka_unit_test_setup(set_stops_the_clock_for_writing, setup),
        cmocka_unit_test_setup(a_write_to_the_running_clock_counts, setup),
        cmocka_unit_test_setup(releasing_the_divider_starts_half_a_second_before_an_update, setup),
        cmocka_unit_test_setup(update_in_progress_announces_the_update, setup),
        cmocka_unit_test_setup(the_update_interrupt_comes_each_second, setup),
        cmocka_unit_test_setup(flags_need_no_enable_but_the_line_does, setup),
        cmocka_unit_test_setup(periodic_rates, setup),
        cmocka_unit_test_setup(an_alarm_comes_at_its_time, setup),
        cmocka_unit_test_setup(alarm_wildcards, setup),
        cmocka_unit_test_setup(an_impossible_alarm_never_comes, setup),
        cmocka_unit_test_setup(an_alarm_in_12_hours, setup),
        cmocka_unit_test_setup(memory_sizes_are_in_cmos, setup),
        cmocka_unit_test_setup(reset_keeps_time_and_memory, setup),
        cmocka_unit_test_setup(save_and_load_keep_the_alarm, setup),
        cmocka_unit_test_setup(a_bad_state_is_refused, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
