/*
 * The timer of a virtual local APIC: one-shot, periodic and TSC-deadline. For vlapic.c; all calls on the CPU
 * of the vCPU. Counts are computed from the clock when they are read; a host timer runs only while an
 * interrupt will come of it. Source: Intel SDM vol. 3, 11.5.4; AMD APM vol. 2, 16.4.1.
 */
#pragma once

#include "lib/types.h"
#include "vmx/vclock.h"

/* Input clock of the divider: 1 GHz, so that a count is a nanosecond times the divider. */
#define VLAPIC_HZ UINT64_C(1000000000)

/*
 * Shortest period of the periodic mode, in ns. Its interrupts come without any act of the guest, also while
 * other VMs run on the CPU: without a bound a count of 1 would give the host no time for anything else. A
 * shorter period is stretched to this. One-shot and TSC-deadline need no bound: the guest must run to arm
 * them again.
 */
#define VLAPIC_MIN_PERIOD_NS UINT64_C(100000)

struct vlapic;

void vlapic_timer_init(struct vlapic *lapic, const struct vclock *clock, struct timer_queue *queue);

/* Its time has come: after struct vlapic_up's timer(). */
void vlapic_timer_due(struct vlapic *lapic);

/* The registers. Values are already reduced to the bits that the register has. */
uint32_t vlapic_timer_current(struct vlapic *lapic);
void vlapic_timer_write_initial(struct vlapic *lapic, uint32_t count);
void vlapic_timer_write_divide(struct vlapic *lapic, uint32_t divide);
void vlapic_timer_write_lvt(struct vlapic *lapic, uint32_t lvt);

/* IA32_TSC_DEADLINE: guest TSC, 0 = disarmed. Outside the TSC-deadline mode it reads 0 and ignores writes. */
uint64_t vlapic_timer_read_deadline(struct vlapic *lapic);
void vlapic_timer_write_deadline(struct vlapic *lapic, uint64_t guest_tsc);

/* Makes the host timer agree with the state: after the state was changed as a whole. */
void vlapic_timer_rearm(struct vlapic *lapic);
