/* plinth.toml: what a good one means, and what each kind of mistake is called. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "lib/spell.h"
#include "tests/unit/config_rig.h"

static void reads_a_whole_config(void **state)
{
    (void)state;
    expect_errors("# two machines\n"
                  "[host]\n"
                  "console = \"com1,115200\"\n"
                  "attach = \"db\"\n"
                  "when-all-stopped = \"poweroff\"\n"
                  "\n"
                  "[vm.web]\n"
                  "cpus = 2\n"
                  "memory = \"1G\"\n"
                  "kernel = \"images/vmlinuz\"\n"
                  "initrd = \"images/initrd.img\"\n"
                  "cmdline = \"console=ttyS0 name=\u00e9\"\n"
                  "autostart = false\n"
                  "debug-exit = true\n"
                  "watchdog = true\n"
                  "rng = false\n"
                  "hvc = true\n"
                  "balloon = true\n"
                  "\n"
                  "[vm.db]\n"
                  "memory = \"4096K\"\n"
                  "kernel = \"a+b_c-d=e,f@g~h.gz\"\n"
                  "modules = [\n"
                  "    \"one\",  # plain\n"
                  "    { path = \"two/three\", cmdline = \"x y\" },\n"
                  "]\n",
                  "");
    assert_string_equal(config.console, "com1,115200");
    assert_string_equal(config.attach, "db");
    assert_int_equal(config.when_all_stopped, ALL_STOPPED_POWEROFF);
    assert_int_equal(config.vm_count, 2);

    const struct config_vm *web = &config.vm[0], *db = &config.vm[1];
    assert_string_equal(web->name, "web");
    assert_int_equal(web->line, 7);
    assert_int_equal(web->cpus, 2);
    assert_int_equal(web->memory, GiB);
    assert_string_equal(web->kernel, "images/vmlinuz");
    assert_string_equal(web->initrd, "images/initrd.img");
    assert_string_equal(web->cmdline, "console=ttyS0 name=\u00e9");
    assert_false(web->autostart);
    assert_true(web->debug_exit);
    assert_true(web->watchdog);
    assert_false(web->rng);
    assert_true(web->hvc);
    assert_true(web->balloon);
    assert_int_equal(web->at[VM_KERNEL].line, 10);
    assert_int_equal(web->at[VM_KERNEL].column, 1);

    assert_string_equal(db->name, "db");
    assert_int_equal(db->memory, 4 * MiB);
    assert_string_equal(db->kernel, "a+b_c-d=e,f@g~h.gz");
    assert_int_equal(db->module_count, 2);
    assert_string_equal(db->module[0].path, "one");
    assert_string_equal(db->module[0].cmdline, "");
    assert_string_equal(db->module[1].path, "two/three");
    assert_string_equal(db->module[1].cmdline, "x y");
    assert_int_equal(db->module[1].at[MODULE_PATH].line, 25);
    assert_int_equal(db->module[1].at[MODULE_PATH].column, 7);
}

static void fills_in_defaults(void **state)
{
    (void)state;
    expect_errors("[vm.a]\nmemory = '2M'\nkernel = 'k'", "");
    assert_string_equal(config.console, "");
    assert_string_equal(config.attach, "");
    assert_int_equal(config.when_all_stopped, ALL_STOPPED_SHELL);
    assert_int_equal(config.prefix, 1);
    assert_false(config.echo_consoles);
    assert_int_equal(config.vm[0].cpus, 1);
    assert_string_equal(config.vm[0].initrd, "");
    assert_string_equal(config.vm[0].cmdline, "");
    assert_int_equal(config.vm[0].module_count, 0);
    assert_true(config.vm[0].autostart);
    assert_false(config.vm[0].debug_exit);
    assert_string_equal(config.vm[0].console, "");
    assert_false(config.vm[0].watchdog);
    assert_true(config.vm[0].rng);
    assert_false(config.vm[0].hvc);
    assert_false(config.vm[0].balloon);
    assert_int_equal(config.vm[0].after_count, 0);
    assert_int_equal(config.vm[0].on_crash, RESTART_NO);
    assert_int_equal(config.vm[0].on_reboot, RESTART_YES);
    assert_int_equal(config.vm[0].restart_limit, 5);
    assert_int_equal(config.vm[0].share.weight, 100);
    assert_int_equal(config.vm[0].share.cap, 0);
    assert_int_equal(config.vm[0].share.pin, 0);
    assert_int_equal(config.vm[0].share.reserve_us, 0);
    assert_false(config.vm[0].broken);
}

static void takes_every_way_to_write_a_table(void **state)
{
    (void)state;
    expect_errors("[vm.09AZaz_-]\nmemory = '2M'\nkernel = 'k'", "");
    expect_errors("vm.a.memory = '2M'\nvm.a.kernel = 'k'\n[host]\nwhen-all-stopped = 'reboot'", "");
    assert_int_equal(config.vm_count, 1);
    assert_int_equal(config.when_all_stopped, ALL_STOPPED_REBOOT);
    expect_errors("vm = { a = { memory = '2M', kernel = 'k' }, b = { memory = '4M', kernel = 'l' } }", "");
    assert_int_equal(config.vm_count, 2);
    assert_int_equal(config.vm[1].memory, 4 * MiB);
    expect_errors("[vm]\na.memory = '2M'\na.kernel = 'k'\n['vm'.\"b\"]\nmemory = '2M'\nkernel = 'k'", "");
    assert_string_equal(config.vm[1].name, "b");
    expect_errors("host = { when-all-stopped = 'shell' }\n[vm.a]\nmemory = '2M'\nkernel = 'k'", "");
}

static void asks_for_a_vm(void **state)
{
    static const char nothing[] =
        "1:1 no VM is described; write for example: [vm.demo], and below it memory = \"256M\" and "
        "kernel = \"vmlinuz\"\n";

    (void)state;
    expect_errors("", nothing);
    expect_errors("# nothing\n[host]\n[vm]\n", nothing);
    expect_errors("[host]\nattach = 'a'\n", "2:1 attach names 'a', but there is no [vm.a]\n");
}

static void checks_memory(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = { { "2M", 2 * MiB },   { "2048K", 2 * MiB },         { "256M", 256 * MiB },
                 { "002G", 2 * GiB }, { "1024G", 1024 * GiB },      { "1048576M", 1024 * GiB },
                 { "6M", 6 * MiB },   { "1073741824K", 1024 * GiB } };
    static const char form[] =
        "4:10 memory must be a whole number with K, M or G behind it, such as \"256M\"\n";
    static const char step[] = "4:10 memory must be a multiple of 2M, and at least 2M\n";
    static const char large[] = "4:10 memory is too large; a VM takes at most 1024G\n";
    static const struct {
        const char *text, *error;
    } bad[] = {
        { "", form },
        { "M", form },
        { "256", form },
        { "256MB", form },
        { "256m", form },
        { "1.5G", form },
        { "-2M", form },
        { " 2M", form },
        { "2 M", form },
        { "2M ", form },
        { "0M", step },
        { "1M", step },
        { "3M", step },
        { "2049K", step },
        { "0G", step },
        { "1025G", large },
        { "1048578M", large },
        { "99999999999999999999G", large },
        { "2MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM", form },
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        snprintf(text, sizeof(text), "[vm.a]\nkernel = 'k'\n\nmemory = '%s'", good[i].text);
        expect_errors(text, "");
        assert_int_equal(config.vm[0].memory, good[i].bytes);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        snprintf(text, sizeof(text), "[vm.a]\nkernel = 'k'\n\nmemory = '%s'", bad[i].text);
        expect_errors(text, bad[i].error);
        assert_true(config.vm[0].broken);
    }
}

static void checks_paths(void **state)
{
    static const char plain[] =
        "4:10 initrd must be a plain path below this file's folder: no part of it empty, '.' or '..'\n";
    static const char letters[] = "4:10 initrd must be a path of letters, digits and . _ + - = , @ ~ /\n";
    static const struct {
        const char *path, *error;
    } rows[] = {
        { "a", "" },
        { "a/b/c.d", "" },
        { "09AZaz._+-=,@~", "" },
        { ".hidden/...", "" },
        { "..a/b..", "" },
        { "/a", "4:10 initrd must be a path below this file's folder, without '/' at its start\n" },
        { "../a", plain },
        { "a/../b", plain },
        { "./a", plain },
        { "a/.", plain },
        { "a/..", plain },
        { "a//b", plain },
        { "a/", plain },
        { "..", plain },
        { "a b", letters },
        { "a\"b", letters },
        { "a$b", letters },
        { "\u00e9", letters },
        { "", "4:10 initrd is empty; write \"initrd.img\", or leave the key out\n" },
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), "initrd = '%s'", rows[i].path);
        expect_in_vm(text, rows[i].error);
        assert_string_equal(config.vm[0].initrd, rows[i].error[0] ? "" : rows[i].path);
    }
}

static void checks_values(void **state)
{
    static const struct {
        const char *line, *error;
    } rows[] = {
        { "cpus = 1", "" },
        { "cpus = 16", "" },
        { "cpus = 0", "4:8 cpus must be 1 to 16\n" },
        { "cpus = 17", "4:8 cpus must be 1 to 16\n" },
        { "cpus = -1", "4:8 cpus must be 1 to 16\n" },
        { "cpus = 4294967297", "4:8 cpus must be 1 to 16\n" },
        { "cpus = '2'", "4:8 cpus must be an integer such as 2, not a string\n" },
        { "autostart = 'yes'", "4:13 autostart must be true or false, not a string\n" },
        { "debug-exit = 1", "4:14 debug-exit must be true or false, not an integer\n" },
        { "watchdog = 'reset'", "4:12 watchdog must be true or false, not a string\n" },
        { "initrd = ['a']", "4:10 initrd must be a string such as \"initrd.img\", not an array\n" },
        { "cmdline = { a = 1, b = 2 }",
          "4:11 cmdline must be a string such as \"console=ttyS0\", not a table\n" },
        { "cmdline.a = 1", "4:1 cmdline must be a string such as \"console=ttyS0\", not a table\n" },
        { "cmdline = true", "4:11 cmdline must be a string such as \"console=ttyS0\", not a boolean\n" },
        { "cmdline = ''", "" },
        { "cmdline = \"a\\tb\"",
          "4:11 cmdline holds a control character; only printable ones can be passed on\n" },
        { "cmdline = \"a\\u007f\"",
          "4:11 cmdline holds a control character; only printable ones can be passed on\n" },
        { "modules = 'a'", "4:11 modules must be an array such as [\"data.img\"], not a string\n" },
        { "modules = []", "" },
        { "modules = {path = 'a'}", "4:11 modules must be an array such as [\"data.img\"], not a table\n" },
        { "modules = [[1]]",
          "4:12 a module must be a string such as \"data.img\" or { path = \"data.img\", cmdline = "
          "\"words\" }, not an array\n" },
        { "modules = [true]",
          "4:12 a module must be a string such as \"data.img\" or { path = \"data.img\", cmdline = "
          "\"words\" }, not a boolean\n" },
        { "modules = [{}]",
          "4:12 a module of [vm.a] has no path; add a line such as: path = \"data.img\"\n" },
        { "modules = [{path = 1}]", "4:20 path must be a string such as \"data.img\", not an integer\n" },
        { "modules = [{path = 'a', path = 'b'}]",
          "4:25 path was given already in line 4; keep one of the two\n" },
        { "modules = [{path = 'a', pth = 'b'}]",
          "4:25 unknown key 'pth' in a module of [vm.a]; did you mean 'path'?\n" },
        { "modules = ['../a']",
          "4:12 path must be a plain path below this file's folder: no part of it empty, '.' or '..'\n" },
        { "modules = ['1','2','3','4','5','6','7','8']", "" },
        { "modules = ['1','2','3','4','5','6','7','8','9',{path='10'}]",
          "4:44 a VM takes at most 8 modules\n" },
        { "modules = ['a']\nmodules = ['b']",
          "5:1 modules was given already in line 4; keep one of the two\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        expect_in_vm(rows[i].line, rows[i].error);
    assert_int_equal(config.vm[0].module_count, 1);
    assert_string_equal(config.vm[0].module[0].path, "a");
}

static void checks_lengths(void **state)
{
    char text[2048], value[1200];

    (void)state;
    memset(value, 'x', sizeof(value));
    snprintf(text, sizeof(text), "cmdline = '%.1023s'", value);
    expect_in_vm(text, "");
    assert_int_equal(strlen(config.vm[0].cmdline), 1023);
    snprintf(text, sizeof(text), "cmdline = '%.1024s'", value);
    expect_in_vm(text, "4:11 cmdline is 1024 bytes long; at most 1023 fit\n");
    snprintf(text, sizeof(text), "initrd = '%.127s'", value);
    expect_in_vm(text, "");
    snprintf(text, sizeof(text), "initrd = '%.128s'", value);
    expect_in_vm(text, "4:10 initrd is 128 bytes long; at most 127 fit\n");
    snprintf(text, sizeof(text), "[vm.%.31s]\nmemory='2M'\nkernel='k'", value);
    expect_errors(text, "");
    snprintf(text, sizeof(text), "[vm.%.32s]\nmemory='2M'\nkernel='k'", value);
    expect_errors(
        text,
        "1:5 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is no name for a VM: 1 to 31 letters, digits, '-' and '_'\n");
    assert_int_equal(config.vm_count, 0);
}

static void suggests_the_known_key(void **state)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        { "memry = '2M'", "unknown key 'memry' in [vm.a]; did you mean 'memory'?" },
        { "kernal = 'k'", "unknown key 'kernal' in [vm.a]; did you mean 'kernel'?" },
        { "debug_exit = true", "unknown key 'debug_exit' in [vm.a]; did you mean 'debug-exit'?" },
        { "Cpus = 1", "unknown key 'Cpus' in [vm.a]; did you mean 'cpus'?" },
        { "attach = 'a'", "unknown key 'attach' in [vm.a]; it belongs below [host]" },
        { "colour = 'red'", "unknown key 'colour' in [vm.a]; docs/config.md lists the known ones" },
        { "disk = { path = 'x', size = 1 }", "unknown key 'disk' in [vm.a]; did you mean 'disks'?" },
        { "\"\\u001b[2J\" = 1", "unknown key '?[2J' in [vm.a]; docs/config.md lists the known ones" },
    };
    char error[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(error, sizeof(error), "4:1 %s\n", rows[i].error);
        expect_in_vm(rows[i].text, error);
    }
    expect_errors("[host]\nmemory = 1\n[vm.a]\nmemory = '2M'\nkernel = 'k'",
                  "2:1 unknown key 'memory' in [host]; it belongs below [vm.NAME]\n");
    assert_false(config.vm[0].broken);
    /* A misspelt key is not missing as well; the right one may follow. */
    expect_errors("[vm.a]\nmemry = '2M'\nkernel = 'k'",
                  "2:1 unknown key 'memry' in [vm.a]; did you mean 'memory'?\n");
    expect_errors("[vm.a]\nmemry = '2M'\nmemory = '2M'\nkernel = 'k'",
                  "2:1 unknown key 'memry' in [vm.a]; did you mean 'memory'?\n");
}

static void compares_words(void **state)
{
    (void)state;
    assert_true(spelt_like("memory", "memory"));
    assert_true(spelt_like("meomry", "memory"));   /* a swap */
    assert_true(spelt_like("memoryyy", "memory")); /* two insertions */
    assert_false(spelt_like("memoryyyy", "memory"));
    assert_false(spelt_like("mmr", "memory"));
    assert_true(spelt_like("mmor", "memory"));   /* two deletions */
    assert_true(spelt_like("nenory", "memory")); /* two substitutions */
    assert_false(spelt_like("nenori", "memory"));
    assert_true(spelt_like("cpu", "cpus"));
    assert_false(spelt_like("cp", "cpus")); /* short words: one step only */
    assert_false(spelt_like("", "cpus"));
    assert_true(spelt_like("", "a"));
    assert_false(spelt_like("memorymemorymemorymemorymemorymem", "memory"));
}

static void refuses_unknown_tables(void **state)
{
    static const char vm[] = "[vm.a]\nmemory = '2M'\nkernel = 'k'\n";
    static const struct {
        const char *text, *error;
    } rows[] = {
        { "[hots]\nattach = 1\nx = 2\n", "4:2 unknown table 'hots'; did you mean 'host'?\n" },
        { "[vms.b]\nmemory = 1\n", "4:2 unknown table 'vms'; did you mean 'vm'?\n" },
        { "[web]\nmemory = 1\n", "4:2 unknown table or key 'web'; a VM is described below [vm.NAME], a "
                                 "network below [network.NAME], all else below [host]\n" },
        { "[vm.b.disk]\nsize = 1\n", "4:5 [vm.b] has no memory; add a line such as: memory = \"256M\"\n"
                                     "4:5 [vm.b] has no kernel; add a line such as: kernel = \"vmlinuz\"\n"
                                     "4:7 unknown key 'disk' in [vm.b]; did you mean 'disks'?\n" },
        { "[host.attach]\nx = 1\n", "4:1 attach must be a string such as \"demo\", not a table\n" },
        { "[vm.'a b']\nmemory = 1\n",
          "4:5 'a b' is no name for a VM: 1 to 31 letters, digits, '-' and '_'\n" },
        { "[vm.'']\nmemory = 1\n", "4:5 '' is no name for a VM: 1 to 31 letters, digits, '-' and '_'\n" },
        { "[host]\n[host]\nattach = 1\n", "5:2 [host] was given already in line 4; put both together\n" },
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), "%s%s", vm, rows[i].text);
        expect_errors(text, rows[i].error);
        assert_false(config.vm[0].broken);
    }
    expect_errors("memory = '1G'\nattach = 'a'\nfoo = { a = 1, b = 2 }\nhost = 1\nvm = 2\nvm.c = 3\n",
                  "1:1 'memory' stands outside of a table; put it below [vm.NAME]\n"
                  "2:1 'attach' stands outside of a table; put it below [host]\n"
                  "3:1 unknown table or key 'foo'; a VM is described below [vm.NAME], a network below "
                  "[network.NAME], all else below [host]\n"
                  "4:8 'host' must be a table, not an integer; write [host] on a line of its own\n"
                  "5:6 'vm' must be a table, not an integer; write [vm.NAME] on a line of its own\n"
                  "6:8 'c' must be a table, not an integer; write [vm.NAME] on a line of its own\n");
}

static void finds_what_is_double(void **state)
{
    (void)state;
    expect_errors("[vm.a]\nmemory = '2M'\nkernel = 'k'\nmemory = 5\n[vm.a]\nmemory = '4M'\n[vm.b]\nmemory = "
                  "'2M'\nkernel='k'\n",
                  "4:1 memory was given already in line 2; keep one of the two\n"
                  "5:5 [vm.a] was described already in line 1; each VM needs a name of its own\n");
    assert_int_equal(config.vm_count, 2);
    assert_int_equal(config.vm[0].memory, 2 * MiB);
    assert_true(config.vm[0].broken);
    assert_false(config.vm[1].broken);
    expect_errors("[host]\nattach = 'a'\nattach = 'b'\n[vm.a]\nmemory = '2M'\nkernel = 'k'",
                  "3:1 attach was given already in line 2; keep one of the two\n");
    assert_string_equal(config.attach, "a");
}

static void says_what_is_missing_at_the_header(void **state)
{
    (void)state;
    expect_errors("\n [vm.a]\n[vm.b]\nmemory = '2M'\n",
                  "2:6 [vm.a] has no memory; add a line such as: memory = \"256M\"\n"
                  "2:6 [vm.a] has no kernel; add a line such as: kernel = \"vmlinuz\"\n"
                  "3:5 [vm.b] has no kernel; add a line such as: kernel = \"vmlinuz\"\n");
}

static void checks_host(void **state)
{
    static const struct {
        const char *line, *error;
    } rows[] = {
        { "attach = 'wbe'", "5:1 attach names 'wbe', which is no VM; did you mean 'web'?\n" },
        { "attach = 'other'", "5:1 attach names 'other', but there is no [vm.other]\n" },
        { "attach = ''", "5:10 attach is empty; write \"demo\", or leave the key out\n" },
        { "attach = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'", "5:10 attach is 34 bytes long; at most 31 fit\n" },
        { "when-all-stopped = 'halt'",
          "5:20 when-all-stopped must be \"shell\", \"poweroff\" or \"reboot\"\n" },
        { "when-all-stopped = true",
          "5:20 when-all-stopped must be a string such as \"poweroff\", not a boolean\n" },
        { "prefix = 'ctrl-m'", "5:10 prefix cannot be 'ctrl-m': it is what the Enter key sends\n" },
        { "prefix = 'b'", "5:10 prefix cannot be 'b': it is no control key; write for example \"ctrl-a\"\n" },
        { "prefix = 1", "5:10 prefix must be a string such as \"ctrl-a\", not an integer\n" },
        { "echo-consoles = 1", "5:17 echo-consoles must be true or false, not an integer\n" },
        { "colour = 1", "5:1 unknown key 'colour' in [host]; docs/config.md lists the known ones\n" },
        { "console = 1", "5:11 console must be a string such as \"com1,115200\", not an integer\n" },
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), "[vm.web]\nmemory = '2M'\nkernel = 'k'\n[host]\n%s\n", rows[i].line);
        /* An attach that was refused is not looked up as well. */
        expect_errors(text, rows[i].error);
        assert_string_equal(config.attach, "");
        assert_int_equal(config.prefix, 1);
        assert_false(config.vm[0].broken);
    }
    expect_errors("[vm.a]\nmemory = '2M'\nkernel = 'k'\n[host]\nprefix = 'ctrl-b'\necho-consoles = true\n",
                  "");
    assert_int_equal(config.prefix, 2);
    assert_true(config.echo_consoles);
}

/* VMs a and b in lines 1 and 2, each with its console, and [host] with its own. */
static void expect_consoles(const char *a, const char *b, const char *host, const char *expected)
{
    char text[512];

    snprintf(text, sizeof(text),
             "vm.a = { memory = '2M', kernel = 'k', console = '%s' }\n"
             "vm.b = { memory = '2M', kernel = 'k', console = '%s' }\n"
             "[host]\n%s\n",
             a, b, host);
    expect_errors(text, expected);
}

static void gives_consoles_ports(void **state)
{
    (void)state;
    expect_consoles("com2", "com3,9600", "console = 'com1'", "");
    assert_string_equal(config.vm[0].console, "com2");
    assert_string_equal(config.vm[1].console, "com3,9600");
    expect_consoles("com5", "0x2f8", "",
                    "1:39 console 'com5' is no COM port; write com1 to com4 or a port such as 0x2f8, then a "
                    "comma and the speed if it is not 115200\n");
    assert_true(config.vm[0].broken);
    assert_false(config.vm[1].broken);
    expect_consoles("com2", "0x2f8,9600", "",
                    "2:39 console 0x2f8,9600 is the port of 'a'; give each a port of its own\n");
    assert_false(config.vm[0].broken);
    assert_true(config.vm[1].broken);
    expect_consoles("0x3f8", "com2", "console = 'com1,9600'",
                    "1:39 console 0x3f8 is the wire's port, which [host] names; give one of the two another "
                    "port\n");
    expect_consoles("com2", "com3", "attach = 'b'",
                    "4:1 attach names 'b', whose console is not on the wire but on com3; take one of the two "
                    "out\n");
    assert_string_equal(config.attach, "");
    assert_false(config.vm[1].broken);
    expect_in_vm("console = 2", "4:11 console must be a string such as \"com2\", not an integer\n");
}

static void keeps_the_other_vms_usable(void **state)
{
    (void)state;
    expect_errors(
        "[vm.a]\nmemory = 256M\nkernel = 'k'\n"
        "[vm.b]\nmemory = '2M'\nkernel = 'k'\ncpus = 4\n"
        "[vm.c\nmemory = '2M'\n"
        "[vm.d]\nmemory = '2M'\nkernel = 'k'\nmodules = ['x'\n"
        "[vm.e]\nmemory = '2M'\nkernel = 'k'\n",
        "2:10 '256M' is no value: text needs quotes, numbers are digits only, booleans are true or false\n"
        "8:6 expected ']' after the table's name, found the end of the line\n"
        "14:1 expected ',' or ']' in the array, found '['\n");
    assert_int_equal(config.vm_count, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(config.vm[i].broken, i != 1 && i != 4);
    assert_int_equal(config.vm[1].cpus, 4);
    assert_string_equal(config.vm[2].name, "c");
}

static void keeps_the_first_errors_and_counts_all(void **state)
{
    char text[CONFIG_MAX_ERRORS * 2 * 8] = "";

    (void)state;
    for (unsigned i = 0; i < CONFIG_MAX_ERRORS + 4; i++)
        strcat(text, "?\n");
    assert_int_equal(config_parse(&config, text, strlen(text)), -EINVAL);
    assert_int_equal(config.error_count, CONFIG_MAX_ERRORS + 4);
    for (unsigned i = 0; i < CONFIG_MAX_ERRORS; i++)
        assert_int_equal(config.error[i].line, i + 1);
}

static void takes_so_many_vms_and_no_more(void **state)
{
    static char text[8192];
    size_t length = 0;

    (void)state;
    for (unsigned i = 0; i < CONFIG_MAX_VMS; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length,
                                   "[vm.v%u]\nmemory='2M'\nkernel='k'\n", i);
    expect_errors(text, "");
    assert_int_equal(config.vm_count, CONFIG_MAX_VMS);
    snprintf(text + length, sizeof(text) - length, "[vm.more]\nmemory='2M'\n[vm.more\n");
    expect_errors(text, "193:5 [vm.more] is one too many: at most 64 VMs can be described\n"
                        "195:9 expected ']' after the table's name, found the end of the line\n");
    assert_int_equal(config.vm_count, CONFIG_MAX_VMS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_whole_config),
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(takes_every_way_to_write_a_table),
        cmocka_unit_test(asks_for_a_vm),
        cmocka_unit_test(checks_memory),
        cmocka_unit_test(checks_paths),
        cmocka_unit_test(checks_values),
        cmocka_unit_test(checks_lengths),
        cmocka_unit_test(suggests_the_known_key),
        cmocka_unit_test(compares_words),
        cmocka_unit_test(refuses_unknown_tables),
        cmocka_unit_test(finds_what_is_double),
        cmocka_unit_test(says_what_is_missing_at_the_header),
        cmocka_unit_test(checks_host),
        cmocka_unit_test(gives_consoles_ports),
        cmocka_unit_test(keeps_the_other_vms_usable),
        cmocka_unit_test(keeps_the_first_errors_and_counts_all),
        cmocka_unit_test(takes_so_many_vms_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
