/*
 * Who runs where: the scheduling algorithm, without clock, lock, interrupt or context switch. One `struct
 * share` holds all CPUs and all entities (an entity is what can run: a vCPU); each function is called under
 * the one lock that the caller has for it. docs/scheduler.md says how it works and why. Compiles on the host,
 * where tests/unit/test_share.c simulates whole machines with it.
 *
 * Times are in ticks of one clock that all CPUs agree on, to within what a lock takes to change hands: a
 * `now` that lies before an earlier one counts as no time passed. CPUs are numbered 0 to 63 as the bits of a
 * mask.
 *
 * The state of an entity stays on the CPU where it ran last (it is resident there) until that CPU runs
 * another. The caller keeps to this: after share_pick(), a CPU that holds another state than that of
 * share_resident() puts it away before it gives up the lock. In turn no other CPU is ever told to run what is
 * resident.
 *
 * Each function may want CPUs to look again, which means to call share_pick(): the caller asks for them by
 * share_kicks() before it gives up the lock, and interrupts them. The caller's own CPU may be among them.
 */
#pragma once

#include "lib/types.h"

#define SHARE_MAX_CPUS       64
#define SHARE_MAX_ENTITIES   256
#define SHARE_WEIGHT         100 /* the usual weight */
#define SHARE_MAX_WEIGHT     10000
#define SHARE_LATENCY_US     20000  /* everyone that waits should have its turn within this, ... */
#define SHARE_SLICE_US       10000  /* ... but a turn lasts no longer ... */
#define SHARE_MIN_SLICE_US   1000   /* ... and no shorter: beyond 20 waiters to a CPU the latency grows */
#define SHARE_GRAIN_US       1000   /* who is woken preempts who is ahead of it by this, in its own time */
#define SHARE_CREDIT_US      5000   /* what a sleeper may be behind when it wakes */
#define SHARE_LAG_US         100000 /* what one that is always ready may be behind */
#define SHARE_WINDOW_US      10000  /* caps hold in each of these: windows start at multiples of it */
#define SHARE_MIN_PERIOD_US  1000   /* of a reservation */
#define SHARE_MAX_PERIOD_US  1000000
#define SHARE_MIN_RESERVE_US 100
#define SHARE_MAX_BOOKED     950000 /* millionths of a CPU that reservations may take */
#define SHARE_NO_CPU         (-1)
#define SHARE_NEVER          UINT64_MAX

/* What share_add() and share_edit() have to say; share_verdict_text() puts it in words. */
enum share_verdict {
    SHARE_OK,
    SHARE_FULL,        /* SHARE_MAX_ENTITIES are there */
    SHARE_BAD_WEIGHT,  /* not 1 to 10000 (0 is allowed with a reservation: nothing beyond it) */
    SHARE_BAD_CAP,     /* above 100 */
    SHARE_BAD_PIN,     /* no CPU of the mask is there */
    SHARE_BAD_RESERVE, /* period not 1 ms to 1 s, or the budget is below 100 us or above 95 % of it */
    SHARE_CAP_TOO_LOW, /* the cap is below what is reserved */
    SHARE_NO_ROOM      /* no CPU of the mask has so much left to reserve */
};

/* What the owner of an entity wants for it. */
struct share_params {
    uint32_t weight;     /* 1 .. SHARE_MAX_WEIGHT; usually SHARE_WEIGHT */
    uint32_t cap;        /* percent of one CPU, 1 .. 100; 0: none */
    uint64_t pin;        /* CPUs it may use; bits of CPUs that are not there do not matter; 0: all */
    uint32_t reserve_us; /* so long in each period; 0: no reservation */
    uint32_t period_us;
};

enum share_state {
    SHARE_ABSENT,   /* before share_add(), after share_remove() */
    SHARE_SLEEPING, /* does not want to run */
    SHARE_WAITING,  /* wants to; in the queue */
    SHARE_RUNNING   /* current on CPU `last` */
};

/* Belongs to share.c from share_add() to share_remove(); the statistics may be read under the lock. */
struct share_entity {
    enum share_state state;
    int16_t resident;      /* the CPU that has its state, or SHARE_NO_CPU */
    uint16_t last;         /* where it ran last or, before it ever ran, where it may */
    uint16_t index;        /* in the queue */
    bool special;          /* has a cap or a reservation */
    bool blocked;          /* waits, and may not run before blocked_until() */
    uint64_t allowed;      /* CPUs: the pin or, with a reservation, the home CPU */
    uint64_t bound;        /* the same if that is one CPU, and there is neither cap nor reservation; else 0 */
    uint64_t virtual_time; /* ticks run * SHARE_WEIGHT / weight; compare by difference only */
    uint64_t tag;          /* WAITING: the fair virtual time when it began to wait */
    uint64_t inverse;      /* SHARE_WEIGHT / weight, 20 bits behind the point */
    uint64_t grain;        /* SHARE_GRAIN_US in its virtual time */
    uint64_t since;        /* WAITING: since when */

    uint64_t cap; /* ticks in each window; 0: none */
    uint64_t used, window_end;

    uint64_t reserve, period; /* ticks; 0: no reservation */
    uint64_t left, deadline;  /* of this period */

    struct share_params params;
    uint32_t booked; /* millionths of its home CPU */

    uint64_t ran;    /* ticks */
    uint64_t waited; /* ticks WAITING, throttled ones included: the guest's steal time; up to `since` */
    uint64_t turns;  /* times it got a CPU */
    uint64_t missed; /* ticks of reservations that were wanted and not given in time: should stay 0 */
};

struct share_cpu {
    struct share_entity *current;      /* NULL: idle, or looking */
    struct share_entity *resident;     /* whose state is here: the current one or the last that was */
    const struct share_entity *favour; /* to be picked next if that is fair; only compared */
    bool known;                        /* `until` was found by share_pick() */
    bool yielded;                      /* the current one lets others go first */
    uint32_t booked;                   /* millionths that are reserved */
    uint64_t since;                    /* `current` is charged up to here */
    uint64_t start;                    /* of its slice */
    uint64_t until;                    /* what share_deadline() said last */
    uint64_t floor;                    /* virtual time with which the furthest turn here began; never falls */
};

struct share {
    uint64_t online; /* masks of CPUs */
    uint64_t idle;   /* current == NULL */
    uint64_t kicked; /* will look soon */
    uint64_t kicks;  /* wanted by share_kicks() */
    uint32_t cpus;   /* number of them */
    uint32_t entities, queued;
    uint64_t ticks_per_us;
    uint64_t latency, slice, min_slice, window; /* ticks */
    uint64_t turn;                              /* the same: a slice where one waits */
    struct share_cpu cpu[SHARE_MAX_CPUS];
    struct share_entity *queue[SHARE_MAX_ENTITIES]; /* WAITING, in no order */
};

/* `online`: mask of the CPUs that will call share_pick(), at least one; each counts as about to look. */
void share_init(struct share *s, uint64_t online, uint64_t ticks_per_us);

/*
 * A new entity, SLEEPING. Anything but SHARE_OK: nothing changed. A reservation gets its home CPU here, the
 * first that has room; the entity then runs there only.
 */
enum share_verdict share_add(struct share *s, struct share_entity *e, const struct share_params *params,
                             uint64_t now) __must_check;

/* Other parameters while it runs. Anything but SHARE_OK: nothing changed. */
enum share_verdict share_edit(struct share *s, struct share_entity *e, const struct share_params *params,
                              uint64_t now) __must_check;

/* Forgets the entity, in any state. If it was resident, its state must have left the CPU; if it was running,
 * that CPU looks next. */
void share_remove(struct share *s, struct share_entity *e, uint64_t now);

/* For share.c: sets the parameters if they are right and there is room; gives back what was booked for it. */
enum share_verdict share_admit(struct share *s, struct share_entity *e,
                               const struct share_params *params) __must_check;
void share_unbook(struct share *s, struct share_entity *e);

/* The verdict as the end of a sentence: "no CPU that it may use has so much left to reserve". */
const char *share_verdict_text(enum share_verdict verdict);

/* SLEEPING becomes WAITING; does nothing in another state. */
void share_wake(struct share *s, struct share_entity *e, uint64_t now);

/* The entity does not want to run any more; the CPU that ran it looks next. */
void share_sleep(struct share *s, struct share_entity *e, uint64_t now);

/* What runs on `cpu` lets others go first, `to` above all if that is no injustice to the rest. Looks next.
 * On that CPU it needs no lock: it touches nothing that another CPU does. */
static inline void share_yield(struct share *s, unsigned cpu, const struct share_entity *to)
{
    s->cpu[cpu].yielded = true;
    s->cpu[cpu].favour = to;
}

/* `cpu` has put away all state by itself, and does something else before it looks. What ran there waits. */
void share_leave(struct share *s, unsigned cpu, uint64_t now);

/* Whom `cpu` has to run now; NULL: nobody, idle. Charges what ran before. */
struct share_entity *share_pick(struct share *s, unsigned cpu, uint64_t now);

/* For share_deadline(): where it is not known. */
uint64_t share_find_deadline(struct share *s, unsigned cpu, uint64_t now);

/* When `cpu` has to look again at the latest; SHARE_NEVER: not before it is kicked. To be asked after each
 * share_pick(). */
static inline uint64_t share_deadline(struct share *s, unsigned cpu, uint64_t now)
{
    return s->cpu[cpu].known ? s->cpu[cpu].until : share_find_deadline(s, cpu, now);
}

/* CPUs that have to look as soon as can be; each is said once. */
static inline uint64_t share_kicks(struct share *s)
{
    uint64_t kicks = s->kicks;

    if (kicks)
        s->kicks = 0;
    return kicks;
}

/* Its ticks of waiting until now: what `waited` will be when the wait ends. */
static inline uint64_t share_waited(const struct share_entity *e, uint64_t now)
{
    return e->waited + (e->state == SHARE_WAITING && now > e->since ? now - e->since : 0);
}

/* Whose state may be on this CPU; NULL: nobody's. */
static inline const struct share_entity *share_resident(const struct share *s, unsigned cpu)
{
    return s->cpu[cpu].resident;
}
