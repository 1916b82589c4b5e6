#include "lib/toml.h"
#include "lib/format.h"
#include "lib/string.h"
#include "lib/utf8.h"

/* Beside code points and UTF8_INVALID, what peek() can return. */
#define END_OF_FILE (-1)

#define SHOWN_MAX 40 /* bytes of the user's own text in a message */

struct cursor {
    size_t at; /* byte offset */
    struct toml_place place;
};

struct parser {
    const char *text;
    size_t size;
    struct cursor cursor, line; /* line: the start of the cursor's line */
    unsigned open_arrays;
    toml_handler *handler;
    void *context;
    bool lost;            /* the last header was wrong: nobody knows whose keys these are */
    unsigned table_depth; /* steps of `path` that the last header gave */
    unsigned depth;
    struct toml_step path[TOML_DEPTH_MAX];
};

/* --- characters --- */

/* The character at the cursor, and its length; CR LF is one '\n'. */
static int32_t peek_length(const struct parser *p, unsigned *length)
{
    const char *s = p->text + p->cursor.at;
    size_t left = p->size - p->cursor.at;

    *length = 0;
    if (left == 0)
        return END_OF_FILE;
    if (left >= 2 && s[0] == '\r' && s[1] == '\n') {
        *length = 2;
        return '\n';
    }
    return utf8_decode(s, left, length);
}

static int32_t peek(const struct parser *p)
{
    unsigned length;

    return peek_length(p, &length);
}

static void advance(struct parser *p)
{
    unsigned length;
    bool newline = peek_length(p, &length) == '\n';

    p->cursor.at += length;
    if (newline) {
        p->cursor.place.line++;
        p->cursor.place.column = 1;
        p->line = p->cursor;
    } else {
        p->cursor.place.column += length != 0;
    }
}

/* Takes `c` if it is the next character. */
static bool accept(struct parser *p, int32_t c)
{
    if (peek(p) != c)
        return false;
    advance(p);
    return true;
}

/* Does `s` stand at the cursor? */
static bool looking_at(const struct parser *p, const char *s)
{
    size_t length = strlen(s);

    return p->size - p->cursor.at >= length && memcmp(p->text + p->cursor.at, s, length) == 0;
}

static bool is_digit(int32_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_bare_key(int32_t c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
}

/* May it stand in a comment or string? Not the end of the line, no control character but the tab. */
static bool is_text(int32_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static void skip_blanks(struct parser *p)
{
    while (peek(p) == ' ' || peek(p) == '\t')
        advance(p);
}

static void skip_line(struct parser *p)
{
    while (peek(p) != '\n' && peek(p) != END_OF_FILE)
        advance(p);
    accept(p, '\n');
}

/* --- reports --- */

static struct toml_event event_at(const struct parser *p, enum toml_type type, struct toml_place place)
{
    return (struct toml_event){ .type = type, .place = place, .path = p->path, .depth = p->depth };
}

static void report(struct parser *p, const struct toml_event *event)
{
    if (!p->lost || event->type == TOML_ERROR)
        p->handler(p->context, event);
}

/* Reports an error; always false, so that callers can return it. */
static __printf(3, 4) bool fail(struct parser *p, struct toml_place place, const char *fmt, ...)
{
    char text[160];
    struct toml_event event = event_at(p, TOML_ERROR, place);
    va_list args;

    va_start(args, fmt);
    format_text_v(text, sizeof(text), fmt, args);
    va_end(args);
    event.error = text;
    report(p, &event);
    return false;
}

/* "expected WHAT, found ..." at the cursor. */
static bool unexpected(struct parser *p, const char *what)
{
    struct toml_place place = p->cursor.place;
    unsigned length;
    int32_t c = peek_length(p, &length);
    const char *s = p->text + p->cursor.at;

    if (c == END_OF_FILE)
        return fail(p, place, "expected %s, found the end of the file", what);
    if (c == '\n')
        return fail(p, place, "expected %s, found the end of the line", what);
    if (c == UTF8_INVALID)
        return fail(p, place, "byte 0x%02x is not valid UTF-8; save the file as UTF-8",
                    (unsigned)(uint8_t)*s);
    if (!is_text(c))
        return fail(p, place, "control character U+%04x is not allowed here", (unsigned)c);
    return fail(p, place, "expected %s, found '%.*s'", what, (int)length, s);
}

/* --- strings and keys --- */

/* A decoded string on its way to a buffer. */
struct sink {
    char *to;
    size_t size, length;
};

static void sink_put(struct sink *sink, const char *s, size_t size)
{
    for (size_t i = 0; i < size; i++, sink->length++)
        if (sink->length + 1 < sink->size)
            sink->to[sink->length] = s[i];
}

static int hex_value(int32_t c)
{
    if (is_digit(c))
        return (int)(c - '0');
    int32_t letter = c | 0x20;
    return letter >= 'a' && letter <= 'f' ? (int)(letter - 'a' + 10) : -1;
}

/* The cursor stands behind "\u" or "\U". */
static bool unicode_escape(struct parser *p, struct toml_place place, unsigned digits, struct sink *sink)
{
    uint32_t code = 0;
    char utf8[4];

    for (unsigned i = 0; i < digits; i++, advance(p)) {
        int value = hex_value(peek(p));
        if (value < 0)
            return fail(p, place, "\\%c needs %u hexadecimal digits", digits == 4 ? 'u' : 'U', digits);
        code = code << 4 | (uint32_t)value;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return fail(p, place, "U+%04X is not a Unicode character", code);
    if (code == 0)
        return fail(p, place, "a string cannot hold the character U+0000");
    sink_put(sink, utf8, utf8_encode(code, utf8));
    return true;
}

/* The cursor stands on the backslash. */
static bool escape(struct parser *p, struct sink *sink)
{
    static const char letters[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
    struct toml_place place = p->cursor.place;

    advance(p);
    int32_t c = peek(p);
    if (!is_text(c))
        return unexpected(p, "an escape such as \\n or \\\"");
    advance(p);
    if (c == 'u' || c == 'U')
        return unicode_escape(p, place, c == 'u' ? 4 : 8, sink);
    const char *letter = c < 0x80 ? strchr(letters, (int)c) : NULL;
    if (!letter)
        return fail(p, place,
                    "unknown escape; known are \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX \\UXXXXXXXX; "
                    "'single quotes' take a backslash as it is");
    sink_put(sink, &values[letter - letters], 1);
    return true;
}

/* Skips over a multi-line string, so that its lines are not taken for keys. */
static bool refuse_multi_line(struct parser *p, const char *quotes)
{
    struct cursor start = p->cursor, line = p->line;

    do {
        advance(p);
    } while (peek(p) != END_OF_FILE && !looking_at(p, quotes));
    if (peek(p) == END_OF_FILE) { /* it has no end: lose one line, not the rest of the file */
        p->cursor = start;
        p->line = line;
    }
    return fail(p, start.place, "multi-line strings (%s) are not supported; write it on one line", quotes);
}

/* A basic or literal string; the cursor stands on its quote. */
static bool quoted(struct parser *p, struct sink *sink)
{
    struct toml_place start = p->cursor.place;
    int32_t quote = peek(p);

    if (looking_at(p, "\"\"\""))
        return refuse_multi_line(p, "\"\"\"");
    if (looking_at(p, "'''"))
        return refuse_multi_line(p, "'''");
    advance(p);
    while (!accept(p, quote)) {
        unsigned length;
        int32_t c = peek_length(p, &length);
        if (c == '\n' || c == END_OF_FILE)
            return fail(p, start, "this string is not closed: %c is missing at its end", (int)quote);
        if (!is_text(c))
            return unexpected(p, "text");
        if (c == '\\' && quote == '"') {
            if (!escape(p, sink))
                return false;
            continue;
        }
        sink_put(sink, p->text + p->cursor.at, length);
        advance(p);
    }
    return true;
}

/* Appends a step to the path. */
static bool push_step(struct parser *p, struct toml_place place)
{
    if (p->depth == TOML_DEPTH_MAX)
        return fail(p, place, "this is nested deeper than %d levels", TOML_DEPTH_MAX);
    struct toml_step *step = &p->path[p->depth++];
    step->place = place;
    step->element = false;
    step->index = 0;
    step->key[0] = '\0';
    return true;
}

/* One part of a dotted key, appended to the path when it is read. */
static bool simple_key(struct parser *p)
{
    struct toml_place place = p->cursor.place;
    char text[TOML_KEY_MAX];
    struct sink sink = { text, sizeof(text), 0 };

    if (peek(p) == '"' || peek(p) == '\'') {
        if (!quoted(p, &sink))
            return false;
    } else {
        size_t start = p->cursor.at;
        while (is_bare_key(peek(p)))
            advance(p);
        if (p->cursor.at == start)
            return unexpected(p, "a key");
        sink_put(&sink, p->text + start, p->cursor.at - start);
    }
    if (sink.length >= sizeof(text))
        return fail(p, place, "this key is longer than %d bytes", TOML_KEY_MAX - 1);
    if (!push_step(p, place))
        return false;
    memcpy(p->path[p->depth - 1].key, text, sink.length);
    p->path[p->depth - 1].key[sink.length] = '\0';
    return true;
}

/* A whole key, blanks around it included. */
static bool dotted_key(struct parser *p)
{
    do {
        skip_blanks(p);
        if (!simple_key(p))
            return false;
        skip_blanks(p);
    } while (accept(p, '.'));
    return true;
}

/* --- values --- */

static bool value(struct parser *p);

/* Refuses a word that is no integer: a float or a date by name. */
static bool refuse_word(struct parser *p, struct toml_place place, const char *s, size_t size)
{
    size_t digits = 0, sign = s[0] == '+' || s[0] == '-';
    bool exponent = false, point = false, other = false;

    if (size - sign == 3 && (memcmp(s + sign, "inf", 3) == 0 || memcmp(s + sign, "nan", 3) == 0))
        return fail(p, place, "floating-point numbers are not supported");
    while (digits < size && is_digit(s[digits]))
        digits++;
    if ((digits == 4 && size > 4 && s[4] == '-') || (digits == 2 && size > 2 && s[2] == ':'))
        return fail(p, place, "dates and times are not supported");
    for (size_t i = sign; i < size; i++) {
        exponent |= i > sign && (s[i] | 0x20) == 'e';
        point |= s[i] == '.';
        other |= !is_digit(s[i]) && !strchr("eE._+-", s[i]);
    }
    if (size > sign && is_digit(s[sign]) && (exponent || point) && !other)
        return fail(p, place, "floating-point numbers are not supported");
    int shown = (int)min_u64(size, SHOWN_MAX);
    while (shown > 0 && (size_t)shown < size && (s[shown] & 0xc0) == 0x80)
        shown--;
    return fail(p, place,
                "'%.*s' is no value: text needs quotes, numbers are digits only, booleans are true or false",
                shown, s);
}

enum digits { DIGITS_GOOD, DIGITS_NONE, DIGITS_TOO_LARGE };

/* Reads digits of `base` with single underscores between them into *result, at most `limit`. */
static enum digits digits_value(const char *s, size_t size, unsigned base, uint64_t limit, uint64_t *result)
{
    uint64_t sum = 0;
    bool large = false, after_digit = false;

    for (size_t i = 0; i < size; i++) {
        if (s[i] == '_' && after_digit) {
            after_digit = false;
            continue;
        }
        int digit = hex_value(s[i]);
        if (digit < 0 || (unsigned)digit >= base)
            return DIGITS_NONE;
        after_digit = true;
        if (sum > (limit - (unsigned)digit) / base)
            large = true;
        else
            sum = sum * base + (unsigned)digit;
    }
    *result = sum;
    return !after_digit ? DIGITS_NONE : large ? DIGITS_TOO_LARGE : DIGITS_GOOD;
}

static bool integer(struct parser *p, struct toml_event *event, const char *s, size_t size)
{
    bool negative = s[0] == '-';
    size_t start = s[0] == '-' || s[0] == '+';
    unsigned base = 10;
    uint64_t magnitude;

    if (start == 0 && size > 2 && s[0] == '0') {
        base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : s[1] == 'b' ? 2 : 10;
        start = base == 10 ? 0 : 2;
    }
    enum digits read = digits_value(s + start, size - start, base, (uint64_t)INT64_MAX + negative,
                                    &magnitude);
    if (read == DIGITS_NONE)
        return refuse_word(p, event->place, s, size);
    if (read == DIGITS_TOO_LARGE)
        return fail(p, event->place, "this number does not fit into 64 bits");
    if (base == 10 && s[start] == '0' && size - start > 1)
        return fail(p, event->place, "a number cannot start with 0; octal is written 0o17");
    event->type = TOML_INTEGER;
    event->integer = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

/* A value without quotes or brackets: a boolean, an integer, or something to refuse. */
static bool word(struct parser *p)
{
    struct toml_event event = event_at(p, TOML_BOOLEAN, p->cursor.place);
    const char *s = p->text + p->cursor.at;
    size_t start = p->cursor.at;

    while (is_text(peek(p)) && !(peek(p) < 0x80 && strchr(" \t,]}#\"'", (int)peek(p))))
        advance(p);
    size_t size = p->cursor.at - start;
    if (size == 0)
        return unexpected(p, "a value");
    if (size == 4 && memcmp(s, "true", 4) == 0)
        event.boolean = true;
    else if (!(size == 5 && memcmp(s, "false", 5) == 0) && !integer(p, &event, s, size))
        return false;
    report(p, &event);
    return true;
}

/* Blanks, comments and newlines, as they may stand between the elements of an array. */
static bool skip_filler(struct parser *p)
{
    for (;;) {
        skip_blanks(p);
        if (accept(p, '#')) {
            while (is_text(peek(p)))
                advance(p);
            if (peek(p) != '\n' && peek(p) != END_OF_FILE)
                return unexpected(p, "text");
        } else if (!accept(p, '\n')) {
            return true;
        }
    }
}

static bool array(struct parser *p)
{
    struct toml_event event = event_at(p, TOML_ARRAY, p->cursor.place);
    unsigned depth = p->depth, index = 0;

    report(p, &event);
    advance(p);
    p->open_arrays++;
    for (;;) {
        if (!skip_filler(p))
            return false;
        if (accept(p, ']'))
            break;
        if (!push_step(p, p->cursor.place))
            return false;
        p->path[depth].element = true;
        p->path[depth].index = index++;
        if (!value(p))
            return false;
        p->depth = depth;
        if (!skip_filler(p))
            return false;
        if (!accept(p, ',') && peek(p) != ']')
            return unexpected(p, "',' or ']' in the array");
    }
    p->open_arrays--;
    return true;
}

static bool key_value(struct parser *p)
{
    if (!dotted_key(p))
        return false;
    if (!accept(p, '='))
        return unexpected(p, "'=' after the key");
    skip_blanks(p);
    return value(p);
}

static bool inline_table(struct parser *p)
{
    struct toml_event event = event_at(p, TOML_TABLE, p->cursor.place);
    unsigned depth = p->depth;

    report(p, &event);
    advance(p);
    skip_blanks(p);
    if (accept(p, '}'))
        return true;
    do {
        skip_blanks(p);
        if (peek(p) == '\n')
            return fail(p, p->cursor.place, "an inline table { } must be closed on the line where it began");
        if (peek(p) == '}')
            return fail(p, p->cursor.place, "an inline table takes no ',' after its last value");
        if (!key_value(p))
            return false;
        p->depth = depth;
        skip_blanks(p);
    } while (accept(p, ','));
    if (!accept(p, '}'))
        return unexpected(p, "',' or '}' in the inline table");
    return true;
}

static bool value(struct parser *p)
{
    struct toml_event event = event_at(p, TOML_STRING, p->cursor.place);
    struct sink nowhere = { NULL, 0, 0 };
    size_t start = p->cursor.at;

    switch (peek(p)) {
    case '"':
    case '\'':
        if (!quoted(p, &nowhere))
            return false;
        event.source = p->text + start;
        event.source_size = p->cursor.at - start;
        report(p, &event);
        return true;
    case '[':
        return array(p);
    case '{':
        return inline_table(p);
    default:
        return word(p);
    }
}

/* --- lines --- */

static bool end_of_line(struct parser *p)
{
    skip_blanks(p);
    if (accept(p, '#'))
        while (is_text(peek(p)))
            advance(p);
    if (accept(p, '\n') || peek(p) == END_OF_FILE)
        return true;
    return unexpected(p, "the end of the line");
}

static bool header(struct parser *p)
{
    struct toml_event event = event_at(p, TOML_TABLE, p->cursor.place);

    advance(p);
    if (peek(p) == '[')
        return fail(p, event.place,
                    "arrays of tables ([[...]]) are not supported; give each table a name of its own");
    if (!dotted_key(p))
        return false;
    if (!accept(p, ']'))
        return unexpected(p, "']' after the table's name");
    if (!end_of_line(p))
        return false;
    event.header = true;
    event.depth = p->depth;
    p->table_depth = p->depth;
    p->lost = false;
    report(p, &event);
    return true;
}

/* Does the line at the cursor look like a header or a key with its '='? The cursor moves. */
static bool looks_like_statement(struct parser *p)
{
    skip_blanks(p);
    if (accept(p, '[')) {
        while (is_bare_key(peek(p)) || peek(p) == '.')
            advance(p);
        return accept(p, ']') && peek(p) != ',';
    }
    if (!is_bare_key(peek(p)))
        return false;
    while (is_bare_key(peek(p)) || peek(p) == '.')
        advance(p);
    skip_blanks(p);
    return peek(p) == '=';
}

/*
 * Moves to the line to go on with after an error in the statement that began in line `start`. Within an array
 * the lines that follow may still be its elements: then it is the next line that looks like a statement.
 */
static void resynchronize(struct parser *p, unsigned start)
{
    if (p->open_arrays == 0 || p->cursor.place.line == start)
        skip_line(p);
    else
        p->cursor = p->line;
    if (p->open_arrays == 0)
        return;
    while (peek(p) != END_OF_FILE) {
        struct cursor line = p->cursor;
        if (looks_like_statement(p)) {
            p->cursor = line;
            return;
        }
        skip_line(p);
    }
}

/* One line: a header, a key with its value (which may span lines), or nothing. */
static void statement(struct parser *p)
{
    unsigned start = p->cursor.place.line;
    bool understood;

    p->depth = 0;
    p->open_arrays = 0;
    skip_blanks(p);
    switch (peek(p)) {
    case '[':
        p->lost = true; /* until it is understood */
        p->table_depth = 0;
        understood = header(p);
        break;
    case '#':
    case '\n':
    case END_OF_FILE:
        understood = end_of_line(p);
        break;
    default:
        p->depth = p->table_depth;
        understood = key_value(p) && end_of_line(p);
    }
    if (!understood)
        resynchronize(p, start);
}

void toml_parse(const char *text, size_t size, toml_handler *handler, void *context)
{
    struct parser p = { .text = text, .size = size, .handler = handler, .context = context };

    if (looking_at(&p, "\xef\xbb\xbf")) /* a byte order mark */
        p.cursor.at = 3;
    p.cursor.place = (struct toml_place){ 1, 1 };
    p.line = p.cursor;
    while (peek(&p) != END_OF_FILE)
        statement(&p);
}

size_t toml_string(const struct toml_event *event, char *to, size_t size)
{
    struct parser p = { .text = event->source, .size = event->source_size };
    struct sink sink = { to, size, 0 };

    if (!quoted(&p, &sink)) /* it was read without an error before: no report can come of it */
        sink.length = 0;
    to[min_u64(sink.length, size - 1)] = '\0';
    return sink.length;
}

const char *toml_type_name(enum toml_type type)
{
    static const char *const names[] = {
        [TOML_TABLE] = "a table",      [TOML_ARRAY] = "an array",    [TOML_STRING] = "a string",
        [TOML_INTEGER] = "an integer", [TOML_BOOLEAN] = "a boolean", [TOML_ERROR] = "an error",
    };

    return names[type];
}
