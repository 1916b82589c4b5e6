/* The flight recorder: rings read back in the order of time, and what survives in a region that may hold
 * anything. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/recorder.h"
#include "tests/unit/host/host.h"
#include "vmx/ops.h"
#include "vmx/trace_line.h"

static uint8_t *region;
static void *given[2 * CPU_MAX];
static unsigned given_count;
static struct recorded out[2 * RECORDER_EVENTS];

static void *ring(void)
{
    return given[given_count++] = aligned_alloc(RECORDER_RING, RECORDER_RING);
}

static void *no_ring(void)
{
    return NULL;
}

static int set_up(void **state)
{
    (void)state;
    host_log_quiet = true;
    host_log_last[0] = '\0';
    host_tsc = 1000;
    region = aligned_alloc(RECORDER_RING, RECORDER_REGION);
    memset(region, 0xa5, RECORDER_REGION);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(region);
    while (given_count)
        free(given[--given_count]);
    return 0;
}

static void event(struct recorder_event *at, unsigned slot, uint64_t tsc, uint8_t vm)
{
    at[slot % RECORDER_EVENTS] = (struct recorder_event){ .tsc_low = (uint32_t)tsc,
                                                          .tsc_high = (uint32_t)(tsc >> 32),
                                                          .code = EXIT_HLT,
                                                          .kind = 1,
                                                          .vm = vm,
                                                          .a = tsc };
}

static struct recorder_event *ring_of(unsigned cpu)
{
    struct recorder_event *at = recorder_ring(cpu, ring);

    assert_non_null(at);
    return at;
}

static void test_cold_start_finds_nothing(void **state)
{
    (void)state;
    recorder_init(region, ring);
    assert_null(recorder_last());
    recorder_start(0, HOST_TSC_HZ);
    assert_string_equal(host_log_last, "");
}

static void test_merges_in_order(void **state)
{
    struct recorder_event *a, *b;

    (void)state;
    recorder_init(NULL, ring);
    a = ring_of(0);
    b = ring_of(1);
    for (unsigned i = 0; i < 10; i++) {
        event(a, i, 100 + 20 * i, 0);
        event(b, i, 110 + 20 * i, 1);
    }
    assert_int_equal(recording_collect(recorder_now(), -1, out, 100), 20);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(recorder_tsc(&out[i].event), 100 + 10 * i);
        assert_int_equal(out[i].cpu, i % 2);
    }
    assert_int_equal(recording_collect(recorder_now(), 1, out, 3), 3);
    assert_int_equal(recorder_tsc(&out[0].event), 250);
    assert_int_equal(recorder_tsc(&out[2].event), 290);
    assert_int_equal(recording_collect(recorder_now(), 2, out, 3), 0);
}

/* A full ring, written on past its end: the newest is in the middle, the oldest behind it. */
static void test_wrapped_ring(void **state)
{
    struct recorder_event *a;

    (void)state;
    recorder_init(NULL, ring);
    a = ring_of(0);
    for (unsigned i = 0; i < RECORDER_EVENTS + 700; i++)
        event(a, i, UINT64_C(0x180000000) + i, 0);
    assert_int_equal(recording_collect(recorder_now(), -1, out, ARRAY_SIZE(out)), RECORDER_EVENTS);
    assert_int_equal(recorder_tsc(&out[0].event), UINT64_C(0x180000000) + 700);
    assert_int_equal(recorder_tsc(&out[RECORDER_EVENTS - 1].event),
                     UINT64_C(0x180000000) + RECORDER_EVENTS + 699);
}

static void start_with_history(void)
{
    recorder_init(region, ring);
    event(ring_of(0), 0, 500, 3);
    event(ring_of(1), 0, 600, 3);
    recorder_start(100, HOST_TSC_HZ);
    recorder_name_vm(3, "three");
}

static void test_kept_over_a_reset(void **state)
{
    (void)state;
    start_with_history();
    recorder_end("panic %d", 7);
    recorder_end("another");
    recorder_init(region, ring);
    (void)!ring_of(0);
    (void)!ring_of(1);
    assert_int_equal(recording_collect(recorder_now(), -1, out, 10), 0);
    assert_non_null(recorder_last());
    assert_int_equal(recorder_last()->header.ended, 1);
    assert_string_equal(recorder_last()->header.why, "panic 7");
    assert_string_equal(recorder_last()->header.name[3], "three");
    assert_int_equal(recording_collect(recorder_last(), 3, out, 10), 2);
    assert_int_equal(recorder_tsc(&out[1].event), 600);
    recorder_start(0, HOST_TSC_HZ);
    assert_non_null(strstr(host_log_last, "panic 7"));
}

static void test_end_without_a_word(void **state)
{
    (void)state;
    start_with_history();
    recorder_init(region, ring);
    assert_non_null(recorder_last());
    assert_int_equal(recorder_last()->header.ended, 0);
    recorder_start(0, HOST_TSC_HZ);
    assert_non_null(strstr(host_log_last, "without a word"));
}

/* One bit anywhere in the header, and nothing is believed. */
static void test_damaged_header(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(struct recorder_header); i += 7) {
        start_with_history();
        region[i] ^= (uint8_t)(1u << i % 8);
        recorder_init(region, no_ring);
        if (recorder_last())
            fail_msg("byte %u", i);
        while (given_count)
            free(given[--given_count]);
    }
}

/* Rings full of noise: whatever is read is in order, and becomes a line. */
static void test_damaged_rings(void **state)
{
    char line[TRACE_LINE_MAX];

    (void)state;
    start_with_history();
    srand(1);
    for (size_t i = RECORDER_RING; i < 3 * RECORDER_RING; i++)
        region[i] = (uint8_t)(rand() >> 7);
    recorder_init(region, ring);
    assert_non_null(recorder_last());

    unsigned count = recording_collect(recorder_last(), -1, out, ARRAY_SIZE(out));

    assert_true(count > 0);
    for (unsigned i = 0; i < count; i++) {
        assert_true(i == 0 || recorder_tsc(&out[i - 1].event) <= recorder_tsc(&out[i].event));
        assert_true(trace_line(line, recorder_last(), out, count, i) < sizeof(line));
    }
    for (unsigned kind = 0; kind < 256; kind++)
        for (unsigned code = 0; code < 256; code++) {
            out[0].event.kind = (uint8_t)kind;
            out[0].event.code = (uint8_t)code;
            assert_true(trace_line(line, recorder_last(), out, 1, 0) < sizeof(line));
        }
}

static void test_no_memory_for_a_copy(void **state)
{
    (void)state;
    start_with_history();
    recorder_init(region, no_ring);
    assert_non_null(recorder_last());
    assert_int_equal(recording_collect(recorder_last(), -1, out, 10), 0);
}

static void test_rings_beyond_the_region(void **state)
{
    (void)state;
    recorder_init(region, ring);
    assert_ptr_equal(recorder_ring(RECORDER_KEPT - 1, no_ring), region + RECORDER_KEPT * RECORDER_RING);
    assert_null(recorder_ring(RECORDER_KEPT, no_ring));
    assert_non_null(recorder_ring(RECORDER_KEPT, ring));
}

static void test_lines(void **state)
{
    struct recorded list[3] = { 0 };
    struct vmexit exit = { .reason = EXIT_IO, .length = 2, .vcpu = 1, .vm = 3 };
    char line[TRACE_LINE_MAX];

    (void)state;
    start_with_history();
    exit.io.port = 0x3f8;
    exit.io.size = 1;
    memcpy(&list[0].event.code, &exit, sizeof(uint64_t));
    list[0].event.a = 0x1234;
    list[0].event.tsc_low = 100 + 1500000;
    trace_line(line, recorder_now(), list, 1, 0);
    assert_string_equal(line,
                        "[    0.001500] cpu0  three/1      exit io: out to port 0x3f8, 1 byte, RIP 0x1234");

    memset(list, 0, sizeof(list));
    for (unsigned i = 0; i < 3; i++) {
        list[i].event.kind = RECORD_LOG;
        list[i].event.vm = RECORD_NO_VM;
        list[i].event.code = (uint8_t)i;
        memcpy(&list[i].event.detail, i == 2 ? "end\033" : "twenty characters...", i == 2 ? 4 : 20);
    }
    trace_line(line, recorder_now(), list, 3, 0);
    assert_non_null(strstr(line, "log: twenty characters...twenty characters...end?"));
    assert_int_equal(trace_line(line, recorder_now(), list, 3, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cold_start_finds_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_merges_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrapped_ring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept_over_a_reset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end_without_a_word, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_header, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_rings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory_for_a_copy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rings_beyond_the_region, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
