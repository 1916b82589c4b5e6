/*
 * NVMe controllers: a pair of queues for each CPU, whose interrupt comes to that CPU by MSI-X, so that a
 * request ends where it began. A controller that has fewer queues or vectors has them shared.
 *
 * A controller that reports a fatal error, does not answer a command in time or ends one that does not exist
 * is stopped for good: its requests end with -EIO. Source: NVM Express Base Specification 1.4.
 */
#pragma once

#include "drivers/pci.h"

extern const struct pci_driver nvme_driver;
