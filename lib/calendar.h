/* Dates of the proleptic Gregorian calendar as seconds. Compiles on the host. */
#pragma once

#include "lib/types.h"

#define CALENDAR_DAY        UINT64_C(86400)
#define CALENDAR_UNIX_EPOCH (719528 * CALENDAR_DAY) /* 1970-01-01 in seconds since 0000-01-01 */

struct calendar {
    uint32_t year;
    uint8_t month, day; /* from 1 */
    uint8_t hour, minute, second;
    uint8_t weekday; /* 0 = Sunday */
};

/*
 * Seconds since 0000-01-01 00:00:00. Any values may be given: a month outside of 1 to 12 counts as the
 * nearest, and the other fields run on (32 January is 1 February; day 0 counts as 1). weekday is ignored.
 */
uint64_t calendar_to_seconds(const struct calendar *date);

/* The inverse; seconds < 2^56. */
struct calendar calendar_from_seconds(uint64_t seconds);
