/*
 * The one lock: a ticket spinlock, fair among CPUs. Hypervisor code runs with interrupts off, so there is one
 * kind of it only. What it protects, and its rank against other locks, is said where each lock is defined.
 */
#pragma once

#include "lib/types.h"

/* All zeroes is an unlocked lock. */
struct lock {
    uint32_t next, serving;
};

static inline void lock_take(struct lock *lock)
{
    uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);

    while (unlikely(__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket))
        __builtin_ia32_pause();
}

/* False, at once, if someone holds it. */
static inline bool __must_check lock_try(struct lock *lock)
{
    uint32_t serving = __atomic_load_n(&lock->serving, __ATOMIC_RELAXED);

    return __atomic_compare_exchange_n(&lock->next, &serving, serving + 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static inline void lock_release(struct lock *lock)
{
    __asm__ volatile("addl $1, %0" : "+m"(lock->serving) : : "memory", "cc"); /* only the holder writes it */
}
