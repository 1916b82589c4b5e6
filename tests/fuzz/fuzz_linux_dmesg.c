/*
 * A guest that looks like Linux, damaged: whatever its memory holds, the log is read to an end, in lines that
 * can be printed. Input: damages of four bytes each, where (24 bits, in the rig's memory) and what.
 */
#include <stdlib.h>
#include "tests/unit/dmesg_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void read_all(const struct gmem *mem)
{
    static struct linux_dmesg dmesg;
    char line[DMESG_LINE_MAX];
    unsigned lines = 0, steps = 0;
    size_t length;

    linux_dmesg_init(&dmesg, mem);
    while (linux_dmesg_search(&dmesg))
        check(++steps < 100);
    linux_dmesg_tail(&dmesg, 30);
    while ((length = linux_dmesg_next(&dmesg, line)) != 0) {
        check(++lines <= 30 && length < sizeof(line) && strlen(line) == length);
        for (size_t i = 0; i < length; i++)
            check(line[i] >= ' ' && line[i] <= '~');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gmem mem;

    host_log_quiet = true;
    rig_init(&mem);
    for (unsigned i = 0; i < 24; i++)
        rig_print(&mem, i * 1000000, i % 3 ? "a line of the log" : "another, longer line of the log");
    for (; size >= 4; data += 4, size -= 4) {
        uint32_t at = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16;

        *(uint8_t *)rig_at(&mem, RIG_BASE + at % RIG_SIZE) = data[3];
    }
    read_all(&mem);
    host_gmem_free(&mem);
    return 0;
}
