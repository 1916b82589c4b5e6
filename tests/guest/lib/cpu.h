/* Instructions that C has no name for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BIT(n)        (UINT64_C(1) << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define RFLAGS_CF 0x00001u
#define RFLAGS_ZF 0x00040u
#define RFLAGS_TF 0x00100u
#define RFLAGS_IF 0x00200u
#define RFLAGS_AC 0x40000u

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC          0x10u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_PAT          0x277u
#define MSR_EFER         0xc0000080u
#define MSR_STAR         0xc0000081u
#define MSR_LSTAR        0xc0000082u
#define MSR_CSTAR        0xc0000083u
#define MSR_SFMASK       0xc0000084u
#define MSR_FS_BASE      0xc0000100u
#define MSR_GS_BASE      0xc0000101u
#define MSR_KERNEL_GS    0xc0000102u

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t value;

    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;

    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

static inline void cli(void)
{
    __asm__ volatile("cli" ::: "memory");
}

/* Interrupts are taken from here on: the NOP is in the shadow of STI. */
static inline void sti(void)
{
    __asm__ volatile("sti; nop" ::: "memory");
}

/* Waits for an interrupt; the shadow of STI covers HLT, so none is missed. Returns with interrupts off. */
static inline void sti_hlt_cli(void)
{
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

static inline void pause(void)
{
    __asm__ volatile("pause" ::: "memory");
}

static inline unsigned long read_flags(void)
{
    unsigned long flags;

    __asm__ volatile("pushf; pop %0" : "=r"(flags)::"memory");
    return flags;
}

#define DEFINE_CONTROL(name)                                                                                 \
    static inline unsigned long read_##name(void)                                                            \
    {                                                                                                        \
        unsigned long value;                                                                                 \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value)::"memory");                                     \
        return value;                                                                                        \
    }                                                                                                        \
    static inline void write_##name(unsigned long value)                                                     \
    {                                                                                                        \
        __asm__ volatile("mov %0, %%" #name ::"r"(value) : "memory");                                        \
    }

DEFINE_CONTROL(cr0)
DEFINE_CONTROL(cr2)
DEFINE_CONTROL(cr3)
DEFINE_CONTROL(cr4)
#ifdef __x86_64__
DEFINE_CONTROL(cr8)
#endif
DEFINE_CONTROL(dr0)
DEFINE_CONTROL(dr1)
DEFINE_CONTROL(dr2)
DEFINE_CONTROL(dr3)
DEFINE_CONTROL(dr6)
DEFINE_CONTROL(dr7)

static inline void invlpg(uintptr_t at)
{
    __asm__ volatile("invlpg (%0)" ::"r"(at) : "memory");
}

static inline uint32_t mmio_read32(uintptr_t at)
{
    uint32_t value;

    __asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(at) : "memory");
    return value;
}

static inline void mmio_write32(uintptr_t at, uint32_t value)
{
    __asm__ volatile("movl %0, (%1)" ::"r"(value), "r"(at) : "memory");
}
