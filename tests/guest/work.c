/* A good neighbour: works all the time, and tells every 100 ms how much it has done since its start, and
 * when, so that its part of a CPU can be computed: "work: MICROSECONDS done AMOUNT". It never exits
 * otherwise. */
#include "lib/guest.h"

#define PERIOD_US 100000
#define PIECE     1000 /* between two looks at the clock */

void guest_main(void)
{
    uint32_t khz = tsc_khz();
    uint64_t start = rdtsc(), next = 0, done = 0;
    volatile uint32_t value = 0;

    for (;;) {
        uint64_t us = (rdtsc() - start) * 1000 / khz;

        if (us >= next) {
            print("work: %llu done %llu\n", (unsigned long long)us, (unsigned long long)done);
            next = (us / PERIOD_US + 1) * PERIOD_US;
        }
        for (unsigned i = 0; i < PIECE; i++)
            value = value + i;
        done++;
    }
}
