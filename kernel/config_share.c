#include "kernel/config_share.h"
#include "lib/format.h"
#include "lib/string.h"

/* Weights of a VM are whole numbers; so that they can be divided among vCPUs, those of vCPUs are finer. */
#define FINE (SHARE_MAX_WEIGHT / CONFIG_MAX_WEIGHT)

static const char *const pin_fault = "must be CPU numbers from 0 to 63 such as \"0,2-3\"";
static const char *const weight_fault = "must be a number from 1 to 1000";
static_assert(CONFIG_MAX_WEIGHT == 1000, "as the text says");
static const char *const cap_fault = "must be percent of one CPU, up to 100 for each vCPU, or none";
static const char *const reserve_fault = "must be a time in each period, in ms or us, such as \"2ms/10ms\"";

/* Digits at *at, which moves behind them; false if there are none. At most 10^9 + something. */
static bool read_number(const char **at, uint64_t *number)
{
    const char *c = *at;

    for (*number = 0; *c >= '0' && *c <= '9'; c++)
        *number = min_u64(*number * 10 + (uint64_t)(*c - '0'), 1000000000);
    if (c == *at)
        return false;
    *at = c;
    return true;
}

static void skip_blanks(const char **at)
{
    while (**at == ' ')
        ++*at;
}

/* "5" or "2-3". */
static bool read_range(const char **at, uint64_t *mask)
{
    uint64_t first, last;

    skip_blanks(at);
    if (!read_number(at, &first))
        return false;
    last = first;
    if (**at == '-') {
        ++*at;
        if (!read_number(at, &last))
            return false;
    }
    skip_blanks(at);
    if (last >= SHARE_MAX_CPUS || first > last)
        return false;
    for (uint64_t cpu = first; cpu <= last; cpu++)
        *mask |= BIT(cpu);
    return true;
}

const char *config_read_pin(const char *text, uint64_t *pin)
{
    uint64_t mask = 0;

    for (;;) {
        if (!read_range(&text, &mask))
            return pin_fault;
        if (*text == '\0')
            break;
        if (*text++ != ',')
            return pin_fault;
    }
    *pin = mask;
    return NULL;
}

/* "2ms" in microseconds. */
static bool read_time(const char **at, uint64_t *us)
{
    skip_blanks(at);
    if (!read_number(at, us))
        return false;
    skip_blanks(at);
    if (strncmp(*at, "ms", 2) == 0)
        *us *= 1000;
    else if (strncmp(*at, "us", 2) != 0)
        return false;
    *at += 2;
    skip_blanks(at);
    return true;
}

const char *config_read_reserve(const char *text, struct config_share *to)
{
    uint64_t reserve, period;

    if (!read_time(&text, &reserve) || *text++ != '/' || !read_time(&text, &period) || *text != '\0')
        return reserve_fault;
    if (period < SHARE_MIN_PERIOD_US || period > SHARE_MAX_PERIOD_US)
        return "has a period (behind the '/') that is not 1ms to 1000ms";
    if (reserve < SHARE_MIN_RESERVE_US)
        return "is too little: at least 100us can be reserved";
    if (reserve > period * SHARE_MAX_BOOKED / 1000000)
        return "is too much: at most 95 percent of the period can be reserved";
    to->reserve_us = (uint32_t)reserve;
    to->period_us = (uint32_t)period;
    return NULL;
}

/* A number and nothing else; `highest` is at most 10^9. */
static bool read_whole(const char *text, uint64_t least, uint64_t highest, uint32_t *to)
{
    uint64_t number;

    if (!read_number(&text, &number) || *text || number < least || number > highest)
        return false;
    *to = (uint32_t)number;
    return true;
}

static const char *const keys[] = { "weight", "cap", "pin", "reserve" };

const char *config_share_key(unsigned index)
{
    return index < ARRAY_SIZE(keys) ? keys[index] : NULL;
}

const char *config_set_share(struct config_share *share, const char *key, const char *value)
{
    bool none = strcmp(value, "none") == 0;

    if (strcmp(key, "weight") == 0)
        return read_whole(value, 1, CONFIG_MAX_WEIGHT, &share->weight) ? NULL : weight_fault;
    if (strcmp(key, "cap") == 0)
        return read_whole(none ? "0" : value, 0, 100 * CONFIG_MAX_VCPUS, &share->cap) ? NULL : cap_fault;
    if (strcmp(key, "reserve") == 0) {
        if (!none)
            return config_read_reserve(value, share);
        share->reserve_us = share->period_us = 0;
        return NULL;
    }
    if (strcmp(key, "pin") != 0)
        return "";
    if (strcmp(value, "all") != 0)
        return config_read_pin(value, &share->pin);
    share->pin = 0;
    return NULL;
}

const char *config_pin_text(uint64_t pin, char *to)
{
    size_t length = 0;

    format_text(to, CONFIG_PIN_TEXT, "all");
    for (unsigned cpu = 0; cpu < SHARE_MAX_CPUS; cpu++) {
        unsigned last = cpu;

        if (!(pin >> cpu & 1))
            continue;
        while (last + 1 < SHARE_MAX_CPUS && (pin >> (last + 1) & 1))
            last++;
        length += (size_t)format_text(to + length, CONFIG_PIN_TEXT - length, last > cpu ? "%s%u-%u" : "%s%u",
                                      length ? "," : "", cpu, last);
        cpu = last;
    }
    return to;
}

const char *config_reserve_text(const struct share_params *params, char *to)
{
    uint32_t reserve = params->reserve_us, period = params->period_us;
    bool whole = reserve % 1000 == 0, whole_period = period % 1000 == 0;

    if (!reserve)
        format_text(to, CONFIG_RESERVE_TEXT, "none");
    else
        format_text(to, CONFIG_RESERVE_TEXT, "%u%s/%u%s", whole ? reserve / 1000 : reserve,
                    whole ? "ms" : "us", whole_period ? period / 1000 : period, whole_period ? "ms" : "us");
    return to;
}

bool config_share_fault(const struct config_share *share, unsigned cpus, char *fault)
{
    const char *s = cpus > 1 ? "s" : "";

    if (share->cap > 100 * cpus)
        format_text(fault, CONFIG_FAULT_TEXT,
                    "cap is %u, but %u vCPU%s can use %u percent; write less, or 0 for no cap", share->cap,
                    cpus, s, 100 * cpus);
    else if (share->cap && share->cap < cpus)
        format_text(fault, CONFIG_FAULT_TEXT,
                    "cap must be at least %u, 1 percent for each of the %u vCPUs, or 0 for none", cpus, cpus);
    else if (share->cap &&
             (uint64_t)share->reserve_us * 100 > (uint64_t)share->period_us * (share->cap / cpus))
        format_text(fault, CONFIG_FAULT_TEXT,
                    "cap leaves each vCPU %u percent of a CPU, less than its reserve; raise it",
                    share->cap / cpus);
    else
        return false;
    return true;
}

/* The weight is rounded up: it must not become 0. */
struct share_params config_share_of_vcpu(const struct config_share *share, unsigned cpus)
{
    return (struct share_params){ .weight = (share->weight * FINE + cpus - 1) / cpus,
                                  .cap = share->cap / cpus,
                                  .pin = share->pin,
                                  .reserve_us = share->reserve_us,
                                  .period_us = share->period_us };
}
