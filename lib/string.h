/* The part of <string.h> that the hypervisor uses; same contracts as C17 7.24. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max);
char *strchr(const char *s, int c);

/*
 * Not of C: the next of several names with commas between; as much of it as fits goes to `name`. Returns
 * where the one behind it begins, NULL if there was none.
 */
const char *next_name(const char *list, char *name, size_t size);

/*
 * A freestanding build knows these as ordinary functions only. Named as builtins, small copies of constant
 * size are expanded in place; all others become the calls above.
 */
#if !__STDC_HOSTED__
#define memcpy(to, from, size)  __builtin_memcpy(to, from, size)
#define memmove(to, from, size) __builtin_memmove(to, from, size)
#define memset(to, byte, size)  __builtin_memset(to, byte, size)
#define memcmp(a, b, size)      __builtin_memcmp(a, b, size)
#endif
