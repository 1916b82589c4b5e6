/*
 * The machine's other CPUs (application processors): how they start, are called and are stopped.
 * Source: Intel SDM vol. 3, chapters 9 (Multiple-Processor Management) and 11 (APIC); AMD APM vol. 2,
 * chapter 16.
 */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/percpu.h"

/*
 * Starts the CPUs that ACPI lists, one after the other, until `limit` (the boot CPU included) are online;
 * each runs `enable`, which turns virtualisation on there and says in the log why not where it fails, and
 * then `loop`, which does not return. A CPU that does not come up, or differs from the boot CPU in what
 * matters, is named in the log and left out. `page` holds the start-up code, for ever; hpa(0): none was
 * found, so no CPU is started. Boot CPU, once, with its local APIC, FPU state and virtualisation up,
 * interrupts off.
 */
void smp_init(hpa_t page, unsigned limit, int (*enable)(struct cpu *cpu), void (*loop)(void));

/* How many CPUs are online, the boot CPU included; and the i-th, the boot CPU being number 0. Any CPU. */
unsigned smp_online(void);
extern struct cpu *smp_cpus[CPU_MAX];
static inline struct cpu *smp_cpu(unsigned i)
{
    return smp_cpus[i];
}

/* What else is to be done when a CPU is kicked: in its interrupt. Set before smp_init(). */
void smp_on_kick(void (*fn)(void));

/* Interrupts that CPU (IRQ_VECTOR_KICK): ends its HLT or its guest's run. Any CPU, to any but itself. */
void smp_kick(struct cpu *cpu);

/*
 * Runs fn(arg) on that CPU, with interrupts off, and waits until it has returned. Only the boot CPU may do
 * so, so that no two CPUs wait for each other; it must hold no lock. fn must not wait for the boot CPU. The
 * two halves let several CPUs work at once: smp_call_start() only if no call of that CPU is under way. The
 * log's lines of other CPUs are shown while waiting.
 */
void smp_call(struct cpu *cpu, void (*fn)(void *arg), void *arg);
void smp_call_start(struct cpu *cpu, void (*fn)(void *arg), void *arg);
void smp_call_wait(struct cpu *cpu);

/*
 * Stops all other CPUs for good, by NMI, with virtualisation off: before the machine goes, or a crash report.
 * Waits, bounded: a CPU that is stuck with NMIs held back never answers. If another CPU has called this
 * before, it is this one that is stopped: then it does not return. Any CPU, any number of times.
 */
void smp_stop_others(void);

/* From the NMI handler: does not return if this CPU is to stop. */
void smp_nmi(void);

/* What the CPU that starts finds; trampoline.asm. */
struct smp_start {
    uint64_t block; /* its per-CPU block; it takes it, so that no second one does; 0: none is awaited */
    uint64_t root;  /* CR3 */
    uint32_t apic_id;
};

extern struct smp_start smp_start;

/* From the trampoline, on the main stack of the block that it took. */
_Noreturn void ap_main(void);
