/* A task's descriptors: found, checked, loaded. Intel SDM vol. 3, 8.3, table 8-1. */
#include "vmx/task_load.h"
#include "lib/errno.h"

#define VECTOR_TS 10
#define VECTOR_NP 11
#define VECTOR_SS 12

#define TYPE_LDT 0x2u

int task_fail(const struct change *c, uint8_t vector, uint16_t selector)
{
    *c->fault = (struct emu_fault){ .vector = vector,
                                    .has_error = true,
                                    .error = (selector & ~SELECTOR_RPL) | c->external };
    return -EFAULT;
}

int task_mark(const struct change *c, gva_t descriptor, uint8_t clear, uint8_t set)
{
    return c->memory->mark(c->memory->context, task_linear(descriptor.raw, ATTRIBUTE_BYTE), clear, set,
                           c->fault);
}

static unsigned dpl(const struct vcpu_segment *segment)
{
    return (segment->attributes & SEG_ATTR_DPL) >> 5;
}

/* SDM vol. 3, 3.4.5. */
static struct vcpu_segment unpack(uint16_t selector, uint64_t raw)
{
    struct vcpu_segment s = {
        .selector = selector,
        .attributes = (uint16_t)((raw >> 40 & 0xff) | (raw >> 44 & 0xf00)),
        .limit = (uint32_t)((raw & 0xffff) | (raw >> 32 & 0xf0000)),
        .base = (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000),
    };

    if (s.attributes & SEG_ATTR_G)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

static bool is_null(uint16_t selector)
{
    return !(selector & ~SELECTOR_RPL);
}

int task_descriptor(const struct change *c, uint16_t selector, uint8_t vector, struct descriptor *out)
{
    const struct vcpu_system *s = &c->cpu->system;
    bool local = selector & SELECTOR_TI;
    uint64_t base = local ? s->ldtr.base : s->gdtr.base, limit = local ? s->ldtr.limit : s->gdtr.limit;
    unsigned offset = selector & ~(SELECTOR_RPL | SELECTOR_TI);
    uint64_t raw;
    int err;

    if (is_null(selector) || offset + 7 > limit) /* without an LDT its limit is 0 */
        return task_fail(c, vector, selector);
    out->at = task_linear(base, offset);
    err = c->memory->read(c->memory->context, out->at, sizeof(raw), &raw, c->fault);
    if (!err)
        out->segment = unpack(selector, raw);
    return err;
}

static int load_ldt(const struct change *c)
{
    struct vcpu_segment *ldtr = &c->cpu->system.ldtr;
    uint16_t selector = ldtr->selector;
    struct descriptor found;
    int err;

    if (is_null(selector))
        return 0;
    if (selector & SELECTOR_TI)
        return task_fail(c, VECTOR_TS, selector);
    err = task_descriptor(c, selector, VECTOR_TS, &found);
    if (err)
        return err;
    if ((found.segment.attributes & (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_TYPE)) != (SEG_ATTR_P | TYPE_LDT))
        return task_fail(c, VECTOR_TS, selector);
    *ldtr = found.segment;
    return 0;
}

/* Takes a segment that was found to be good, and marks it as accessed. */
static int take(const struct change *c, enum seg seg, struct descriptor *found)
{
    int err = 0;

    if (!(found->segment.attributes & SEG_ATTR_ACCESSED))
        err = task_mark(c, found->at, 0, SEG_ATTR_ACCESSED);
    if (err)
        return err;
    found->segment.attributes |= SEG_ATTR_ACCESSED;
    c->cpu->system.segment[seg] = found->segment;
    return 0;
}

static int load_code(const struct change *c)
{
    uint16_t selector = c->cpu->system.segment[SEG_CS].selector;
    unsigned rpl = selector & SELECTOR_RPL;
    const struct vcpu_segment *s;
    struct descriptor found;
    int err = task_descriptor(c, selector, VECTOR_TS, &found);

    if (err)
        return err;
    s = &found.segment;
    if (!(s->attributes & SEG_ATTR_S) || !(s->attributes & SEG_ATTR_CODE))
        return task_fail(c, VECTOR_TS, selector);
    if (s->attributes & SEG_ATTR_DOWN ? dpl(s) > rpl : dpl(s) != rpl)
        return task_fail(c, VECTOR_TS, selector);
    if (!(s->attributes & SEG_ATTR_P))
        return task_fail(c, VECTOR_NP, selector);
    return take(c, SEG_CS, &found);
}

static int load_stack(const struct change *c)
{
    uint16_t selector = c->cpu->system.segment[SEG_SS].selector;
    unsigned cpl = task_cpl(&c->cpu->system);
    struct descriptor found;
    int err = task_descriptor(c, selector, VECTOR_TS, &found);

    if (err)
        return err;
    if ((found.segment.attributes & (SEG_ATTR_S | SEG_ATTR_CODE | SEG_ATTR_RW)) != (SEG_ATTR_S | SEG_ATTR_RW))
        return task_fail(c, VECTOR_TS, selector);
    if (dpl(&found.segment) != cpl || (selector & SELECTOR_RPL) != cpl)
        return task_fail(c, VECTOR_TS, selector);
    if (!(found.segment.attributes & SEG_ATTR_P))
        return task_fail(c, VECTOR_SS, selector);
    return take(c, SEG_SS, &found);
}

static int load_data(const struct change *c, enum seg seg)
{
    uint16_t selector = c->cpu->system.segment[seg].selector;
    const struct vcpu_segment *s;
    struct descriptor found;
    bool code, guarded;
    int err;

    if (is_null(selector))
        return 0;
    err = task_descriptor(c, selector, VECTOR_TS, &found);
    if (err)
        return err;
    s = &found.segment;
    code = s->attributes & SEG_ATTR_CODE;
    guarded = !code || !(s->attributes & SEG_ATTR_DOWN); /* not conforming */
    if (!(s->attributes & SEG_ATTR_S) || (code && !(s->attributes & SEG_ATTR_RW)))
        return task_fail(c, VECTOR_TS, selector);
    if (guarded && (dpl(s) < task_cpl(&c->cpu->system) || dpl(s) < (selector & SELECTOR_RPL)))
        return task_fail(c, VECTOR_TS, selector);
    if (!(s->attributes & SEG_ATTR_P))
        return task_fail(c, VECTOR_NP, selector);
    return take(c, seg, &found);
}

int task_load_segments(const struct change *c)
{
    static const enum seg data[] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };
    int err = load_ldt(c);

    if (err || (c->cpu->rflags & EFLAGS_VM))
        return err;
    err = load_code(c);
    if (!err)
        err = load_stack(c);
    for (unsigned i = 0; !err && i < ARRAY_SIZE(data); i++)
        err = load_data(c, data[i]);
    return err;
}

static bool in_stack(const struct vcpu_segment *ss, uint32_t offset, unsigned size)
{
    uint64_t last = (uint64_t)offset + size - 1;

    if (ss->attributes & SEG_ATTR_DOWN)
        return offset > ss->limit && last <= (ss->attributes & SEG_ATTR_DB ? UINT32_MAX : UINT16_MAX);
    return last <= ss->limit;
}

/* An exception's error code, in the TSS's width (SDM vol. 2, INT n, TASK-GATE). */
int task_push_error(const struct change *c, unsigned size)
{
    const struct vcpu_segment *ss = &c->cpu->system.segment[SEG_SS];
    uint64_t *sp = &c->cpu->gpr[GPR_RSP];
    uint32_t mask = ss->attributes & SEG_ATTR_DB ? UINT32_MAX : UINT16_MAX;
    uint32_t offset = (uint32_t)(*sp - size) & mask;
    int err;

    if (!c->request->has_error)
        return 0;
    /* In virtual-8086 mode the attributes are those of a writable segment that grows up. */
    if (!in_stack(ss, offset, size))
        return task_fail(c, VECTOR_SS, 0);
    err = c->memory->push(c->memory->context, c->cpu, task_linear(ss->base, offset), size,
                          size == 2 ? (uint16_t)c->request->error : c->request->error, c->fault);
    if (!err)
        *sp = (*sp & ~(uint64_t)mask) | offset;
    return err;
}
