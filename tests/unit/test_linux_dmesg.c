/* A kernel log is found and read in a fabricated guest; a damaged one costs nothing but itself. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "tests/unit/dmesg_rig.h"

static struct gmem mem;
static struct linux_dmesg dmesg;
static char line[DMESG_LINE_MAX];

static int set_up(void **state)
{
    (void)state;
    rig_init(&mem);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

static bool search(void)
{
    unsigned steps = 0;

    linux_dmesg_init(&dmesg, &mem);
    while (linux_dmesg_search(&dmesg))
        assert_true(++steps < 100);
    return dmesg.found;
}

static void expect(const char *text)
{
    assert_true(linux_dmesg_next(&dmesg, line) == strlen(text));
    assert_string_equal(line, text);
}

static void test_reads(void **state)
{
    (void)state;
    rig_print(&mem, 0, "Linux version 6.1.0-rig");
    rig_print(&mem, 1234567890, "two\nlines\033");
    assert_true(search());
    assert_string_equal(dmesg.release, "6.1.0-rig");
    assert_true(dmesg.layout.kernel_offset == RIG_OFFSET);
    linux_dmesg_tail(&dmesg, 30);
    expect("[    0.000000] Linux version 6.1.0-rig");
    expect("[    1.234567] two|lines?");
    assert_int_equal(linux_dmesg_next(&dmesg, line), 0);
    linux_dmesg_tail(&dmesg, 1);
    expect("[    1.234567] two|lines?");
    assert_int_equal(linux_dmesg_next(&dmesg, line), 0);
}

/* Many times around both rings, at every length: ids, descriptors and text wrap. */
static void test_wraps(void **state)
{
    char text[64], wanted[64];

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        snprintf(text, sizeof(text), "%u %.*s", i, (int)(i % 17), "abcdefghijklmnopqrstuvwxyz");
        rig_print(&mem, i * 1000, text);
        assert_true(search());
        linux_dmesg_tail(&dmesg, 3);
        for (unsigned j = i < 2 ? 0 : i - 2; j <= i; j++) {
            snprintf(wanted, sizeof(wanted), "[    0.%06u] %u %.*s", j, j, (int)(j % 17),
                     "abcdefghijklmnopqrstuvwxyz");
            expect(wanted);
        }
        assert_int_equal(linux_dmesg_next(&dmesg, line), 0);
    }
}

static void test_passes_over_the_unfinished(void **state)
{
    struct rig_desc *desc = rig_at(&mem, RIG_DESCS);

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        rig_print(&mem, 0, i == 2 ? "good" : "bad");
    desc[1].state &= RIG_ID_MASK;
    desc[2].state = (desc[2].state & RIG_ID_MASK) | UINT64_C(3) << 62;
    desc[4].begin = desc[4].next = 3;
    assert_true(search());
    linux_dmesg_tail(&dmesg, 30);
    expect("[    0.000000] good");
    assert_int_equal(linux_dmesg_next(&dmesg, line), 0);
}

static void test_text_of_another_record(void **state)
{
    (void)state;
    rig_print(&mem, 0, "text");
    *(uint64_t *)rig_at(&mem, RIG_DATA) += 1;
    assert_true(search());
    linux_dmesg_tail(&dmesg, 30);
    assert_int_equal(linux_dmesg_next(&dmesg, line), 0);
}

static void test_long_text_is_cut(void **state)
{
    char text[300];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    rig_print(&mem, 0, text);
    assert_true(search());
    linux_dmesg_tail(&dmesg, 1);
    assert_int_equal(linux_dmesg_next(&dmesg, line), DMESG_LINE_MAX - 1);
}

/* Each line that is needed, taken away or made nonsense. */
static void test_incomplete_note(void **state)
{
    static const char *const needed[] = { "SYMBOL(prb)",         "SYMBOL(swapper", "NUMBER(phys_base)",
                                          "prb_desc_ring.infos", "SIZE(prb_desc)", "printk_info.text_len",
                                          "KERNELOFFSET" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        char *at;

        rig_note(&mem);
        assert_true(search());
        at = strstr(rig_at(&mem, RIG_NOTE), needed[i]);
        *at = 'X';
        assert_false(search());
        rig_note(&mem);
        at = strchr(at, '=');
        at[1] = '!';
        assert_false(search());
    }
}

static void test_huge_offset(void **state)
{
    char *at = strstr(rig_at(&mem, RIG_NOTE), "SIZE(prb_desc)=24");

    (void)state;
    memcpy(at, "SIZE(prb_desc)=99999999\nX", 25);
    assert_false(search());
}

/* False starts before the true one: some are tried, not for ever. */
static void test_false_starts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        strcpy(rig_at(&mem, 0x10000 + i * PAGE_SIZE), "OSRELEASE=2.4.0\n");
    assert_true(search());
    for (unsigned i = 0; i < 20; i++)
        strcpy(rig_at(&mem, 0x10000 + i * PAGE_SIZE), "OSRELEASE=2.4.0\n");
    assert_false(search());
}

static void test_nothing_there(void **state)
{
    (void)state;
    memset(rig_at(&mem, RIG_NOTE), 0, PAGE_SIZE);
    assert_false(search());
    linux_dmesg_tail(&dmesg, 30);
    assert_int_equal(linux_dmesg_next(&dmesg, line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wraps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_passes_over_the_unfinished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_text_of_another_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_text_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_incomplete_note, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_huge_offset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_false_starts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_there, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
