/*
 * What commands print: more than the wire takes at once, for people or as one line of JSON (--json). Boot CPU
 * only; there is one output at a time, that of the running command.
 */
#pragma once

#include "lib/types.h"

enum output_more {
    OUTPUT_END,   /* nothing was printed, and nothing is left */
    OUTPUT_MORE,  /* this item is done, printed or not; ask for the next */
    OUTPUT_LATER, /* the same, but it took long: first let others have the CPU */
};

/*
 * The running command's output: `item` is called with 0, 1, ... while the wire shows the shell, each time
 * when it has room for OUTPUT_ITEM bytes, which is the most that an item may print. Ctrl-C ends it. Called by
 * a command's run().
 */
#define OUTPUT_ITEM 8192
void output_begin(enum output_more (*item)(unsigned at));

/*
 * A listing: rows of cells below a header, or {"KEY":[{...},...]}. `row` prints one row by the cell
 * functions, or none at all, and is called as `item` above is. Called by a command's run(); *listing stays.
 */
struct listing {
    const char *key;    /* of the array in JSON */
    const char *header; /* "" for none */
    enum output_more (*row)(unsigned at);
};

void output_listing(const struct listing *listing);

/*
 * One cell: padded to `width` columns for people (text stands at their left, numbers at their right),
 * "key":value in JSON. cell_percent() takes tenths; cell_mib() takes bytes and tells people MiB.
 */
void cell_text(const char *key, int width, const char *text);
void cell_number(const char *key, int width, uint64_t number);
void cell_percent(const char *key, int width, uint64_t tenths);
void cell_mib(const char *key, int width, uint64_t bytes);

/* A cell that people see on a line of its own below the row, behind `lead`; nothing if the text is empty. */
void cell_below(const char *key, const char *lead, const char *text);

/* A JSON string; what it takes at most is JSON_ESCAPE_MAX times its length, and the quotes. */
void print_json(const char *text);
void print_json_key(const char *key);

/* Text for people, of any length, without control characters: they would mean something to the terminal. */
void print_plain(const char *text);
