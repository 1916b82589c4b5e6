/* The physical local APIC of this CPU, xAPIC or x2APIC. Source: AMD APM vol. 2, 16; Intel SDM vol. 3, 11. */
#pragma once

#include "lib/types.h"

/*
 * Chooses the mode (x2APIC where the CPU offers it), enables the APIC, masks its LVT,
 * notes the CPU's APIC id. Each CPU once. Panics without an APIC.
 */
void lapic_init(void);

void lapic_eoi(void);
uint32_t lapic_id(void);

/*
 * Makes IRQ_VECTOR_TIMER come when the TSC reaches `deadline` (host ticks; TIMER_NEVER: not at all). At once
 * if that is past. Uses TSC-deadline mode where CPUID offers it, else the APIC timer's one-shot mode, whose
 * range is cut: it may fire early, and the caller then finds no timer due and programs it again. Cheap to
 * call with the deadline already programmed.
 */
void lapic_timer_program(uint64_t deadline);

/* Sends a fixed interrupt to another CPU. */
void lapic_send_ipi(uint32_t apic_id, unsigned vector);

/* The same for an NMI. */
void lapic_send_nmi(uint32_t apic_id);

/*
 * INIT: the CPU drops what it does and waits for a start-up IPI, which has it run real-mode code from the
 * start of `page`, below 1 MiB. Source: SDM vol. 3, 9.4 and 11.6.1; APM vol. 2, 16.5.
 */
void lapic_send_init(uint32_t apic_id);
void lapic_send_startup(uint32_t apic_id, hpa_t page);

/* Whether an interrupt can be sent to this id: beyond 254, that takes x2APIC mode. */
bool lapic_reaches(uint32_t apic_id);
