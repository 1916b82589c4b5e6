/* virtio's console beside a 16550: bytes out of buffers and into them, who gets what is typed, and bad rings.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "devices/vcon.h"
#include "devices/vuart.h"
#include "hw/virtio_console.h"
#include "tests/unit/virtio_rig.h"

#define DATA  (PAGE_2M + 0x10000u) /* behind the rings */
#define IN    VIRTIO_CONSOLE_RECEIVEQ
#define OUT   VIRTIO_CONSOLE_TRANSMITQ
#define THR   0
#define LCR   3
#define LSR   5
#define EMERG 0x2008u

static struct vcon vcon;
static struct vuart uart;
static struct console console;
static char text[CONSOLE_OUT + 1];
static uint64_t lost;
static unsigned ready;

static void note(void *context)
{
    (void)context;
    ready++;
}

static int setup(void **state)
{
    (void)state;
    rig_init();
    console_init(&console);
    vuart_init(&uart, &board.clock, &board.queue, board_line(&board, VUART_COM1_IRQ), &console);
    vuart_write(&uart, LCR, 1, 3); /* 8 bits */
    vcon_init(&vcon, &mem, &apics, &board.clock, &board.queue, &console);
    rig_attach(&vcon.virtio);
    console.output_ready = note;
    ready = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

static void type(const char *what)
{
    for (; *what; what++)
        assert_true(console_type(&console, *what));
}

/* What has come out since it was last asked. */
static void expect_out(const char *expected)
{
    size_t count = console_take(&console, text, sizeof(text) - 1, &lost);

    text[count] = '\0';
    assert_string_equal(text, expected);
    assert_int_equal(lost, 0);
}

static void *data(uint64_t at)
{
    return virtq_at(&q[0], DATA + at);
}

static void expect_used(unsigned n, uint16_t id, uint32_t bytes)
{
    uint16_t got = 0;
    uint32_t length = 99;

    assert_true(virtq_get(&q[n], &got, &length));
    assert_int_equal(got, id);
    assert_int_equal(length, bytes);
}

static void expect_none(unsigned n)
{
    uint16_t id;
    uint32_t length;

    assert_false(virtq_get(&q[n], &id, &length));
}

static void say(const char *what)
{
    uint32_t bytes = (uint32_t)strlen(what);
    uint16_t id;

    memcpy(data(0), what, bytes);
    id = virtq_add(&q[OUT], &(struct virtq_buffer){ DATA, bytes, false }, 1);
    kick(OUT);
    expect_used(OUT, id, 0);
    assert_true(came(OUT + 1));
}

static uint16_t room(uint64_t at, uint32_t bytes)
{
    uint16_t id = virtq_add(&q[IN], &(struct virtq_buffer){ DATA + at, bytes, true }, 1);

    kick(IN);
    return id;
}

static void expect_in(uint16_t id, uint64_t at, const char *expected)
{
    assert_true(came(IN + 1));
    expect_used(IN, id, (uint32_t)strlen(expected));
    assert_memory_equal(data(at), expected, strlen(expected));
}

/* What the 16550 has received. */
static void expect_uart(const char *expected)
{
    for (; *expected; expected++) {
        assert_true(vuart_read(&uart, LSR, 1) & 1);
        assert_int_equal(vuart_read(&uart, THR, 1), *expected);
    }
    assert_false(vuart_read(&uart, LSR, 1) & 1);
}

static void what_is_sent_comes_out(void **state)
{
    static const uint64_t features[] = { 0, VIRTIO_F_PACKED, VIRTIO_F_PACKED | VIRTIO_F_INDIRECT,
                                         VIRTIO_F_INDIRECT };
    struct virtq_buffer three[3] = { { DATA, 3, false }, { PAGE_2M - 2, 4, false }, { DATA + 8, 1, true } };
    uint16_t id;

    (void)state;
    assert_int_equal(config_get(0), 0x10431af4);
    assert_int_equal(config_get(8) >> 8, 0x078000);
    assert_true(rig_offered() ==
                (VIRTIO_F_VERSION_1 | VIRTIO_F_PACKED | VIRTIO_F_INDIRECT | VIRTIO_CONSOLE_F_EMERG_WRITE));
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
        rig_start(features[i], 2, 8);
        say("hello");
        expect_out("hello");
        memcpy(data(0), "abcdefg?x", 9);
        memcpy(virtq_at(&q[0], PAGE_2M - 2), "12", 2); /* the host has it in two pieces */
        memcpy(virtq_at(&q[0], PAGE_2M), "34", 2);
        id = virtq_add(&q[OUT], three, 3);
        virtq_add(&q[OUT], &three[2], 1); /* nothing that could be read */
        ready = 0;
        kick(OUT);
        expect_used(OUT, id, 0);
        assert_true(virtq_get(&q[OUT], &id, &(uint32_t){ 0 }));
        expect_none(OUT);
        assert_true(came(OUT + 1));
        assert_int_equal(ready, 3); /* once for each piece: the second begins in one chunk of memory */
        expect_out("abc1234");
        assert_int_equal(*(char *)data(8), 'x');
        assert_int_equal(status(), 0xf);
    }
}

/* A doorbell puts out so much; the timer does the rest, in order, and nothing is in flight meanwhile. */
static void long_output_is_done_in_turns(void **state)
{
    const uint32_t bytes = 2 * VCON_TURN + 100;
    struct vcon_state saved;
    uint8_t *p = data(0);
    uint16_t id, last;

    (void)state;
    rig_start(VIRTIO_F_PACKED, 2, 8);
    for (uint32_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(i % 251);
    id = virtq_add(&q[OUT], &(struct virtq_buffer){ DATA, bytes, false }, 1);
    last = virtq_add(&q[OUT], &(struct virtq_buffer){ DATA, 1, false }, 1);
    kick(OUT);
    assert_int_equal(console_end(&console), VCON_TURN);
    expect_none(OUT);
    assert_true(vvirtio_is_idle(&vcon.virtio));
    vcon_save(&vcon, &saved);
    assert_int_equal(saved.sent, VCON_TURN);
    assert_int_equal(vcon_check(&vcon, &saved), 0);
    vcon_load(&vcon, &saved); /* and it goes on at once */
    advance(&board, 0);
    assert_int_equal(console_end(&console), 2 * VCON_TURN);
    advance(&board, VCON_PAUSE_NS / 2);
    assert_int_equal(console_end(&console), 2 * VCON_TURN);
    advance(&board, VCON_PAUSE_NS / 2 + 1);
    expect_used(OUT, id, 0);
    expect_used(OUT, last, 0);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    assert_int_equal(console_take(&console, text, sizeof(text), &lost), bytes + 1);
    for (uint32_t i = 0; i < bytes; i++)
        assert_int_equal((uint8_t)text[i], i % 251);
    say("next");
    expect_out("next");
}

/* A buffer that the driver makes shorter between two turns is over; one that is forgotten by a reset, too. */
static void a_turn_ends_well(void **state)
{
    uint16_t id;

    (void)state;
    rig_start(0, 2, 8);
    id = virtq_add(&q[OUT], &(struct virtq_buffer){ DATA, 2 * VCON_TURN, false }, 1);
    kick(OUT);
    ((struct virtq_desc *)virtq_at(&q[OUT], q[OUT].desc))->length = 5;
    advance(&board, VCON_PAUSE_NS + 1);
    expect_used(OUT, id, 0);
    assert_int_equal(console_end(&console), VCON_TURN);
    virtq_add(&q[OUT], &(struct virtq_buffer){ DATA, 2 * VCON_TURN, false }, 1);
    kick(OUT);
    assert_int_not_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    console_take(&console, text, sizeof(text), &lost);
    rig_start(0, 2, 8);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    say("anew");
    expect_out("anew");
}

/* A driver on another CPU, which makes each buffer available again as it is used. */
static void endless(void *context)
{
    uint16_t *avail = context;

    avail[2 + avail[1] % 8] = 0;
    avail[1]++;
}

/* As many buffers as the largest ring holds: more would be told by a doorbell of their own. */
static void a_doorbell_is_bounded(void **state)
{
    (void)state;
    rig_start(0, 2, 8);
    virtq_add(&q[OUT], &(struct virtq_buffer){ DATA, 1, false }, 1);
    console.output_ready = endless;
    console.output_context = virtq_at(&q[OUT], q[OUT].driver);
    kick(OUT);
    assert_int_equal(console_end(&console), VCON_QUEUE_SIZE);
    assert_int_equal(timer_queue_next(&board.queue), TIMER_NEVER);
    kick(OUT);
    assert_int_equal(console_end(&console), 2 * VCON_QUEUE_SIZE);
    assert_int_equal(status(), 0xf);
}

static void input_waits_for_buffers(void **state)
{
    uint16_t id, second;
    char many[CONSOLE_IN + 1] = { 0 };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        rig_start(i ? VIRTIO_F_PACKED : 0, 2, 8);
        say("?");
        expect_out("?");
        type("ab");
        assert_false(came(IN + 1));
        id = room(0, 16);
        expect_in(id, 0, "ab");
        id = room(0, 16); /* one that waits */
        expect_none(IN);
        assert_false(came(IN + 1));
        type("c");
        expect_in(id, 0, "c");
        type("defgh"); /* short ones */
        id = room(0, 2);
        expect_in(id, 0, "de");
        id = room(0, 2);
        second = room(100, 2);
        expect_in(id, 0, "fg");
        expect_used(IN, second, 1);
        assert_int_equal(*(char *)data(100), 'h');
        memset(many, 'm', CONSOLE_IN);
        type(many);
        assert_false(console_type(&console, 'n'));
        id = room(0, 2 * CONSOLE_IN);
        expect_in(id, 0, many);
        assert_int_equal(status(), 0xf);
    }
}

/* Several pieces, one that is only for reading, and one without any room. */
static void input_buffers_of_any_form(void **state)
{
    struct virtq_buffer three[3] = { { DATA, 4, false }, { DATA + 8, 1, true }, { PAGE_2M - 1, 4, true } };
    uint16_t id, none;

    (void)state;
    rig_start(VIRTIO_F_INDIRECT, 2, 8);
    say("?");
    memset(data(0), '.', 16);
    type("1234567");
    none = virtq_add(&q[IN], three, 1);
    id = virtq_add(&q[IN], three, 3);
    kick(IN);
    expect_used(IN, none, 0);
    expect_used(IN, id, 5);
    assert_memory_equal(data(0), "........1.......", 16);
    assert_int_equal(*(char *)virtq_at(&q[0], PAGE_2M - 1), '2');
    assert_memory_equal(virtq_at(&q[0], PAGE_2M), "345", 3);
    id = room(0, 4);
    expect_in(id, 0, "67");
}

/* It goes to where the last output came from. */
static void input_follows_the_output(void **state)
{
    uint16_t id;

    (void)state;
    type("a");
    expect_uart("a");
    rig_start(0, 2, 8);
    id = room(0, 16);
    kick(OUT);
    type("b"); /* the driver is up, but has said nothing */
    expect_uart("b");
    type("cd"); /* the 16550 has one of them: its FIFO is off */
    say("?");
    expect_uart("c");
    expect_in(id, 0, "d");
    type("e");
    expect_uart("");
    id = room(0, 16);
    expect_in(id, 0, "e");
    vuart_write(&uart, THR, 1, '!');
    type("f");
    expect_none(IN);
    expect_uart("f");
    type("gh");
    room(32, 16); /* a doorbell does not take what waits for the 16550 */
    expect_none(IN);
    expect_uart("gh");
    expect_out("?!");
}

/* When its driver goes, what waits goes to the 16550. */
static void input_goes_back(void **state)
{
    (void)state;
    rig_start(0, 2, 8);
    say("?");
    type("a");
    expect_uart("");
    put(VIRTIO_COMMON_STATUS, 1, 0);
    expect_uart("a");
    rig_start(0, 2, 8);
    type("b");
    expect_uart("b");
    say("?");
    type("c");
    vcon_reset(&vcon);
    vpci_reset(&pci);
    expect_uart("c");
    rig_start(0, 2, 8);
    say("?");
    put(VIRTIO_COMMON_STATUS, 1, 0x8f); /* FAILED */
    type("d");
    expect_uart("d");
    say("?"); /* its output is still good, and it still does not listen */
    type("e");
    expect_uart("e");
}

static void nonsense_ends_it(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        rig_start(0, 2, 8);
        say("?");
        came(0);
        type("a");
        virtq_add(&q[n], &(struct virtq_buffer){ MEMORY - 1, 4, n == IN }, 1);
        kick(n);
        assert_int_equal(status(), 0x4f);
        assert_true(came(0));
        expect_none(n);
        expect_uart("a");
        kick(IN);
        kick(OUT);
        expect_out("?");
    }
    rig_start(0, 2, 8);
    say("well");
    expect_out("well");
    for (unsigned i = 0; i < 12; i++) { /* no configuration is there to be read */
        assert_int_equal(get(0x2000 + i, 1), 0);
        put(0x2000 + i, 1, i == 8 ? 'z' : 'y');
    }
    expect_out("z");
}

/* Any chain that the standard allows in a ring of this size is taken. */
static void a_chain_may_fill_the_ring(void **state)
{
    struct virtq_buffer b[VCON_QUEUE_SIZE];
    uint16_t id;

    (void)state;
    rig_start(0, 2, VCON_QUEUE_SIZE);
    memcpy(data(0), "x.y", 3); /* apart: no two make one piece */
    for (unsigned i = 0; i < ARRAY_SIZE(b); i++)
        b[i] = (struct virtq_buffer){ DATA + 2 * (i % 2), 1, false };
    id = virtq_add(&q[OUT], b, ARRAY_SIZE(b));
    kick(OUT);
    expect_used(OUT, id, 0);
    assert_int_equal(console_take(&console, text, sizeof(text), &lost), VCON_QUEUE_SIZE);
    assert_memory_equal(text, "xyxy", 4);
    assert_int_equal(status(), 0xf);
}

/* 5.3.4: it needs no driver, and is a byte whatever the access. */
static void emergency_write(void **state)
{
    (void)state;
    put(EMERG, 4, 0x12345600 | 'a');
    expect_out("a");
    rig_start(0, 2, 8);
    put(EMERG, 1, 'b');
    put(EMERG, 2, 'c');
    put(EMERG + 1, 1, 'd');
    expect_out("bc");
    type("x"); /* who writes so reads nothing */
    expect_uart("x");
    assert_int_equal(get(EMERG, 4), 0);
}

static void state_is_kept(void **state)
{
    struct vcon_state saved;
    uint16_t id;

    (void)state;
    rig_start(VIRTIO_F_PACKED, 2, 8);
    say("?");
    type("a");
    vcon_save(&vcon, &saved);
    assert_int_equal(vcon_check(&vcon, &saved), 0);
    assert_int_equal(saved.listens, 1);
    vcon_reset(&vcon);
    vpci_reset(&pci);
    expect_uart("a");
    type("b");
    vcon_load(&vcon, &saved);
    type("c");
    expect_uart("b");
    id = room(0, 4);
    expect_in(id, 0, "c");
    vuart_write(&uart, THR, 1, '!');
    vcon_save(&vcon, &saved);
    assert_int_equal(saved.listens, 0);
    say("?");
    vcon_load(&vcon, &saved);
    type("d");
    expect_uart("d");
}

static void bad_state_is_refused(void **state)
{
    struct vcon_state saved, bad;

    (void)state;
    rig_start(0, 2, 8);
    say("?");
    vcon_save(&vcon, &saved);
    bad = saved;
    bad.listens = 2;
    assert_int_equal(vcon_check(&vcon, &bad), -EINVAL);
    bad = saved;
    bad.reserved[6] = 1;
    assert_int_equal(vcon_check(&vcon, &bad), -EINVAL);
    bad = saved;
    bad.virtio.status = 0xb;
    assert_int_equal(vcon_check(&vcon, &bad), -EINVAL); /* it listens without a driver */
    bad.listens = 0;
    assert_int_equal(vcon_check(&vcon, &bad), 0);
    bad.sent = 1;
    assert_int_equal(vcon_check(&vcon, &bad), -EINVAL);
    bad = saved;
    bad.sent = 1;
    assert_int_equal(vcon_check(&vcon, &bad), 0);
    bad.virtio.queue[OUT].enabled = 0;
    assert_int_equal(vcon_check(&vcon, &bad), -EINVAL);
    bad = saved;
    bad.virtio.status = 4;
    bad.listens = 0;
    assert_int_equal(vcon_check(&vcon, &bad), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_sent_comes_out),   TEST(long_output_is_done_in_turns),
        TEST(a_turn_ends_well),         TEST(a_doorbell_is_bounded),
        TEST(input_waits_for_buffers),  TEST(input_buffers_of_any_form),
        TEST(input_follows_the_output), TEST(input_goes_back),
        TEST(nonsense_ends_it),         TEST(a_chain_may_fill_the_ring),
        TEST(emergency_write),          TEST(state_is_kept),
        TEST(bad_state_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
