#include "arch/x86_64/power.h"
#include "arch/x86_64/cpu.h"

_Noreturn void machine_poweroff(void)
{
    cpu_halt_forever();
}

_Noreturn void machine_reboot(void)
{
    out8(0xcf9, 0x06);
    cpu_halt_forever();
}
