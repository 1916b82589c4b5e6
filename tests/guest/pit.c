/* Intel 8254: counting modes, latches, read-back, port 0x61, and its rate. Source: 8254 data sheet
 * (231164-005). */
#include "lib/guest.h"

#define PIT_CMD 0x43
#define PORT_61 0x61
#define GATE2   0x01
#define OUT2    0x20

#define STATUS_OUT  0x80
#define STATUS_NULL 0x40

static bool out2(void)
{
    return inb(PORT_61) & OUT2;
}

static void gate2(bool on)
{
    outb(PORT_61, (uint8_t)((inb(PORT_61) & 0x0c) | (on ? GATE2 : 0)));
}

static uint8_t read_status(unsigned channel)
{
    outb(PIT_CMD, (uint8_t)(0xe0 | 2u << channel));
    return inb((uint16_t)(0x40 + channel));
}

/* TSC ticks until OUT of channel 2 is `level`; 0 if that takes longer than 200 ms. */
static uint64_t wait_out2(bool level)
{
    uint64_t start = rdtsc(), end = start + 200ull * tsc_khz();

    while (out2() != level)
        if (rdtsc() > end)
            return 0;
    return rdtsc() - start;
}

static void test_mode0(void)
{
    uint64_t ticks, before;

    gate2(true);
    before = rdtsc();
    pit_program(2, 0, 11932); /* 10 ms */
    check("mode 0: OUT low after the control word", !out2());
    ticks = wait_out2(true) ? rdtsc() - before : 0;
    check_range("mode 0: OUT high after 10 ms (us)", ticks * 1000 / tsc_khz(), 9900, 60000);
    check("mode 0: OUT stays high", out2());
    outb(PIT_CMD, 0xb0);
    qemu_differs();
    check("mode 0: a new control word drops OUT", !out2());
    outb(0x42, 0x10);
    delay_us(2000);
    qemu_differs();
    check("mode 0: no counting with half a count", !out2());
    outb(0x42, 0x00);
    check("mode 0: counts after the second byte", wait_out2(true) != 0);
}

static void test_gate(void)
{
    uint16_t first, second;

    gate2(true);
    pit_program(2, 0, 0xffff);
    delay_us(1000);
    gate2(false);
    first = pit_latch(2);
    delay_us(1000);
    second = pit_latch(2);
    qemu_differs();
    check_equal("gate low stops the count", second, first);
    gate2(true);
    delay_us(1000);
    check("gate high goes on counting", pit_latch(2) < first);
}

static void test_latch(void)
{
    uint16_t first, second;
    uint8_t low, high;

    gate2(true);
    pit_program(2, 2, 0xffff);
    delay_us(100);
    outb(PIT_CMD, 0x80);
    delay_us(1000);
    outb(PIT_CMD, 0x80); /* ignored: the first latch was not read */
    low = inb(0x42);
    high = inb(0x42);
    first = (uint16_t)(high << 8 | low);
    second = pit_latch(2);
    check("latch holds the count until it is read", first > second && (uint16_t)(first - second) >= 1000);

    outb(PIT_CMD, 0xa0); /* channel 2, high byte only, mode 0 */
    outb(0x42, 0x80);
    delay_us(100);
    high = inb(0x42);
    check_range("high byte only: reads the high byte each time", high, 0x70, 0x80);
    outb(PIT_CMD, 0x90); /* low byte only */
    outb(0x42, 0xff);
    check("low byte only: one write starts a count of 255", wait_out2(true) != 0);
}

static void test_mode2(void)
{
    uint16_t highest = 0, lowest = 0xffff;
    uint64_t end;

    gate2(true);
    pit_program(2, 2, 1000);
    end = rdtsc() + 30ull * tsc_khz();
    while (rdtsc() < end) {
        uint16_t now = pit_latch(2);

        highest = now > highest ? now : highest;
        lowest = now < lowest ? now : lowest;
    }
    check_range("mode 2: counts down from the reload value", highest, 800, 1000);
    check_range("mode 2: reloads at 1", lowest, 1, 200);
    qemu_differs();
    check("mode 2: OUT is high", read_status(2) & STATUS_OUT);
}

static void test_mode3(void)
{
    uint64_t low, high;

    gate2(true);
    pit_program(2, 3, 23864); /* 20 ms: 10 high, 10 low */
    check("mode 3: OUT starts high", out2());
    wait_out2(false);
    low = wait_out2(true);
    high = wait_out2(false);
    check_range("mode 3: half a period low (us)", low * 1000 / tsc_khz(), 4000, 30000);
    check_range("mode 3: half a period high (us)", high * 1000 / tsc_khz(), 4000, 30000);
    check("mode 3: count is even", !(pit_latch(2) & 1));
}

static void test_read_back(void)
{
    uint8_t status, low, high;

    gate2(true);
    pit_program(2, 2, 0x1234);
    delay_us(100);
    status = read_status(2);
    check_equal("read-back status: access, mode, binary", status & 0x3f, 0x34);
    check_equal("read-back status: count loaded", status & STATUS_NULL, 0);
    outb(PIT_CMD, 0xb4);
    qemu_differs();
    check_equal("read-back status: null count before the count is written", read_status(2) & STATUS_NULL,
                STATUS_NULL);
    pit_program(2, 2, 0x1234);
    delay_us(100);
    outb(PIT_CMD, 0xc8); /* count and status of channel 2 */
    status = inb(0x42);
    low = inb(0x42);
    high = inb(0x42);
    check_equal("read-back of both: status first", status & 0x3f, 0x34);
    check_range("read-back of both: then the count", (uint64_t)(high << 8 | low), 1, 0x1234);
}

static void test_interrupts(void)
{
    uint64_t start;

    pic_init();
    trap_set(PIC_BASE, pic_handler);
    pic_unmask(0);
    sti();
    pit_program(0, 0, 1193);
    check("mode 0: interrupt at the end of the count", wait_count(&trap_count[PIC_BASE], 1, 200));
    delay_us(10000);
    check_equal("mode 0: only one", trap_count[PIC_BASE], 1);

    pit_program(0, 2, 1193);
    wait_count(&trap_count[PIC_BASE], 2, 200);
    start = rdtsc();
    check("mode 2: interrupts go on", wait_count(&trap_count[PIC_BASE], 52, 2000));
    check_range("mode 2: 50 at 1 kHz take 50 ms (us)", (rdtsc() - start) * 1000 / tsc_khz(), 40000, 150000);
    pit_program(0, 0, 0);
    cli();
    pic_mask(0);
}

void guest_main(void)
{
    note("TSC kHz", tsc_khz());
    test_mode0();
    test_gate();
    test_latch();
    test_mode2();
    test_mode3();
    test_read_back();
    test_interrupts();
}
