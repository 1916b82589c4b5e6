/* The PC's oldest parts: 8259 pair, 8254, CMOS; and time. */
#include "lib/guest.h"

#define PIC1     0x20
#define PIC2     0xa0
#define PIC_EOI  0x20
#define PIT_DATA 0x40
#define PIT_CMD  0x43
#define PORT_61  0x61
#define GATE2    0x01
#define OUT2     0x20

void pic_init(void)
{
    outb(PIC1, 0x11);
    outb(PIC1 + 1, PIC_BASE);
    outb(PIC1 + 1, 0x04);
    outb(PIC1 + 1, 0x01);
    outb(PIC2, 0x11);
    outb(PIC2 + 1, PIC_BASE + 8);
    outb(PIC2 + 1, 0x02);
    outb(PIC2 + 1, 0x01);
    outb(PIC1 + 1, 0xff);
    outb(PIC2 + 1, 0xff);
}

void pic_unmask(unsigned irq)
{
    if (irq >= 8) {
        outb(PIC2 + 1, (uint8_t)(inb(PIC2 + 1) & ~(1u << (irq - 8))));
        irq = 2;
    }
    outb(PIC1 + 1, (uint8_t)(inb(PIC1 + 1) & ~(1u << irq)));
}

void pic_mask(unsigned irq)
{
    uint16_t port = irq >= 8 ? PIC2 + 1 : PIC1 + 1;

    outb(port, (uint8_t)(inb(port) | 1u << (irq & 7)));
}

void pic_eoi(unsigned irq)
{
    if (irq >= 8)
        outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
}

void pic_handler(struct frame *frame)
{
    pic_eoi((unsigned)frame->vector - PIC_BASE);
}

void pit_program(unsigned channel, unsigned mode, uint16_t count)
{
    outb(PIT_CMD, (uint8_t)(channel << 6 | 3 << 4 | mode << 1));
    outb((uint16_t)(PIT_DATA + channel), (uint8_t)count);
    outb((uint16_t)(PIT_DATA + channel), (uint8_t)(count >> 8));
}

uint16_t pit_latch(unsigned channel)
{
    uint8_t low;

    outb(PIT_CMD, (uint8_t)(channel << 6));
    low = inb((uint16_t)(PIT_DATA + channel));
    return (uint16_t)(inb((uint16_t)(PIT_DATA + channel)) << 8 | low);
}

uint8_t cmos_read(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

void cmos_write(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

/* TSC ticks in 20 ms of channel 2, counted in mode 0: OUT rises at the end. */
static uint32_t measure_tsc_khz(void)
{
    uint8_t gate = (uint8_t)(inb(PORT_61) & ~3u);
    uint64_t start;

    outb(PORT_61, gate | GATE2);
    pit_program(2, 0, (uint16_t)(PIT_HZ / 50));
    start = rdtsc();
    while (!(inb(PORT_61) & OUT2))
        pause();
    return (uint32_t)(rdtsc() - start) / 20;
}

uint32_t tsc_khz(void)
{
    static uint32_t khz;

    if (!khz) {
        if (cpuid(0x40000000, 0).eax >= 0x40000010 && cpuid(0x40000010, 0).eax)
            khz = cpuid(0x40000010, 0).eax;
        else
            khz = measure_tsc_khz();
    }
    return khz;
}

void delay_us(uint32_t us)
{
    uint64_t end = rdtsc() + (uint64_t)us * (tsc_khz() / 1000);

    while (rdtsc() < end)
        pause();
}

bool wait_count(const volatile unsigned *counter, unsigned target, uint32_t ms)
{
    uint64_t end = rdtsc() + (uint64_t)ms * tsc_khz();

    while (*counter < target)
        if (rdtsc() > end)
            return *counter >= target;
    return true;
}
