#include "arch/x86_64/smp.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/desc.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/power.h"
#include "arch/x86_64/tsc.h"
#include "arch/x86_64/tsc_sync.h"
#include "arch/x86_64/xstate.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define INIT_US    10000 /* between INIT and the first start-up IPI, and */
#define STARTUP_US 200   /* between that and the second (SDM vol. 3, 9.4.4.1) */
#define UP_US      1000000
#define STOP_US    100000

/* How far the CPU that is starting has come; written by it. */
enum stage { NOWHERE, TOOK_STACK, COMPARES_TSC, ENABLES, UP, FAILED };

struct cpu *smp_cpus[CPU_MAX];
static unsigned online = 1;

struct smp_start smp_start;
extern const uint8_t trampoline_start[], trampoline_end[];

static struct {
    hpa_t page;
    int (*enable)(struct cpu *cpu);
    void (*loop)(void);
    unsigned slots; /* per-CPU blocks given, the boot CPU's included; one that a CPU may run on is never given
                       again */
    enum stage stage;
    const char *why; /* FAILED: what is wrong */
} start;

static void (*on_kick)(void);
static unsigned stopper; /* who stops the others: its slot + 1; 0: nobody */

unsigned smp_online(void)
{
    return __atomic_load_n(&online, __ATOMIC_ACQUIRE);
}

/* --- calls --- */

void smp_kick(struct cpu *cpu)
{
    lapic_send_ipi(cpu->apic_id, IRQ_VECTOR_KICK);
}

static void take_call(struct cpu *cpu)
{
    void (*fn)(void *arg) = __atomic_load_n(&cpu->call, __ATOMIC_ACQUIRE);

    if (!fn)
        return;
    fn(cpu->call_arg);
    __atomic_store_n(&cpu->call, NULL, __ATOMIC_RELEASE);
}

/* The rest of a kick's work is done by its ending HLT or the guest's run. */
static void kicked(void *context)
{
    struct cpu *cpu = this_cpu();

    (void)context;
    if (cpu->index == 0)
        log_show();
    else
        take_call(cpu);
    if (on_kick)
        on_kick();
}

void smp_on_kick(void (*fn)(void))
{
    on_kick = fn;
}

void smp_call_start(struct cpu *cpu, void (*fn)(void *arg), void *arg)
{
    cpu->call_arg = arg;
    __atomic_store_n(&cpu->call, fn, __ATOMIC_RELEASE);
    smp_kick(cpu);
}

void smp_call_wait(struct cpu *cpu)
{
    while (__atomic_load_n(&cpu->call, __ATOMIC_ACQUIRE)) {
        log_show();
        cpu_pause();
    }
}

void smp_call(struct cpu *cpu, void (*fn)(void *arg), void *arg)
{
    if (cpu == this_cpu()) {
        fn(arg);
        return;
    }
    smp_call_start(cpu, fn, arg);
    smp_call_wait(cpu);
}

/* --- the end --- */

static _Noreturn void stop_here(void)
{
    power_leave_virtualisation();
    cpu_write_back(); /* what it has recorded is to outlast a reset */
    __atomic_store_n(&this_cpu()->stopped, true, __ATOMIC_RELEASE);
    cpu_halt_forever();
}

void smp_nmi(void)
{
    unsigned by = __atomic_load_n(&stopper, __ATOMIC_ACQUIRE);

    if (by != 0 && by != this_slot() + 1)
        stop_here();
}

/* True once all CPUs but this one have stopped. */
static bool all_stopped(void)
{
    for (unsigned i = 0; i < smp_online(); i++)
        if (smp_cpus[i] && smp_cpus[i] != this_cpu() &&
            !__atomic_load_n(&smp_cpus[i]->stopped, __ATOMIC_ACQUIRE))
            return false;
    return true;
}

void smp_stop_others(void)
{
    unsigned nobody = 0, me = this_slot() + 1;
    uint64_t end;

    if (!__atomic_compare_exchange_n(&stopper, &nobody, me, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (nobody != me)
            stop_here();
        return;
    }
    if (!smp_cpus[0] || !this_cpu()->has_lapic)
        return;
    for (unsigned i = 0; i < smp_online(); i++)
        if (smp_cpus[i] != this_cpu())
            lapic_send_nmi(smp_cpus[i]->apic_id);
    for (end = tsc_now() + tsc_hz() / 1000000 * STOP_US; !all_stopped() && tsc_now() < end;)
        cpu_pause();
}

/* --- on the CPU that starts --- */

static void reach(enum stage stage)
{
    __atomic_store_n(&start.stage, stage, __ATOMIC_RELEASE);
}

static _Noreturn void fail(const char *why)
{
    start.why = why;
    reach(FAILED);
    cpu_halt_forever(); /* until the boot CPU's INIT, which it does not survive */
}

static _Noreturn void fail_lacking(const char *feature)
{
    static char why[64]; /* one CPU starts at a time */

    format_text(why, sizeof(why), "it lacks %s, which the boot CPU has", feature);
    fail(why);
}

_Noreturn void ap_main(void)
{
    struct cpu *cpu = this_cpu();
    const char *lacks;

    reach(TOOK_STACK);
    if (desc_init_cpu())
        fail("there is no memory for its task state");
    lacks = cpu_lacks();
    if (lacks)
        fail_lacking(lacks);
    paging_load();
    lapic_init();
    if (cpu->apic_id != smp_start.apic_id)
        fail("its local APIC has another id");
    if (mtrr_follow())
        log_debug("cpu %u: it had other memory types than the boot CPU: corrected", cpu->index);
    if (!xstate_init())
        fail("its FPU state has another layout");
    reach(COMPARES_TSC);
    tsc_sync_answer();
    reach(ENABLES);
    if (start.enable(cpu))
        fail("virtualisation cannot be used there");
    reach(UP);
    start.loop();
    cpu_halt_forever(); /* not reached */
}

/* --- on the boot CPU --- */

static enum stage stage(void)
{
    return __atomic_load_n(&start.stage, __ATOMIC_ACQUIRE);
}

/* Waits until the CPU has come that far, or failed; false if it takes too long. */
static bool wait_for(enum stage wanted, unsigned us)
{
    uint64_t end = tsc_now() + tsc_hz() / 1000000 * us;

    while (stage() < wanted)
        if (tsc_now() > end)
            return false;
        else
            cpu_pause();
    return true;
}

/* The MP initialisation protocol: SDM vol. 3, 9.4.4.1. */
static bool wake(uint32_t apic_id)
{
    lapic_send_init(apic_id);
    tsc_delay_us(INIT_US);
    lapic_send_startup(apic_id, start.page);
    if (wait_for(TOOK_STACK, STARTUP_US))
        return true;
    lapic_send_startup(apic_id, start.page);
    return wait_for(TOOK_STACK, UP_US);
}

static void answer(void *arg)
{
    (void)arg;
}

/* A first call: whether interrupts reach it. */
static bool answers(struct cpu *cpu)
{
    uint64_t end = tsc_now() + tsc_hz() / 1000000 * UP_US;

    smp_call_start(cpu, answer, NULL);
    while (__atomic_load_n(&cpu->call, __ATOMIC_ACQUIRE))
        if (tsc_now() > end)
            return false;
        else
            cpu_pause();
    return true;
}

/* NULL, or why the CPU cannot be used. */
static const char *bring_up(struct cpu *cpu)
{
    struct tsc_skew skew;
    int error;

    if (!wake(cpu->apic_id))
        return "it does not start";
    if (!wait_for(COMPARES_TSC, UP_US))
        return "it got stuck while starting";
    if (stage() == FAILED)
        return start.why;
    error = tsc_sync_measure(&skew);
    log_debug("cpu %u: its TSC is ahead by %lld to %lld ticks%s", cpu->index, (long long)skew.low,
              (long long)skew.high, skew.corrected ? ", after a correction" : "");
    if (error == -ERANGE)
        return "its time-stamp counter differs from the boot CPU's";
    if (error || !wait_for(UP, UP_US))
        return "it got stuck while starting";
    if (stage() == FAILED)
        return start.why;
    return answers(cpu) ? NULL : "it does not answer interrupts";
}

static bool start_cpu(uint32_t apic_id)
{
    struct cpu *cpu = start.slots < CPU_MAX ? percpu_create(start.slots, apic_id) : NULL;
    const char *why = "there is no memory for it";

    if (cpu) {
        start.slots++;
        cpu->index = online;
        start.stage = NOWHERE;
        smp_start.root = paging_root();
        smp_start.apic_id = apic_id;
        __atomic_store_n(&smp_start.block, (uint64_t)(uintptr_t)cpu, __ATOMIC_SEQ_CST);
        why = bring_up(cpu);
    }
    if (!why) {
        smp_cpus[online] = cpu;
        __atomic_store_n(&online, online + 1, __ATOMIC_RELEASE);
        log_debug("cpu %u: up (APIC id %u)", cpu->index, apic_id);
        return true;
    }
    __atomic_store_n(&smp_start.block, 0, __ATOMIC_SEQ_CST);
    lapic_send_init(apic_id); /* it waits for a start-up IPI from now on, whatever it did */
    log_warn("cpu with APIC id %u: left out: %s", apic_id, why);
    return false;
}

static void start_all(unsigned limit)
{
    unsigned left = 0;

    for (unsigned i = 0; i < acpi.cpu_count; i++) {
        uint32_t apic_id = acpi.cpu[i].apic_id;

        if (apic_id == this_cpu()->apic_id)
            continue;
        if (online >= limit || start.slots >= CPU_MAX)
            left++;
        else if (!lapic_reaches(apic_id))
            log_warn("cpu with APIC id %u: left out: without x2APIC it cannot be reached", apic_id);
        else
            (void)start_cpu(apic_id);
    }
    if (left)
        log_info("cpus: %u more are not used", left);
}

void smp_init(hpa_t page, unsigned limit, int (*enable)(struct cpu *cpu), void (*loop)(void))
{
    smp_cpus[0] = this_cpu();
    start.page = page;
    start.enable = enable;
    start.loop = loop;
    start.slots = 1;
    irq_bind(IRQ_VECTOR_KICK, kicked, NULL);
    mtrr_read();
    if (page.raw == 0) {
        log_warn("cpus: no page of memory below 640 KiB is free, which other CPUs start in: one CPU is used");
    } else {
        memcpy(phys_to_virt(page), trampoline_start, (size_t)(trampoline_end - trampoline_start));
        start_all(limit);
    }
    log_info("cpus: %u online", online);
}
