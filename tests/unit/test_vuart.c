#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "devices/vuart.h"
#include "lib/errno.h"
#include "tests/unit/board.h"

#define RBR 0x3f8
#define THR 0x3f8
#define DLL 0x3f8
#define IER 0x3f9
#define DLM 0x3f9
#define IIR 0x3fa
#define FCR 0x3fa
#define LCR 0x3fb
#define MCR 0x3fc
#define LSR 0x3fd
#define MSR 0x3fe
#define SCR 0x3ff

static struct board board;
static struct console console;
static struct vuart uart;

static int setup(void **state)
{
    (void)state;
    board_init(&board);
    console_init(&console);
    vuart_init(&uart, &board.clock, &board.queue, board_line(&board, VUART_COM1_IRQ), &console);
    assert_int_equal(vuart_attach(&uart, &board.ports, VUART_COM1_PORT), 0);
    outb(&board, MCR, 0x08); /* OUT2, the PC's interrupt gate */
    return 0;
}

static void type(const char *text)
{
    for (; *text; text++)
        assert_true(console_type(&console, *text));
}

/* Compares and takes what the guest sent. */
static void assert_sent(const char *text)
{
    char sent[256];
    uint64_t lost;

    assert_int_equal(console_take(&console, sent, sizeof(sent), &lost), strlen(text));
    assert_memory_equal(sent, text, strlen(text));
}

static void power_on_state(void **state)
{
    (void)state;
    vuart_reset(&uart);
    assert_int_equal(inb(&board, IER), 0);
    assert_int_equal(inb(&board, IIR), 0x01);
    assert_int_equal(inb(&board, LCR), 0);
    assert_int_equal(inb(&board, MCR), 0);
    assert_int_equal(inb(&board, LSR), 0x60);
    assert_int_equal(inb(&board, MSR), 0xb0);
    assert_false(board.irq.level);
}

static void what_is_sent_reaches_the_console(void **state)
{
    (void)state;
    outb(&board, LCR, 0x03);
    for (const char *c = "boot\n"; *c; c++) {
        assert_int_equal(inb(&board, LSR) & 0x60, 0x60);
        outb(&board, THR, (uint8_t)*c);
    }
    assert_sent("boot\n");
    assert_false(board.irq.level);
}

static void the_divisor_hides_behind_dlab(void **state)
{
    (void)state;
    outb(&board, LCR, 0x83);
    outb(&board, DLL, 0x34);
    outb(&board, DLM, 0x12);
    assert_int_equal(inb(&board, DLL), 0x34);
    assert_int_equal(inb(&board, DLM), 0x12);
    outb(&board, LCR, 0x03);
    assert_int_equal(inb(&board, IER), 0);
    assert_sent("");
    outb(&board, SCR, 0xa5);
    assert_int_equal(inb(&board, SCR), 0xa5);
    outb(&board, IER, 0xff);
    assert_int_equal(inb(&board, IER), 0x0f);
}

static void enabling_the_empty_transmitter_interrupts_at_once(void **state)
{
    (void)state;
    outb(&board, LCR, 0x03);
    outb(&board, IER, 0x02);
    assert_true(board.irq.level);
    assert_int_equal(inb(&board, IIR), 0x02);
    assert_false(board.irq.level); /* reading it acknowledged */
    assert_int_equal(inb(&board, IIR), 0x01);
    outb(&board, IER, 0x02); /* no change of the enable: nothing new */
    assert_int_equal(inb(&board, IIR), 0x01);
    outb(&board, IER, 0x00);
    outb(&board, IER, 0x02);
    assert_int_equal(inb(&board, IIR), 0x02);
    outb(&board, THR, 'a'); /* sent at once, so empty again */
    assert_true(board.irq.level);
    assert_int_equal(board.irq.rises, 3);
    outb(&board, THR, 'b');
    assert_int_equal(board.irq.rises, 4); /* an edge for each */
}

static void a_higher_interrupt_does_not_acknowledge_the_transmitter(void **state)
{
    (void)state;
    outb(&board, IER, 0x03);
    type("x");
    assert_int_equal(inb(&board, IIR), 0x04);
    assert_int_equal(inb(&board, IIR), 0x04);
    assert_int_equal(inb(&board, RBR), 'x');
    assert_int_equal(inb(&board, IIR), 0x02);
    assert_int_equal(inb(&board, IIR), 0x01);
}

static void received_data_interrupts_without_fifos(void **state)
{
    (void)state;
    outb(&board, IER, 0x01);
    type("ab");
    assert_true(board.irq.level);
    assert_int_equal(inb(&board, LSR), 0x61);
    assert_int_equal(inb(&board, RBR), 'a'); /* the next one follows from the console */
    assert_int_equal(inb(&board, LSR), 0x61);
    assert_int_equal(inb(&board, RBR), 'b');
    assert_int_equal(inb(&board, LSR), 0x60);
    assert_false(board.irq.level);
}

static void trigger_levels(void **state)
{
    static const struct {
        uint8_t fcr, level;
    } cases[] = { { 0x01, 1 }, { 0x41, 4 }, { 0x81, 8 }, { 0xc1, 14 } };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        setup(NULL);
        outb(&board, FCR, cases[i].fcr);
        outb(&board, IER, 0x01);
        assert_int_equal(inb(&board, IIR), 0xc1);
        for (unsigned n = 1; n < cases[i].level; n++) {
            type("x");
            assert_false(board.irq.level);
        }
        type("x");
        assert_true(board.irq.level);
        assert_int_equal(inb(&board, IIR), 0xc4);
        assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER); /* no timeout beside it */
        inb(&board, RBR);                                              /* below the level again */
        assert_false(board.irq.level);
    }
}

static void a_few_characters_time_out(void **state)
{
    uint64_t four_characters = 4 * 10 * NS_PER_S / 115200;

    (void)state;
    outb(&board, LCR, 0x83);
    outb(&board, DLL, 1);
    outb(&board, LCR, 0x03);
    outb(&board, FCR, 0x81);
    outb(&board, IER, 0x01);
    type("a");
    advance(&board, four_characters - 1);
    assert_false(board.irq.level);
    type("b"); /* begins anew */
    advance(&board, four_characters - 1);
    assert_false(board.irq.level);
    advance(&board, 1);
    assert_true(board.irq.level);
    assert_int_equal(inb(&board, IIR), 0xcc);
    assert_int_equal(inb(&board, RBR), 'a');
    assert_false(board.irq.level);
    assert_int_equal(inb(&board, IIR), 0xc1);
    advance(&board, four_characters);
    assert_int_equal(inb(&board, IIR), 0xcc);
    assert_int_equal(inb(&board, RBR), 'b');
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER); /* empty: nothing ticks */
}

static void no_timer_without_an_interrupt(void **state)
{
    (void)state;
    outb(&board, FCR, 0x81);
    type("a");
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    outb(&board, IER, 0x01); /* now somebody waits */
    assert_int_not_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    outb(&board, FCR, 0x83); /* receiver cleared */
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    assert_int_equal(inb(&board, LSR), 0x60);
}

static void typing_never_overruns(void **state)
{
    char text[201];

    (void)state;
    memset(text, 'q', 200);
    text[200] = 0;
    outb(&board, FCR, 0x01);
    type(text);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(inb(&board, LSR), 0x61);
        assert_int_equal(inb(&board, RBR), 'q');
    }
    assert_int_equal(inb(&board, LSR), 0x60);
}

static void a_lower_trigger_level_interrupts_at_once(void **state)
{
    (void)state;
    outb(&board, FCR, 0xc1);
    outb(&board, IER, 0x01);
    type("ab");
    assert_false(board.irq.level);
    outb(&board, FCR, 0x01);
    assert_true(board.irq.level);
}

static void typed_input_survives_reset_and_load(void **state)
{
    struct vuart_state saved;

    (void)state;
    vuart_save(&uart, &saved);
    type("abc"); /* 'a' is in the receiver, the others wait */
    vuart_reset(&uart);
    assert_int_equal(inb(&board, LSR), 0x61);
    vuart_load(&uart, &saved);
    assert_int_equal(inb(&board, LSR), 0x61);
    assert_int_equal(inb(&board, RBR), 'c');
}

static void loopback_overruns(void **state)
{
    (void)state;
    outb(&board, LCR, 0x03);
    outb(&board, FCR, 0x01);
    outb(&board, IER, 0x04);
    outb(&board, MCR, 0x10);
    for (uint8_t i = 0; i < 17; i++)
        outb(&board, THR, i);
    assert_sent("");
    assert_int_equal(inb(&board, IIR), 0xc6);
    assert_int_equal(inb(&board, LSR), 0x63);
    assert_int_equal(inb(&board, IIR), 0xc1); /* reading LSR acknowledged */
    for (uint8_t i = 0; i < 16; i++)
        assert_int_equal(inb(&board, RBR), i); /* the 17th is lost */
    assert_int_equal(inb(&board, LSR), 0x60);
    outb(&board, FCR, 0x00); /* a single register loses the old one */
    outb(&board, THR, 1);
    outb(&board, THR, 2);
    assert_int_equal(inb(&board, LSR), 0x63);
    assert_int_equal(inb(&board, RBR), 2);
    assert_false(board.irq.level); /* loopback takes OUT2 away from the interrupt */
}

static void typed_input_waits_for_the_end_of_loopback(void **state)
{
    (void)state;
    outb(&board, MCR, 0x18);
    type("a");
    assert_int_equal(inb(&board, LSR), 0x60);
    outb(&board, MCR, 0x08);
    assert_int_equal(inb(&board, LSR), 0x61);
    assert_int_equal(inb(&board, RBR), 'a');
}

static void word_length_cuts_what_is_sent(void **state)
{
    (void)state;
    outb(&board, LCR, 0x00);
    outb(&board, MCR, 0x10);
    outb(&board, THR, 0xff);
    assert_int_equal(inb(&board, RBR), 0x1f);
}

static void modem_status_and_its_interrupt(void **state)
{
    (void)state;
    outb(&board, MCR, 0x10);
    inb(&board, MSR);
    outb(&board, IER, 0x08);
    outb(&board, MCR, 0x1f);
    assert_int_equal(inb(&board, IIR), 0x00);
    assert_int_equal(inb(&board, MSR), 0xfb); /* CTS, DSR, DCD changed; RI tells its end only */
    assert_int_equal(inb(&board, IIR), 0x01);
    outb(&board, MCR, 0x1b);
    assert_int_equal(inb(&board, MSR), 0xb4);
    assert_int_equal(inb(&board, MSR), 0xb0);
}

static void out2_gates_the_line(void **state)
{
    (void)state;
    outb(&board, MCR, 0x00);
    outb(&board, IER, 0x02);
    assert_false(board.irq.level);
    outb(&board, MCR, 0x08);
    assert_true(board.irq.level);
}

/* The probes that Linux's 8250 driver makes, with the answers by which it knows a 16550A and nothing else. */
static void linux_finds_a_16550a(void **state)
{
    uint8_t mcr;

    (void)state;
    outb(&board, IER, 0x00);
    assert_int_equal(inb(&board, IER) & 0x0f, 0x00);
    outb(&board, IER, 0x0f);
    assert_int_equal(inb(&board, IER) & 0x0f, 0x0f);
    outb(&board, IER, 0x00);
    outb(&board, MCR, 0x1a); /* loopback, OUT2, RTS */
    assert_int_equal(inb(&board, MSR) & 0xf0, 0x90);
    outb(&board, MCR, 0x08);
    outb(&board, LCR, 0xbf);
    outb(&board, 0x3fa, 0x00); /* a 16650's EFR */
    outb(&board, LCR, 0x00);
    outb(&board, FCR, 0x01);
    assert_int_equal(inb(&board, IIR) >> 6, 3);
    outb(&board, LCR, 0x80);
    assert_int_not_equal(inb(&board, 0x3fa), 0); /* not a 16650, which hides IIR */
    outb(&board, LCR, 0xbf);
    assert_int_not_equal(inb(&board, 0x3fa), 0); /* nor a 16850 */
    outb(&board, LCR, 0x00);
    mcr = inb(&board, MCR);
    outb(&board, LCR, 0x00);
    outb(&board, MCR, mcr ^ 0x10);
    outb(&board, LCR, 0xe0);
    assert_int_equal((inb(&board, 0x3fa) ^ mcr) & 0x10, 0); /* not a National super-I/O */
    outb(&board, LCR, 0x00);
    outb(&board, MCR, mcr);
    outb(&board, FCR, 0x21);
    assert_int_equal(inb(&board, IIR) >> 5, 6);
    outb(&board, FCR, 0x01);
    outb(&board, LCR, 0x80);
    outb(&board, FCR, 0x21);
    assert_int_equal(inb(&board, IIR) >> 5, 6); /* not a 16750, which would say 7 */
    outb(&board, LCR, 0x00);
    outb(&board, IER, 0x40);
    assert_int_equal(inb(&board, IER) & 0x40, 0); /* not an XScale */
}

static void save_and_load_keep_everything(void **state)
{
    struct vuart_state saved;

    (void)state;
    outb(&board, LCR, 0x03);
    outb(&board, FCR, 0x81);
    outb(&board, IER, 0x01);
    type("abc");
    vuart_save(&uart, &saved);
    assert_int_equal(vuart_check(&saved), 0);
    vuart_reset(&uart);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    vuart_load(&uart, &saved);
    assert_memory_equal(&uart.s, &saved, sizeof(saved));
    advance(&board, NS_PER_S);
    assert_true(board.irq.level); /* the timeout that was running when it was saved */
    assert_int_equal(inb(&board, IIR), 0xcc);
    assert_int_equal(inb(&board, RBR), 'a');
    assert_int_equal(inb(&board, RBR), 'b');
    assert_int_equal(inb(&board, RBR), 'c');
}

static void a_bad_state_is_refused(void **state)
{
    struct vuart_state good, bad;

    (void)state;
    vuart_save(&uart, &good);
#define REFUSES(field, value)                                                                                \
    do {                                                                                                     \
        bad = good;                                                                                          \
        bad.field = value;                                                                                   \
        assert_int_equal(vuart_check(&bad), -EINVAL);                                                        \
    } while (0)
    assert_int_equal(vuart_check(&good), 0);
    REFUSES(head, 16);
    REFUSES(count, 2);
    REFUSES(count, 1); /* without LSR.DR */
    REFUSES(ier, 0x10);
    REFUSES(fcr, 0xc8);
    REFUSES(mcr, 0x20);
    REFUSES(lsr, 0x00);
    REFUSES(msr, 0x00);
    REFUSES(thre_pending, 2);
    REFUSES(timeout_pending, 2);
    REFUSES(timeout_ns, 5);
#undef REFUSES
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(power_on_state, setup),
        cmocka_unit_test_setup(what_is_sent_reaches_the_console, setup),
        cmocka_unit_test_setup(the_divisor_hides_behind_dlab, setup),
        cmocka_unit_test_setup(enabling_the_empty_transmitter_interrupts_at_once, setup),
        cmocka_unit_test_setup(a_higher_interrupt_does_not_acknowledge_the_transmitter, setup),
        cmocka_unit_test_setup(received_data_interrupts_without_fifos, setup),
        cmocka_unit_test_setup(trigger_levels, setup),
        cmocka_unit_test_setup(a_few_characters_time_out, setup),
        cmocka_unit_test_setup(no_timer_without_an_interrupt, setup),
        cmocka_unit_test_setup(typing_never_overruns, setup),
        cmocka_unit_test_setup(a_lower_trigger_level_interrupts_at_once, setup),
        cmocka_unit_test_setup(typed_input_survives_reset_and_load, setup),
        cmocka_unit_test_setup(loopback_overruns, setup),
        cmocka_unit_test_setup(typed_input_waits_for_the_end_of_loopback, setup),
        cmocka_unit_test_setup(word_length_cuts_what_is_sent, setup),
        cmocka_unit_test_setup(modem_status_and_its_interrupt, setup),
        cmocka_unit_test_setup(out2_gates_the_line, setup),
        cmocka_unit_test_setup(linux_finds_a_16550a, setup),
        cmocka_unit_test_setup(save_and_load_keep_everything, setup),
        cmocka_unit_test_setup(a_bad_state_is_refused, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
