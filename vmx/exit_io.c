/* Port I/O: IN, OUT and their string forms (AMD APM vol. 3, IN, OUT, INSx, OUTSx). */
#include "vmx/emulate_address.h"
#include "vmx/fetch.h"
#include "vmx/device.h"
#include "lib/errno.h"

static void add_to(uint64_t *reg, int64_t step, unsigned address_size)
{
    uint64_t mask = size_mask(address_size), sum = (*reg + (uint64_t)step) & mask;

    *reg = address_size == 2 ? (*reg & ~mask) | sum : sum;
}

/*
 * One element between a port and memory; 0, -EFAULT with the step's fault filled, -EIO. A port is read only
 * if the memory can be written.
 */
static int transfer(struct vcpu *vcpu, const struct emu_step *step)
{
    const struct vmexit *exit = &vcpu->exit;
    const struct emu_memory *memory = step->memory;
    const struct insn *insn = step->insn;
    uint64_t *index = &vcpu->gpr[exit->io.in ? GPR_RDI : GPR_RSI];
    uint64_t offset = *index & size_mask(insn->address_size), value;
    unsigned size = exit->io.size;
    gva_t at;
    int err = emu_linear(step, exit->io.in ? SEG_ES : insn->seg, offset, size, exit->io.in, &at);

    if (!err && exit->io.in)
        err = memory_probe(vcpu, at, size, step->fault);
    if (err)
        return err;
    if (exit->io.in) {
        value = port_read(vcpu, exit->io.port, size);
        err = memory->write(memory->context, at, size, value, step->fault);
    } else {
        err = memory->read(memory->context, at, size, &value, step->fault);
        if (!err)
            port_write(vcpu, exit->io.port, size, value);
    }
    if (!err)
        add_to(index, vcpu->rflags & BIT(10) ? -(int64_t)size : size, insn->address_size);
    return err;
}

/*
 * INS and OUTS, with REP at most EMU_REP_MAX elements at once: the instruction then runs again. Segment and
 * address size are the instruction's own: only a CPU with decode assists tells the one, and QEMU's emulated
 * CPU does not tell the other.
 */
static __cold void string_io(struct vcpu *vcpu)
{
    const struct vmexit *exit = &vcpu->exit;
    unsigned left = EMU_REP_MAX;
    struct emu_memory memory;
    struct emu_fault fault;
    struct emu_cpu cpu;
    const struct insn *insn;
    int err = fetch_insn(vcpu, vmx_ops->code_size(vcpu), &insn, &fault);
    struct emu_step step = { .cpu = &cpu, .memory = &memory, .fault = &fault };

    memory_ops(vcpu, &memory);
    fetch_cpu(vcpu, &cpu);
    if (!err)
        step.insn = insn;
    while (!err) {
        if (exit->io.rep && (vcpu->gpr[GPR_RCX] & size_mask(insn->address_size)) == 0)
            break;
        if (left-- == 0) {
            vcpu->shadow = 0;
            return;
        }
        err = transfer(vcpu, &step);
        if (err || !exit->io.rep)
            break;
        add_to(&vcpu->gpr[GPR_RCX], -1, insn->address_size);
    }
    if (err == -EFAULT)
        fetch_raise(vcpu, &fault);
    else if (err)
        vm_die(vcpu->vm, "vCPU %u: string I/O on port 0x%x at RIP 0x%llx cannot be executed", vcpu->index,
               exit->io.port, (unsigned long long)vcpu->rip);
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
        port_write(vcpu, exit->io.port, exit->io.size, *rax & mask);
    else if (exit->io.size == 4)
        *rax = (uint32_t)port_read(vcpu, exit->io.port, 4);
    else
        *rax = (*rax & ~mask) | (port_read(vcpu, exit->io.port, exit->io.size) & mask);
}
