/* Effective and linear addresses. */
#include "lib/errno.h"
#include "vmx/emulate_address.h"

#define VECTOR_SS 12
#define VECTOR_GP 13

/* Real mode pushes no error codes. */
static int segment_fault(const struct emu_step *s, enum seg seg)
{
    *s->fault = (struct emu_fault){
        .vector = seg == SEG_SS ? VECTOR_SS : VECTOR_GP,
        .has_error = s->cpu->protected_mode,
    };
    return -EFAULT;
}

/* With 48-bit linear addresses: bits 63 to 47 are all alike. */
static bool canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static bool in_limit(const struct emu_segment *segment, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;

    if (!segment->expand_down || segment->code)
        return last <= segment->limit;
    return offset > segment->limit && last <= (segment->big ? UINT32_MAX : UINT16_MAX);
}

static bool rights_allow(const struct emu_segment *segment, bool write)
{
    if (!segment->present)
        return false;
    return write ? segment->writable && !segment->code : segment->readable || !segment->code;
}

static int linear_legacy(const struct emu_step *s, enum seg seg, uint64_t offset, unsigned size, bool write,
                         gva_t *out)
{
    struct emu_segment segment;

    s->memory->segment(s->memory->context, seg, &segment);
    if (s->cpu->protected_mode && !rights_allow(&segment, write))
        return segment_fault(s, seg);
    if (!in_limit(&segment, offset, size))
        return segment_fault(s, seg);
    *out = gva((segment.base + offset) & UINT32_MAX);
    return 0;
}

int emu_linear_checked(const struct emu_step *s, enum seg seg, uint64_t offset, unsigned size, bool write,
                       gva_t *out)
{
    uint64_t at = offset;

    if (s->cpu->code != CODE_64)
        return linear_legacy(s, seg, offset, size, write, out);
    if (seg == SEG_FS || seg == SEG_GS) {
        struct emu_segment segment;

        s->memory->segment(s->memory->context, seg, &segment);
        at += segment.base;
    }
    if (!canonical(at) || !canonical(at + size - 1))
        return segment_fault(s, seg);
    *out = gva(at);
    return 0;
}

int emu_read(const struct emu_step *s, enum seg seg, uint64_t offset, unsigned size, uint64_t *value)
{
    gva_t at;
    int status = emu_linear(s, seg, offset, size, false, &at);

    if (status != 0)
        return status;
    return s->memory->read(s->memory->context, at, size, value, s->fault);
}

int emu_write(const struct emu_step *s, enum seg seg, uint64_t offset, unsigned size, uint64_t value)
{
    gva_t at;
    int status = emu_linear(s, seg, offset, size, true, &at);

    if (status != 0)
        return status;
    return s->memory->write(s->memory->context, at, size, value, s->fault);
}
