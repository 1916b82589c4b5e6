/* Ends in a triple fault: no IDT, then an exception. */
#include "lib/guest.h"

void guest_main(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = { 0, 0 };

    print("triplefault: now\n");
    __asm__ volatile("lidt %0; ud2" ::"m"(nothing));
}
