#include "arch/x86_64/tsc_sync.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/tsc.h"
#include "lib/errno.h"

#define ROUNDS_MAX  1000
#define ROUNDS_MIN  16
#define MEASURE_MS  20
#define ANSWER_MS   1000
/* Ticks; no message is as quick. Emulators that run their CPUs by turns are off by less. */
#define SLACK       32
#define MSR_ADJUST  0x03bu /* IA32_TSC_ADJUST: what is added to the counter (SDM vol. 3, 18.17.3) */
#define ADJUST_LEAF 7
#define ADJUST_BIT  BIT(1) /* CPUID 7 EBX */

enum request { READ, ADJUST, END };

/* In a cache line of its own, so that a message costs one transfer. A new number of `asked` is a request. */
static struct {
    uint32_t asked, answered;
    enum request request;
    uint64_t adjust; /* IA32_TSC_ADJUST: the boot CPU's for ADJUST, the other's while it waits */
    uint64_t tsc;    /* the answer to READ */
} __aligned(64) line;

/* Asks, and waits for the answer. */
static int ask(enum request request)
{
    uint64_t end = tsc_now() + tsc_hz() / 1000 * ANSWER_MS;
    uint32_t number = line.asked + 1;

    line.request = request;
    __atomic_store_n(&line.asked, number, __ATOMIC_RELEASE);
    while (__atomic_load_n(&line.answered, __ATOMIC_ACQUIRE) != number) {
        if (tsc_now() > end)
            return -ETIMEDOUT;
        cpu_pause();
    }
    return 0;
}

/* The bounds are wider than a microsecond: something disturbs the messages, but it may go. */
static bool is_vague(const struct tsc_skew *skew)
{
    return (uint64_t)skew->high - (uint64_t)skew->low > tsc_hz() / 1000000;
}

/*
 * The other CPU reads its counter after `before` and ahead of `after`. Were it the same counter, its value
 * would lie between the two: so what it exceeds them by bounds the difference, and the closest bounds of all
 * rounds count.
 */
static int measure(struct tsc_skew *skew)
{
    uint64_t end = tsc_now() + tsc_hz() / 1000 * MEASURE_MS;

    skew->low = INT64_MIN;
    skew->high = INT64_MAX;
    for (unsigned i = 0; i < ROUNDS_MIN || (i < ROUNDS_MAX && tsc_now() < end && is_vague(skew)); i++) {
        uint64_t before = tsc_ordered(), after;
        int error = ask(READ);

        if (error)
            return error;
        after = tsc_ordered();

        int64_t low = (int64_t)(line.tsc - after), high = (int64_t)(line.tsc - before);

        skew->low = low > skew->low ? low : skew->low;
        skew->high = high < skew->high ? high : skew->high;
    }
    return 0;
}

static bool is_same(const struct tsc_skew *skew)
{
    return skew->low <= SLACK && skew->high >= -SLACK;
}

static bool has_adjust(void)
{
    return cpu_features.max_leaf >= ADJUST_LEAF && (cpuid(ADJUST_LEAF).ebx & ADJUST_BIT) != 0;
}

static uint64_t adjustment(void)
{
    return has_adjust() ? rdmsr(MSR_ADJUST) : 0;
}

/* Counters that differ because firmware wrote one of them have different adjustments: that is mended. */
int tsc_sync_measure(struct tsc_skew *skew)
{
    int error;

    error = measure(skew);
    skew->corrected = !error && !is_same(skew) && line.adjust != adjustment();
    if (skew->corrected) {
        line.adjust = adjustment();
        error = ask(ADJUST);
        if (!error)
            error = measure(skew);
    }
    if (!error)
        error = ask(END);
    return error ? error : is_same(skew) ? 0 : -ERANGE;
}

void tsc_sync_answer(void)
{
    uint32_t seen = __atomic_load_n(&line.answered, __ATOMIC_RELAXED);
    enum request request = READ;

    line.adjust = adjustment();
    while (request != END) {
        while (__atomic_load_n(&line.asked, __ATOMIC_ACQUIRE) == seen)
            cpu_pause();
        seen++;
        request = line.request;
        if (request == READ)
            line.tsc = tsc_ordered();
        else if (request == ADJUST && has_adjust())
            wrmsr(MSR_ADJUST, line.adjust);
        __atomic_store_n(&line.answered, seen, __ATOMIC_RELEASE);
    }
}
