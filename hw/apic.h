/*
 * Register layouts of the local APIC and of the I/O APIC, shared by the physical drivers and their virtual
 * twins. Source: Intel SDM vol. 3, chapter 11 (APIC); AMD APM vol. 2, chapter 16; Intel 82093AA data sheet.
 */
#pragma once

#include "lib/types.h"

/* --- MSRs (SDM vol. 4, table 2-2) --- */
#define MSR_APIC_BASE    0x01b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST  0x8ff
#define MSR_X2APIC(reg)  (MSR_X2APIC_FIRST + ((reg) >> 4)) /* of a register below; SDM 11.12.1.2 */

/* IA32_APIC_BASE (SDM 11.4.4 and 11.12.1) */
#define APIC_BASE_BSP     BIT(8)
#define APIC_BASE_EXTD    BIT(10) /* x2APIC mode */
#define APIC_BASE_EN      BIT(11) /* globally enabled */
#define APIC_BASE_ADDRESS UINT64_C(0x000ffffffffff000)
#define APIC_BASE_DEFAULT UINT64_C(0xfee00000)

/* --- Local APIC registers: offset in the page (SDM table 11-1) --- */
#define APIC_ID            0x020
#define APIC_VERSION       0x030
#define APIC_TPR           0x080
#define APIC_APR           0x090 /* xAPIC only; absent on recent CPUs */
#define APIC_PPR           0x0a0
#define APIC_EOI           0x0b0
#define APIC_RRD           0x0c0 /* remote read; absent on recent CPUs */
#define APIC_LDR           0x0d0
#define APIC_DFR           0x0e0 /* xAPIC only */
#define APIC_SVR           0x0f0
#define APIC_ISR           0x100 /* 8 registers, 0x10 apart */
#define APIC_TMR           0x180 /* 8 registers, 0x10 apart */
#define APIC_IRR           0x200 /* 8 registers, 0x10 apart */
#define APIC_ESR           0x280
#define APIC_LVT_CMCI      0x2f0
#define APIC_ICR           0x300 /* x2APIC: all 64 bits here */
#define APIC_ICR_HIGH      0x310 /* xAPIC only */
#define APIC_LVT_TIMER     0x320
#define APIC_LVT_THERMAL   0x330
#define APIC_LVT_PERF      0x340
#define APIC_LVT_LINT0     0x350
#define APIC_LVT_LINT1     0x360
#define APIC_LVT_ERROR     0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE  0x3e0
#define APIC_SELF_IPI      0x3f0 /* x2APIC only */

/* Version (SDM 11.4.8) */
#define APIC_VERSION_NUMBER(v)    ((uint32_t)(v)&0xffu)
#define APIC_VERSION_MAX_LVT(v)   (((uint32_t)(v) >> 16) & 0xffu) /* LVT entries - 1 */
#define APIC_VERSION_SUPPRESS_EOI BIT(24)                         /* SVR bit 12 works */

/* Logical destination (SDM 11.6.2.2, 11.12.10.2) */
#define APIC_ID_SHIFT                                                                                        \
    24 /* xAPIC: of the id in ID, of the destination in ICR_HIGH, of the logical id in LDR */
#define APIC_LDR_MASK     0xff000000u
#define APIC_DFR_MODEL    0xf0000000u
#define APIC_DFR_FLAT     0xf0000000u
#define APIC_DFR_CLUSTER  0x00000000u
#define APIC_DFR_RESERVED 0x0fffffffu /* read as ones */

/* Spurious-interrupt vector (SDM 11.9) */
#define APIC_SVR_VECTOR       0x00ffu
#define APIC_SVR_ENABLE       0x0100u
#define APIC_SVR_FOCUS        0x0200u
#define APIC_SVR_SUPPRESS_EOI 0x1000u

/* Error status (SDM 11.5.3) */
#define APIC_ESR_SEND_CHECKSUM    0x01u
#define APIC_ESR_RECEIVE_CHECKSUM 0x02u
#define APIC_ESR_SEND_ACCEPT      0x04u
#define APIC_ESR_RECEIVE_ACCEPT   0x08u
#define APIC_ESR_REDIRECTABLE     0x10u
#define APIC_ESR_SEND_VECTOR      0x20u
#define APIC_ESR_RECEIVE_VECTOR   0x40u
#define APIC_ESR_REGISTER         0x80u

/* Delivery mode: 3 bits of ICR, LVT entry, redirection entry, MSI data (SDM 11.6.1, 11.5.1) */
#define APIC_MODE_FIXED    0u
#define APIC_MODE_LOWEST   1u
#define APIC_MODE_SMI      2u
#define APIC_MODE_RESERVED 3u
#define APIC_MODE_NMI      4u
#define APIC_MODE_INIT     5u
#define APIC_MODE_STARTUP  6u
#define APIC_MODE_EXTINT   7u

/* Interrupt command, low half (SDM 11.6.1) */
#define APIC_ICR_VECTOR     0x000000ffu
#define APIC_ICR_MODE_SHIFT 8
#define APIC_ICR_MODE       0x00000700u
#define APIC_ICR_LOGICAL    0x00000800u
#define APIC_ICR_PENDING    0x00001000u /* xAPIC only, read only */
#define APIC_ICR_ASSERT     0x00004000u
#define APIC_ICR_LEVEL      0x00008000u /* trigger mode */
#define APIC_ICR_SHORTHAND  0x000c0000u
#define APIC_ICR_SELF       0x00040000u
#define APIC_ICR_ALL        0x00080000u /* including self */
#define APIC_ICR_OTHERS     0x000c0000u /* all but self */
#define APIC_BROADCAST_8    0xffu       /* xAPIC destination */
#define APIC_BROADCAST_32   0xffffffffu /* x2APIC destination */

/* Local vector table entry (SDM 11.5.1) */
#define APIC_LVT_VECTOR         0x000000ffu
#define APIC_LVT_MODE_SHIFT     8
#define APIC_LVT_MODE           0x00000700u
#define APIC_LVT_PENDING        0x00001000u /* read only */
#define APIC_LVT_ACTIVE_LOW     0x00002000u
#define APIC_LVT_REMOTE_IRR     0x00004000u /* read only */
#define APIC_LVT_LEVEL          0x00008000u
#define APIC_LVT_MASKED         0x00010000u
#define APIC_LVT_TIMER_MODE     0x00060000u
#define APIC_LVT_TIMER_ONESHOT  0x00000000u
#define APIC_LVT_TIMER_PERIODIC 0x00020000u
#define APIC_LVT_TIMER_DEADLINE 0x00040000u

/* Divide configuration (SDM 11.5.4): bits 3, 1 and 0 encode the power of two */
#define APIC_DIVIDE_MASK 0xbu
#define APIC_DIVIDE_BY_1 0xbu

/* The log2 of the divider that a divide configuration selects, 0 to 7: 000b = 2 .. 110b = 128, 111b = 1. */
static inline unsigned apic_divide_shift(uint32_t divide)
{
    return (((divide & 3) | (divide >> 1 & 4)) + 1) & 7;
}

/* --- I/O APIC (82093AA) --- */
#define IOAPIC_BASE_DEFAULT UINT64_C(0xfec00000)
#define IOAPIC_SIZE         0x1000u

/* Memory-mapped registers (82093AA, 3.1) */
#define IOAPIC_IOREGSEL 0x00u
#define IOAPIC_IOWIN    0x10u
#define IOAPIC_EOIR     0x40u /* version 0x20 and above (ICH data sheets) */

/* Indexed registers (82093AA, 3.2) */
#define IOAPIC_ID             0x00u
#define IOAPIC_VER            0x01u
#define IOAPIC_ARB            0x02u
#define IOAPIC_REDTBL(pin)    (0x10u + 2 * (pin)) /* low half; the high half follows */
#define IOAPIC_ID_SHIFT       24
#define IOAPIC_ID_MASK        0x0f000000u
#define IOAPIC_VER_NUMBER(v)  ((uint32_t)(v)&0xffu)
#define IOAPIC_VER_MAX_PIN(v) (((uint32_t)(v) >> 16) & 0xffu) /* pins - 1 */

/* Redirection entry (82093AA, 3.2.4) */
#define IOAPIC_RTE_VECTOR     UINT64_C(0x00000000000000ff)
#define IOAPIC_RTE_MODE_SHIFT 8
#define IOAPIC_RTE_MODE       UINT64_C(0x0000000000000700)
#define IOAPIC_RTE_LOGICAL    UINT64_C(0x0000000000000800)
#define IOAPIC_RTE_PENDING    UINT64_C(0x0000000000001000) /* read only */
#define IOAPIC_RTE_ACTIVE_LOW UINT64_C(0x0000000000002000)
#define IOAPIC_RTE_REMOTE_IRR UINT64_C(0x0000000000004000) /* read only */
#define IOAPIC_RTE_LEVEL      UINT64_C(0x0000000000008000)
#define IOAPIC_RTE_MASKED     UINT64_C(0x0000000000010000)
#define IOAPIC_RTE_DEST       UINT64_C(0xff00000000000000)
#define IOAPIC_RTE_DEST_SHIFT 56
