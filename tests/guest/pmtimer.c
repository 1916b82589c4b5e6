/* ACPI fixed hardware: the power-management timer and the PM1 registers. Source: ACPI 6.4, 4.8.3.1
 * to 4.8.3.3. */
#include "lib/guest.h"

#define PM1_STS 0x600
#define PM1_EN  0x602
#define PM1_CNT 0x604
#define PM_TMR  0x608
#define TMR_STS 0x0001
#define SCI_EN  0x0001
#define PM_HZ   3579545u

#define LOW_24 0xffffffu /* what a 24-bit and a 32-bit timer have in common */

static bool wide; /* 32 bits */

static void test_rate(void)
{
    uint32_t start = inl(PM_TMR), ticks;
    uint64_t tsc = rdtsc(), us;

    delay_us(50000);
    ticks = (inl(PM_TMR) - start) & LOW_24;
    us = (rdtsc() - tsc) * 1000 / tsc_khz();
    check_range("3.58 MHz (us by the timer, 50 ms by the TSC)", ticks * 1000000ull / PM_HZ, us * 9 / 10,
                us * 11 / 10);
}

static void test_monotonic(void)
{
    uint32_t last = inl(PM_TMR);
    bool forward = true;

    for (unsigned i = 0; i < 20000; i++) {
        uint32_t now = inl(PM_TMR);

        if (((now - last) & LOW_24) > LOW_24 / 2)
            forward = false;
        last = now;
    }
    check("never goes backwards", forward);
}

/* Watches one wrap of 24 bits (4.7 s at most): the value falls to 0 there, or carries into bit 24 of a 32-bit
 * timer. */
static void test_wrap(void)
{
    uint32_t last = inl(PM_TMR) & LOW_24, now;
    uint64_t end = rdtsc() + 6000ull * tsc_khz();

    outw(PM1_STS, TMR_STS);
    do {
        now = inl(PM_TMR);
        if ((now & LOW_24) < last)
            break;
        last = now & LOW_24;
    } while (rdtsc() < end);
    check("wraps after 2^24 ticks", rdtsc() < end);
    wide = now >> 24;
    note("value after the wrap", now);
}

static void test_pm1(void)
{
    if (!wide) { /* bit 23 has changed since; with 32 bits it would take 20 minutes */
        check_equal("TMR_STS was set on the way", inw(PM1_STS) & TMR_STS, TMR_STS);
        outw(PM1_STS, 0);
        check_equal("writing 0 leaves TMR_STS", inw(PM1_STS) & TMR_STS, TMR_STS);
    }
    outw(PM1_STS, TMR_STS);
    check_equal("writing 1 clears it", inw(PM1_STS) & TMR_STS, 0);
    outw(PM1_EN, TMR_STS);
    check_equal("PM1 enable reads back", inw(PM1_EN) & TMR_STS, TMR_STS);
    outw(PM1_EN, 0);
    check_equal("PM1 enable reads back, off", inw(PM1_EN), 0);
    outw(PM1_CNT, SCI_EN);
    check_equal("SCI_EN reads 1", inw(PM1_CNT) & SCI_EN, SCI_EN);
    check_equal("SLP_EN reads 0", inw(PM1_CNT) & 0x2000, 0);
}

/* A 24-bit timer's own interrupt: bit 23 changes every 2.3 s. */
static void test_sci(void)
{
    pic_init();
    trap_set(PIC_BASE + 9, pic_handler);
    pic_unmask(9);
    outw(PM1_STS, 0xffff);
    outw(PM1_EN, TMR_STS);
    sti();
    qemu_differs();
    check("timer overflow raises the SCI, IRQ 9", wait_count(&trap_count[PIC_BASE + 9], 1, 3000));
    cli();
    outw(PM1_EN, 0);
    outw(PM1_STS, TMR_STS);
}

void guest_main(void)
{
    test_rate();
    test_monotonic();
    test_wrap();
    test_pm1();
    if (!wide)
        test_sci();
}
