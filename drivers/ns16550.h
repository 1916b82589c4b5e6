/*
 * A 16550-compatible UART at I/O ports or in memory: its registers, and how it is found and set up. What is
 * sent and received is its owner's affair: uart.c has the wire, shell/ports.c the consoles on ports of their
 * own. Source: National Semiconductor PC16550D data sheet.
 */
#pragma once

#include "lib/types.h"
#include "lib/uartspec.h"

/* Registers. Source: PC16550D data sheet, table II. */
#define UART_RBR 0 /* read: received byte */
#define UART_THR 0 /* write: byte to send */
#define UART_DLL 0 /* divisor, low byte, while LCR.DLAB */
#define UART_IER 1
#define UART_DLM 1 /* divisor, high byte, while LCR.DLAB */
#define UART_IIR 2 /* read */
#define UART_FCR 2 /* write */
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define UART_MSR 6
#define UART_SCR 7

#define IER_RECEIVED       0x01
#define IER_TRANSMIT_EMPTY 0x02
#define IIR_NONE           0x01
#define IIR_FIFOS          0xc0 /* both set: a 16550A, its FIFOs are on */
#define FCR_ENABLE         0x01
#define FCR_CLEAR          0x06 /* both FIFOs */
#define FCR_TRIGGER_8      0x80
#define LCR_8N1            0x03
#define LCR_DLAB           0x80
#define MCR_DTR_RTS        0x03
#define MCR_OUT2           0x08 /* on a PC: connects the interrupt line */
#define LSR_DATA_READY     0x01
#define LSR_THRE           0x20
#define LSR_TEMT           0x40

struct ns16550 {
    struct uart_config config;
    volatile uint8_t *registers; /* MMIO only */
    unsigned fifo;               /* bytes that an empty transmitter takes */
};

/*
 * Finds and sets up the UART: 8N1, FIFOs on where it has some, no interrupts enabled. For MMIO, paging must
 * be up. -ENODEV: nothing answers there; -ENOMEM.
 */
int ns16550_open(struct ns16550 *port, const struct uart_config *config) __must_check;

uint8_t ns16550_read(const struct ns16550 *port, unsigned reg);
void ns16550_write(const struct ns16550 *port, unsigned reg, uint8_t value);
