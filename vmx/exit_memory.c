/* Access to guest physical addresses without RAM: decoded, executed, and handed to the device that is there. */
#include "vmx/fetch.h"
#include "lib/errno.h"
#include "lib/format.h"

/* The instruction's bytes, for a message. */
static void format_bytes(struct vcpu *vcpu, char *to, size_t size)
{
    uint8_t bytes[INSN_MAX];
    struct emu_fault fault;
    int count = fetch_bytes(vcpu, bytes, sizeof(bytes), &fault);
    size_t at = 0;

    to[0] = '\0';
    for (int i = 0; i < count && at + 4 < size; i++)
        at += (size_t)format_text(to + at, size - at, " %02x", bytes[i]);
}

static __cold void die_unknown_insn(struct vcpu *vcpu)
{
    char bytes[64];

    format_bytes(vcpu, bytes, sizeof(bytes));
    vm_die(vcpu->vm, "vCPU %u at RIP 0x%llx accesses a device at 0x%llx with an instruction that Plinth does not emulate:%s",
           vcpu->index, (unsigned long long)vcpu->rip, (unsigned long long)vcpu->exit.memory.at.raw, bytes);
}

/* Accesses that no PC's bus could satisfy: the guest has lost its way. True if so. */
static bool is_hopeless(struct vcpu *vcpu)
{
    unsigned long long at = vcpu->exit.memory.at.raw, rip = vcpu->rip;

    if (vcpu->exit.memory.walk)
        vm_die(vcpu->vm, "vCPU %u has page tables at guest physical 0x%llx, where there is no RAM (RIP 0x%llx)", vcpu->index, at,
               rip);
    else if (vcpu->exit.memory.fetch)
        vm_die(vcpu->vm, "vCPU %u jumped to guest physical 0x%llx, where there is no RAM (RIP 0x%llx)", vcpu->index, at, rip);
    else if (vcpu->exit.memory.delivering)
        vm_die(vcpu->vm, "vCPU %u has its stack or descriptor tables at guest physical 0x%llx, where there is no RAM (RIP 0x%llx)",
               vcpu->index, at, rip);
    else
        return false;
    return true;
}

static int get_insn(struct vcpu *vcpu, const struct insn **insn, struct emu_fault *fault)
{
    const struct vmexit *exit = &vcpu->exit;

    if (exit->memory.bytes_count && decode_cached(&vcpu->decoded, exit->memory.bytes, exit->memory.bytes_count,
                                                  vmx_ops->code_size(vcpu), insn) == 0)
        return 0;
    return fetch_insn(vcpu, insn, fault);
}

/* Only one address in memory can be meant by the exit: the instruction has no second one. */
static bool has_one_operand(const struct insn *insn)
{
    switch (insn->op) {
    case OP_MOVS:
    case OP_CMPS:
    case OP_PUSH:
    case OP_POP:
        return false;
    default:
        return true;
    }
}

void exit_memory(struct vcpu *vcpu)
{
    struct emu_memory memory;
    struct emu_fault fault;
    struct emu_cpu cpu;
    const struct insn *insn;
    int err;

    if (unlikely(vcpu->exit.memory.walk || vcpu->exit.memory.fetch || vcpu->exit.memory.delivering) && is_hopeless(vcpu))
        return;
    err = get_insn(vcpu, &insn, &fault);
    if (likely(!err)) {
        memory_ops(vcpu, &memory);
        fetch_cpu(vcpu, &cpu);
        vcpu->fault_known = has_one_operand(insn);
        err = emulate(insn, &cpu, &memory, &fault);
        vcpu->fault_known = false;
    }
    if (likely(!err)) {
        bool done = vcpu->rip != cpu.rip;

        vcpu->rip = cpu.rip;
        vcpu->rflags = cpu.rflags;
        vcpu->shadow = 0;
        if (unlikely(vcpu->rflags & RFLAGS_TF) && done)
            vcpu_single_step(vcpu);
    } else if (err == -EFAULT) {
        fetch_raise(vcpu, &fault);
    } else {
        die_unknown_insn(vcpu);
    }
}
