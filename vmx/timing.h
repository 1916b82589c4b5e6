/*
 * How long exits take: from where the back end's loop has the guest's registers to where it is about to enter
 * the guest again, or to leave the vCPU, in TSC ticks. To time each one would cost the short ones a tenth, so
 * it is done only while somebody wants to know.
 */
#pragma once

#include "lib/types.h"
#include "vmx/ops.h"

struct vcpu;

/* Of one vCPU; written by the CPU that runs it, but for `until`. */
struct timing {
    uint64_t until;               /* TSC; any CPU sets it */
    uint64_t ticks[EXIT_REASONS]; /* of those exits that were timed */
    uint64_t count[EXIT_REASONS]; /* how many that were */
    uint64_t longest;             /* ticks */
    uint32_t longest_reason;      /* enum exit_reason; valid when longest > 0 */
};

/* The vCPU's exits are timed from now until the TSC reaches `until`. Any CPU. */
void timing_begin(struct vcpu *vcpu, uint64_t until);

/* A vcpu->on_exit: vmx_ops->exit with a watch in its hand. */
bool timing_exit(struct vcpu *vcpu, void *context);
