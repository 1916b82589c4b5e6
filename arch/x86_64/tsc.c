#include "arch/x86_64/tsc.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "kernel/log.h"
#include "kernel/panic.h"

#define MEASURE_MS 20
#define READ_TRIES 8
#define READS_MAX  10000000
#define TICKS_MAX                                                                                            \
    UINT64_C(10000000000) /* times the frequency of a reference, at most 1 GHz, it fits into 64 bits */

/* HPET registers. Source: IA-PC HPET specification 1.0a, 2.3. */
#define HPET_PERIOD     0x004 /* femtoseconds per tick */
#define HPET_CONFIG     0x010
#define HPET_COUNTER    0x0f0
#define HPET_SIZE       0x400
#define HPET_ENABLE     BIT(0)
#define HPET_PERIOD_MIN 1000000u   /* 1 ns: TICKS_MAX */
#define HPET_PERIOD_MAX 100000000u /* 2.3.4: at most 100 ns */
#define FEMTOSECONDS    UINT64_C(1000000000000000)

/*
 * The 8254's channel 2, gated and heard through port 0x61. Source:
 * Intel 8254 data sheet; ICH data sheets for port 0x61.
 */
#define PIT_CHANNEL2      0x42
#define PIT_COMMAND       0x43
#define PIT_HZ            1193182u
#define PIT_LATCH_2       0x80
#define PIT_2_WORD_MODE_0 0xb0
#define PORT_B            0x61
#define PORT_B_GATE2      0x01
#define PORT_B_SPEAKER    0x02

static uint64_t hz;

/* A counter of known frequency. */
struct reference {
    const char *name;
    uint64_t hz;
    uint64_t mask;
    uint64_t (*read)(void);
};

static volatile uint8_t *hpet;

static uint64_t hpet_read(void)
{
    return *(volatile uint32_t *)(hpet + HPET_COUNTER);
}

static bool hpet_open(struct reference *reference)
{
    uint32_t period;

    if (acpi.hpet.raw == 0 || !(hpet = map_device(acpi.hpet, HPET_SIZE)))
        return false;
    period = *(volatile uint32_t *)(hpet + HPET_PERIOD);
    if (period < HPET_PERIOD_MIN || period > HPET_PERIOD_MAX)
        return false;
    *(volatile uint32_t *)(hpet + HPET_CONFIG) |= (uint32_t)HPET_ENABLE;
    *reference = (struct reference){ "HPET", FEMTOSECONDS / period, UINT32_MAX, hpet_read };
    return true;
}

static uint64_t pm_timer_read(void)
{
    return in32(acpi.pm_timer);
}

static bool pm_timer_open(struct reference *reference)
{
    /* 24 bits are enough here, whatever the width */
    *reference = (struct reference){ "PM timer", ACPI_PM_TIMER_HZ, 0xffffff, pm_timer_read };
    return acpi.pm_timer != 0;
}

static uint64_t pit_read(void)
{
    uint64_t count;

    out8(PIT_COMMAND, PIT_LATCH_2);
    count = in8(PIT_CHANNEL2);
    count |= (uint64_t)in8(PIT_CHANNEL2) << 8;
    return 0 - count; /* it counts down */
}

static bool pit_open(struct reference *reference)
{
    out8(PORT_B, (uint8_t)((in8(PORT_B) & ~PORT_B_SPEAKER) | PORT_B_GATE2));
    out8(PIT_COMMAND, PIT_2_WORD_MODE_0);
    out8(PIT_CHANNEL2, 0xff);
    out8(PIT_CHANNEL2, 0xff);
    *reference = (struct reference){ "PIT", PIT_HZ, 0xffff, pit_read };
    return true;
}

/* Reads both counters as close together as a few tries allow. */
static void read_pair(const struct reference *reference, uint64_t *ticks, uint64_t *tsc)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < READ_TRIES; i++) {
        uint64_t before = tsc_now(), value = reference->read(), after = tsc_now();

        if (after - before < best) {
            best = after - before;
            *ticks = value;
            *tsc = before + best / 2;
        }
    }
}

/* TSC ticks per second, or 0 if the reference does not count. */
static uint64_t measure(const struct reference *reference)
{
    uint64_t wanted = reference->hz * MEASURE_MS / 1000, start, start_tsc, end, end_tsc;

    read_pair(reference, &start, &start_tsc);
    for (uint64_t tries = 0; ((reference->read() - start) & reference->mask) < wanted; tries++)
        if (tries > READS_MAX || tsc_now() - start_tsc > TICKS_MAX)
            return 0;
    read_pair(reference, &end, &end_tsc);
    end = (end - start) & reference->mask;
    return end ? (end_tsc - start_tsc) * reference->hz / end : 0;
}

/* Source: Intel SDM vol. 3, 18.7.3; leaf 0x40000010 is a convention of VMware that others follow. */
static uint64_t from_cpuid(const char **source)
{
    if (cpu_features.max_leaf >= 0x15) {
        struct cpuid id = cpuid(0x15);

        *source = "CPUID 0x15";
        if (id.eax && id.ebx && id.ecx)
            return (uint64_t)id.ecx * id.ebx / id.eax;
        *source = "CPUID 0x16";
        if (id.eax && id.ebx && cpu_features.max_leaf >= 0x16)
            return (cpuid(0x16).eax & UINT64_C(0xffff)) * 1000000;
    }
    if (cpu_has(CPU_HYPERVISOR)) {
        uint32_t max = cpuid(0x40000000).eax;

        *source = "CPUID 0x40000010";
        if (max >= 0x40000010 && max < 0x40010000)
            return cpuid(0x40000010).eax * UINT64_C(1000);
    }
    return 0;
}

uint64_t tsc_hz(void)
{
    return hz;
}

static uint64_t from_reference(const char **source)
{
    static bool (*const open[])(struct reference *) = { hpet_open, pm_timer_open, pit_open };
    struct reference reference = { 0 };

    for (unsigned i = 0; i < ARRAY_SIZE(open); i++) {
        uint64_t found = open[i](&reference) ? measure(&reference) : 0;

        *source = reference.name;
        if (found)
            return found;
    }
    return 0;
}

/* What CPUID says is exact where it is true, but emulators and overclockers make it untrue. */
static uint64_t choose(uint64_t told, uint64_t measured, const char *teller, const char **source)
{
    uint64_t difference = told > measured ? told - measured : measured - told;

    if (told == 0)
        return measured;
    if (measured != 0 && difference > measured / 100) {
        log_warn("tsc: %s says %llu MHz, but the %s says %llu MHz: the latter is used", teller,
                 (unsigned long long)(told / 1000000), *source, (unsigned long long)(measured / 1000000));
        return measured;
    }
    *source = teller;
    return told;
}

void tsc_init(void)
{
    const char *source = "", *teller = "";
    uint64_t told = from_cpuid(&teller);

    hz = choose(told, from_reference(&source), teller, &source);
    if (hz == 0)
        panic("no clock to measure the time-stamp counter against: neither CPUID, HPET, PM timer nor PIT "
              "works");
    log_info("tsc: %llu.%03llu MHz, from %s%s", (unsigned long long)(hz / 1000000),
             (unsigned long long)(hz / 1000 % 1000), source,
             cpu_has(CPU_INVARIANT_TSC) ? "" : ", not invariant");
}

void tsc_delay_us(unsigned us)
{
    uint64_t end = tsc_now() + hz * us / 1000000;

    while (tsc_now() < end)
        cpu_pause();
}
