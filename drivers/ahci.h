/*
 * Serial ATA disks behind AHCI host bus adapters. A disk that is pulled out is BLOCK_GONE, and stays so if it
 * comes back. Packet devices and port multipliers are not touched.
 */
#pragma once

#include "drivers/pci.h"

extern const struct pci_driver ahci_driver;
