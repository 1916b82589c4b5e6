/* Stops for good: interrupts off, halted. */
#include "lib/guest.h"

void guest_main(void)
{
    print("halt: interrupts off, halting\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}
