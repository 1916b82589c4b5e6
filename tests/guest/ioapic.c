/* The I/O APIC: registers, edge and level, mask, remote IRR, destination. Source: Intel 82093AA data
 * sheet, 3. */
#include "lib/apic.h"

#define PIN_PIT  2 /* IRQ 0 comes here: the MADT's override */
#define PIN_UART 4
#define PIN_RTC  8
#define V_EDGE   0x45u
#define V_LEVEL  0x55u
#define COM1     0x3f8

static void test_registers(void)
{
    uint32_t version = ioapic_read(IOAPIC_VER);

    check_equal("24 redirection entries", version >> 16 & 0xff, 23);
    check_range("version", version & 0xff, 0x11, 0x2f);
    ioapic_write(IOAPIC_VER, 0);
    check_equal("version is read-only", ioapic_read(IOAPIC_VER), version);
    mmio_write32(IOAPIC_BASE, 0x15);
    check_equal("index register reads back", mmio_read32(IOAPIC_BASE), 0x15);
    check_equal("entries are masked after reset", ioapic_read(IOAPIC_ENTRY + 2 * 23) & ENTRY_MASKED,
                ENTRY_MASKED);
    ioapic_write(IOAPIC_ENTRY + 2 * 23 + 1, 0x5a000000);
    check_equal("destination reads back", ioapic_read(IOAPIC_ENTRY + 2 * 23 + 1), 0x5a000000);
    ioapic_write(IOAPIC_ENTRY + 2 * 23, ENTRY_MASKED | ENTRY_STATUS | ENTRY_RIRR);
    check_equal("status and remote IRR are read-only",
                ioapic_read(IOAPIC_ENTRY + 2 * 23) & (ENTRY_STATUS | ENTRY_RIRR), 0);
    ioapic_write(IOAPIC_ENTRY + 2 * 23, ENTRY_MASKED);
    ioapic_write(0x7f, 0x12345678);
    qemu_differs();
    check_equal("an index that does not exist reads 0 or all ones", ioapic_read(0x7f) + 1 <= 1, 1);
}

static void test_edge(void)
{
    uint64_t start;

    trap_set(V_EDGE, apic_handler);
    ioapic_entry(PIN_PIT, V_EDGE, apic_id() << 24);
    pit_program(0, 2, 1193);
    sti();
    check("edge: the PIT on pin 2", wait_count(&trap_count[V_EDGE], 1, 500));
    start = rdtsc();
    check("edge: goes on", wait_count(&trap_count[V_EDGE], 21, 1000));
    check_range("edge: 20 at 1 kHz (us)", (rdtsc() - start) * 1000 / tsc_khz(), 15000,
                400000); /* late on a busy host */
    ioapic_write(IOAPIC_ENTRY + 2 * PIN_PIT, ENTRY_MASKED | V_EDGE);
    delay_us(2000);
    trap_set(V_EDGE, apic_handler);
    delay_us(5000);
    check_equal("edge: masked", trap_count[V_EDGE], 0);
    cli();
    pit_program(0, 0, 0);
}

static volatile bool rirr_inside;

/* Takes the line down in the third interrupt. */
static void level_handler(struct frame *frame)
{
    (void)frame;
    rirr_inside = ioapic_read(IOAPIC_ENTRY + 2 * PIN_UART) & ENTRY_RIRR;
    if (trap_count[V_LEVEL] == 3)
        outb(COM1 + 1, 0);
    apic_write(APIC_EOI, 0);
}

static void test_level(void)
{
    trap_set(V_LEVEL, level_handler);
    outb(COM1 + 4, 0x0b);
    ioapic_entry(PIN_UART, ENTRY_LEVEL | V_LEVEL, apic_id() << 24);
    sti();
    outb(COM1 + 1, 0x02); /* transmitter empty: the line is high */
    check("level: comes again after EOI while the line is high", wait_count(&trap_count[V_LEVEL], 3, 500));
    delay_us(1000);
    check_equal("level: not once it is low", trap_count[V_LEVEL], 3);
    check("level: remote IRR inside the handler", rirr_inside);
    check_equal("level: remote IRR clear after EOI", ioapic_read(IOAPIC_ENTRY + 2 * PIN_UART) & ENTRY_RIRR,
                0);
    cli();
}

static void test_level_masked(void)
{
    ioapic_entry(PIN_UART, ENTRY_MASKED | ENTRY_LEVEL | V_LEVEL, apic_id() << 24);
    outb(COM1 + 1, 0x02);
    trap_set(V_LEVEL, level_handler);
    trap_count[V_LEVEL] = 2; /* so that the handler takes the line down at once */
    sti();
    delay_us(1000);
    check_equal("level: nothing while masked", trap_count[V_LEVEL], 2);
    ioapic_write(IOAPIC_ENTRY + 2 * PIN_UART, ENTRY_LEVEL | V_LEVEL);
    check("level: unmasking a high line delivers it", wait_count(&trap_count[V_LEVEL], 3, 500));
    check("level: TMR bit set", apic_bit(APIC_TMR, V_LEVEL));
    cli();
    outb(COM1 + 1, 0);
    ioapic_write(IOAPIC_ENTRY + 2 * PIN_UART, ENTRY_MASKED);
}

static void rtc_handler(struct frame *frame)
{
    (void)frame;
    cmos_read(0x0c);
    apic_write(APIC_EOI, 0);
}

static void test_logical(void)
{
    apic_write(APIC_DFR, 0xffffffff);
    apic_write(APIC_LDR, 0x04000000);
    trap_set(V_EDGE, rtc_handler);
    cmos_write(0x0a, 0x26);
    cmos_write(0x0b, 0x42);
    cmos_read(0x0c);
    ioapic_entry(PIN_RTC, ENTRY_LOGICAL | V_EDGE, 0x04000000);
    cmos_read(0x0c); /* the line may have risen while the entry was masked: the next edge counts */
    sti();
    check("logical destination: the RTC on pin 8", wait_count(&trap_count[V_EDGE], 3, 500));
    ioapic_entry(PIN_RTC, ENTRY_LOGICAL | V_EDGE, 0x08000000);
    cmos_read(0x0c);
    delay_us(3000);
    trap_set(V_EDGE, rtc_handler);
    cmos_read(0x0c);
    delay_us(5000);
    check_equal("logical destination: nobody", trap_count[V_EDGE], 0);
    cli();
    cmos_write(0x0b, 0x02);
    cmos_read(0x0c);
    ioapic_write(IOAPIC_ENTRY + 2 * PIN_RTC, ENTRY_MASKED);
}

static void test_lowest_priority(void)
{
    trap_set(V_EDGE, apic_handler);
    ioapic_entry(PIN_PIT, ENTRY_LOGICAL | ICR_LOWEST | V_EDGE, 0xff000000);
    pit_program(0, 2, 1193);
    sti();
    check("lowest priority, any CPU", wait_count(&trap_count[V_EDGE], 3, 500));
    cli();
    ioapic_write(IOAPIC_ENTRY + 2 * PIN_PIT, ENTRY_MASKED);
    pit_program(0, 0, 0);
}

void guest_main(void)
{
    tsc_khz();
    apic_init();
    test_registers();
    test_edge();
    test_level();
    test_level_masked();
    test_logical();
    test_lowest_priority();
}
