/*
 * The virtual I/O APIC: an 82093AA with 24 pins, version 0x11, which has no EOI register (so no local APIC
 * offers to suppress the broadcast of EOIs, and level-triggered interrupts need no second exit).
 *
 * All vCPUs of the VM and all of its devices reach it: the caller makes sure that only one CPU is in it at a
 * time. A pin's level means asserted or not, whatever the polarity bit says: firmware tables, guests and
 * device models need not agree about a wire that does not exist.
 */
#pragma once

#include "lib/types.h"
#include "hw/apic.h"
#include "devices/vlapic_bus.h"

#define VIOAPIC_PINS 24

struct vioapic_state {
    uint64_t redirection[VIOAPIC_PINS];
    uint32_t pins;   /* levels */
    uint32_t id;     /* IOAPIC_ID register */
    uint32_t select; /* IOREGSEL: 8 bits */
};

struct vioapic {
    struct vlapic_bus *bus;
    struct vioapic_state state;
};

/* Power-on state. Does not register itself: the VM sets bus->eoi to reach vioapic_eoi(). */
void vioapic_init(struct vioapic *ioapic, struct vlapic_bus *bus);

/* Power-on: every pin masked and low. */
void vioapic_reset(struct vioapic *ioapic);

/* The page at IOAPIC_BASE_DEFAULT. The window takes 32-bit accesses only. */
uint64_t vioapic_read(void *ioapic, uint32_t offset, unsigned size);
void vioapic_write(void *ioapic, uint32_t offset, unsigned size, uint64_t value);

/* irq_line's set(): a pin, 0 to 23, is asserted or released. */
void vioapic_set(void *ioapic, unsigned pin, bool level);

/* A local APIC ended a level-triggered interrupt: asserted pins of that vector send it again. */
void vioapic_eoi(void *ioapic, uint8_t vector);

void vioapic_save(const struct vioapic *ioapic, struct vioapic_state *out);
int vioapic_check(const struct vioapic_state *state) __must_check;
void vioapic_load(struct vioapic *ioapic, const struct vioapic_state *state);
