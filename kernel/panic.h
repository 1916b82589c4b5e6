/* The end of the road for the hypervisor itself; nothing that a guest does may lead here. */
#pragma once

#include "lib/types.h"

/* Logs the message and a backtrace with symbol names, then halts or reboots (command line `panic=`). */
_Noreturn void panic(const char *fmt, ...) __printf(1, 2);

/*
 * The parts of a crash report, for trap.c, which has more to say: the headline; who called whom, from an
 * instruction and its frame pointer; and the end. A crash inside a crash report is cut short by
 * panic_begin().
 */
void panic_begin(const char *fmt, ...) __printf(1, 2);
void panic_backtrace(uint64_t rip, uint64_t rbp);
_Noreturn void panic_end(void);

/* True: reboot after a crash report; false, the default: halt. */
void panic_set_reboot(bool reboot);

/* Checked in DEBUG builds only; for the hypervisor's own invariants, never for guest input. */
#ifdef PLINTH_DEBUG
#define ASSERT(x)                                                                                            \
    do {                                                                                                     \
        if (unlikely(!(x)))                                                                                  \
            panic("assertion failed: %s (%s:%d)", #x, __FILE__, __LINE__);                                   \
    } while (0)
#else
#define ASSERT(x) ((void)sizeof(x))
#endif
