/* The machine's real-time clock. Source: Motorola MC146818A data sheet; ACPI 6.4, table 5.9 (CENTURY). */
#pragma once

#include "lib/types.h"

/* Reads the clock and ties it to the TSC. Once, after tsc_init(). A clock that stands still or makes no sense
 * counts as 1970. */
void cmos_init(void);

/* UTC in seconds since 1970, from the clock at start and the TSC since then. */
uint64_t cmos_utc_seconds(void);
