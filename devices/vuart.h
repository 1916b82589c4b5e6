/*
 * A 16550A UART: National Semiconductor PC16550D data sheet, June 1995, wired as
 * COM1 of a PC. What the guest sends goes to its console at once; what is typed there waits in the console's
 * ring until the receiver has room, so typing never overruns it. If the console is shared with another
 * device, what is typed is for the one that put the last output there.
 */
#pragma once

#include "lib/types.h"
#include "io/console.h"
#include "vmx/iobus.h"
#include "vmx/irqline.h"
#include "vmx/vclock.h"

#define VUART_COM1_PORT 0x3f8
#define VUART_COM1_IRQ  4
#define VUART_FIFO      16

struct vuart_state {
    uint64_t timeout_ns; /* when the character timeout is due; UINT64_MAX: not running */
    uint8_t dll, dlm, ier, fcr, lcr, mcr, lsr, msr, scr;
    uint8_t thre_pending;    /* an unacknowledged "transmitter holding register empty" */
    uint8_t timeout_pending; /* an unacknowledged character timeout */
    uint8_t count;           /* characters in fifo[]: at most 16, or 1 while the FIFOs are off */
    uint8_t head;            /* index of the oldest one */
    uint8_t fifo[VUART_FIFO];
    uint8_t reserved[3]; /* 0 */
};

static_assert(sizeof(struct vuart_state) == 40, "no hidden padding");

struct vuart {
    struct vuart_state s;
    struct irq_line irq;
    struct console *console;
    struct vtimer timeout;
};

/* It listens at *console. All calls below belong on the CPU that owns the VM's devices.
 */
void vuart_init(struct vuart *uart, const struct vclock *clock, struct timer_queue *queue,
                struct irq_line irq, struct console *console);
void vuart_reset(struct vuart *uart);
void vuart_save(const struct vuart *uart, struct vuart_state *out);
int vuart_check(const struct vuart_state *state) __must_check;
void vuart_load(struct vuart *uart, const struct vuart_state *state);

/* The console's input_ready: takes typed bytes as far as there is room. `uart` is a struct vuart. */
void vuart_input(void *uart);

/* Handlers of the 8 ports from the UART's base on, for byte accesses. */
uint64_t vuart_read(void *uart, uint32_t offset, unsigned size);
void vuart_write(void *uart, uint32_t offset, unsigned size, uint64_t value);

/* Registers the ports; errors are those of iobus_add(). */
int vuart_attach(struct vuart *uart, struct iobus *ports, uint16_t base) __must_check;
