/* Feeds its watchdog for ever. */
#include "lib/esb.h"

void guest_main(void)
{
    esb_arm(500, 2000);
    print("NOTE: fed from now on\n");
    for (;;) {
        esb_feed();
        delay_us(50000);
    }
}
