/* Where the machine's ACPI tables come from. */
#pragma once

#include "boot/bootinfo.h"

/*
 * Fills `acpi` (acpi.h) from the tables that the loader pointed
 * to; logs a summary. Boot CPU, once, after paging.
 */
void acpi_init(const struct bootinfo *info);
