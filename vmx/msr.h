/* Rules for the guest's MSRs, and the plainest of their functions. */
#pragma once

#include "lib/types.h"

struct vcpu;

/* One range of MSRs with one meaning. A NULL function, or one that returns -EINVAL: #GP(0). */
struct msr_rule {
    uint32_t first, last;
    int (*read)(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
    int (*write)(struct vcpu *vcpu, uint32_t msr, uint64_t value);
};

int msr_read_zero(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
int msr_write_zero_only(struct vcpu *vcpu, uint32_t msr, uint64_t value);
int msr_write_ignored(struct vcpu *vcpu, uint32_t msr, uint64_t value);
