/* What a vCPU asks of its interrupt controller, which is a device model and stands above vmx/. */
#pragma once

#include "lib/types.h"

struct vcpu_intc {
    /* True if take() would give a vector. */
    bool (*pending)(void *context);
    /* The vCPU takes an interrupt: the vector to deliver, from now on in service; -1: there is none. */
    int (*take)(void *context);
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
