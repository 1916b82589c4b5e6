#include "lib/utf8.h"

/* The forms of RFC 3629 section 3, by length: first byte under `mask` is `lead`; smaller code points have a
 * shorter form. */
static const struct {
    uint8_t mask, lead;
    int32_t least;
} forms[] = {
    { 0x80, 0x00, 0 },
    { 0xe0, 0xc0, 0x80 },
    { 0xf0, 0xe0, 0x800 },
    { 0xf8, 0xf0, 0x10000 },
};

int32_t utf8_decode(const char *s, size_t left, unsigned *length)
{
    uint8_t first = (uint8_t)s[0];
    unsigned n = 0;

    *length = 1;
    while (n < ARRAY_SIZE(forms) && (first & forms[n].mask) != forms[n].lead)
        n++;
    if (n >= ARRAY_SIZE(forms) || n >= left)
        return UTF8_INVALID;
    int32_t code = first & ~forms[n].mask;
    for (unsigned i = 1; i <= n; i++) {
        if (((uint8_t)s[i] & 0xc0) != 0x80)
            return UTF8_INVALID;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < forms[n].least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return UTF8_INVALID;
    *length = n + 1;
    return code;
}

unsigned utf8_encode(uint32_t code, char to[4])
{
    unsigned n = 0;

    while (n + 1 < ARRAY_SIZE(forms) && code >= (uint32_t)forms[n + 1].least)
        n++;
    for (unsigned i = n; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(forms[n].lead | code);
    return n + 1;
}
