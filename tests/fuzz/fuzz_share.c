/* Any calls to the scheduling algorithm, in any order that its interface allows: its structure stays sound.
 */
#include <assert.h>
#include <string.h>
#include "kernel/share.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTITIES 12

static struct share s;
static struct share_entity entity[ENTITIES];
static const uint8_t *input;
static size_t rest;
static uint64_t now;

static unsigned byte(void)
{
    if (rest == 0)
        return 0;
    rest--;
    return *input++;
}

static struct share_params some_params(void)
{
    static const uint32_t weights[] = { 100, 1, 10000, 0, 50, 400, 10001, 99 };
    struct share_params p = { .weight = weights[byte() % 8] };
    unsigned what = byte();

    if (what & 1)
        p.cap = byte() % 104;
    if (what & 2)
        p.pin = byte();
    if (what & 4) {
        p.reserve_us = byte() * 50;
        p.period_us = byte() * 200;
    }
    return p;
}

static void check_entity(const struct share_entity *e)
{
    if (e->state == SHARE_ABSENT)
        return;
    assert(e->allowed && !(e->allowed & ~s.online) && e->last < SHARE_MAX_CPUS);
    assert(!e->booked || (e->allowed & (e->allowed - 1)) == 0);
    assert(e->left <= e->reserve && (e->reserve != 0) == (e->period != 0));
    assert(e->resident == SHARE_NO_CPU || s.cpu[e->resident].resident == e);
    if (e->state == SHARE_RUNNING)
        assert(s.cpu[e->last].current == e && e->resident == e->last);
    if (e->state != SHARE_WAITING)
        return;
    assert(e->index < s.queued && s.queue[e->index] == e && (e->allowed >> e->last & 1));
    /* Nobody waits while CPUs are idle and none means to look. */
    if (e->resident != SHARE_NO_CPU)
        assert(e->blocked || (s.kicked >> e->resident & 1));
    else if (!e->blocked)
        assert(!(e->allowed & s.idle) || (e->allowed & s.kicked));
}

static void check(void)
{
    unsigned present = 0, waiting = 0;
    uint32_t booked[8] = { 0 };

    for (unsigned i = 0; i < ENTITIES; i++) {
        const struct share_entity *e = &entity[i];

        check_entity(e);
        present += e->state != SHARE_ABSENT;
        waiting += e->state == SHARE_WAITING;
        if (e->state != SHARE_ABSENT && e->booked)
            booked[__builtin_ctzll(e->allowed)] += e->booked;
    }
    assert(present == s.entities && waiting == s.queued);
    for (unsigned cpu = 0; cpu < 8; cpu++) {
        const struct share_cpu *c = &s.cpu[cpu];

        assert(booked[cpu] == c->booked && c->booked <= SHARE_MAX_BOOKED);
        if (!(s.online >> cpu & 1))
            continue;
        assert((s.idle >> cpu & 1) == (c->current == NULL));
        assert(!c->current || (c->current == c->resident && c->current->state == SHARE_RUNNING));
        assert(!c->resident || c->resident->resident == (int)cpu);
    }
    assert(!(s.kicks & ~s.online) && !(s.kicked & ~s.online));
}

static void look(unsigned cpu)
{
    int resident[ENTITIES];
    const struct share_entity *next;

    for (unsigned i = 0; i < ENTITIES; i++)
        resident[i] = entity[i].resident;
    next = share_pick(&s, cpu, now);
    assert(share_deadline(&s, cpu, now) > now);
    assert(!(s.kicked >> cpu & 1));
    if (!next)
        return;
    assert(next->state == SHARE_RUNNING && (next->allowed >> cpu & 1) && share_resident(&s, cpu) == next);
    assert(resident[next - entity] == SHARE_NO_CPU || resident[next - entity] == (int)cpu);
}

/* An entity whose state is in a CPU that is not running it can go only when the CPU has put it away. */
static void let_go(struct share_entity *e)
{
    if (e->state == SHARE_ABSENT)
        return;
    share_remove(&s, e, now);
    assert(e->state == SHARE_ABSENT);
}

static void step(void)
{
    unsigned op = byte(), which = byte(), cpu = which & 7;
    struct share_entity *e = &entity[(which >> 3) % ENTITIES];
    struct share_params p;

    if (!(s.online >> cpu & 1))
        cpu = (unsigned)__builtin_ctzll(s.online);
    switch (op % 12) {
    case 0:
        p = some_params();
        if (e->state == SHARE_ABSENT && share_add(&s, e, &p, now) != SHARE_OK)
            e->state = SHARE_ABSENT;
        break;
    case 1:
        p = some_params();
        if (e->state != SHARE_ABSENT)
            assert(share_verdict_text(share_edit(&s, e, &p, now)));
        break;
    case 2:
        if (op > 200)
            let_go(e);
        break;
    case 3:
        if (e->state != SHARE_ABSENT)
            share_sleep(&s, e, now);
        break;
    case 4:
    case 5:
        if (e->state != SHARE_ABSENT)
            share_wake(&s, e, now);
        break;
    case 6:
        share_yield(&s, cpu, which & 128 ? e : NULL);
        look(cpu);
        break;
    case 7:
        share_leave(&s, cpu, now);
        break;
    case 8:
        for (uint64_t kicks = share_kicks(&s); kicks; kicks &= kicks - 1)
            look((unsigned)__builtin_ctzll(kicks));
        break;
    case 9:
        now += (uint64_t)byte() << (which & 31);
        break;
    case 10:
        now -= op & 1 ? byte() : 0; /* clocks of CPUs differ a little */
        break;
    default:
        look(cpu);
    }
    check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    rest = size;
    memset(entity, 0, sizeof(entity));
    now = 1000000;
    uint64_t online = byte();
    share_init(&s, online ? online : 1, 1 + byte() * 16);
    while (rest > 0)
        step();
    return 0;
}
