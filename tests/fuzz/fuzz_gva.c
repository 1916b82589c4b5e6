/*
 * Walks random page tables. Input: six bytes of mode, four of a first linear address, the tables. The walker
 * touches accessed and dirty bits only, and says the same when it is asked again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "tests/unit/host/host.h"
#include "vmx/gva.h"

#define TABLES 0x4000u /* bytes that the input fills, over and over */

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gva_mode make_mode(const uint8_t *data, const uint8_t *tables)
{
    struct gva_mode mode = {
        .cr0 = (data[0] & 1 ? 0 : BIT(31)) | (data[0] & 2 ? BIT(16) : 0),
        .cr3 = (data[1] * UINT64_C(0x1020)) | (data[2] == 0xff ? UINT64_C(0xffffffff00000000) : 0),
        .cr4 = (data[3] & 1 ? BIT(4) : 0) | (data[3] & 2 ? BIT(5) : 0) | (data[3] & 4 ? BIT(20) : 0) |
               (data[3] & 8 ? BIT(21) : 0),
        .efer = (data[4] & 1 ? BIT(10) : 0) | (data[4] & 2 ? BIT(11) : 0),
        .cpl = data[5] & 3,
        .rflags_ac = data[5] & 4,
        .use_pdpte = data[5] & 8,
    };

    memcpy(mode.pdpte, tables, sizeof(mode.pdpte));
    return mode;
}

/* Bits 5 and 6 of the lowest byte of an entry may have been set. */
static void check_tables(const uint8_t *now, const uint8_t *before)
{
    for (unsigned i = 0; i < TABLES; i += 8) {
        uint64_t a, b;

        memcpy(&a, now + i, 8);
        memcpy(&b, before + i, 8);
        CHECK((a & b) == b && ((a ^ b) & ~UINT64_C(0x0000006000000060)) == 0);
    }
}

static void walk(const struct gmem *mem, const struct gva_mode *mode, gva_t address, unsigned access)
{
    gpa_t first, second;
    uint32_t error = 0;
    int status = gva_translate(mem, mode, address, access, &first, &error);

    if (status == 0) {
        CHECK(first.raw < BIT(52));
        CHECK((first.raw & PAGE_MASK) == (address.raw & PAGE_MASK));
        if (gva_translate(mem, mode, address, access, &second, &error) == 0)
            CHECK(first.raw == second.raw);
        else /* only where an accessed bit was set in what serves as PDPTE too, and is reserved there */
            CHECK(!(mode->efer & BIT(10)) && (mode->cr4 & BIT(5)) && !mode->use_pdpte);
        return;
    }
    CHECK(status == -EFAULT);
    CHECK((error & ~0x1fu) == 0);
    CHECK(((error & 2) != 0) == ((access & GVA_WRITE) != 0));
    CHECK(!(error & 8) || (error & 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gmem mem;
    static uint8_t before[TABLES];
    struct gva_mode mode;
    uint64_t address;
    uint8_t *tables;

    if (size < 10 + sizeof(mode.pdpte))
        return 0;
    host_log_quiet = true;
    if (mem.count == 0)
        host_gmem_init(&mem, GMEM_CHUNK);
    tables = mem.slot[0].chunk[0];
    for (size_t i = 0; i < TABLES; i += size - 10)
        memcpy(before + i, data + 10, min_u64(size - 10, TABLES - i));
    memcpy(tables, before, TABLES);
    mode = make_mode(data, data + 10);
    address = data[6] | (uint64_t)data[7] << 12 | (uint64_t)data[8] << 21 | (uint64_t)data[9] << 36;
    for (unsigned i = 0; i < 16; i++)
        walk(&mem, &mode, gva(address + i * UINT64_C(0x40201000)), i & 7);
    check_tables(tables, before);
    return 0;
}
