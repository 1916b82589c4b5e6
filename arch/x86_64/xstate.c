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

bool xstate_has_xsave, xstate_pointers_stay;
uint64_t xstate_saved = 1;
static size_t area_size;

bool xstate_init(void)
{
    bool first = this_cpu()->index == 0;

    clts(); /* nothing sets it again */
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    if (first) {
        xstate_pointers_stay = cpuid(0x80000000).eax < 0x80000008 ||
                               !(cpuid(0x80000008).ebx & RSTR_FP_ERR_PTRS);
        xstate_has_xsave = cpu_has(CPU_XSAVE);
        area_size = FXSAVE_SIZE;
    }
    this_cpu()->xcr0 = 1;
    if (!xstate_has_xsave)
        return true;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    if (first)
        xstate_saved = cpuid_count(0xd, 0).eax & XCR0_SAVED;
    else if ((cpuid_count(0xd, 0).eax & XCR0_SAVED) != xstate_saved)
        return false;
    xsetbv(0, xstate_saved);
    this_cpu()->xcr0 = xstate_saved;
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

void xstate_set_xcr0(uint64_t xcr0)
{
    if (xstate_xcr0() != xcr0)
        xstate_write_xcr0(this_cpu(), xcr0);
}
