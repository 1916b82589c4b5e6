/* Prints what it is told to by typed letters, for tests of the wire. It waits before each answer, so that its
 * console can be left meanwhile. Source: National PC16550D data sheet, for the UART. */
#include "lib/guest.h"

#define COM1   0x3f8
#define LSR    (COM1 + 5)
#define LSR_DR 0x01

static void lines(unsigned count)
{
    for (unsigned i = 1; i <= count; i++)
        print("line %u of %u\n", i, count);
}

static void answer(uint8_t letter)
{
    switch (letter) {
    case 'u':
        print("an unfinished line");
        break;
    case 'e':
        print("colours: \033[31mred\033[0m\a, done\n");
        break;
    case 'w':
        for (unsigned i = 0; i < 30; i++)
            print("0123456789");
        print("\n");
        break;
    case 's': /* a screen, by a program that draws one */
        print("\033[2J\033[?25l\033[3;5Hfirst part");
        for (unsigned i = 0; i < 1000; i++)
            print("\033[5;5Hstep %u", i);
        print("\033[9;5Hdrawn");
        break;
    case 'm':
        lines(60);
        break;
    case 'f':
        lines(6000);
        break;
    case 'q':
        print("talk: off\n");
        power_off();
    default:
        print("typed: %x\n", letter);
        break;
    }
}

void guest_main(void)
{
    tsc_khz();
    print("talk: ready\n");
    for (;;) {
        if (!(inb(LSR) & LSR_DR)) {
            delay_us(100); /* an exit for each look: not too many of them */
            continue;
        }
        uint8_t letter = inb(COM1);

        delay_us(100000);
        answer(letter);
    }
}
