#include "guests/acpitab.h"
#include "devices/vpci.h"
#include "devices/vpm.h"
#include "devices/vreset.h"
#include "dsdt.h"
#include "hw/acpi.h"
#include "lib/errno.h"
#include "lib/string.h"

#define OEM_ID       "PLINTH"
#define OEM_TABLE_ID "PLINTHVM"
#define CREATOR_ID   ACPI_SIGNATURE('P', 'L', 'N', 'T')

#define SCI_IRQ      VPM_SCI
#define TIMER_GSI    2 /* the 8254 is on the I/O APIC's input 2, as on every PC */
#define CMOS_CENTURY 0x32
#define NO_C2        101 /* latencies above 100 and 1000 us say that the state is not there (5.2.9) */
#define NO_C3        1001
#define ALIGNMENT    64 /* what the FACS needs, and no table minds */

/* Where the next table goes, inside the area that the memory map reserves. */
struct builder {
    const struct gmem *mem;
    uint64_t next;
    int error; /* the first one */
};

static gpa_t place(struct builder *build, const void *table, size_t size)
{
    gpa_t at = gpa(build->next);

    if (!build->error && size > GUEST_ACPI_BASE + GUEST_ACPI_SIZE - at.raw)
        build->error = -ENOSPC;
    if (!build->error)
        build->error = gmem_write(build->mem, at, table, size);
    if (!build->error)
        build->next = align_up(at.raw + size, ALIGNMENT);
    return at;
}

static struct acpi_header header(uint32_t signature, uint8_t revision, size_t length)
{
    struct acpi_header h = {
        .signature = signature,
        .length = (uint32_t)length,
        .revision = revision,
        .oem_revision = 1,
        .creator_id = CREATOR_ID,
        .creator_revision = 1,
    };

    memcpy(h.oem_id, OEM_ID, sizeof(h.oem_id));
    memcpy(h.oem_table_id, OEM_TABLE_ID, sizeof(h.oem_table_id));
    return h;
}

/* Completes a table whose header comes first, and places it. */
static gpa_t place_table(struct builder *build, struct acpi_header *table)
{
    table->checksum = (uint8_t)-acpi_sum(table, table->length);
    return place(build, table, table->length);
}

static struct acpi_address port(uint64_t number, unsigned bytes)
{
    uint8_t access_size = (uint8_t)(bytes == 1 ? 1 : bytes == 2 ? 2 : 3);

    return (struct acpi_address){ ACPI_SPACE_IO, (uint8_t)(bytes * 8), 0, access_size, number };
}

static gpa_t place_facs(struct builder *build)
{
    struct acpi_facs facs = { .signature = ACPI_FACS, .length = sizeof(facs), .version = 2 };

    return place(build, &facs, sizeof(facs));
}

/* The machine is always in ACPI mode (no SMI_CMD), has a fixed power button and the devices that devices/
 * models. */
static gpa_t place_fadt(struct builder *build, gpa_t facs, gpa_t dsdt)
{
    struct acpi_fadt fadt = {
        .header = header(ACPI_FADT, 6, sizeof(fadt)),
        .firmware_ctrl = (uint32_t)facs.raw,
        .dsdt = (uint32_t)dsdt.raw,
        .sci_int = SCI_IRQ,
        .pm1a_evt_blk = VPM_PM1A_EVT,
        .pm1a_cnt_blk = VPM_PM1A_CNT,
        .pm_tmr_blk = VPM_PM_TMR,
        .pm1_evt_len = VPM_EVT_LEN,
        .pm1_cnt_len = VPM_CNT_LEN,
        .pm_tmr_len = VPM_TMR_LEN,
        .p_lvl2_lat = NO_C2,
        .p_lvl3_lat = NO_C3,
        .century = CMOS_CENTURY,
        .iapc_boot_arch = ACPI_IAPC_LEGACY_DEVICES | ACPI_IAPC_NO_VGA | ACPI_IAPC_NO_ASPM,
        .flags = ACPI_FADT_WBINVD | ACPI_FADT_PROC_C1 | ACPI_FADT_SLP_BUTTON | ACPI_FADT_TMR_VAL_EXT |
                 ACPI_FADT_RESET_REG_SUP,
        .reset_reg = port(VRESET_CF9_PORT, 1),
        .reset_value = VRESET_CF9_FULL,
        .x_dsdt = dsdt.raw,
        .x_pm1a_evt_blk = port(VPM_PM1A_EVT, VPM_EVT_LEN),
        .x_pm1a_cnt_blk = port(VPM_PM1A_CNT, VPM_CNT_LEN),
        .x_pm_tmr_blk = port(VPM_PM_TMR, VPM_TMR_LEN),
    };

    /* Event registers are a status and an enable half of two bytes each (4.8.3.1). */
    fadt.x_pm1a_evt_blk.access_size = 2;
    return place_table(build, &fadt.header);
}

/* The entries other than the CPUs'. Vioapic's id is 0; its inputs other than 2 bear their ISA numbers. */
struct madt_tail {
    struct acpi_madt_ioapic ioapic;
    struct acpi_madt_override timer, sci, pci[VPCI_LINES];
    struct acpi_madt_lapic_nmi nmi;
} __packed;

/* PCI 3.0, 2.2.6: levels, active low. */
#define PCI_OVERRIDE(irq)                                                                                    \
    {                                                                                                        \
        { ACPI_MADT_OVERRIDE, sizeof(struct acpi_madt_override) }, .source = irq, .gsi = irq,                \
                                                                   .flags = ACPI_INTI_LEVEL | ACPI_INTI_LOW  \
    }

static const struct madt_tail madt_tail = {
    .ioapic = { { ACPI_MADT_IOAPIC, sizeof(struct acpi_madt_ioapic) },
                .id = 0,
                .address = GUEST_IOAPIC_BASE },
    .timer = { { ACPI_MADT_OVERRIDE, sizeof(struct acpi_madt_override) }, .source = 0, .gsi = TIMER_GSI },
    .sci = { { ACPI_MADT_OVERRIDE, sizeof(struct acpi_madt_override) },
             .source = SCI_IRQ,
             .gsi = SCI_IRQ,
             .flags = ACPI_INTI_LEVEL | ACPI_INTI_HIGH },
    .pci = { PCI_OVERRIDE(10), PCI_OVERRIDE(11) }, /* vpci_irq() */
    .nmi = { { ACPI_MADT_LAPIC_NMI, sizeof(struct acpi_madt_lapic_nmi) }, .processor_uid = 0xff, .lint = 1 },
};

/* With room for all CPUs: the last entries follow the last CPU that is there. */
struct madt {
    struct acpi_madt head;
    struct acpi_madt_lapic cpu[CONFIG_MAX_VCPUS];
    uint8_t room[sizeof(struct madt_tail)];
} __packed;

static gpa_t place_madt(struct builder *build, unsigned cpus)
{
    size_t length = sizeof(struct acpi_madt) + cpus * sizeof(struct acpi_madt_lapic) +
                    sizeof(struct madt_tail);
    struct madt madt = {
        .head = {
            .header = header(ACPI_MADT, 5, length),
            .lapic_address = GUEST_LAPIC_BASE,
            .flags = ACPI_MADT_PCAT_COMPAT,
        },
    };

    for (unsigned i = 0; i < cpus; i++)
        madt.cpu[i] = (struct acpi_madt_lapic){ .entry = { ACPI_MADT_LAPIC, sizeof(madt.cpu[i]) },
                                                .processor_uid = (uint8_t)i,
                                                .apic_id = (uint8_t)i,
                                                .flags = ACPI_CPU_ENABLED };
    memcpy((uint8_t *)&madt + length - sizeof(madt_tail), &madt_tail, sizeof(madt_tail));
    return place_table(build, &madt.head.header);
}

static gpa_t place_mcfg(struct builder *build)
{
    struct {
        struct acpi_mcfg head;
        struct acpi_mcfg_allocation bus0;
    } __packed mcfg = { { .header = header(ACPI_MCFG, 1, sizeof(mcfg)) }, { .base = GUEST_ECAM_BASE } };

    return place_table(build, &mcfg.head.header);
}

/* What the root tables name. */
enum { TABLE_FADT, TABLE_MADT, TABLE_MCFG, TABLES };

static gpa_t place_rsdt(struct builder *build, const gpa_t table[TABLES])
{
    struct {
        struct acpi_header header;
        uint32_t table[TABLES];
    } __packed rsdt = { .header = header(ACPI_RSDT, 1, sizeof(rsdt)) };

    for (unsigned i = 0; i < TABLES; i++)
        rsdt.table[i] = (uint32_t)table[i].raw;
    return place_table(build, &rsdt.header);
}

static gpa_t place_xsdt(struct builder *build, const gpa_t table[TABLES])
{
    struct {
        struct acpi_header header;
        uint64_t table[TABLES];
    } __packed xsdt = { .header = header(ACPI_XSDT, 1, sizeof(xsdt)) };

    for (unsigned i = 0; i < TABLES; i++)
        xsdt.table[i] = table[i].raw;
    return place_table(build, &xsdt.header);
}

int acpitab_build(const struct gmem *mem, const struct acpitab_config *config, gpa_t *rsdp)
{
    /* The root pointer comes first, where guests search for it (5.2.5.1), and is written last. */
    struct builder build = { .mem = mem, .next = GUEST_ACPI_BASE + ALIGNMENT };
    struct acpi_rsdp root = { .revision = 2, .length = sizeof(root) };
    gpa_t facs, dsdt, table[TABLES];

    if (config->cpus < 1 || config->cpus > CONFIG_MAX_VCPUS)
        return -EINVAL;
    facs = place_facs(&build);
    dsdt = place(&build, dsdt_aml, sizeof(dsdt_aml));
    table[TABLE_FADT] = place_fadt(&build, facs, dsdt);
    table[TABLE_MADT] = place_madt(&build, config->cpus);
    table[TABLE_MCFG] = place_mcfg(&build);

    memcpy(root.signature, ACPI_RSDP_SIGNATURE, sizeof(root.signature));
    memcpy(root.oem_id, OEM_ID, sizeof(root.oem_id));
    root.rsdt = (uint32_t)place_rsdt(&build, table).raw;
    root.xsdt = place_xsdt(&build, table).raw;
    root.checksum = (uint8_t)-acpi_sum(&root, ACPI_RSDP_V1_SIZE);
    root.extended_checksum = (uint8_t)-acpi_sum(&root, sizeof(root));
    if (build.error)
        return build.error;
    *rsdp = gpa(GUEST_ACPI_BASE);
    return gmem_write(mem, *rsdp, &root, sizeof(root));
}
