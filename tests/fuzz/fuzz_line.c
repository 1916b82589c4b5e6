/* A guest's output through its console, to the log's lines and to the unfinished line. */
#include <assert.h>
#include <string.h>
#include "io/console.h"
#include "io/line.h"
#include "lib/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever was sent, nothing that a terminal obeys comes out. */
static void check_text(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        unsigned bytes;
        int32_t code = utf8_decode(text + at, length - at, &bytes);

        assert(code == '\t' || (code >= ' ' && code < 0x7f) || code >= 0xa0);
        at += bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct console console;
    struct line line = { .length = 0 };
    struct line_tail tail = { .length = 0 };
    char text[LINE_MAX + 80], back[LINE_TAIL + 1];
    uint64_t at = 0, lost;

    console_init(&console);
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 0xff && ++i < size) /* not to be found in UTF-8: so many bytes are lost */
            line_gap(&line, data[i]);
        else if (i < size)
            console_put(&console, (char)data[i]);
        while (console_read(&console, &at, text, 1, &lost)) {
            line_tail_put(&tail, text[0]);
            if (!line_put(&line, text[0]))
                continue;
            check_text(text, line_format(&line, "vm", text, sizeof(text)));
            line_next(&line);
        }
        unsigned length = line_tail_get(&tail, back);
        assert(length <= sizeof(back));
        for (unsigned k = 0; k < length; k++)
            assert((uint8_t)back[k] >= ' ' || back[k] == '\t' || (back[k] == '\r' && k == length - 1));
    }
    check_text(text, line_format(&line, "vm", text, sizeof(text)));
    console_rewind(&console, 1 + (unsigned)(size % 30), size);
    assert(console.out_tail <= console.out_seen);
    return 0;
}
