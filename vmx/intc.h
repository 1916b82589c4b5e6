/* What a vCPU asks of its interrupt controller, which is a device model and stands above vmx/. */
#pragma once

#include "lib/types.h"

struct vcpu_intc {
    /* The vector that the vCPU should take now, were it to take interrupts; -1: none. */
    int (*pending)(void *context);
    /* The vCPU takes what pending() told; returns the vector to deliver (an 8259's INTA cycle gives it late), -1 if it is gone. */
    int (*accept)(void *context);
    /* The guest wrote CR8: the task priority, 0 to 15. */
    void (*set_cr8)(void *context, uint8_t cr8);
    /* The highest vector that waits and that only the task priority holds back; -1: none. */
    int (*held)(void *context);
    /* IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC. -EINVAL: the guest gets #GP(0). */
    int (*msr_read)(void *context, uint32_t msr, uint64_t *value);
    int (*msr_write)(void *context, uint32_t msr, uint64_t value);
    /* The vCPU was reset by INIT. */
    void (*reset)(void *context);
};
