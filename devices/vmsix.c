/* MSI-X. Section numbers are those of PCI Local Bus 3.0. */
#include "devices/vmsix.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CAP_ID         0x11u /* 6.8.2.1 */
#define CONTROL_ENABLE BIT(31)
#define CONTROL_MASKED BIT(30)

enum { ADDRESS, ADDRESS_HIGH, DATA, CONTROL };
#define ENTRY_MASKED 1u /* 6.8.2.9 */

/* SDM 11.11.1: bits 31:20 are fixed. The redirection hint adds nothing to the mode of delivery. */
#define MESSAGE_BASE      0xfee00000u
#define MESSAGE_BASE_MASK 0xfff00000u
#define MESSAGE_DEST(a)   (((a) >> 12) & 0xff)
#define MESSAGE_LOGICAL   BIT(2)
#define MESSAGE_MODE(d)   (((d) >> 8) & 7)
#define VALID(count)      (UINT32_MAX >> (32 - (count)))
#define ADDRESS_WRITABLE  0xfffffffcu /* 6.8.2.7: dword aligned */

/* A message elsewhere than to the local APICs would be a write to memory, of which no driver can mean any. */
static void send(struct vmsix *msix, const uint32_t entry[VMSIX_ENTRY / 4])
{
    struct apic_message message = {
        .destination = apic_destination_8(MESSAGE_DEST(entry[ADDRESS])),
        .vector = (uint8_t)entry[DATA],
        .mode = MESSAGE_MODE(entry[DATA]),
        .logical = entry[ADDRESS] & MESSAGE_LOGICAL,
        .assert = true,
    };

    if (entry[ADDRESS_HIGH] == 0 && (entry[ADDRESS] & MESSAGE_BASE_MASK) == MESSAGE_BASE)
        vlapic_bus_send(msix->bus, &message);
}

static bool is_masked(const struct vmsix *msix, unsigned vector)
{
    return msix->masked || (msix->s.table[vector][CONTROL] & ENTRY_MASKED);
}

/* 6.8.2.5: a vector that became pending is sent when nothing masks it any more. */
static void send_pending(struct vmsix *msix)
{
    if (!msix->enabled)
        return;
    for (uint32_t left = msix->s.pending; left; left &= left - 1) {
        unsigned vector = (unsigned)__builtin_ctz(left);

        if (is_masked(msix, vector))
            continue;
        msix->s.pending &= ~(1u << vector);
        send(msix, msix->s.table[vector]);
    }
}

void vmsix_raise(struct vmsix *msix, unsigned vector)
{
    if (vector >= msix->count)
        return;
    lock_take(&msix->lock);
    if (msix->enabled) {
        if (is_masked(msix, vector))
            msix->s.pending |= 1u << vector;
        else
            send(msix, msix->s.table[vector]);
    }
    lock_release(&msix->lock);
}

void vmsix_control(struct vmsix *msix, uint32_t dword)
{
    lock_take(&msix->lock);
    __atomic_store_n(&msix->enabled, (dword & CONTROL_ENABLE) != 0, __ATOMIC_RELAXED);
    msix->masked = dword & CONTROL_MASKED;
    send_pending(msix);
    lock_release(&msix->lock);
}

static uint64_t part(uint32_t dword, uint32_t offset, unsigned size)
{
    return (dword >> (8 * (offset % 4))) & (UINT32_MAX >> (32 - 8 * size));
}

uint64_t vmsix_read_table(struct vmsix *msix, uint32_t offset, unsigned size)
{
    uint32_t value = 0;

    lock_take(&msix->lock);
    if (offset < msix->count * VMSIX_ENTRY)
        value = msix->s.table[offset / VMSIX_ENTRY][offset % VMSIX_ENTRY / 4];
    lock_release(&msix->lock);
    return part(value, offset, size);
}

void vmsix_write_table(struct vmsix *msix, uint32_t offset, unsigned size, uint64_t value)
{
    static const uint32_t writable[] = { ADDRESS_WRITABLE, UINT32_MAX, UINT32_MAX, ENTRY_MASKED };
    unsigned field = offset % VMSIX_ENTRY / 4;

    if (size != 4 || offset >= msix->count * VMSIX_ENTRY)
        return;
    lock_take(&msix->lock);
    msix->s.table[offset / VMSIX_ENTRY][field] = (uint32_t)value & writable[field];
    send_pending(msix);
    lock_release(&msix->lock);
}

uint64_t vmsix_read_pending(struct vmsix *msix, uint32_t offset, unsigned size)
{
    uint32_t value;

    lock_take(&msix->lock);
    value = offset < 4 ? msix->s.pending : 0;
    lock_release(&msix->lock);
    return part(value, offset, size);
}

void vmsix_capability(const struct vmsix *msix, struct vpci_function *function, unsigned dword, unsigned next,
                      unsigned bar, uint32_t table, uint32_t pending)
{
    function->config[dword] = CAP_ID | next << 8 | (msix->count - 1) << 16;
    function->config[dword + 1] = table | bar;
    function->config[dword + 2] = pending | bar;
    function->writable[dword] = CONTROL_ENABLE | CONTROL_MASKED;
}

void vmsix_init(struct vmsix *msix, struct vlapic_bus *bus, unsigned count)
{
    *msix = (struct vmsix){ .bus = bus, .count = count };
    vmsix_reset(msix);
}

void vmsix_reset(struct vmsix *msix)
{
    lock_take(&msix->lock);
    memset(&msix->s, 0, sizeof(msix->s));
    for (unsigned i = 0; i < msix->count; i++)
        msix->s.table[i][CONTROL] = ENTRY_MASKED;
    __atomic_store_n(&msix->enabled, false, __ATOMIC_RELAXED);
    msix->masked = false;
    lock_release(&msix->lock);
}

void vmsix_save(struct vmsix *msix, struct vmsix_state *out)
{
    lock_take(&msix->lock);
    *out = msix->s;
    lock_release(&msix->lock);
}

int vmsix_check(const struct vmsix *msix, const struct vmsix_state *s)
{
    if (s->pending & ~VALID(msix->count))
        return -EINVAL;
    for (unsigned i = 0; i < VMSIX_MAX; i++) {
        const uint32_t *entry = s->table[i];

        if (i >= msix->count && (entry[ADDRESS] | entry[ADDRESS_HIGH] | entry[DATA] | entry[CONTROL]))
            return -EINVAL;
        if ((entry[ADDRESS] & ~ADDRESS_WRITABLE) || (entry[CONTROL] & ~ENTRY_MASKED))
            return -EINVAL;
    }
    return 0;
}

/* What was sent is in the local APICs' states; vmsix_control() follows, and sends what may go by now. */
void vmsix_load(struct vmsix *msix, const struct vmsix_state *state)
{
    lock_take(&msix->lock);
    msix->s = *state;
    lock_release(&msix->lock);
}
