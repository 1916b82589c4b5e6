/*
 * The virtual local APIC in page mode, under a hostile guest on a CPU that does part of the work: accesses,
 * interrupts, mode changes and time, decoded from the input, against one without a page.
 */
#include <stdint.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

#include "tests/unit/vlapic_twins.h"

struct input {
    const uint8_t *data;
    size_t size;
};

static uint64_t take(struct input *input, unsigned bytes)
{
    uint64_t value = 0;

    for (; bytes && input->size; bytes--, input->size--)
        value = value << 8 | *input->data++;
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };

    host_log_quiet = true;
    twins_start();
    while (input.size) {
        uint8_t op = (uint8_t)take(&input, 1), how = (uint8_t)take(&input, 1);
        uint64_t a = take(&input, 1), b = take(&input, 1u << (op >> 6));

        twins_act(op & 0xf, (unsigned)(how >> 1) % TWINS, how & 1, a, b);
    }
    return 0;
}
