/* Runs a table of instruction forms on RAM and on a device, and compares what they leave behind. */
#pragma once

#include "lib/guest.h"

#ifdef __x86_64__
enum { FORM_REGS = 16 }; /* rax rcx rdx rbx rbp rsi rdi r8 .. r15 rflags */
#else
enum { FORM_REGS = 8 }; /* eax ecx edx ebx ebp esi edi eflags */
#endif

struct regs {
    unsigned long reg[FORM_REGS];
};

struct form {
    const char *name;
    const void *code;
    unsigned long on_device; /* 32 bits wide: may be run on a device register */
    unsigned long flags;     /* those that the instruction defines */
};
extern const struct form form_table[], form_table_end[];

/* How the guest's mode reaches memory. */
struct form_setup {
    void (*aim)(uintptr_t page); /* makes the target be in this page (physical, 4 KiB) */
    void (*registers)(struct regs *regs, void *scratch); /* fills in what the forms expect */
    void (*run)(const void *code, struct regs *regs);
};

#define FORM_OFFSET 0x380u /* of the target in its page: the local APIC's initial count register */

void forms_run(const char *mode, const struct form_setup *setup);
