#include "arch/x86_64/acpi.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/string.h"

#define TABLES_MAX     256
#define TABLE_SIZE_MAX (16 * MiB)

/* AML opcodes. Source: ACPI specification 6.4, 20.3. */
#define AML_ZERO    0x00
#define AML_ONE     0x01
#define AML_NAME    0x08
#define AML_BYTE    0x0a
#define AML_WORD    0x0b
#define AML_DWORD   0x0c
#define AML_PACKAGE 0x12
#define AML_ROOT    '\\'

struct parser {
    struct acpi_info *info;
    const struct acpi_source *source;
    bool found; /* at least one table was good */
};

/*
 * A good table at `at`, or NULL with the reason logged.
 * An address of 0 means that there is no such table: then silently.
 */
static const struct acpi_header *map_table(const struct acpi_source *source, hpa_t at)
{
    const struct acpi_header *header;
    const char *wrong = NULL;
    uint32_t length;

    if (at.raw == 0)
        return NULL;
    header = source->map(source->context, at, sizeof(*header));
    if (!header) {
        log_warn("acpi: table at %llx: no memory is there: ignored", (unsigned long long)at.raw);
        return NULL;
    }
    length = header->length;
    if (length < sizeof(*header) || length > TABLE_SIZE_MAX)
        wrong = "impossible length";
    else if (!(header = source->map(source->context, at, length)))
        wrong = "longer than its memory";
    else if (acpi_sum(header, length) != 0)
        wrong = "bad checksum";
    if (wrong) {
        log_warn("acpi: table at %llx: %s: ignored", (unsigned long long)at.raw, wrong);
        return NULL;
    }
    return header;
}

/*
 * A CPU that is not enabled but may be later (online-capable) has still to be plugged in (5.2.12.2): Plinth
 * does not do that. `broadcast` is no CPU's id; firmware gives it to places where none is.
 */
static void add_cpu(struct acpi_info *info, uint32_t apic_id, uint32_t broadcast, uint32_t uid,
                    uint32_t flags)
{
    if ((flags & ACPI_CPU_ENABLED) == 0 || apic_id == broadcast)
        return;
    for (unsigned i = 0; i < info->cpu_count; i++)
        if (info->cpu[i].apic_id == apic_id)
            return;
    if (info->cpu_count < ACPI_MAX_CPUS)
        info->cpu[info->cpu_count++] = (struct acpi_cpu){ apic_id, uid };
    else
        log_warn("acpi: CPU with APIC id %u is more than Plinth can note: ignored", apic_id);
}

static void add_ioapic(struct acpi_info *info, const struct acpi_madt_ioapic *entry)
{
    if (info->ioapic_count < ACPI_MAX_IOAPICS && entry->address != 0)
        info->ioapic[info->ioapic_count++] = (struct acpi_ioapic){ hpa(entry->address), entry->gsi_base };
    else
        log_warn("acpi: I/O APIC at %x ignored", entry->address);
}

static void add_override(struct acpi_info *info, const struct acpi_madt_override *entry)
{
    if (entry->bus != 0 || entry->source >= ACPI_ISA_IRQS) {
        log_warn("acpi: override of bus %u, source %u ignored", entry->bus, entry->source);
        return;
    }
    info->isa[entry->source] = (struct acpi_isa_irq){
        .gsi = entry->gsi,
        .level = (entry->flags & ACPI_INTI_TRIGGER) == ACPI_INTI_LEVEL,
        .active_low = (entry->flags & ACPI_INTI_POLARITY) == ACPI_INTI_LOW,
    };
}

static void add_nmi(struct acpi_info *info, bool all_cpus, uint8_t lint, uint16_t flags)
{
    if (!all_cpus || lint > 1)
        return;
    info->nmi_lint = lint;
    info->nmi_active_low = (flags & ACPI_INTI_POLARITY) == ACPI_INTI_LOW;
}

static size_t madt_entry_size(uint8_t type)
{
    switch (type) {
    case ACPI_MADT_LAPIC:
        return sizeof(struct acpi_madt_lapic);
    case ACPI_MADT_IOAPIC:
        return sizeof(struct acpi_madt_ioapic);
    case ACPI_MADT_OVERRIDE:
        return sizeof(struct acpi_madt_override);
    case ACPI_MADT_LAPIC_NMI:
        return sizeof(struct acpi_madt_lapic_nmi);
    case ACPI_MADT_LAPIC_ADDRESS:
        return sizeof(struct acpi_madt_lapic_address);
    case ACPI_MADT_X2APIC:
        return sizeof(struct acpi_madt_x2apic);
    case ACPI_MADT_X2APIC_NMI:
        return sizeof(struct acpi_madt_x2apic_nmi);
    default:
        return sizeof(struct acpi_madt_entry);
    }
}

static void parse_madt_entry(struct acpi_info *info, const void *at)
{
    const struct acpi_madt_entry *entry = at;
    const struct acpi_madt_lapic *lapic = at;
    const struct acpi_madt_lapic_nmi *nmi = at;
    const struct acpi_madt_lapic_address *address = at;
    const struct acpi_madt_x2apic *x2apic = at;
    const struct acpi_madt_x2apic_nmi *x2apic_nmi = at;

    switch (entry->type) {
    case ACPI_MADT_LAPIC:
        add_cpu(info, lapic->apic_id, 0xff, lapic->processor_uid, lapic->flags);
        break;
    case ACPI_MADT_IOAPIC:
        add_ioapic(info, at);
        break;
    case ACPI_MADT_OVERRIDE:
        add_override(info, at);
        break;
    case ACPI_MADT_LAPIC_NMI:
        add_nmi(info, nmi->processor_uid == 0xff, nmi->lint, nmi->flags);
        break;
    case ACPI_MADT_LAPIC_ADDRESS:
        info->lapic = hpa(address->address);
        break;
    case ACPI_MADT_X2APIC:
        add_cpu(info, x2apic->apic_id, UINT32_MAX, x2apic->processor_uid, x2apic->flags);
        break;
    case ACPI_MADT_X2APIC_NMI:
        add_nmi(info, x2apic_nmi->processor_uid == UINT32_MAX, x2apic_nmi->lint, x2apic_nmi->flags);
        break;
    default:
        break;
    }
}

static void parse_madt(struct parser *parser, const struct acpi_header *header)
{
    const struct acpi_madt *madt = (const void *)header;
    const uint8_t *bytes = (const uint8_t *)header;

    if (header->length < sizeof(*madt)) {
        log_warn("acpi: the MADT is too short: ignored");
        return;
    }
    parser->info->lapic = hpa(madt->lapic_address);
    parser->info->has_8259 = (madt->flags & ACPI_MADT_PCAT_COMPAT) != 0;
    for (size_t at = sizeof(*madt); at + sizeof(struct acpi_madt_entry) <= header->length;) {
        const struct acpi_madt_entry *entry = (const void *)(bytes + at);

        if (entry->length < sizeof(*entry) || entry->length > header->length - at) {
            log_warn("acpi: the MADT has an entry of impossible length at offset %zu: the rest is ignored",
                     at);
            return;
        }
        if (entry->length >= madt_entry_size(entry->type))
            parse_madt_entry(parser->info, entry);
        at += entry->length;
    }
}

/*
 * The port of a register block: the extended address if it names
 * a port, else the old field; 0 if neither does.
 */
static uint16_t fadt_port(const struct acpi_address *extended, uint32_t old)
{
    if (extended->space == ACPI_SPACE_IO && extended->address != 0 && extended->address <= UINT16_MAX)
        return (uint16_t)extended->address;
    return old <= UINT16_MAX ? (uint16_t)old : 0;
}

static void parse_dsdt(struct parser *parser, hpa_t at)
{
    const struct acpi_header *dsdt = map_table(parser->source, at);
    struct acpi_info *info = parser->info;

    if (dsdt)
        info->has_s5 = acpi_find_s5((const uint8_t *)(dsdt + 1), dsdt->length - sizeof(*dsdt),
                                    &info->s5_type_a, &info->s5_type_b);
}

static void parse_fadt(struct parser *parser, const struct acpi_header *header)
{
    struct acpi_info *info = parser->info;
    struct acpi_fadt fadt = { 0 };

    if (header->length < ACPI_FADT_V1_SIZE) {
        log_warn("acpi: the FADT is too short: ignored");
        return;
    }
    memcpy(&fadt, header, min_u64(header->length, sizeof(fadt))); /* fields that an older one lacks are 0 */
    info->has_fadt = true;
    info->hardware_reduced = (fadt.flags & ACPI_FADT_HW_REDUCED) != 0;
    info->iapc_boot_arch = fadt.iapc_boot_arch;
    if (!info->hardware_reduced) {
        if (fadt.pm_tmr_len == 4)
            info->pm_timer = fadt_port(&fadt.x_pm_tmr_blk, fadt.pm_tmr_blk);
        info->pm_timer_32 = (fadt.flags & ACPI_FADT_TMR_VAL_EXT) != 0;
        info->pm1a_control = fadt_port(&fadt.x_pm1a_cnt_blk, fadt.pm1a_cnt_blk);
        info->pm1b_control = fadt_port(&fadt.x_pm1b_cnt_blk, fadt.pm1b_cnt_blk);
        info->smi_command = fadt.smi_cmd <= UINT16_MAX ? (uint16_t)fadt.smi_cmd : 0;
        info->acpi_enable = fadt.acpi_enable;
    }
    if ((fadt.flags & ACPI_FADT_RESET_REG_SUP) != 0) {
        info->reset = fadt.reset_reg;
        info->reset_value = fadt.reset_value;
    }
    parse_dsdt(parser, hpa(fadt.x_dsdt ? fadt.x_dsdt : fadt.dsdt));
}

static void parse_hpet(struct parser *parser, const struct acpi_header *header)
{
    const struct acpi_hpet *hpet = (const void *)header;

    if (header->length >= sizeof(*hpet) && hpet->address.space == ACPI_SPACE_MEMORY &&
        parser->info->hpet.raw == 0)
        parser->info->hpet = hpa(hpet->address.address);
}

static void parse_mcfg(struct parser *parser, const struct acpi_header *header)
{
    const struct acpi_mcfg *mcfg = (const void *)header;
    const struct acpi_mcfg_allocation *allocation = (const void *)(mcfg + 1);
    struct acpi_info *info = parser->info;
    size_t count = header->length < sizeof(*mcfg) ? 0
                                                  : (header->length - sizeof(*mcfg)) / sizeof(*allocation);

    for (size_t i = 0; i < count && info->segment_count < ACPI_MAX_MCFG; i++) {
        if (allocation[i].base == 0 || allocation[i].last_bus < allocation[i].first_bus)
            continue;
        info->segment[info->segment_count++] = (struct acpi_segment){
            hpa(allocation[i].base), allocation[i].segment, allocation[i].first_bus, allocation[i].last_bus
        };
    }
}

static uint32_t spcr_baud(uint8_t code)
{
    static const uint32_t bauds[] = { 0, 0, 0, 9600, 19200, 0, 57600, 115200 };

    return code < ARRAY_SIZE(bauds) ? bauds[code] : 0;
}

static void parse_spcr(struct parser *parser, const struct acpi_header *header)
{
    const struct acpi_spcr *spcr = (const void *)header;
    struct acpi_console *console = &parser->info->console;

    if (header->length < sizeof(*spcr) || spcr->address.address == 0)
        return;
    if (spcr->interface != ACPI_SPCR_16550 && spcr->interface != ACPI_SPCR_16450 &&
        spcr->interface != ACPI_SPCR_16550_GAS)
        return;
    if (spcr->address.space != ACPI_SPACE_MEMORY &&
        (spcr->address.space != ACPI_SPACE_IO || spcr->address.address > UINT16_MAX - 7))
        return;
    *console = (struct acpi_console){
        .present = true,
        .mmio = spcr->address.space == ACPI_SPACE_MEMORY,
        .base = spcr->address.address,
        .stride = spcr->address.space == ACPI_SPACE_MEMORY && spcr->address.access_size == 3 ? 4 : 1,
        .baud = spcr_baud(spcr->baud),
        .isa_irq = -1,
        .gsi = -1,
    };
    if ((spcr->interrupt_type & ACPI_SPCR_INT_8259) != 0 && spcr->irq < ACPI_ISA_IRQS)
        console->isa_irq = spcr->irq;
    if ((spcr->interrupt_type & ACPI_SPCR_INT_IOAPIC) != 0)
        console->gsi = spcr->gsi;
}

static void parse_table(struct parser *parser, hpa_t at)
{
    static const struct {
        uint32_t signature;
        void (*parse)(struct parser *parser, const struct acpi_header *header);
    } kinds[] = {
        { ACPI_MADT, parse_madt }, { ACPI_FADT, parse_fadt }, { ACPI_HPET, parse_hpet },
        { ACPI_MCFG, parse_mcfg }, { ACPI_SPCR, parse_spcr },
    };
    const struct acpi_header *header = map_table(parser->source, at);

    if (!header)
        return;
    parser->found = true;
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        if (header->signature == kinds[i].signature)
            kinds[i].parse(parser, header);
}

/* Goes through the addresses in the RSDT (4 bytes each) or XSDT (8 bytes each). */
static void parse_root(struct parser *parser, const struct acpi_header *root, size_t width)
{
    const uint8_t *entry = (const uint8_t *)(root + 1);
    size_t count = (root->length - sizeof(*root)) / width;

    if (count > TABLES_MAX) {
        log_warn("acpi: the root table lists %zu tables: only %d are read", count, TABLES_MAX);
        count = TABLES_MAX;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t address = 0;

        memcpy(&address, entry + i * width, width);
        parse_table(parser, hpa(address));
    }
}

static void set_defaults(struct acpi_info *info)
{
    memset(info, 0, sizeof(*info));
    info->lapic = hpa(UINT64_C(0xfee00000));
    info->has_8259 = true;
    info->nmi_lint = -1;
    for (unsigned i = 0; i < ACPI_ISA_IRQS; i++)
        info->isa[i].gsi = i;
}

int acpi_parse(struct acpi_info *info, const void *rsdp_bytes, size_t rsdp_size,
               const struct acpi_source *source)
{
    struct parser parser = { .info = info, .source = source };
    struct acpi_rsdp rsdp = { 0 };
    const struct acpi_header *root = NULL;

    set_defaults(info);
    if (rsdp_size < ACPI_RSDP_V1_SIZE)
        return -ENODEV;
    memcpy(&rsdp, rsdp_bytes, min_u64(rsdp_size, sizeof(rsdp)));
    if (memcmp(rsdp.signature, ACPI_RSDP_SIGNATURE, sizeof(rsdp.signature)) != 0 ||
        acpi_sum(&rsdp, ACPI_RSDP_V1_SIZE) != 0) {
        log_warn("acpi: the RSDP is damaged: no ACPI tables are used");
        return -ENODEV;
    }
    if (rsdp.revision >= 2 && rsdp_size >= sizeof(rsdp) && acpi_sum(&rsdp, sizeof(rsdp)) == 0)
        root = map_table(source, hpa(rsdp.xsdt));
    if (root && root->signature == ACPI_XSDT) {
        parse_root(&parser, root, 8);
    } else {
        root = map_table(source, hpa(rsdp.rsdt));
        if (root && root->signature == ACPI_RSDT)
            parse_root(&parser, root, 4);
    }
    if (!parser.found)
        log_warn("acpi: no usable table was found");
    return parser.found ? 0 : -ENODEV;
}

/* An integer constant below 256 at *at; moves past it. */
static bool aml_small_integer(const uint8_t *aml, size_t size, size_t *at, uint8_t *value)
{
    static const uint8_t widths[] = { [AML_BYTE] = 1, [AML_WORD] = 2, [AML_DWORD] = 4 };
    uint8_t opcode;

    if (*at >= size)
        return false;
    opcode = aml[(*at)++];
    if (opcode == AML_ZERO || opcode == AML_ONE) {
        *value = opcode;
        return true;
    }
    if (opcode >= ARRAY_SIZE(widths) || widths[opcode] == 0 || widths[opcode] > size - *at)
        return false;
    *value = aml[*at];
    *at += widths[opcode];
    return true;
}

/* Whether a name definition of _S5_ starts at `at`: DefName := NameOp NameString DataRefObject (20.2.5.1). */
static bool is_s5_name(const uint8_t *aml, size_t at)
{
    if (memcmp(aml + at, "_S5_", 4) != 0)
        return false;
    return (at >= 1 && aml[at - 1] == AML_NAME) ||
           (at >= 2 && aml[at - 1] == AML_ROOT && aml[at - 2] == AML_NAME);
}

bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t *type_a, uint8_t *type_b)
{
    for (size_t at = 0; at + 4 < size; at++) {
        size_t next = at + 4;

        if (!is_s5_name(aml, at) || aml[next++] != AML_PACKAGE || next >= size)
            continue;
        next += 1 + (aml[next] >>
                     6); /* PkgLength: bits 7-6 of its first byte count the bytes that follow (20.2.4) */
        if (next >= size || aml[next] < 2)
            continue;
        next++;
        if (aml_small_integer(aml, size, &next, type_a) && aml_small_integer(aml, size, &next, type_b))
            return *type_a <= 7 && *type_b <= 7;
    }
    return false;
}
