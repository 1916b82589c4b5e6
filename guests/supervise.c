/* Restarts, their back-off, and the breaker of loops. */
#include "guests/supervise.h"

#define NS_IN_S   UINT64_C(1000000000)
#define WINDOW_NS (SUPERVISE_WINDOW_S * NS_IN_S)

void supervise_begin(struct supervise *s, uint64_t now_ns)
{
    *s = (struct supervise){ .run_ns = now_ns };
}

static void remember(struct supervise *s, bool crash, uint64_t now_ns)
{
    s->at[s->next] = now_ns;
    s->crash[s->next] = crash;
    s->next = (s->next + 1) % SUPERVISE_MAX_LIMIT;
    if (s->count < SUPERVISE_MAX_LIMIT)
        s->count++;
}

/* Where the event stands that was `back` events before the last one. */
static unsigned event_before(const struct supervise *s, unsigned back)
{
    return (s->next + 2 * SUPERVISE_MAX_LIMIT - 1 - back) % SUPERVISE_MAX_LIMIT;
}

/* The last `limit` events are a loop; what they were, else NULL. */
static const char *loop_of(const struct supervise *s, unsigned limit, uint64_t now_ns)
{
    unsigned crashes = 0;

    if (limit == 0 || s->count < limit || now_ns - s->at[event_before(s, limit - 1)] > WINDOW_NS)
        return NULL;
    for (unsigned i = 0; i < limit; i++)
        crashes += s->crash[event_before(s, i)];
    if (crashes == 0)
        return "reset";
    return crashes == limit ? "crashed" : "crashed or reset";
}

static uint64_t delay_of_row(unsigned row)
{
    uint64_t seconds = 0;

    for (unsigned i = 1; i < row && seconds < SUPERVISE_MAX_DELAY; i++)
        seconds = seconds ? seconds * 2 : 1;
    return seconds * NS_IN_S;
}

struct supervise_decision supervise_stopped(struct supervise *s, const struct supervise_policy *policy,
                                            enum supervise_event event, uint64_t now_ns)
{
    bool crash = event == SUPERVISE_CRASH;
    struct supervise_decision decision = { .verdict = SUPERVISE_RESTART };

    if (!(crash ? policy->restart_on_crash : policy->restart_on_reset)) {
        decision.verdict = SUPERVISE_STOP;
        return decision;
    }
    remember(s, crash, now_ns);
    if (now_ns - s->run_ns >= WINDOW_NS)
        s->row = 0;
    if (crash)
        decision.delay_ns = delay_of_row(++s->row);
    s->run_ns = now_ns + decision.delay_ns;
    decision.happened = loop_of(s, policy->limit, now_ns);
    if (decision.happened)
        decision.verdict = SUPERVISE_LOOP;
    return decision;
}
