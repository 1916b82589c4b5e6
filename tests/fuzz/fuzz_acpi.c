/*
 * Tables of any content. The input is a row of records: a byte that picks the signature, two bytes with the
 * body's length, the body. Headers and checksums are made here, so that the fuzzer reaches what is behind
 * them; an odd first byte spoils one of them.
 */
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/acpi.h"
#include "tests/unit/host/host.h"

#define MEMORY_SIZE 0x20000
#define TABLES_MAX  32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t memory[MEMORY_SIZE];

static void *copies[4 * TABLES_MAX + 8];
static unsigned copy_count;

/* Gives a copy of exactly that size, so that the sanitizer sees any access beyond it. */
static const void *map(void *context, hpa_t at, uint64_t size)
{
    void *copy;

    (void)context;
    if (at.raw >= MEMORY_SIZE || size > MEMORY_SIZE - at.raw ||
        copy_count == sizeof(copies) / sizeof(copies[0]))
        return NULL;
    copy = malloc(size ? size : 1);
    memcpy(copy, memory + at.raw, size);
    copies[copy_count++] = copy;
    return copy;
}

static uint64_t put(uint64_t *next, uint32_t signature, const void *body, size_t size)
{
    uint64_t at = *next;
    struct acpi_header header = { .signature = signature, .length = (uint32_t)(sizeof(header) + size) };

    memcpy(memory + at, &header, sizeof(header));
    if (size)
        memcpy(memory + at + sizeof(header), body, size);
    header.checksum = (uint8_t)-acpi_sum(memory + at, header.length);
    memcpy(memory + at, &header, sizeof(header));
    *next += header.length;
    return at;
}

static void check(const struct acpi_info *info)
{
    if (info->cpu_count > ACPI_MAX_CPUS || info->ioapic_count > ACPI_MAX_IOAPICS ||
        info->segment_count > ACPI_MAX_MCFG)
        abort();
    if (info->nmi_lint > 1 || (info->has_s5 && (info->s5_type_a > 7 || info->s5_type_b > 7)))
        abort();
    if (info->console.present && (info->console.isa_irq >= ACPI_ISA_IRQS || info->console.stride == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t signatures[] = { ACPI_MADT, ACPI_FADT, ACPI_HPET, ACPI_MCFG,
                                           ACPI_SPCR, ACPI_DSDT, ACPI_SSDT };
    static const struct acpi_source source = { .map = map };
    static struct acpi_info info;
    struct acpi_rsdp rsdp = { .revision = 2, .length = sizeof(rsdp) };
    uint64_t tables[TABLES_MAX], next = 0x100, dsdt = 0;
    unsigned count = 0;

    host_log_quiet = true;
    if (size < 1 || size > 16384)
        return 0;

    uint8_t spoil = data[0];

    for (size_t at = 1; at + 3 <= size && count < TABLES_MAX;) {
        uint32_t signature = signatures[data[at] % (sizeof(signatures) / sizeof(signatures[0]))];
        size_t length = (size_t)(data[at + 1] | data[at + 2] << 8);
        uint8_t body[16384];

        at += 3;
        length = length < size - at ? length : size - at;
        memcpy(body, data + at, length);
        at += length;
        if (signature == ACPI_FADT && dsdt && length >= 8)
            memcpy(body + 4, &dsdt, 4); /* its 32-bit pointer to the DSDT */
        tables[count] = put(&next, signature, body, length);
        if (signature == ACPI_DSDT)
            dsdt = tables[count];
        count++;
    }
    rsdp.rsdt = (uint32_t)put(&next, ACPI_RSDT, tables, 4 * count);
    rsdp.xsdt = put(&next, ACPI_XSDT, tables, 8 * count);
    if (spoil & 1)
        memory[rsdp.xsdt + spoil % 36]++;
    memcpy(rsdp.signature, ACPI_RSDP_SIGNATURE, 8);
    rsdp.checksum = (uint8_t)-acpi_sum(&rsdp, ACPI_RSDP_V1_SIZE);
    rsdp.extended_checksum = (uint8_t)-acpi_sum(&rsdp, sizeof(rsdp));
    (void)!acpi_parse(&info, &rsdp, sizeof(rsdp), &source);
    check(&info);
    while (copy_count)
        free(copies[--copy_count]);
    return 0;
}
