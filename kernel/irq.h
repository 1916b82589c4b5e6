/*
 * Physical interrupts. They are taken in three places only, with interrupts otherwise off: when a guest exit
 * reports one, in the idle loop, and between steps of work. Handlers run to completion on the CPU's main
 * stack.
 */
#pragma once

#include "lib/types.h"

/* Fixed vectors; the range between IRQ_FIRST and IRQ_LAST is given out by irq_alloc(). */
#define IRQ_FIRST           0x30
#define IRQ_LAST            0xdf
#define IRQ_VECTOR_TIMER    0xe0
#define IRQ_VECTOR_KICK     0xe1
#define IRQ_VECTOR_ERROR    0xfe
#define IRQ_VECTOR_SPURIOUS 0xff

typedef void irq_handler(void *context);

/* A free vector bound to handler, or -ENOSPC. */
int irq_alloc(irq_handler *handler, void *context) __must_check;

/* Binds one of the fixed vectors. */
void irq_bind(unsigned vector, irq_handler *handler, void *context);

/*
 * From the interrupt entry: runs the handler, then acknowledges at the
 * local APIC. An unbound vector is logged once.
 */
void irq_dispatch(unsigned vector);

/*
 * Routes an ISA IRQ (0-15, through the MADT's overrides) to a new vector on this CPU, unmasked.
 * -ENODEV if no I/O APIC has that input, -ENOSPC without a free vector.
 */
int irq_connect_isa(unsigned isa_irq, irq_handler *handler, void *context) __must_check;

/*
 * The same for a global system interrupt that no ISA override concerns:
 * level-triggered, active low, as PCI's are (ACPI 6.4, 5.2.15).
 */
int irq_connect_gsi(unsigned gsi, irq_handler *handler, void *context) __must_check;

/* What is known of a vector (below 256); any CPU may ask. */
struct irq_info {
    bool bound;     /* it has a handler */
    int gsi;        /* of the I/O APIC input that leads to it; -1: none does */
    uint64_t count; /* interrupts since start, on all CPUs */
};

struct irq_info irq_info(unsigned vector);

/* For the boot CPU, once, after acpi.c and before lapic.c: silences the 8259s, brings up the I/O APICs. */
void irq_init(void);
