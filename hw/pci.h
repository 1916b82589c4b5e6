/*
 * The configuration space of a PCI function, shared by the driver and its virtual twin: offsets of aligned
 * 32-bit words, and the bits in them. Source: PCI Local Bus Specification 3.0, chapter 6 (sections are
 * named), PCI Express Base Specification 4.0, 7.5 and 7.7.
 */
#pragma once

#include "lib/types.h"

#define PCI_BUSES     256
#define PCI_SLOTS     32
#define PCI_FUNCTIONS 8
#define PCI_BARS      6
#define PCI_NO_VENDOR 0xffffu

/* --- Header (6.1, 6.2) --- */
#define PCI_ID        0x00 /* vendor 15:0, device 31:16 */
#define PCI_COMMAND   0x04 /* command 15:0, status 31:16 */
#define PCI_CLASS     0x08 /* revision 7:0, interface 15:8, sub-class 23:16, base class 31:24 */
#define PCI_HEADER    0x0c /* header type 23:16 */
#define PCI_BAR(n)    (0x10u + 4u * (n))
#define PCI_SUBSYSTEM 0x2c /* vendor 15:0, device 31:16 */
#define PCI_CAPS      0x34 /* first capability 7:0, if PCI_STATUS_CAPS */
#define PCI_INTERRUPT 0x3c /* line 7:0, pin 15:8 (0: none, 1 to 4: INTA to INTD) */

/* The status half of PCI_COMMAND has bits that a write of 1 clears: write zeroes there. */
#define PCI_COMMAND_MASK     0xffffu
#define PCI_COMMAND_IO       BIT(0)
#define PCI_COMMAND_MEMORY   BIT(1)
#define PCI_COMMAND_MASTER   BIT(2)
#define PCI_COMMAND_INTX_OFF BIT(10)
#define PCI_STATUS_CAPS      BIT(20)

#define PCI_HEADER_SEVERAL BIT(23)                         /* the slot has several functions */
#define PCI_HEADER_TYPE(w) (((uint32_t)(w) >> 16) & 0x7fu) /* 0: a device, 1: a bridge, which has two BARs   \
                                                            */

/* --- Base address registers (6.2.5.1) --- */
#define PCI_BAR_IO          BIT(0)
#define PCI_BAR_TYPE_64     0x4u /* of bits 2:1, where bit 0 is clear */
#define PCI_BAR_TYPE_MASK   0x6u
#define PCI_BAR_PREFETCH    BIT(3)
#define PCI_BAR_IO_MASK     0xfffffffcu
#define PCI_BAR_MEMORY_MASK 0xfffffff0u

/* --- Capabilities (6.7): id 7:0, next 15:8 --- */
#define PCI_CAP_FIRST   0x40u /* none lies below */
#define PCI_CAP_MSI     0x05u
#define PCI_CAP_VENDOR  0x09u
#define PCI_CAP_EXPRESS 0x10u
#define PCI_CAP_MSIX    0x11u

/* Message signalled interrupts (6.8.1): control is 31:16 of the first word; address, [upper half,] data. */
#define PCI_MSI_ENABLE      BIT(16)
#define PCI_MSI_SEVERAL     (UINT32_C(7) << 20) /* how many are enabled, as a power of two */
#define PCI_MSI_64          BIT(23)
#define PCI_MSI_ADDRESS     0x04
#define PCI_MSI_ADDRESS_UP  0x08 /* only with PCI_MSI_64 */
#define PCI_MSI_DATA(is_64) ((is_64) ? 0x0cu : 0x08u)

/* MSI-X (6.8.2) */
#define PCI_MSIX_LAST(w)       (((uint32_t)(w) >> 16) & 0x7ffu) /* entries of the table - 1 */
#define PCI_MSIX_MASK_ALL      BIT(30)
#define PCI_MSIX_ENABLE        BIT(31)
#define PCI_MSIX_TABLE         0x04 /* BAR 2:0, offset in it 31:3 */
#define PCI_MSIX_PENDING       0x08
#define PCI_MSIX_BAR(w)        ((uint32_t)(w)&7u)
#define PCI_MSIX_OFFSET(w)     ((uint32_t)(w) & ~7u)
#define PCI_MSIX_ENTRY         16u /* bytes of an entry: address, upper half, data, control */
#define PCI_MSIX_ENTRY_ADDRESS 0u
#define PCI_MSIX_ENTRY_UP      4u
#define PCI_MSIX_ENTRY_DATA    8u
#define PCI_MSIX_ENTRY_CONTROL 12u
#define PCI_MSIX_ENTRY_MASKED  BIT(0)

/*
 * What an x86 machine takes for an interrupt message (Intel SDM vol. 3, 11.11): to the CPU with this APIC id,
 * physical destination, edge-triggered, fixed delivery.
 */
#define PCI_MESSAGE_ADDRESS(apic_id) (0xfee00000u | (uint32_t)(apic_id) << 12)
#define PCI_MESSAGE_MAX_ID           0xffu

/* --- Classes: base class and sub-class (PCI Code and ID Assignment Specification 1.11, chapter 1) --- */
#define PCI_CLASS_IDE      0x0101u
#define PCI_CLASS_SATA     0x0106u
#define PCI_CLASS_NVM      0x0108u
#define PCI_CLASS_ETHERNET 0x0200u
