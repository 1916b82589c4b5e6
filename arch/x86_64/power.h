/* Switching the machine off and starting it again. */
#pragma once

/* ACPI S5; where that fails, says so in the log and halts. Flush the console before. Any CPU. */
_Noreturn void machine_poweroff(void);

/*
 * The FADT's reset register, then port 0xcf9, the keyboard
 * controller, a triple fault. Any CPU, also in a crash.
 */
_Noreturn void machine_reboot(void);
