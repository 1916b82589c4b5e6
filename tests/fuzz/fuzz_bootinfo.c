/*
 * Any bytes as a multiboot2 information block: what is accepted
 * must be sorted, free of overlaps and terminated.
 */
#include <stdlib.h>
#include <string.h>
#include "boot/bootinfo.h"
#include "tests/unit/host/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bootinfo info;
    const char *why;
    char value[16];

    host_log_quiet = true;
    if (bootinfo_parse(&info, data, size, &why)) {
        if (!why)
            abort();
        return 0;
    }
    for (unsigned i = 0; i < info.region_count; i++) {
        if (info.region[i].size == 0)
            abort();
        if (i && info.region[i - 1].start.raw + info.region[i - 1].size > info.region[i].start.raw)
            abort();
    }
    for (unsigned i = 0; i < info.module_count; i++)
        if (strnlen(info.module[i].name, sizeof(info.module[i].name)) == sizeof(info.module[i].name))
            abort();
    (void)bootinfo_option(info.cmdline, "console", value, sizeof(value));
    return 0;
}
