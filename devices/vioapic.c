/* The virtual I/O APIC. Source: Intel 82093AA data sheet (May 1996), chapter 3. */
#include "devices/vioapic.h"
#include "lib/errno.h"

#define VERSION  0x11u
#define PIN_MASK ((1u << VIOAPIC_PINS) - 1)

/* The bits of a redirection entry that software can write. */
#define RTE_BITS                                                                                             \
    (IOAPIC_RTE_VECTOR | IOAPIC_RTE_MODE | IOAPIC_RTE_LOGICAL | IOAPIC_RTE_ACTIVE_LOW | IOAPIC_RTE_LEVEL |   \
     IOAPIC_RTE_MASKED | IOAPIC_RTE_DEST)

static unsigned mode(uint64_t entry)
{
    return (unsigned)(entry & IOAPIC_RTE_MODE) >> IOAPIC_RTE_MODE_SHIFT;
}

/* 3.2.4: the trigger mode counts for fixed and lowest priority; the other delivery modes are edges. */
static bool is_level(uint64_t entry)
{
    return (entry & IOAPIC_RTE_LEVEL) && (mode(entry) == APIC_MODE_FIXED || mode(entry) == APIC_MODE_LOWEST);
}

static void send(struct vioapic *ioapic, unsigned pin)
{
    uint64_t *entry = &ioapic->state.redirection[pin];
    struct apic_message message = {
        .destination = apic_destination_8((uint32_t)(*entry >> IOAPIC_RTE_DEST_SHIFT)),
        .vector = (uint8_t)*entry,
        .mode = (uint8_t)mode(*entry),
        .logical = *entry & IOAPIC_RTE_LOGICAL,
        .level = is_level(*entry),
        .assert = true,
    };

    if (*entry & IOAPIC_RTE_MASKED)
        return;
    /* A level that nobody takes stays without remote IRR, so the next look at the pin tries again. */
    if (vlapic_bus_send(ioapic->bus, &message) && message.level)
        *entry |= IOAPIC_RTE_REMOTE_IRR;
}

/* An asserted level-triggered pin sends once until it is ended. */
static void look_at_level(struct vioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->state.redirection[pin];

    if ((ioapic->state.pins & 1u << pin) && is_level(entry) && !(entry & IOAPIC_RTE_REMOTE_IRR))
        send(ioapic, pin);
}

void vioapic_set(void *device, unsigned pin, bool level)
{
    struct vioapic *ioapic = device;
    uint32_t bit;

    if (pin >= VIOAPIC_PINS)
        return;
    bit = 1u << pin;
    if (!(ioapic->state.pins & bit) == !level)
        return;
    ioapic->state.pins ^= bit;
    if (!level)
        return;
    /* An edge on a masked pin is lost (3.2.4, interrupt mask). */
    if (is_level(ioapic->state.redirection[pin]))
        look_at_level(ioapic, pin);
    else
        send(ioapic, pin);
}

void vioapic_eoi(void *device, uint8_t vector)
{
    struct vioapic *ioapic = device;

    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
        uint64_t *entry = &ioapic->state.redirection[pin];

        if (!(*entry & IOAPIC_RTE_REMOTE_IRR) || (uint8_t)*entry != vector)
            continue;
        *entry &= ~IOAPIC_RTE_REMOTE_IRR;
        look_at_level(ioapic, pin);
    }
}

static uint32_t read_window(const struct vioapic *ioapic)
{
    uint32_t index = ioapic->state.select, pin = (index - IOAPIC_REDTBL(0)) / 2;

    switch (index) {
    case IOAPIC_ID:
    case IOAPIC_ARB: /* the arbitration id is loaded with the id, 3.2.3 */
        return ioapic->state.id;
    case IOAPIC_VER:
        return VERSION | (VIOAPIC_PINS - 1) << 16;
    default:
        if (index < IOAPIC_REDTBL(0) || pin >= VIOAPIC_PINS)
            return 0;
        return (uint32_t)(ioapic->state.redirection[pin] >> index % 2 * 32);
    }
}

static void write_redirection(struct vioapic *ioapic, unsigned pin, unsigned shift, uint32_t value)
{
    uint64_t *entry = &ioapic->state.redirection[pin];
    uint64_t bits = RTE_BITS & (uint64_t)UINT32_MAX << shift;

    *entry = (*entry & ~bits) | ((uint64_t)value << shift & bits);
    /* Without an EOI register, software ends an interrupt by making the pin edge-triggered for a moment. */
    if (!is_level(*entry))
        *entry &= ~IOAPIC_RTE_REMOTE_IRR;
    look_at_level(ioapic, pin);
}

static void write_window(struct vioapic *ioapic, uint32_t value)
{
    uint32_t index = ioapic->state.select, pin = (index - IOAPIC_REDTBL(0)) / 2;

    if (index == IOAPIC_ID)
        ioapic->state.id = value & IOAPIC_ID_MASK;
    else if (index >= IOAPIC_REDTBL(0) && pin < VIOAPIC_PINS)
        write_redirection(ioapic, pin, index % 2 * 32, value);
}

uint64_t vioapic_read(void *device, uint32_t offset, unsigned size)
{
    const struct vioapic *ioapic = device;

    if (offset == IOAPIC_IOREGSEL)
        return ioapic->state.select;
    return offset == IOAPIC_IOWIN && size == 4 ? read_window(ioapic) : 0;
}

void vioapic_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vioapic *ioapic = device;

    if (offset == IOAPIC_IOREGSEL)
        ioapic->state.select = value & 0xff;
    else if (offset == IOAPIC_IOWIN && size == 4)
        write_window(ioapic, (uint32_t)value);
}

void vioapic_init(struct vioapic *ioapic, struct vlapic_bus *bus)
{
    *ioapic = (struct vioapic){ .bus = bus };
    vioapic_reset(ioapic);
}

void vioapic_reset(struct vioapic *ioapic)
{
    ioapic->state = (struct vioapic_state){ 0 };
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++)
        ioapic->state.redirection[pin] = IOAPIC_RTE_MASKED;
}

void vioapic_save(const struct vioapic *ioapic, struct vioapic_state *out)
{
    *out = ioapic->state;
}

int vioapic_check(const struct vioapic_state *state)
{
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
        uint64_t entry = state->redirection[pin];

        if (entry & ~(RTE_BITS | IOAPIC_RTE_REMOTE_IRR))
            return -EINVAL;
        if ((entry & IOAPIC_RTE_REMOTE_IRR) && !is_level(entry))
            return -EINVAL;
    }
    if ((state->pins & ~PIN_MASK) || (state->id & ~IOAPIC_ID_MASK) || state->select > 0xff)
        return -EINVAL;
    return 0;
}

/* What a pin has sent is in the local APICs' states: nothing is sent anew. */
void vioapic_load(struct vioapic *ioapic, const struct vioapic_state *state)
{
    ioapic->state = *state;
}
