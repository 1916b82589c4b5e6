#include "kernel/irq.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/ioapic.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/percpu.h"
#include "kernel/log.h"
#include "lib/errno.h"

#define VECTORS 256

/* The 8259s, only to silence them. Source: Intel 8259A data sheet, "Initialization command words". */
#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1
#define PIC_ICW1     0x11
#define PIC1_VECTORS 0x20
#define PIC2_VECTORS 0x28

/* Bound once each, on the boot CPU, before the interrupt can come. */
static struct {
    irq_handler *handler;
    void *context;
    int gsi;        /* of the I/O APIC input that is routed here; -1: none */
    uint64_t count; /* interrupts on all CPUs; atomic */
} bound[VECTORS];

static void bind(unsigned vector, irq_handler *handler, void *context)
{
    bound[vector].context = context;
    bound[vector].gsi = -1;
    bound[vector].handler = handler;
}

int irq_alloc(irq_handler *handler, void *context)
{
    for (unsigned vector = IRQ_FIRST; vector <= IRQ_LAST; vector++) {
        if (bound[vector].handler)
            continue;
        bind(vector, handler, context);
        return (int)vector;
    }
    return -ENOSPC;
}

static void irq_free(unsigned vector)
{
    bind(vector, NULL, NULL);
}

void irq_bind(unsigned vector, irq_handler *handler, void *context)
{
    bind(vector, handler, context);
}

/* A spurious interrupt is not in service: it wants no EOI (SDM vol. 3, 11.9). */
static __cold void dispatch_unbound(unsigned vector)
{
    uint64_t before = __atomic_fetch_add(&bound[vector].count, 1, __ATOMIC_RELAXED);

    if (vector == IRQ_VECTOR_SPURIOUS)
        return;
    if (before == 0)
        log_warn("irq: interrupt on vector %02x, which nobody asked for; further ones are not shown", vector);
    lapic_eoi();
}

void irq_dispatch(unsigned vector)
{
    if (unlikely(!bound[vector].handler)) {
        dispatch_unbound(vector);
        return;
    }
    __atomic_fetch_add(&bound[vector].count, 1, __ATOMIC_RELAXED);
    bound[vector].handler(bound[vector].context);
    lapic_eoi();
}

static int connect(unsigned gsi, bool level, bool active_low, irq_handler *handler, void *context)
{
    int vector = irq_alloc(handler, context);
    int error;

    if (vector < 0)
        return vector;
    error = ioapic_route(gsi, (unsigned)vector, this_cpu()->apic_id, level, active_low);
    if (error)
        irq_free((unsigned)vector);
    else
        bound[vector].gsi = (int)gsi;
    return error;
}

int irq_connect_isa(unsigned isa_irq, irq_handler *handler, void *context)
{
    if (isa_irq >= ACPI_ISA_IRQS)
        return -ENODEV;
    return connect(acpi.isa[isa_irq].gsi, acpi.isa[isa_irq].level, acpi.isa[isa_irq].active_low, handler,
                   context);
}

int irq_connect_gsi(unsigned gsi, irq_handler *handler, void *context)
{
    return connect(gsi, true, true, handler, context);
}

struct irq_info irq_info(unsigned vector)
{
    return (struct irq_info){ .bound = bound[vector].handler != NULL,
                              .gsi = bound[vector].handler ? bound[vector].gsi : -1,
                              .count = __atomic_load_n(&bound[vector].count, __ATOMIC_RELAXED) };
}

/* Their vectors move out of the exceptions' way first: a spurious IRQ 7 cannot be masked. */
static void silence_8259s(void)
{
    out8(PIC1_COMMAND, PIC_ICW1);
    out8(PIC2_COMMAND, PIC_ICW1);
    out8(PIC1_DATA, PIC1_VECTORS);
    out8(PIC2_DATA, PIC2_VECTORS);
    out8(PIC1_DATA, 0x04); /* ICW3: the slave is at input 2 */
    out8(PIC2_DATA, 0x02);
    out8(PIC1_DATA, 0x01); /* ICW4: 8086 mode */
    out8(PIC2_DATA, 0x01);
    out8(PIC1_DATA, 0xff);
    out8(PIC2_DATA, 0xff);
}

void irq_init(void)
{
    if (acpi.has_8259)
        silence_8259s();
    ioapic_init();
}
