/* The machine's I/O APICs. Source: Intel 82093AA data sheet; ACPI specification 6.4, 5.2.13. */
#pragma once

#include "lib/types.h"

/* Maps all that the MADT lists and masks every input. Boot CPU, once, before interrupts are on. */
void ioapic_init(void);

/*
 * Sends global system interrupt `gsi` as `vector` to the CPU with `apic_id`, unmasked. -ENODEV if no I/O APIC
 * has it, -ERANGE if the APIC id does not fit into 8 bits.
 */
int ioapic_route(unsigned gsi, unsigned vector, uint32_t apic_id, bool level, bool active_low) __must_check;

/* Masks or unmasks an input that was routed. */
void ioapic_mask(unsigned gsi, bool masked);
