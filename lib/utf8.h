/* UTF-8 (RFC 3629). Any context may call these. */
#pragma once

#include "lib/types.h"

#define UTF8_INVALID (-2)

/*
 * The code point at `s`, of which `left` >= 1 bytes can be read, its length in *length. UTF8_INVALID, length
 * 1, where section 4 allows none: overlong forms, surrogates, values above U+10FFFF, a character cut short.
 */
int32_t utf8_decode(const char *s, size_t left, unsigned *length);

/* Writes the form of a valid code point, returns its length. */
unsigned utf8_encode(uint32_t code, char to[4]);
