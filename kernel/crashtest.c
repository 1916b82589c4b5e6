#include "kernel/crashtest.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/smp.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "lib/string.h"

static void crash_ud(void)
{
    __asm__ volatile("ud2");
}

static void crash_pf(void)
{
    *(volatile uint32_t *)(uintptr_t)(PERCPU_BASE - PAGE_SIZE) = 1;
}

static void crash_null(void)
{
    uintptr_t null = 0;

    __asm__ volatile("" : "+r"(null)); /* else the compiler sees what it is and does something else */
    *(volatile uint32_t *)null = 1;
}

static void crash_write(void)
{
    *(volatile uint32_t *)(uintptr_t)image_text_start = 1;
}

static void crash_exec(void)
{
    static uint8_t ret[] = { 0xc3 };
    void (*function)(void) = (void (*)(void))(uintptr_t)ret;

    function();
    __asm__ volatile(""); /* else it were a jump, and the report could not name us */
}

static void crash_div(void)
{
    __asm__ volatile("xorl %%ecx, %%ecx; xorl %%edx, %%edx; divl %%ecx" : : : "eax", "ecx", "edx");
}

static void crash_stack(void)
{
    __asm__ volatile("1: push %rax; jmp 1b");
}

static void crash_panic(void)
{
    panic("asked to by the command line");
}

static void crash_here(void *go)
{
    while (go && !__atomic_load_n((bool *)go, __ATOMIC_ACQUIRE))
        cpu_pause();
    crash_panic();
}

/* Another CPU, while this one waits for it. */
static void crash_ap(void)
{
    if (smp_online() > 1)
        smp_call(smp_cpu(1), crash_here, NULL);
}

/* All at once. */
static void crash_all(void)
{
    static bool go;

    for (unsigned i = 1; i < smp_online(); i++)
        smp_call_start(smp_cpu(i), crash_here, &go);
    __atomic_store_n(&go, true, __ATOMIC_RELEASE);
    crash_panic();
}

void crash_on_request(const char *kind)
{
    static const struct {
        char kind[8];
        void (*crash)(void);
    } crashes[] = {
        { "ud", crash_ud },     { "pf", crash_pf },   { "null", crash_null },   { "write", crash_write },
        { "exec", crash_exec }, { "div", crash_div }, { "stack", crash_stack }, { "panic", crash_panic },
        { "ap", crash_ap },     { "all", crash_all },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(crashes); i++)
        if (strcmp(kind, crashes[i].kind) == 0)
            crashes[i].crash();
    log_warn("crash=%s is not understood: ud, pf, null, write, exec, div, stack, panic, ap and all are",
             kind);
}
