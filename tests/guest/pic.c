/* Intel 8259A pair: initialisation, masks, delivery, in-service, cascade, priority, poll, ELCR. Source: 8259A
 * data sheet (231468-003); ELCR: Intel 82371SB (PIIX3) data sheet, 2.5.5. */
#include "lib/guest.h"

#define PIC1     0x20
#define PIC2     0xa0
#define READ_IRR 0x0a
#define READ_ISR 0x0b
#define POLL     0x0c
#define ELCR1    0x4d0
#define ELCR2    0x4d1
#define COM1     0x3f8

#define IRQ_PIT  PIC_BASE
#define IRQ_UART (PIC_BASE + 4)
#define IRQ_RTC  (PIC_BASE + 8)

static uint8_t read_register(uint16_t pic, uint8_t which)
{
    outb(pic, which);
    return inb(pic);
}

static void test_init(void)
{
    outb(PIC1, 0x11);
    outb(PIC1 + 1, PIC_BASE);
    outb(PIC1 + 1, 0x04);
    outb(PIC1 + 1, 0x01);
    check_equal("initialisation clears the mask", inb(PIC1 + 1), 0);
    outb(PIC1 + 1, 0x5a);
    outb(PIC2 + 1, 0xa5);
    check_equal("master's mask reads back", inb(PIC1 + 1), 0x5a);
    check_equal("slave's mask reads back", inb(PIC2 + 1), 0xa5);
    pic_init();
    check_equal("nothing in service at first", read_register(PIC1, READ_ISR), 0);
}

static void test_masked(void)
{
    pit_program(0, 0, 100);
    delay_us(2000);
    check_equal("a masked request is seen in the IRR", read_register(PIC1, READ_IRR) & 1, 1);
    sti();
    delay_us(1000);
    cli();
    check_equal("and is not delivered", trap_count[IRQ_PIT], 0);
}

static uint8_t isr_inside, isr_after_eoi;

static void look_then_eoi(struct frame *frame)
{
    (void)frame;
    isr_inside = read_register(PIC1, READ_ISR);
    outb(PIC1, 0x60); /* specific EOI, level 0 */
    isr_after_eoi = read_register(PIC1, READ_ISR);
}

static void test_delivery(void)
{
    trap_set(IRQ_PIT, look_then_eoi);
    pit_program(0, 2, 1193);
    pic_unmask(0);
    sti();
    check("timer interrupts arrive", wait_count(&trap_count[IRQ_PIT], 5, 500));
    cli();
    check_equal("in service inside the handler", isr_inside, 1);
    check_equal("specific EOI ends it", isr_after_eoi, 0);
}

static void no_eoi(struct frame *frame)
{
    (void)frame;
}

static void test_without_eoi(void)
{
    trap_set(IRQ_PIT, no_eoi);
    sti();
    check("one interrupt without EOI", wait_count(&trap_count[IRQ_PIT], 1, 500));
    delay_us(10000);
    cli();
    check_equal("no second one before the EOI", trap_count[IRQ_PIT], 1);
    check_equal("the next waits in the IRR", read_register(PIC1, READ_IRR) & 1, 1);
    trap_set(IRQ_PIT, pic_handler);
    outb(PIC1, 0x20);
    sti();
    check("non-specific EOI lets the next one in", wait_count(&trap_count[IRQ_PIT], 1, 500));
    cli();
    pic_mask(0);
}

static uint8_t isr_master, isr_slave, cmos_c;
static unsigned timer_inside;

/* The slave's interrupt: level 2 of the master; the timer (level 0) may nest, another of its own may not. */
static void rtc_handler(struct frame *frame)
{
    unsigned before = trap_count[IRQ_PIT];

    (void)frame;
    isr_master = read_register(PIC1, READ_ISR);
    isr_slave = read_register(PIC2, READ_ISR);
    pic_unmask(0);
    sti();
    wait_count(&trap_count[IRQ_PIT], before + 2, 500);
    cli();
    pic_mask(0);
    timer_inside = trap_count[IRQ_PIT] - before;
    cmos_c = cmos_read(0x0c);
    pic_eoi(8);
}

static void test_cascade(void)
{
    trap_set(IRQ_PIT, pic_handler);
    trap_set(IRQ_RTC, rtc_handler);
    cmos_write(0x0a, 0x26); /* 1024 Hz */
    cmos_write(0x0b, 0x42); /* periodic interrupt, 24 h */
    cmos_read(0x0c);
    pic_unmask(8);
    sti();
    check("slave interrupt arrives", wait_count(&trap_count[IRQ_RTC], 2, 1000));
    cli();
    check_equal("in service: level 2 in the master", isr_master, 4);
    check_equal("in service: level 0 in the slave", isr_slave, 1);
    check("a higher level nests", timer_inside >= 2);
    cmos_write(0x0b, 0x02);
    cmos_read(0x0c);
    pic_mask(8);
}

static void test_auto_eoi(void)
{
    outb(PIC1, 0x11);
    outb(PIC1 + 1, PIC_BASE);
    outb(PIC1 + 1, 0x04);
    outb(PIC1 + 1, 0x03); /* auto EOI */
    outb(PIC1 + 1, 0xfe);
    trap_set(IRQ_PIT, no_eoi);
    sti();
    check("auto EOI: interrupts go on by themselves", wait_count(&trap_count[IRQ_PIT], 3, 500));
    cli();
    check_equal("auto EOI: nothing stays in service", read_register(PIC1, READ_ISR), 0);
    pic_init();
}

static void test_poll(void)
{
    uint8_t answer;

    pit_program(0, 2, 1193);
    delay_us(3000);
    outb(PIC1 + 1, 0xfe);
    outb(PIC1, POLL);
    answer = inb(PIC1);
    check_equal("poll: request at level 0", answer & 0x87, 0x80);
    check_equal("poll: puts it in service", read_register(PIC1, READ_ISR), 1);
    outb(PIC1, 0x20);
    pic_init();
    pit_program(0, 0, 0);
}

static void uart_off_and_eoi(struct frame *frame)
{
    (void)frame;
    if (trap_count[IRQ_UART] == 3)
        outb(COM1 + 1, 0); /* takes the level away */
    pic_eoi(4);
}

static void test_level(void)
{
    outb(ELCR1, 0xff);
    outb(ELCR2, 0xff);
    check_equal("ELCR: lines 0 to 2 stay edge-triggered", inb(ELCR1), 0xf8);
    check_equal("ELCR: lines 8 and 13 stay edge-triggered", inb(ELCR2), 0xde);
    outb(ELCR1, 0x10);
    outb(ELCR2, 0);

    trap_set(IRQ_UART, uart_off_and_eoi);
    outb(COM1 + 4, 0x0b); /* OUT2 lets the interrupt out */
    outb(COM1 + 1, 0x02); /* transmitter empty: the line is high */
    pic_unmask(4);
    sti();
    check("level-triggered: comes again after EOI while the line is high",
          wait_count(&trap_count[IRQ_UART], 3, 500));
    delay_us(2000);
    cli();
    check_equal("level-triggered: not once it is low", trap_count[IRQ_UART], 3);

    /* Withdrawn before it was acknowledged: nothing, or the spurious level 7 with nothing in service. */
    trap_set(IRQ_UART, uart_off_and_eoi);
    trap_set(PIC_BASE + 7, no_eoi);
    outb(COM1 + 1, 0x02);
    outb(COM1 + 1, 0x00);
    sti();
    delay_us(2000);
    cli();
    check_equal("level-triggered: a withdrawn request is not delivered", trap_count[IRQ_UART], 0);
    check_equal("nothing is in service after that", read_register(PIC1, READ_ISR), 0);
    outb(ELCR1, 0);
    pic_init();
}

void guest_main(void)
{
    test_init();
    test_masked();
    test_delivery();
    test_without_eoi();
    test_cascade();
    test_auto_eoi();
    test_poll();
    test_level();
}
