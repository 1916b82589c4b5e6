/* Instructions that C does not have, control registers, and what CPUID says about this machine's CPUs. */
#pragma once

#include "lib/types.h"
#include "lib/errno.h"

/* Control register and EFER bits. Source: AMD APM vol. 2, 3.1; Intel SDM vol. 3, 2.5. */
#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_VMXE       BIT(13)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)

#define EFER_SCE  BIT(0)
#define EFER_LME  BIT(8)
#define EFER_LMA  BIT(10)
#define EFER_NXE  BIT(11)
#define EFER_SVME BIT(12)

#define RFLAGS_IF BIT(9)
#define RFLAGS_RF BIT(16)

/*
 * MSRs that the hypervisor itself uses, beside those of hw/apic.h.
 * Source: AMD APM vol. 2, appendix A; Intel SDM vol. 4.
 */
#define MSR_PAT     0x00000277u
#define MSR_EFER    0xc0000080u
#define MSR_TSC_AUX 0xc0000103u

static __always_inline uint64_t rdmsr(uint32_t msr)
{
    uint64_t low, high; /* 64-bit mode clears the high halves of both registers */

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return high << 32 | low;
}

static __always_inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/*
 * Names the instruction at label 1 of an asm statement as one that may fault; execution then goes on at
 * label 2. Each entry of the table is two 64-bit addresses, searched by trap.c.
 */
#define FIXUP_1_TO_2 ".pushsection .fixup, \"a\"\n .quad 1b, 2b\n .popsection\n"

/* -EFAULT if the MSR does not exist; *value is then 0. */
static inline int __must_check rdmsr_safe(uint32_t msr, uint64_t *value)
{
    uint32_t low = 0, high = 0;
    int error;

    __asm__ volatile("movl %[fault], %[error]\n"
                     "1: rdmsr\n"
                     "xorl %[error], %[error]\n"
                     "2:\n" FIXUP_1_TO_2
                     : [error] "=&r"(error), "+a"(low), "+d"(high)
                     : "c"(msr), [fault] "i"(-EFAULT));
    *value = error ? 0 : (uint64_t)high << 32 | low;
    return error;
}

/* -EFAULT if the MSR does not exist or refuses the value. */
static inline int __must_check wrmsr_safe(uint32_t msr, uint64_t value)
{
    int error;

    __asm__ volatile("movl %[fault], %[error]\n"
                     "1: wrmsr\n"
                     "xorl %[error], %[error]\n"
                     "2:\n" FIXUP_1_TO_2
                     : [error] "=&r"(error)
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), [fault] "i"(-EFAULT)
                     : "memory");
    return error;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid_count(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid id;

    __asm__ volatile("cpuid"
                     : "=a"(id.eax), "=b"(id.ebx), "=c"(id.ecx), "=d"(id.edx)
                     : "a"(leaf), "c"(subleaf));
    return id;
}

static inline struct cpuid cpuid(uint32_t leaf)
{
    return cpuid_count(leaf, 0);
}

static __always_inline uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static __always_inline uint16_t in16(uint16_t port)
{
    uint16_t value;

    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static __always_inline uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static __always_inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static __always_inline void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static __always_inline void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static __always_inline uint64_t read_cr0(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(value) : : "memory");
    return value;
}

static __always_inline void write_cr0(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static __always_inline uint64_t read_cr2(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr2, %0" : "=r"(value) : : "memory");
    return value;
}

static __always_inline void write_cr2(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr2" : : "r"(value) : "memory");
}

static __always_inline uint64_t read_cr3(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr3, %0" : "=r"(value) : : "memory");
    return value;
}

static __always_inline void write_cr3(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static __always_inline uint64_t read_cr4(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value) : : "memory");
    return value;
}

static __always_inline void write_cr4(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

/* CR4.OSXSAVE must be set. */
static __always_inline uint64_t xgetbv(uint32_t index)
{
    uint64_t low, high; /* as for RDMSR */

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
    return high << 32 | low;
}

static __always_inline void xsetbv(uint32_t index, uint64_t value)
{
    __asm__ volatile("xsetbv" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* Ends CR0.TS, with which FPU instructions raise #NM. */
static __always_inline void clts(void)
{
    __asm__ volatile("clts" : : : "memory");
}

/* The breakpoint addresses, which VMRUN and VM entries leave to the hypervisor. */
static inline void read_debug_registers(uint64_t dr[4])
{
    __asm__ volatile("mov %%dr0, %0" : "=r"(dr[0]));
    __asm__ volatile("mov %%dr1, %0" : "=r"(dr[1]));
    __asm__ volatile("mov %%dr2, %0" : "=r"(dr[2]));
    __asm__ volatile("mov %%dr3, %0" : "=r"(dr[3]));
}

static inline void write_debug_registers(const uint64_t dr[4])
{
    __asm__ volatile("mov %0, %%dr0" : : "r"(dr[0]));
    __asm__ volatile("mov %0, %%dr1" : : "r"(dr[1]));
    __asm__ volatile("mov %0, %%dr2" : : "r"(dr[2]));
    __asm__ volatile("mov %0, %%dr3" : : "r"(dr[3]));
}

static __always_inline void invlpg(uint64_t address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static __always_inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* What only the caches hold, this CPU's own and those that it shares, goes to memory (WBINVD). */
static inline void cpu_write_back(void)
{
    __asm__ volatile("wbinvd" : : : "memory");
}

/* Stops this CPU for good, deaf to maskable interrupts. */
static inline _Noreturn void cpu_halt_forever(void)
{
    for (;;)
        __asm__ volatile("cli; hlt" : : : "memory");
}

/*
 * Takes pending interrupts, sleeping until there is one; returns with
 * interrupts off. STI's shadow makes it race-free.
 */
static inline void cpu_idle(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* Takes the interrupts that are pending, then has them off again. */
static inline void cpu_take_interrupts(void)
{
    __asm__ volatile("sti; nop; cli" : : : "memory");
}

/* What the hypervisor asks of CPUID more than once. The order is that of the table in cpu.c. */
enum cpu_feature {
    CPU_X2APIC,
    CPU_TSC_DEADLINE,
    CPU_XSAVE,
    CPU_HYPERVISOR, /* Plinth runs under another hypervisor */
    CPU_VMX,
    CPU_SVM,
    CPU_NX,
    CPU_PAGE_1G,
    CPU_RDTSCP,
    CPU_INVARIANT_TSC,
    CPU_SMEP,
    CPU_SMAP,
    CPU_UMIP,
    CPU_PGE,
    CPU_PAT,
    CPU_MCE,
    CPU_FEATURES,
};

enum cpu_vendor { CPU_VENDOR_OTHER, CPU_VENDOR_INTEL, CPU_VENDOR_AMD };

struct cpu_features {
    enum cpu_vendor vendor;
    char vendor_name[13];
    char brand[49];      /* without leading and trailing blanks */
    unsigned maxphyaddr; /* physical address bits */
    uint32_t max_leaf;   /* highest basic CPUID leaf */
    uint32_t max_ext_leaf;
    uint32_t has; /* bit n: enum cpu_feature n */
};

/* Filled by cpu_init() on the boot CPU, then constant. */
extern struct cpu_features cpu_features;

static inline bool cpu_has(enum cpu_feature feature)
{
    return (cpu_features.has & BIT(feature)) != 0;
}

/* Reads CPUID. Boot CPU, once, before everything else that asks. */
void cpu_init(void);

/* The first feature that the boot CPU has and this one lacks; NULL: none. Any CPU. */
const char *cpu_lacks(void);

/*
 * Turns on what each CPU needs: write protection, SMEP, SMAP,
 * UMIP, global pages, machine checks. Each CPU, once.
 */
void cpu_enable_protections(void);
