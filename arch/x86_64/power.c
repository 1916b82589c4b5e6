#include "arch/x86_64/power.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "kernel/log.h"

#define SCI_TRIES   3000  /* of 1 ms: ACPI 6.4, 4.8.2.5 names no bound */
#define RESET_WAIT  50000 /* us until the next way is tried */
#define PORT_RESET  0xcf9 /* ICH data sheets, "Reset Control Register" */
#define PORT_8042   0x64
#define RESET_PULSE 0xfe

/* PM1 registers work only after the firmware has left legacy mode (ACPI 6.4, 4.8.2.5). */
static void enter_acpi_mode(void)
{
    if (acpi.smi_command == 0 || acpi.acpi_enable == 0 || (in16(acpi.pm1a_control) & ACPI_PM1_SCI_EN) != 0)
        return;
    out8(acpi.smi_command, acpi.acpi_enable);
    for (unsigned i = 0; i < SCI_TRIES && (in16(acpi.pm1a_control) & ACPI_PM1_SCI_EN) == 0; i++)
        tsc_delay_us(1000);
}

static void sleep_s5(uint16_t port, uint8_t type)
{
    uint16_t value = (uint16_t)(in16(port) & ~(ACPI_PM1_SLP_TYP | ACPI_PM1_SLP_EN));

    value = (uint16_t)(value | type << ACPI_PM1_SLP_TYP_SHIFT);
    out16(port, value);
    out16(port, (uint16_t)(value | ACPI_PM1_SLP_EN));
}

_Noreturn void machine_poweroff(void)
{
    smp_stop_others();
    if (acpi.has_s5 && acpi.pm1a_control != 0) {
        enter_acpi_mode();
        /* The B half first: the machine may be gone once A is written. */
        if (acpi.pm1b_control != 0)
            sleep_s5(acpi.pm1b_control, acpi.s5_type_b);
        sleep_s5(acpi.pm1a_control, acpi.s5_type_a);
        tsc_delay_us(RESET_WAIT);
    }
    log_crash();
    log_error("power: this machine cannot be switched off by software: press its power button");
    cpu_halt_forever();
}

static volatile uint8_t *reset_register; /* where it is in memory */

/* At start: in a crash a CPU that has been stopped may hold the lock of the page tables. */
void power_init(void)
{
    if (acpi.reset.address != 0 && acpi.reset.space == ACPI_SPACE_MEMORY)
        reset_register = map_device(hpa(acpi.reset.address), 1);
}

static void reset_by_fadt(void)
{
    if (acpi.reset.address == 0)
        return;
    switch (acpi.reset.space) {
    case ACPI_SPACE_IO:
        out8((uint16_t)acpi.reset.address, acpi.reset_value);
        break;
    case ACPI_SPACE_MEMORY:
        if (reset_register)
            *reset_register = acpi.reset_value;
        break;
    default:
        return;
    }
    tsc_delay_us(RESET_WAIT);
}

void power_leave_virtualisation(void)
{
    if (!(read_cr4() & CR4_VMXE))
        return;
    __asm__ volatile("1: vmxoff\n"
                     "2:\n" FIXUP_1_TO_2
                     :
                     :
                     : "memory", "cc");
    write_cr4(read_cr4() & ~CR4_VMXE);
}

_Noreturn void machine_reboot(void)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __packed no_idt = { 0, 0 };

    smp_stop_others();
    power_leave_virtualisation();
    cpu_write_back(); /* what the recorder kept must be in memory, not in a cache */
    reset_by_fadt();
    out8(PORT_RESET, 0x02); /* system reset */
    out8(PORT_RESET, 0x06); /* ... now */
    tsc_delay_us(RESET_WAIT);
    out8(PORT_8042, RESET_PULSE);
    tsc_delay_us(RESET_WAIT);
    __asm__ volatile(
        "lidt %0; int3"
        :
        : "m"(no_idt)); /* no handler for the exception, nor for the one that follows: shutdown */
    cpu_halt_forever();
}
