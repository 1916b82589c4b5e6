#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "devices/vwatchdog.h"
#include "lib/errno.h"
#include "tests/unit/board.h"

#define ADDRESS 0xcf8
#define DATA    0xcfc
#define CONFIG  0x60u
#define LOCK    0x68u
#define ENABLE  2u
#define BASE    UINT64_C(0xc0000000) /* where vpci_reset() puts its BAR, being the only one */
#define MS      UINT64_C(1000000)

/* 1000 counts of 2^15 clocks of 33 MHz, rounded up to whole ns, as is each stage. */
#define COUNTS_1000 UINT64_C(992969697)

static struct board board;
static struct vpci pci;
static struct vreset reset;
static struct vwatchdog dog;
static unsigned expired;
static uint64_t after_ms;

static void no_reset(void *vm)
{
    (void)vm;
}

static void note_expired(void *vm, uint64_t ms)
{
    assert_ptr_equal(vm, &board);
    expired++;
    after_ms = ms;
}

static int setup(void **state)
{
    (void)state;
    expired = 0;
    board_init(&board);
    vreset_init(&reset, no_reset, NULL);
    vpci_init(&pci, &reset);
    vwatchdog_init(&dog, &board.clock, &board.queue, note_expired, &board);
    assert_int_equal(vwatchdog_attach(&dog, &pci), 0);
    assert_int_equal(vpci_attach(&pci, &board.ports, &board.mmio), 0);
    return 0;
}

static uint32_t get(unsigned offset)
{
    outl(&board, ADDRESS, 0x80000000u | VWATCHDOG_SLOT << 11 | (offset & 0xfc));
    return inl(&board, DATA);
}

static void put8(unsigned offset, uint8_t value)
{
    get(offset);
    outb(&board, (uint16_t)(DATA + offset % 4), value);
}

static uint32_t readl(unsigned offset)
{
    return (uint32_t)iobus_read(&board.mmio, BASE + offset, 4);
}

static void write(unsigned offset, unsigned size, uint32_t value)
{
    iobus_write(&board.mmio, BASE + offset, size, value);
}

static void unlock(void)
{
    write(0x0c, 2, 0x80);
    write(0x0c, 2, 0x86);
}

static void feed(void)
{
    unlock();
    write(0x0c, 2, 0x100);
}

static void preload(uint32_t first, uint32_t second)
{
    unlock();
    write(0x00, 4, first);
    unlock();
    write(0x04, 4, second);
}

/* As Linux's driver does: no interrupt, about 1 s and 1 s. */
static void arm(void)
{
    put8(CONFIG, 0x03);
    preload(1000, 1000);
    put8(LOCK, ENABLE);
}

static void drivers_find_it(void **state)
{
    (void)state;
    assert_int_equal(get(0), 0x25ab8086);
    assert_int_equal(get(8) >> 16, 0x0880);
    assert_int_equal(get(0x0c), 0);
    assert_int_equal(get(0x10), BASE);
    assert_int_equal(get(0x3c), 0);
    put8(CONFIG, 0xff);
    put8(CONFIG + 1, 0xff);
    put8(LOCK, 0xfc);
    assert_int_equal(get(CONFIG), 0x27);
    assert_int_equal(get(LOCK), 0x04);
    assert_int_equal(readl(0x00), 0xfffff);
    assert_int_equal(readl(0x04), 0xfffff);
    assert_int_equal(readl(0x08), 0);
    assert_int_equal(readl(0x0c), 0);
    assert_int_equal(iobus_read(&board.mmio, BASE + 2, 1), 0x0f);
    assert_int_equal(readl(0x10), UINT32_MAX);
}

static void two_stages_end_the_vm(void **state)
{
    (void)state;
    arm();
    advance(&board, COUNTS_1000 - 1);
    assert_int_equal(readl(0x08), 0);
    advance(&board, 2);
    assert_int_equal(readl(0x08), 1); /* the first stage's end */
    assert_int_equal(expired, 0);
    advance(&board, COUNTS_1000 - 2 * MS);
    assert_int_equal(expired, 0);
    advance(&board, 3 * MS);
    assert_int_equal(expired, 1);
    assert_int_equal(after_ms, 1985);
    assert_int_equal(readl(0x0c), 0x200);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    write(0x08, 1, 1);
    assert_int_equal(readl(0x08), 0);
}

static void feeding_keeps_it_quiet(void **state)
{
    (void)state;
    arm();
    for (unsigned i = 0; i < 20; i++) {
        advance(&board, 1900 * MS); /* well into the second stage */
        feed();
    }
    assert_int_equal(expired, 0);
    assert_int_equal(readl(0x0c), 0);
    advance(&board, 1990 * MS);
    assert_int_equal(expired, 1);
    assert_int_equal(after_ms, 1985);
}

/* 80, 86 and then the write, with nothing in between. */
static void only_the_unlocking_sequence_feeds(void **state)
{
    static const uint16_t wrong[][4] = {
        { 0x100 },
        { 0x80, 0x100 },
        { 0x86, 0x100 },
        { 0x86, 0x80, 0x100 },
        { 0x80, 0x00, 0x86, 0x100 },
        { 0x80, 0x86, 0x00, 0x100 },
    };

    (void)state;
    arm();
    advance(&board, 1500 * MS);
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
        for (unsigned j = 0; j < ARRAY_SIZE(wrong[0]); j++)
            write(0x0c, 2, wrong[i][j]);
    write(0x00, 4, 5); /* locked as well */
    assert_int_equal(readl(0x00), 1000);
    unlock();
    write(0x00, 4, 7);
    write(0x04, 4, 7); /* one write each */
    assert_int_equal(readl(0x00), 7);
    assert_int_equal(readl(0x04), 1000);
    advance(&board, 490 * MS);
    assert_int_equal(expired, 1);
}

static void a_second_unlocking_is_no_mistake(void **state)
{
    (void)state;
    arm();
    advance(&board, 1500 * MS);
    unlock();
    readl(0x0c);
    unlock();
    write(0x0c, 4, 0x1300);
    advance(&board, 1500 * MS);
    assert_int_equal(expired, 0);
    write(0x0c, 1, 0x80); /* bytes do as well */
    write(0x0c, 1, 0x86);
    write(0x0d, 1, 0x01);
    advance(&board, 1500 * MS);
    assert_int_equal(expired, 0);
}

static void it_can_be_stopped_unless_locked(void **state)
{
    (void)state;
    arm();
    advance(&board, 500 * MS);
    put8(LOCK, 0);
    assert_int_equal(get(LOCK), 0);
    advance(&board, 100000 * MS);
    assert_int_equal(expired, 0);
    feed(); /* does not start it */
    advance(&board, 100000 * MS);
    assert_int_equal(expired, 0);
    put8(LOCK, ENABLE | 1);
    put8(LOCK, 0);
    assert_int_equal(get(LOCK), ENABLE | 1);
    advance(&board, 1990 * MS);
    assert_int_equal(expired, 1);
}

/* Enabled again it goes on, a new preload counts from the next time that its stage begins. */
static void what_does_not_touch_the_counter(void **state)
{
    (void)state;
    arm();
    advance(&board, 900 * MS);
    put8(LOCK, ENABLE);
    preload(50, 50);
    advance(&board, 90 * MS);
    assert_int_equal(readl(0x08), 0);
    advance(&board, 10 * MS);
    assert_int_equal(readl(0x08), 1);
    assert_int_equal(expired, 0);
    advance(&board, 50 * MS);
    assert_int_equal(expired, 1);
}

static void the_fast_clock(void **state)
{
    (void)state;
    put8(CONFIG, 0x07);
    preload(0xfffff, 1); /* 1016801 us, then 1 */
    put8(LOCK, ENABLE);
    advance(&board, 1016 * MS);
    assert_int_equal(readl(0x08), 0);
    advance(&board, MS);
    assert_int_equal(expired, 1);
}

static void without_its_output_it_only_notes(void **state)
{
    (void)state;
    put8(CONFIG, 0x23);
    preload(0, 0);
    put8(LOCK, ENABLE);
    advance(&board, 10 * MS);
    assert_int_equal(expired, 0);
    assert_int_equal(readl(0x0c), 0x200);
    unlock();
    write(0x0c, 2, 0x200);
    assert_int_equal(readl(0x0c), 0);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER); /* nor does it cost anything more */
}

static void free_running_has_one_stage(void **state)
{
    (void)state;
    put8(CONFIG, 0x03);
    preload(1000, 1000);
    put8(LOCK, ENABLE | 4);
    advance(&board, 990 * MS);
    assert_int_equal(expired, 0);
    advance(&board, 5 * MS);
    assert_int_equal(expired, 1);
    assert_int_equal(readl(0x08), 0);
}

static void a_reset_disarms_it(void **state)
{
    (void)state;
    arm();
    put8(LOCK, ENABLE | 1);
    advance(&board, 1990 * MS);
    assert_int_equal(expired, 1);
    feed();
    vwatchdog_reset(&dog);
    vpci_reset(&pci);
    assert_int_equal(get(LOCK), 0);
    assert_int_equal(get(CONFIG), 0);
    assert_int_equal(readl(0x00), 0xfffff);
    assert_int_equal(readl(0x0c), 0x200); /* the next driver can ask why */
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    advance(&board, 100000 * MS);
    assert_int_equal(expired, 1);
}

static void a_pause_does_not_count(void **state)
{
    (void)state;
    vwatchdog_pause(&dog);
    vwatchdog_resume(&dog);
    arm();
    advance(&board, 1500 * MS);
    vwatchdog_pause(&dog);
    advance(&board, 100000 * MS);
    vwatchdog_pause(&dog);
    advance(&board, 100000 * MS);
    assert_int_equal(expired, 0);
    vwatchdog_resume(&dog);
    vwatchdog_resume(&dog);
    advance(&board, 480 * MS);
    assert_int_equal(expired, 0);
    advance(&board, 10 * MS);
    assert_int_equal(expired, 1);
    assert_int_equal(after_ms, 1985);
}

static void its_state_goes_elsewhere(void **state)
{
    struct vwatchdog_state saved;

    (void)state;
    arm();
    advance(&board, 1500 * MS);
    write(0x0c, 2, 0x80);
    vwatchdog_save(&dog, &saved);
    assert_int_equal(vwatchdog_check(&dog, &saved), 0);
    vwatchdog_reset(&dog);
    vpci_reset(&pci);
    saved.config[4] = 0xd0000000;
    vwatchdog_load(&dog, &saved);
    assert_int_equal(iobus_read(&board.mmio, 0xd0000000, 4), 1000);
    assert_int_equal(readl(0), UINT32_MAX);
    advance(&board, 480 * MS);
    assert_int_equal(expired, 0);
    advance(&board, 10 * MS);
    assert_int_equal(expired, 1);
}

static void impossible_state_is_refused(void **state)
{
    struct vwatchdog_state good, bad;

    (void)state;
    arm();
    vwatchdog_save(&dog, &good);
#define REFUSED(change)                                                                                      \
    bad = good;                                                                                              \
    change;                                                                                                  \
    assert_int_equal(vwatchdog_check(&dog, &bad), -EINVAL)
    REFUSED(bad.stage = 3);
    REFUSED(bad.unlock = 3);
    REFUSED(bad.status = 2);
    REFUSED(bad.timed_out = 2);
    REFUSED(bad.preload[0] = 0x100000);
    REFUSED(bad.preload[1] = 0x100000);
    REFUSED(bad.lock = 3);
    REFUSED(bad.lock = bad.config[LOCK / 4] = 0);
    REFUSED(bad.fed_ns += 1);
    REFUSED(bad.deadline_ns = UINT64_MAX);
    REFUSED(bad.paused_ns = UINT64_MAX - 1);
    REFUSED(bad.config[0] ^= 1);
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(drivers_find_it, setup),
        cmocka_unit_test_setup(two_stages_end_the_vm, setup),
        cmocka_unit_test_setup(feeding_keeps_it_quiet, setup),
        cmocka_unit_test_setup(only_the_unlocking_sequence_feeds, setup),
        cmocka_unit_test_setup(a_second_unlocking_is_no_mistake, setup),
        cmocka_unit_test_setup(it_can_be_stopped_unless_locked, setup),
        cmocka_unit_test_setup(what_does_not_touch_the_counter, setup),
        cmocka_unit_test_setup(the_fast_clock, setup),
        cmocka_unit_test_setup(without_its_output_it_only_notes, setup),
        cmocka_unit_test_setup(free_running_has_one_stage, setup),
        cmocka_unit_test_setup(a_reset_disarms_it, setup),
        cmocka_unit_test_setup(a_pause_does_not_count, setup),
        cmocka_unit_test_setup(its_state_goes_elsewhere, setup),
        cmocka_unit_test_setup(impossible_state_is_refused, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
