/* Paravirtual end of interrupt: when it is promised, what the guest did with it, and how a promise is taken
 * back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/vlapic_rig.h"

static uint32_t word;

static int setup(void **state)
{
    rig_setup(state);
    word = 0;
    vlapic_set_eoi_word(&lapic[0], &word);
    return 0;
}

static void accept_edge(uint8_t vector)
{
    vlapic_request(&lapic[0], vector, false);
    assert_int_equal(take(0), vector);
}

static void guest_clears_the_word(void **unused)
{
    (void)unused;
    accept_edge(0x41);
    assert_int_equal(word, 1);
    word = 0;
    assert_int_equal(vlapic_pending(&lapic[0]), -1);
    vlapic_request(&lapic[0], 0x42, false); /* of the same class */
    assert_int_equal(vlapic_pending(&lapic[0]), 0x42);
    assert_int_equal(get(0, APIC_ISR + 0x20), 0);
    assert_int_equal(get(0, APIC_PPR), 0);
    assert_int_equal(eois, 0);
}

static void reads_find_the_end(void **unused)
{
    (void)unused;
    accept_edge(0x41);
    word = 0;
    assert_int_equal(get(0, APIC_ISR + 0x20), 0);
    accept_edge(0x41);
    word = 0;
    assert_int_equal(get(0, APIC_PPR), 0);
    accept_edge(0x41);
    word = 0;
    assert_int_equal(get(0, APIC_APR), 0);
    accept_edge(0x41);
    assert_int_equal(get(0, APIC_ISR + 0x20), 1u << 1);
    assert_int_equal(word, 0); /* who was told so may rely on it until it writes the register */
    put(0, APIC_EOI, 0);
    assert_int_equal(get(0, APIC_ISR + 0x20), 0);
}

/* What comes behind it must be delivered at its end, so the guest has to write the register. */
static void taken_back_for_a_request(void **unused)
{
    (void)unused;
    accept_edge(0x41);
    vlapic_request(&lapic[0], 0x45, false);
    assert_int_equal(vlapic_pending(&lapic[0]), -1);
    assert_int_equal(word, 0);
    vcpu[0].interrupts = 0;
    put(0, APIC_EOI, 0);
    assert_int_equal(vcpu[0].interrupts, 1);
    assert_int_equal(take(0), 0x45);
    assert_int_equal(word, 1);
}

static void not_with_a_request_behind(void **unused)
{
    (void)unused;
    vlapic_request(&lapic[0], 0x41, false);
    vlapic_request(&lapic[0], 0x51, false);
    assert_int_equal(take(0), 0x51);
    assert_int_equal(word, 0);
    put(0, APIC_EOI, 0);
    assert_int_equal(take(0), 0x41);
    assert_int_equal(word, 1);
}

static void not_for_level(void **unused)
{
    (void)unused;
    vlapic_request(&lapic[0], 0x33, true);
    assert_int_equal(take(0), 0x33);
    assert_int_equal(word, 0);
    put(0, APIC_EOI, 0);
    assert_int_equal(eoi_vector, 0x33);
}

/* The end of the inner one by the word, that of the outer one by the register. */
static void nested(void **unused)
{
    (void)unused;
    accept_edge(0x41);
    accept_edge(0x91);
    assert_int_equal(word, 1);
    word = 0;
    put(0, APIC_EOI, 0);
    assert_int_equal(get(0, APIC_PPR), 0);
    accept_edge(0x41);
    accept_edge(0x91);
    put(0, APIC_EOI, 0); /* although it need not */
    assert_int_equal(word, 0);
    assert_int_equal(get(0, APIC_PPR), 0x40);
    put(0, APIC_EOI, 0);
    assert_int_equal(get(0, APIC_PPR), 0);
}

static void task_priority_meanwhile(void **unused)
{
    (void)unused;
    accept_edge(0x51);
    vlapic_set_cr8(&lapic[0], 3);
    assert_int_equal(vlapic_held(&lapic[0]), -1);
    vlapic_request(&lapic[0], 0x52, false);
    assert_int_equal(vlapic_held(&lapic[0]), -1); /* what is in service holds it back */
    assert_int_equal(vlapic_pending(&lapic[0]), -1);
    assert_int_equal(get(0, APIC_PPR), 0x50);
    put(0, APIC_EOI, 0);
    assert_int_equal(get(0, APIC_PPR), 0x30);
    assert_int_equal(take(0), 0x52);
}

/* A vector that becomes a level-triggered one while it is in service: its end is broadcast. */
static void level_while_in_service(void **unused)
{
    (void)unused;
    accept_edge(0x41);
    vlapic_request(&lapic[0], 0x41, true);
    word = 0; /* before the vCPU was interrupted for that */
    assert_int_equal(take(0), 0x41);
    assert_int_equal(eoi_vector, 0x41);
    assert_int_equal(eois, 1);
}

static void other_words_bits_stay(void **unused)
{
    (void)unused;
    word = 0xa5a5a5a4;
    accept_edge(0x41);
    assert_int_equal(word, 0xa5a5a5a5);
    put(0, APIC_EOI, 0);
    assert_int_equal(word, 0xa5a5a5a4);
    word = 1; /* nothing is promised: what the guest sets means nothing */
    accept_edge(0x42);
    vlapic_request(&lapic[0], 0x43, false);
    word = 1;
    assert_int_equal(take(0), -1);
    assert_int_equal(word, 0);
    word = 1;
    put(0, APIC_EOI, 0);
    assert_int_equal(take(0), 0x43);
}

static void ends_with_reset_and_init(void **unused)
{
    (void)unused;
    accept_edge(0x41);
    vlapic_init_signal(&lapic[0]);
    assert_int_equal(word, 0);
    put(0, APIC_SVR, APIC_SVR_ENABLE | 0xff);
    accept_edge(0x41);
    assert_int_equal(word, 0);
    assert_int_equal(get(0, APIC_PPR), 0x40);
    vlapic_set_eoi_word(&lapic[0], &word);
    vlapic_reset(&lapic[0]);
    put(0, APIC_SVR, APIC_SVR_ENABLE | 0xff);
    accept_edge(0x41);
    assert_int_equal(word, 0);
}

/* The guest switches the APIC off and on: what was in service is gone, the word is still in use. */
static void stays_over_a_change_of_mode(void **unused)
{
    uint64_t base = msr(0, MSR_APIC_BASE);

    (void)unused;
    accept_edge(0x41);
    set_msr(0, MSR_APIC_BASE, base & ~APIC_BASE_EN);
    assert_int_equal(word, 0);
    set_msr(0, MSR_APIC_BASE, base);
    assert_int_equal(get(0, APIC_PPR), 0);
    put(0, APIC_SVR, APIC_SVR_ENABLE | 0xff);
    enter_x2apic(0);
    accept_edge(0x41);
    assert_int_equal(word, 1);
    eoi(0);
    assert_int_equal(msr(0, MSR_X2APIC(APIC_PPR)), 0);
    assert_int_equal(word, 0);
}

static void another_word(void **unused)
{
    uint32_t other = 0;

    (void)unused;
    accept_edge(0x41);
    vlapic_set_eoi_word(&lapic[0], &other);
    assert_int_equal(word, 0);
    assert_int_equal(other, 0); /* only what is accepted from now on */
    put(0, APIC_EOI, 0);
    accept_edge(0x41);
    assert_int_equal(other, 1);
    other = 0;
    vlapic_set_eoi_word(&lapic[0], NULL);
    assert_int_equal(get(0, APIC_PPR), 0);
    accept_edge(0x41);
    assert_int_equal(word | other, 0);
}

static void save_and_load(void **unused)
{
    struct vlapic_state state;

    (void)unused;
    accept_edge(0x41);
    word = 0;
    vlapic_save(&lapic[0], &state);
    assert_int_equal(state.isr[4], 0);
    accept_edge(0x41);
    vlapic_save(&lapic[0], &state);
    assert_int_equal(state.isr[4], 0x41);
    assert_int_equal(word, 0);
    assert_int_equal(vlapic_check(&state), 0);
    put(0, APIC_EOI, 0);
    accept_edge(0x91);
    vlapic_load(&lapic[0], &state);
    assert_int_equal(word, 0);
    assert_int_equal(get(0, APIC_PPR), 0x40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(guest_clears_the_word, setup),
        cmocka_unit_test_setup(reads_find_the_end, setup),
        cmocka_unit_test_setup(taken_back_for_a_request, setup),
        cmocka_unit_test_setup(not_with_a_request_behind, setup),
        cmocka_unit_test_setup(not_for_level, setup),
        cmocka_unit_test_setup(nested, setup),
        cmocka_unit_test_setup(task_priority_meanwhile, setup),
        cmocka_unit_test_setup(level_while_in_service, setup),
        cmocka_unit_test_setup(other_words_bits_stay, setup),
        cmocka_unit_test_setup(ends_with_reset_and_init, setup),
        cmocka_unit_test_setup(stays_over_a_change_of_mode, setup),
        cmocka_unit_test_setup(another_word, setup),
        cmocka_unit_test_setup(save_and_load, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
