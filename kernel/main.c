#include "kernel/main.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/desc.h"
#include "arch/x86_64/paging.h"
#include "boot/bootinfo.h"
#include "drivers/uart.h"
#include "kernel/log.h"
#include "kernel/panic.h"

static struct bootinfo bootinfo;

_Noreturn void kernel_start(uint32_t block)
{
    const char *why;
    const uint32_t *size = phys_to_virt(hpa(block));
    struct uart_config serial;

    desc_init_boot();
    cpu_init();
    int error = bootinfo_parse(&bootinfo, size, *size, &why);
    if (uart_parse(&serial, "com1") == 0 && uart_init(&serial) == 0)
        uart_log();
    if (error)
        panic("%s", why);
    log_info("Plinth " PLINTH_VERSION ", loaded by %s", bootinfo.loader);
    log_info("cpu: %s", cpu_features.brand);
    for (unsigned i = 0; i < bootinfo.region_count; i++)
        log_info("region %llx %llx %d", (unsigned long long)bootinfo.region[i].start.raw,
                 (unsigned long long)bootinfo.region[i].size, bootinfo.region[i].type);
    char value[16];
    if (bootinfo_option(bootinfo.cmdline, "crash", value, sizeof(value)))
        *(volatile int *)0x123456789000 = 1;
    cpu_halt_forever();
}
