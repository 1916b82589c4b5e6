#include "kernel/irq.h"

void irq_dispatch(unsigned vector)
{
    (void)vector;
}
int irq_connect_isa(unsigned isa_irq, irq_handler *handler, void *context)
{
    (void)isa_irq;
    (void)handler;
    (void)context;
    return -1;
}
int irq_connect_gsi(unsigned isa_irq, irq_handler *handler, void *context)
{
    (void)isa_irq;
    (void)handler;
    (void)context;
    return -1;
}
