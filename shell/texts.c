/* Commands that print text that was written elsewhere: by a guest, by Plinth's log, by the config's author.
 */
#include "drivers/uart.h"
#include "guests/manager.h"
#include "io/line.h"
#include "kernel/log.h"
#include "lib/string.h"
#include "shell/commands.h"
#include "shell/output.h"
#include "shell/wire.h"

#define CHUNK 256

/* Takes text for people as it comes: lines end with \r\n, what a terminal would obey is left out. */
static struct {
    struct line_escape escape;
    bool in_line;
} text;

static void begin_text(void)
{
    text.escape.state = ESCAPE_NONE;
    text.in_line = false;
}

static void print_text(const char *from, size_t length)
{
    char to[2 * CHUNK];
    size_t count = 0;

    for (size_t i = 0; i < length; i++) {
        char c = from[i];

        if (line_in_escape(&text.escape, c))
            continue;
        if (c == '\n')
            to[count++] = '\r';
        else if ((uint8_t)c < ' ' ? c != '\t' : c == 0x7f)
            continue;
        to[count++] = c;
        text.in_line = c != '\n';
    }
    uart_write(to, count);
}

static void end_text(void)
{
    if (text.in_line)
        wire_print("\r\n");
}

/* --- log VM */

static struct {
    const struct managed *vm;
    uint64_t at, end;
} console;

/* Up to where the guest was when it began: one that never ends to print must not keep the shell. */
static enum output_more log_item(unsigned at)
{
    const struct machine *machine = console.vm->machine;
    char chunk[CHUNK];
    uint64_t lost;
    size_t count;

    (void)at;
    if (!machine || console.at >= console.end) {
        end_text();
        return OUTPUT_END;
    }
    count = console_read(&machine->console, &console.at, chunk,
                         min_u64(sizeof(chunk), console.end - console.at), &lost);
    if (lost) {
        end_text();
        begin_text();
        wire_print("[%llu bytes before are gone]\r\n", (unsigned long long)lost);
    }
    print_text(chunk, count);
    return OUTPUT_MORE;
}

void run_log(int count, char *word[SHELL_ARGS])
{
    console.vm = command_vm(count, word);
    if (!console.vm)
        return;
    if (!console.vm->machine) {
        wire_print("%s: %s was never started\r\n", word[0], console.vm->config->name);
        return;
    }
    console.at = 0;
    console.end = console_end(&console.vm->machine->console);
    begin_text();
    output_begin(log_item);
}

/* --- config */

static enum output_more config_item(unsigned at)
{
    size_t size;
    const char *config = manager_config_text(&size);
    size_t from = (size_t)at * CHUNK;

    if (from >= size) {
        end_text();
        return OUTPUT_END;
    }
    print_text(config + from, min_u64(CHUNK, size - from));
    return OUTPUT_MORE;
}

void run_config(int count, char *word[SHELL_ARGS])
{
    size_t size;

    (void)count;
    if (!manager_config_text(&size)) {
        wire_print("%s: there is no plinth.toml on the boot medium\r\n", word[0]);
        return;
    }
    begin_text();
    output_begin(config_item);
}

/* --- dmesg */

static struct {
    uint64_t at, end;
} dmesg;

/* What is logged meanwhile is on the wire anyway. */
static enum output_more dmesg_item(unsigned at)
{
    char line[LOG_LINE_MAX];
    size_t length = dmesg.at < dmesg.end ? log_next(&dmesg.at, line) : 0;

    (void)at;
    if (!length)
        return OUTPUT_END;
    print_text(line, length);
    return OUTPUT_MORE;
}

void run_dmesg(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    dmesg.at = 0;
    dmesg.end = log_end();
    begin_text();
    output_begin(dmesg_item);
}
