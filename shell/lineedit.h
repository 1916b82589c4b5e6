/*
 * A line editor: bytes of a terminal in, edits of a line and bytes for the terminal out. Its output assumes a
 * terminal that knows CR, BS and the ECMA-48 sequences for the cursor and for erasing, and that the line fits
 * in one row. No globals; compiles on the host. One user at a time.
 */
#pragma once

#include "lib/types.h"

#define LINEEDIT_MAX      128 /* of a line, with its NUL */
#define LINEEDIT_HISTORY  16  /* lines kept */
/* What lineedit_show() and lineedit_hide() write at most, beside the prompt. */
#define LINEEDIT_SHOW_MAX (LINEEDIT_MAX + 16)

struct lineedit {
    char line[LINEEDIT_MAX]; /* always ends with a NUL; printable ASCII only */
    unsigned length, cursor; /* cursor <= length < LINEEDIT_MAX */

    char history[LINEEDIT_HISTORY][LINEEDIT_MAX]; /* the n-th line ever entered is at n % LINEEDIT_HISTORY */
    unsigned entered;                             /* lines that were put there, ever */
    unsigned back;              /* 0: the line is a new one; n: it was the n-th last of the history */
    char pending[LINEEDIT_MAX]; /* the new line, while one of the history is shown */

    enum { LINEEDIT_PLAIN, LINEEDIT_ESC, LINEEDIT_SEQUENCE } key;
    unsigned parameter; /* of the sequence */
    bool several;       /* it has more than one: a key with Shift, Alt or Ctrl */
    bool after_cr;      /* the last byte was a CR that ended a line: a LF behind it is a part of it */
    bool asked;         /* the last key was a Tab that left more than one possibility */

    const char *prompt;
    void (*write)(void *context, const char *text, size_t length);
    /*
     * The words that may stand at line[start], which a Tab is to complete: the index-th one, from 0; NULL: no
     * more. NULL instead of a function: there is no completion.
     */
    const char *(*word)(void *context, const struct lineedit *edit, unsigned start, unsigned index);
    void *context;
};

/* An empty line and an empty history; prompt, write, word and context are the caller's to set. */
void lineedit_init(struct lineedit *edit);

/*
 * One byte that was typed. True: it ended the line. The line is in the history then, if it is more than
 * blanks and not the same as the one before; the caller takes it with lineedit_take() before the next byte.
 */
bool lineedit_input(struct lineedit *edit, char c) __must_check;

/* Copies the line and begins a new, empty one. Writes nothing to the terminal. */
void lineedit_take(struct lineedit *edit, char to[LINEEDIT_MAX]);

/* Writes prompt and line, and puts the cursor in its place; and erases the row again, for other output. */
void lineedit_show(const struct lineedit *edit);
void lineedit_hide(const struct lineedit *edit);
