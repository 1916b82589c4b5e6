/* Switching the machine off and starting it again. */
#pragma once

/* Makes ready what the others need. Boot CPU, once, with the ACPI tables parsed. */
void power_init(void);

/* ACPI S5; where that fails, says so in the log and halts. Flush the console before. Any CPU. */
_Noreturn void machine_poweroff(void);

/*
 * The FADT's reset register, then port 0xcf9, the keyboard
 * controller, a triple fault. Any CPU, also in a crash.
 */
_Noreturn void machine_reboot(void);

/*
 * VMXOFF, where this CPU is in VMX operation: that blocks INIT, by which some boards reset the CPU (Intel SDM
 * vol. 3, 24.8). No guest's state may be live after it. AMD-V has nothing like it while GIF is set.
 */
void power_leave_virtualisation(void);
