/*
 * What the local APICs of one VM share: interrupt messages and where they go.
 * Source: Intel SDM vol. 3, 11.6 and 11.12.10; AMD APM vol. 2, 16.5.
 */
#pragma once

#include "lib/types.h"
#include "hw/apic.h"

#define VLAPIC_BUS_MAX 16 /* local APICs of a VM; their ids are 0 to 15 */

struct vlapic;

/* An interrupt message: from an ICR, an I/O APIC pin, or a device's MSI. */
struct apic_message {
    uint32_t destination; /* id, or logical set; APIC_BROADCAST_32: everyone. 8-bit ones through
                             apic_destination_8() */
    uint8_t vector;
    uint8_t mode; /* APIC_MODE_ */
    bool logical; /* destination mode */
    bool level;   /* trigger mode; of INIT and of what an I/O APIC sends */
    bool assert;  /* a level INIT with false is the de-assert message, which nobody heeds */
};

struct vlapic_bus {
    struct vlapic *lapic[VLAPIC_BUS_MAX]; /* by id; written by vlapic_init() */
    unsigned count;                       /* highest id + 1 */
    /* A vCPU ended a level-triggered interrupt; called on its CPU. NULL: nobody listens. */
    void (*eoi)(void *ioapic, uint8_t vector);
    void *ioapic;
};

/* The destination field of xAPIC, I/O APIC and MSI has 8 bits, and all of them set means everyone. */
static inline uint32_t apic_destination_8(uint32_t field)
{
    return (field & 0xff) == APIC_BROADCAST_8 ? APIC_BROADCAST_32 : field & 0xff;
}

/*
 * Delivers the message to every local APIC that it names (lowest priority: to the one of them with the lowest
 * PPR). Any CPU may call. False if none took it: no such id, or it was disabled.
 */
bool vlapic_bus_send(struct vlapic_bus *bus, const struct apic_message *message);

/* Executes the command in lapic's ICR. Its own vCPU's CPU only; for vlapic.c. */
void vlapic_send_ipi(struct vlapic *lapic);
