/*
 * The configuration space of the machine's PCI buses, by configuration mechanism #1 (PCI Local Bus
 * Specification 3.0, 3.2.2.3.2): segment 0, the first 256 bytes of each function. Boot CPU only, since the
 * two ports belong together.
 */
#pragma once

#include "lib/types.h"

#define PCI_BUSES     256
#define PCI_SLOTS     32
#define PCI_FUNCTIONS 8

struct pci_address {
    uint8_t bus, slot, function;
};

/* Registers of each function (PCI 3.0, 6.2.1); offsets of aligned 32-bit words. */
#define PCI_ID             0x00 /* vendor 15:0, device 31:16 */
#define PCI_CLASS          0x08 /* revision 7:0, interface 15:8, sub-class 23:16, base class 31:24 */
#define PCI_HEADER         0x0c /* header type 23:16; its bit 7: the slot has several functions */
#define PCI_HEADER_SEVERAL BIT(23)
#define PCI_NO_VENDOR      0xffffu

/* The word at `offset`, a multiple of 4 below 256. All ones where no function answers. */
uint32_t pci_read(struct pci_address at, unsigned offset);
