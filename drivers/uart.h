/*
 * The serial line: one 16550-compatible UART at I/O ports or in memory. Source: National Semiconductor
 * PC16550D data sheet, section 8; ACPI's SPCR table for where it is. A UART that is absent or stuck costs
 * time, never a hang.
 */
#pragma once

#include "lib/types.h"
#include "lib/uartspec.h"

/*
 * Sets up the UART, polled. For MMIO, paging must be up. -ENODEV when nothing answers there: a UART in use
 * before stays in use then, and without one uart_write() throws its text away. May be called again with
 * another config, also after uart_start().
 */
int uart_init(const struct uart_config *config) __must_check;

bool uart_present(void);

/* Whether the UART in use is the one at this place. */
bool uart_same(const struct uart_config *config);

/* Whether it interrupts by this number, an ISA IRQ's or a global system interrupt's. */
bool uart_has_irq(int gsi);

/*
 * From polling to interrupts; `received` is called on this CPU with each typed character. Needs irq.c and
 * timers: a UART without a usable interrupt is looked after by a timer, which the log then says.
 */
void uart_start(void (*received)(void *context, char c), void *context);

/* Sends raw bytes through the transmit ring; what does not fit is lost, and a mark stands in its place as
 * soon as there is room. See uart_space(). */
void uart_write(const char *text, size_t length);

/* Bytes that uart_write() takes now without loss. */
size_t uart_space(void);

/* Bytes that wait for the line; at 115200 baud it takes 11.5 of them in a millisecond. */
size_t uart_queued(void);

/* Bytes lost since start because the ring was full or the UART stuck. */
uint64_t uart_lost(void);

/*
 * Waits, bounded, until everything is on the wire; for the last words
 * before power-off, and in a crash. Interrupts are not used.
 */
void uart_flush(void);

/* From now on everything is sent polled: for a crash report, where interrupts no longer come. */
void uart_polled(void);

/*
 * Makes the serial line a sink of the log; \n goes out as \r\n. Again after
 * uart_init() moved it: the new place then gets all of the log.
 */
void uart_log(void);

/*
 * Bytes of the transmit ring that the log leaves to others: however much is logged, who waits for no more
 * than this finds it free in the end.
 */
#define UART_NOT_FOR_LOG 10240

/*
 * What whoever else writes to the line does before and after a line of the log, so that it stands on a line
 * of its own: takes its half-finished line away, and puts it back. Called with the log's lock held:
 * uart_write() only, and at most UART_FRAME_MAX bytes in all. Either may be NULL.
 */
struct uart_log_frame {
    void (*before)(void);
    void (*after)(void);
};

#define UART_FRAME_MAX 192

void uart_log_frame(const struct uart_log_frame *around);
