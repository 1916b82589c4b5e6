/*
 * The hardware task switch, in the manual's order (Intel SDM vol. 3, 8.3): look at the new TSS, save into the
 * old one, load from the new one, check what was loaded. Everything that can fault is tried before the first
 * write, so that such a fault is the old task's and leaves nothing behind.
 */
#include "vmx/task_load.h"
#include "lib/errno.h"

#define VECTOR_TS 10
#define VECTOR_NP 11
#define VECTOR_GP 13

#define CR0_TS    BIT(3)
#define CR0_PG    BIT(31)
#define DR6_BT    BIT(15)
#define DR7_LOCAL UINT64_C(0x55) /* L0 to L3 */

#define EFLAGS_FIXED 0x00000002u
#define EFLAGS_NT    0x00004000u
#define EFLAGS_ALL   0x003f7fd5u /* the flags that exist */

#define ERROR_EXT 1u

/* System descriptor types; bit 3 of a TSS's says that it is a 32-bit one. SDM vol. 3, table 3-2. */
#define TYPE_TSS      0x1u
#define TYPE_TSS_BUSY 0x3u
#define TYPE_TSS_32   0x8u
#define BUSY          0x2u

#define ATTRIBUTES_V86 0xf3u

#define SAVED_GPRS 8

/* Where a TSS has what. Saved is from IP up to LDT; SDM vol. 3, 8.2.1 and 8.6. */
struct tss_format {
    uint8_t width; /* of a register, and of a selector with its padding */
    uint8_t min_limit;
    uint8_t ip, flags, gprs, segments, ldt;
    uint8_t segment_count;
    bool is_32; /* has CR3 and the T bit */
};

#define TSS32_CR3 0x1c
#define TSS32_T   0x64

static const struct tss_format tss_16 = {
    .width = 2,
    .min_limit = 0x2b,
    .ip = 0x0e,
    .flags = 0x10,
    .gprs = 0x12,
    .segments = 0x22,
    .ldt = 0x2a,
    .segment_count = 4,
};
static const struct tss_format tss_32 = {
    .width = 4,
    .min_limit = 0x67,
    .ip = 0x20,
    .flags = 0x24,
    .gprs = 0x28,
    .segments = 0x48,
    .ldt = 0x60,
    .segment_count = SEG_COUNT,
    .is_32 = true,
};

/* What is loaded from a TSS. */
struct tss {
    uint32_t cr3, ip, flags, gpr[SAVED_GPRS];
    uint16_t segment[SEG_COUNT], ldt;
    bool trap;
};

static int read_word(const struct change *c, uint64_t base, unsigned offset, unsigned size, uint64_t *value)
{
    return c->memory->read(c->memory->context, task_linear(base, offset), size, value, c->fault);
}

static int write_word(const struct change *c, uint64_t base, unsigned offset, unsigned size, uint64_t value)
{
    if (size == 2)
        value &= UINT16_MAX;
    return c->memory->write(c->memory->context, task_linear(base, offset), size, value, c->fault);
}

static int probe(const struct change *c, gva_t at, unsigned size)
{
    return c->memory->probe(c->memory->context, at, size, c->fault);
}

static const struct tss_format *format_of(const struct vcpu_segment *tss)
{
    return tss->attributes & TYPE_TSS_32 ? &tss_32 : &tss_16;
}

/* SDM vol. 3, table 8-1, its first rows. The CPU has made these checks, but memory may have changed. */
static int check_new_tss(struct change *c)
{
    uint16_t selector = c->request->selector;
    bool back = c->request->source == TASK_IRET;
    uint8_t vector = back ? VECTOR_TS : VECTOR_GP;
    const struct vcpu_segment *tss = &c->new_tss.segment;
    int err;

    if (selector & SELECTOR_TI)
        return task_fail(c, vector, selector);
    err = task_descriptor(c, selector, vector, &c->new_tss);
    if (err)
        return err;
    if ((tss->attributes & (SEG_ATTR_S | (SEG_ATTR_TYPE & ~TYPE_TSS_32))) !=
        (back ? TYPE_TSS_BUSY : TYPE_TSS))
        return task_fail(c, vector, selector);
    if (!(tss->attributes & SEG_ATTR_P))
        return task_fail(c, VECTOR_NP, selector);
    c->new_format = format_of(tss);
    if (tss->limit < c->new_format->min_limit)
        return task_fail(c, VECTOR_TS, selector);
    return 0;
}

static int read_registers(const struct change *c, struct tss *out)
{
    const struct tss_format *f = c->new_format;
    uint64_t base = c->new_tss.segment.base, value;
    int err;

    for (unsigned i = 0; i < SAVED_GPRS; i++) {
        err = read_word(c, base, f->gprs + i * f->width, f->width, &value);
        if (err)
            return err;
        out->gpr[i] = (uint32_t)value;
    }
    for (unsigned i = 0; i < f->segment_count; i++) {
        err = read_word(c, base, f->segments + i * f->width, 2, &value);
        if (err)
            return err;
        out->segment[i] = (uint16_t)value;
    }
    return 0;
}

/* A 16-bit TSS has no FS, GS (they become null) and CR3, and no upper halves: SDM vol. 3, 8.6. */
static int read_tss(const struct change *c, struct tss *out)
{
    const struct tss_format *f = c->new_format;
    uint64_t base = c->new_tss.segment.base, ip, flags, ldt, cr3 = 0, trap = 0;
    int err;

    *out = (struct tss){ 0 };
    err = read_registers(c, out);
    if (!err)
        err = read_word(c, base, f->ip, f->width, &ip);
    if (!err)
        err = read_word(c, base, f->flags, f->width, &flags);
    if (!err)
        err = read_word(c, base, f->ldt, 2, &ldt);
    if (!err && f->is_32)
        err = read_word(c, base, TSS32_CR3, 4, &cr3);
    if (!err && f->is_32)
        err = read_word(c, base, TSS32_T, 2, &trap);
    if (err)
        return err;
    out->ip = (uint32_t)ip;
    out->flags = (uint32_t)flags;
    out->ldt = (uint16_t)ldt;
    out->cr3 = (uint32_t)cr3;
    out->trap = trap & 1;
    return 0;
}

/* Without paging the CR3 of a TSS is not loaded (SDM vol. 3, 8.3, step 12). */
static int change_cr3(const struct change *c, const struct tss *tss, bool load)
{
    if (!c->new_format->is_32 || !(c->cpu->system.cr0 & CR0_PG))
        return 0;
    return c->memory->cr3(c->memory->context, tss->cr3, load, c->fault);
}

/* The new task can come back to the old one. */
static bool nests(const struct change *c)
{
    return c->request->source == TASK_CALL || c->request->source == TASK_GATE;
}

/* The descriptor of the old task's TSS. TR was loaded from it, so it was in the GDT then. */
static gva_t old_descriptor(const struct change *c)
{
    const struct vcpu_system *s = &c->cpu->system;

    return task_linear(s->gdtr.base, s->tr.selector & ~(SELECTOR_RPL | SELECTOR_TI));
}

/*
 * Everything that is to be written can be, and the new TSS can be read. The manual does not say what a TSS
 * does that is too small to save into, since nobody looked at its limit when TR was loaded: #TS seems right.
 */
static int try_all(const struct change *c)
{
    const struct vcpu_segment *old = &c->cpu->system.tr;
    const struct tss_format *f = c->old_format;
    struct tss tss;
    int err;

    if (old->limit < f->ldt - 1u)
        return task_fail(c, VECTOR_TS, old->selector);
    err = probe(c, task_linear(old->base, f->ip), f->ldt - f->ip);
    if (!err)
        err = read_tss(c, &tss);
    if (!err)
        err = change_cr3(c, &tss, false);
    if (!err && nests(c))
        err = probe(c, task_linear(c->new_tss.segment.base, 0), 2);
    if (!err && !nests(c))
        err = probe(c, task_linear(old_descriptor(c).raw, ATTRIBUTE_BYTE), 1);
    if (!err && c->request->source != TASK_IRET)
        err = probe(c, task_linear(c->new_tss.at.raw, ATTRIBUTE_BYTE), 1);
    return err;
}

static int save_old(const struct change *c)
{
    const struct task_cpu *cpu = c->cpu;
    const struct tss_format *f = c->old_format;
    uint64_t base = cpu->system.tr.base, flags = cpu->rflags;
    int err;

    if (c->request->source == TASK_IRET)
        flags &= ~(uint64_t)EFLAGS_NT;
    err = write_word(c, base, f->ip, f->width, (uint32_t)(cpu->rip + c->request->length));
    if (!err)
        err = write_word(c, base, f->flags, f->width, (uint32_t)flags);
    for (unsigned i = 0; !err && i < SAVED_GPRS; i++)
        err = write_word(c, base, f->gprs + i * f->width, f->width, (uint32_t)cpu->gpr[i]);
    for (unsigned i = 0; !err && i < f->segment_count; i++)
        err = write_word(c, base, f->segments + i * f->width, 2, cpu->system.segment[i].selector);
    return err;
}

/* Busy bits and the link, and then the new task's values, which may be those just saved. */
static int leave_old(const struct change *c, struct tss *out)
{
    int err = save_old(c);

    if (!err && !nests(c))
        err = task_mark(c, old_descriptor(c), BUSY, 0);
    if (!err && nests(c))
        err = write_word(c, c->new_tss.segment.base, 0, 2, c->cpu->system.tr.selector);
    if (!err && c->request->source != TASK_IRET)
        err = task_mark(c, c->new_tss.at, 0, BUSY);
    if (!err)
        err = read_tss(c, out);
    if (!err)
        err = change_cr3(c, out, true);
    return err;
}

/*
 * All selectors are the new task's, whatever becomes of their descriptors. Until these are loaded the
 * segments are not usable. CS cannot be that: a flat one of the same privilege stands in, for a fault
 * handler never to see more of it than the selector.
 */
static void load_selectors(struct task_cpu *cpu, const struct tss *tss)
{
    unsigned cpl = tss->segment[SEG_CS] & SELECTOR_RPL;

    for (unsigned i = 0; i < SEG_COUNT; i++) {
        struct vcpu_segment *s = &cpu->system.segment[i];

        *s = (struct vcpu_segment){ .selector = tss->segment[i] };
        if (cpu->rflags & EFLAGS_VM) {
            s->base = (uint64_t)tss->segment[i] << 4;
            s->limit = 0xffff;
            s->attributes = ATTRIBUTES_V86;
        } else if (i == SEG_SS) {
            s->attributes = (uint16_t)(cpl << 5);
        } else if (i == SEG_CS) {
            s->limit = UINT32_MAX;
            s->attributes = (uint16_t)(SEG_ATTR_P | cpl << 5 | SEG_ATTR_S | SEG_ATTR_CODE | SEG_ATTR_RW |
                                       SEG_ATTR_ACCESSED | SEG_ATTR_DB | SEG_ATTR_G);
        }
    }
}

/* The commit point: from here on it is the new task that runs, or faults. */
static void enter_new(const struct change *c, const struct tss *tss)
{
    struct task_cpu *cpu = c->cpu;
    struct vcpu_system *s = &cpu->system;

    if (c->new_format->is_32 && (s->cr0 & CR0_PG))
        s->cr3 = tss->cr3;
    s->cr0 |= CR0_TS;
    s->dr7 &= ~DR7_LOCAL;
    s->tr = c->new_tss.segment;
    s->tr.attributes |= BUSY;
    s->ldtr = (struct vcpu_segment){ .selector = tss->ldt };
    for (unsigned i = 0; i < SAVED_GPRS; i++)
        cpu->gpr[i] = tss->gpr[i];
    cpu->entered = true;
    cpu->rip = tss->ip;
    cpu->rflags = (tss->flags & EFLAGS_ALL) | EFLAGS_FIXED | (nests(c) ? EFLAGS_NT : 0);
    load_selectors(cpu, tss);
}

int task_switch(const struct task_request *request, struct task_cpu *cpu, const struct task_memory *memory,
                struct emu_fault *fault)
{
    struct change c = { .request = request, .cpu = cpu, .memory = memory, .fault = fault };
    struct tss tss;
    int err;

    cpu->entered = cpu->trap = false;
    c.external = request->source == TASK_GATE && !request->length ? ERROR_EXT : 0;
    c.old_format = format_of(&cpu->system.tr);
    err = check_new_tss(&c);
    if (!err)
        err = try_all(&c);
    if (!err)
        err = leave_old(&c, &tss); /* an error now: the guest has changed its tables under our feet */
    if (err)
        return err;
    enter_new(&c, &tss);
    err = task_load_segments(&c);
    if (!err)
        err = task_push_error(&c, c.new_format->width);
    if (!err && cpu->rip > cpu->system.segment[SEG_CS].limit)
        err = task_fail(&c, VECTOR_GP, 0);
    if (!err && tss.trap) {
        cpu->system.dr6 |= DR6_BT;
        cpu->trap = true;
    }
    return err;
}
