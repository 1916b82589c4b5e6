/* Base 64 (RFC 4648 4). */
#pragma once

#include "lib/types.h"

/* Characters for so many bytes, without a NUL. */
#define BASE64_LENGTH(bytes) (((bytes) + 2) / 3 * 4)

/* Writes BASE64_LENGTH(bytes) characters and a NUL. Any context may call it. */
void base64_encode(char *to, const void *from, size_t bytes);
