#include "arch/x86_64/desc.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/trap.h"
#include "kernel/heap.h"
#include "lib/errno.h"

/* The 64-bit task state segment. Source: AMD APM vol. 2, 12.2.5. */
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7]; /* ist[n - 1] is IST n */
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map; /* offset of the I/O permission map; the limit: there is none */
} __packed;

static_assert(sizeof(struct tss) == 104, "APM vol. 2, figure 12-8");

/* An interrupt gate. Source: AMD APM vol. 2, 4.8.4. */
struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

static_assert(sizeof(struct gate) == 16, "APM vol. 2, figure 4-24");

#define GATE_INTERRUPT 0x8e /* present, ring 0, 64-bit interrupt gate */

#define GDT_CODE UINT64_C(0x00209b0000000000) /* present, ring 0, 64-bit code, accessed */
#define GDT_DATA UINT64_C(0x0000930000000000) /* present, ring 0, writable data, accessed */
#define GDT_TSS  UINT64_C(0x0000890000000000) /* present, available 64-bit TSS */

enum { IST_DF = 1, IST_MC, IST_NMI };

struct desc {
    uint64_t gdt[5];
    struct tss tss;
};

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __packed;

static const uint64_t boot_gdt[] = { 0, GDT_CODE, GDT_DATA };
static struct gate idt[256];

static void load_gdt(const uint64_t *gdt, size_t size)
{
    struct table_pointer pointer = { (uint16_t)(size - 1), (uint64_t)(uintptr_t)gdt };

    __asm__ volatile("lgdt %0\n"
                     "pushq %1\n"
                     "leaq 1f(%%rip), %%rax\n"
                     "pushq %%rax\n"
                     "lretq\n"
                     "1:\n"
                     "movl %2, %%eax\n"
                     "movl %%eax, %%ds\n"
                     "movl %%eax, %%es\n"
                     "movl %%eax, %%ss\n"
                     :
                     : "m"(pointer), "i"(SELECTOR_CODE), "i"(SELECTOR_DATA)
                     : "rax", "memory");
}

static void set_gate(unsigned vector, unsigned ist)
{
    uint64_t entry = (uint64_t)(uintptr_t)trap_stubs + vector * TRAP_STUB_SIZE;

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)entry,
        .offset_middle = (uint16_t)(entry >> 16),
        .offset_high = (uint32_t)(entry >> 32),
        .selector = SELECTOR_CODE,
        .ist = (uint8_t)ist,
        .type = GATE_INTERRUPT,
    };
}

void desc_init_boot(void)
{
    struct table_pointer pointer = { sizeof(idt) - 1, (uint64_t)(uintptr_t)idt };

    load_gdt(boot_gdt, sizeof(boot_gdt));
    for (unsigned vector = 0; vector < 256; vector++)
        set_gate(vector, 0);
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

int desc_init_cpu(void)
{
    struct table_pointer pointer = { sizeof(idt) - 1, (uint64_t)(uintptr_t)idt };
    struct desc *desc = heap_alloc(sizeof(*desc));
    struct cpu *cpu = this_cpu();
    uint64_t block = (uint64_t)(uintptr_t)cpu, tss;

    if (!desc)
        return -ENOMEM;
    desc->tss.ist[IST_DF - 1] = block + CPU_DF_STACK_TOP;
    desc->tss.ist[IST_MC - 1] = block + CPU_MC_STACK_TOP;
    desc->tss.ist[IST_NMI - 1] = block + CPU_NMI_STACK_TOP;
    desc->tss.io_map = sizeof(desc->tss);

    tss = (uint64_t)(uintptr_t)&desc->tss;
    desc->gdt[SELECTOR_CODE / 8] = GDT_CODE;
    desc->gdt[SELECTOR_DATA / 8] = GDT_DATA;
    desc->gdt[SELECTOR_TSS / 8] = GDT_TSS | (sizeof(desc->tss) - 1) | (tss & 0xffffff) << 16 |
                                  (tss >> 24 & 0xff) << 56;
    desc->gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
    cpu->desc = desc;

    load_gdt(desc->gdt, sizeof(desc->gdt));
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
    __asm__ volatile("lidt %0" : : "m"(pointer));
    if (cpu->index != 0)
        return 0; /* the first CPU arms the stacks for all: each loads its TSS before it can need them */
    set_gate(VECTOR_DF, IST_DF);
    set_gate(VECTOR_MC, IST_MC);
    set_gate(VECTOR_NMI, IST_NMI);
    return 0;
}
