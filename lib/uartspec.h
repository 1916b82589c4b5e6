/* Where a serial port is, and its names: "com2", "0x2f8", "com1,9600". */
#pragma once

#include "lib/types.h"

struct uart_config {
    bool mmio;
    uint64_t base;  /* port or physical address */
    uint8_t stride; /* bytes from one register to the next; 4: accessed 32 bits wide */
    uint32_t baud;  /* 0: leave the divisor as the firmware set it */
    int gsi;        /* global system interrupt, or -1: the line is polled */
    bool isa;       /* gsi is an ISA IRQ number instead, subject to the MADT's overrides */
};

#define UART_DEFAULT_BAUD 115200

/*
 * Understands "com1", "com2", "com3", "com4" or "0x3f8" (a port), each with ",baud"; 8 data bits, no parity,
 * one stop bit always. -EINVAL for anything else.
 */
int uart_parse(struct uart_config *config, const char *text) __must_check;
