/* What every test guest uses: results, traps, time. A guest is one file with guest_main(). */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include "lib/cpu.h"

void guest_main(void);
void *memset(void *to, int byte, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);

/* --- results: lines on COM1
 * ---------------------------------------------------------------------------------- */

/* Conversions: %s %c %d %u %x %lu %lx %llx %%; a width with 0. */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void check(const char *what, bool passed);
void check_equal(const char *what, uint64_t got, uint64_t expected);
void check_range(const char *what, uint64_t got, uint64_t lowest, uint64_t highest);
void fail(const char *what, const char *why);
/* The next check is known to go wrong on QEMU's own device: without Plinth it counts for nothing. */
void qemu_differs(void);
/* A line for the reader, no result. */
void note(const char *what, uint64_t value);

/* DONE: line, then leaves the machine: isa-debug-exit (0 written: all passed, 1: not), else ACPI power-off.
 */
void finish(void) __attribute__((noreturn));
void power_off(void) __attribute__((noreturn));

/* Under an emulator's own CPU, without Plinth (CPUID signature TCGTCGTCGTCG): where it is known to be wrong,
 * a test may ask. */
bool on_plain_qemu(void);

/* Multiboot 0.6.96, 3.3. */
struct boot_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length,
        mmap_addr;
};
struct boot_mmap {
    uint32_t size; /* of the rest */
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));
extern uint32_t boot_magic;
extern const struct boot_info *boot_info;

/* --- traps
 * ----------------------------------------------------------------------------------------------------- */

#ifdef __x86_64__
struct frame {
    unsigned long r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
    unsigned long vector, error, ip, cs, flags, sp, ss;
};
#else
struct frame {
    unsigned long di, si, bp, unused, bx, dx, cx, ax, es, ds;
    unsigned long vector, error, ip, cs, flags;
};
#endif

#define VECTOR_DE  0
#define VECTOR_DB  1
#define VECTOR_NMI 2
#define VECTOR_BP  3
#define VECTOR_OF  4
#define VECTOR_UD  6
#define VECTOR_NM  7
#define VECTOR_DF  8
#define VECTOR_NP  11
#define VECTOR_SS  12
#define VECTOR_GP  13
#define VECTOR_PF  14
#define VECTOR_MF  16

typedef void trap_fn(struct frame *frame);

/* NULL takes the handler away. A trap without handler outside guarded() fails the test and ends the guest. */
void trap_set(unsigned vector, trap_fn *handler);
/* How often the vector came since trap_set(). */
extern volatile unsigned trap_count[256];

/* One gate of the IDT, for tests that bend it. */
struct gate {
#ifdef __x86_64__
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_high, reserved;
#else
    uint16_t offset_low, selector;
    uint8_t reserved, type;
    uint16_t offset_mid;
#endif
};
extern struct gate idt[256];
void traps_init(void);

/* Calls function(argument). -1 if it returned, else the vector of the exception that ended it; fault_* say
 * more. */
int guarded(void (*function)(void *), void *argument);
extern uint32_t fault_error;
extern unsigned long fault_ip, fault_cr2;

bool rdmsr_safe(uint32_t msr, uint64_t *value);
bool wrmsr_safe(uint32_t msr, uint64_t value);

/* --- time
 * ------------------------------------------------------------------------------------------------------ */

/* From CPUID 0x40000010 where it is offered, else measured against the PIT's channel 2. */
uint32_t tsc_khz(void);
void delay_us(uint32_t us);
/* Spins until *counter reaches `target`, at most `ms`: true if it did. */
bool wait_count(const volatile unsigned *counter, unsigned target, uint32_t ms);

/* --- the PC
 * ----------------------------------------------------------------------------------------------------- */

#define PIC_BASE 0x20 /* vectors 0x20 to 0x2f after pic_init() */
#define PIT_HZ   1193182u

/* Both 8259s to vectors PIC_BASE.., all lines masked. */
void pic_init(void);
void pic_unmask(unsigned irq);
void pic_mask(unsigned irq);
void pic_eoi(unsigned irq);
/* Handler that counts and acknowledges, for vectors of the 8259s. */
void pic_handler(struct frame *frame);

void pit_program(unsigned channel, unsigned mode, uint16_t count);
uint16_t pit_latch(unsigned channel);

uint8_t cmos_read(uint8_t index);
void cmos_write(uint8_t index, uint8_t value);
