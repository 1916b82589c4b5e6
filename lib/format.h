/* Formatted text into a bounded buffer. */
#pragma once

#include <stdarg.h>
#include "lib/types.h"

/*
 * Writes at most size - 1 characters and a terminating NUL (nothing when size is 0); returns the length
 * that the whole text has, as snprintf does. Conversions: %d %i %u %x %X %c %s %p %%, the flags - 0 +
 * space #, a width and a precision (digits or *), and the lengths hh h l ll z. Any context may call it.
 */
int format_text(char *to, size_t size, const char *fmt, ...) __printf(3, 4);
int format_text_v(char *to, size_t size, const char *fmt, va_list args) __printf(3, 0);
