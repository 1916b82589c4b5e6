/*
 * Small objects of the hypervisor itself, zeroed, aligned to 16 bytes. Never used on an exit path. Any CPU
 * may call. Compiles on the host.
 */
#pragma once

#include "lib/types.h"

/* NULL when memory is short or size is 0 or above 4 MiB. */
void *heap_alloc(size_t size) __must_check;

/* `at` is NULL or came from heap_alloc(); checked, panics on a double free. */
void heap_free(void *at);

uint64_t heap_used(void); /* bytes in live objects, rounded to their size classes */
