/* Jumps to guest-physical memory that does not exist. */
#include "lib/guest.h"

void guest_main(void)
{
    void (*nowhere)(void) = (void (*)(void))UINT64_C(0xd0000000);

    print("badjump: to 0xd0000000\n");
    nowhere();
    fail("there is no code at 0xd0000000", "it returned");
}
