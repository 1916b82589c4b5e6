/* The virtual 8259 pair: initialisation, priorities, cascade, rotation, mask modes, poll, ELCR. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/unit/host/host.h"
#include "devices/vpic.h"
#include "lib/errno.h"

static struct vpic pic;
static struct host_irq intr;

static void master(uint32_t offset, uint8_t value)
{
    vpic_master_write(&pic, offset, 1, value);
}

static void slave(uint32_t offset, uint8_t value)
{
    vpic_slave_write(&pic, offset, 1, value);
}

static void initialise(uint8_t icw4)
{
    master(0, 0x11);
    master(1, 0x20);
    master(1, 0x04);
    master(1, icw4);
    slave(0, 0x11);
    slave(1, 0x28);
    slave(1, 0x02);
    slave(1, icw4);
}

static int setup(void **unused)
{
    struct irq_line line = { host_irq_set, &intr, 0 };

    (void)unused;
    memset(&intr, 0, sizeof(intr));
    vpic_init(&pic, &line);
    initialise(0x01);
    return 0;
}

static void raise(unsigned irq)
{
    vpic_set(&pic, irq, true);
    vpic_set(&pic, irq, false);
}

static int take(void)
{
    assert_int_equal(intr.level, vpic_pending(&pic));
    return vpic_pending(&pic) ? vpic_acknowledge(&pic) : -1;
}

static uint8_t read_irr(void)
{
    master(0, 0x0a);
    return (uint8_t)vpic_master_read(&pic, 0, 1);
}

static uint8_t read_isr(void)
{
    master(0, 0x0b);
    return (uint8_t)vpic_master_read(&pic, 0, 1);
}

static void fixed_priorities(void **unused)
{
    (void)unused;
    raise(4);
    raise(3);
    assert_int_equal(read_irr(), 0x18);
    assert_int_equal(take(), 0x23);
    assert_int_equal(read_isr(), 0x08);
    assert_int_equal(read_irr(), 0x10);
    assert_int_equal(take(), -1);
    raise(1);
    assert_int_equal(take(), 0x21); /* nested */
    master(0, 0x20);
    assert_int_equal(read_isr(), 0x08);
    assert_int_equal(take(), -1);
    master(0, 0x20);
    assert_int_equal(take(), 0x24);
    master(0, 0x64); /* specific */
    assert_int_equal(read_isr(), 0);
}

static void cascade(void **unused)
{
    (void)unused;
    raise(12);
    raise(8);
    assert_int_equal(read_irr(), 0x04);
    assert_int_equal(take(), 0x28);
    assert_int_equal(read_isr(), 0x04);
    assert_int_equal(vpic_slave_read(&pic, 0, 1), 0x10);
    raise(3); /* lower than the cascade */
    assert_int_equal(take(), -1);
    slave(0, 0x20);
    master(0, 0x20);
    assert_int_equal(take(), 0x2c);
    slave(0, 0x20);
    master(0, 0x20);
    assert_int_equal(take(), 0x23);
}

static void special_fully_nested(void **unused)
{
    (void)unused;
    raise(12);
    assert_int_equal(take(), 0x2c);
    raise(8);
    assert_int_equal(take(), -1);
    initialise(0x11);
    raise(12);
    assert_int_equal(take(), 0x2c);
    raise(8);
    assert_int_equal(take(), 0x28);
    raise(14);
    assert_int_equal(take(), -1);
}

static void interrupt_mask(void **unused)
{
    (void)unused;
    master(1, 0xfb);
    slave(1, 0xfe);
    assert_int_equal(vpic_master_read(&pic, 1, 1), 0xfb);
    assert_int_equal(vpic_slave_read(&pic, 1, 1), 0xfe);
    raise(0);
    raise(9);
    assert_int_equal(take(), -1);
    raise(8);
    assert_int_equal(take(), 0x28);
    slave(0, 0x20);
    master(0, 0x20);
    master(1, 0xff);
    slave(1, 0x00);
    assert_int_equal(take(), -1);
    master(1, 0x00); /* what came while masked is still latched */
    assert_int_equal(take(), 0x20);
    master(0, 0x20);
    assert_int_equal(take(), 0x29);
}

static void rotation(void **unused)
{
    (void)unused;
    raise(2 + 1);
    assert_int_equal(take(), 0x23);
    master(0, 0xa0); /* rotate on non-specific EOI: 3 is the lowest */
    raise(3);
    raise(4);
    raise(0);
    assert_int_equal(take(), 0x24);
    master(0, 0x20);
    assert_int_equal(take(), 0x20);
    master(0, 0xe0); /* rotate on specific EOI of 0 */
    raise(1);
    assert_int_equal(take(), 0x21);
    master(0, 0x20);
    master(0, 0xc5); /* set priority: 5 is the lowest */
    raise(5);
    raise(6);
    assert_int_equal(take(), 0x26);
    master(0, 0x20);
    assert_int_equal(take(), 0x23);
}

static void automatic_eoi(void **unused)
{
    (void)unused;
    initialise(0x03);
    raise(3);
    raise(5);
    assert_int_equal(take(), 0x23);
    assert_int_equal(read_isr(), 0);
    assert_int_equal(take(), 0x25);
    master(0, 0x80); /* rotate in automatic EOI mode */
    raise(3);
    assert_int_equal(take(), 0x23);
    raise(3);
    raise(4);
    assert_int_equal(take(), 0x24);
    master(0, 0x00);
    assert_int_equal(take(), 0x23);
}

static void special_mask(void **unused)
{
    (void)unused;
    raise(3);
    assert_int_equal(take(), 0x23);
    raise(6);
    assert_int_equal(take(), -1);
    master(0, 0x68);
    assert_int_equal(take(), -1);
    master(1, 0x08);
    assert_int_equal(take(), 0x26);
    master(0, 0x20); /* non-specific: passes over the masked one */
    assert_int_equal(read_isr(), 0x08);
    raise(6);
    master(0, 0x48);
    assert_int_equal(take(), -1);
    master(0, 0x20);
    assert_int_equal(take(), 0x26);
}

static void poll(void **unused)
{
    (void)unused;
    master(0, 0x0c);
    assert_int_equal(vpic_master_read(&pic, 0, 1), 0);
    raise(5);
    master(0, 0x0c);
    assert_int_equal(vpic_master_read(&pic, 0, 1), 0x85);
    assert_false(vpic_pending(&pic));
    assert_int_equal(read_isr(), 0x20);
    assert_int_equal(vpic_master_read(&pic, 1, 1), 0); /* the poll is over */
}

static void spurious(void **unused)
{
    (void)unused;
    vpic_elcr_write(&pic, 0, 1, 0x20);
    vpic_elcr_write(&pic, 1, 1, 0x08);
    vpic_set(&pic, 5, true);
    assert_true(vpic_pending(&pic));
    vpic_set(&pic, 5, false);
    assert_false(vpic_pending(&pic));
    assert_int_equal(vpic_acknowledge(&pic), 0x27);
    assert_int_equal(read_isr(), 0);
    raise(4);
    master(1, 0x10);
    assert_int_equal(vpic_acknowledge(&pic), 0x27);
    assert_int_equal(read_isr(), 0);
}

static void level_mode(void **unused)
{
    (void)unused;
    raise(5);
    vpic_elcr_write(&pic, 0, 1, 0xff);
    vpic_elcr_write(&pic, 1, 1, 0xff);
    assert_int_equal(vpic_elcr_read(&pic, 0, 1), 0xf8);
    assert_int_equal(vpic_elcr_read(&pic, 1, 1), 0xde);
    assert_false(vpic_pending(&pic)); /* the edge that had been latched is forgotten */
    vpic_set(&pic, 11, true);
    assert_int_equal(take(), 0x2b);
    slave(0, 0x20);
    master(0, 0x20);
    assert_int_equal(take(), 0x2b); /* still asserted */
    vpic_set(&pic, 11, false);
    slave(0, 0x20);
    master(0, 0x20);
    assert_int_equal(take(), -1);
}

static void edge_mode(void **unused)
{
    (void)unused;
    vpic_set(&pic, 1, true);
    assert_int_equal(take(), 0x21);
    master(0, 0x20);
    assert_int_equal(take(), -1);
    vpic_set(&pic, 1, true);
    assert_int_equal(take(), -1);
    vpic_set(&pic, 1, false);
    vpic_set(&pic, 1, true);
    assert_int_equal(take(), 0x21);
    vpic_set(&pic, 2, true); /* the cascade has no line */
    vpic_set(&pic, 16, true);
    master(0, 0x20);
    assert_int_equal(take(), -1);
}

static void every_request_is_an_edge_of_intr(void **unused)
{
    (void)unused;
    raise(5);
    assert_int_equal(intr.rises, 1);
    raise(3);
    assert_int_equal(intr.rises, 1);
    initialise(0x03);
    intr.rises = 0;
    raise(5);
    raise(3);
    assert_int_equal(take(), 0x23);
    assert_int_equal(intr.rises, 2);
    assert_int_equal(take(), 0x25);
    assert_int_equal(intr.level, false);
}

static void initialisation(void **unused)
{
    (void)unused;
    vpic_set(&pic, 1, true);
    master(1, 0xff);
    master(0, 0x0b);
    master(0, 0x10); /* cascaded, no ICW4 */
    assert_int_equal(vpic_master_read(&pic, 1, 1), 0);
    assert_int_equal(vpic_master_read(&pic, 0, 1), 0); /* the edge must come again */
    vpic_set(&pic, 1, false);
    vpic_set(&pic, 1, true);
    assert_false(vpic_pending(&pic)); /* not before the sequence is complete */
    master(1, 0x47);
    assert_false(vpic_pending(&pic));
    master(1, 0x04);
    assert_true(vpic_pending(&pic));
    assert_int_equal(take(), 0x41);
    master(0, 0x12); /* single, no ICW4 */
    master(1, 0x30);
    raise(0);
    assert_int_equal(take(), 0x30);
    master(0, 0x13); /* single, ICW4 */
    master(1, 0x30);
    master(1, 0x03);
    raise(0);
    assert_int_equal(take(), 0x30);
    assert_int_equal(read_isr(), 0);
}

static void save_check_load(void **unused)
{
    (void)unused;
    struct vpic_state state, bad;

#define REFUSES(change)                                                                                      \
    do {                                                                                                     \
        bad = state;                                                                                         \
        bad.change;                                                                                          \
        assert_int_equal(vpic_check(&bad), -EINVAL);                                                         \
    } while (0)

    raise(10);
    vpic_save(&pic, &state);
    assert_int_equal(vpic_check(&state), 0);
    vpic_reset(&pic);
    assert_false(intr.level);
    vpic_load(&pic, &state);
    assert_true(intr.level);
    assert_int_equal(take(), 0x2a);

    REFUSES(chip[0].lowest = 8);
    REFUSES(chip[1].base = 1);
    REFUSES(chip[0].elcr = 1);
    REFUSES(chip[1].elcr = 0x20);
    REFUSES(chip[0].expected = 1);
    REFUSES(chip[0].expected = 5);
    REFUSES(chip[0].lines = 4);
    REFUSES(chip[0].latched = 4);
    state.chip[1].elcr = 0x80;
    REFUSES(chip[1].latched = 0x80);
#undef REFUSES
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fixed_priorities, setup),
        cmocka_unit_test_setup(cascade, setup),
        cmocka_unit_test_setup(special_fully_nested, setup),
        cmocka_unit_test_setup(interrupt_mask, setup),
        cmocka_unit_test_setup(rotation, setup),
        cmocka_unit_test_setup(automatic_eoi, setup),
        cmocka_unit_test_setup(special_mask, setup),
        cmocka_unit_test_setup(poll, setup),
        cmocka_unit_test_setup(spurious, setup),
        cmocka_unit_test_setup(level_mode, setup),
        cmocka_unit_test_setup(edge_mode, setup),
        cmocka_unit_test_setup(every_request_is_an_edge_of_intr, setup),
        cmocka_unit_test_setup(initialisation, setup),
        cmocka_unit_test_setup(save_check_load, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
