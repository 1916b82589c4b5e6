/* The IDT, its handlers, and guarded calls that survive an exception. */
#include "lib/guest.h"

#define GATE_INTERRUPT 0x8e /* present, ring 0, interrupt gate; AMD APM vol. 2, 4.8.4 */
#define EXCEPTIONS     32

extern const uintptr_t trap_entries[256];
extern const char guard_landing[];
void guard_call(void (*function)(void *), void *argument);
void trap(struct frame *frame);

__attribute__((aligned(16))) struct gate idt[256];
volatile unsigned trap_count[256];
uint32_t fault_error;
unsigned long fault_ip, fault_cr2;

static trap_fn *handlers[256];
static volatile bool guard_active;
static volatile int guard_vector;

void traps_init(void)
{
    struct {
        uint16_t limit;
        uintptr_t base;
    } __attribute__((packed)) pointer = { sizeof(idt) - 1, (uintptr_t)idt };
    uint16_t cs;

    __asm__("mov %%cs, %0" : "=r"(cs));
    for (unsigned i = 0; i < 256; i++) {
        uint64_t entry = trap_entries[i];

        idt[i] = (struct gate){ .offset_low = (uint16_t)entry,
                                .selector = cs,
                                .type = GATE_INTERRUPT,
                                .offset_mid = (uint16_t)(entry >> 16) };
    }
    __asm__ volatile("lidt %0" ::"m"(pointer));
}

void trap_set(unsigned vector, trap_fn *handler)
{
    handlers[vector] = handler;
    trap_count[vector] = 0;
}

static void __attribute__((noreturn)) unexpected(const struct frame *frame)
{
    print("\nvector %u error 0x%lx at 0x%lx, cr2 0x%lx\n", (unsigned)frame->vector, frame->error, frame->ip,
          read_cr2());
    fail("no unexpected trap", "see the line above");
    finish();
}

void trap(struct frame *frame)
{
    trap_count[frame->vector]++;
    if (guard_active && frame->vector < EXCEPTIONS && frame->vector != VECTOR_NMI &&
        !handlers[frame->vector]) {
        guard_active = false;
        guard_vector = (int)frame->vector;
        fault_error = (uint32_t)frame->error;
        fault_ip = frame->ip;
        fault_cr2 = read_cr2();
#ifdef __x86_64__
        frame->cs = 0x18; /* the fault may have come from ring 3 */
        frame->ss = 0x10;
#endif
        frame->ip = (uintptr_t)guard_landing;
        frame->flags &= ~(unsigned long)(RFLAGS_TF | RFLAGS_AC);
        return;
    }
    if (!handlers[frame->vector])
        unexpected(frame);
    handlers[frame->vector](frame);
}

int guarded(void (*function)(void *), void *argument)
{
    guard_vector = -1;
    guard_active = true;
    guard_call(function, argument);
    guard_active = false;
    return guard_vector;
}

struct msr_access {
    uint32_t msr;
    uint64_t value;
};

static void do_rdmsr(void *argument)
{
    struct msr_access *access = argument;

    access->value = rdmsr(access->msr);
}

static void do_wrmsr(void *argument)
{
    struct msr_access *access = argument;

    wrmsr(access->msr, access->value);
}

bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
    struct msr_access access = { msr, 0 };

    if (guarded(do_rdmsr, &access) != -1)
        return false;
    *value = access.value;
    return true;
}

bool wrmsr_safe(uint32_t msr, uint64_t value)
{
    struct msr_access access = { msr, value };

    return guarded(do_wrmsr, &access) == -1;
}
