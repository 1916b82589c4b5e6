#include "guests/boot.h"
#include "lib/errno.h"
#include "lib/format.h"

uint64_t guest_low_end(const struct gmem *mem)
{
    return mem->count ? min_u64(mem->slot[0].size, GUEST_LOW_MAX) : 0;
}

unsigned guest_e820(const struct gmem *mem, struct e820_entry map[E820_MAX])
{
    unsigned count = 0;

    map[count++] = (struct e820_entry){ 0, GUEST_HOLE_BASE, E820_RAM };
    map[count++] = (struct e820_entry){ GUEST_BIOS_BASE, MiB - GUEST_BIOS_BASE, E820_RESERVED };
    map[count++] = (struct e820_entry){ MiB, guest_low_end(mem) - MiB, E820_RAM };
    for (unsigned i = 1; i < mem->count && count < E820_MAX; i++)
        map[count++] = (struct e820_entry){ mem->slot[i].base.raw, mem->slot[i].size, E820_RAM };
    return count;
}

int load_refuse(struct load_error *error, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    format_text_v(error->text, sizeof(error->text), fmt, args);
    va_end(args);
    return -ENOEXEC;
}
