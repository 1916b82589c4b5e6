#include "arch/x86_64/xstate.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/percpu.h"
#include "kernel/heap.h"
#include "kernel/panic.h"
#include "lib/string.h"

#define FXSAVE_SIZE 512
#define FCW_RESET   0x037f
#define MXCSR_RESET 0x1f80

/*
 * XCR0 bits that Plinth saves: x87, SSE, AVX (what cpuid.c may offer), and PKRU, which a guest reaches by
 * CR4.PKE although CPUID does not offer it. AMD APM vol. 2, 11.5.2.
 */
#define XCR0_SAVED (UINT64_C(7) | BIT(9))

/* CPUID 8000_0008h EBX: restoring sets FIP, FDP and FOP also when no x87 exception is pending. APM vol. 3,
 * E.4.7. */
#define RSTR_FP_ERR_PTRS BIT(2)

bool xstate_has_xsave;
static bool pointers_stay; /* FIP, FDP and FOP can outlive a restore */
static uint64_t saved = 1; /* XCR0 while saving and restoring */
static size_t area_size;

bool xstate_init(void)
{
    bool first = this_cpu()->index == 0;

    clts(); /* nothing sets it again */
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    if (first) {
        pointers_stay = cpuid(0x80000000).eax < 0x80000008 || !(cpuid(0x80000008).ebx & RSTR_FP_ERR_PTRS);
        xstate_has_xsave = cpu_has(CPU_XSAVE);
        area_size = FXSAVE_SIZE;
    }
    this_cpu()->xcr0 = 1;
    if (!xstate_has_xsave)
        return true;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    if (first)
        saved = cpuid_count(0xd, 0).eax & XCR0_SAVED;
    else if ((cpuid_count(0xd, 0).eax & XCR0_SAVED) != saved)
        return false;
    xsetbv(0, saved);
    this_cpu()->xcr0 = saved;
    if (first)
        area_size = cpuid_count(0xd, 0).ebx;
    return first || cpuid_count(0xd, 0).ebx == area_size;
}

/* Areas are aligned to 64 bytes inside a larger block, whose start is kept in front of them. */
void *xstate_alloc(void)
{
    uint8_t *block = heap_alloc(area_size + 64 + sizeof(void *));
    uint8_t *area;

    if (!block)
        return NULL;
    area = (uint8_t *)align_up((uint64_t)(uintptr_t)(block + sizeof(void *)), 64);
    memcpy(area - sizeof(void *), &block, sizeof(void *));
    xstate_reset(area);
    return area;
}

void xstate_free(void *area)
{
    void *block;

    if (!area)
        return;
    if (this_cpu()->xstate == area)
        this_cpu()->xstate = NULL;
    memcpy(&block, (uint8_t *)area - sizeof(void *), sizeof(void *));
    heap_free(block);
}

void xstate_reset(void *area)
{
    uint16_t fcw = FCW_RESET;
    uint32_t mxcsr = MXCSR_RESET;

    if (this_cpu()->xstate == area)
        this_cpu()->xstate = NULL;
    memset(area, 0, area_size);
    memcpy((uint8_t *)area + 0, &fcw, sizeof(fcw));
    memcpy((uint8_t *)area + 24, &mxcsr, sizeof(mxcsr));
}

/* Without XSAVE it is always 1. */
static inline void set_xcr0(struct cpu *cpu, uint64_t xcr0)
{
    if (cpu->xcr0 == xcr0)
        return;
    xsetbv(0, xcr0);
    cpu->xcr0 = xcr0;
}

/* Puts Plinth's own addresses where the next guest could read the last one's. */
static void overwrite_pointers(void)
{
    static const uint32_t zero;

    /* With no exception pending and an empty stack the load cannot fault. */
    __asm__ volatile("fnclex\n emms\n fildl %0" : : "m"(zero));
}

static inline void save(void *area)
{
    if (xstate_has_xsave)
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void restore(const void *area)
{
    if (xstate_has_xsave)
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

void xstate_load(struct cpu *cpu, void *area, uint64_t xcr0)
{
    if (cpu->xstate != area) {
        ASSERT(!cpu->xstate);
        set_xcr0(cpu, saved);
        if (pointers_stay)
            overwrite_pointers();
        restore(area);
        cpu->xstate = area;
    }
    set_xcr0(cpu, xcr0);
}

void xstate_save(struct cpu *cpu)
{
    set_xcr0(cpu, saved);
    save(cpu->xstate);
    cpu->xstate = NULL;
}

void xstate_set_xcr0(uint64_t xcr0)
{
    if (xstate_xcr0() != xcr0)
        set_xcr0(this_cpu(), xcr0);
}
