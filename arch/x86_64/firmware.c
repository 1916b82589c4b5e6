#include "arch/x86_64/firmware.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/paging.h"
#include "kernel/log.h"

struct acpi_info acpi;

static const void *map(void *context, hpa_t at, uint64_t size)
{
    (void)context;
    return map_firmware(at, size);
}

void acpi_init(const struct bootinfo *info)
{
    static const struct acpi_source source = { .map = map };
    int error = acpi_parse(&acpi, info->rsdp, info->has_rsdp ? sizeof(info->rsdp) : 0, &source);

    if (error) {
        log_warn("acpi: no tables: Plinth uses one CPU and no power-off");
        return;
    }
    log_info("acpi: %u CPUs, %u I/O APICs%s%s%s%s%s", acpi.cpu_count, acpi.ioapic_count,
             acpi.pm_timer ? ", PM timer" : "", acpi.hpet.raw ? ", HPET" : "",
             acpi.segment_count ? ", PCIe" : "", acpi.console.present ? ", console" : "",
             acpi.has_s5 ? "" : ", no power-off");
}
