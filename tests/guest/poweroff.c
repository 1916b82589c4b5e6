/* Switches itself off by ACPI's sleep control, PM1a_CNT. */
#include "lib/guest.h"

void guest_main(void)
{
    print("poweroff: now\n");
    power_off();
}
