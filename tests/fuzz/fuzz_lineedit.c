/* Any bytes typed: the line stays printable and in its bounds, and the terminal shows it with the cursor in
 * its place. */
#include <assert.h>
#include "shell/lineedit.h"
#include "tests/unit/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct terminal terminal;

static void to_terminal(void *context, const char *text, size_t length)
{
    (void)context;
    assert(length > 0);
    for (size_t i = 0; i < length; i++)
        terminal_byte(&terminal, text[i]);
}

static const char *word(void *context, const struct lineedit *edit, unsigned start, unsigned index)
{
    static const char *const words[] = { "list", "start", "stats", "a-name-of-a-vm-that-is-quite-long",
                                         NULL };

    (void)context;
    assert(start <= edit->cursor);
    return words[index];
}

static void check(const struct lineedit *edit)
{
    assert(edit->length < LINEEDIT_MAX && edit->cursor <= edit->length);
    assert(strlen(edit->line) == edit->length);
    for (unsigned i = 0; i < edit->length; i++)
        assert(edit->line[i] >= ' ' && edit->line[i] <= '~');
    assert(edit->back <= LINEEDIT_HISTORY && edit->back <= edit->entered);
    assert(!terminal.wrong && !terminal.escape && terminal.column == edit->cursor + 2);
    assert(strncmp(terminal.row, "> ", 2) == 0 && strncmp(terminal.row + 2, edit->line, edit->length) == 0);
    assert(!terminal.row[2 + edit->length]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lineedit edit;
    char line[LINEEDIT_MAX];

    memset(&terminal, 0, sizeof(terminal));
    lineedit_init(&edit);
    edit.prompt = "> ";
    edit.write = to_terminal;
    edit.word = word;
    lineedit_show(&edit);
    for (size_t i = 0; i < size; i++) {
        if (lineedit_input(&edit, (char)data[i])) {
            lineedit_take(&edit, line);
            assert(memchr(line, 0, sizeof(line)));
            lineedit_show(&edit);
        }
        check(&edit);
    }
    return 0;
}
