/* The KVM clock: system time and wall clock through shared pages. Source: Linux,
 * Documentation/virt/kvm/x86/msr.rst. */
#include "lib/guest.h"

#define MSR_KVM_WALL_CLOCK  0x4b564d00u
#define MSR_KVM_SYSTEM_TIME 0x4b564d01u
#define ENABLE              1u

struct wall_clock {
    uint32_t version, sec, nsec;
} __attribute__((packed, aligned(4)));

struct system_time {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
} __attribute__((packed, aligned(4)));

static volatile struct wall_clock wall __attribute__((aligned(16)));
static volatile struct system_time now __attribute__((aligned(64)));

/* Nanoseconds, by the document's formula. */
static uint64_t read_ns(void)
{
    uint32_t version;
    uint64_t ns;

    do {
        uint64_t delta;

        version = now.version;
        delta = rdtsc() - now.tsc_timestamp;
        delta = now.shift >= 0 ? delta << now.shift : delta >> -now.shift;
        ns = now.system_time + (uint64_t)(((unsigned __int128)delta * now.mul) >> 32);
    } while ((version & 1) || version != now.version);
    return ns;
}

static void test_system_time(void)
{
    uint64_t start, last, tsc, ns;
    bool forward = true;

    check("system time MSR can be written", wrmsr_safe(MSR_KVM_SYSTEM_TIME, (uintptr_t)&now | ENABLE));
    check_equal("and reads back", rdmsr(MSR_KVM_SYSTEM_TIME), (uintptr_t)&now | ENABLE);
    check("the page is filled: version is even and not 0", now.version && !(now.version & 1));
    check("multiplier is not 0", now.mul);
    last = start = read_ns();
    for (unsigned i = 0; i < 100000; i++) {
        ns = read_ns();
        forward = forward && ns >= last;
        last = ns;
    }
    check("never goes backwards", forward);
    start = read_ns();
    tsc = rdtsc();
    delay_us(20000);
    ns = read_ns() - start;
    tsc = (rdtsc() - tsc) * 1000000 / tsc_khz();
    check_range("as fast as the TSC (ns)", ns, tsc * 99 / 100, tsc * 101 / 100);
    /* Re-writing the MSR updates the page without a jump. */
    start = read_ns();
    wrmsr(MSR_KVM_SYSTEM_TIME, (uintptr_t)&now | ENABLE);
    check_range("an update does not jump (ns)", read_ns() - start, 0, 50000000);
}

static void test_wall_clock(void)
{
    check("wall clock MSR can be written", wrmsr_safe(MSR_KVM_WALL_CLOCK, (uintptr_t)&wall));
    check("the page is filled: version is even", !(wall.version & 1) && wall.version);
    note("seconds since 1970 at the start", wall.sec);
    check_range("between 2020 and 2100", wall.sec, 1577836800, 4102444800);
    check_range("nanoseconds", wall.nsec, 0, 999999999);
}

static void test_bad(void)
{
    uint32_t version;

    wrmsr_safe(MSR_KVM_SYSTEM_TIME,
               UINT64_C(0xfffffffff000) | ENABLE); /* no RAM there: #GP or nothing, but alive */
    wrmsr_safe(MSR_KVM_WALL_CLOCK, UINT64_C(0xfffffffff000));
    check("a page without RAM leaves the guest alive", true);
    wrmsr(MSR_KVM_SYSTEM_TIME, 0);
    version = now.version;
    delay_us(1000);
    check_equal("disabled: the page stays as it is", now.version, version);
}

void guest_main(void)
{
    uint32_t features = cpuid(0x40000001, 0).eax;

    if (on_plain_qemu() || !(features & 8)) {
        qemu_differs();
        fail("CPUID offers the KVM clock", "CPUID 0x40000001 EAX bit 3 is clear");
        return;
    }
    test_system_time();
    test_wall_clock();
    test_bad();
}
