/* Random numbers that the CPU makes. Source: Intel SDM vol. 1, 7.3.17; AMD APM vol. 3, RDRAND and RDSEED. */
#pragma once

#include "lib/types.h"

/* Whether this machine's CPUs have RDSEED or RDRAND. */
bool entropy_present(void);

/* 32 bytes, from RDSEED where there is one; false: the CPU has none now. Any CPU. */
bool entropy_seed(uint8_t seed[32]) __must_check;
