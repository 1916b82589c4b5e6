#include "shell/json.h"
#include "lib/string.h"
#include "lib/utf8.h"

#define REPLACEMENT 0xfffdu

/* Control characters, which must not stand there as they are (RFC 8259, section 7). */
static unsigned escape_control(uint8_t c, char to[JSON_ESCAPE_MAX])
{
    static const char hex[] = "0123456789abcdef";

    memcpy(to, "\\u00", 4);
    to[4] = hex[c >> 4];
    to[5] = hex[c & 15];
    return 6;
}

const char *json_escape(const char *text, char to[JSON_ESCAPE_MAX], unsigned *length)
{
    unsigned taken;
    int32_t code = utf8_decode(text, strnlen(text, 4), &taken);

    if (code == UTF8_INVALID) {
        *length = utf8_encode(REPLACEMENT, to);
    } else if (code == '"' || code == '\\') {
        to[0] = '\\';
        to[1] = (char)code;
        *length = 2;
    } else if (code < ' ' || code == 0x7f) {
        *length = escape_control((uint8_t)code, to);
    } else {
        memcpy(to, text, taken);
        *length = taken;
    }
    return text + taken;
}
