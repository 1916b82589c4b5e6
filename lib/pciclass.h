/* What the class codes of PCI devices mean. */
#pragma once

#include "lib/types.h"

/*
 * A base class and a sub-class in a few words ("Ethernet controller"; PCI Code and ID Assignment
 * Specification 1.11, chapter 1). Where the sub-class is not known, what the base class says. Any context may
 * call it.
 */
const char *pci_class_name(uint8_t base, uint8_t sub);
