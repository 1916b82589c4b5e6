/*
 * Where a guest's serial port and the wire meet: two byte rings. The device model puts what the guest
 * sends and takes what is typed; the console's owner does the opposite. Each ring has one writer and one
 * reader, who may be on different CPUs without a lock. Several devices of a VM may share its console: the
 * VM's lock makes them one writer and one reader, and one of them listens. Compiles on the host.
 */
#pragma once

#include "lib/types.h"

#define CONSOLE_OUT 65536 /* scrollback as well as output: the oldest byte gives way */
#define CONSOLE_IN  1024

struct console {
    char out[CONSOLE_OUT];
    uint64_t out_head; /* bytes ever written; the next goes to out[out_head % CONSOLE_OUT] */
    uint64_t out_tail; /* where the wire takes the next byte */
    uint64_t out_seen; /* bytes that the wire has taken at least once; >= out_tail */
    char in[CONSOLE_IN];
    uint32_t in_head, in_tail;           /* free-running */
    void (*output_ready)(void *context); /* a byte was written: the wire may want to look; NULL: nobody */
    void (*input_ready)(void *context);  /* a byte was typed: the device may want to raise an interrupt */
    void *output_context, *input_context;
};

void console_init(struct console *console);

/* For the device model. */
void console_put(struct console *console, char c);  /* guest output; never blocks, never fails */
bool console_get(struct console *console, char *c); /* typed input; false: none */
bool console_has_input(const struct console *console);
void console_write(struct console *console, const void *bytes, size_t size); /* console_put() of many */

/*
 * What is typed is for this device from now on, and so is what waits: input_ready(context) is called for it
 * at once. A device that does not listen takes nothing.
 */
void console_listen(struct console *console, void (*input_ready)(void *context), void *context);

static inline bool console_listens(const struct console *console, const void *context)
{
    return console->input_context == context;
}

/*
 * For the wire. console_type() calls input_ready, so it belongs on the CPU that owns the device; it returns
 * false if the ring is full and the byte not taken. console_take() moves up to `size` bytes from where the
 * wire stands, at first the oldest that it has not seen, and sets *lost to the number that were overwritten
 * before it came (all but the last CONSOLE_OUT - 1 are).
 */
bool console_type(struct console *console, char c);
size_t console_take(struct console *console, char *to, size_t size, uint64_t *lost);

/*
 * Output stays where it is until it is overwritten, so the wire may go back: console_replay() to the oldest
 * byte that is kept; console_rewind() to what was never seen, and before it up to `lines` >= 1 lines that
 * were, of at most `bytes` bytes.
 */
void console_replay(struct console *console);
void console_rewind(struct console *console, unsigned lines, size_t bytes);

/* The position of the oldest byte that is kept; positions count from the first byte ever put. */
uint64_t console_oldest(const struct console *console);
uint64_t console_end(const struct console *console); /* behind the newest one */

/*
 * For another reader, with a position *at of its own, from 0: copies bytes and moves *at, as console_take()
 * does. It takes nothing from the wire. A position beyond the end counts as the end.
 */
size_t console_read(const struct console *console, uint64_t *at, char *to, size_t size, uint64_t *lost);
