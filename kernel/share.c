#include "kernel/share.h"

#define POINT 20 /* of share_entity.inverse */

/* Virtual times wrap: they are compared by difference. */
static inline bool before(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) < 0;
}

static inline uint64_t later(uint64_t a, uint64_t b)
{
    return before(a, b) ? b : a;
}

static inline uint64_t sooner(uint64_t a, uint64_t b)
{
    return before(a, b) ? a : b;
}

static inline uint64_t virtual_ticks(const struct share_entity *e, uint64_t ticks)
{
    return (uint64_t)(((unsigned __int128)ticks * e->inverse) >> POINT);
}

static inline void kick(struct share *s, uint64_t cpus)
{
    s->kicked |= cpus;
    s->kicks |= cpus;
}

static uint64_t slice(const struct share *s, unsigned waiters)
{
    uint64_t ticks = s->latency * s->cpus / (s->cpus + waiters);

    return ticks > s->slice ? s->slice : max_u64(ticks, s->min_slice);
}

void share_init(struct share *s, uint64_t online, uint64_t ticks_per_us)
{
    *s = (struct share){ .online = online, .idle = online, .kicked = online, .ticks_per_us = ticks_per_us };
    for (unsigned cpu = 0; cpu < SHARE_MAX_CPUS; cpu++) {
        s->cpus += (uint32_t)(online >> cpu & 1);
        s->cpu[cpu].until = SHARE_NEVER;
    }
    s->latency = SHARE_LATENCY_US * ticks_per_us;
    s->slice = SHARE_SLICE_US * ticks_per_us;
    s->min_slice = SHARE_MIN_SLICE_US * ticks_per_us;
    s->window = SHARE_WINDOW_US * ticks_per_us;
    s->turn = slice(s, 1);
}

/* --- accounts
 * ------------------------------------------------------------------------------------------------ */

/*
 * The cap's window that `now` lies in becomes the current one; `ran` ticks up to `now` have not been counted
 * yet. What was overdrawn in the old window is taken from the new one.
 */
static void count_window(const struct share *s, struct share_entity *e, uint64_t now, uint64_t ran)
{
    uint64_t start, here;

    if (now < e->window_end) {
        e->used += ran;
        return;
    }
    start = now - now % s->window;
    here = min_u64(ran, now - start);
    e->used += ran - here;
    e->used = here + (e->used > e->cap ? min_u64(e->used - e->cap, e->cap) : 0);
    e->window_end = start + s->window;
}

/* What ran on the CPU until now is charged to it: first to its reservation, the rest to its share. */
static inline void charge(const struct share *s, struct share_cpu *c, uint64_t now)
{
    struct share_entity *e = c->current;
    uint64_t ran, reserved;

    if (!e || now <= c->since)
        return;
    ran = now - c->since;
    c->since = now;
    e->ran += ran;
    if (e->special) {
        if (e->cap)
            count_window(s, e, now, ran);
        reserved = min_u64(ran, e->left);
        e->left -= reserved;
        ran -= reserved;
    }
    e->virtual_time += virtual_ticks(e, ran);
}

/* Brings cap and reservation of one that is awake up to date. False, and `blocked`: it may not run now. */
static bool refresh(const struct share *s, struct share_entity *e, uint64_t now)
{
    if (e->cap)
        count_window(s, e, now, 0);
    if (e->period && now >= e->deadline) {
        e->missed += e->left;
        e->left = e->reserve;
        e->deadline += e->period;
        if (e->deadline <= now)
            e->deadline = now + e->period;
    }
    e->blocked = !e->left && (!e->inverse || (e->cap && e->used >= e->cap));
    return !e->blocked;
}

/* When a waiting entity's cap or reservation has something new for it. */
static uint64_t next_event(const struct share_entity *e)
{
    uint64_t at = SHARE_NEVER;

    if (e->period && !e->left)
        at = e->deadline;
    if (e->blocked && e->inverse)
        at = min_u64(at, e->window_end);
    return at;
}

static bool may_run(const struct share_entity *e, unsigned cpu)
{
    return (e->allowed >> cpu & 1) && (e->resident == SHARE_NO_CPU || e->resident == (int)cpu);
}

/* --- the queue
 * ----------------------------------------------------------------------------------------------- */

/* `last` is where it is kept, or may be started. */
static void settle(struct share_entity *e)
{
    if (e->resident != SHARE_NO_CPU && (e->allowed >> e->resident & 1))
        e->last = (uint16_t)e->resident;
    else if (!(e->allowed >> e->last & 1))
        e->last = (uint16_t)__builtin_ctzll(e->allowed);
}

static void enqueue(struct share *s, struct share_entity *e, uint64_t now)
{
    uint32_t index = s->queued++;

    e->state = SHARE_WAITING;
    e->since = now;
    e->index = (uint16_t)index;
    s->queue[index] = e;
    settle(e);
}

static void dequeue(struct share *s, struct share_entity *e, uint64_t now)
{
    struct share_entity *moved = s->queue[--s->queued];

    s->queue[e->index] = moved;
    moved->index = e->index;
    if (now > e->since)
        e->waited += now - e->since;
}

/*
 * The virtual time at which an entity that may use these CPUs competes as an equal: that of the CPU that is
 * ahead of the others, for there it will run.
 */
static inline uint64_t furthest(const struct share *s, uint64_t cpus)
{
    uint64_t fair = s->cpu[(unsigned)__builtin_ctzll(cpus)].floor;

    while ((cpus &= cpus - 1) != 0)
        fair = later(fair, s->cpu[__builtin_ctzll(cpus)].floor);
    return fair;
}

/* For fair_time(), where others run. */
static __attribute__((noinline)) uint64_t fair_among(struct share *s, uint64_t allowed, uint64_t now)
{
    uint64_t fair = furthest(s, allowed), free = allowed & ~s->idle, least = 0;
    bool any = false;

    for (unsigned i = 0; i < s->queued; i++)
        free &= ~s->queue[i]->allowed;
    for (uint64_t rest = free; rest; rest &= rest - 1) {
        struct share_cpu *c = &s->cpu[__builtin_ctzll(rest)];

        charge(s, c, now);
        least = any ? sooner(least, c->current->virtual_time) : c->current->virtual_time;
        any = true;
    }
    if (any)
        fair = later(fair, least);
    for (; free; free &= free - 1) {
        struct share_cpu *c = &s->cpu[__builtin_ctzll(free)];

        c->floor = fair;
        c->current->virtual_time = fair;
    }
    return fair;
}

/*
 * The same for one that comes. Where nobody waited for a CPU, those who run had all that they can use, and
 * owe and are owed nothing: they begin anew, with him.
 */
static inline uint64_t fair_time(struct share *s, uint64_t allowed, uint64_t now)
{
    return allowed & ~s->idle ? fair_among(s, allowed, now) : furthest(s, allowed);
}

/*
 * Moves the virtual time of `e` towards `to`, but not beyond anybody who competes with it: the order in which
 * they have had their due stays.
 */
static __cold void move_in_order(const struct share *s, struct share_entity *e, uint64_t to)
{
    bool up = before(e->virtual_time, to);
    uint64_t from = e->virtual_time;

    for (uint64_t cpus = e->allowed & ~s->idle; cpus; cpus &= cpus - 1) {
        uint64_t other = s->cpu[__builtin_ctzll(cpus)].current->virtual_time;

        if (before(from, other) == up && other != from)
            to = up ? sooner(to, other) : later(to, other);
    }
    for (unsigned i = 0; i < s->queued; i++) {
        uint64_t other = s->queue[i]->virtual_time;

        if (!s->queue[i]->blocked && (s->queue[i]->allowed & e->allowed) && before(from, other) == up &&
            other != from)
            to = up ? sooner(to, other) : later(to, other);
    }
    e->virtual_time = to;
}

/* One that is always ready is behind by more than it can be owed: it cannot use all that its weight would
 * give it. */
static void limit_lag(const struct share *s, struct share_entity *e, uint64_t tag)
{
    uint64_t to = tag - e->grain * (SHARE_LAG_US / SHARE_GRAIN_US);

    if (unlikely(before(e->virtual_time, to)))
        move_in_order(s, e, to);
}

/* Among CPUs that run something: the one whose entity has had most, if that is more than `e` will soon have.
 */
static void preempt(struct share *s, const struct share_entity *e, uint64_t cpus, uint64_t now)
{
    uint64_t most = e->virtual_time + e->grain, arm = 0, victim = 0;

    for (; cpus; cpus &= cpus - 1) {
        struct share_cpu *c = &s->cpu[__builtin_ctzll(cpus)];

        if (c->current->left)
            continue;
        charge(s, c, now);
        if (before(most, c->current->virtual_time)) {
            most = c->current->virtual_time;
            victim = cpus & -cpus;
        }
        if (c->until > now + s->slice) /* it knows of nobody who waits: its slice has to end */
            arm |= cpus & -cpus;
    }
    kick(s, arm | victim);
}

/* For place(). */
static void find_cpu(struct share *s, const struct share_entity *e, uint64_t except, uint64_t now)
{
    uint64_t cpus = e->allowed & ~except, free = cpus & s->idle & ~s->kicked;
    const struct share_cpu *c = &s->cpu[e->last];

    if (e->special && c->until > next_event(e)) /* it has to know when there will be something for `e` */
        kick(s, BIT(e->last) & ~s->kicked & ~except);
    if (e->resident != SHARE_NO_CPU) /* that CPU is idle, and alone can start it or put it away */
        free = BIT((unsigned)e->resident) & ~s->kicked;
    else if (e->blocked)
        free = 0;
    else if (free)
        free = free >> e->last & 1 ? BIT(e->last) : free & -free;
    else if (!e->left)
        preempt(s, e, cpus & ~s->idle & ~s->kicked, now);
    else if (c->current && (!c->current->left || before(e->deadline, c->current->deadline)))
        free = cpus & ~s->kicked; /* its home only */
    kick(s, free);
}

/* `e` waits: finds it a CPU, but for those in `except`. Mostly that is an idle one that has its state. */
static inline void place(struct share *s, const struct share_entity *e, uint64_t except, uint64_t now)
{
    if (e->resident != SHARE_NO_CPU && !e->special)
        kick(s, BIT((unsigned)e->resident) & ~s->kicked);
    else
        find_cpu(s, e, except, now);
}

/* --- what happens to an entity
 * ------------------------------------------------------------------------------- */

/*
 * Back among those that compete: it has gained little while it slept, and what it had taken ahead is
 * forgotten once it would wait for more than a slice of its own.
 */
static void rebase(struct share_entity *e, uint64_t fair)
{
    e->tag = fair;
    e->virtual_time = later(e->virtual_time, fair - e->grain * (SHARE_CREDIT_US / SHARE_GRAIN_US));
    e->virtual_time = sooner(e->virtual_time, fair + e->grain * (SHARE_SLICE_US / SHARE_GRAIN_US));
}

/* It ran, and waits. What it had while nobody else could use the CPU is forgotten beyond two turns. */
static void displace(const struct share *s, struct share_entity *e)
{
    uint64_t to;

    e->tag = furthest(s, e->allowed);
    to = e->tag + e->grain * (2 * SHARE_SLICE_US / SHARE_GRAIN_US);
    if (unlikely(before(to, e->virtual_time)))
        move_in_order(s, e, to);
}

/* The constant-bandwidth rule: what is left of the period may not make it denser than what was admitted. */
static __attribute__((noinline)) void wake_special(const struct share *s, struct share_entity *e,
                                                   uint64_t now)
{
    if (e->period && (now >= e->deadline || (unsigned __int128)e->left * e->period >
                                                (unsigned __int128)(e->deadline - now) * e->reserve)) {
        e->left = e->reserve;
        e->deadline = now + e->period;
    }
    refresh(s, e, now);
}

void share_wake(struct share *s, struct share_entity *e, uint64_t now)
{
    if (e->state != SHARE_SLEEPING)
        return;
    rebase(e, fair_time(s, e->allowed, now));
    if (unlikely(e->special))
        wake_special(s, e, now);
    enqueue(s, e, now);
    place(s, e, 0, now);
}

/* The CPU has no current entity any more and will look soon. */
static void stop(struct share *s, unsigned cpu, uint64_t now)
{
    charge(s, &s->cpu[cpu], now);
    s->cpu[cpu].current = NULL;
    s->idle |= BIT(cpu);
    s->kicked |= BIT(cpu);
}

void share_sleep(struct share *s, struct share_entity *e, uint64_t now)
{
    if (e->state == SHARE_RUNNING)
        stop(s, e->last, now);
    else if (e->state == SHARE_WAITING)
        dequeue(s, e, now);
    else
        return;
    e->state = SHARE_SLEEPING;
    e->blocked = false;
}

enum share_verdict share_add(struct share *s, struct share_entity *e, const struct share_params *params,
                             uint64_t now)
{
    enum share_verdict verdict;

    if (s->entities == SHARE_MAX_ENTITIES)
        return SHARE_FULL;
    *e = (struct share_entity){ .resident = SHARE_NO_CPU };
    verdict = share_admit(s, e, params);
    if (verdict != SHARE_OK)
        return verdict;
    s->entities++;
    e->state = SHARE_SLEEPING;
    e->last = (uint16_t)__builtin_ctzll(e->allowed);
    e->virtual_time = fair_time(s, e->allowed, now) + e->grain; /* behind those that wait */
    return SHARE_OK;
}

enum share_verdict share_edit(struct share *s, struct share_entity *e, const struct share_params *params,
                              uint64_t now)
{
    uint64_t allowed = e->allowed;
    enum share_verdict verdict;

    if (e->state == SHARE_RUNNING)
        charge(s, &s->cpu[e->last], now); /* by the old weight */
    verdict = share_admit(s, e, params);
    if (verdict != SHARE_OK || e->state == SHARE_SLEEPING)
        return verdict;
    if (e->allowed != allowed)
        rebase(e, fair_time(s, e->allowed, now));
    refresh(s, e, now);
    if (e->state == SHARE_RUNNING) {
        kick(s, BIT(e->last));
        return SHARE_OK;
    }
    settle(e);
    place(s, e, 0, now);
    return SHARE_OK;
}

void share_remove(struct share *s, struct share_entity *e, uint64_t now)
{
    share_sleep(s, e, now);
    if (e->resident != SHARE_NO_CPU)
        s->cpu[e->resident].resident = NULL;
    share_unbook(s, e);
    s->entities--;
    e->state = SHARE_ABSENT;
}

static void put_away(struct share_cpu *c)
{
    if (c->resident)
        c->resident->resident = SHARE_NO_CPU;
    c->resident = NULL;
}

/* Some may run now that could not, or CPUs are idle: nobody shall wait who need not. */
static void spread(struct share *s, uint64_t except, bool fresh, uint64_t now)
{
    for (unsigned i = 0; i < s->queued && (fresh || (s->idle & ~s->kicked)); i++) {
        const struct share_entity *e = s->queue[i];

        if (!e->blocked && (fresh || (e->allowed & s->idle & ~s->kicked & ~except)))
            place(s, e, except, now);
    }
}

void share_leave(struct share *s, unsigned cpu, uint64_t now)
{
    struct share_cpu *c = &s->cpu[cpu];
    struct share_entity *e = c->resident;

    stop(s, cpu, now);
    put_away(c);
    if (e && e->state == SHARE_RUNNING) {
        if (e->special)
            refresh(s, e, now);
        displace(s, e);
        enqueue(s, e, now);
    }
    if (e && e->state == SHARE_WAITING)
        place(s, e, 0, now);
    spread(s, 0, false, now); /* those that were to start here */
}

/* --- the choice
 * ---------------------------------------------------------------------------------------------- */

/* What a CPU sees in the queue. */
struct look {
    struct share_entity *reserved; /* the earliest deadline */
    struct share_entity *share;    /* the least virtual time, with a grain off for those that ran here last */
    struct share_entity *favour;   /* the one that the yielding one would like, if it is there */
    uint64_t key;                  /* of `share` */
    uint64_t least;                /* virtual time of all that compete by shares */
    uint64_t tag;                  /* least tag of them */
    unsigned waiters;              /* number of them */
    unsigned rivals;               /* the same, with the current one if it competes too */
    bool preempts;                 /* one of them has had less than the current one by a grain */
    bool over;                     /* the current one's slice */
    bool fresh;                    /* somebody was blocked until now */
};

static void see_blocked(struct share *s, struct share_entity *e, struct look *look, uint64_t now)
{
    bool was = e->blocked;

    if (refresh(s, e, now) && was) {
        e->tag = fair_time(s, e->allowed, now);
        limit_lag(s, e, e->tag);
        look->fresh = true;
    }
}

static void look_round(struct share *s, unsigned cpu, struct look *look, uint64_t now)
{
    const struct share_cpu *c = &s->cpu[cpu];

    for (unsigned i = 0; i < s->queued; i++) {
        struct share_entity *e = s->queue[i];
        uint64_t key = e->virtual_time;

        if (!may_run(e, cpu))
            continue;
        if (e->special) {
            see_blocked(s, e, look, now);
            if (e->blocked)
                continue;
            if (e->left) {
                if (!look->reserved || before(e->deadline, look->reserved->deadline))
                    look->reserved = e;
                continue;
            }
            key = e->virtual_time;
        }
        look->least = look->waiters ? sooner(look->least, key) : key;
        look->tag = look->waiters++ ? sooner(look->tag, e->tag) : e->tag;
        if (c->current && before(key + e->grain, c->current->virtual_time))
            look->preempts = true;
        if (e->last == cpu)
            key -= e->grain;
        if (!look->share || before(key, look->key)) {
            look->share = e;
            look->key = key;
        }
        if (e == c->favour)
            look->favour = e;
    }
}

/* Among shares, when `current` (or NULL) could go on. */
static struct share_entity *choose_share(const struct share *s, struct share_cpu *c,
                                         struct share_entity *current, struct look *look, uint64_t now)
{
    struct share_entity *first = look->share;

    if (!first)
        return current;
    if (current && !c->yielded) {
        look->over = now >= c->start + slice(s, look->waiters);
        if (!(look->over ? before(look->least, current->virtual_time) : look->preempts))
            return current;
    }
    if (look->favour && !before(look->key + look->favour->grain * (SHARE_SLICE_US / SHARE_GRAIN_US),
                                look->favour->virtual_time))
        return look->favour;
    return first;
}

static struct share_entity *choose(struct share *s, unsigned cpu, struct look *look, uint64_t now)
{
    struct share_cpu *c = &s->cpu[cpu];
    struct share_entity *current = c->current;

    if (current && (!(current->allowed >> cpu & 1) || (current->special && !refresh(s, current, now))))
        current = NULL;
    if (current && current->left)
        return look->reserved && before(look->reserved->deadline, current->deadline) ? look->reserved
                                                                                     : current;
    if (look->reserved)
        return look->reserved;
    look->rivals = look->waiters + (current != NULL);
    if (current && look->waiters)
        limit_lag(s, current, look->tag);
    return choose_share(s, c, current, look, now);
}

/* `next` (or NULL) has the CPU from now on; who had it before waits. */
static void change(struct share *s, unsigned cpu, struct share_entity *next, uint64_t now)
{
    struct share_cpu *c = &s->cpu[cpu];
    struct share_entity *last = c->resident;

    if (c->current) {
        displace(s, c->current);
        enqueue(s, c->current, now);
    }
    c->current = next;
    c->since = max_u64(c->since, now);
    if (next) {
        dequeue(s, next, now);
        s->idle &= ~BIT(cpu);
        next->state = SHARE_RUNNING;
        next->turns++;
    } else {
        s->idle |= BIT(cpu);
    }
    if (last && last != next && (next || !(last->allowed >> cpu & 1))) {
        put_away(c);
        if (last->state == SHARE_WAITING && (last->allowed & ~BIT(cpu)))
            place(s, last, BIT(cpu), now);
    }
    if (next) {
        c->resident = next;
        next->resident = (int16_t)cpu;
        next->last = (uint16_t)cpu;
    }
}

/* Nothing but its share decides when it runs, and it may run on `here`, a mask of one CPU. */
static inline bool is_plain(const struct share_entity *e, uint64_t here)
{
    return !e->special && (e->allowed & here);
}

/* Among all that wait. */
static void pick_closely(struct share *s, unsigned cpu, uint64_t now)
{
    struct share_cpu *c = &s->cpu[cpu];
    struct look look = { 0 };
    struct share_entity *next;

    look_round(s, cpu, &look, now);
    next = choose(s, cpu, &look, now);
    if (!next || next != c->current || c->yielded || look.over)
        c->start = now;
    if (!next || next != c->current)
        change(s, cpu, next, now);
    if (next && !next->left && look.rivals > 1)
        c->floor = later(c->floor, sooner(next->virtual_time, look.least));
    if (look.fresh || (s->idle & ~s->kicked & ~BIT(cpu)))
        spread(s, BIT(cpu), look.fresh, now);
}

/* Where one wants the CPU: what runs goes on, an idle CPU begins with the only one that waits. False: look
 * closely. */
static inline bool pick_only(struct share *s, unsigned cpu, uint64_t now)
{
    struct share_cpu *c = &s->cpu[cpu];
    struct share_entity *other = s->queue[0];

    if (c->current) {
        if (s->queued || c->yielded || !is_plain(c->current, BIT(cpu)))
            return false;
    } else {
        if (s->queued != 1 || (c->resident && !(c->resident->allowed >> cpu & 1)))
            return false;
        if (!is_plain(other, BIT(cpu)) || !may_run(other, cpu))
            return false;
        c->start = now;
        change(s, cpu, other, now);
    }
    c->until = SHARE_NEVER;
    return true;
}

static __attribute__((noinline)) struct share_entity *pick_any(struct share *s, struct share_cpu *c,
                                                               uint64_t now)
{
    unsigned cpu = (unsigned)(c - s->cpu);

    charge(s, c, now);
    c->known = pick_only(s, cpu, now);
    if (!c->known)
        pick_closely(s, cpu, now);
    c->yielded = false;
    c->favour = NULL;
    return c->current;
}

/* `next`, the only one that waits, takes the place of `last`, the one that runs: change() for these two. */
static inline void swap(struct share *s, struct share_cpu *c, struct share_entity *last,
                        struct share_entity *next, uint64_t now)
{
    last->tag = c->floor;
    last->state = SHARE_WAITING;
    last->since = now;
    last->index = 0;
    last->resident = SHARE_NO_CPU;
    s->queue[0] = last;
    if (likely(now > next->since))
        next->waited += now - next->since;
    next->state = SHARE_RUNNING;
    next->turns++;
    next->last = last->last;
    next->resident = (int16_t)last->last;
    c->current = c->resident = next;
    c->start = now;
}

/*
 * Two that have only this CPU take turns: what pick_any() would say of them, in a few instructions, for that
 * is most of what a switch costs. It calls nothing, so that no register has to be saved for it. False: it is
 * not so simple, and nothing has changed.
 */
static inline bool take_turns(struct share *s, struct share_cpu *c, uint64_t here, uint64_t now)
{
    struct share_entity *e = c->current, *other = s->queue[0];
    uint64_t ran = now - c->since, time, least;
    bool over = false;

    if (e->bound != here || other->bound != here || other->resident != SHARE_NO_CPU || now <= c->since)
        return false;
    time = e->virtual_time + virtual_ticks(e, ran);
    least = other->virtual_time;
    if (before(time, other->tag - e->grain * (SHARE_LAG_US / SHARE_GRAIN_US)) ||
        before(c->floor + e->grain * (2 * SHARE_SLICE_US / SHARE_GRAIN_US), time))
        return false;
    c->since = now;
    e->ran += ran;
    e->virtual_time = time;
    if (!c->yielded)
        over = now >= c->start + s->turn;
    if (c->yielded || before(over ? least : least + other->grain, time)) {
        swap(s, c, e, other, now);
    } else {
        if (over)
            c->start = now;
        least = sooner(least, time);
    }
    c->floor = later(c->floor, least);
    c->until = c->start + s->turn;
    return true;
}

/* The same where an idle CPU goes on with what it ran last. */
static inline bool resume(struct share *s, struct share_cpu *c, uint64_t here, uint64_t now)
{
    struct share_entity *e = s->queue[0];

    if (e != c->resident || !is_plain(e, here))
        return false;
    s->queued = 0;
    s->idle &= ~here;
    if (now > e->since)
        e->waited += now - e->since;
    e->state = SHARE_RUNNING;
    e->turns++;
    c->current = e;
    c->since = max_u64(c->since, now);
    c->start = now;
    c->until = SHARE_NEVER;
    return true;
}

/* The same where nobody waits, and an idle CPU stays so, with what it ran last still there. */
static inline bool rest(struct share *s, struct share_cpu *c, uint64_t here, uint64_t now)
{
    if (s->queued || c->current || (c->resident && !(c->resident->allowed & here)))
        return false;
    s->idle |= here;
    c->start = now;
    c->until = SHARE_NEVER;
    return true;
}

/* `c` and `here` are the CPU. Not inline: in one register each they need not be found again and again. */
static __attribute__((noinline)) struct share_entity *pick_next(struct share *s, struct share_cpu *c,
                                                                uint64_t now, uint64_t here)
{
    s->kicked &= ~here;
    s->kicks &= ~here;
    if (s->queued != 1) {
        if (!rest(s, c, here, now))
            return pick_any(s, c, now);
    } else if (!(c->current ? take_turns(s, c, here, now) : resume(s, c, here, now))) {
        return pick_any(s, c, now);
    }
    c->known = true;
    c->yielded = false;
    c->favour = NULL;
    return c->current;
}

struct share_entity *share_pick(struct share *s, unsigned cpu, uint64_t now)
{
    return pick_next(s, &s->cpu[cpu], now, BIT(cpu));
}

uint64_t share_find_deadline(struct share *s, unsigned cpu, uint64_t now)
{
    struct share_cpu *c = &s->cpu[cpu];
    const struct share_entity *e = c->current;
    uint64_t at = SHARE_NEVER;
    unsigned waiters = 0;

    c->until = SHARE_NEVER;
    if (likely(!s->queued && !(e && e->special)))
        return SHARE_NEVER;
    charge(s, c, now);
    for (unsigned i = 0; i < s->queued; i++) {
        const struct share_entity *w = s->queue[i];

        if (w->special && w->last == cpu && may_run(w, cpu))
            at = min_u64(at, next_event(w));
        if (!w->blocked && !w->left && may_run(w, cpu))
            waiters++;
    }
    if (e && e->left) {
        at = min_u64(at, min_u64(c->since + e->left, e->deadline));
    } else if (e) {
        if (waiters)
            at = min_u64(at, c->start + slice(s, waiters));
        if (e->period)
            at = min_u64(at, e->deadline);
        if (e->cap) {
            uint64_t empty = c->since + (e->cap > e->used ? e->cap - e->used : 0);

            at = min_u64(at, empty < e->window_end ? empty : e->window_end + e->cap);
        }
    }
    c->until = at;
    return at;
}
