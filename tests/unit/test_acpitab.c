/* A guest's ACPI tables: walked from the RSDP as a guest does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "arch/x86_64/acpi.h"
#include "devices/vpm.h"
#include "guests/acpitab.h"
#include "hw/acpi.h"
#include "tests/unit/host/host.h"

static struct gmem mem;
static gpa_t rsdp;

static int set_up(void **state)
{
    (void)state;
    host_gmem_init(&mem, 2 * MiB);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

/* `size` bytes of guest memory that the tables may lie in. */
static const void *at(uint64_t address, uint64_t size)
{
    assert_true(address >= GUEST_ACPI_BASE && address + size <= GUEST_ACPI_BASE + GUEST_ACPI_SIZE);
    return gmem_ptr(&mem, gpa(address), size);
}

static const struct acpi_header *table(uint64_t address, uint32_t signature)
{
    const struct acpi_header *header = at(address, sizeof(*header));

    assert_int_equal(header->signature, signature);
    at(address, header->length);
    assert_int_equal(acpi_sum(header, header->length), 0);
    assert_memory_equal(header->oem_id, "PLINTH", 6);
    return header;
}

static const struct acpi_rsdp *build(unsigned cpus)
{
    const struct acpi_rsdp *root;

    assert_int_equal(acpitab_build(&mem, &(struct acpitab_config){ .cpus = cpus }, &rsdp), 0);
    assert_int_equal(rsdp.raw % 16, 0);
    root = at(rsdp.raw, sizeof(*root));
    assert_memory_equal(root->signature, "RSD PTR ", 8);
    assert_int_equal(acpi_sum(root, 20), 0);
    assert_int_equal(acpi_sum(root, 36), 0);
    assert_int_equal(root->revision, 2);
    assert_int_equal(root->length, 36);
    return root;
}

static uint64_t xsdt_entry(const struct acpi_rsdp *root, unsigned index)
{
    uint64_t entry;

    memcpy(&entry, (const uint8_t *)table(root->xsdt, ACPI_XSDT) + sizeof(struct acpi_header) + index * 8, 8);
    return entry;
}

static void test_root_tables(void **state)
{
    const struct acpi_rsdp *root = build(2);

    (void)state;
    assert_int_equal(table(root->xsdt, ACPI_XSDT)->length, sizeof(struct acpi_header) + 3 * 8);
    assert_int_equal(table(root->rsdt, ACPI_RSDT)->length, sizeof(struct acpi_header) + 3 * 4);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t entry;

        memcpy(&entry, (const uint8_t *)table(root->rsdt, ACPI_RSDT) + sizeof(struct acpi_header) + i * 4, 4);
        assert_int_equal(entry, xsdt_entry(root, i));
    }
}

static void assert_port(struct acpi_address address, uint64_t number, unsigned bits, unsigned access_size)
{
    assert_int_equal(address.space, ACPI_SPACE_IO);
    assert_int_equal(address.address, number);
    assert_int_equal(address.bit_width, bits);
    assert_int_equal(address.bit_offset, 0);
    assert_int_equal(address.access_size, access_size);
}

static void test_fadt(void **state)
{
    const struct acpi_fadt *fadt = (const void *)table(xsdt_entry(build(1), 0), ACPI_FADT);
    const struct acpi_facs *facs = at(fadt->firmware_ctrl, sizeof(*facs));

    (void)state;
    assert_int_equal(fadt->header.length, sizeof(*fadt));
    assert_int_equal(fadt->sci_int, 9);
    assert_int_equal(fadt->smi_cmd, 0);
    assert_int_equal(fadt->pm1a_evt_blk, 0x600);
    assert_int_equal(fadt->pm1_evt_len, 4);
    assert_int_equal(fadt->pm1a_cnt_blk, 0x604);
    assert_int_equal(fadt->pm1_cnt_len, 2);
    assert_int_equal(fadt->pm_tmr_blk, 0x608);
    assert_int_equal(fadt->pm_tmr_len, 4);
    assert_port(fadt->x_pm1a_evt_blk, 0x600, 32, 2);
    assert_port(fadt->x_pm1a_cnt_blk, 0x604, 16, 2);
    assert_port(fadt->x_pm_tmr_blk, 0x608, 32, 3);
    assert_port(fadt->reset_reg, 0xcf9, 8, 1);
    assert_int_equal(fadt->reset_value, 6);
    assert_int_equal(fadt->century, 0x32);
    /* the fixed power button is there, the sleep button is not */
    assert_int_equal(fadt->flags & (ACPI_FADT_PWR_BUTTON | ACPI_FADT_SLP_BUTTON), ACPI_FADT_SLP_BUTTON);
    assert_true(fadt->flags & ACPI_FADT_TMR_VAL_EXT);
    assert_true(fadt->flags & ACPI_FADT_RESET_REG_SUP);
    assert_int_equal(fadt->iapc_boot_arch & (ACPI_IAPC_LEGACY_DEVICES | ACPI_IAPC_8042 | ACPI_IAPC_NO_VGA),
                     ACPI_IAPC_LEGACY_DEVICES | ACPI_IAPC_NO_VGA);
    assert_int_equal(fadt->x_dsdt, fadt->dsdt);
    table(fadt->dsdt, ACPI_DSDT);

    assert_int_equal(fadt->firmware_ctrl % 64, 0);
    assert_int_equal(facs->signature, ACPI_FACS);
    assert_int_equal(facs->length, 64);
}

static void test_mcfg(void **state)
{
    const struct acpi_mcfg *mcfg = (const void *)table(xsdt_entry(build(1), 2), ACPI_MCFG);
    const struct acpi_mcfg_allocation *bus = (const void *)(mcfg + 1);

    (void)state;
    assert_int_equal(mcfg->header.length, sizeof(*mcfg) + sizeof(*bus));
    assert_int_equal(bus->base, GUEST_ECAM_BASE);
    assert_int_equal(bus->segment, 0);
    assert_int_equal(bus->first_bus, 0);
    assert_int_equal(bus->last_bus, 0);
}

static void test_madt(void **state)
{
    static const struct {
        unsigned irq, gsi, flags; /* 0xd: level, active high; 0xf: active low */
    } routed[] = { { 0, 2, 0 }, { 9, 9, 0xd }, { 10, 10, 0xf }, { 11, 11, 0xf } };

    (void)state;
    for (unsigned cpus = 1; cpus <= CONFIG_MAX_VCPUS; cpus++) {
        const struct acpi_madt *madt = (const void *)table(xsdt_entry(build(cpus), 1), ACPI_MADT);
        const uint8_t *p = (const uint8_t *)(madt + 1), *end = (const uint8_t *)madt + madt->header.length;
        unsigned lapics = 0, ioapics = 0, overrides = 0, nmis = 0;

        assert_int_equal(madt->lapic_address, GUEST_LAPIC_BASE);
        assert_int_equal(madt->flags, ACPI_MADT_PCAT_COMPAT);
        while (p < end) {
            const struct acpi_madt_entry *entry = (const void *)p;

            if (entry->type == ACPI_MADT_LAPIC) {
                const struct acpi_madt_lapic *lapic = (const void *)p;

                assert_int_equal(lapic->apic_id, lapics);
                assert_int_equal(lapic->processor_uid, lapics++);
                assert_int_equal(lapic->flags, ACPI_CPU_ENABLED);
            } else if (entry->type == ACPI_MADT_IOAPIC) {
                const struct acpi_madt_ioapic *ioapic = (const void *)p;

                ioapics++;
                assert_int_equal(ioapic->address, GUEST_IOAPIC_BASE);
                assert_int_equal(ioapic->gsi_base, 0);
            } else if (entry->type == ACPI_MADT_OVERRIDE) {
                const struct acpi_madt_override *override = (const void *)p;

                assert_true(overrides < ARRAY_SIZE(routed));
                assert_int_equal(override->source, routed[overrides].irq);
                assert_int_equal(override->gsi, routed[overrides].gsi);
                assert_int_equal(override->flags, routed[overrides++].flags);
            } else {
                const struct acpi_madt_lapic_nmi *nmi = (const void *)p;

                nmis++;
                assert_int_equal(entry->type, ACPI_MADT_LAPIC_NMI);
                assert_int_equal(nmi->lint, 1);
                assert_int_equal(nmi->processor_uid, 0xff);
            }
            assert_true(entry->length >= 6);
            p += entry->length;
        }
        assert_ptr_equal(p, end);
        assert_int_equal(lapics, cpus);
        assert_int_equal(ioapics, 1);
        assert_int_equal(overrides, ARRAY_SIZE(routed));
        assert_int_equal(nmis, 1);
    }
}

static const void *map(void *context, hpa_t address, uint64_t size)
{
    (void)context;
    return gmem_ptr(&mem, gpa(address.raw), size);
}

/* Plinth's own parser understands the tables, as Plinth inside a VM would. */
static void test_own_parser(void **state)
{
    static struct acpi_info info;
    const struct acpi_rsdp *root = build(3);

    (void)state;
    assert_int_equal(acpi_parse(&info, root, sizeof(*root), &(struct acpi_source){ .map = map }), 0);
    assert_int_equal(host_log_count, 0);
    assert_int_equal(info.cpu_count, 3);
    assert_int_equal(info.cpu[2].apic_id, 2);
    assert_int_equal(info.lapic.raw, GUEST_LAPIC_BASE);
    assert_true(info.has_8259);
    assert_int_equal(info.nmi_lint, 1);
    assert_int_equal(info.ioapic_count, 1);
    assert_int_equal(info.ioapic[0].address.raw, GUEST_IOAPIC_BASE);
    assert_int_equal(info.isa[0].gsi, 2);
    assert_false(info.isa[0].level);
    assert_int_equal(info.isa[4].gsi, 4);
    assert_true(info.isa[VPM_SCI].level);
    assert_false(info.isa[VPM_SCI].active_low);
    assert_int_equal(info.pm_timer, VPM_PM_TMR);
    assert_true(info.pm_timer_32);
    assert_int_equal(info.pm1a_control, VPM_PM1A_CNT);
    assert_true(info.has_s5);
    assert_int_equal(info.s5_type_a, VPM_S5);
    assert_int_equal(info.reset.address, 0xcf9);
    assert_int_equal(info.reset_value, 6);
}

static void test_refusals(void **state)
{
    struct gmem none = { 0 };

    (void)state;
    assert_int_equal(acpitab_build(&mem, &(struct acpitab_config){ .cpus = 0 }, &rsdp), -EINVAL);
    assert_int_equal(acpitab_build(&mem, &(struct acpitab_config){ .cpus = CONFIG_MAX_VCPUS + 1 }, &rsdp),
                     -EINVAL);
    assert_int_equal(acpitab_build(&none, &(struct acpitab_config){ .cpus = 1 }, &rsdp), -EFAULT);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = { CASE(test_root_tables), CASE(test_fadt),       CASE(test_madt),
                                        CASE(test_mcfg),        CASE(test_own_parser), CASE(test_refusals) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
