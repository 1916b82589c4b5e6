/* See kvm_sched.c. All calls come from the vCPU's CPU. */
#pragma once

#include "hw/apic.h"
#include "vmx/vcpu.h"

#define KVM_EINVAL 22

/* Around a turn on a CPU, if steal_area is set. */
void kvm_show_running(struct vcpu *vcpu);
void kvm_show_waiting(struct vcpu *vcpu);

/* The hypercalls: what RAX gets. `low` and `high` are a map of 128 bits: to which local APICs from `first` on
 * the IPI `icr` (low half) goes. */
int64_t kvm_send_ipi(struct vcpu *vcpu, uint64_t low, uint64_t high, uint64_t first, uint64_t icr);
int64_t kvm_kick(const struct vcpu *vcpu, uint64_t id);
int64_t kvm_yield_to(const struct vcpu *vcpu, uint64_t id);
