/* The VM-entry checker: its entry point and the rules that controls, host and guest have in common. */
#include "vmx/intel/check_rules.h"
#include <stdarg.h>
#include "lib/format.h"

static const char *const cr0_names[32] = {
    [0] = "PE",  [1] = "MP",  [2] = "EM",  [3] = "TS",  [4] = "ET", [5] = "NE",
    [16] = "WP", [18] = "AM", [29] = "NW", [30] = "CD", [31] = "PG"
};
static const char *const cr4_names[32] = { "VME",  "PVI", "TSD",      "DE",         "PSE",     "PAE",  "MCE",
                                           "PGE",  "PCE", "OSFXSR",   "OSXMMEXCPT", "UMIP",    "LA57", "VMXE",
                                           "SMXE", NULL,  "FSGSBASE", "PCIDE",      "OSXSAVE", "KL",   "SMEP",
                                           "SMAP", "PKE", "CET",      "PKS",        "UINTR" };

bool check_fail(struct check *c, const char *name, uint64_t value, const char *fmt, ...)
{
    va_list args;
    int head = format_text(c->text, c->size, "%s 0x%llx: ", name, (unsigned long long)value);

    if ((size_t)head >= c->size)
        return false;
    va_start(args, fmt);
    format_text_v(c->text + head, c->size - (size_t)head, fmt, args);
    va_end(args);
    return false;
}

uint64_t check_read(const struct check *c, enum vmcs_field field)
{
    uint64_t value = c->vmcs->read(c->vmcs->context, field);

    switch ((unsigned)field >> 13 & 3) { /* the width is in bits 14:13 of the encoding (25.11.2) */
    case 0:
        return (uint16_t)value;
    case 2:
        return (uint32_t)value;
    default:
        return value;
    }
}

static bool check_address(struct check *c, const struct field_rule *rule, uint64_t value)
{
    uint64_t beyond = value & check_beyond_physical(c);

    if (value & rule->zero)
        return check_fail(c, rule->name, value, "bits 0x%llx must be 0",
                          (unsigned long long)(value & rule->zero));
    if (beyond)
        return check_fail(c, rule->name, value, "bit %u is beyond the CPU's physical-address width",
                          check_bit(beyond));
    return true;
}

/* What WRMSR to IA32_PAT takes (11.12.2): UC, WC, WT, WP, WB and UC- in each byte. */
static bool check_pat(struct check *c, const char *name, uint64_t pat)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = (uint8_t)(pat >> 8 * i);

        if (type > 7 || type == 2 || type == 3)
            return check_fail(c, name, pat, "byte %u is %u, not a memory type (0, 1, 4 to 7)", i, type);
    }
    return true;
}

static bool check_canonical(struct check *c, const char *name, uint64_t address)
{
    unsigned bits = check_linear_bits(c), unused = 64 - bits;

    if ((uint64_t)((int64_t)(address << unused) >> unused) != address)
        return check_fail(c, name, address, "must be a canonical address (%u bits)", bits);
    return true;
}

static bool check_field(struct check *c, const struct field_rule *rule)
{
    uint64_t value = check_read(c, rule->field);

    switch (rule->kind) {
    case RULE_ZERO:
        if (value & rule->zero)
            return check_fail(c, rule->name, value, "bits 0x%llx must be 0",
                              (unsigned long long)(value & rule->zero));
        return true;
    case RULE_ADDRESS:
        return check_address(c, rule, value);
    case RULE_CANONICAL:
        return check_canonical(c, rule->name, value);
    case RULE_PAT:
        return check_pat(c, rule->name, value);
    }
    return true;
}

bool check_fields(struct check *c, const struct field_rule *rule, size_t count)
{
    for (; count > 0; rule++, count--) {
        if (rule->bit && !check_on(c, rule->word, rule->bit))
            continue;
        if (!check_field(c, rule))
            return false;
    }
    return true;
}

static bool check_fixed(struct check *c, const char *name, uint64_t value, unsigned number, uint64_t fixed0,
                        uint64_t fixed1)
{
    uint64_t low = fixed0 & ~value, high = value & ~fixed1;
    unsigned bit;
    const char *bit_name;

    if (!low && !high)
        return true;
    bit = check_bit(low ? low : high);
    bit_name = bit >= 32 ? NULL : number == 0 ? cr0_names[bit] : cr4_names[bit];
    return check_fail(c, name, value, "bit %u (%s) must be %u (IA32_VMX_CR%u_FIXED%u)", bit,
                      bit_name ? bit_name : "reserved", low != 0, number, low == 0);
}

bool check_cr0(struct check *c, const char *name, uint64_t cr0, uint64_t ignore)
{
    uint64_t fixed0 = c->cap->cr0_fixed0 & ~ignore, fixed1 = c->cap->cr0_fixed1 | ignore;

    return check_fixed(c, name, cr0, 0, fixed0, fixed1);
}

bool check_cr4(struct check *c, const char *name, uint64_t cr4)
{
    return check_fixed(c, name, cr4, 4, c->cap->cr4_fixed0, c->cap->cr4_fixed1);
}

bool check_efer_reserved(struct check *c, const char *name, uint64_t efer)
{
    uint64_t reserved = efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);

    if (reserved)
        return check_fail(c, name, efer, "bit %u is reserved", check_bit(reserved));
    return true;
}

bool vmcs_check(const struct vmcs_view *vmcs, char *text, size_t size)
{
    struct check c = { .vmcs = vmcs, .cap = vmcs->cap, .text = text, .size = size };

    if (size > 0)
        text[0] = 0;
    c.control[CONTROL_PIN] = check_read(&c, VMCS_PIN_CONTROLS);
    c.control[CONTROL_PRIMARY] = check_read(&c, VMCS_PRIMARY_CONTROLS);
    if (c.control[CONTROL_PRIMARY] & PRIMARY_SECONDARY)
        c.control[CONTROL_SECONDARY] = check_read(&c, VMCS_SECONDARY_CONTROLS);
    c.control[CONTROL_EXIT] = check_read(&c, VMCS_EXIT_CONTROLS);
    c.control[CONTROL_ENTRY] = check_read(&c, VMCS_ENTRY_CONTROLS);
    return check_controls(&c) && check_host(&c) && check_guest(&c);
}
