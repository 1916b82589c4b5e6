/* Tables of damage to a good VMCS, and what the VM-entry checker must say to each. After cmocka.h. */
#pragma once

#include "tests/unit/vmcs_rig.h"

#define ALL (~UINT64_C(0))
#define SET(field, value)                                                                                    \
    {                                                                                                        \
        VMCS_##field, value, ALL                                                                             \
    }
#define ON(field, bits)                                                                                      \
    {                                                                                                        \
        VMCS_##field, bits, 0                                                                                \
    }
#define OFF(field, bits)                                                                                     \
    {                                                                                                        \
        VMCS_##field, 0, bits                                                                                \
    }
#define EVENT(type, vector) (BIT(31) | (uint64_t)(type) << 8 | (vector))
#define BEYOND              BIT(39)
#define NOT_CANONICAL       UINT64_C(0x0000800000000000)
#define TF                  BIT(8)

struct edit {
    unsigned field;
    uint64_t set, clear;
};

struct damage {
    enum rig_guest guest;
    struct edit edit[3];
    const char *text; /* how the text must begin; NULL: the VMCS is still good */
};

static struct rig rig;
static char text[256];

static inline bool check(void)
{
    struct vmcs_view view = rig_view(&rig);
    bool good = vmcs_check(&view, text, sizeof(text));

    assert_int_equal(rig.illegal, 0);
    assert_int_equal(good, text[0] == 0);
    return good;
}

static inline void expect(const char *begin)
{
    if (check())
        fail_msg("passes, instead of: %s", begin);
    if (strncmp(text, begin, strlen(begin)) != 0)
        fail_msg("says: %s\ninstead of: %s", text, begin);
}

static inline void run(const struct damage *damage, size_t count)
{
    for (; count > 0; damage++, count--) {
        rig_init(&rig, damage->guest);
        for (size_t i = 0; i < ARRAY_SIZE(damage->edit); i++) {
            uint64_t *field = rig_field(&rig, (enum vmcs_field)damage->edit[i].field);

            if (damage->edit[i].set | damage->edit[i].clear)
                *field = (*field & ~damage->edit[i].clear) | damage->edit[i].set;
        }
        if (damage->text)
            expect(damage->text);
        else if (!check())
            fail_msg("should pass, but: %s", text);
    }
}
