/* The memory type range registers, which all CPUs must have the same. Source: Intel SDM vol. 3, 12.11; APM
 * vol. 2, 7.7. */
#pragma once

#include "lib/types.h"

/* Notes the boot CPU's, as the firmware left them. Boot CPU, before mtrr_follow(). */
void mtrr_read(void);

/* Makes this CPU's the same as those. True if they were not. Each other CPU, once, interrupts off. */
bool mtrr_follow(void);
