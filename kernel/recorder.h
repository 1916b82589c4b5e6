/*
 * The flight recorder: each CPU notes what it does in a ring of its own, always. The rings lie where the next
 * start of this machine finds them again after a warm reset, so that a crash can be looked at afterwards.
 * A ring is written by its CPU only, by any of its code but the NMI handler. Compiles on the host.
 */
#pragma once

#include <stdarg.h>
#include "lib/types.h"
#include "arch/x86_64/percpu.h"
#include "lib/string.h"

/* What an event is, and what its fields then mean. */
enum recorder_kind {
    /* 0 to 15: an exit; the number is the length of its instruction. code: enum vmexit_reason; detail: as
     * struct vmexit has it; a: RIP. */
    RECORD_EXIT = 0,
    RECORD_INJECT = 0x80, /* code: enum event_type; detail: vector; a: RIP */
    RECORD_LOAD,          /* the vCPU got this CPU. a: RIP */
    RECORD_LEAVE,         /* ... and left it, not to another for its turn. code: it is halted; a: RIP */
    RECORD_LOG, /* a piece of a line of the log: text in detail, a, b; code: its number in the line */
    RECORD_KINDS,
};

#define RECORD_EXIT_LAST 15
#define RECORD_NO_VM     0xff

/* The second word is the first one of struct vmexit. */
struct recorder_event {
    uint32_t tsc_low, tsc_high;
    uint8_t code;
    uint8_t kind; /* enum recorder_kind */
    union {
        struct {
            uint8_t vcpu, vm;
        };
        uint16_t whose; /* both, for one move */
    };
    uint32_t detail;
    uint64_t a, b;
};

/* A ring fills the addresses that share all but their low 16 bits, so that a 16-bit addition wraps it. */
#define RECORDER_RING    UINT64_C(0x10000)
#define RECORDER_EVENTS  (RECORDER_RING / sizeof(struct recorder_event))
#define RECORDER_KEPT    15 /* CPUs whose rings outlast a reset */
#define RECORDER_REGION  ((RECORDER_KEPT + 1) * RECORDER_RING)
#define RECORDER_VMS     64
#define RECORDER_NAME    32
#define RECORDER_TEXT    20 /* bytes of a log line in one event */
#define RECORDER_WHY_MAX 200

static_assert(sizeof(struct recorder_event) == 32, "a power of two");

/* Takes the next event of the ring of this CPU and stamps it. The caller fills in the rest. */
static __always_inline struct recorder_event *recorder_next(struct cpu *cpu)
{
    struct recorder_event *event = cpu->recorder;

    *(uint16_t *)&cpu->recorder += sizeof(struct recorder_event);
    __asm__ volatile("rdtsc" : "=a"(event->tsc_low), "=d"(event->tsc_high));
    return event;
}

/* An exit: `exit` is its struct vmexit, whose first word has all that is wanted. Hot. */
static __always_inline void recorder_exit(struct cpu *cpu, const uint64_t *exit, uint64_t rip)
{
    struct recorder_event *event = recorder_next(cpu);

    memcpy(&event->code, exit, sizeof(*exit));
    event->a = rip;
}

/* Any other event of a vCPU. */
static inline void recorder_note(struct cpu *cpu, enum recorder_kind kind, uint8_t code, uint16_t whose,
                                 uint32_t detail, uint64_t a)
{
    struct recorder_event *event = recorder_next(cpu);

    event->code = code;
    event->kind = (uint8_t)kind;
    event->whose = whose;
    event->detail = detail;
    event->a = a;
}

static inline uint64_t recorder_tsc(const struct recorder_event *event)
{
    return (uint64_t)event->tsc_high << 32 | event->tsc_low;
}

/* A line of the log, without its time and newline. Does nothing before recorder_start(). */
void recorder_log(const char *text, size_t length);

/* --- What goes before and after
 * ------------------------------------------------------------------------------ */

/*
 * The kept region, RECORDER_REGION bytes at a multiple of RECORDER_RING that hold the same on the next start;
 * NULL: there is none, so that nothing outlasts a reset. What a former run left there is copied to memory
 * from `copy_ring`, which gives one ring (RECORDER_RING bytes, aligned to them) or NULL. Boot CPU, once,
 * before any other function.
 */
void recorder_init(void *region, void *(*copy_ring)(void));

/* The ring of CPU `index`, where its first event goes; `fresh` gives one where the region has none. NULL: it
 * gave none. Each CPU once. */
struct recorder_event *recorder_ring(unsigned index, void *(*fresh)(void)) __must_check;

/* From here on log lines are recorded: the boot CPU has its per-CPU area. `start_tsc`: when the log's time
 * began, `hz`: of the TSC. Logs what a former run left. */
void recorder_start(uint64_t start_tsc, uint64_t hz);

/* What VM `index` is called, for who reads the recording later. */
void recorder_name_vm(unsigned index, const char *name);

/* This run ends, for this reason; the first one counts. Any context, a crash report too. */
void recorder_end(const char *fmt, ...) __printf(1, 2);
void recorder_end_v(const char *fmt, va_list args) __printf(1, 0);

/* --- Reading
 * ------------------------------------------------------------------------------ */

/* At the start of the kept region. After a reset nothing in it is to be believed before it was checked. */
struct recorder_header {
    uint64_t magic;
    uint32_t version, size, rings;
    uint32_t ended; /* `why` and end_tsc say why and when; 0: it runs, or ended without a word */
    uint64_t start_tsc, hz, end_tsc;
    char plinth[24]; /* its version */
    char why[RECORDER_WHY_MAX];
    char name[RECORDER_VMS][RECORDER_NAME];
    uint64_t checksum; /* over all before it */
};

struct recording {
    struct recorder_header header;
    unsigned rings;
    const struct recorder_event *ring[CPU_MAX];
};

/* An event out of a recording. */
struct recorded {
    struct recorder_event event;
    unsigned cpu;
};

/* Of this run; of the one before the last reset, NULL if it left none. */
const struct recording *recorder_now(void);
const struct recording *recorder_last(void);

/*
 * Copies the newest events, `max` at most, of one VM (its index; log lines are nobody's) or of all (-1) to
 * `to` in the order of time, the oldest first; returns how many. Looks at each event of each ring once at
 * most. What its CPU is about to overwrite may be torn.
 */
unsigned recording_collect(const struct recording *from, int vm, struct recorded *to, unsigned max);

/* Microseconds from the start of the recording's log to a time stamp; 0 while its frequency is not known. */
uint64_t recording_us(const struct recording *from, uint64_t tsc);
