/*
 * Lines out of a guest's byte stream, for those who show it between other text. Nothing here believes the
 * guest: any bytes may come. Compiles on the host; no state but the caller's.
 */
#pragma once

#include "lib/types.h"

/* Where in an escape sequence a stream of bytes stands (ECMA-48 5.3, 5.4, 8.3.89). Zero: in none. */
struct line_escape {
    enum { ESCAPE_NONE, ESCAPE_ESC, ESCAPE_CSI, ESCAPE_STRING } state;
};

/* True if `c` belongs to an escape sequence. Control characters within one end it or are not of it. */
bool line_in_escape(struct line_escape *escape, char c);

/*
 * The line that a terminal stands in, so that it can be shown again after other text came in between: its
 * last bytes without what is no text. All zero to begin with.
 */
#define LINE_TAIL 160

struct line_tail {
    struct line_escape escape;
    bool returned; /* the cursor is at the line's start (CR): what comes next is written over it */
    bool placed;   /* the cursor was put somewhere on the screen, and no line has ended since */
    char last;     /* byte */
    unsigned length;
    char text[LINE_TAIL];
};

void line_tail_put(struct line_tail *tail, char c);

/*
 * The bytes that bring the line back, at most LINE_TAIL + 1; 0: the cursor stands at the start of an empty
 * line, or a program draws a screen of its own, where a line alone says nothing.
 */
unsigned line_tail_get(const struct line_tail *tail, char to[LINE_TAIL + 1]);

/*
 * Collects a line for a log: text and tabs, at most LINE_MAX bytes of it, the rest counted. All zero to begin
 * with.
 */
#define LINE_MAX 256

struct line {
    struct line_escape escape;
    unsigned length;
    uint64_t cut;  /* bytes of text beyond LINE_MAX */
    bool skipping; /* until the next newline: the line's start was lost */
    uint64_t lost; /* bytes, also of text that was skipped, since the last line_lost() */
    char text[LINE_MAX];
};

/* True if `c` ended the line: see line_format(), then line_next(). */
bool line_put(struct line *line, char c);

/* `count` bytes did not come: the line they cut and the one in which they end are left out, too. */
void line_gap(struct line *line, uint64_t count);

/* Bytes left out since the last call of this function. */
uint64_t line_lost(struct line *line);

/*
 * "NAME: text", with " [N bytes cut]" if it was longer; no newline. What is not UTF-8, and the control
 * characters that UTF-8 has beside ASCII's, are each a question mark. Returns the length, below `size`.
 * `size` is at least strlen(name) + LINE_MAX + 48.
 */
size_t line_format(const struct line *line, const char *name, char *to, size_t size);

/* Begins the next line. */
void line_next(struct line *line);
