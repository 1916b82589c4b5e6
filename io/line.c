/* Lines out of a guest's byte stream. */
#include "io/line.h"
#include "lib/format.h"
#include "lib/string.h"
#include "lib/utf8.h"

#define BEL    0x07
#define CAN    0x18 /* ends a sequence, as SUB does */
#define SUB    0x1a
#define ESC    0x1b
#define DELETE 0x7f

/* A sequence's own bytes are 0x20 to 0x7e; other controls in the midst of one are obeyed as if outside. */
bool line_in_escape(struct line_escape *escape, char c)
{
    if (c == ESC) {
        escape->state = ESCAPE_ESC;
        return true;
    }
    if (escape->state == ESCAPE_NONE)
        return false;
    if (c == CAN || c == SUB || c == '\n' || (c == BEL && escape->state == ESCAPE_STRING)) {
        escape->state = ESCAPE_NONE; /* a newline, too: a string without an end must not swallow all */
        return c != '\n';
    }
    switch (escape->state) {
    case ESCAPE_ESC:
        if (c == '[')
            escape->state = ESCAPE_CSI;
        else if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_') /* OSC, DCS, SOS, PM, APC */
            escape->state = ESCAPE_STRING;
        else if (c < ' ' || c > '/') /* not an intermediate byte: the final one */
            escape->state = ESCAPE_NONE;
        return c >= ' ';
    case ESCAPE_CSI:
        if (c >= '@' || c < 0)
            escape->state = ESCAPE_NONE;
        return c >= ' ';
    default:
        return true;
    }
}

static bool is_control(char c)
{
    return (c >= 0 && c < ' ') || c == DELETE;
}

static bool is_continuation(char c)
{
    return ((uint8_t)c & 0xc0) == 0x80;
}

static void tail_backspace(struct line_tail *tail)
{
    while (tail->length && is_continuation(tail->text[tail->length - 1]))
        tail->length--;
    if (tail->length)
        tail->length--;
}

/* CUP and HVP put the cursor elsewhere (ECMA-48 8.3.21, 8.3.63). Without parameters that is the upper left
 * corner: to clear a screen is not to draw one. */
static void tail_place(struct line_tail *tail, char final)
{
    if (final != 'H' && final != 'f')
        return;
    tail->length = 0;
    tail->returned = false;
    tail->placed = tail->last != '[';
}

void line_tail_put(struct line_tail *tail, char c)
{
    bool csi = tail->escape.state == ESCAPE_CSI;

    if (line_in_escape(&tail->escape, c)) {
        if (csi)
            tail_place(tail, c);
        tail->last = c;
        return;
    }
    if (c == '\n') {
        tail->length = 0;
        tail->placed = false;
    }
    if (c == '\r' || c == '\n')
        tail->returned = tail->length != 0;
    else if (c == '\b')
        tail_backspace(tail);
    if (is_control(c) && c != '\t')
        return;
    if (tail->returned)
        tail->length = 0;
    tail->returned = false;
    if (tail->length == LINE_TAIL) { /* the older half goes: seldom, and at once */
        tail->length = LINE_TAIL / 2;
        memcpy(tail->text, tail->text + LINE_TAIL / 2, LINE_TAIL / 2);
    }
    tail->text[tail->length++] = c;
}

unsigned line_tail_get(const struct line_tail *tail, char to[LINE_TAIL + 1])
{
    unsigned from = 0, length;

    if (tail->placed)
        return 0;
    while (from < tail->length && is_continuation(tail->text[from])) /* its first byte was dropped */
        from++;
    length = tail->length - from;
    memcpy(to, tail->text + from, length);
    if (tail->returned)
        to[length++] = '\r';
    return length;
}

void line_next(struct line *line)
{
    line->length = 0;
    line->cut = 0;
    line->skipping = false;
}

bool line_put(struct line *line, char c)
{
    bool escape = line_in_escape(&line->escape, c);

    if (line->skipping) {
        line->lost++;
        if (c == '\n')
            line_next(line);
        return false;
    }
    if (c == '\n')
        return true;
    if (escape || (is_control(c) && c != '\t'))
        return false;
    if (line->length < LINE_MAX)
        line->text[line->length++] = c;
    else
        line->cut++;
    return false;
}

void line_gap(struct line *line, uint64_t count)
{
    if (!count)
        return;
    line->lost += count + line->length + line->cut;
    line_next(line);
    line->escape.state = ESCAPE_NONE;
    line->skipping = true;
}

uint64_t line_lost(struct line *line)
{
    uint64_t lost = line->lost;

    line->lost = 0;
    return lost;
}

size_t line_format(const struct line *line, const char *name, char *to, size_t size)
{
    size_t length = (size_t)format_text(to, size, "%s: ", name);

    for (unsigned at = 0, bytes; at < line->length; at += bytes) {
        int32_t code = utf8_decode(line->text + at, line->length - at, &bytes);

        if (code == UTF8_INVALID || (code >= 0x80 && code < 0xa0)) {
            to[length++] = '?';
            continue;
        }
        memcpy(to + length, line->text + at, bytes);
        length += bytes;
    }
    to[length] = '\0';
    if (line->cut)
        length += (size_t)format_text(to + length, size - length, " [%llu bytes cut]",
                                      (unsigned long long)line->cut);
    return length;
}
