/* A guest's console: two rings of bytes, each with one writer and one reader, who may be on different CPUs.
 */
#include "io/console.h"
#include "lib/string.h"

#define OUT_SURE (CONSOLE_OUT - 1) /* the writer may be in the middle of overwriting the oldest byte */

static_assert((CONSOLE_OUT & (CONSOLE_OUT - 1)) == 0, "a free-running index needs a power of two");
static_assert((CONSOLE_IN & (CONSOLE_IN - 1)) == 0, "a free-running index needs a power of two");

/* The other side's index: what it wrote before publishing it is visible afterwards. */
#define LOAD(index)           __atomic_load_n(&(index), __ATOMIC_ACQUIRE)
#define PUBLISH(index, value) __atomic_store_n(&(index), (value), __ATOMIC_RELEASE)

void console_init(struct console *console)
{
    memset(console, 0, sizeof(*console));
}

void console_put(struct console *console, char c)
{
    console->out[console->out_head % CONSOLE_OUT] = c;
    PUBLISH(console->out_head, console->out_head + 1);
    if (console->output_ready)
        console->output_ready(console->output_context);
}

/* The reader may take the first bytes before the last are there: it is called once only, behind them. */
void console_write(struct console *console, const void *bytes, size_t size)
{
    const char *from = bytes;

    for (size_t i = 0; i < size; i++) {
        console->out[console->out_head % CONSOLE_OUT] = from[i];
        PUBLISH(console->out_head, console->out_head + 1);
    }
    if (size && console->output_ready)
        console->output_ready(console->output_context);
}

void console_listen(struct console *console, void (*input_ready)(void *context), void *context)
{
    console->input_ready = input_ready;
    console->input_context = context;
    if (input_ready && console_has_input(console))
        input_ready(context);
}

bool console_has_input(const struct console *console)
{
    return LOAD(console->in_head) != console->in_tail;
}

bool console_get(struct console *console, char *c)
{
    if (!console_has_input(console))
        return false;
    *c = console->in[console->in_tail % CONSOLE_IN];
    PUBLISH(console->in_tail, console->in_tail + 1);
    return true;
}

bool console_type(struct console *console, char c)
{
    if (console->in_head - LOAD(console->in_tail) == CONSOLE_IN)
        return false;
    console->in[console->in_head % CONSOLE_IN] = c;
    PUBLISH(console->in_head, console->in_head + 1);
    if (console->input_ready)
        console->input_ready(console->input_context);
    return true;
}

uint64_t console_end(const struct console *console)
{
    return LOAD(console->out_head);
}

uint64_t console_oldest(const struct console *console)
{
    uint64_t head = LOAD(console->out_head);

    return head - min_u64(head, OUT_SURE);
}

void console_replay(struct console *console)
{
    console->out_tail = min_u64(console_oldest(console), console->out_seen);
}

void console_rewind(struct console *console, unsigned lines, size_t bytes)
{
    uint64_t oldest = console_oldest(console), at = console->out_seen;

    console->out_tail = at;
    if (at <= oldest)
        return;
    oldest = max_u64(oldest, at - min_u64(at, bytes));
    for (at--; at > oldest; at--) /* the last byte may be the newline of the last line */
        if (console->out[(at - 1) % CONSOLE_OUT] == '\n' && --lines == 0)
            break;
    console->out_tail = at;
}

/*
 * The writer does not wait for the reader: it may overwrite what is being copied. So the head is read again
 * after the copy, and the copy is made again if the writer has come round to where it began.
 */
size_t console_read(const struct console *console, uint64_t *at, char *to, size_t size, uint64_t *lost)
{
    uint64_t head = LOAD(console->out_head), tail = min_u64(*at, head);
    size_t count;

    do {
        tail = max_u64(tail, head - min_u64(head, OUT_SURE));
        count = min_u64(head - tail, size);
        for (size_t i = 0; i < count; i++)
            to[i] = console->out[(tail + i) % CONSOLE_OUT];
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        head = LOAD(console->out_head);
    } while (head - tail > OUT_SURE);
    *lost = tail - min_u64(*at, tail);
    *at = tail + count;
    return count;
}

size_t console_take(struct console *console, char *to, size_t size, uint64_t *lost)
{
    size_t count = console_read(console, &console->out_tail, to, size, lost);

    console->out_seen = max_u64(console->out_seen, console->out_tail);
    return count;
}
