/* Effective and linear addresses. */
#include "lib/errno.h"
#include "vmx/emulate_address.h"
#include "vmx/emulate_alu.h"

#define VECTOR_SS 12
#define VECTOR_GP 13

uint64_t emu_effective(const struct insn *insn, const struct emu_cpu *cpu)
{
    uint64_t sum = (uint64_t)insn->displacement;

    if (insn->base >= 0)
        sum += cpu->gpr[insn->base];
    if (insn->index >= 0)
        sum += cpu->gpr[insn->index] * insn->scale;
    if (insn->rip_relative)
        sum += cpu->rip + insn->length;
    return sum & size_mask(insn->address_size);
}

/* Real mode pushes no error codes. */
static int segment_fault(const struct emu_cpu *cpu, enum seg seg, struct emu_fault *fault)
{
    *fault = (struct emu_fault){
        .vector = seg == SEG_SS ? VECTOR_SS : VECTOR_GP,
        .has_error = cpu->protected_mode,
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

static int linear_legacy(const struct emu_cpu *cpu, const struct emu_memory *memory, enum seg seg,
                         uint64_t offset, unsigned size, bool write, gva_t *out, struct emu_fault *fault)
{
    struct emu_segment segment;

    memory->segment(memory->context, seg, &segment);
    if (cpu->protected_mode && !rights_allow(&segment, write))
        return segment_fault(cpu, seg, fault);
    if (!in_limit(&segment, offset, size))
        return segment_fault(cpu, seg, fault);
    *out = gva((segment.base + offset) & UINT32_MAX);
    return 0;
}

int emu_linear(const struct emu_cpu *cpu, const struct emu_memory *memory, enum seg seg, uint64_t offset,
               unsigned size, bool write, gva_t *out, struct emu_fault *fault)
{
    uint64_t at = offset;

    if (unlikely(cpu->code != CODE_64))
        return linear_legacy(cpu, memory, seg, offset, size, write, out, fault);
    if (unlikely(seg == SEG_FS || seg == SEG_GS)) {
        struct emu_segment segment;

        memory->segment(memory->context, seg, &segment);
        at += segment.base;
    }
    if (unlikely(!canonical(at) || !canonical(at + size - 1)))
        return segment_fault(cpu, seg, fault);
    *out = gva(at);
    return 0;
}

int emu_read(const struct emu_cpu *cpu, const struct emu_memory *memory, enum seg seg, uint64_t offset,
             unsigned size, uint64_t *value, struct emu_fault *fault)
{
    gva_t at;
    int status = emu_linear(cpu, memory, seg, offset, size, false, &at, fault);

    if (status != 0)
        return status;
    return memory->read(memory->context, at, size, value, fault);
}

int emu_write(const struct emu_cpu *cpu, const struct emu_memory *memory, enum seg seg, uint64_t offset,
              unsigned size, uint64_t value, struct emu_fault *fault)
{
    gva_t at;
    int status = emu_linear(cpu, memory, seg, offset, size, true, &at, fault);

    if (status != 0)
        return status;
    return memory->write(memory->context, at, size, value, fault);
}

void emu_set_gpr(struct emu_cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
    uint64_t mask = size_mask(size);

    if (size >= 4)
        cpu->gpr[reg] = value & mask;
    else
        cpu->gpr[reg] = (cpu->gpr[reg] & ~mask) | (value & mask);
}
