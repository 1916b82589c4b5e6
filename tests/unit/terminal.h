/* One row of a terminal, as wide as a line may get: what a line editor writes there, and where the cursor is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define TERMINAL_COLUMNS 200

struct terminal {
    char row[TERMINAL_COLUMNS + 1]; /* blanks at the end are not there */
    unsigned column;
    char above[4096]; /* the rows that were left by LF, each with a \n */
    size_t above_length;
    unsigned cleared; /* how often the screen was */
    unsigned escape;  /* 0: none; 1: behind ESC; 2: behind ESC [ */
    unsigned number;
    bool wrong; /* something came that this terminal does not know */
};

static void terminal_trim(struct terminal *t)
{
    size_t length = strlen(t->row);

    while (length && t->row[length - 1] == ' ')
        t->row[--length] = '\0';
}

static void terminal_final(struct terminal *t, char c)
{
    switch (c) {
    case 'D':
        t->wrong |= t->number == 0 || t->number > t->column;
        t->column -= t->number <= t->column ? t->number : t->column;
        break;
    case 'H':
        t->column = 0;
        break;
    case 'J':
        memset(t->row, 0, sizeof(t->row));
        t->cleared++;
        break;
    case 'K':
        memset(t->row + t->column, 0, sizeof(t->row) - t->column);
        break;
    default:
        t->wrong = true;
    }
}

static void terminal_line_feed(struct terminal *t)
{
    size_t length;

    terminal_trim(t);
    length = strlen(t->row);
    if (t->above_length + length + 1 < sizeof(t->above)) {
        memcpy(t->above + t->above_length, t->row, length);
        t->above_length += length;
        t->above[t->above_length++] = '\n';
        t->above[t->above_length] = '\0';
    }
    memset(t->row, 0, sizeof(t->row));
}

static void terminal_glyph(struct terminal *t, char c)
{
    if (c < ' ' || c > '~' || t->column == TERMINAL_COLUMNS) {
        t->wrong = true;
        return;
    }
    for (unsigned i = 0; i < t->column; i++)
        if (!t->row[i])
            t->row[i] = ' ';
    t->row[t->column++] = c;
}

static void terminal_byte(struct terminal *t, char c)
{
    if (t->escape == 1) {
        t->wrong |= c != '[';
        t->escape = 2;
        t->number = 0;
    } else if (t->escape == 2 && c >= '0' && c <= '9') {
        t->number = t->number * 10 + (unsigned)(c - '0');
    } else if (t->escape == 2) {
        t->escape = 0;
        terminal_final(t, c);
    } else if (c == 0x1b) {
        t->escape = 1;
    } else if (c == '\r') {
        t->column = 0;
    } else if (c == '\n') {
        terminal_line_feed(t);
    } else {
        terminal_glyph(t, c);
    }
}
