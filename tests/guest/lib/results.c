/* The way in, results on COM1, and the way out. */
#include "lib/guest.h"

#define COM1       0x3f8
#define LSR_THRE   0x20
#define LSR_TEMT   0x40
#define DEBUG_EXIT 0xf4
#define PM1A_CNT   0x604 /* also where QEMU's firmware puts it */
#define SLP_EN     (1u << 13)
#define SLP_TYP_S5 (5u << 10) /* as Plinth's DSDT says; in QEMU's own it is 0 */

static unsigned passed, failed;
static bool excused; /* the next check does not count */

void guest_start(void) __attribute__((noreturn));

/* The compiler may call these two. */
void *memset(void *to, int byte, size_t size)
{
    void *at = to;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(byte) : "memory");
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    void *at = to;

    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size)::"memory");
    return to;
}

void guest_start(void)
{
    outb(COM1 + 3, 0x80); /* 115200 baud, 8 bits, no parity, FIFO off */
    outb(COM1, 1);
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 0x03);
    outb(COM1 + 2, 0);
    traps_init();
    guest_main();
    finish();
}

static void put_char(char c)
{
    while (!(inb(COM1 + 5) & LSR_THRE))
        pause();
    outb(COM1, (uint8_t)c);
}

static void put_text(const char *text)
{
    while (*text)
        put_char(*text++);
}

static void put_hex(uint64_t value, int width)
{
    int digits = 1;

    while (digits < 16 && value >> (4 * digits))
        digits++;
    for (; width > digits; width--)
        put_char('0');
    while (digits-- > 0)
        put_char("0123456789abcdef"[(value >> (4 * digits)) & 15]);
}

static void put_decimal(unsigned long value)
{
    char text[24];
    unsigned n = sizeof(text);

    text[--n] = 0;
    do
        text[--n] = (char)('0' + value % 10);
    while (value /= 10);
    put_text(text + n);
}

void print(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    for (; *fmt; fmt++) {
        int width = 0, longs = 0;

        if (*fmt != '%') {
            put_char(*fmt);
            continue;
        }
        for (fmt++; *fmt >= '0' && *fmt <= '9'; fmt++)
            width = width * 10 + *fmt - '0';
        for (; *fmt == 'l'; fmt++)
            longs++;
        if (*fmt == 's')
            put_text(va_arg(args, const char *));
        else if (*fmt == 'x')
            put_hex(longs == 2 ? va_arg(args, uint64_t)
                    : longs    ? va_arg(args, unsigned long)
                               : va_arg(args, unsigned),
                    width);
        else if (*fmt == 'u')
            put_decimal(longs ? va_arg(args, unsigned long) : va_arg(args, unsigned));
        else
            put_char(*fmt);
    }
    va_end(args);
}

static void count(bool good, const char *what)
{
    if (excused) {
        excused = false;
        print("SKIP: %s", what);
        return;
    }
    *(good ? &passed : &failed) += 1;
    print("%s: %s", good ? "PASS" : "FAIL", what);
}

void qemu_differs(void)
{
    excused = on_plain_qemu();
}

void check(const char *what, bool good)
{
    count(good, what);
    print("\n");
}

void check_equal(const char *what, uint64_t got, uint64_t expected)
{
    count(got == expected, what);
    if (got != expected)
        print(" (got 0x%llx, expected 0x%llx)", (unsigned long long)got, (unsigned long long)expected);
    print("\n");
}

void check_range(const char *what, uint64_t got, uint64_t lowest, uint64_t highest)
{
    bool good = got >= lowest && got <= highest;

    count(good, what);
    if (!good)
        print(" (got 0x%llx, expected 0x%llx to 0x%llx)", (unsigned long long)got, (unsigned long long)lowest,
              (unsigned long long)highest);
    print("\n");
}

void fail(const char *what, const char *why)
{
    count(false, what);
    print(" (%s)\n", why);
}

void note(const char *what, uint64_t value)
{
    print("NOTE: %s: 0x%llx\n", what, (unsigned long long)value);
}

void power_off(void)
{
    outw(PM1A_CNT, SLP_TYP_S5 | SLP_EN);
    outw(PM1A_CNT, SLP_EN);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void finish(void)
{
    cli();
    print("DONE: %u passed, %u failed\n", passed, failed);
    while (!(inb(COM1 + 5) & LSR_TEMT))
        pause();
    outb(DEBUG_EXIT, failed ? 1 : 0);
    power_off();
}

bool on_plain_qemu(void)
{
    struct cpuid id = cpuid(0x40000000, 0);

    return id.ebx == 0x54474354 && id.ecx == 0x43544743 && id.edx == 0x47435447; /* "TCGTCGTCGTCG" */
}
