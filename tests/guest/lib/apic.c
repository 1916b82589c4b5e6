#include "lib/apic.h"

bool apic_x2;

uint32_t apic_read(uint32_t reg)
{
    return apic_x2 ? (uint32_t)rdmsr(X2APIC_MSR(reg)) : mmio_read32(APIC_BASE_ADDRESS + reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
    if (apic_x2)
        wrmsr(X2APIC_MSR(reg), value);
    else
        mmio_write32(APIC_BASE_ADDRESS + reg, value);
}

void apic_send(uint32_t destination, uint32_t command)
{
    if (apic_x2) {
        wrmsr(X2APIC_MSR(APIC_ICR), (uint64_t)destination << 32 | command);
        return;
    }
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR, command);
    for (unsigned i = 0; i < 100000 && (apic_read(APIC_ICR) & ICR_PENDING); i++)
        pause();
}

void apic_self(unsigned vector)
{
    apic_send(0, ICR_SELF | ICR_ASSERT | vector);
}

uint32_t apic_id(void)
{
    return apic_x2 ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

bool apic_bit(uint32_t reg, unsigned vector)
{
    return apic_read(reg + vector / 32 * 0x10) >> (vector % 32) & 1;
}

void apic_handler(struct frame *frame)
{
    (void)frame;
    apic_write(APIC_EOI, 0);
}

static void spurious_handler(struct frame *frame)
{
    (void)frame;
}

void apic_init(void)
{
    pic_init();
    trap_set(SPURIOUS_VECTOR, spurious_handler);
    apic_write(APIC_SPIV, SPIV_ENABLE | SPURIOUS_VECTOR);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_MASKED);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_INITIAL, 0);
}

bool has_tsc_deadline(void)
{
    return cpuid(1, 0).ecx >> 24 & 1;
}

uint32_t ioapic_read(uint32_t index)
{
    mmio_write32(IOAPIC_BASE, index);
    return mmio_read32(IOAPIC_BASE + 0x10);
}

void ioapic_write(uint32_t index, uint32_t value)
{
    mmio_write32(IOAPIC_BASE, index);
    mmio_write32(IOAPIC_BASE + 0x10, value);
}

void ioapic_entry(unsigned pin, uint32_t low, uint32_t high)
{
    ioapic_write(IOAPIC_ENTRY + 2 * pin, ENTRY_MASKED);
    ioapic_write(IOAPIC_ENTRY + 2 * pin + 1, high);
    ioapic_write(IOAPIC_ENTRY + 2 * pin, low);
}
