/*
 * A vCPU's access to a device: the local APIC is its own, all others are on the VM's buses, which its vCPUs
 * reach one after the other.
 */
#pragma once

#include "vmx/guestmap.h"
#include "vmx/vcpu.h"

static inline uint64_t port_read(struct vcpu *vcpu, uint16_t port, unsigned size)
{
    struct vm *vm = vcpu->vm;
    uint64_t value;

    lock_take(&vm->devices);
    value = iobus_read(&vm->ports, port, size);
    lock_release(&vm->devices);
    return value;
}

static inline void port_write(struct vcpu *vcpu, uint16_t port, unsigned size, uint64_t value)
{
    struct vm *vm = vcpu->vm;

    lock_take(&vm->devices);
    iobus_write(&vm->ports, port, size, value);
    lock_release(&vm->devices);
}

static inline bool is_local_apic(uint64_t at)
{
    return (at & ~PAGE_MASK) == GUEST_LAPIC_BASE;
}

static inline uint64_t mmio_read(struct vcpu *vcpu, uint64_t at, unsigned size)
{
    struct vm *vm = vcpu->vm;
    uint64_t value;

    if (is_local_apic(at))
        return vcpu->intc->read(vcpu->intc_context, at & PAGE_MASK, size);
    lock_take(&vm->devices);
    value = iobus_read(&vm->mmio, at, size);
    lock_release(&vm->devices);
    return value;
}

static inline void mmio_write(struct vcpu *vcpu, uint64_t at, unsigned size, uint64_t value)
{
    struct vm *vm = vcpu->vm;

    if (is_local_apic(at)) {
        vcpu->intc->write(vcpu->intc_context, at & PAGE_MASK, size, value);
        return;
    }
    lock_take(&vm->devices);
    iobus_write(&vm->mmio, at, size, value);
    lock_release(&vm->devices);
}
