/*
 * C17 7.24 for the hypervisor. Copies and fills are string instructions, which CPUs with ERMSB run at
 * full cache-line width (Intel SDM vol. 1, 7.3.9.3); being assembly, they cannot be turned by the compiler
 * into calls to themselves.
 */
#include "lib/string.h"
#include "lib/types.h"

/* The names in parentheses keep the header's macros, which let the compiler expand small copies, out of the
 * definitions. */

void *(memcpy)(void *restrict to, const void *restrict from, size_t size)
{
    size_t words = size / 8;
    void *d = to;

    size %= 8;
    __asm__ volatile("rep movsq" : "+D"(d), "+S"(from), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(size) : : "memory");
    return to;
}

void *(memmove)(void *to, const void *from, size_t size)
{
    unsigned char *d = to;
    const unsigned char *s = from;

    if ((size_t)d - (size_t)s >= size)
        return (memcpy)(to, from, size);

    /* `to` lies inside the source: copy from the end. */
    d += size - 1;
    s += size - 1;
    __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(d), "+S"(s), "+c"(size) : : "memory", "cc");
    return to;
}

void *(memset)(void *to, int byte, size_t size)
{
    uint64_t pattern = (uint64_t)(unsigned char)byte * UINT64_C(0x0101010101010101);
    size_t words = size / 8;
    void *d = to;

    size %= 8;
    __asm__ volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(pattern) : "memory");
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(size) : "a"(pattern) : "memory");
    return to;
}

int(memcmp)(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a, *y = b;

    for (size_t i = 0; i < size; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

size_t strnlen(const char *s, size_t max)
{
    size_t length = 0;

    while (length < max && s[length])
        length++;
    return length;
}

size_t strlen(const char *s)
{
    return strnlen(s, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t max)
{
    for (size_t i = 0; i < max; i++) {
        unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];

        if (x != y)
            return x < y ? -1 : 1;
        if (!x)
            break;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(size_t)s;
        if (!*s)
            return NULL;
    }
}

const char *next_name(const char *list, char *name, size_t size)
{
    size_t length = 0;

    if (!*list)
        return NULL;
    for (; *list && *list != ','; list++)
        if (length + 1 < size)
            name[length++] = *list;
    name[length] = '\0';
    return *list ? list + 1 : list;
}
