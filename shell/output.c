#include "shell/output.h"
#include "drivers/uart.h"
#include "lib/string.h"
#include "shell/json.h"
#include "shell/shell.h"
#include "shell/wire.h"

#define STEP_ITEMS 8 /* in one step */

static_assert(OUTPUT_ITEM + UART_FRAME_MAX < UART_NOT_FOR_LOG, "else a log that never ends would stop it");

static struct {
    enum output_more (*item)(unsigned at);
    const struct listing *listing;
    unsigned at;
    bool in_row; /* a cell of this row was printed */
    bool row;    /* a row was printed */
} output;

static bool output_step(void)
{
    for (unsigned i = 0; i < STEP_ITEMS && wire_in_shell(); i++) {
        enum output_more more;

        if (uart_space() < OUTPUT_ITEM + UART_FRAME_MAX)
            return true;
        more = output.item(output.at++);
        if (more == OUTPUT_END)
            return false;
        if (more == OUTPUT_LATER)
            return true;
    }
    return wire_in_shell();
}

void output_begin(enum output_more (*item)(unsigned at))
{
    output.item = item;
    output.at = 0;
    shell_go_on(output_step);
}

/* --- Text */

void print_json(const char *text)
{
    char to[JSON_ESCAPE_MAX];
    unsigned length;

    wire_print("\"");
    while (*text) {
        text = json_escape(text, to, &length);
        wire_print("%.*s", (int)length, to);
    }
    wire_print("\"");
}

void print_json_key(const char *key)
{
    print_json(key);
    wire_print(":");
}

void print_plain(const char *text)
{
    for (; *text; text++)
        wire_print("%c", (uint8_t)*text < ' ' || *text == 0x7f ? '?' : *text);
}

/* --- Listings */

static enum output_more listing_item(unsigned at)
{
    enum output_more more;

    if (at == 0 && shell_json())
        wire_print("{\"%s\":[", output.listing->key);
    else if (at == 0 && *output.listing->header)
        wire_print("%s\r\n", output.listing->header);
    output.in_row = false;
    more = output.listing->row(at);
    if (output.in_row)
        wire_print(shell_json() ? "}" : "\r\n");
    if (more == OUTPUT_END && shell_json())
        wire_print("]}\r\n");
    return more;
}

void output_listing(const struct listing *listing)
{
    output.listing = listing;
    output.row = false;
    output_begin(listing_item);
}

/* What comes before each cell's value. */
static void begin_cell(const char *key)
{
    if (!shell_json()) {
        if (output.in_row)
            wire_print(" ");
    } else {
        wire_print(output.in_row ? "," : output.row ? ",{" : "{");
        print_json_key(key);
    }
    output.in_row = output.row = true;
}

void cell_text(const char *key, int width, const char *text)
{
    begin_cell(key);
    if (shell_json()) {
        print_json(text);
        return;
    }
    print_plain(text);
    wire_print("%*s", (int)(width - (int)min_u64(strlen(text), (uint64_t)width)), "");
}

void cell_number(const char *key, int width, uint64_t number)
{
    begin_cell(key);
    wire_print("%*llu", shell_json() ? 0 : width, (unsigned long long)number);
}

void cell_percent(const char *key, int width, uint64_t tenths)
{
    begin_cell(key);
    wire_print("%*llu.%llu", shell_json() ? 0 : width - 2, (unsigned long long)(tenths / 10),
               (unsigned long long)(tenths % 10));
}

void cell_mib(const char *key, int width, uint64_t bytes)
{
    begin_cell(key);
    if (shell_json())
        wire_print("%llu", (unsigned long long)bytes);
    else
        wire_print("%*llu MiB", width, (unsigned long long)(bytes / MiB));
}

void cell_below(const char *key, const char *lead, const char *text)
{
    if (shell_json()) {
        begin_cell(key);
        print_json(text);
    } else if (*text) {
        wire_print("\r\n%s", lead);
        print_plain(text);
    }
}
