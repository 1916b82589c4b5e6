/* The ACPI tables of a VM (ACPI specification 6.4, chapter 5). Compiles on the host. */
#pragma once

#include "guests/boot.h"
#include "kernel/config.h"

struct acpitab_config {
    unsigned cpus; /* vCPU i has APIC id i; 1 to CONFIG_MAX_VCPUS */
};

/*
 * Writes all tables into guest memory from GUEST_ACPI_BASE; *rsdp gets the address of the root pointer.
 * -EINVAL for a bad number of CPUs, -EFAULT if the memory is not there. Before the VM runs.
 */
int acpitab_build(const struct gmem *mem, const struct acpitab_config *config, gpa_t *rsdp) __must_check;
