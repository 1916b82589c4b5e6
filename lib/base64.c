#include "lib/base64.h"

void base64_encode(char *to, const void *from, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = from;

    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t group = (uint32_t)at[i] << 16;

        if (i + 1 < bytes)
            group |= (uint32_t)at[i + 1] << 8;
        if (i + 2 < bytes)
            group |= at[i + 2];
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = i + 1 < bytes ? digits[group >> 6 & 63] : '=';
        *to++ = i + 2 < bytes ? digits[group & 63] : '=';
    }
    *to = '\0';
}
