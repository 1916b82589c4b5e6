/*
 * Disks of IDE controllers that are bus masters (PIIX and what is compatible with it): what old PCs and
 * Bochs have. Their transfer modes are left as firmware chose them. Packet devices (CD-ROM) are not touched.
 */
#pragma once

#include "drivers/pci.h"

extern const struct pci_driver ata_driver;
