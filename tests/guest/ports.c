/* Reads and writes every I/O port in every width, but for those that end or restart the machine. The guest
 * must live on. */
#include "lib/guest.h"

#define COM1 0x3f8

/* Ports whose write resets, powers off or takes the console away. */
static bool skip(unsigned port)
{
    return (port >= 0x60 && port <= 0x64) || (port >= 0x92 && port <= 0x92) ||
           (port >= COM1 && port <= COM1 + 7) || (port >= 0xcf8 && port <= 0xcff) ||
           (port >= 0x600 && port <= 0x60f) || (port >= 0xb000 && port <= 0xb0ff) ||
           (port >= 0xf4 && port <= 0xf7) || (port >= 0xb2 && port <= 0xb3) ||
           (port >= 0x501 && port <= 0x504) || (port >= 0x510 && port <= 0x51b) ||
           (port >= 0xaf00 && port <= 0xaf1f) || port == 0x402;
}

static bool touches_skipped(unsigned port, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        if (skip((port + i) & 0xffff))
            return true;
    return false;
}

static void strings(void)
{
    static uint8_t buffer[64];
    void *at = buffer;
    unsigned long count = 16;
    uint16_t port = 0x80;

    __asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port) : "memory");
    check_equal("rep insb: count", count, 0);
    check_equal("rep insb: pointer", (uintptr_t)at, (uintptr_t)buffer + 16);
    count = 8;
    at = buffer + 40;
    __asm__ volatile("rep outsl" : "+S"(at), "+c"(count) : "d"(port) : "memory");
    check_equal("rep outsd: pointer", (uintptr_t)at, (uintptr_t)buffer + 72);
    at = buffer;
    count = 2;
    __asm__ volatile("rep insw" : "+D"(at), "+c"(count) : "d"((uint16_t)0x5678) : "memory");
    qemu_differs();
    check_equal("rep insw from nothing: all ones", *(uint32_t *)buffer, 0xffffffff);
    at = buffer + 8;
    __asm__ volatile("std; insb; cld" : "+D"(at) : "d"(port) : "memory");
    check_equal("insb backwards", (uintptr_t)at, (uintptr_t)buffer + 7);
}

/* The UART's divisor by one word access: two devices' bytes or one device's two registers, split by the bus.
 */
static void widths(void)
{
    outb(COM1 + 7, 0x5a);
    check_equal("a word read of two byte registers", inw(COM1 + 6) >> 8, 0x5a);
    if (!on_plain_qemu()) /* its own UART asserts */
        check_equal("a word read at an odd port", inw(COM1 + 7) & 0xff, 0x5a);
    check_equal("no device: 8 bits", inb(0x5678), 0xff);
    check_equal("no device: 16 bits", inw(0x5678), 0xffff);
    check_equal("no device: 32 bits", inl(0x5678), 0xffffffff);
}

void guest_main(void)
{
    uint64_t sum = 0;

    strings();
    widths();
    if (on_plain_qemu()) /* its own devices do not survive it */
        return;
    for (unsigned port = 0; port < 0x10000; port++) {
        if (!touches_skipped(port, 1))
            sum += inb((uint16_t)port);
        if (port % 2 == 0 && !touches_skipped(port, 2))
            sum += inw((uint16_t)port);
        if (port % 4 == 0 && !touches_skipped(port, 4))
            sum += inl((uint16_t)port);
    }
    note("sum of all reads", sum);
    check("every port was read", true);
    for (unsigned port = 0; port < 0x10000; port++) {
        if (!touches_skipped(port, 1))
            outb((uint16_t)port, 0xff);
        if (port % 2 == 0 && !touches_skipped(port, 2))
            outw((uint16_t)port, 0x5a00);
        if (port % 4 == 0 && !touches_skipped(port, 4))
            outl((uint16_t)port, 0xffffffff);
    }
    check("every port was written", true);
}
