/*
 * The half of a task switch that the new task does: LDT, segments and the error code, which are loaded and
 * checked when it runs already. For task.c only.
 */
#pragma once

#include "vmx/task.h"

#define SELECTOR_RPL 3u
#define SELECTOR_TI  4u

#define ATTRIBUTE_BYTE    5 /* of a descriptor: type, S, DPL, P */
#define SEG_ATTR_ACCESSED 0x01u
#define EFLAGS_VM         0x00020000u

struct descriptor {
    gva_t at;
    struct vcpu_segment segment;
};

struct tss_format;

/* One task switch on its way. */
struct change {
    const struct task_request *request;
    struct task_cpu *cpu;
    const struct task_memory *memory;
    struct emu_fault *fault;
    uint32_t external; /* the EXT bit of error codes */
    struct descriptor new_tss;
    const struct tss_format *old_format, *new_format;
};

/* Fills the fault, whose error code names a selector; -EFAULT. */
int task_fail(const struct change *c, uint8_t vector, uint16_t selector);

/* Clears, then sets bits of a descriptor's attribute byte. */
int task_mark(const struct change *c, gva_t descriptor, uint8_t clear, uint8_t set) __must_check;

/* What a selector names in the GDT or the LDT that is loaded; a fault of this vector if it is null or beyond
 * the table. */
int task_descriptor(const struct change *c, uint16_t selector, uint8_t vector,
                    struct descriptor *out) __must_check;

/* From the selectors that cpu->system has. */
int task_load_segments(const struct change *c) __must_check;

/* The event's error code, if it has one, goes on the new stack; `size` is 2 or 4. */
int task_push_error(const struct change *c, unsigned size) __must_check;

static inline gva_t task_linear(uint64_t base, uint64_t offset)
{
    return gva((uint32_t)(base + offset));
}
