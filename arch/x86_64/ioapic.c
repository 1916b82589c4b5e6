#include "arch/x86_64/ioapic.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/paging.h"
#include "hw/apic.h"
#include "kernel/log.h"
#include "lib/errno.h"

static unsigned count;

static struct ioapic {
    volatile uint8_t *registers;
    unsigned gsi_base, pins;
} ioapics[ACPI_MAX_IOAPICS];

static uint32_t ioapic_read(const struct ioapic *ioapic, uint32_t reg)
{
    *(volatile uint32_t *)(ioapic->registers + IOAPIC_IOREGSEL) = reg;
    return *(volatile uint32_t *)(ioapic->registers + IOAPIC_IOWIN);
}

static void ioapic_write(const struct ioapic *ioapic, uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(ioapic->registers + IOAPIC_IOREGSEL) = reg;
    *(volatile uint32_t *)(ioapic->registers + IOAPIC_IOWIN) = value;
}

static const struct ioapic *find(unsigned gsi)
{
    for (unsigned i = 0; i < count; i++)
        if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].pins)
            return &ioapics[i];
    return NULL;
}

void ioapic_init(void)
{
    for (unsigned i = 0; i < acpi.ioapic_count; i++) {
        struct ioapic *ioapic = &ioapics[count];

        ioapic->registers = map_device(acpi.ioapic[i].address, IOAPIC_SIZE);
        if (!ioapic->registers) {
            log_warn("ioapic: cannot map the one at %llx: ignored",
                     (unsigned long long)acpi.ioapic[i].address.raw);
            continue;
        }
        ioapic->gsi_base = acpi.ioapic[i].gsi_base;
        ioapic->pins = IOAPIC_VER_MAX_PIN(ioapic_read(ioapic, IOAPIC_VER)) + 1;
        for (unsigned pin = 0; pin < ioapic->pins; pin++)
            ioapic_write(ioapic, IOAPIC_REDTBL(pin), (uint32_t)IOAPIC_RTE_MASKED);
        log_info("ioapic: inputs %u to %u", ioapic->gsi_base, ioapic->gsi_base + ioapic->pins - 1);
        count++;
    }
}

int ioapic_route(unsigned gsi, unsigned vector, uint32_t apic_id, bool level, bool active_low)
{
    const struct ioapic *ioapic = find(gsi);
    uint64_t entry;
    unsigned pin;

    if (!ioapic)
        return -ENODEV;
    if (apic_id > 0xff)
        return -ERANGE;
    pin = gsi - ioapic->gsi_base;
    entry = vector | (uint64_t)apic_id << IOAPIC_RTE_DEST_SHIFT | (level ? IOAPIC_RTE_LEVEL : 0) |
            (active_low ? IOAPIC_RTE_ACTIVE_LOW : 0);
    ioapic_write(ioapic, IOAPIC_REDTBL(pin), (uint32_t)IOAPIC_RTE_MASKED);
    ioapic_write(ioapic, IOAPIC_REDTBL(pin) + 1, (uint32_t)(entry >> 32));
    ioapic_write(ioapic, IOAPIC_REDTBL(pin), (uint32_t)entry);
    return 0;
}

void ioapic_mask(unsigned gsi, bool masked)
{
    const struct ioapic *ioapic = find(gsi);
    uint32_t low, reg;

    if (!ioapic)
        return;
    reg = IOAPIC_REDTBL(gsi - ioapic->gsi_base);
    low = ioapic_read(ioapic, reg) & ~(uint32_t)IOAPIC_RTE_MASKED;
    ioapic_write(ioapic, reg, low | (masked ? (uint32_t)IOAPIC_RTE_MASKED : 0));
}
