/* Arms its watchdog and then hangs. The run after that finds out why there is one. */
#include "lib/esb.h"

void guest_main(void)
{
    if (esb_timed_out()) {
        check_equal("after a time-out it is disarmed", esb_config(0x68) & 7, 0);
        esb_arm(0xfffff, 1);
        esb_feed();
        check("fed, it waits", true);
        return;
    }
    esb_arm(500, 500);
    print("NOTE: armed for a second\n");
    cli();
    for (;;)
        pause();
}
