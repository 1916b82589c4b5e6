/* VM-entry checks on the guest's segment registers. Source: Intel SDM vol. 3, 27.3.1.2. */
#include "vmx/intel/check_rules.h"
#include "vmx/decode.h"

#define SEGMENTS     (VMCS_TR + 1)
#define V8086_LIMIT  0xffffu
#define V8086_ACCESS 0xf3u /* present, DPL 3, read/write data, accessed */

#define TYPE_DATA_RW      3u /* expand-up, accessed */
#define TYPE_DATA_RW_DOWN 7u /* expand-down, accessed */
#define TYPE_CODE         9u /* 9 and 11: accessed; 13 and 15: conforming, too */
#define TYPE_LDT          2u
#define TYPE_TSS_16_BUSY  3u
#define TYPE_TSS_BUSY     11u
#define TYPE_ACCESSED     1u
#define TYPE_READABLE     2u
#define TYPE_CONFORMING   4u
#define TYPE_IS_CODE      8u

struct segment {
    uint64_t selector, base, limit, access;
    bool checked; /* CS always, the others if usable: most rules hold only then */
};

struct segments {
    struct segment s[SEGMENTS];
    bool v8086, ia32e, unrestricted, protected;
};

#define NAMES(s)                                                                                             \
    {                                                                                                        \
        "guest " s " selector", "guest " s " base", "guest " s " limit", "guest " s " access rights"         \
    }
static const struct {
    const char *selector, *base, *limit, *access;
} names[SEGMENTS] = { NAMES("ES"), NAMES("CS"), NAMES("SS"),   NAMES("DS"),
                      NAMES("FS"), NAMES("GS"), NAMES("LDTR"), NAMES("TR") };

static enum vmcs_field field_of(enum vmcs_field of_es, unsigned n)
{
    return (enum vmcs_field)((unsigned)of_es + 2 * n);
}

static void read_segments(struct check *c, struct segments *all)
{
    for (unsigned n = 0; n < SEGMENTS; n++) {
        struct segment *s = &all->s[n];

        s->selector = check_read(c, field_of(VMCS_GUEST_ES_SELECTOR, n));
        s->base = check_read(c, field_of(VMCS_GUEST_ES_BASE, n));
        s->limit = check_read(c, field_of(VMCS_GUEST_ES_LIMIT, n));
        s->access = check_read(c, field_of(VMCS_GUEST_ES_ACCESS, n));
        s->checked = n == SEG_CS || n == VMCS_TR || !(s->access & ACCESS_UNUSABLE);
    }
    all->v8086 = check_read(c, VMCS_GUEST_RFLAGS) & RFLAGS_VM;
    all->ia32e = check_on(c, CONTROL_ENTRY, ENTRY_IA32E);
    all->unrestricted = check_on(c, CONTROL_SECONDARY, SECONDARY_UNRESTRICTED);
    all->protected = check_read(c, VMCS_GUEST_CR0) & CR0_PE;
}

static bool check_selectors(struct check *c, const struct segments *all)
{
    const struct segment *ldtr = &all->s[VMCS_LDTR];
    uint64_t tr = all->s[VMCS_TR].selector, ss = all->s[SEG_SS].selector, cs = all->s[SEG_CS].selector;

    if (tr & SELECTOR_TI)
        return check_fail(c, names[VMCS_TR].selector, tr, "bit 2 (TI) must be 0");
    if (ldtr->checked && (ldtr->selector & SELECTOR_TI))
        return check_fail(c, names[VMCS_LDTR].selector, ldtr->selector, "bit 2 (TI) must be 0");
    if (!all->v8086 && !all->unrestricted && (ss & SELECTOR_RPL) != (cs & SELECTOR_RPL))
        return check_fail(c, names[SEG_SS].selector, ss, "RPL %u differs from the RPL %u of CS",
                          (unsigned)(ss & SELECTOR_RPL), (unsigned)(cs & SELECTOR_RPL));
    return true;
}

static bool check_bases(struct check *c, const struct segments *all)
{
    static const unsigned canonical[] = { VMCS_TR, SEG_FS, SEG_GS, VMCS_LDTR };
    static const unsigned low[] = { SEG_CS, SEG_SS, SEG_DS, SEG_ES };

    for (unsigned n = 0; all->v8086 && n < SEG_COUNT; n++)
        if (all->s[n].base != all->s[n].selector << 4)
            return check_fail(c, names[n].base, all->s[n].base,
                              "must be 16 times the selector 0x%x in virtual-8086 mode",
                              (unsigned)all->s[n].selector);
    for (unsigned i = 0; i < ARRAY_SIZE(canonical); i++) {
        unsigned n = canonical[i];
        struct field_rule rule = { field_of(VMCS_GUEST_ES_BASE, n), names[n].base, RULE_CANONICAL, 0, 0, 0 };

        if (n == VMCS_LDTR && !all->s[n].checked) /* FS and GS: usable or not */
            continue;
        if (!check_fields(c, &rule, 1))
            return false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(low); i++) {
        unsigned n = low[i];

        if (all->s[n].checked && (all->s[n].base & HIGH_HALF))
            return check_fail(c, names[n].base, all->s[n].base, "bits 63:32 must be 0");
    }
    return true;
}

/* Limit and access rights in virtual-8086 mode, where they are what the mode implies. */
static bool check_v8086(struct check *c, const struct segments *all)
{
    for (unsigned n = 0; n < SEG_COUNT; n++)
        if (all->s[n].limit != V8086_LIMIT)
            return check_fail(c, names[n].limit, all->s[n].limit, "must be 0xffff in virtual-8086 mode");
    for (unsigned n = 0; n < SEG_COUNT; n++)
        if (all->s[n].access != V8086_ACCESS)
            return check_fail(c, names[n].access, all->s[n].access, "must be 0xf3 in virtual-8086 mode");
    return true;
}

static bool check_code_type(struct check *c, const struct segments *all)
{
    uint64_t access = all->s[SEG_CS].access;
    unsigned type = ACCESS_TYPE(access);

    if ((type & TYPE_CODE) == TYPE_CODE || (all->unrestricted && type == TYPE_DATA_RW))
        return true;
    return check_fail(c, names[SEG_CS].access, access, "type %u must be 9, 11, 13 or 15 (accessed code)%s",
                      type, all->unrestricted ? ", or 3" : "");
}

static bool check_data_type(struct check *c, const struct segments *all, unsigned n)
{
    uint64_t access = all->s[n].access;
    unsigned type = ACCESS_TYPE(access);

    if (n == SEG_SS && type != TYPE_DATA_RW && type != TYPE_DATA_RW_DOWN)
        return check_fail(c, names[n].access, access, "type %u must be 3 or 7 (read/write data, accessed)",
                          type);
    if (!(type & TYPE_ACCESSED))
        return check_fail(c, names[n].access, access, "type %u must have bit 0 (accessed)", type);
    if ((type & TYPE_IS_CODE) && !(type & TYPE_READABLE))
        return check_fail(c, names[n].access, access, "type %u is code that is not readable", type);
    return true;
}

static bool check_code_dpl(struct check *c, const struct segments *all)
{
    uint64_t access = all->s[SEG_CS].access;
    unsigned type = ACCESS_TYPE(access), dpl = ACCESS_DPL(access), ss = ACCESS_DPL(all->s[SEG_SS].access);

    if (type == TYPE_DATA_RW && dpl != 0) /* else it equals that of SS, which was checked */
        return check_fail(c, names[SEG_CS].access, access, "DPL %u must be 0 as the type is 3", dpl);
    if (!(type & TYPE_CONFORMING) && dpl != ss)
        return check_fail(c, names[SEG_CS].access, access, "DPL %u differs from the DPL %u of SS", dpl, ss);
    if (dpl > ss)
        return check_fail(c, names[SEG_CS].access, access,
                          "DPL %u of conforming code is above the DPL %u of SS", dpl, ss);
    return true;
}

/* These hold for an unusable SS, too: its DPL is the CPL. */
static bool check_stack_dpl(struct check *c, const struct segments *all)
{
    const struct segment *ss = &all->s[SEG_SS];
    unsigned dpl = ACCESS_DPL(ss->access), rpl = ss->selector & SELECTOR_RPL;

    if (!all->unrestricted && dpl != rpl)
        return check_fail(c, names[SEG_SS].access, ss->access, "DPL %u differs from the selector's RPL %u",
                          dpl, rpl);
    if (!all->protected && dpl != 0)
        return check_fail(c, names[SEG_SS].access, ss->access, "DPL %u must be 0 as CR0.PE is 0", dpl);
    if (ACCESS_TYPE(all->s[SEG_CS].access) == TYPE_DATA_RW && dpl != 0)
        return check_fail(c, names[SEG_SS].access, ss->access, "DPL %u must be 0 as the type of CS is 3",
                          dpl);
    return true;
}

static bool check_data_dpl(struct check *c, const struct segments *all, unsigned n)
{
    const struct segment *s = &all->s[n];
    unsigned type = ACCESS_TYPE(s->access), dpl = ACCESS_DPL(s->access), rpl = s->selector & SELECTOR_RPL;

    if (!all->unrestricted && type <= 11 && dpl < rpl)
        return check_fail(c, names[n].access, s->access, "DPL %u is below the selector's RPL %u", dpl, rpl);
    return true;
}

/* What holds for every register that is checked at all. `system`: bit S. */
static bool check_access(struct check *c, const struct segments *all, unsigned n)
{
    const struct segment *s = &all->s[n];
    bool system = n >= SEG_COUNT;

    if (!(s->access & ACCESS_S) != system)
        return check_fail(c, names[n].access, s->access, "bit 4 (S) must be %u", !system);
    if (!(s->access & ACCESS_P))
        return check_fail(c, names[n].access, s->access, "bit 7 (P) must be 1");
    if (s->access & BITS(11, 8))
        return check_fail(c, names[n].access, s->access, "bits 11:8 must be 0");
    if ((s->limit & PAGE_MASK) != PAGE_MASK && (s->access & ACCESS_G))
        return check_fail(c, names[n].access, s->access,
                          "bit 15 (G) must be 0 as bits 11:0 of the limit 0x%x are not all 1",
                          (unsigned)s->limit);
    if ((s->limit & BITS(31, 20)) && !(s->access & ACCESS_G))
        return check_fail(c, names[n].access, s->access,
                          "bit 15 (G) must be 1 as bits 31:20 of the limit 0x%x are not all 0",
                          (unsigned)s->limit);
    if (s->access & BITS(31, 17))
        return check_fail(c, names[n].access, s->access, "bits 31:17 must be 0");
    return true;
}

/* CS, SS, DS, ES, FS and GS outside of virtual-8086 mode. */
static bool check_code_and_data(struct check *c, const struct segments *all)
{
    uint64_t cs = all->s[SEG_CS].access;

    if (!check_code_type(c, all))
        return false;
    for (unsigned n = 0; n < SEG_COUNT; n++)
        if (n != SEG_CS && all->s[n].checked && !check_data_type(c, all, n))
            return false;
    if (!check_stack_dpl(c, all) || !check_code_dpl(c, all))
        return false;
    for (unsigned n = 0; n < SEG_COUNT; n++)
        if (n != SEG_CS && n != SEG_SS && all->s[n].checked && !check_data_dpl(c, all, n))
            return false;
    for (unsigned n = 0; n < SEG_COUNT; n++)
        if (all->s[n].checked && !check_access(c, all, n))
            return false;
    if (all->ia32e && (cs & ACCESS_L) && (cs & ACCESS_DB))
        return check_fail(c, names[SEG_CS].access, cs, "bit 14 (D/B) must be 0 as bit 13 (L) is 1");
    return true;
}

static bool check_system(struct check *c, const struct segments *all)
{
    uint64_t tr = all->s[VMCS_TR].access, ldtr = all->s[VMCS_LDTR].access;
    unsigned type = ACCESS_TYPE(tr);

    if (type != TYPE_TSS_BUSY && (all->ia32e || type != TYPE_TSS_16_BUSY))
        return check_fail(c, names[VMCS_TR].access, tr, "type %u must be 11 (busy TSS)%s", type,
                          all->ia32e ? "" : ", or 3");
    if (tr & ACCESS_UNUSABLE)
        return check_fail(c, names[VMCS_TR].access, tr, "bit 16 (unusable) must be 0");
    if (!check_access(c, all, VMCS_TR))
        return false;
    if (!all->s[VMCS_LDTR].checked)
        return true;
    if (ACCESS_TYPE(ldtr) != TYPE_LDT)
        return check_fail(c, names[VMCS_LDTR].access, ldtr, "type %u must be 2 (LDT)", ACCESS_TYPE(ldtr));
    return check_access(c, all, VMCS_LDTR);
}

bool check_segments(struct check *c)
{
    struct segments all;

    read_segments(c, &all);
    if (!check_selectors(c, &all) || !check_bases(c, &all))
        return false;
    if (all.v8086 ? !check_v8086(c, &all) : !check_code_and_data(c, &all))
        return false;
    return check_system(c, &all);
}
