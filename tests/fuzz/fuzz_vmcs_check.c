/*
 * The VM-entry checker on damaged VMCSs. Input: a kind of guest, four bytes of capabilities, then edits of 11
 * bytes: which field (16 bits), what to do with it, 64 bits. The checker reads no field that need not exist,
 * says something if and only if a check fails, and stays in its buffer.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/vmcs_rig.h"

#define HEAD      5u
#define EDIT      11u
#define READS_MAX 400u

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned fields[RIG_FIELDS]; /* those that the rig defines, as indices */
static unsigned field_count;

static void list_fields(const struct rig *rig)
{
    for (unsigned i = 0; i < RIG_FIELDS; i++)
        if (rig->defined[i])
            fields[field_count++] = i;
}

static void damage_capabilities(struct rig *rig, const uint8_t *data)
{
    rig->cap.maxphyaddr = data[0];
    rig->cap.misc ^= (uint64_t)data[1] << 5 | (uint64_t)(data[1] & 1) << 30;
    rig->cap.ept_vpid ^= (uint64_t)data[2] << 6 | (uint64_t)(data[2] & 1) << 21;
    rig->cap.basic ^= (uint64_t)(data[3] & 1) << 48 | (uint64_t)(data[3] & 2) << 54 |
                      (uint64_t)(data[3] & 4) << 54;
    if (data[3] & 8)
        rig->cap.cr4_fixed1 |= BIT(12);
    for (unsigned i = 0; (data[3] & 16) && i < VMX_CONTROLS; i++)
        rig->cap.control[i] = (uint64_t)0xffffffff << 32;
}

static void edit(struct rig *rig, const uint8_t *data)
{
    uint64_t *field = &rig->value[fields[(unsigned)(data[0] | data[1] << 8) % field_count]], value;

    memcpy(&value, data + 3, sizeof(value));
    switch (data[2] & 3) {
    case 0:
        *field = value;
        break;
    case 1:
        *field ^= UINT64_C(1) << (value & 63);
        break;
    case 2:
        *field |= value;
        break;
    default:
        *field &= ~value;
    }
}

static void check(struct rig *rig, bool with_memory)
{
    struct vmcs_view view = rig_view(rig);
    char text[256], cut[40];
    bool good;

    memset(text, 'x', sizeof(text));
    memset(cut, 'x', sizeof(cut));
    if (!with_memory)
        view.load = NULL;
    good = vmcs_check(&view, text, sizeof(text));
    CHECK(rig->illegal == 0 && rig->reads <= READS_MAX);
    CHECK(memchr(text, 0, sizeof(text) - 1) != NULL); /* no text is as long as that */
    CHECK(good == (text[0] == 0));
    CHECK(good || (strstr(text, " 0x") && strstr(text, ": ") && !strchr(text, '\n')));
    for (size_t size = 0; size <= 32; size += 4) {
        CHECK(vmcs_check(&view, cut, size) == good);
        CHECK(cut[size] == 'x');
        CHECK(size == 0 || (strlen(cut) < size && strncmp(cut, text, strlen(cut)) == 0));
        memset(cut, 'x', sizeof(cut));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig rig;

    if (size < HEAD)
        return 0;
    rig_init(&rig, data[0] % RIG_GUESTS);
    if (field_count == 0)
        list_fields(&rig);
    damage_capabilities(&rig, data + 1);
    for (size_t at = HEAD; at + EDIT <= size; at += EDIT)
        edit(&rig, data + at);
    rig.vtpr = size & 1 ? 0xff : 0;
    rig.reads = 0;
    check(&rig, !(data[0] & 0x80));
    return 0;
}
