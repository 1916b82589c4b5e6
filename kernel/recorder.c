#include "kernel/recorder.h"
#include "arch/x86_64/tsc.h"
#include "kernel/log.h"
#include "lib/format.h"
#include "lib/string.h"

#define MAGIC          UINT64_C(0x31746867696c4650) /* "PFlight1" */
#define LAYOUT_VERSION 1
#define LOG_PIECES     8 /* events that one line of the log takes at most */

/*
 * `kept` is the header in the region, NULL without one; now.header is the same, kept beside it so that
 * readers need not care. Both are written by the boot CPU, or by the one that crashes.
 */
static struct recorder_header *kept;
static uint8_t *kept_rings;
static struct recording now, last;
static bool have_last, started;

static_assert(sizeof(struct recorder_header) <= RECORDER_RING, "it has the room of one ring");

/* FNV-1a, 64 bits. */
static uint64_t checksum(const struct recorder_header *header)
{
    const uint8_t *byte = (const uint8_t *)header;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < offsetof(struct recorder_header, checksum); i++)
        sum = (sum ^ byte[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* Makes the kept header what ours is. */
static void keep(void)
{
    now.header.checksum = checksum(&now.header);
    if (kept)
        memcpy(kept, &now.header, sizeof(*kept));
}

/* What lies in memory after a cold start is anything; what lies there after a reset may be damaged. */
static bool is_good(const struct recorder_header *header)
{
    return header->magic == MAGIC && header->version == LAYOUT_VERSION && header->size == sizeof(*header) &&
           header->checksum == checksum(header) && header->rings <= RECORDER_KEPT &&
           !header->why[sizeof(header->why) - 1] && !header->plinth[sizeof(header->plinth) - 1];
}

static void *kept_ring(unsigned index)
{
    return kept_rings + index * RECORDER_RING;
}

/* Before anything of this run is recorded over it. */
static void save_last(void *(*copy_ring)(void))
{
    last.header = *kept;
    if (!is_good(&last.header))
        return;
    for (unsigned i = 0; i < RECORDER_VMS; i++)
        last.header.name[i][RECORDER_NAME - 1] = '\0';
    have_last = true;
    while (last.rings < last.header.rings) {
        void *copy = copy_ring();

        if (!copy)
            break;
        memcpy(copy, kept_ring(last.rings), RECORDER_RING);
        last.ring[last.rings++] = copy;
    }
}

void recorder_init(void *region, void *(*copy_ring)(void))
{
    kept = region;
    have_last = false;
    memset(&last, 0, sizeof(last));
    memset(&now, 0, sizeof(now));
    if (kept) {
        kept_rings = (uint8_t *)region + RECORDER_RING;
        save_last(copy_ring);
    }
    now.header.magic = MAGIC;
    now.header.version = LAYOUT_VERSION;
    now.header.size = sizeof(now.header);
    format_text(now.header.plinth, sizeof(now.header.plinth), "%s", PLINTH_VERSION);
    keep();
}

struct recorder_event *recorder_ring(unsigned index, void *(*fresh)(void))
{
    bool in_region = kept && index < RECORDER_KEPT;
    void *ring = in_region ? kept_ring(index) : fresh();

    if (!ring)
        return NULL;
    memset(ring, 0, RECORDER_RING);
    now.ring[index] = ring;
    if (index >= now.rings)
        now.rings = index + 1;
    if (in_region && index >= now.header.rings) {
        now.header.rings = index + 1;
        keep();
    }
    return ring;
}

void recorder_start(uint64_t start_tsc, uint64_t hz)
{
    now.header.start_tsc = start_tsc;
    now.header.hz = hz;
    keep();
    started = true;
    if (!have_last)
        return;
    if (last.header.ended)
        log_info("recorder: the last run of this machine ended: %s ('trace --last' shows its last events)",
                 last.header.why);
    else
        log_warn("recorder: the last run of this machine ended without a word: a reset button, or worse "
                 "('trace --last' shows its last events)");
}

void recorder_name_vm(unsigned index, const char *name)
{
    if (index >= RECORDER_VMS)
        return;
    format_text(now.header.name[index], RECORDER_NAME, "%s", name);
    keep();
}

void recorder_end_v(const char *fmt, va_list args)
{
    if (now.header.ended)
        return;
    now.header.ended = 1;
    now.header.end_tsc = tsc_now();
    format_text_v(now.header.why, sizeof(now.header.why), fmt, args);
    keep();
}

void recorder_end(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    recorder_end_v(fmt, args);
    va_end(args);
}

void recorder_log(const char *text, size_t length)
{
    for (unsigned piece = 0; started && length && piece < LOG_PIECES; piece++) {
        struct recorder_event *event = recorder_next(this_cpu());
        char part[RECORDER_TEXT] = "";
        size_t size = min_u64(length, sizeof(part));

        memcpy(part, text, size);
        event->code = (uint8_t)piece;
        event->kind = RECORD_LOG;
        event->vcpu = 0;
        event->vm = RECORD_NO_VM;
        memcpy(&event->detail, part, sizeof(part));
        text += size;
        length -= size;
    }
}

/* --- Reading
 * ------------------------------------------------------------------------------ */

const struct recording *recorder_now(void)
{
    return &now;
}

const struct recording *recorder_last(void)
{
    return have_last ? &last : NULL;
}

/* Going back in one ring. */
struct cursor {
    const struct recorder_event *ring;
    unsigned at, left; /* index of the event that is looked at, how many have not been */
    struct recorder_event event;
};

static bool is_event(const struct recorder_event *event)
{
    return recorder_tsc(event) &&
           (event->kind <= RECORD_EXIT_LAST || (event->kind >= RECORD_INJECT && event->kind < RECORD_KINDS));
}

/* Copies the event at the cursor. False at the ring's oldest: one that is not older than the one behind it.
 */
static bool take(struct cursor *cursor, uint64_t newer)
{
    if (!cursor->left)
        return false;
    cursor->event = cursor->ring[cursor->at];
    if (!is_event(&cursor->event) || recorder_tsc(&cursor->event) > newer)
        cursor->left = 0;
    return cursor->left;
}

static void step_back(struct cursor *cursor)
{
    cursor->left--;
    cursor->at = (cursor->at + RECORDER_EVENTS - 1) % RECORDER_EVENTS;
    (void)take(cursor, recorder_tsc(&cursor->event));
}

/* To the newest event: where the next is written is known to nobody but the CPU. */
static void cursor_init(struct cursor *cursor, const struct recorder_event *ring)
{
    uint64_t newest = 0;

    *cursor = (struct cursor){ .ring = ring };
    for (unsigned i = 0; ring && i < RECORDER_EVENTS; i++) {
        struct recorder_event event = ring[i];

        /* Of equal ones the later: a loop's events can bear one time where the TSC is coarse. */
        if (!is_event(&event) || recorder_tsc(&event) < newest)
            continue;
        newest = recorder_tsc(&event);
        cursor->at = i;
        cursor->left = RECORDER_EVENTS;
    }
    (void)take(cursor, UINT64_MAX);
}

/* The CPU whose next event, going back, is the newest; -1: there are no more. */
static int newest_of(const struct cursor *cursor, unsigned count)
{
    int best = -1;

    for (unsigned i = 0; i < count; i++)
        if (cursor[i].left &&
            (best < 0 || recorder_tsc(&cursor[i].event) > recorder_tsc(&cursor[best].event)))
            best = (int)i;
    return best;
}

unsigned recording_collect(const struct recording *from, int vm, struct recorded *to, unsigned max)
{
    static struct cursor cursor[CPU_MAX]; /* the boot CPU's, with the shell and the crash capsules */
    unsigned count = 0;
    int cpu;

    for (unsigned i = 0; i < from->rings; i++)
        cursor_init(&cursor[i], from->ring[i]);
    while (count < max && (cpu = newest_of(cursor, from->rings)) >= 0) {
        if (vm < 0 || cursor[cpu].event.vm == vm)
            to[count++] = (struct recorded){ cursor[cpu].event, (unsigned)cpu };
        step_back(&cursor[cpu]);
    }
    for (unsigned i = 0; i < count / 2; i++) {
        struct recorded swap = to[i];

        to[i] = to[count - 1 - i];
        to[count - 1 - i] = swap;
    }
    return count;
}

uint64_t recording_us(const struct recording *from, uint64_t tsc)
{
    uint64_t hz = from->header.hz, ticks = tsc - from->header.start_tsc;

    if (hz < 1000000 || tsc < from->header.start_tsc)
        return 0;
    return ticks / hz * 1000000 + ticks % hz * 1000000 / hz;
}
