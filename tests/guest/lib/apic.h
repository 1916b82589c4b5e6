/* The local APIC in either mode, and the I/O APIC. Source: AMD APM vol. 2, 16; Intel SDM vol. 3, 11; Intel
 * 82093AA data sheet. */
#pragma once

#include "lib/guest.h"

#define APIC_BASE_ADDRESS UINT32_C(0xfee00000)
#define APIC_BASE_BSP     BIT(8)
#define APIC_BASE_X2APIC  BIT(10)
#define APIC_BASE_ENABLE  BIT(11)

#define APIC_ID        0x020u
#define APIC_VERSION   0x030u
#define APIC_TPR       0x080u
#define APIC_PPR       0x0a0u
#define APIC_EOI       0x0b0u
#define APIC_LDR       0x0d0u
#define APIC_DFR       0x0e0u
#define APIC_SPIV      0x0f0u
#define APIC_ISR       0x100u
#define APIC_TMR       0x180u
#define APIC_IRR       0x200u
#define APIC_ESR       0x280u
#define APIC_ICR       0x300u
#define APIC_ICR_HIGH  0x310u
#define APIC_LVT_TIMER 0x320u
#define APIC_LVT_LINT0 0x350u
#define APIC_LVT_LINT1 0x360u
#define APIC_LVT_ERROR 0x370u
#define APIC_INITIAL   0x380u
#define APIC_CURRENT   0x390u
#define APIC_DIVIDE    0x3e0u
#define X2APIC_SELF    0x3f0u

#define X2APIC_MSR(reg) (0x800u + ((reg) >> 4))

#define SPIV_ENABLE     0x100u
#define SPURIOUS_VECTOR 0xffu
#define LVT_MASKED      0x10000u
#define LVT_PENDING     0x1000u
#define TIMER_PERIODIC  0x20000u
#define TIMER_DEADLINE  0x40000u
#define DIVIDE_BY_1     0xbu
#define DIVIDE_BY_16    0x3u
#define ICR_FIXED       0x0000u
#define ICR_LOWEST      0x0100u
#define ICR_NMI         0x0400u
#define ICR_LOGICAL     0x0800u
#define ICR_PENDING     0x1000u
#define ICR_ASSERT      0x4000u
#define ICR_SELF        0x40000u
#define ICR_ALL         0x80000u
#define ICR_OTHERS      0xc0000u

extern bool apic_x2; /* accesses go to MSRs */

uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
/* Sends to `destination` (an APIC ID or a logical mask, in the mode's own format) and waits until it is sent.
 */
void apic_send(uint32_t destination, uint32_t command);
void apic_self(unsigned vector);
uint32_t apic_id(void);
/* The bit of `vector` in one of the three 256-bit registers. */
bool apic_bit(uint32_t reg, unsigned vector);

/* 8259s masked, APIC enabled by software, LVT masked, divide by 1, handlers for the spurious vector. Keeps
 * the mode. */
void apic_init(void);
/* Counts and acknowledges. */
void apic_handler(struct frame *frame);

bool has_tsc_deadline(void);

/* The tests that hold in both modes: lib/apictest.c. */
void apic_common_tests(void);

#define IOAPIC_BASE   UINT32_C(0xfec00000)
#define IOAPIC_ID     0
#define IOAPIC_VER    1
#define IOAPIC_ENTRY  0x10
#define ENTRY_LOGICAL 0x0800u
#define ENTRY_STATUS  0x1000u
#define ENTRY_LOW     0x2000u
#define ENTRY_RIRR    0x4000u
#define ENTRY_LEVEL   0x8000u
#define ENTRY_MASKED  0x10000u

uint32_t ioapic_read(uint32_t index);
void ioapic_write(uint32_t index, uint32_t value);
/* Both halves; the mask goes last. */
void ioapic_entry(unsigned pin, uint32_t low, uint32_t high);
