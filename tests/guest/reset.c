/* Restarts the machine by the reset control register. It comes back here: whoever watches sees the line
 * again. */
#include "lib/guest.h"

void guest_main(void)
{
    print("reset: started\n");
    outb(0xcf9, 0x02);
    outb(0xcf9, 0x06);
    delay_us(100000);
    fail("port 0xcf9 restarts the machine", "still running");
}
