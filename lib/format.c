/* Formatted text: a small snprintf (C17 7.21.6.1) without floating point. */
#include "lib/format.h"
#include "lib/string.h"

/* Where text goes: characters past `size` are counted but not kept. */
struct output {
    char *to;
    size_t size;   /* of the buffer, without the byte for the NUL */
    size_t length; /* of the whole text so far */
};

/* One conversion specification. */
struct spec {
    bool left, zero, plus, space, alternate;
    int width;
    int precision; /* -1: none given */
    unsigned bits; /* of the integer argument: 8, 16, 32 or 64 */
};

static void emit(struct output *out, const char *text, size_t length)
{
    if (out->length < out->size)
        memcpy(out->to + out->length, text, min_u64(length, out->size - out->length));
    out->length += length;
}

static void emit_repeated(struct output *out, char c, int count)
{
    if (count <= 0)
        return;
    if (out->length < out->size)
        memset(out->to + out->length, c, min_u64((uint64_t)count, out->size - out->length));
    out->length += (size_t)count;
}

/* `prefix` (sign, 0x), then zeros to the precision, then `body`, all padded to the width. */
static void emit_field(struct output *out, const struct spec *spec, const char *prefix, int zeros,
                       const char *body, int length)
{
    int prefix_length = (int)strlen(prefix);
    int padding = spec->width - prefix_length - zeros - length;

    if (spec->zero && !spec->left && padding > 0) {
        zeros += padding;
        padding = 0;
    }
    if (!spec->left)
        emit_repeated(out, ' ', padding);
    emit(out, prefix, (size_t)prefix_length);
    emit_repeated(out, '0', zeros);
    emit(out, body, (size_t)length);
    if (spec->left)
        emit_repeated(out, ' ', padding);
}

static void emit_integer(struct output *out, struct spec spec, uint64_t value, unsigned base,
                         const char *digits, const char *prefix)
{
    char text[20]; /* UINT64_MAX has 20 decimal digits */
    int length = 0;

    for (; value; value /= base)
        text[(int)sizeof(text) - ++length] = digits[value % base];
    if (spec.precision < 0)
        spec.precision = 1;
    else
        spec.zero = false; /* C17 7.21.6.1p6: a precision switches the 0 flag off */
    emit_field(out, &spec, prefix, length < spec.precision ? spec.precision - length : 0,
               text + sizeof(text) - length, length);
}

static void emit_signed(struct output *out, const struct spec *spec, int64_t value)
{
    const char *sign = value < 0 ? "-" : spec->plus ? "+" : spec->space ? " " : "";
    uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;

    emit_integer(out, *spec, magnitude, 10, "0123456789", sign);
}

static void emit_string(struct output *out, const struct spec *spec, const char *s)
{
    struct spec plain = *spec;
    size_t max = spec->precision < 0 ? INT32_MAX : (size_t)spec->precision;

    if (!s)
        s = "(null)";
    plain.zero = false;
    emit_field(out, &plain, "", 0, s, (int)strnlen(s, max));
}

/* The integer argument, promoted as C does and cut to the width that the length modifier names. */
static uint64_t next_unsigned(const struct spec *spec, va_list *args)
{
    if (spec->bits == 64)
        return va_arg(*args, uint64_t);
    return va_arg(*args, uint32_t) & (BIT(spec->bits) - 1);
}

static int64_t next_signed(const struct spec *spec, va_list *args)
{
    unsigned shift = 64 - spec->bits;

    if (spec->bits == 64)
        return va_arg(*args, int64_t);
    return (int64_t)((uint64_t)(int64_t)va_arg(*args, int32_t) << shift) >> shift;
}

/* A number in the format, or `*`; saturates. */
static int parse_number(const char **fmt, va_list *args)
{
    int64_t n = 0;

    if (**fmt == '*') {
        ++*fmt;
        return va_arg(*args, int);
    }
    for (; **fmt >= '0' && **fmt <= '9'; ++*fmt)
        if (n < INT32_MAX / 10)
            n = n * 10 + (**fmt - '0');
    return (int)n;
}

/* Reads what stands between % and the conversion's letter. */
static const char *parse_spec(struct spec *spec, const char *fmt, va_list *args)
{
    *spec = (struct spec){ .precision = -1, .bits = 32 };
    for (;; fmt++) {
        if (*fmt == '-')
            spec->left = true;
        else if (*fmt == '0')
            spec->zero = true;
        else if (*fmt == '+')
            spec->plus = true;
        else if (*fmt == ' ')
            spec->space = true;
        else if (*fmt == '#')
            spec->alternate = true;
        else
            break;
    }

    spec->width = parse_number(&fmt, args);
    if (spec->width < 0) {
        spec->left = true;
        spec->width = spec->width == INT32_MIN ? INT32_MAX : -spec->width;
    }
    if (*fmt == '.') {
        fmt++;
        spec->precision = parse_number(&fmt, args);
        if (spec->precision < 0)
            spec->precision = -1;
    }

    for (;; fmt++) {
        if (*fmt == 'h')
            spec->bits /= 2;
        else if (*fmt == 'l' || *fmt == 'z')
            spec->bits = 64;
        else
            return fmt;
    }
}

static void convert(struct output *out, const struct spec *spec, char letter, va_list *args)
{
    uint64_t value;
    char c;

    switch (letter) {
    case 'd':
    case 'i':
        emit_signed(out, spec, next_signed(spec, args));
        break;
    case 'u':
        emit_integer(out, *spec, next_unsigned(spec, args), 10, "0123456789", "");
        break;
    case 'x':
        value = next_unsigned(spec, args);
        emit_integer(out, *spec, value, 16, "0123456789abcdef", spec->alternate && value ? "0x" : "");
        break;
    case 'X':
        value = next_unsigned(spec, args);
        emit_integer(out, *spec, value, 16, "0123456789ABCDEF", spec->alternate && value ? "0X" : "");
        break;
    case 'p':
        emit_integer(out, *spec, (uint64_t)(uintptr_t)va_arg(*args, void *), 16, "0123456789abcdef", "0x");
        break;
    case 's':
        emit_string(out, spec, va_arg(*args, const char *));
        break;
    case 'c':
        c = (char)va_arg(*args, int);
        emit_field(out, &(struct spec){ .left = spec->left, .width = spec->width }, "", 0, &c, 1);
        break;
    default: /* %%, and anything that the compiler's format check would have refused */
        emit(out, &letter, 1);
        break;
    }
}

int format_text_v(char *to, size_t size, const char *fmt, va_list args)
{
    struct output out = { .to = to, .size = size ? size - 1 : 0 };
    struct spec spec;
    va_list rest;

    va_copy(rest, args);
    while (*fmt) {
        const char *start = fmt;

        while (*fmt && *fmt != '%')
            fmt++;
        emit(&out, start, (size_t)(fmt - start));
        if (!*fmt)
            break;
        fmt = parse_spec(&spec, fmt + 1, &rest);
        if (!*fmt)
            break;
        convert(&out, &spec, *fmt++, &rest);
    }
    va_end(rest);

    if (size)
        to[min_u64(out.length, out.size)] = '\0';
    return out.length > INT32_MAX ? INT32_MAX : (int)out.length;
}

int format_text(char *to, size_t size, const char *fmt, ...)
{
    va_list args;
    int length;

    va_start(args, fmt);
    length = format_text_v(to, size, fmt, args);
    va_end(args);
    return length;
}
