/*
 * A reader for a subset of TOML 1.0.0 (https://toml.io/en/v1.0.0) that needs no memory of its own: it calls
 * back with each table, value and error in the order of the text. The subset: comments, tables, bare, quoted
 * and dotted keys, basic and literal strings, integers, booleans, arrays, inline tables. Floats, dates,
 * multi-line strings and arrays of tables are refused by name. Only the syntax is checked here: keys or
 * tables given twice are the caller's to find, who knows what each key means.
 */
#pragma once

#include "lib/types.h"

#define TOML_KEY_MAX   64 /* bytes of one key with its NUL */
#define TOML_DEPTH_MAX 8  /* steps from the root to a value */

enum toml_type { TOML_TABLE, TOML_ARRAY, TOML_STRING, TOML_INTEGER, TOML_BOOLEAN, TOML_ERROR };

/* Where something stands in the text: from 1; columns count characters, not bytes. */
struct toml_place {
    unsigned line, column;
};

/* One step from the root towards a value: a key, or an array element. */
struct toml_step {
    struct toml_place place;
    bool element;           /* true: element number `index` of an array, key is "" */
    unsigned index;         /* from 0 */
    char key[TOML_KEY_MAX]; /* decoded; UTF-8 without NUL */
};

/*
 * What the reader found. Lives until the handler returns.
 * TOML_TABLE: a [header] (then `header` is set; everything up to the next header is below it) or an inline
 * table. TOML_TABLE and TOML_ARRAY come before what is in them. A dotted key names the tables on its way
 * without an event of their own.
 */
struct toml_event {
    enum toml_type type;
    struct toml_place place;      /* of the value, the header or the error */
    const struct toml_step *path; /* from the root; for an error as far as it was understood */
    unsigned depth;               /* steps in path */
    bool header;
    const char *source; /* TOML_STRING: as written, with its quotes; read it by toml_string() */
    size_t source_size;
    int64_t integer;
    bool boolean;
    const char *error; /* TOML_ERROR: a sentence */
};

typedef void toml_handler(void *context, const struct toml_event *event);

/*
 * Reads `size` bytes of `text` and calls `handler` for all that it finds. After an error reading goes on at
 * the next line that can be understood; keys below a header that was wrong are read but not reported. Any
 * context may call it; stack use is bounded by TOML_DEPTH_MAX, time is linear in `size`.
 */
void toml_parse(const char *text, size_t size, toml_handler *handler, void *context);

/*
 * Copies the decoded string of a TOML_STRING event to `to`, cut to `size` - 1 bytes and NUL-terminated (size
 * > 0). Returns the length of the whole string in bytes. It holds no NUL, and is valid UTF-8 when it was not
 * cut.
 */
size_t toml_string(const struct toml_event *event, char *to, size_t size);

/* "a string", "an integer", ...: for messages. */
const char *toml_type_name(enum toml_type type);
