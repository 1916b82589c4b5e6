/*
 * What the firmware's ACPI tables say, in the one form that the rest of Plinth sees. Tables are checked
 * before they are believed; a bad one is named in the log and skipped. Source: ACPI specification 6.4.
 * Compiles on the host.
 */
#pragma once

#include "lib/types.h"
#include "hw/acpi.h"

#define ACPI_MAX_CPUS    256
#define ACPI_MAX_IOAPICS 16
#define ACPI_MAX_MCFG    8
#define ACPI_ISA_IRQS    16

struct acpi_cpu {
    uint32_t apic_id;
    uint32_t uid;
};

struct acpi_ioapic {
    hpa_t address;
    uint32_t gsi_base;
};

/*
 * How an ISA interrupt reaches the I/O APICs; one without an override
 * keeps its number, edge-triggered and active high.
 */
struct acpi_isa_irq {
    uint32_t gsi;
    bool level, active_low;
};

struct acpi_segment {
    hpa_t base; /* of bus 0 */
    uint16_t segment;
    uint8_t first_bus, last_bus;
};

/* The console that the firmware used (SPCR). */
struct acpi_console {
    bool present, mmio;
    uint64_t base;
    uint8_t stride;
    uint32_t baud; /* 0: as the firmware left it */
    int isa_irq;   /* -1: none */
    int64_t gsi;   /* -1: none */
};

struct acpi_info {
    unsigned cpu_count;
    struct acpi_cpu cpu[ACPI_MAX_CPUS]; /* enabled ones, in table order; no APIC id twice */
    hpa_t lapic;
    bool has_8259;
    int nmi_lint; /* local APIC input wired to NMI on all CPUs; -1: none */
    bool nmi_active_low;
    unsigned ioapic_count;
    struct acpi_ioapic ioapic[ACPI_MAX_IOAPICS];
    struct acpi_isa_irq isa[ACPI_ISA_IRQS];

    bool has_fadt;
    bool hardware_reduced;
    uint16_t pm_timer;                   /* port; 0: none */
    bool pm_timer_32;                    /* 32 bits wide instead of 24 */
    uint16_t pm1a_control, pm1b_control; /* ports; 0: none */
    uint16_t smi_command;                /* port; 0: ACPI mode needs no request */
    uint8_t acpi_enable;
    uint16_t iapc_boot_arch;
    struct acpi_address reset; /* address 0: none */
    uint8_t reset_value;
    bool has_s5;
    uint8_t s5_type_a, s5_type_b;

    hpa_t hpet; /* 0: none */
    unsigned segment_count;
    struct acpi_segment segment[ACPI_MAX_MCFG];
    struct acpi_console console;
};

/* How the parser reads memory: `size` readable bytes at `at`, or NULL where there is none. */
struct acpi_source {
    const void *(*map)(void *context, hpa_t at, uint64_t size);
    void *context;
};

/*
 * Reads the tables that the RSDP, `rsdp_size` bytes, leads to. Without usable tables *info says what a PC
 * without ACPI has: no CPUs listed, no I/O APICs; then -ENODEV.
 */
int acpi_parse(struct acpi_info *info, const void *rsdp, size_t rsdp_size,
               const struct acpi_source *source) __must_check;

/*
 * Finds the \_S5 package in AML by its bytes, without interpreting it (19.2.3, 20.2.5.4). False if it is not
 * there in the usual form.
 */
bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t *type_a, uint8_t *type_b);

/* This machine's, filled by acpi_init() in firmware.c; constant after it. */
extern struct acpi_info acpi;
