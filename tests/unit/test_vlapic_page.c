/* The virtual local APIC with a virtual-APIC page, and a CPU that works on it, against one without. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#define REQUIRE(condition) assert_true(condition)

#include "tests/unit/vlapic_twins.h"

static struct vlapic *const lapic = &paged.lapic[0];
static struct apic_cpu *const cpu = &cpus[0];

static int setup(void **unused)
{
    (void)unused;
    twins_start();
    for (unsigned i = 0; i < TWINS; i++) {
        twins_write(i, false, APIC_SVR, APIC_SVR_ENABLE | 0xff);
        twins_attach(i, true);
    }
    twins_check();
    return 0;
}

static void enter_x2apic(void)
{
    uint64_t base = APIC_BASE_DEFAULT | APIC_BASE_BSP | APIC_BASE_EN | APIC_BASE_EXTD;

    assert_int_equal(vlapic_msr_write(&plain.lapic[0], MSR_APIC_BASE, base), 0);
    assert_int_equal(vlapic_msr_write(lapic, MSR_APIC_BASE, base), 0);
    twins_check();
}

static void request(unsigned i, uint8_t vector, bool level)
{
    vlapic_request(&plain.lapic[i], vector, level);
    vlapic_request(&paged.lapic[i], vector, level);
}

static uint32_t word(uint32_t reg, uint8_t vector)
{
    return cpu->page[reg / 4 + vector / 32 * 4] >> vector % 32 & 1;
}

/* --- The hand-over --- */

static void requests_go_to_the_page(void **unused)
{
    (void)unused;
    struct vlapic_status status;

    request(0, 0x31, false);
    request(0, 0x92, false);
    request(0, 0xef, true);
    assert_int_equal(word(APIC_IRR, 0x92), 0);
    assert_int_equal(vlapic_read(lapic, APIC_IRR + 0x40, 4), 1u << 18); /* software sees it all the same */
    assert_int_equal(vlapic_pending(lapic), 0xef);
    assert_true(cpu->posted);
    status = vlapic_sync(lapic);
    assert_int_equal(status.rvi, 0xef);
    assert_int_equal(status.svi, 0);
    assert_true(word(APIC_IRR, 0x31) && word(APIC_IRR, 0x92) && word(APIC_IRR, 0xef));
    assert_true(!word(APIC_TMR, 0x92) && word(APIC_TMR, 0xef));
    assert_int_equal(lapic->state.irr[2] | lapic->state.irr[3] | lapic->state.irr[0], 0);
    assert_int_equal(vlapic_pending(lapic), 0xef);
    assert_int_equal(vlapic_held(lapic), -1);
    twins_check();
    assert_int_equal(twins_deliver(0), 0xef);
    status = vlapic_sync(lapic);
    assert_int_equal(status.rvi, 0x92);
    assert_int_equal(status.svi, 0xef);
    assert_int_equal(vlapic_pending(lapic), -1);
}

static void level_vectors_are_told_once(void **unused)
{
    (void)unused;
    uint64_t bitmap[4];

    assert_true(vlapic_level_vectors(lapic, bitmap));
    assert_int_equal(bitmap[0] | bitmap[1] | bitmap[2] | bitmap[3], 0);
    assert_false(vlapic_level_vectors(lapic, bitmap));
    request(0, 0x45, true);
    assert_true(vlapic_level_vectors(lapic, bitmap));
    assert_int_equal(bitmap[1], BIT(5));
    request(0, 0x45, true);
    request(0, 0x46, false);
    assert_false(vlapic_level_vectors(lapic, bitmap));
    request(0, 0x45, false);
    vlapic_sync(lapic); /* notes it as well */
    assert_true(vlapic_level_vectors(lapic, bitmap));
    assert_int_equal(bitmap[1], 0);
    twins_attach(0, true);
    assert_true(vlapic_level_vectors(lapic, bitmap));
}

static void attached_with_work_in_hand(void **unused)
{
    (void)unused;
    twins_attach(0, false);
    twins_cr8(0, false, 3);
    request(0, 0x41, true);
    assert_int_equal(twins_deliver(0), 0x41);
    request(0, 0x62, false);
    assert_int_equal(twins_deliver(0), 0x62);
    request(0, 0x51, false);
    twins_attach(0, true);
    twins_check();
    assert_true(word(APIC_ISR, 0x41) && word(APIC_ISR, 0x62) && word(APIC_IRR, 0x51));
    assert_int_equal(cpu->page[APIC_PPR / 4], 0x60);
    assert_int_equal(twins_deliver(0), -1);
    twins_write(0, true, APIC_EOI, 0);
    assert_int_equal(twins_deliver(0), 0x51);
    twins_attach(0, false);
    assert_int_equal(lapic->irr_any, 0); /* the short way is open again */
    twins_write(0, false, APIC_EOI, 0);
    twins_write(0, false, APIC_EOI, 0);
    assert_int_equal(paged.eois, 1 + 0x41);
    twins_check();
}

static void a_halted_vcpu_sees_the_page(void **unused)
{
    (void)unused;
    request(0, 0x51, false);
    cpu_enter(cpu);
    vlapic_set_cr8(&plain.lapic[0], 5);
    cpu_write_tpr(cpu, 0x50);
    assert_int_equal(vlapic_pending(lapic), -1);
    assert_int_equal(vlapic_cr8(lapic), 5);
    request(0, 0x60, false); /* not handed over */
    assert_int_equal(vlapic_pending(lapic), 0x60);
    twins_check();
    assert_int_equal(twins_deliver(0), 0x60);
    twins_cr8(0, true, 0);
    assert_int_equal(vlapic_pending(lapic), -1);
    twins_write(0, true, APIC_EOI, 0);
    assert_int_equal(vlapic_pending(lapic), 0x51);
}

/* --- Registers --- */

static void software_ends_and_sets_priorities(void **unused)
{
    (void)unused;
    request(0, 0x41, false);
    assert_int_equal(twins_deliver(0), 0x41);
    request(0, 0x85, true);
    assert_int_equal(twins_deliver(0), 0x85);
    twins_write(0, false, APIC_EOI, 0);
    assert_int_equal(paged.eois, 1 + 0x85);
    assert_int_equal(cpu->page[APIC_PPR / 4], 0x40);
    twins_write(0, false, APIC_TPR, 0x77);
    assert_int_equal(cpu->page[APIC_PPR / 4], 0x77);
    assert_int_equal(vlapic_read(lapic, APIC_TPR, 4), 0x77);
    assert_int_equal(vlapic_read(lapic, APIC_PPR, 4), 0x77);
    assert_int_equal(vlapic_read(lapic, APIC_APR, 4), 0x77);
    assert_int_equal(vlapic_read(lapic, APIC_ISR + 0x20, 4), 1u << 1);
    request(0, 0x90, false);
    assert_int_equal(vlapic_read(lapic, APIC_APR, 4), 0x90);
    assert_int_equal(twins_deliver(0), 0x90);
    assert_int_equal(vlapic_read(lapic, APIC_APR, 4), 0x10);
    twins_check();
}

static void ends_of_the_cpu(void **unused)
{
    (void)unused;
    request(0, 0x85, true);
    assert_int_equal(twins_deliver(0), 0x85);
    twins_write(0, true, APIC_EOI, 0);
    assert_int_equal(paged.eois, 1 + 0x85);
    vlapic_eoi_done(lapic, 0x86); /* is no level-triggered one */
    assert_int_equal(paged.eois, 1 + 0x85);
}

static void lint_remote_irr_is_shown(void **unused)
{
    (void)unused;
    for (unsigned n = 0; n < 2; n++) {
        uint32_t reg = APIC_LVT_LINT0 + 0x10 * n;

        twins_write(0, true, reg, APIC_LVT_LEVEL | 0x61);
        vlapic_lint(&plain.lapic[0], n, true);
        vlapic_lint(lapic, n, true);
        assert_int_equal(twins_deliver(0), 0x61);
        assert_int_equal(cpu->page[reg / 4], APIC_LVT_LEVEL | APIC_LVT_REMOTE_IRR | 0x61);
        vlapic_lint(&plain.lapic[0], n, false);
        vlapic_lint(lapic, n, false);
        twins_write(0, true, APIC_EOI, 0);
        cpu_enter(cpu);
        assert_int_equal(cpu->page[reg / 4], APIC_LVT_LEVEL | 0x61);
        twins_check();
    }
}

static void the_page_shows_what_registers_hold(void **unused)
{
    (void)unused;
    twins_write(0, true, APIC_LVT_PERF, UINT32_MAX);
    assert_int_equal(cpu->page[APIC_LVT_PERF / 4], 0x107ff);
    twins_write(0, true, APIC_ID, 0x55000000);
    assert_int_equal(cpu->page[APIC_ID / 4], 0);
    twins_write(0, true, APIC_LVT_LINT1, 0x400);
    twins_write(0, true, APIC_SVR, 0x10ff);
    assert_int_equal(cpu->page[APIC_SVR / 4], 0xff);
    assert_int_equal(cpu->page[APIC_LVT_LINT1 / 4], APIC_LVT_MASKED | 0x400);
    twins_write(0, true, APIC_LDR, 0x12345678);
    assert_int_equal(cpu->page[APIC_LDR / 4], 0x12000000);
    twins_write(0, true, APIC_TIMER_DIVIDE, 0xff);
    assert_int_equal(cpu->page[APIC_TIMER_DIVIDE / 4], 0xb);
    cpu->page[APIC_TIMER_DIVIDE / 4] = 0x13;
    vlapic_page_written(lapic, APIC_TIMER_DIVIDE + 2); /* of a byte in it */
    assert_int_equal(vlapic_read(lapic, APIC_TIMER_DIVIDE, 4), 0x3);
    assert_int_equal(cpu->page[APIC_TIMER_DIVIDE / 4], 0x3);
    twins_write(0, true, APIC_TIMER_DIVIDE, 0xff);
    cpu->page[APIC_EOI / 4] = 7;
    vlapic_page_written(lapic, APIC_EOI);
    assert_int_equal(cpu->page[APIC_EOI / 4], 0);
    twins_check();
}

static void ipis_of_the_page(void **unused)
{
    (void)unused;
    twins_write(0, true, APIC_ICR_HIGH, 0x02ffffff);
    twins_write(0, true, APIC_ICR, 0x77);
    assert_int_equal(vlapic_pending(&paged.lapic[2]), 0x77);
    twins_write(0, true, APIC_ICR, APIC_ICR_SELF | 0x78); /* by the CPU alone */
    assert_int_equal(vlapic_pending(lapic), 0x78);
    assert_int_equal(vlapic_read(lapic, APIC_ICR, 4), APIC_ICR_SELF | 0x78);
    assert_int_equal(vlapic_read(lapic, APIC_ICR_HIGH, 4), 0x02000000);
    twins_write(0, false, APIC_ICR, 0x79); /* its high half is where the CPU left it */
    assert_int_equal(vlapic_pending(&paged.lapic[2]), 0x79);
    twins_check();
    twins_write(0, true, APIC_ICR, APIC_ICR_SELF | 0x7a);
    twins_write(0, true, APIC_ICR_HIGH, 0x04000000);
    assert_int_equal(vlapic_read(lapic, APIC_ICR_HIGH, 4), 0x04000000);
    twins_write(0, false, APIC_ICR_HIGH, 0x03000000);
    assert_int_equal(vlapic_read(lapic, APIC_ICR, 4), APIC_ICR_SELF | 0x7a);
    twins_check();
    twins_attach(0, false);
    assert_int_equal(lapic->state.icr, UINT64_C(3) << 56 | APIC_ICR_SELF | 0x7a);
    twins_check();
}

static void x2apic_mode(void **unused)
{
    (void)unused;
    cpu->keeps = true;
    twins_write(0, true, APIC_ICR_HIGH, 0x02000000);
    twins_write(0, true, APIC_ICR, APIC_ICR_SELF | 0x32);
    enter_x2apic();
    assert_int_equal(cpu_rdmsr(cpu, MSR_X2APIC(APIC_ICR)), APIC_ICR_SELF | 0x32);
    assert_int_equal(twins_deliver(0), 0x32);
    twins_wrmsr(0, true, MSR_X2APIC(APIC_EOI), 0);
    twins_wrmsr(0, true, MSR_X2APIC(APIC_ICR), UINT64_C(2) << 32 | 0x77);
    assert_int_equal(cpu_rdmsr(cpu, MSR_X2APIC(APIC_ICR)), UINT64_C(2) << 32 | 0x77);
    assert_int_equal(cpu->page[APIC_ICR_HIGH / 4], 2);
    assert_int_equal(vlapic_pending(&paged.lapic[2]), 0x77);
    assert_int_equal(cpu_rdmsr(cpu, MSR_X2APIC(APIC_LDR)), 1);
    twins_wrmsr(0, true, MSR_X2APIC(APIC_SELF_IPI), 0x33);
    assert_int_equal(twins_deliver(0), 0x33);
    twins_wrmsr(0, true, MSR_X2APIC(APIC_EOI), 0);
    twins_wrmsr(0, true, MSR_X2APIC(APIC_SELF_IPI), 5);
    assert_int_equal(lapic->state.errors, APIC_ESR_SEND_VECTOR);
    assert_int_equal(cpu->page[APIC_SELF_IPI / 4], 0);
    twins_wrmsr(0, true, MSR_X2APIC(APIC_TPR), 0x44);
    assert_int_equal(vlapic_cr8(lapic), 4);
    twins_check();
}

static void lowest_priority_looks_at_pages(void **unused)
{
    (void)unused;
    struct apic_message message = {
        .destination = APIC_BROADCAST_32, .vector = 0x99, .mode = APIC_MODE_LOWEST, .assert = true
    };

    twins_cr8(0, true, 4);
    twins_cr8(1, true, 2);
    twins_cr8(2, true, 3);
    twins_send(&message);
    assert_int_equal(vlapic_pending(&paged.lapic[1]), 0x99);
    twins_check();
}

/* --- The end of page mode --- */

static void resets_end_it(void **unused)
{
    (void)unused;
    unsigned modes = paged.vcpu[0].modes;

    request(0, 0x51, false);
    cpu_enter(cpu);
    vlapic_init_signal(&plain.lapic[0]);
    cpu->wanted = false;
    vlapic_init_signal(lapic);
    assert_int_equal(paged.vcpu[0].modes, modes + 1);
    assert_null(lapic->page);
    assert_int_equal(vlapic_pending(lapic), -1);
    assert_int_equal(lapic->irr_any, 0);
    request(0, 0x31, false); /* with a page that does not count */
    vlapic_page_written(lapic, APIC_EOI);
    vlapic_detach(lapic);
    twins_check();
}

static void mode_is_told(void **unused)
{
    (void)unused;
    const uint64_t on = APIC_BASE_DEFAULT | APIC_BASE_BSP | APIC_BASE_EN;
    unsigned modes = paged.vcpu[0].modes;

    assert_int_equal(vlapic_msr_write(lapic, MSR_APIC_BASE, on), 0);
    assert_int_equal(paged.vcpu[0].modes, modes); /* it was so */
    assert_int_equal(vlapic_msr_write(lapic, MSR_APIC_BASE, on | APIC_BASE_EXTD), 0);
    assert_int_equal(paged.vcpu[0].modes, modes + 1);
    assert_int_equal(vlapic_msr_write(lapic, MSR_APIC_BASE, on & ~APIC_BASE_EN), 0);
    assert_int_equal(paged.vcpu[0].modes, modes + 2);
    assert_null(lapic->page);
    assert_int_equal(vlapic_msr_write(lapic, MSR_APIC_BASE, on), 0);
    assert_int_equal(paged.vcpu[0].modes, modes + 3);
    assert_ptr_equal(lapic->page, cpu->page);
}

/* --- At random --- */

static uint64_t random_state;

static uint32_t any(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(random_state >> 33) % below;
}

/* Mostly what interrupts are made of; now and then anything. */
static void random_act(void)
{
    static const uint16_t registers[] = { APIC_TPR,       APIC_ICR, APIC_ICR_HIGH, APIC_LVT_LINT0,
                                          APIC_LVT_TIMER, APIC_SVR, APIC_ESR,      APIC_LDR };
    unsigned i = any(TWINS), what = any(100);
    bool by_cpu = any(4);

    if (what < 30)
        request(i, (uint8_t)(16 + any(240)), !any(4));
    else if (what < 55)
        twins_deliver(i);
    else if (what < 75)
        twins_act(10, i, by_cpu, 0, 0);
    else if (what < 85)
        twins_cr8(i, by_cpu, (uint8_t)any(16));
    else if (what < 88)
        twins_write(i, by_cpu, registers[any(ARRAY_SIZE(registers))], any(UINT32_MAX));
    else if (what < 91)
        twins_write(i, by_cpu, APIC_SVR, APIC_SVR_ENABLE | 0xff);
    else if (what < 93)
        twins_wrmsr(i, by_cpu, MSR_X2APIC(APIC_SELF_IPI), any(256));
    else if (what < 97)
        twins_attach(i, any(2));
    else
        twins_act((uint8_t)any(16), i, by_cpu, any(256), any(UINT32_MAX));
    twins_check();
}

static void same_vectors_in_the_same_order(void **unused)
{
    (void)unused;
    for (unsigned seed = 0; seed < 300; seed++) {
        random_state = seed;
        setup(NULL);
        for (unsigned step = 0; step < 500; step++)
            random_act();
    }
}

/* --- Requests from another CPU --- */

#define ROUNDS 20000

static unsigned sent[256], taken[256];
static bool sender_done, lost;

static void send(uint8_t vector)
{
    __atomic_add_fetch(&sent[vector], 1, __ATOMIC_SEQ_CST);
    vlapic_request(lapic, vector, false);
}

/* Within 3 s. */
static bool were_taken(uint8_t first, uint8_t second)
{
    for (unsigned tries = 0; tries < 50000; tries++) {
        if (__atomic_load_n(&taken[first], __ATOMIC_SEQ_CST) == sent[first] &&
            __atomic_load_n(&taken[second], __ATOMIC_SEQ_CST) == sent[second])
            return true;
        if (tries >= 1000)
            usleep(50);
    }
    return false;
}

/* Two requests in one word, the second while the first is handed over; then no other until both were seen. */
static void *send_from_another_cpu(void *unused)
{
    (void)unused;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t low = (uint8_t)(round % 4 * 64 + 16), high = (uint8_t)(low + 47);

        send(low);
        for (unsigned pause = round % 64; pause; pause--)
            __builtin_ia32_pause();
        send(high);
        if (!were_taken(low, high)) {
            lost = true;
            break;
        }
    }
    __atomic_store_n(&sender_done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* As the CPU would, with an entry before each vector. */
static void take_all(void)
{
    for (;;) {
        struct vlapic_status status = vlapic_sync(lapic);
        int vector;

        cpu->rvi = status.rvi;
        cpu->svi = status.svi;
        vector = cpu_deliver(cpu);
        if (vector < 0)
            return;
        __atomic_store_n(&taken[vector], __atomic_load_n(&sent[vector], __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
        cpu_eoi(cpu);
    }
}

/* However the hand-over and a request meet, each request is seen. */
static void no_request_is_lost(void **unused)
{
    (void)unused;
    pthread_t sender;

    assert_int_equal(pthread_create(&sender, NULL, send_from_another_cpu, NULL), 0);
    while (!__atomic_load_n(&sender_done, __ATOMIC_SEQ_CST))
        take_all();
    pthread_join(sender, NULL);
    assert_false(lost);
    assert_int_equal(sent[255], ROUNDS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(requests_go_to_the_page, setup),
        cmocka_unit_test_setup(level_vectors_are_told_once, setup),
        cmocka_unit_test_setup(attached_with_work_in_hand, setup),
        cmocka_unit_test_setup(a_halted_vcpu_sees_the_page, setup),
        cmocka_unit_test_setup(software_ends_and_sets_priorities, setup),
        cmocka_unit_test_setup(ends_of_the_cpu, setup),
        cmocka_unit_test_setup(lint_remote_irr_is_shown, setup),
        cmocka_unit_test_setup(the_page_shows_what_registers_hold, setup),
        cmocka_unit_test_setup(ipis_of_the_page, setup),
        cmocka_unit_test_setup(x2apic_mode, setup),
        cmocka_unit_test_setup(lowest_priority_looks_at_pages, setup),
        cmocka_unit_test_setup(resets_end_it, setup),
        cmocka_unit_test_setup(mode_is_told, setup),
        cmocka_unit_test_setup(same_vectors_in_the_same_order, setup),
        cmocka_unit_test_setup(no_request_is_lost, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
