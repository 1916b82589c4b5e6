/* The disks of a VM in plinth.toml. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/config_disk.h"
#include "tests/unit/config_rig.h"

static void none_is_the_default(void **state)
{
    (void)state;
    assert_string_equal(parse(""), "");
    assert_int_equal(config.vm[0].disk_count, 0);
    assert_string_equal(parse("disks = []"), "");
    assert_int_equal(config.vm[0].disk_count, 0);
}

static void reads_all_of_a_disk(void **state)
{
    const struct config_disk *disk = config.vm[0].disk;

    (void)state;
    assert_string_equal(
        parse("disks = [\n"
              "  { source = 'part:web-root' },\n"
              "  { source = 'module:images/data.img', readonly = true, iops = 1000, bandwidth "
              "= '50M' },\n"
              "  'disk:QM00001',\n"
              "]"),
        "");
    assert_int_equal(config.vm[0].disk_count, 3);
    assert_string_equal(disk[0].source, "part:web-root");
    assert_false(disk[0].readonly);
    assert_int_equal(disk[0].iops, 0);
    assert_int_equal(disk[0].bandwidth, 0);
    assert_null(config_disk_file(&disk[0]));
    assert_string_equal(disk[1].source, "module:images/data.img");
    assert_true(disk[1].readonly);
    assert_int_equal(disk[1].iops, 1000);
    assert_int_equal(disk[1].bandwidth, 50 * MiB);
    assert_string_equal(config_disk_file(&disk[1]), "images/data.img");
    assert_string_equal(disk[2].source, "disk:QM00001");
    assert_int_equal(disk[2].at[DISK_SOURCE].line, 7);
    assert_int_equal(disk[2].at[DISK_SOURCE].column, 3);
}

static void sources(void **state)
{
    static const char form[] =
        "4:10 source must be \"part:LABEL\", \"partuuid:UUID\", \"disk:SERIAL\" or \"module:FILE\"";
    static const char uuid[] = "4:10 source has no UUID behind the colon, such as "
                               "0fc63daf-8483-4772-8e79-3d69d8477de4, or of an MBR 1234abcd-01";
    static const struct {
        const char *source, *error;
    } rows[] = {
        { "part:x", "" },
        { "part:a label: with all ü", "" },
        { "partuuid:0FC63daf-8483-4772-8e79-3d69d8477de4", "" },
        { "partuuid:1234abcd-01", "" },
        { "disk:nvme0", "" },
        { "module:a", "" },
        { "data.img", form },
        { "", "4:10 source is empty; write \"part:root\", or leave the key out" },
        { ":x", form },
        { "par:x", form },
        { "parts:x", form },
        { "PART:x", form },
        { "part", form },
        { "part:", "4:10 source names nothing behind the colon" },
        { "module:", "4:10 source names nothing behind the colon" },
        { "partuuid:x", uuid },
        { "partuuid:0fc63daf-8483-4772-8e79-3d69d8477de", uuid },
        { "partuuid:0fc63daf-8483-4772-8e79-3d69d8477de40", uuid },
        { "partuuid:0fc63daf-8483-4772-8e79-3d69d8477dg4", uuid },
        { "partuuid:1234abcd-1", uuid },
        { "module:/etc/x", "4:10 source must be a path below this file's folder, without '/' at its start" },
        { "module:../x",
          "4:10 source must be a plain path below this file's folder: no part of it empty, '.' or '..'" },
        { "module:a b", "4:10 source must be a path of letters, digits and . _ + - = , @ ~ /" },
    };
    char line[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(line, sizeof(line), "disks = ['%s']", rows[i].source);
        assert_string_equal(parse(line), rows[i].error);
        assert_string_equal(config.vm[0].disk[0].source, rows[i].error[0] ? "" : rows[i].source);
    }
    memset(line, 0, sizeof(line));
    memcpy(line, "disks = ['part:", 15);
    memset(line + 15, 'x', 138); /* 143 bytes fit */
    memcpy(line + 153, "']", 2);
    assert_string_equal(parse(line), "");
    memcpy(line + 153, "x']", 3);
    assert_string_equal(parse(line), "4:10 source is 144 bytes long; at most 143 fit");
}

static void rates(void **state)
{
    static const char form[] =
        "4:43 bandwidth must be bytes a second with K, M or G behind them, such as \"50M\"";
    static const char range[] =
        "4:43 bandwidth must be 64K to 1024G bytes a second; for no limit leave the key out";
    static const struct {
        const char *text, *error;
        uint64_t rate;
    } rows[] = {
        { "64K", "", 64 * KiB },
        { "1M", "", MiB },
        { "1024G", "", 1024 * GiB },
        { "63K", range, 0 },
        { "0M", range, 0 },
        { "1025G", range, 0 },
        { "99999999999999999999G", range, 0 },
        { "50", form, 0 },
        { "50MB", form, 0 },
        { "50 M", form, 0 },
        { "M", form, 0 },
        { "", form, 0 },
        { "-1M", form, 0 },
        { "1.5G", form, 0 },
        { "5000000000000000000000000000M", form, 0 }, /* longer than what is read */
    };
    char line[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(line, sizeof(line), "disks = [{ source = 'part:x', bandwidth = '%s' }]", rows[i].text);
        assert_string_equal(parse(line), rows[i].error);
        assert_int_equal(config.vm[0].disk[0].bandwidth, rows[i].rate);
    }
}

static void mistakes(void **state)
{
    static const struct {
        const char *line, *error;
    } rows[] = {
        { "disks = 'part:x'",
          "4:9 disks must be an array such as [{ source = \"part:root\" }], not a string" },
        { "disks = [1]", "4:10 a disk must be a string such as \"part:root\" or { source = \"part:root\", "
                         "readonly = true }, not an integer" },
        { "disks = [{}]", "4:10 a disk of [vm.a] has no source; add a line such as: source = \"part:root\"" },
        { "disks = [{ readonly = true }]",
          "4:10 a disk of [vm.a] has no source; add a line such as: source = \"part:root\"" },
        { "disks = [{ source = 'part:x', read-only = true }]",
          "4:31 unknown key 'read-only' in a disk of [vm.a]; did you mean 'readonly'?" },
        { "disks = [{ source = 'part:x', source = 'part:y' }]",
          "4:31 source was given already in line 4; keep one of the two" },
        { "disks = [{ source = 'part:x', readonly = 1 }]",
          "4:42 readonly must be true or false, not an integer" },
        { "disks = [{ source = 'part:x', iops = 0 }]", "4:38 iops must be 1 to 10000000" },
        { "disks = [{ source = 'part:x', iops = 10000001 }]", "4:38 iops must be 1 to 10000000" },
        { "disks = [{ source = 'part:x', bandwidth = 50 }]",
          "4:43 bandwidth must be a string such as \"50M\", not an integer" },
        { "disks = ['part:1','part:2','part:3','part:4','part:5','part:6','part:7','part:8','part:9']",
          "4:82 a VM takes at most 8 disks" },
        { "disks = ['part:x', { source = 'part:x' }]",
          "4:22 'part:x' was given already in line 4; a disk that is written to can be given once" },
        { "disks = [{ source = 'part:x', readonly = true }, 'part:x']",
          "4:50 'part:x' was given already in line 4; a disk that is written to can be given once" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(parse(rows[i].line), rows[i].error);
    assert_string_equal(parse("disks = ['module:x', 'module:x']"), ""); /* two copies */
    assert_string_equal(parse("disks = [{ source = 'part:x', readonly = true }, { source = 'part:x', "
                              "readonly = true }]"),
                        "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_the_default),
        cmocka_unit_test(reads_all_of_a_disk),
        cmocka_unit_test(sources),
        cmocka_unit_test(rates),
        cmocka_unit_test(mistakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
