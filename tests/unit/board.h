/* What tests of devices stand on: a clock that the test winds, buses of ports and of memory, and a recorded
 * interrupt. */
#pragma once

#include "tests/unit/host/host.h"
#include "vmx/iobus.h"
#include "vmx/irqline.h"
#include "vmx/vclock.h"

struct board {
    struct timer_queue queue;
    struct vclock clock;
    struct iobus ports, mmio;
    struct host_irq irq;
};

static inline void board_init(struct board *board)
{
    host_tsc = 123456789; /* guest time 0 is not host time 0 */
    timer_queue_init(&board->queue);
    vclock_init(&board->clock, HOST_TSC_HZ);
    iobus_init(&board->ports);
    iobus_init(&board->mmio);
    board->irq = (struct host_irq){ 0 };
}

static inline struct irq_line board_line(struct board *board, unsigned pin)
{
    return (struct irq_line){ host_irq_set, &board->irq, pin };
}

static inline void advance(struct board *board, uint64_t ns)
{
    host_advance(&board->queue, ns);
}

static inline uint8_t inb(struct board *board, uint16_t port)
{
    return (uint8_t)iobus_read(&board->ports, port, 1);
}

static inline uint16_t inw(struct board *board, uint16_t port)
{
    return (uint16_t)iobus_read(&board->ports, port, 2);
}

static inline uint32_t inl(struct board *board, uint16_t port)
{
    return (uint32_t)iobus_read(&board->ports, port, 4);
}

static inline void outb(struct board *board, uint16_t port, uint8_t value)
{
    iobus_write(&board->ports, port, 1, value);
}

static inline void outw(struct board *board, uint16_t port, uint16_t value)
{
    iobus_write(&board->ports, port, 2, value);
}

static inline void outl(struct board *board, uint16_t port, uint32_t value)
{
    iobus_write(&board->ports, port, 4, value);
}
