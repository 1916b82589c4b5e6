/* 16550A UART, by loopback: registers, FIFO, interrupts and their priorities. Nothing is printed while
 * loopback is on, so each test keeps what it saw. Source: National PC16550D data sheet (TL/C/8652). */
#include "lib/guest.h"

#define COM1 0x3f8
#define DATA (COM1 + 0)
#define IER  (COM1 + 1)
#define IIR  (COM1 + 2)
#define FCR  (COM1 + 2)
#define LCR  (COM1 + 3)
#define MCR  (COM1 + 4)
#define LSR  (COM1 + 5)
#define MSR  (COM1 + 6)
#define SCR  (COM1 + 7)

#define LSR_DR   0x01
#define LSR_OE   0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define MCR_LOOP 0x10
#define IRQ_UART (PIC_BASE + 4)

static bool wait_lsr(uint8_t bits)
{
    uint64_t end = rdtsc() + 100ull * tsc_khz();

    while ((inb(LSR) & bits) != bits)
        if (rdtsc() > end)
            return false;
    return true;
}

static void loopback(bool on)
{
    wait_lsr(LSR_TEMT);
    outb(MCR, on ? MCR_LOOP : 0x0b);
}

static void send(uint8_t byte)
{
    wait_lsr(LSR_THRE);
    outb(DATA, byte);
    delay_us(300); /* three times a character; reading LSR here would clear its error bits */
}

static void test_registers(void)
{
    uint8_t lcr, low, high;

    outb(SCR, 0x5a);
    check_equal("scratch register", inb(SCR), 0x5a);
    outb(SCR, 0xa5);
    check_equal("scratch register, other bits", inb(SCR), 0xa5);
    outb(IER, 0xff);
    check_equal("IER has four bits", inb(IER), 0x0f);
    outb(IER, 0);
    wait_lsr(LSR_TEMT);
    lcr = inb(LCR);
    outb(LCR, 0x83);
    outb(COM1, 0x01);
    outb(COM1 + 1, 0x00);
    low = inb(COM1);
    high = inb(COM1 + 1);
    outb(LCR, 0x03);
    check_equal("divisor latch reads back", (uint64_t)(high << 8 | low), 1);
    check_equal("LCR reads back", inb(LCR), 0x03);
    note("LCR as found", lcr);
}

static void test_modem_lines(void)
{
    static const struct {
        uint8_t mcr, msr;
        const char *what;
    } lines[] = {
        { 0x01, 0x20, "loopback: DTR shows as DSR" },
        { 0x02, 0x10, "loopback: RTS shows as CTS" },
        { 0x04, 0x40, "loopback: OUT1 shows as RI" },
        { 0x08, 0x80, "loopback: OUT2 shows as DCD" },
    };
    uint8_t seen[ARRAY_SIZE(lines)];

    loopback(true);
    for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
        outb(MCR, MCR_LOOP | lines[i].mcr);
        seen[i] = inb(MSR);
    }
    loopback(false);
    for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
        check_equal(lines[i].what, seen[i] & 0xf0, lines[i].msr);
}

static void test_data(void)
{
    uint8_t lsr, data, lsr_after, iir, received[16], lsr_full, lsr_over, lsr_clear;
    bool in_order = true;

    outb(FCR, 0);
    loopback(true);
    send(0x42);
    lsr = inb(LSR);
    data = inb(DATA);
    lsr_after = inb(LSR);
    outb(FCR, 0x07); /* FIFO on, both emptied */
    iir = inb(IIR);
    for (uint8_t i = 0; i < 16; i++)
        send((uint8_t)(0x30 + i));
    lsr_full = inb(LSR);
    send(0x77);
    lsr_over = inb(LSR);
    for (unsigned i = 0; i < 16; i++)
        received[i] = inb(DATA);
    send(0x78);
    outb(FCR, 0x03); /* empty the receiver */
    lsr_clear = inb(LSR);
    loopback(false);

    check_equal("loopback: data ready", lsr & LSR_DR, LSR_DR);
    check_equal("loopback: the byte", data, 0x42);
    check_equal("reading takes it away", lsr_after & LSR_DR, 0);
    check_equal("IIR shows the FIFO", iir & 0xc0, 0xc0);
    check_equal("16 bytes fit", lsr_full & (LSR_DR | LSR_OE), LSR_DR);
    check_equal("the 17th is an overrun", lsr_over & LSR_OE, LSR_OE);
    for (uint8_t i = 0; i < 15; i++)
        in_order = in_order && received[i] == 0x30 + i;
    check("they come in order", in_order);
    check_equal("FCR empties the receiver", lsr_clear & LSR_DR, 0);
}

static void test_priorities(void)
{
    uint8_t idle, line, data, thre, cleared, modem, none;

    loopback(true);
    outb(FCR, 0x00);
    inb(LSR);
    inb(DATA);
    inb(MSR);
    outb(IER, 0);
    idle = inb(IIR);
    outb(IER, 0x0f);
    send(0x11);
    send(0x22);                 /* overrun */
    outb(MCR, MCR_LOOP | 0x01); /* a modem line changes */
    line = inb(IIR);
    inb(LSR);
    data = inb(IIR);
    inb(DATA);
    thre = inb(IIR);
    cleared = inb(IIR);
    modem = cleared;
    inb(MSR);
    none = inb(IIR);
    outb(IER, 0);
    loopback(false);

    check_equal("IIR: nothing pending", idle & 0x0f, 0x01);
    check_equal("IIR: line status first", line & 0x0f, 0x06);
    check_equal("IIR: then received data", data & 0x0f, 0x04);
    check_equal("IIR: then transmitter empty", thre & 0x0f, 0x02);
    check("IIR: reading it clears transmitter empty", (cleared & 0x0f) != 0x02);
    qemu_differs();
    check_equal("IIR: then modem status", modem & 0x0f, 0x00);
    check_equal("IIR: then nothing", none & 0x0f, 0x01);
}

static void uart_handler(struct frame *frame)
{
    (void)frame;
    inb(IIR); /* acknowledges transmitter empty */
    pic_eoi(4);
}

static void test_interrupts(void)
{
    unsigned at_once, after_write;
    uint8_t timeout_iir, none;
    uint64_t end;

    pic_init();
    trap_set(IRQ_UART, uart_handler);
    wait_lsr(LSR_TEMT);
    outb(MCR, 0x0b);
    pic_unmask(4);
    sti();
    outb(IER, 0x02);
    wait_count(&trap_count[IRQ_UART], 1, 100);
    at_once = trap_count[IRQ_UART];
    outb(DATA, '\n');
    wait_count(&trap_count[IRQ_UART], 2, 100);
    after_write = trap_count[IRQ_UART];
    outb(IER, 0);

    /*
     * One byte under a trigger level of 14: the time-out indication must come. Loopback takes OUT2 away, and
     * with it the PC's interrupt, so IIR is asked.
     */
    loopback(true);
    outb(FCR, 0xc7);
    outb(IER, 0x01);
    end = rdtsc() + 100ull * tsc_khz();
    send(0x55);
    do
        timeout_iir = inb(IIR);
    while ((timeout_iir & 0x0f) == 0x01 && rdtsc() < end);
    inb(DATA);
    none = inb(IIR);
    outb(IER, 0);
    outb(FCR, 0x07);
    loopback(false);
    cli();
    check_equal("enabling transmitter-empty interrupts at once", at_once, 1);
    check_equal("and after each byte", after_write, 2);
    check_equal("FIFO below its level: character time-out", timeout_iir & 0x0f, 0x0c);
    check_equal("which reading the byte clears", none & 0x0f, 0x01);
}

void guest_main(void)
{
    tsc_khz();
    test_registers();
    test_modem_lines();
    test_data();
    test_priorities();
    test_interrupts();
}
