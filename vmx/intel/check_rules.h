/*
 * What the parts of the VM-entry checker share: the view with its controls at hand, the way to complain, and
 * rules of one field each that fit in a table. Only check*.c include this.
 */
#pragma once

#include "arch/x86_64/cpu.h"
#include "vmx/intel/check.h"

#define CR4_LA57     BIT(12)
#define CR4_CET      BIT(23)
#define RFLAGS_TF    BIT(8)
#define RFLAGS_VM    BIT(17)
#define DEBUGCTL_BTF BIT(1)
#define SELECTOR_RPL UINT64_C(3)
#define SELECTOR_TI  BIT(2)
#define HIGH_HALF    UINT64_C(0xffffffff00000000)
#define BITS(hi, lo)                                                                                         \
    ((UINT64_C(2) << (hi)) - (UINT64_C(1) << (lo))) /* bits hi:lo, as the manual writes it                   \
                                                     */
#define REVISION_MASK BITS(30, 0)

struct check {
    const struct vmcs_view *vmcs;
    const struct vmx_capabilities *cap;
    uint64_t control[VMX_CONTROLS]; /* the secondary ones are 0 unless activated */
    char *text;
    size_t size;
};

enum rule_kind {
    RULE_ZERO,      /* the bits of `zero` must be 0 */
    RULE_ADDRESS,   /* physical: the bits of `zero` must be 0, and those beyond the CPU's width */
    RULE_CANONICAL, /* a canonical linear address */
    RULE_PAT,       /* eight memory types */
};

/* A rule that needs nothing but its field. It holds if `bit` is set in the controls `word`; 0: always. */
struct field_rule {
    enum vmcs_field field;
    const char *name;
    enum rule_kind kind;
    uint64_t zero;
    enum vmx_control word;
    uint64_t bit;
};

/* Each returns true if all its checks hold, or the false of check_fail(). */
bool check_controls(struct check *c);
bool check_host(struct check *c);
bool check_guest(struct check *c);
bool check_segments(struct check *c);
bool check_fields(struct check *c, const struct field_rule *rule, size_t count);

/* CR0 or CR4 against IA32_VMX_CRn_FIXED0 and FIXED1 (A.7, A.8); bits of `ignore` may be anything. */
bool check_cr0(struct check *c, const char *name, uint64_t cr0, uint64_t ignore);
bool check_cr4(struct check *c, const char *name, uint64_t cr4);

/* The bits of EFER that exist; the rest are reserved. */
bool check_efer_reserved(struct check *c, const char *name, uint64_t efer);

/* Writes "NAME 0xVALUE: ..." to the text; always false, for `return check_fail(...)`. */
bool check_fail(struct check *c, const char *name, uint64_t value, const char *fmt, ...) __printf(4, 5);

/* The lowest bit that is set in `bits`, which is not 0. */
static inline unsigned check_bit(uint64_t bits)
{
    return (unsigned)__builtin_ctzll(bits);
}

/* The field's value, of the field's own width. */
uint64_t check_read(const struct check *c, enum vmcs_field field);

static inline bool check_on(const struct check *c, enum vmx_control word, uint64_t bit)
{
    return c->control[word] & bit;
}

/* How many bits of a linear address the CPU has: 57 where CR4.LA57 may be set, else 48. */
static inline unsigned check_linear_bits(const struct check *c)
{
    return c->cap->cr4_fixed1 & CR4_LA57 ? 57 : 48;
}

/* The bits beyond the CPU's physical-address width; with IA32_VMX_BASIC[48], beyond 32 bits (A.1). */
static inline uint64_t check_beyond_physical(const struct check *c)
{
    unsigned width = c->cap->basic & VMX_BASIC_32_BIT ? 32 : c->cap->maxphyaddr;

    return width < 64 ? ~UINT64_C(0) << width : 0;
}

/* The event that the entry is to inject, as the entry's interruption-information field has it. */
static inline bool check_injects(uint64_t info, unsigned type)
{
    return (info & INTERRUPTION_VALID) && (info & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT == type;
}
