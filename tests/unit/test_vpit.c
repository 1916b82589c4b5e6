#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vpit.h"
#include "lib/errno.h"
#include "tests/unit/board.h"

#define CONTROL 0x43
#define PORT_61 0x61

static struct board board;
static struct vpit pit;

static int setup(void **state)
{
    (void)state;
    board_init(&board);
    vpit_init(&pit, &board.clock, &board.queue, board_line(&board, VPIT_IRQ));
    assert_int_equal(vpit_attach(&pit, &board.ports), 0);
    return 0;
}

/* Winds the clock to the beginning of a tick, counted from guest time 0. */
static void to_tick(uint64_t tick)
{
    uint64_t ns = vclock_ns_of_ticks(tick, VPIT_HZ);

    assert_true(ns >= vclock_ns(&board.clock));
    advance(&board, ns - vclock_ns(&board.clock));
}

/* Programs a channel at the present tick: low byte, then high byte. It is loaded at the next tick. */
static void program(unsigned channel, unsigned mode, uint16_t count)
{
    outb(&board, CONTROL, (uint8_t)(channel << 6 | 0x30 | mode << 1));
    outb(&board, (uint16_t)(0x40 + channel), (uint8_t)count);
    outb(&board, (uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static unsigned latched(unsigned channel)
{
    unsigned low;

    outb(&board, CONTROL, (uint8_t)(channel << 6));
    low = inb(&board, (uint16_t)(0x40 + channel));
    return low | (unsigned)inb(&board, (uint16_t)(0x40 + channel)) << 8;
}

static uint8_t status(unsigned channel)
{
    outb(&board, CONTROL, (uint8_t)(0xe0 | 2u << channel));
    return inb(&board, (uint16_t)(0x40 + channel));
}

static bool out2(void)
{
    return inb(&board, PORT_61) & 0x20;
}

static void mode_0_interrupts_once(void **state)
{
    (void)state;
    program(0, 0, 1000);
    assert_false(board.irq.level);
    to_tick(1);
    assert_int_equal(latched(0), 1000);
    to_tick(1000);
    assert_int_equal(latched(0), 1);
    assert_false(board.irq.level);
    to_tick(1001);
    assert_true(board.irq.level);
    assert_int_equal(latched(0), 0);
    to_tick(1002);
    assert_int_equal(latched(0), 0xffff); /* it goes on counting */
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    to_tick(200000);
    assert_int_equal(board.irq.rises, 1);
    outb(&board, 0x40, 10); /* the first byte of a new count lowers the output */
    assert_false(board.irq.level);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    outb(&board, 0x40, 10);
    to_tick(200001 + 2570);
    assert_int_equal(board.irq.rises, 2);
}

static void mode_2_is_periodic_without_drift(void **state)
{
    (void)state;
    program(0, 2, 11932);         /* 100 Hz, about */
    assert_true(board.irq.level); /* the output of mode 2 starts high */
    for (unsigned i = 1; i <= 5000; i++) {
        to_tick(1 + i * UINT64_C(11932) - 1);
        assert_int_equal(board.irq.rises, i);
        to_tick(1 + i * UINT64_C(11932));
        assert_int_equal(board.irq.rises, i + 1);
    }
}

static void a_late_interrupt_does_not_delay_the_next(void **state)
{
    (void)state;
    program(0, 2, 10000);
    host_tsc += vclock_ns_of_ticks(10001 + 7000, VPIT_HZ); /* nobody looks at the timers for so long */
    host_advance(&board.queue, 0);
    assert_int_equal(board.irq.rises, 2);
    to_tick(20000);
    assert_int_equal(board.irq.rises, 2);
    to_tick(20001);
    assert_int_equal(board.irq.rises, 3);
}

static void mode_2_counts_down_to_one(void **state)
{
    (void)state;
    program(1, 2, 5);
    for (unsigned i = 0; i < 12; i++) {
        to_tick(1 + i);
        assert_int_equal(latched(1), 5 - i % 5);
        assert_int_equal(status(1) >> 7, i % 5 != 4);
    }
}

static void mode_3_halves_the_period(void **state)
{
    static const struct {
        uint16_t count;
        uint8_t value[7], out[7];
    } cases[] = {
        { 4, { 4, 2, 4, 2, 4, 2, 4 }, { 1, 1, 0, 0, 1, 1, 0 } },
        { 5, { 4, 2, 0, 4, 2, 4, 2 }, { 1, 1, 1, 0, 0, 1, 1 } },
    };

    (void)state;
    for (unsigned c = 0; c < ARRAY_SIZE(cases); c++) {
        setup(NULL);
        program(1, 3, cases[c].count);
        for (unsigned i = 0; i < 7; i++) {
            to_tick(1 + i);
            assert_int_equal(latched(1), cases[c].value[i]);
            assert_int_equal(status(1) >> 7, cases[c].out[i]);
        }
    }
}

static void mode_3_interrupts_once_per_period(void **state)
{
    (void)state;
    program(0, 7, 0); /* 7 is 3; 0 is 65536: the BIOS's 18.2 Hz */
    assert_int_equal(status(0) & 0x3e, 0x36);
    to_tick(65536);
    assert_int_equal(board.irq.rises, 1);
    to_tick(65537);
    assert_int_equal(board.irq.rises, 2);
    to_tick(1 + 65536 * UINT64_C(100));
    assert_int_equal(board.irq.rises, 101);
}

static void mode_4_strobes_once(void **state)
{
    (void)state;
    program(0, 4, 200);
    assert_int_equal(board.irq.rises, 1);
    to_tick(1 + 199);
    assert_int_equal(status(0) >> 7, 1);
    to_tick(1 + 200);
    assert_int_equal(status(0) >> 7, 0);
    assert_int_equal(board.irq.rises, 1);
    to_tick(1 + 201);
    assert_int_equal(status(0) >> 7, 1);
    assert_int_equal(board.irq.rises, 2);
    to_tick(1000000);
    assert_int_equal(board.irq.rises, 2);
}

static void mode_1_is_started_by_its_gate(void **state)
{
    (void)state;
    program(2, 1, 100);
    to_tick(50);
    assert_true(out2());
    assert_true(status(2) & 0x40); /* not loaded */
    outb(&board, PORT_61, 1);
    to_tick(51);
    assert_false(out2());
    assert_false(status(2) & 0x40);
    to_tick(150);
    assert_false(out2());
    outb(&board, PORT_61, 0); /* the level does not matter */
    to_tick(151);
    assert_true(out2());
    to_tick(200);
    outb(&board, PORT_61, 1); /* again */
    to_tick(201 + 60);
    outb(&board, PORT_61, 0);
    outb(&board, PORT_61, 1); /* and again before it has ended: starts anew */
    to_tick(201 + 60 + 100);
    assert_false(out2());
    to_tick(201 + 60 + 101);
    assert_true(out2());
}

static void mode_5_strobes_after_its_gate(void **state)
{
    (void)state;
    program(2, 5, 10);
    outb(&board, PORT_61, 1);
    to_tick(10);
    assert_true(out2());
    to_tick(11);
    assert_false(out2());
    to_tick(12);
    assert_true(out2());
}

/* The way in which operating systems measure their CPU's frequency. */
static void channel_2_is_a_stopwatch(void **state)
{
    (void)state;
    outb(&board, PORT_61, 1);
    program(2, 0, 59659); /* 50 ms */
    assert_false(out2());
    to_tick(59659);
    assert_false(out2());
    to_tick(59660);
    assert_true(out2());
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    assert_int_equal(board.irq.rises, 0);
}

static void a_low_gate_holds_mode_0(void **state)
{
    (void)state;
    outb(&board, PORT_61, 1);
    program(2, 0, 100);
    to_tick(41);
    outb(&board, PORT_61, 0);
    to_tick(1000);
    assert_int_equal(latched(2), 60);
    assert_false(out2());
    outb(&board, PORT_61, 1);
    to_tick(1059);
    assert_false(out2());
    to_tick(1060);
    assert_true(out2());
}

static void a_rising_gate_restarts_mode_3(void **state)
{
    (void)state;
    outb(&board, PORT_61, 1);
    program(2, 3, 100);
    to_tick(1 + 60);
    assert_false(out2());
    outb(&board, PORT_61, 0);
    assert_true(out2()); /* high at once */
    to_tick(500);
    assert_true(out2());
    outb(&board, PORT_61, 1);
    to_tick(501);
    assert_int_equal(latched(2), 100);
    to_tick(501 + 50);
    assert_false(out2());
}

static void a_new_count_waits_for_the_period(void **state)
{
    (void)state;
    program(1, 2, 100);
    to_tick(1 + 30);
    outb(&board, 0x41, 50);
    outb(&board, 0x41, 0);
    assert_true(status(1) & 0x40); /* not loaded yet */
    assert_int_equal(latched(1), 70);
    to_tick(1 + 99);
    assert_int_equal(latched(1), 1);
    to_tick(1 + 100);
    assert_int_equal(latched(1), 50);
    assert_false(status(1) & 0x40);
    to_tick(1 + 150);
    assert_int_equal(latched(1), 50);
}

static void the_interrupt_follows_a_new_count(void **state)
{
    (void)state;
    program(0, 2, 1000);
    to_tick(1 + 30);
    outb(&board, 0x40, 0x70);
    outb(&board, 0x40, 0x17); /* 6000 */
    to_tick(1 + 1000);
    assert_int_equal(board.irq.rises, 2);
    to_tick(1 + 1000 + 5999);
    assert_int_equal(board.irq.rises, 2);
    to_tick(1 + 1000 + 6000);
    assert_int_equal(board.irq.rises, 3);
}

static void mode_3_takes_a_new_count_at_half_time(void **state)
{
    (void)state;
    program(0, 3, 1000);
    to_tick(1 + 100);
    outb(&board, 0x40, 0xd0);
    outb(&board, 0x40, 0x07); /* 2000, from the low half on */
    to_tick(1 + 500);
    assert_int_equal(status(0) >> 7, 0);
    assert_int_equal(latched(0), 2000);
    to_tick(1 + 500 + 999);
    assert_int_equal(status(0) >> 7, 0);
    assert_int_equal(board.irq.rises, 1);
    to_tick(1 + 500 + 1000);
    assert_int_equal(status(0) >> 7, 1);
    assert_int_equal(board.irq.rises, 2);
    to_tick(1 + 500 + 3000);
    assert_int_equal(board.irq.rises, 3);
}

static void bcd_counts_in_decimal(void **state)
{
    (void)state;
    outb(&board, CONTROL, 0x71); /* channel 1, mode 0, BCD */
    outb(&board, 0x41, 0x00);
    outb(&board, 0x41, 0x10); /* 1000 */
    to_tick(2);
    assert_int_equal(latched(1), 0x0999);
    to_tick(1001);
    assert_int_equal(latched(1), 0);
    to_tick(1002);
    assert_int_equal(latched(1), 0x9999);
    outb(&board, 0x41, 0);
    outb(&board, 0x41, 0); /* 10000 */
    to_tick(1003);
    assert_int_equal(latched(1), 0);
    to_tick(1004);
    assert_int_equal(latched(1), 0x9999);
}

static void bytes_go_where_the_access_mode_says(void **state)
{
    (void)state;
    outb(&board, CONTROL, 0x50); /* channel 1, low byte only */
    outb(&board, 0x41, 0x80);
    to_tick(1);
    assert_int_equal(inb(&board, 0x41), 0x80);
    assert_int_equal(inb(&board, 0x41), 0x80);
    outb(&board, CONTROL, 0x60); /* high byte only */
    outb(&board, 0x41, 0x80);
    to_tick(2);
    assert_int_equal(inb(&board, 0x41), 0x80);
    outb(&board, CONTROL, 0x70); /* both */
    outb(&board, 0x41, 0x34);
    outb(&board, 0x41, 0x12);
    to_tick(3);
    assert_int_equal(inb(&board, 0x41), 0x34);
    assert_int_equal(inb(&board, 0x41), 0x12);
    assert_int_equal(inb(&board, CONTROL), 0xff);
}

static void a_latch_holds_until_it_is_read(void **state)
{
    (void)state;
    program(1, 2, 1000);
    to_tick(11);
    outb(&board, CONTROL, 0x40);
    to_tick(400);
    outb(&board, CONTROL, 0x40); /* ignored: the first is not read */
    assert_int_equal(inb(&board, 0x41), 990 & 0xff);
    to_tick(500);
    assert_int_equal(inb(&board, 0x41), 990 >> 8);
    assert_int_equal(inb(&board, 0x41), (1000 - 499) & 0xff); /* the running counter again */
    assert_int_equal(inb(&board, 0x41), (1000 - 499) >> 8);
}

static void read_back_latches_several(void **state)
{
    (void)state;
    program(0, 2, 1000);
    program(1, 3, 2000);
    assert_true(status(0) & 0x40); /* loaded at the next tick only */
    to_tick(11);
    outb(&board, CONTROL, 0xc6); /* count and status of channels 0 and 1 */
    to_tick(300);
    assert_int_equal(inb(&board, 0x40), 0xb4);
    assert_int_equal(inb(&board, 0x41), 0xb6);
    assert_int_equal(inb(&board, 0x40), 990 & 0xff);
    assert_int_equal(inb(&board, 0x40), 990 >> 8);
    assert_int_equal(inb(&board, 0x41), 1980 & 0xff);
    assert_int_equal(inb(&board, 0x41), 1980 >> 8);
}

static void a_storm_is_bounded(void **state)
{
    (void)state;
    program(0, 2, 2);
    advance(&board, 100 * VPIT_MIN_PERIOD_NS);
    assert_in_range(board.irq.rises, 50, 101);
    board.irq.rises = 0;
    program(0, 3, 1);
    advance(&board, 100 * VPIT_MIN_PERIOD_NS);
    assert_in_range(board.irq.rises, 50, 101);
}

static void a_control_word_stops_the_interrupt(void **state)
{
    (void)state;
    program(0, 2, 1000);
    outb(&board, CONTROL, 0x34);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    advance(&board, NS_PER_S);
    assert_int_equal(board.irq.rises, 1);
    assert_int_equal(latched(0), 0);
}

static void port_61_reads_back(void **state)
{
    unsigned toggles = 0;
    uint8_t before = inb(&board, PORT_61);

    (void)state;
    outb(&board, PORT_61, 0xff);
    assert_int_equal(inb(&board, PORT_61) & 0xcf, 0x0f);
    for (unsigned i = 0; i < 1000; i++) {
        advance(&board, 1000);
        toggles += ((inb(&board, PORT_61) ^ before) & 0x10) != 0;
        before = inb(&board, PORT_61);
    }
    assert_in_range(toggles, 64, 68); /* every 15 us */
}

static void save_and_load_keep_the_period(void **state)
{
    struct vpit_state saved;

    (void)state;
    program(0, 3, 10000);
    outb(&board, PORT_61, 1);
    program(2, 0, 30000);
    to_tick(5000);
    vpit_save(&pit, &saved);
    assert_int_equal(vpit_check(&saved), 0);
    vpit_reset(&pit);
    assert_false(board.irq.level);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    vpit_load(&pit, &saved);
    assert_true(board.irq.level);
    board.irq.rises = 0;
    to_tick(10000);
    assert_int_equal(board.irq.rises, 0);
    to_tick(10001);
    assert_int_equal(board.irq.rises, 1);
    to_tick(30000);
    assert_false(out2());
    to_tick(30001);
    assert_true(out2());
}

static void a_bad_state_is_refused(void **state)
{
    struct vpit_state good, bad;

    (void)state;
    program(0, 2, 1000);
    vpit_save(&pit, &good);
    assert_int_equal(vpit_check(&good), 0);
#define REFUSES(field, value)                                                                                \
    do {                                                                                                     \
        bad = good;                                                                                          \
        bad.field = value;                                                                                   \
        assert_int_equal(vpit_check(&bad), -EINVAL);                                                         \
    } while (0)
    REFUSES(channel[0].count, 0); /* would divide by it */
    REFUSES(channel[0].count, 65537);
    REFUSES(channel[0].next, 0);
    REFUSES(channel[0].mode, 6);
    REFUSES(channel[0].access, 0);
    REFUSES(channel[0].access, 4);
    REFUSES(channel[0].gate, 0);
    REFUSES(channel[0].start, INT64_MIN);
    REFUSES(channel[0].start, INT64_MAX);
    REFUSES(channel[0].switch_at, INT64_MIN);
    REFUSES(channel[0].held, INT64_MAX);
    REFUSES(channel[1].running, 1);
    REFUSES(channel[1].switch_at, 0);
    REFUSES(channel[2].gate, 1); /* port 0x61 says otherwise */
    REFUSES(channel[2].latch, 2);
    REFUSES(speaker, 0x10);
    REFUSES(irq, 2);
    REFUSES(last_edge_ns, UINT64_MAX);
#undef REFUSES
    bad = good;
    bad.channel[1].access = 1;
    assert_int_equal(vpit_check(&bad), 0);
    bad.channel[1].write_high = 1; /* there is no high byte to come */
    assert_int_equal(vpit_check(&bad), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(mode_0_interrupts_once, setup),
        cmocka_unit_test_setup(mode_2_is_periodic_without_drift, setup),
        cmocka_unit_test_setup(a_late_interrupt_does_not_delay_the_next, setup),
        cmocka_unit_test_setup(mode_2_counts_down_to_one, setup),
        cmocka_unit_test_setup(mode_3_halves_the_period, setup),
        cmocka_unit_test_setup(mode_3_interrupts_once_per_period, setup),
        cmocka_unit_test_setup(mode_4_strobes_once, setup),
        cmocka_unit_test_setup(mode_1_is_started_by_its_gate, setup),
        cmocka_unit_test_setup(mode_5_strobes_after_its_gate, setup),
        cmocka_unit_test_setup(channel_2_is_a_stopwatch, setup),
        cmocka_unit_test_setup(a_low_gate_holds_mode_0, setup),
        cmocka_unit_test_setup(a_rising_gate_restarts_mode_3, setup),
        cmocka_unit_test_setup(a_new_count_waits_for_the_period, setup),
        cmocka_unit_test_setup(the_interrupt_follows_a_new_count, setup),
        cmocka_unit_test_setup(mode_3_takes_a_new_count_at_half_time, setup),
        cmocka_unit_test_setup(bcd_counts_in_decimal, setup),
        cmocka_unit_test_setup(bytes_go_where_the_access_mode_says, setup),
        cmocka_unit_test_setup(a_latch_holds_until_it_is_read, setup),
        cmocka_unit_test_setup(read_back_latches_several, setup),
        cmocka_unit_test_setup(a_storm_is_bounded, setup),
        cmocka_unit_test_setup(a_control_word_stops_the_interrupt, setup),
        cmocka_unit_test_setup(port_61_reads_back, setup),
        cmocka_unit_test_setup(save_and_load_keep_the_period, setup),
        cmocka_unit_test_setup(a_bad_state_is_refused, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
