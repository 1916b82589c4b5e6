/* Exceptions and interrupts of the hypervisor itself. Source: AMD APM vol. 2, 8.2; Intel SDM vol. 3, 6.15. */
#pragma once

#include "lib/types.h"

#define VECTOR_DE         0
#define VECTOR_DB         1
#define VECTOR_NMI        2
#define VECTOR_BP         3
#define VECTOR_OF         4
#define VECTOR_BR         5
#define VECTOR_UD         6
#define VECTOR_NM         7
#define VECTOR_DF         8
#define VECTOR_TS         10
#define VECTOR_NP         11
#define VECTOR_SS         12
#define VECTOR_GP         13
#define VECTOR_PF         14
#define VECTOR_MF         16
#define VECTOR_AC         17
#define VECTOR_MC         18
#define VECTOR_XM         19
#define VECTOR_VE         20
#define VECTOR_CP         21
#define VECTOR_HV         28
#define VECTOR_VC         29
#define VECTOR_SX         30
#define VECTOR_EXCEPTIONS 32

/* What entry.asm leaves on the stack, lowest address first. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector;
    uint64_t error; /* 0 where the exception has none */
    uint64_t rip, cs, rflags, rsp, ss;
};

static_assert(sizeof(struct trap_frame) == 22 * 8, "pushed by entry.asm");

/* The entry points, one for each vector. */
#define TRAP_STUB_SIZE 16
extern const char trap_stubs[256 * TRAP_STUB_SIZE];

/* From entry.asm. Returns when the interrupted code may go on with what *frame then holds. */
void trap_handle(struct trap_frame *frame);

/* NMIs seen by the hypervisor since start, over all CPUs. */
uint64_t trap_nmi_count(void);

/* Reads 8 bytes; -EFAULT if they are not mapped. For crash reports. */
int trap_load(uint64_t address, uint64_t *value) __must_check;

/* Calls enter() on the main stack of a per-CPU block, never to return. */
_Noreturn void stack_switch(void *block, void (*enter)(void));

/* The fix-up table: a fault at `at` continues at `resume` (FIXUP_1_TO_2 in cpu.h). */
struct fixup {
    uint64_t at, resume;
};

extern const struct fixup fixup_start[], fixup_end[]; /* linker.ld */
