/*
 * The guest's physical memory map, as engine, loaders and ACPI tables have it:
 *   0x00000000 - 0x0009ffff  RAM           0x000a0000 - 0x000bffff  hole (legacy video memory)
 *   0x000c0000 - 0x000dffff  RAM, reserved  0x000e0000 - 0x000fffff  RAM, reserved: RSDP and ACPI tables
 *   0x00100000 - 0xbfffffff  RAM up to 3 GiB
 *   0xc0000000 - 0xfeafffff  PCI functions' memory: the window that the DSDT describes
 *   0xfeb00000 - 0xfebfffff  configuration space of PCI bus 0 (ECAM)
 *   0xfec00000 I/O APIC       0xfee00000 local APIC
 *   0x100000000 -            the rest of the RAM
 */
#pragma once

#include "lib/types.h"

#define GUEST_HOLE_BASE   UINT64_C(0x000a0000)
#define GUEST_HOLE_SIZE   UINT64_C(0x00020000)
#define GUEST_BIOS_BASE   UINT64_C(0x000c0000)
#define GUEST_ACPI_BASE   UINT64_C(0x000e0000)
#define GUEST_ACPI_SIZE   UINT64_C(0x00020000)
#define GUEST_LOW_MAX     UINT64_C(0xc0000000)
#define GUEST_PCI_BASE    UINT64_C(0xc0000000)
#define GUEST_PCI_SIZE    UINT64_C(0x3eb00000)
#define GUEST_ECAM_BASE   UINT64_C(0xfeb00000)
#define GUEST_ECAM_SIZE   UINT64_C(0x00100000) /* of one bus */
#define GUEST_HIGH_BASE   UINT64_C(0x100000000)
#define GUEST_IOAPIC_BASE UINT64_C(0xfec00000)
#define GUEST_LAPIC_BASE  UINT64_C(0xfee00000)
