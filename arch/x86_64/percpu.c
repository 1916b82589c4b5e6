#include "arch/x86_64/percpu.h"
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "kernel/recorder.h"
#include "lib/ptab.h"
#include "lib/string.h"

#define BLOCK_ORDER 4

static_assert(PAGE_SIZE << BLOCK_ORDER == CPU_BLOCK_SIZE, "one block of frames backs one block of addresses");

/* What is mapped; the frames between, behind the guard pages, stay unused. */
static const struct {
    uint64_t start, size;
} parts[] = {
    { 0, CPU_AREA_SIZE },
    { CPU_DF_STACK_TOP - CPU_IST_STACK, CPU_IST_STACK },
    { CPU_MC_STACK_TOP - CPU_IST_STACK, CPU_IST_STACK },
    { CPU_NMI_STACK_TOP - CPU_IST_STACK, CPU_IST_STACK },
    { CPU_MAIN_STACK, CPU_BLOCK_SIZE - CPU_MAIN_STACK },
};

static_assert(RECORDER_RING == CPU_BLOCK_SIZE, "a ring is as large, and as aligned, as a block");
static_assert(sizeof(struct cpu) <= CPU_AREA_SIZE, "percpu.h's picture");

static void *fresh_ring(void)
{
    hpa_t frames = frames_alloc(BLOCK_ORDER, FRAME_PERCPU);

    return frames.raw ? phys_to_virt(frames) : NULL;
}

struct cpu *percpu_create(unsigned slot, uint32_t apic_id)
{
    uint64_t block = PERCPU_BASE + slot * CPU_BLOCK_SIZE;
    struct cpu *cpu = (struct cpu *)(uintptr_t)block;
    hpa_t frames;

    if (slot >= CPU_MAX)
        return NULL;
    frames = frames_alloc(BLOCK_ORDER, FRAME_PERCPU);
    if (frames.raw == 0)
        return NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
        if (paging_map(block + parts[i].start, hpa(frames.raw + parts[i].start), parts[i].size,
                       PTAB_READ | PTAB_WRITE | PTAB_GLOBAL | PTAB_WB))
            return NULL; /* what was mapped stays so: the frames cannot be given back */
    memset(cpu, 0, sizeof(*cpu));
    cpu->index = slot;
    cpu->apic_id = apic_id;
    cpu->timer_programmed = cpu->lapic_deadline = TIMER_NEVER;
    cpu->tsc_aux = TSC_AUX_UNKNOWN;
    timer_queue_init(&cpu->timers);
    cpu->recorder = recorder_ring(slot, fresh_ring);
    return cpu->recorder ? cpu : NULL;
}
