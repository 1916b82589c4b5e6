#include "lib/uartspec.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Parses digits of `base`; NULL if there are none or the value exceeds max. */
static const char *parse_number(const char *text, unsigned base, uint32_t max, uint32_t *value)
{
    const char *start = text;
    uint64_t number = 0;

    for (;; text++) {
        unsigned digit;

        if (*text >= '0' && *text <= '9')
            digit = (unsigned)(*text - '0');
        else if ((*text | 0x20) >= 'a' && (*text | 0x20) <= 'f')
            digit = (unsigned)((*text | 0x20) - 'a') + 10;
        else
            break;
        if (digit >= base)
            break;
        number = number * base + digit;
        if (number > max)
            return NULL;
    }
    *value = (uint32_t)number;
    return text == start ? NULL : text;
}

int uart_parse(struct uart_config *config, const char *text)
{
    static const struct {
        char name[5];
        uint16_t port;
        uint8_t irq;
    } ports[] = { { "com1", 0x3f8, 4 }, { "com2", 0x2f8, 3 }, { "com3", 0x3e8, 4 }, { "com4", 0x2e8, 3 } };
    uint32_t number;

    *config = (struct uart_config){ .stride = 1, .baud = UART_DEFAULT_BAUD, .gsi = -1 };
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        if (strncmp(text, ports[i].name, 4) == 0)
            config->base = ports[i].port;
    }
    if (config->base) {
        text += 4;
    } else {
        if (strncmp(text, "0x", 2) != 0 || !(text = parse_number(text + 2, 16, 0xfff8, &number)) ||
            number == 0)
            return -EINVAL;
        config->base = number;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        if (config->base == ports[i].port) {
            config->gsi = ports[i].irq;
            config->isa = true;
        }
    }
    if (*text == ',') {
        if (!(text = parse_number(text + 1, 10, UART_DEFAULT_BAUD, &number)) || number == 0)
            return -EINVAL;
        config->baud = number;
    }
    return *text == '\0' ? 0 : -EINVAL;
}
