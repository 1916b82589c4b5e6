/* From a message to the local APICs that it names, and from an ICR to a message. */
#include "devices/vlapic_bus.h"
#include "devices/vlapic.h"

/* Sets of local APICs are bit masks over their ids. */
static uint32_t everyone(const struct vlapic_bus *bus)
{
    uint32_t set = 0;

    for (unsigned id = 0; id < bus->count; id++)
        if (bus->lapic[id])
            set |= 1u << id;
    return set;
}

/* SDM 11.6.2.2 and 11.12.10.2: whether a logical destination other than broadcast names this local APIC. */
static bool in_logical_set(const struct vlapic *lapic, uint32_t destination)
{
    uint32_t logical_id = lapic->state.ldr >> APIC_ID_SHIFT;

    if (vlapic_x2apic(lapic))
        return destination >> 16 == lapic->id >> 4 && (destination & 1u << (lapic->id & 0xf));
    if (destination > 0xff)
        return false;
    switch (lapic->state.dfr & APIC_DFR_MODEL) {
    case APIC_DFR_FLAT:
        return destination & logical_id;
    case APIC_DFR_CLUSTER:
        return destination >> 4 == logical_id >> 4 && (destination & logical_id & 0xf);
    default:
        return false; /* the other models are undefined */
    }
}

static uint32_t destination_set(const struct vlapic_bus *bus, const struct apic_message *message)
{
    uint32_t destination = message->destination, set = 0;

    if (destination == APIC_BROADCAST_32)
        return everyone(bus);
    if (!message->logical)
        return destination < bus->count && bus->lapic[destination] ? 1u << destination : 0;
    for (unsigned id = 0; id < bus->count; id++)
        if (bus->lapic[id] && in_logical_set(bus->lapic[id], destination))
            set |= 1u << id;
    return set;
}

/* SDM 11.4.7.2: fixed interrupts are taken only while the APIC is enabled by software, too. */
static bool takes_fixed(const struct vlapic *lapic)
{
    return vlapic_enabled(lapic) && (lapic->state.svr & APIC_SVR_ENABLE);
}

/* PPR, from any CPU: in page mode perhaps one that the vCPU has just left. */
static uint32_t priority(const struct vlapic *lapic)
{
    const uint32_t *page = __atomic_load_n(&lapic->page, __ATOMIC_ACQUIRE);

    return page ? __atomic_load_n(&page[APIC_PPR / 4], __ATOMIC_RELAXED) : lapic->ppr;
}

/* SDM 11.6.2.4: the one of the set that runs at the lowest priority; the lowest id among equals. */
static uint32_t lowest_priority(const struct vlapic_bus *bus, uint32_t set)
{
    const struct vlapic *best = NULL;

    for (unsigned id = 0; id < bus->count; id++) {
        const struct vlapic *lapic = set & 1u << id ? bus->lapic[id] : NULL;

        if (lapic && takes_fixed(lapic) && (!best || priority(lapic) < priority(best)))
            best = lapic;
    }
    return best ? 1u << best->id : 0;
}

static bool deliver(struct vlapic *lapic, const struct apic_message *message)
{
    if (!vlapic_enabled(lapic))
        return false;
    switch (message->mode) {
    case APIC_MODE_FIXED:
    case APIC_MODE_LOWEST:
        if (!takes_fixed(lapic))
            return false;
        vlapic_request(lapic, message->vector, message->level);
        return true;
    case APIC_MODE_NMI:
        lapic->up->nmi(lapic->vcpu);
        return true;
    case APIC_MODE_INIT:
        if (message->assert || !message->level)
            lapic->up->init(lapic->vcpu);
        return true;
    case APIC_MODE_STARTUP:
        lapic->up->startup(lapic->vcpu, message->vector);
        return true;
    default:
        return true; /* SMI: there is no SMM; ExtINT: only pins carry it */
    }
}

static bool deliver_to_set(struct vlapic_bus *bus, uint32_t set, const struct apic_message *message)
{
    bool taken = false;

    if (message->mode == APIC_MODE_LOWEST)
        set = lowest_priority(bus, set);
    for (; set; set &= set - 1)
        taken |= deliver(bus->lapic[__builtin_ctz(set)], message);
    return taken;
}

bool vlapic_bus_send(struct vlapic_bus *bus, const struct apic_message *message)
{
    return deliver_to_set(bus, destination_set(bus, message), message);
}

/* SDM table 11-3: the shorthands that include the sender are for fixed interrupts only. */
static bool shorthand_set(const struct vlapic *lapic, const struct apic_message *message, uint32_t *set)
{
    uint32_t self = 1u << lapic->id;

    switch (lapic->state.icr & APIC_ICR_SHORTHAND) {
    case 0:
        *set = destination_set(lapic->bus, message);
        return true;
    case APIC_ICR_SELF:
        *set = self;
        return message->mode == APIC_MODE_FIXED;
    case APIC_ICR_ALL:
        *set = everyone(lapic->bus);
        return message->mode == APIC_MODE_FIXED;
    default:
        *set = everyone(lapic->bus) & ~self;
        return true;
    }
}

static __attribute__((noinline)) void send_any(struct vlapic *lapic, uint64_t icr, uint32_t destination)
{
    uint32_t mode = (uint32_t)(icr & APIC_ICR_MODE) >> APIC_ICR_MODE_SHIFT, set;
    bool fixed = mode == APIC_MODE_FIXED || mode == APIC_MODE_LOWEST;
    struct apic_message message = {
        .destination = destination,
        .vector = (uint8_t)icr,
        .mode = (uint8_t)mode,
        .logical = icr & APIC_ICR_LOGICAL,
        /* SDM 11.6.1: the trigger mode counts for the INIT de-assert message only; other IPIs are edges. */
        .level = mode == APIC_MODE_INIT && (icr & APIC_ICR_LEVEL),
        .assert = icr & APIC_ICR_ASSERT,
    };

    if (fixed && message.vector < 16) {
        vlapic_error(lapic, APIC_ESR_SEND_VECTOR);
        return;
    }
    if (shorthand_set(lapic, &message, &set))
        deliver_to_set(lapic->bus, set, &message);
}

void vlapic_send_ipi(struct vlapic *lapic)
{
    const uint32_t general = APIC_ICR_MODE | APIC_ICR_LOGICAL | APIC_ICR_SHORTHAND;
    uint64_t icr = lapic->state.icr;
    uint32_t destination = vlapic_x2apic(lapic) ? (uint32_t)(icr >> 32)
                                                : apic_destination_8((uint32_t)(icr >> 56));

    /* Nearly all IPIs are fixed ones to a single CPU. */
    if (likely(!(icr & general) && destination < VLAPIC_BUS_MAX && (uint8_t)icr >= 16)) {
        struct vlapic *target = lapic->bus->lapic[destination];

        if (target && takes_fixed(target))
            vlapic_request(target, (uint8_t)icr, false);
        return;
    }
    send_any(lapic, icr, destination);
}
