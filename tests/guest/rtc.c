/* MC146818 real-time clock: formats, roll-over, interrupts, update flag, RAM. Source: MC146818A data sheet
 * (ADI1086R1). */
#include "lib/guest.h"

#define SECONDS 0
#define MINUTES 2
#define HOURS   4
#define DAY     7
#define MONTH   8
#define YEAR    9
#define CENTURY 0x32 /* as the FADT says */
#define REG_A   0x0a
#define REG_B   0x0b
#define REG_C   0x0c
#define REG_D   0x0d
#define A_UIP   0x80
#define A_32KHZ 0x20
#define A_1024  0x06
#define B_SET   0x80
#define B_PIE   0x40
#define B_AIE   0x20
#define B_UIE   0x10
#define B_BIN   0x04
#define B_24H   0x02
#define IRQ_RTC (PIC_BASE + 8)

static uint8_t flags_seen;

static void rtc_handler(struct frame *frame)
{
    (void)frame;
    flags_seen = cmos_read(REG_C);
    pic_eoi(8);
}

static void no_acknowledge(struct frame *frame)
{
    (void)frame;
    pic_eoi(8);
}

static void set_clock(uint8_t format, uint8_t year, uint8_t month, uint8_t day, uint8_t hour, uint8_t minute,
                      uint8_t second)
{
    cmos_write(REG_B, B_SET | format);
    cmos_write(SECONDS, second);
    cmos_write(MINUTES, minute);
    cmos_write(HOURS, hour);
    cmos_write(DAY, day);
    cmos_write(MONTH, month);
    cmos_write(YEAR, year);
    cmos_write(CENTURY, format & B_BIN ? 20 : 0x20);
    cmos_write(REG_B, format);
}

/* Waits until the seconds change, at most 1.5 s. */
static bool next_second(void)
{
    uint8_t now = cmos_read(SECONDS);
    uint64_t end = rdtsc() + 1500ull * tsc_khz();

    while (cmos_read(SECONDS) == now)
        if (rdtsc() > end)
            return false;
    return true;
}

static void test_registers(void)
{
    uint8_t old = cmos_read(0x50);

    check_equal("register D: valid RAM and time", cmos_read(REG_D), 0x80);
    cmos_write(0x50, 0x5a);
    check_equal("RAM reads back", cmos_read(0x50), 0x5a);
    cmos_write(0x50, old);
    outb(0x70, 0x80 | REG_D);
    check_equal("bit 7 of the index (NMI) is not part of it", inb(0x71), 0x80);
    cmos_write(REG_A, A_32KHZ | A_1024);
    check_equal("register A reads back", cmos_read(REG_A) & 0x7f, A_32KHZ | A_1024);
    cmos_write(REG_B, B_24H);
    check_equal("register B reads back", cmos_read(REG_B), B_24H);
}

static void test_formats(void)
{
    set_clock(B_24H, 0x23, 0x12, 0x31, 0x23, 0x59, 0x59);
    check("the clock runs", next_second());
    check_equal("BCD: year after New Year's Eve 2023", cmos_read(YEAR), 0x24);
    check_equal("BCD: month", cmos_read(MONTH), 0x01);
    check_equal("BCD: day", cmos_read(DAY), 0x01);
    check_equal("BCD: hour", cmos_read(HOURS), 0x00);

    set_clock(B_24H | B_BIN, 24, 2, 28, 23, 59, 59);
    next_second();
    check_equal("binary: 29 February in a leap year", cmos_read(DAY), 29);
    check_equal("binary: still February", cmos_read(MONTH), 2);

    set_clock(0, 0x24, 0x06, 0x15, 0x11, 0x59, 0x59);
    next_second();
    check_equal("12 h, BCD: 11:59:59 am turns 12 pm", cmos_read(HOURS), 0x92);

    set_clock(B_24H, 0x24, 0x06, 0x15, 0x12, 0x00, 0x30);
    cmos_write(REG_B, B_24H | B_SET);
    delay_us(1300000);
    check_equal("SET stops the clock", cmos_read(SECONDS), 0x30);
    cmos_write(REG_B, B_24H);
}

static void test_uip(void)
{
    uint64_t end = rdtsc() + 2000ull * tsc_khz(), start;
    bool seen = false;

    while (!seen && rdtsc() < end)
        seen = cmos_read(REG_A) & A_UIP;
    start = rdtsc();
    check("update-in-progress shows before the update", seen);
    while (cmos_read(REG_A) & A_UIP)
        if (rdtsc() > end + 1000ull * tsc_khz())
            break;
    check_range("and ends (us)", (rdtsc() - start) * 1000 / tsc_khz(), 0, 20000);
}

static void test_interrupts(void)
{
    uint64_t start;

    pic_init();
    trap_set(IRQ_RTC, rtc_handler);
    pic_unmask(8);
    cmos_write(REG_A, A_32KHZ | A_1024);
    cmos_read(REG_C);
    cmos_write(REG_B, B_24H | B_UIE);
    sti();
    check("update-ended interrupt", wait_count(&trap_count[IRQ_RTC], 1, 1500));
    check_equal("register C names it", flags_seen & 0xb0, 0x90);
    start = rdtsc();
    check("the next one", wait_count(&trap_count[IRQ_RTC], 2, 1500));
    check_range("a second later (ms)", (rdtsc() - start) / tsc_khz(), 900, 1200);

    cmos_write(REG_B, B_24H);
    trap_set(IRQ_RTC, rtc_handler);
    cmos_write(REG_B, B_24H | B_PIE);
    wait_count(&trap_count[IRQ_RTC], 1, 500);
    start = rdtsc();
    check("periodic interrupts", wait_count(&trap_count[IRQ_RTC], 65, 1000));
    check_range("64 of them at 1024 Hz (us)", (rdtsc() - start) * 1000 / tsc_khz(), 50000,
                500000); /* late on a busy machine */
    check_equal("register C names the periodic one", flags_seen & 0xc0, 0xc0);

    trap_set(IRQ_RTC, no_acknowledge);
    wait_count(&trap_count[IRQ_RTC], 1, 500);
    delay_us(20000);
    check_equal("none before register C is read", trap_count[IRQ_RTC], 1);
    cmos_write(REG_A, A_32KHZ); /* nothing may set a flag again */
    cmos_write(REG_B, B_24H | B_SET);
    check_equal("register C still holds the flag", cmos_read(REG_C) & 0x40, 0x40);
    check_equal("reading register C clears it", cmos_read(REG_C), 0);

    trap_set(IRQ_RTC, rtc_handler);
    cmos_write(1, 0xff); /* alarm: any second, minute, hour */
    cmos_write(3, 0xff);
    cmos_write(5, 0xff);
    cmos_write(REG_B, B_24H | B_AIE);
    check("alarm interrupt", wait_count(&trap_count[IRQ_RTC], 1, 2500));
    check_equal("register C names the alarm", flags_seen & 0xa0, 0xa0);
    cli();
    cmos_write(REG_B, B_24H);
    pic_mask(8);
}

void guest_main(void)
{
    uint8_t century = cmos_read(CENTURY);

    note("date as found", (uint64_t)century << 24 | (uint64_t)cmos_read(YEAR) << 16 |
                              (uint64_t)cmos_read(MONTH) << 8 | cmos_read(DAY));
    test_registers();
    test_formats();
    test_uip();
    test_interrupts();
}
