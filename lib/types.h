/* The types, sizes and attributes that every file of Plinth shares. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Addresses. Each kind is a type of its own, so that mixing them does not compile; a struct of one
 * register is passed and returned in that register (System V ABI 3.2.3), so it costs nothing.
 * `.raw` leaves the type system: do it where an address meets hardware or a table, not in between.
 */
typedef struct {
    uint64_t raw;
} hpa_t; /* host physical address */

typedef struct {
    uint64_t raw;
} gpa_t; /* guest physical address */

typedef struct {
    uint64_t raw;
} gva_t; /* guest linear address (after segmentation, before paging) */

static inline hpa_t hpa(uint64_t raw)
{
    return (hpa_t){ raw };
}

static inline gpa_t gpa(uint64_t raw)
{
    return (gpa_t){ raw };
}

static inline gva_t gva(uint64_t raw)
{
    return (gva_t){ raw };
}

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

#define PAGE_SHIFT 12
#define PAGE_SIZE  (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK  (PAGE_SIZE - 1)
#define PAGE_2M    (UINT64_C(1) << 21)
#define PAGE_1G    (UINT64_C(1) << 30)

#define BIT(n)                        (UINT64_C(1) << (n))
#define ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

#undef static_assert
#undef __must_check
#undef __packed
#undef __aligned
#undef __printf
#undef __cold
#undef __always_inline
#define static_assert _Static_assert
#define __must_check        __attribute__((warn_unused_result))
#define __printf(fmt, args) __attribute__((format(printf, fmt, args)))
#define __packed            __attribute__((packed))
#define __aligned(n)        __attribute__((aligned(n)))
#define __cold              __attribute__((cold, noinline))
#define __always_inline     inline __attribute__((always_inline))
#define likely(x)           __builtin_expect(!!(x), 1)
#define unlikely(x)         __builtin_expect(!!(x), 0)

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* `align` is a power of two. */
static inline uint64_t align_down(uint64_t x, uint64_t align)
{
    return x & ~(align - 1);
}

/* `align` is a power of two; wraps to 0 above UINT64_MAX - align + 1. */
static inline uint64_t align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t x, uint64_t align)
{
    return (x & (align - 1)) == 0;
}
