#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "arch/x86_64/acpi.h"
#include "tests/unit/host/host.h"

/* Physical memory of a small machine: tables are put one after the other, from address 0x1000. */
#define MEMORY_SIZE 0x10000

static uint8_t memory[MEMORY_SIZE];
static uint64_t next;
static uint64_t tables[32];
static unsigned table_count;
static struct acpi_info info;

static const void *map(void *context, hpa_t at, uint64_t size)
{
    (void)context;
    return at.raw < MEMORY_SIZE && size <= MEMORY_SIZE - at.raw ? memory + at.raw : NULL;
}

static const struct acpi_source source = { .map = map };

static int setup(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    next = 0x1000;
    table_count = 0;
    host_log_count = 0;
    host_log_quiet = true;
    return 0;
}

static void seal(uint64_t at)
{
    struct acpi_header *header = (void *)(memory + at);

    header->checksum = 0;
    header->checksum = (uint8_t)-acpi_sum(header, header->length);
}

/* Puts a table with a good header into memory; returns its address. */
static uint64_t put(uint32_t signature, const void *body, size_t size)
{
    uint64_t at = next;
    struct acpi_header header = { .signature = signature,
                                  .length = (uint32_t)(sizeof(header) + size),
                                  .revision = 1 };

    memcpy(memory + at, &header, sizeof(header));
    if (size)
        memcpy(memory + at + sizeof(header), body, size);
    seal(at);
    next = (at + header.length + 15) & ~UINT64_C(15);
    return at;
}

static uint64_t add(uint32_t signature, const void *body, size_t size)
{
    return tables[table_count++] = put(signature, body, size);
}

static struct acpi_rsdp make_rsdp(void)
{
    struct acpi_rsdp rsdp = { .revision = 2, .length = sizeof(rsdp) };
    uint32_t narrow[32];

    for (unsigned i = 0; i < table_count; i++)
        narrow[i] = (uint32_t)tables[i];
    memcpy(rsdp.signature, ACPI_RSDP_SIGNATURE, 8);
    rsdp.rsdt = (uint32_t)put(ACPI_RSDT, narrow, 4 * table_count);
    rsdp.xsdt = put(ACPI_XSDT, tables, 8 * table_count);
    rsdp.checksum = (uint8_t)-acpi_sum(&rsdp, ACPI_RSDP_V1_SIZE);
    rsdp.extended_checksum = (uint8_t)-acpi_sum(&rsdp, sizeof(rsdp));
    return rsdp;
}

static int parse(void)
{
    struct acpi_rsdp rsdp = make_rsdp();

    return acpi_parse(&info, &rsdp, sizeof(rsdp), &source);
}

/* A MADT as of a PC with two CPUs, the timer moved to input 2, the SCI level and low. */
static const struct {
    uint32_t lapic, flags;
    struct acpi_madt_lapic cpu[4];
    struct acpi_madt_ioapic ioapic;
    struct acpi_madt_override timer, sci;
    struct acpi_madt_lapic_nmi nmi;
    struct acpi_madt_lapic_address address;
    struct acpi_madt_x2apic far;
} __packed madt_body = {
    .lapic = 0xfee00000,
    .flags = ACPI_MADT_PCAT_COMPAT,
    .cpu = { { { ACPI_MADT_LAPIC, 8 }, 0, 0, ACPI_CPU_ENABLED },
             { { ACPI_MADT_LAPIC, 8 }, 1, 4, ACPI_CPU_ENABLED },
             { { ACPI_MADT_LAPIC, 8 }, 2, 6, 0 },
             { { ACPI_MADT_LAPIC, 8 }, 3, 4, ACPI_CPU_ENABLED } },
    .ioapic = { { ACPI_MADT_IOAPIC, 12 }, 0, 0, 0xfec00000, 0 },
    .timer = { { ACPI_MADT_OVERRIDE, 10 }, 0, 0, 2, 0 },
    .sci = { { ACPI_MADT_OVERRIDE, 10 }, 0, 9, 20, ACPI_INTI_LEVEL | ACPI_INTI_LOW },
    .nmi = { { ACPI_MADT_LAPIC_NMI, 6 }, 0xff, 0, 1 },
    .address = { { ACPI_MADT_LAPIC_ADDRESS, 12 }, 0, UINT64_C(0x1fee00000) },
    .far = { { ACPI_MADT_X2APIC, 16 }, 0, 0x1234, ACPI_CPU_ENABLED, 77 },
};

static void madt(void **state)
{
    (void)state;
    add(ACPI_MADT, &madt_body, sizeof(madt_body));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 3); /* the disabled one and the second with id 4 do not count */
    assert_int_equal(info.cpu[1].apic_id, 4);
    assert_int_equal(info.cpu[2].apic_id, 0x1234);
    assert_int_equal(info.cpu[2].uid, 77);
    assert_int_equal(info.lapic.raw, UINT64_C(0x1fee00000));
    assert_true(info.has_8259);
    assert_int_equal(info.ioapic_count, 1);
    assert_int_equal(info.ioapic[0].address.raw, 0xfec00000);
    assert_int_equal(info.isa[0].gsi, 2);
    assert_false(info.isa[0].level);
    assert_int_equal(info.isa[4].gsi, 4);
    assert_int_equal(info.isa[9].gsi, 20);
    assert_true(info.isa[9].level);
    assert_true(info.isa[9].active_low);
    assert_int_equal(info.nmi_lint, 1);
    assert_int_equal(host_log_count, 0);
}

/* CPUs that are there, by either kind of entry; not those to be plugged in, nor places without one. */
static void madt_lists_the_cpus_that_are_there(void **state)
{
    static const struct {
        uint32_t lapic, flags;
        struct acpi_madt_lapic cpu[3];
        struct acpi_madt_x2apic far[5];
    } __packed body = {
        .cpu = { { { ACPI_MADT_LAPIC, 8 }, 0, 0, ACPI_CPU_ENABLED },
                 { { ACPI_MADT_LAPIC, 8 }, 1, 1, ACPI_CPU_ONLINE_CAPABLE },
                 { { ACPI_MADT_LAPIC, 8 }, 2, 0xff, ACPI_CPU_ENABLED } },
        .far = { { { ACPI_MADT_X2APIC, 16 }, 0, 0, ACPI_CPU_ENABLED, 0 },
                 { { ACPI_MADT_X2APIC, 16 }, 0, 0xff, ACPI_CPU_ENABLED, 10 },
                 { { ACPI_MADT_X2APIC, 16 }, 0, 0x100, ACPI_CPU_ENABLED | ACPI_CPU_ONLINE_CAPABLE, 11 },
                 { { ACPI_MADT_X2APIC, 16 }, 0, 0x101, ACPI_CPU_ONLINE_CAPABLE, 12 },
                 { { ACPI_MADT_X2APIC, 16 }, 0, UINT32_MAX, ACPI_CPU_ENABLED, 13 } },
    };

    (void)state;
    add(ACPI_MADT, &body, sizeof(body));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 3);
    assert_int_equal(info.cpu[0].apic_id, 0);
    assert_int_equal(info.cpu[1].apic_id, 0xff);
    assert_int_equal(info.cpu[1].uid, 10);
    assert_int_equal(info.cpu[2].apic_id, 0x100);
}

static void madt_entry_of_impossible_length_ends_it(void **state)
{
    (void)state;
    uint64_t at = add(ACPI_MADT, &madt_body, sizeof(madt_body));

    memory[at + sizeof(struct acpi_madt) + 8 + 1] = 1; /* the second entry's length */
    seal(at);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 1);
    assert_int_equal(info.ioapic_count, 0);
    assert_non_null(strstr(host_log_last, "impossible length"));

    setup(NULL);
    at = add(ACPI_MADT, &madt_body, sizeof(madt_body));
    memory[at + sizeof(struct acpi_madt_entry) + sizeof(struct acpi_madt) + sizeof(madt_body) - 8 - 16 - 2 +
           1] = 200;
    seal(at);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 2); /* the last entry would reach beyond the table */
}

/* DefName(\_S5, Package () { 5, One, 0, 0 }) among other bytes. */
static const uint8_t dsdt_body[] = { 0x10, 0x20, '_',  'S',  '5',  '_',  0x08, '\\', '_',  'S', '5',
                                     '_',  0x12, 0x07, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00, 0x14 };

static struct acpi_fadt make_fadt(uint64_t dsdt)
{
    return (struct acpi_fadt){
        .dsdt = (uint32_t)dsdt,
        .smi_cmd = 0xb2,
        .acpi_enable = 0xa0,
        .pm1a_cnt_blk = 0x404,
        .pm_tmr_blk = 0x408,
        .pm_tmr_len = 4,
        .flags = ACPI_FADT_RESET_REG_SUP | ACPI_FADT_TMR_VAL_EXT,
        .reset_reg = { .space = ACPI_SPACE_IO, .bit_width = 8, .address = 0xcf9 },
        .reset_value = 6,
        .x_pm1a_cnt_blk = { .space = ACPI_SPACE_IO, .bit_width = 16, .address = 0x604 },
    };
}

static void add_fadt(const struct acpi_fadt *fadt, size_t size)
{
    add(ACPI_FADT, (const uint8_t *)fadt + sizeof(fadt->header), size - sizeof(fadt->header));
}

static void fadt(void **state)
{
    struct acpi_fadt table = make_fadt(put(ACPI_DSDT, dsdt_body, sizeof(dsdt_body)));

    (void)state;
    add_fadt(&table, sizeof(table));
    assert_int_equal(parse(), 0);
    assert_true(info.has_fadt);
    assert_int_equal(info.pm1a_control, 0x604); /* the extended field wins */
    assert_int_equal(info.pm1b_control, 0);
    assert_int_equal(info.pm_timer, 0x408);
    assert_true(info.pm_timer_32);
    assert_int_equal(info.smi_command, 0xb2);
    assert_int_equal(info.reset.address, 0xcf9);
    assert_int_equal(info.reset_value, 6);
    assert_true(info.has_s5);
    assert_int_equal(info.s5_type_a, 5);
    assert_int_equal(info.s5_type_b, 1);
}

static void old_fadt_has_no_reset_register(void **state)
{
    struct acpi_fadt table = make_fadt(0);

    (void)state;
    add_fadt(&table, ACPI_FADT_V1_SIZE);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.pm1a_control, 0x404);
    assert_int_equal(info.reset.address, 0);

    setup(NULL);
    add_fadt(&table, ACPI_FADT_V1_SIZE - 1);
    assert_int_equal(parse(), 0);
    assert_false(info.has_fadt);
}

static void s5_in_odd_forms(void **state)
{
    static const uint8_t truncated[] = { 0x08, '_', 'S', '5', '_', 0x12, 0x07, 0x04, 0x0a };
    static const uint8_t long_length[] = { 0x08, '_',  'S',  '5',  '_',  0x12, 0x47,
                                           0x00, 0x02, 0x0b, 0x03, 0x00, 0x0a, 0x02 };
    static const uint8_t too_large[] = { 0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x0a, 0x09, 0x00 };
    static const uint8_t not_a_package[] = { 0x08, '_', 'S', '5', '_', 0x0a, 0x05, 0, 0, 0 };
    uint8_t a = 0, b = 0;

    (void)state;
    assert_false(acpi_find_s5(truncated, sizeof(truncated), &a, &b));
    for (size_t size = 0; size < sizeof(dsdt_body); size++) {
        uint8_t *copy = malloc(size ? size : 1);

        memcpy(copy, dsdt_body, size);
        if (size < 18)
            assert_false(acpi_find_s5(copy, size, &a, &b));
        free(copy);
    }
    assert_true(acpi_find_s5(long_length, sizeof(long_length), &a, &b));
    assert_int_equal(a, 3);
    assert_int_equal(b, 2);
    assert_false(acpi_find_s5(too_large, sizeof(too_large), &a, &b));
    assert_false(acpi_find_s5(not_a_package, sizeof(not_a_package), &a, &b));
}

static void small_tables(void **state)
{
    static const struct {
        uint32_t id;
        struct acpi_address address;
        uint8_t rest[4];
    } __packed hpet = { 0x8086a201, { .space = ACPI_SPACE_MEMORY, .address = 0xfed00000 }, { 0 } };
    static const struct {
        uint64_t reserved;
        struct acpi_mcfg_allocation allocation[2];
        uint8_t half[8];
    } __packed mcfg = { 0, { { 0xb0000000, 0, 0, 255, 0 }, { 0xc0000000, 1, 9, 8, 0 } }, { 0 } };
    struct acpi_spcr spcr = {
        .interface = ACPI_SPCR_16550,
        .address = { .space = ACPI_SPACE_IO, .bit_width = 8, .address = 0x2f8 },
        .interrupt_type = ACPI_SPCR_INT_8259 | ACPI_SPCR_INT_IOAPIC,
        .irq = 3,
        .gsi = 3,
        .baud = 7,
    };

    (void)state;
    add(ACPI_HPET, &hpet, sizeof(hpet));
    add(ACPI_MCFG, &mcfg, sizeof(mcfg));
    add(ACPI_SPCR, (uint8_t *)&spcr + sizeof(spcr.header), sizeof(spcr) - sizeof(spcr.header));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.hpet.raw, 0xfed00000);
    assert_int_equal(info.segment_count, 1); /* the second ends before it starts, the third is half there */
    assert_int_equal(info.segment[0].last_bus, 255);
    assert_true(info.console.present);
    assert_false(info.console.mmio);
    assert_int_equal(info.console.base, 0x2f8);
    assert_int_equal(info.console.isa_irq, 3);
    assert_int_equal(info.console.baud, 115200);

    setup(NULL);
    spcr.address = (struct acpi_address){ .space = ACPI_SPACE_MEMORY,
                                          .access_size = 3,
                                          .address = 0xfe000000 };
    spcr.interrupt_type = 0;
    add(ACPI_SPCR, (uint8_t *)&spcr + sizeof(spcr.header), sizeof(spcr) - sizeof(spcr.header));
    assert_int_equal(parse(), 0);
    assert_true(info.console.mmio);
    assert_int_equal(info.console.stride, 4);
    assert_int_equal(info.console.isa_irq, -1);
    assert_int_equal(info.console.gsi, -1);
}

static void bad_tables_are_skipped(void **state)
{
    (void)state;
    uint64_t damaged = add(ACPI_MADT, &madt_body, sizeof(madt_body));
    struct acpi_fadt table = make_fadt(0);

    add_fadt(&table, sizeof(table));
    tables[table_count++] = MEMORY_SIZE - 8; /* nothing there */
    memory[damaged + 60]++;
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 0);
    assert_true(info.has_fadt);
    assert_int_equal(host_log_count, 2);
}

static void damaged_xsdt_falls_back_to_rsdt(void **state)
{
    struct acpi_rsdp rsdp;

    (void)state;
    add(ACPI_MADT, &madt_body, sizeof(madt_body));
    rsdp = make_rsdp();
    memory[rsdp.xsdt + 40]++;
    assert_int_equal(acpi_parse(&info, &rsdp, sizeof(rsdp), &source), 0);
    assert_int_equal(info.cpu_count, 3);
}

static void without_tables_there_are_defaults(void **state)
{
    struct acpi_rsdp rsdp;

    (void)state;
    add(ACPI_MADT, &madt_body, sizeof(madt_body));
    rsdp = make_rsdp();
    rsdp.oem_id[0]++;
    assert_int_equal(acpi_parse(&info, &rsdp, sizeof(rsdp), &source), -19);
    assert_int_equal(info.cpu_count, 0);
    assert_true(info.has_8259);
    assert_int_equal(info.isa[7].gsi, 7);
    assert_int_equal(info.nmi_lint, -1);
    assert_int_equal(acpi_parse(&info, NULL, 0, &source), -19);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(madt, setup),
        cmocka_unit_test_setup(madt_lists_the_cpus_that_are_there, setup),
        cmocka_unit_test_setup(madt_entry_of_impossible_length_ends_it, setup),
        cmocka_unit_test_setup(fadt, setup),
        cmocka_unit_test_setup(old_fadt_has_no_reset_register, setup),
        cmocka_unit_test_setup(s5_in_odd_forms, setup),
        cmocka_unit_test_setup(small_tables, setup),
        cmocka_unit_test_setup(bad_tables_are_skipped, setup),
        cmocka_unit_test_setup(damaged_xsdt_falls_back_to_rsdt, setup),
        cmocka_unit_test_setup(without_tables_there_are_defaults, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
