/* A bad neighbour: does one thing, named on its command line, as fast and for as long as it can. Tests of
 * what that costs others run it. Sources: as in the tests of each subject. */
#include "lib/apic.h"

#define V_STORM     0x61u
#define ICR_INIT    0x0500u
#define ICR_STARTUP 0x0600u
#define START_PAGE  8u /* 0x8000: bad.asm */
#define PM_TIMER    0x608
#define NEVER       UINT32_C(1000000000)

extern const char low_load[];
extern char low_start[], low_end[];
void ap_main(void) __attribute__((noreturn));

static void triplefault(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = { 0, 0 };

    __asm__ volatile("lidt %0; ud2" ::"m"(nothing));
}

static void flood(void)
{
    for (unsigned i = 0;; i++)
        print("bad: line %u, which is as good as any other, and long enough to fill a line\n", i);
}

static void spin(void)
{
    cli();
    for (;;)
        ;
}

/* Each is sent when the one before was taken. */
static void self_ipi(void)
{
    trap_set(V_STORM, apic_handler);
    sti();
    for (;;)
        apic_self(V_STORM);
}

void ap_main(void)
{
    apic_write(APIC_SPIV, SPIV_ENABLE | SPURIOUS_VECTOR);
    sti();
    for (;;)
        apic_send(0, ICR_ASSERT | V_STORM);
}

/* Two vCPUs, each of which interrupts the other one. */
static void ipi(void)
{
    trap_set(V_STORM, apic_handler);
    memcpy(low_start, low_load, (size_t)(low_end - low_start));
    apic_send(1, ICR_INIT | ICR_ASSERT);
    delay_us(10000);
    apic_send(1, ICR_STARTUP | ICR_ASSERT | START_PAGE);
    sti();
    for (;;)
        apic_send(1, ICR_ASSERT | V_STORM);
}

static void count_only(struct frame *frame)
{
    (void)frame;
}

static void nmi(void)
{
    trap_set(VECTOR_NMI, count_only);
    for (;;)
        apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
}

/* A periodic timer whose period is over at once. */
static void timer(void)
{
    trap_set(V_STORM, apic_handler);
    apic_write(APIC_LVT_TIMER, TIMER_PERIODIC | V_STORM);
    apic_write(APIC_INITIAL, 1);
    sti();
    for (;;)
        ;
}

/* Deadlines that have passed when they are set. */
static void deadline(void)
{
    trap_set(V_STORM, apic_handler);
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | V_STORM);
    sti();
    for (;;)
        wrmsr(MSR_TSC_DEADLINE, 1);
}

static void exit_cpuid(void)
{
    for (;;)
        cpuid(0, 0);
}

static void exit_port(void)
{
    for (;;)
        inl(PM_TIMER);
}

static void exit_mmio(void)
{
    for (;;)
        ioapic_read(IOAPIC_VER);
}

static void exit_hypercall(void)
{
    bool intel = cpuid(0, 0).ebx == 0x756e6547; /* "Genu" */

    for (;;) {
        uint64_t number = 0xdead;

        if (intel)
            __asm__ volatile("vmcall" : "+a"(number)::"memory");
        else
            __asm__ volatile("vmmcall" : "+a"(number)::"memory");
    }
}

/* The console is written to, one byte an exit, without a look at whether it has room. */
static void exit_uart(void)
{
    for (;;)
        outb(0x3f8, '.');
}

static const struct kind {
    const char *name;
    void (*run)(void);
} kinds[] = {
    { "triplefault", triplefault },
    { "flood", flood },
    { "spin", spin },
    { "self-ipi", self_ipi },
    { "ipi", ipi },
    { "nmi", nmi },
    { "timer", timer },
    { "deadline", deadline },
    { "cpuid", exit_cpuid },
    { "port", exit_port },
    { "mmio", exit_mmio },
    { "hypercall", exit_hypercall },
    { "uart", exit_uart },
};

/* `name` is the last word of the command line; what is before it is the image's own. */
static bool is_last_word(const char *line, const char *name)
{
    const char *word = line, *end;

    for (; *line; line++)
        if (*line == ' ')
            word = line + 1;
    for (end = name; *end && *word == *end; end++)
        word++;
    return !*end && !*word;
}

void guest_main(void)
{
    const char *line = (const char *)(uintptr_t)boot_info->cmdline;

    tsc_khz();
    apic_init();
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        if (is_last_word(line, kinds[i].name)) {
            print("bad: %s\n", kinds[i].name);
            kinds[i].run();
        }
    fail("the command line names a kind", line);
}
