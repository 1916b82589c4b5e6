/* Loops for good with interrupts off: only the hypervisor can take the CPU back. */
#include "lib/guest.h"

void guest_main(void)
{
    print("spin: interrupts off, looping\n");
    for (;;)
        ;
}
