/*
 * The virtual 8259 pair under a hostile guest. Two of them get the same; the second is now and then replaced
 * by what the first saves. They must never differ.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/host/host.h"
#include "devices/vpic.h"

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static struct vpic first, second;
static struct host_irq intr;

/* One operation of the guest or its devices; its visible result. */
static uint64_t act(struct vpic *pic, uint8_t op, uint8_t value)
{
    uint32_t offset = op >> 4 & 1;

    switch (op & 0xf) {
    case 0:
        return vpic_master_read(pic, offset, 1);
    case 1:
        return vpic_slave_read(pic, offset, 1);
    case 2:
        return vpic_elcr_read(pic, offset, 1);
    case 3:
    case 4:
        vpic_master_write(pic, offset, 1, value);
        return 0;
    case 5:
    case 6:
        vpic_slave_write(pic, offset, 1, value);
        return 0;
    case 7:
        vpic_elcr_write(pic, offset, 1, value);
        return 0;
    case 8:
    case 9:
        vpic_set(pic, value & 0x1f, value >> 7);
        return 0;
    default:
        return (uint64_t)vpic_acknowledge(pic);
    }
}

static void move(uint8_t at, uint8_t change)
{
    struct vpic_state state;

    vpic_save(&first, &state);
    REQUIRE(vpic_check(&state) == 0);
    ((uint8_t *)&state)[at % sizeof(state)] ^= change;
    if (vpic_check(&state))
        return;
    if (change)
        vpic_load(&first, &state);
    vpic_reset(&second);
    vpic_load(&second, &state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct irq_line line = { host_irq_set, &intr, 0 }, none = { 0 };

    host_log_quiet = true;
    memset(&intr, 0, sizeof(intr));
    vpic_init(&first, &line);
    vpic_init(&second, &none);
    for (; size >= 2; data += 2, size -= 2) {
        if ((data[0] & 0xf) < 0xe)
            REQUIRE(act(&first, data[0], data[1]) == act(&second, data[0], data[1]));
        else if ((data[0] & 0xf) == 0xe)
            move(0, 0);
        else
            move(data[0] >> 4, data[1]);
        REQUIRE(intr.level == vpic_pending(&first));
        REQUIRE(vpic_pending(&first) == vpic_pending(&second));
    }
    return 0;
}
