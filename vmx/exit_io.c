/* Port I/O: IN, OUT and their string forms (AMD APM vol. 3, IN, OUT, INSx, OUTSx). */
#include "vmx/fetch.h"
#include "lib/errno.h"

static inline uint64_t size_mask(unsigned size)
{
    return size == 4 ? UINT32_MAX : size == 2 ? UINT16_MAX : UINT8_MAX;
}

/* A register as the address size sees it. */
static uint64_t truncate(uint64_t value, unsigned address_size)
{
    return address_size == 8 ? value : address_size == 4 ? (uint32_t)value : (uint16_t)value;
}

static void add_to(uint64_t *reg, int64_t step, unsigned address_size)
{
    uint64_t sum = *reg + (uint64_t)step;

    if (address_size == 8)
        *reg = sum;
    else if (address_size == 4)
        *reg = (uint32_t)sum;
    else
        *reg = (*reg & ~UINT64_C(0xffff)) | (uint16_t)sum;
}

/* One element between a port and memory; 0, -EFAULT with *fault filled, -EIO. */
static int transfer(struct vcpu *vcpu, const struct emu_memory *memory, const struct insn *insn, struct emu_fault *fault)
{
    const struct vmexit *exit = &vcpu->exit;
    enum seg seg = exit->io.in ? SEG_ES : insn->seg;
    uint64_t *index = &vcpu->gpr[exit->io.in ? GPR_RDI : GPR_RSI];
    struct emu_segment s;
    uint64_t value;
    gva_t at;
    int err;

    memory->segment(memory->context, seg, &s);
    if (vmx_ops->code_size(vcpu) == CODE_64 && seg != SEG_FS && seg != SEG_GS)
        s.base = 0;
    at = gva(s.base + truncate(*index, insn->address_size));
    if (exit->io.in) {
        value = iobus_read(&vcpu->vm->ports, exit->io.port, exit->io.size);
        err = memory->write(memory->context, at, exit->io.size, value, fault);
    } else {
        err = memory->read(memory->context, at, exit->io.size, &value, fault);
        if (!err)
            iobus_write(&vcpu->vm->ports, exit->io.port, exit->io.size, value);
    }
    if (!err)
        add_to(index, vcpu->rflags & BIT(10) ? -(int64_t)exit->io.size : exit->io.size, insn->address_size);
    return err;
}

/*
 * INS and OUTS, with REP at most EMU_REP_MAX elements at once: the instruction then runs again. Segment and address size are the
 * instruction's own: only a CPU with decode assists tells the one, and QEMU's emulated CPU does not tell the other.
 */
static __cold void string_io(struct vcpu *vcpu)
{
    const struct vmexit *exit = &vcpu->exit;
    unsigned left = EMU_REP_MAX;
    struct emu_memory memory;
    struct emu_fault fault;
    const struct insn *insn;
    int err = fetch_insn(vcpu, vmx_ops->code_size(vcpu), &insn, &fault);

    memory_ops(vcpu, &memory);
    while (!err) {
        if (exit->io.rep && truncate(vcpu->gpr[GPR_RCX], insn->address_size) == 0)
            break;
        if (left-- == 0)
            return;
        err = transfer(vcpu, &memory, insn, &fault);
        if (err || !exit->io.rep)
            break;
        add_to(&vcpu->gpr[GPR_RCX], -1, insn->address_size);
    }
    if (err == -EFAULT)
        fetch_raise(vcpu, &fault);
    else if (err)
        vm_die(vcpu->vm, "vCPU %u: string I/O on port 0x%x at RIP 0x%llx cannot be executed", vcpu->index, exit->io.port,
               (unsigned long long)vcpu->rip);
    else
        vcpu_advance(vcpu);
}

void exit_io(struct vcpu *vcpu)
{
    const struct vmexit *exit = &vcpu->exit;
    uint64_t *rax = &vcpu->gpr[GPR_RAX], mask = size_mask(exit->io.size);

    if (unlikely(exit->io.string)) {
        string_io(vcpu);
        return;
    }
    vcpu_advance(vcpu);
    if (!exit->io.in)
        iobus_write(&vcpu->vm->ports, exit->io.port, exit->io.size, *rax & mask);
    else if (exit->io.size == 4)
        *rax = (uint32_t)iobus_read(&vcpu->vm->ports, exit->io.port, 4);
    else
        *rax = (*rax & ~mask) | (iobus_read(&vcpu->vm->ports, exit->io.port, exit->io.size) & mask);
}
