/*
 * ACPI table layouts, shared by the parser of the machine's tables (arch/x86_64/acpi.c) and the builder of a
 * guest's (guests/acpitab.c). All fields are little-endian and packed. Source: ACPI specification 6.4;
 * section numbers are its own.
 */
#pragma once

#include "lib/types.h"

#define ACPI_SIGNATURE(a, b, c, d)                                                                           \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/*
 * Root system description pointer (5.2.5.3): on a PC BIOS 16-byte
 * aligned in 0xe0000-0xfffff or in the EBDA's first KiB.
 */
#define ACPI_RSDP_SIGNATURE "RSD PTR "

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum; /* of the first 20 bytes */
    char oem_id[6];
    uint8_t revision; /* 0: ACPI 1.0, the structure ends after rsdt; 2: as here */
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum; /* of the whole */
    uint8_t reserved[3];
} __packed;

static_assert(sizeof(struct acpi_rsdp) == 36, "5.2.5.3");
#define ACPI_RSDP_V1_SIZE 20

/* System description table header (5.2.6): starts each table; the bytes of a whole table add up to 0. */
struct acpi_header {
    uint32_t signature;
    uint32_t length; /* of the whole table */
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    uint32_t creator_id;
    uint32_t creator_revision;
} __packed;

static_assert(sizeof(struct acpi_header) == 36, "5.2.6");

/*
 * Root tables: the header, then 32-bit (5.2.7) or 64-bit (5.2.8)
 * physical addresses of the other tables up to its length.
 */
#define ACPI_RSDT ACPI_SIGNATURE('R', 'S', 'D', 'T')
#define ACPI_XSDT ACPI_SIGNATURE('X', 'S', 'D', 'T')
#define ACPI_DSDT ACPI_SIGNATURE('D', 'S', 'D', 'T')
#define ACPI_SSDT ACPI_SIGNATURE('S', 'S', 'D', 'T')

/* Generic address structure (5.2.3.2). */
enum acpi_space { ACPI_SPACE_MEMORY = 0, ACPI_SPACE_IO = 1, ACPI_SPACE_PCI = 2 };

struct acpi_address {
    uint8_t space; /* enum acpi_space */
    uint8_t bit_width;
    uint8_t bit_offset;
    uint8_t access_size; /* 0: undefined, 1 to 4: 1, 2, 4, 8 bytes */
    uint64_t address;
} __packed;

static_assert(sizeof(struct acpi_address) == 12, "5.2.3.2");

/*
 * Fixed ACPI description table (5.2.9). A table of an older revision is
 * shorter: check the length before a field is read.
 */
#define ACPI_FADT ACPI_SIGNATURE('F', 'A', 'C', 'P')

struct acpi_fadt {
    struct acpi_header header;
    uint32_t firmware_ctrl; /* the FACS */
    uint32_t dsdt;
    uint8_t reserved0;
    uint8_t preferred_profile;
    uint16_t sci_int;
    uint32_t smi_cmd;    /* port; 0: there is no SMM mode to leave */
    uint8_t acpi_enable; /* value for smi_cmd */
    uint8_t acpi_disable;
    uint8_t s4bios_req;
    uint8_t pstate_cnt;
    uint32_t pm1a_evt_blk; /* ports, 0: absent */
    uint32_t pm1b_evt_blk;
    uint32_t pm1a_cnt_blk;
    uint32_t pm1b_cnt_blk;
    uint32_t pm2_cnt_blk;
    uint32_t pm_tmr_blk;
    uint32_t gpe0_blk;
    uint32_t gpe1_blk;
    uint8_t pm1_evt_len;
    uint8_t pm1_cnt_len;
    uint8_t pm2_cnt_len;
    uint8_t pm_tmr_len; /* 4 if the timer is there */
    uint8_t gpe0_blk_len;
    uint8_t gpe1_blk_len;
    uint8_t gpe1_base;
    uint8_t cst_cnt;
    uint16_t p_lvl2_lat;
    uint16_t p_lvl3_lat;
    uint16_t flush_size;
    uint16_t flush_stride;
    uint8_t duty_offset;
    uint8_t duty_width;
    uint8_t day_alrm;
    uint8_t mon_alrm;
    uint8_t century;         /* CMOS register of the century, 0: none */
    uint16_t iapc_boot_arch; /* ACPI_IAPC_ */
    uint8_t reserved1;
    uint32_t flags; /* ACPI_FADT_ */
    struct acpi_address reset_reg;
    uint8_t reset_value;
    uint16_t arm_boot_arch;
    uint8_t minor_version;
    uint64_t x_firmware_ctrl; /* these replace the 32-bit fields where they are not 0 */
    uint64_t x_dsdt;
    struct acpi_address x_pm1a_evt_blk;
    struct acpi_address x_pm1b_evt_blk;
    struct acpi_address x_pm1a_cnt_blk;
    struct acpi_address x_pm1b_cnt_blk;
    struct acpi_address x_pm2_cnt_blk;
    struct acpi_address x_pm_tmr_blk;
    struct acpi_address x_gpe0_blk;
    struct acpi_address x_gpe1_blk;
    struct acpi_address sleep_control_reg;
    struct acpi_address sleep_status_reg;
    uint64_t hypervisor_vendor;
} __packed;

static_assert(offsetof(struct acpi_fadt, sci_int) == 46, "table 5.33");
static_assert(offsetof(struct acpi_fadt, iapc_boot_arch) == 109, "table 5.33");
static_assert(offsetof(struct acpi_fadt, reset_reg) == 116, "table 5.33");
static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "table 5.33");
static_assert(offsetof(struct acpi_fadt, sleep_control_reg) == 244, "table 5.33");
static_assert(sizeof(struct acpi_fadt) == 276, "table 5.33");
#define ACPI_FADT_V1_SIZE 116 /* ACPI 1.0: up to reset_reg */

/* iapc_boot_arch (5.2.9.3) */
#define ACPI_IAPC_LEGACY_DEVICES 0x0001u
#define ACPI_IAPC_8042           0x0002u
#define ACPI_IAPC_NO_VGA         0x0004u
#define ACPI_IAPC_NO_MSI         0x0008u
#define ACPI_IAPC_NO_ASPM        0x0010u
#define ACPI_IAPC_NO_CMOS_RTC    0x0020u

/* flags (table 5.34) */
#define ACPI_FADT_WBINVD        0x00000001u /* required */
#define ACPI_FADT_PROC_C1       0x00000004u /* required */
#define ACPI_FADT_PWR_BUTTON    0x00000010u /* set: no fixed power button */
#define ACPI_FADT_SLP_BUTTON    0x00000020u /* set: no fixed sleep button */
#define ACPI_FADT_FIX_RTC       0x00000040u
#define ACPI_FADT_TMR_VAL_EXT   0x00000100u /* the PM timer has 32 bits instead of 24 */
#define ACPI_FADT_RESET_REG_SUP 0x00000400u
#define ACPI_FADT_HEADLESS      0x00001000u
#define ACPI_FADT_PHYSICAL_APIC 0x00080000u /* force physical destination mode */
#define ACPI_FADT_HW_REDUCED    0x00100000u

/* PM1 control register (4.8.3.2.1) and PM1 enable/status are 16-bit ports. */
#define ACPI_PM1_SCI_EN        0x0001u
#define ACPI_PM1_BM_RLD        0x0002u
#define ACPI_PM1_SLP_TYP_SHIFT 10
#define ACPI_PM1_SLP_TYP       0x1c00u
#define ACPI_PM1_SLP_EN        0x2000u

#define ACPI_PM_TIMER_HZ 3579545u /* 4.8.3.3 */

/* Firmware ACPI control structure (5.2.10); 64-byte aligned, no checksum. */
#define ACPI_FACS ACPI_SIGNATURE('F', 'A', 'C', 'S')

struct acpi_facs {
    uint32_t signature;
    uint32_t length; /* 64 */
    uint32_t hardware_signature;
    uint32_t waking_vector;
    uint32_t global_lock;
    uint32_t flags;
    uint64_t x_waking_vector;
    uint8_t version; /* 2 */
    uint8_t reserved0[3];
    uint32_t ospm_flags;
    uint8_t reserved1[24];
} __packed;

static_assert(sizeof(struct acpi_facs) == 64, "5.2.10");

/* Multiple APIC description table (5.2.12): this, then entries that start with struct acpi_madt_entry. */
#define ACPI_MADT ACPI_SIGNATURE('A', 'P', 'I', 'C')

#define ACPI_MADT_PCAT_COMPAT 1u /* there are 8259s to mask */

struct acpi_madt {
    struct acpi_header header;
    uint32_t lapic_address;
    uint32_t flags;
} __packed;

static_assert(sizeof(struct acpi_madt) == 44, "5.2.12");

/* Types are those of table 5.45. */
enum acpi_madt_type {
    ACPI_MADT_LAPIC = 0,
    ACPI_MADT_IOAPIC = 1,
    ACPI_MADT_OVERRIDE = 2,
    ACPI_MADT_NMI_SOURCE = 3,
    ACPI_MADT_LAPIC_NMI = 4,
    ACPI_MADT_LAPIC_ADDRESS = 5,
    ACPI_MADT_X2APIC = 9,
    ACPI_MADT_X2APIC_NMI = 10,
};

struct acpi_madt_entry {
    uint8_t type;
    uint8_t length;
} __packed;

/* Flags of a CPU (table 5.47). */
#define ACPI_CPU_ENABLED        1u
#define ACPI_CPU_ONLINE_CAPABLE 2u

/* Flags of an interrupt source (table 5.50, MPS INTI). */
#define ACPI_INTI_POLARITY 0x3u /* 0: as the bus has it, 1: active high, 3: active low */
#define ACPI_INTI_HIGH     0x1u
#define ACPI_INTI_LOW      0x3u
#define ACPI_INTI_TRIGGER  0xcu /* 0: as the bus has it, 4: edge, 12: level */
#define ACPI_INTI_EDGE     0x4u
#define ACPI_INTI_LEVEL    0xcu

struct acpi_madt_lapic { /* 5.2.12.2 */
    struct acpi_madt_entry entry;
    uint8_t processor_uid;
    uint8_t apic_id;
    uint32_t flags;
} __packed;

struct acpi_madt_ioapic { /* 5.2.12.3 */
    struct acpi_madt_entry entry;
    uint8_t id;
    uint8_t reserved;
    uint32_t address;
    uint32_t gsi_base;
} __packed;

struct acpi_madt_override { /* 5.2.12.5 */
    struct acpi_madt_entry entry;
    uint8_t bus; /* 0: ISA */
    uint8_t source;
    uint32_t gsi;
    uint16_t flags;
} __packed;

struct acpi_madt_nmi_source { /* 5.2.12.6 */
    struct acpi_madt_entry entry;
    uint16_t flags;
    uint32_t gsi;
} __packed;

struct acpi_madt_lapic_nmi { /* 5.2.12.7 */
    struct acpi_madt_entry entry;
    uint8_t processor_uid; /* 0xff: all */
    uint16_t flags;
    uint8_t lint;
} __packed;

struct acpi_madt_lapic_address { /* 5.2.12.8 */
    struct acpi_madt_entry entry;
    uint16_t reserved;
    uint64_t address;
} __packed;

struct acpi_madt_x2apic { /* 5.2.12.12 */
    struct acpi_madt_entry entry;
    uint16_t reserved;
    uint32_t apic_id;
    uint32_t flags;
    uint32_t processor_uid;
} __packed;

struct acpi_madt_x2apic_nmi { /* 5.2.12.13 */
    struct acpi_madt_entry entry;
    uint16_t flags;
    uint32_t processor_uid; /* 0xffffffff: all */
    uint8_t lint;
    uint8_t reserved[3];
} __packed;

static_assert(sizeof(struct acpi_madt_lapic) == 8, "5.2.12.2");
static_assert(sizeof(struct acpi_madt_ioapic) == 12, "5.2.12.3");
static_assert(sizeof(struct acpi_madt_override) == 10, "5.2.12.5");
static_assert(sizeof(struct acpi_madt_nmi_source) == 8, "5.2.12.6");
static_assert(sizeof(struct acpi_madt_lapic_nmi) == 6, "5.2.12.7");
static_assert(sizeof(struct acpi_madt_lapic_address) == 12, "5.2.12.8");
static_assert(sizeof(struct acpi_madt_x2apic) == 16, "5.2.12.12");
static_assert(sizeof(struct acpi_madt_x2apic_nmi) == 12, "5.2.12.13");

/* High precision event timer table. Source: IA-PC HPET specification 1.0a, 3.2.4. */
#define ACPI_HPET ACPI_SIGNATURE('H', 'P', 'E', 'T')

struct acpi_hpet {
    struct acpi_header header;
    uint32_t block_id; /* the low half of the HPET's capability register */
    struct acpi_address address;
    uint8_t number;
    uint16_t min_tick;
    uint8_t attributes;
} __packed;

static_assert(sizeof(struct acpi_hpet) == 56, "HPET 3.2.4");

/*
 * PCI Express memory-mapped configuration. Source: PCI firmware
 * specification 3.2, 4.1.2: this, then allocations.
 */
#define ACPI_MCFG ACPI_SIGNATURE('M', 'C', 'F', 'G')

struct acpi_mcfg {
    struct acpi_header header;
    uint64_t reserved;
} __packed;

struct acpi_mcfg_allocation {
    uint64_t base; /* of bus 0 of the segment, whichever the first bus is */
    uint16_t segment;
    uint8_t first_bus;
    uint8_t last_bus;
    uint32_t reserved;
} __packed;

static_assert(sizeof(struct acpi_mcfg) == 44, "PCI firmware 4.1.2");
static_assert(sizeof(struct acpi_mcfg_allocation) == 16, "PCI firmware 4.1.2");

/* Serial port console redirection. Source: Microsoft SPCR specification 1.08. */
#define ACPI_SPCR ACPI_SIGNATURE('S', 'P', 'C', 'R')

enum { ACPI_SPCR_16550 = 0, ACPI_SPCR_16450 = 1, ACPI_SPCR_16550_GAS = 0x12 };

#define ACPI_SPCR_INT_8259   0x01u /* irq is valid */
#define ACPI_SPCR_INT_IOAPIC 0x02u /* gsi is valid */

struct acpi_spcr {
    struct acpi_header header;
    uint8_t interface;
    uint8_t reserved0[3];
    struct acpi_address address;
    uint8_t interrupt_type;
    uint8_t irq;
    uint32_t gsi;
    uint8_t baud; /* 0: as it is, 3: 9600, 4: 19200, 6: 57600, 7: 115200 */
    uint8_t parity;
    uint8_t stop_bits;
    uint8_t flow_control;
    uint8_t terminal;
    uint8_t language;
    uint16_t pci_device_id;
    uint16_t pci_vendor_id;
    uint8_t pci_bus;
    uint8_t pci_device;
    uint8_t pci_function;
    uint32_t pci_flags;
    uint8_t pci_segment;
    uint32_t reserved1;
} __packed;

static_assert(sizeof(struct acpi_spcr) == 80, "SPCR 1.08");

/*
 * Sum of `size` bytes: 0 for a good table, and -sum is the checksum
 * to write into one whose checksum field is still 0.
 */
static inline uint8_t acpi_sum(const void *table, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)table;
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum;
}
