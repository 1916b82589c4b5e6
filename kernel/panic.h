/* The end of the road for the hypervisor itself; nothing that a guest does may lead here. */
#pragma once

#include "lib/types.h"

/* Logs the message, registers and a backtrace with symbol names, then halts or reboots (command line `panic=`). */
_Noreturn void panic(const char *fmt, ...) __printf(1, 2);

/* Checked in DEBUG builds only; for the hypervisor's own invariants, never for guest input. */
#ifdef PLINTH_DEBUG
#define ASSERT(x)                                                                                                    \
    do {                                                                                                             \
        if (unlikely(!(x)))                                                                                          \
            panic("assertion failed: %s (%s:%d)", #x, __FILE__, __LINE__);                                           \
    } while (0)
#else
#define ASSERT(x) ((void)sizeof(x))
#endif
