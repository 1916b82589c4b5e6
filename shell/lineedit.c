#include "shell/lineedit.h"
#include "lib/format.h"
#include "lib/string.h"

#define CTRL(letter) ((letter)&0x1f)
#define BACKSPACE    0x08
#define TAB          0x09
#define ESC          0x1b
#define DELETE       0x7f

#define PARAMETER_MAX 1000 /* larger ones are all the same: no key */

/* ECMA-48 8.3.41 EL, 8.3.39 ED, 8.3.21 CUP, 8.3.18 CUB */
#define ERASE_TO_END "\033[K"
#define CLEAR_SCREEN "\033[H\033[2J"
#define CURSOR_LEFT  "\033[%uD"

static void put(const struct lineedit *edit, const char *text, size_t length)
{
    if (length)
        edit->write(edit->context, text, length);
}

static void put_text(const struct lineedit *edit, const char *text)
{
    put(edit, text, strlen(text));
}

static void put_left(const struct lineedit *edit, unsigned columns)
{
    char text[16];

    if (!columns)
        return;
    format_text(text, sizeof(text), CURSOR_LEFT, columns);
    put_text(edit, text);
}

/* Writes the line from `from` on, where the terminal's cursor is, and goes back to the line's cursor. */
static void put_rest(const struct lineedit *edit, unsigned from)
{
    put(edit, edit->line + from, edit->length - from);
    put_left(edit, edit->length - edit->cursor);
}

void lineedit_show(const struct lineedit *edit)
{
    put_text(edit, edit->prompt);
    put_rest(edit, 0);
}

void lineedit_hide(const struct lineedit *edit)
{
    put_text(edit, "\r" ERASE_TO_END);
}

/* --- Changes of the line */

static void move_to(struct lineedit *edit, unsigned to)
{
    if (to < edit->cursor)
        put_left(edit, edit->cursor - to);
    else
        put(edit, edit->line + edit->cursor, to - edit->cursor);
    edit->cursor = to;
}

/* Inserts at the cursor, which moves behind it; what does not fit is left out. */
static void insert(struct lineedit *edit, const char *text, size_t length)
{
    unsigned at = edit->cursor, count = (unsigned)min_u64(length, LINEEDIT_MAX - 1 - edit->length);

    if (!count)
        return;
    memmove(edit->line + at + count, edit->line + at, edit->length - at + 1);
    memcpy(edit->line + at, text, count);
    edit->length += count;
    edit->cursor += count;
    put_rest(edit, at);
}

/* Takes away line[from .. to), with from <= cursor <= to or the cursor behind it. */
static void erase(struct lineedit *edit, unsigned from, unsigned to)
{
    if (from == to)
        return;
    move_to(edit, from);
    memmove(edit->line + from, edit->line + to, edit->length - to + 1);
    edit->length -= to - from;
    put_text(edit, ERASE_TO_END);
    put_rest(edit, from);
}

/* Puts another text in the whole line's place. */
static void replace(struct lineedit *edit, const char *text)
{
    char copy[LINEEDIT_MAX];

    memcpy(copy, text, LINEEDIT_MAX);
    erase(edit, 0, edit->length);
    insert(edit, copy, strlen(copy));
}

static void erase_word(struct lineedit *edit)
{
    unsigned from = edit->cursor;

    while (from && edit->line[from - 1] == ' ')
        from--;
    while (from && edit->line[from - 1] != ' ')
        from--;
    erase(edit, from, edit->cursor);
}

/* --- History */

static const char *last_entered(const struct lineedit *edit, unsigned back)
{
    return edit->history[(edit->entered - back) % LINEEDIT_HISTORY];
}

static void older(struct lineedit *edit)
{
    if (edit->back == min_u64(edit->entered, LINEEDIT_HISTORY))
        return;
    if (!edit->back)
        memcpy(edit->pending, edit->line, LINEEDIT_MAX);
    edit->back++;
    replace(edit, last_entered(edit, edit->back));
}

static void newer(struct lineedit *edit)
{
    if (!edit->back)
        return;
    edit->back--;
    replace(edit, edit->back ? last_entered(edit, edit->back) : edit->pending);
}

static void remember(struct lineedit *edit)
{
    unsigned blanks = 0;

    while (edit->line[blanks] == ' ')
        blanks++;
    if (blanks == edit->length || (edit->entered && strcmp(last_entered(edit, 1), edit->line) == 0))
        return;
    memcpy(edit->history[edit->entered % LINEEDIT_HISTORY], edit->line, LINEEDIT_MAX);
    edit->entered++;
}

/* --- Completion */

/* The next word, from *index on, that begins with the `length` bytes at line[start]. */
static const char *next_match(const struct lineedit *edit, unsigned start, unsigned length, unsigned *index)
{
    const char *word;

    while ((word = edit->word(edit->context, edit, start, (*index)++)))
        if (strncmp(word, edit->line + start, length) == 0)
            return word;
    return NULL;
}

static void list_matches(const struct lineedit *edit, unsigned start, unsigned length)
{
    const char *word;
    unsigned index = 0;

    put_text(edit, "\r\n");
    while ((word = next_match(edit, start, length, &index))) {
        put_text(edit, word);
        put_text(edit, "  ");
    }
    put_text(edit, "\r\n");
    lineedit_show(edit);
}

/* One match is completed, several as far as they agree; when that is no further, a second Tab lists them. */
static void complete(struct lineedit *edit, bool again)
{
    unsigned start = edit->cursor, length, index = 0;
    const char *first, *word;
    size_t common;
    bool single = true;

    while (start && edit->line[start - 1] != ' ')
        start--;
    length = edit->cursor - start;
    first = edit->word ? next_match(edit, start, length, &index) : NULL;
    if (!first)
        return;
    common = strlen(first);
    while ((word = next_match(edit, start, length, &index))) {
        size_t same = length;

        single = false;
        while (same < common && word[same] == first[same])
            same++;
        common = same;
    }
    insert(edit, first + length, common - length);
    if (single && edit->line[edit->cursor] != ' ')
        insert(edit, " ", 1);
    else if (single)
        move_to(edit, edit->cursor + 1);
    else if (again && common == length)
        list_matches(edit, start, length);
    edit->asked = !single;
}

/* --- Keys */

static void delete_at_cursor(struct lineedit *edit)
{
    if (edit->cursor < edit->length)
        erase(edit, edit->cursor, edit->cursor + 1);
}

static void go_left(struct lineedit *edit)
{
    if (edit->cursor)
        move_to(edit, edit->cursor - 1);
}

static void go_right(struct lineedit *edit)
{
    if (edit->cursor < edit->length)
        move_to(edit, edit->cursor + 1);
}

/* ESC [ number ~: which key it is, as the VT220 and its kin number them. */
static void numbered_key(struct lineedit *edit)
{
    switch (edit->parameter) {
    case 1:
    case 7:
        move_to(edit, 0);
        break;
    case 3:
        delete_at_cursor(edit);
        break;
    case 4:
    case 8:
        move_to(edit, edit->length);
        break;
    }
}

static void sequence_key(struct lineedit *edit, char final)
{
    if (edit->several)
        return;
    switch (final) {
    case 'A':
        older(edit);
        break;
    case 'B':
        newer(edit);
        break;
    case 'C':
        go_right(edit);
        break;
    case 'D':
        go_left(edit);
        break;
    case 'H':
        move_to(edit, 0);
        break;
    case 'F':
        move_to(edit, edit->length);
        break;
    case '~':
        numbered_key(edit);
        break;
    }
}

/*
 * Cursor and function keys send ESC and a character, or ESC with [ or O, numbers, a final one (ECMA-48 5.4).
 * True: the byte is a part of one. A control character breaks a sequence off, and counts itself.
 */
static bool part_of_escape(struct lineedit *edit, char c)
{
    if (c == ESC) {
        edit->key = LINEEDIT_ESC;
        return true;
    }
    if (edit->key == LINEEDIT_PLAIN)
        return false;
    if (edit->key == LINEEDIT_ESC && (c == '[' || c == 'O')) {
        edit->key = LINEEDIT_SEQUENCE;
        edit->parameter = 0;
        edit->several = false;
        return true;
    }
    if (edit->key == LINEEDIT_SEQUENCE && c >= ' ' && c < '@') {
        if (c >= '0' && c <= '9' && edit->parameter < PARAMETER_MAX)
            edit->parameter = edit->parameter * 10 + (unsigned)(c - '0');
        edit->several |= c < '0' || c > '9';
        return true;
    }
    if (edit->key == LINEEDIT_SEQUENCE && c >= '@' && c < DELETE)
        sequence_key(edit, c);
    edit->key = LINEEDIT_PLAIN;
    return c >= ' ';
}

static void control_key(struct lineedit *edit, char c, bool asked)
{
    switch (c) {
    case TAB:
        complete(edit, asked);
        break;
    case BACKSPACE:
    case DELETE:
        if (edit->cursor)
            erase(edit, edit->cursor - 1, edit->cursor);
        break;
    case CTRL('B'):
        go_left(edit);
        break;
    case CTRL('C'):
        erase(edit, 0, edit->length);
        edit->back = 0;
        break;
    case CTRL('E'):
        move_to(edit, edit->length);
        break;
    case CTRL('F'):
        go_right(edit);
        break;
    case CTRL('K'):
        erase(edit, edit->cursor, edit->length);
        break;
    case CTRL('L'):
        put_text(edit, CLEAR_SCREEN);
        lineedit_show(edit);
        break;
    case CTRL('U'):
        erase(edit, 0, edit->cursor);
        break;
    case CTRL('W'):
        erase_word(edit);
        break;
    }
}

bool lineedit_input(struct lineedit *edit, char c)
{
    bool after_cr = edit->after_cr, asked = edit->asked;

    edit->after_cr = false;
    edit->asked = false;
    if (part_of_escape(edit, c))
        return false;
    if (c == '\n' && after_cr)
        return false;
    if (c == '\r' || c == '\n') {
        edit->after_cr = c == '\r';
        remember(edit);
        put_text(edit, "\r\n");
        return true;
    }
    if (c >= ' ' && c < DELETE)
        insert(edit, &c, 1);
    else
        control_key(edit, c, asked);
    return false;
}

void lineedit_take(struct lineedit *edit, char to[LINEEDIT_MAX])
{
    memcpy(to, edit->line, LINEEDIT_MAX);
    memset(edit->line, 0, LINEEDIT_MAX);
    edit->length = edit->cursor = edit->back = 0;
}

void lineedit_init(struct lineedit *edit)
{
    memset(edit, 0, sizeof(*edit));
}
