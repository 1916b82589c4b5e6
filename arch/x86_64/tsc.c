#include "arch/x86_64/tsc.h"

static uint64_t hz;

uint64_t tsc_hz(void)
{
    return hz;
}
