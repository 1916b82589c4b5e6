#include "kernel/main.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cmos.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/desc.h"
#include "arch/x86_64/firmware.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/trap.h"
#include "arch/x86_64/power.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "arch/x86_64/xstate.h"
#include "boot/bootinfo.h"
#include "devices/vvirtio_without.h"
#include "drivers/disk_test.h"
#include "drivers/e1000.h"
#include "drivers/fb.h"
#include "drivers/net_test.h"
#include "drivers/storage.h"
#include "drivers/uart.h"
#include "drivers/virtio_net.h"
#include "guests/manager.h"
#include "io/disks.h"
#include "guests/netports.h"
#include "kernel/crashtest.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/memory.h"
#include "kernel/panic.h"
#include "kernel/recorder.h"
#include "kernel/sched.h"
#include "lib/string.h"
#include "shell/ports.h"
#include "shell/shell.h"
#include "shell/wire.h"
#include "vmx/vm.h"

#define BLOCK_MAX    MiB /* no loader's information block is larger */
#define SCAN_SECONDS 5   /* that disks have for telling their partitions */

static struct bootinfo bootinfo;
static uint64_t handoff_tsc;

static bool option(const char *key, char *value, size_t size)
{
    return bootinfo_option(bootinfo.cmdline, key, value, size);
}

/* Reads the loader's block, which lies anywhere below 4 GiB, before anything could overwrite it. */
static const char *read_bootinfo(uint32_t block)
{
    const uint32_t *total_size = phys_to_virt(hpa(block));
    const char *why;

    return bootinfo_parse(&bootinfo, total_size, min_u64(*total_size, BLOCK_MAX), &why) ? why : NULL;
}

static void read_options(void)
{
    char value[16];

    if (option("log", value, sizeof(value)))
        log_set_level(strcmp(value, "debug") == 0  ? LOG_DEBUG
                      : strcmp(value, "warn") == 0 ? LOG_WARN
                                                   : LOG_INFO);
    if (option("panic", value, sizeof(value)))
        panic_set_reboot(strcmp(value, "reboot") == 0);
}

static void open_console(void)
{
    struct uart_config config;
    char value[32];
    bool asked = option("console", value, sizeof(value));
    bool wrong = asked && uart_parse(&config, value) != 0;

    if ((asked && !wrong) || uart_parse(&config, "com1") == 0)
        if (uart_init(&config) == 0)
            uart_log();
    if (wrong)
        log_warn("console=%s is not understood: com1 is used (examples: com1,115200 com2 0x3f8,9600)", value);
}

static void move_console(const struct uart_config *config, const char *whose)
{
    if (uart_same(config))
        return;
    log_info("console: moving to 0x%llx, as %s says", (unsigned long long)config->base, whose);
    if (uart_init(config) == 0)
        uart_log();
    else
        log_warn("console: no UART answers at 0x%llx", (unsigned long long)config->base);
}

/* The command line goes before the config, the config before the firmware's table, and that before COM1. */
static void follow_firmware_console(void)
{
    char value[4];
    struct uart_config config = {
        .mmio = acpi.console.mmio,
        .base = acpi.console.base,
        .stride = acpi.console.stride,
        .baud = acpi.console.baud,
        .isa = acpi.console.isa_irq >= 0,
        .gsi = acpi.console.isa_irq >= 0 ? acpi.console.isa_irq : (int)acpi.console.gsi,
    };

    if (acpi.console.present && !option("console", value, sizeof(value)))
        move_console(&config, "the firmware (SPCR)");
}

static void follow_config_console(const char *text)
{
    char value[4];
    struct uart_config config;

    if (*text == '\0' || option("console", value, sizeof(value)))
        return;
    if (uart_parse(&config, text) == 0)
        move_console(&config, "the config");
    else
        log_warn("console: '%s' in the config is not understood (examples: com1,115200 com2 0x3f8,9600)",
                 text);
}

static void log_start(void)
{
    log_info("Plinth " PLINTH_VERSION ", loaded by %s%s",
             bootinfo.loader[0] ? bootinfo.loader : "an unnamed loader", bootinfo.uefi ? " under UEFI" : "");
    log_info("cpu: %s, %u address bits", cpu_features.brand, cpu_features.maxphyaddr);
    for (unsigned i = 0; i < bootinfo.module_count; i++)
        log_debug("module: %s, %llu bytes", bootinfo.module[i].name,
                  (unsigned long long)bootinfo.module[i].size);
}

/* How many CPUs are to be used: `cpus=N`. */
static unsigned cpu_limit(void)
{
    char value[8];
    const char *at = value;
    unsigned limit = 0;

    if (!option("cpus", value, sizeof(value)))
        return CPU_MAX;
    for (; *at >= '0' && *at <= '9' && limit <= CPU_MAX; at++)
        limit = 10 * limit + (unsigned)(*at - '0');
    if (*at == '\0' && limit >= 1 && limit <= CPU_MAX)
        return limit;
    log_warn("cpus=%s is not understood: a number from 1 to %u is", value, CPU_MAX);
    return CPU_MAX;
}

/* No VM is started before it is known what its disks are. */
static void find_partitions(void)
{
    uint64_t deadline = tsc_now() + SCAN_SECONDS * tsc_hz();

    disks_scan(&this_cpu()->timers);
    while (disks_scan_step() && tsc_now() < deadline) {
        cpu_take_interrupts();
        timer_queue_run(&this_cpu()->timers, tsc_now()); /* a driver's patience may end */
    }
    disks_scan_late();
}

/* The last VM has stopped, and the config says what then. */
static void end(bool reboot)
{
    wire_flush();
    recorder_end(reboot ? "a reboot when all VMs had stopped" : "power-off when all VMs had stopped");
    if (reboot)
        machine_reboot();
    machine_poweroff();
}

/* Features that virtio devices are not to have: names with commas between. */
static void withhold(const char *list)
{
    char name[24];

    while ((list = next_name(list, name, sizeof(name))) != NULL)
        if (vvirtio_without(name))
            log_warn("virtio-without=%s: no feature with that name can be taken away (%s)", name,
                     vvirtio_without_names);
}

/*
 * On the boot CPU's main stack. The order is that of need: each
 * line uses what the lines before it brought up.
 */
_Noreturn static void main_stack_start(void)
{
    char value[8], without[200], serial[BLOCK_SERIAL_MAX];

    if (desc_init_cpu())
        panic("no memory for the task state");
    acpi_init(&bootinfo);
    power_init();
    tsc_init();
    recorder_start(log_start_tsc(), tsc_hz());
    irq_init(); /* before lapic_init(): a late 8259 leaves its request behind in the local APIC */
    lapic_init();
    follow_firmware_console();
    sched_init();
    wire_init();
    shell_init();
    (void)xstate_init();
    cmos_init();
    vm_init(option("without", without, sizeof(without)) ? without : "");
    if (option("virtio-without", without, sizeof(without)))
        withhold(without);
    if (option("spoil", value, sizeof(value)))
        vm_spoil_entry(value);
    smp_init(memory_startup_page(), cpu_limit(), vm_cpu_enable, sched_loop);
    sched_begin();
    storage_init();
    e1000_init();
    virtio_net_init();
    if (option("crash", value, sizeof(value)))
        crash_on_request(value);
    if (option("disk-test", serial, sizeof(serial)))
        disk_test(serial);
    if (option("net-test", serial, sizeof(serial)))
        net_test(serial);
    machine_set_clock(cmos_utc_seconds);
    manager_init(&bootinfo, handoff_tsc);
    netports_init(manager_config());
    follow_config_console(manager_console());
    wire_configure(manager_config());
    ports_open();
    find_partitions();
    manager_on_end(end);
    manager_autostart();
    log_info("plinth: ready");
    wire_attach(manager_attached());
    sched_loop();
}

_Noreturn void kernel_start(uint32_t block)
{
    const char *wrong;
    struct cpu *cpu;

    handoff_tsc = tsc_now();
    desc_init_boot();
    cpu_init();
    wrong = read_bootinfo(block);
    open_console();
    if (wrong)
        panic("%s", wrong);
    read_options();
    log_start();
    memory_init(&bootinfo);
    fb_init(&bootinfo.framebuffer);
    cpu = percpu_create(0, 0);
    if (!cpu)
        panic("no memory for the per-CPU block");
    stack_switch(cpu, main_stack_start);
}
