/* Access to guest physical addresses without RAM: decoded, executed, and handed to the device that is there.
 */
#include "vmx/fetch.h"
#include "vmx/device.h"
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
    vm_die(vcpu->vm,
           "vCPU %u at RIP 0x%llx accesses a device at 0x%llx with an instruction that Plinth does not "
           "emulate:%s",
           vcpu->index, (unsigned long long)vcpu->rip, (unsigned long long)vcpu->exit.memory.at.raw, bytes);
}

/* Accesses that no PC's bus could satisfy: the guest has lost its way. True if so. */
static bool is_hopeless(struct vcpu *vcpu)
{
    unsigned long long at = vcpu->exit.memory.at.raw, rip = vcpu->rip;

    if (vcpu->exit.memory.walk)
        vm_die(vcpu->vm,
               "vCPU %u has page tables at guest physical 0x%llx, where there is no RAM (RIP 0x%llx)",
               vcpu->index, at, rip);
    else if (vcpu->exit.memory.fetch)
        vm_die(vcpu->vm, "vCPU %u jumped to guest physical 0x%llx, where there is no RAM (RIP 0x%llx)",
               vcpu->index, at, rip);
    else if (vcpu->exit.memory.delivering)
        vm_die(vcpu->vm,
               "vCPU %u has its stack or descriptor tables at guest physical 0x%llx, where there is no RAM "
               "(RIP 0x%llx)",
               vcpu->index, at, rip);
    else
        return false;
    return true;
}

static int get_insn(struct vcpu *vcpu, enum code_size code, const struct insn **insn, struct emu_fault *fault)
{
    const struct vmexit *exit = &vcpu->exit;

    if (exit->memory.bytes_count &&
        decode_cached(&vcpu->decoded, exit->memory.bytes, exit->memory.bytes_count, code, insn) == 0)
        return 0;
    return fetch_insn(vcpu, code, insn, fault);
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

/*
 * A MOV between a register, or a constant, and a device: nearly all that drivers do. The exit tells the
 * physical address, and it came only after the CPU had checked segment and page rights, so what is left to
 * see is that it is the operand's own start, and that another vCPU has not put a store where the CPU saw a
 * load: a page may be there to be read only.
 */
static inline bool is_plain_mov(const struct vcpu *vcpu, const struct insn *insn)
{
    uint64_t at = vcpu->exit.memory.at.raw, linear = (uint64_t)insn->displacement;

    if (insn->op != OP_MOV || insn->seg >= SEG_FS || insn->rip_relative ||
        insn->to.kind + insn->from.kind == OPERAND_MEM + OPERAND_REG_HIGH)
        return false;
    if ((insn->to.kind == OPERAND_MEM) != vcpu->exit.memory.write)
        return false;
    if (insn->base >= 0)
        linear += vcpu->gpr[insn->base];
    if (insn->index >= 0)
        linear += vcpu->gpr[insn->index] * insn->scale;
    return !((linear ^ at) & PAGE_MASK) && (at & PAGE_MASK) + insn->to.size <= PAGE_SIZE;
}

static inline void plain_mov(struct vcpu *vcpu, const struct insn *insn)
{
    uint64_t at = vcpu->exit.memory.at.raw,
             mask = insn->to.size == 8 ? UINT64_MAX : BIT(8 * insn->to.size) - 1;

    if (insn->to.kind == OPERAND_MEM) {
        uint64_t value = insn->from.kind == OPERAND_IMM ? insn->immediate : vcpu->gpr[insn->from.reg];

        mmio_write(vcpu, at, insn->to.size, value & mask);
    } else {
        uint64_t *reg = &vcpu->gpr[insn->to.reg], value = mmio_read(vcpu, at, insn->to.size);

        *reg = insn->to.size >= 4 ? value : (*reg & ~mask) | value;
    }
    vcpu->exit.length = insn->length;
    vcpu_advance(vcpu);
}

/* Everything else, by the emulator. */
static void emulate_insn(struct vcpu *vcpu, const struct insn *insn)
{
    struct emu_memory memory;
    struct emu_fault fault;
    struct emu_cpu cpu;
    int err;

    memory_ops(vcpu, &memory);
    fetch_cpu(vcpu, &cpu);
    vcpu->fault_known = has_one_operand(insn);
    err = emulate(insn, &cpu, &memory, &fault);
    vcpu->fault_known = false;
    if (!err) {
        bool done = vcpu->rip != cpu.rip;

        vcpu->rip = cpu.rip;
        vcpu->rflags = cpu.rflags;
        vcpu->shadow = 0;
        if (done)
            vcpu_completed(vcpu);
    } else if (err == -EFAULT) {
        fetch_raise(vcpu, &fault);
    } else {
        die_unknown_insn(vcpu);
    }
}

/* RAM that was away is back, or the VM is at its end: the guest does again what led here. */
static __attribute__((noinline)) bool came_back(const struct vcpu *vcpu)
{
    return gmem_find(&vcpu->vm->mem, vcpu->exit.memory.at, 1) || vcpu->vm->dead;
}

void exit_memory(struct vcpu *vcpu)
{
    enum code_size code = vmx_ops->code_size(vcpu);
    const struct insn *insn;
    struct emu_fault fault;
    int err;

    if (unlikely(vcpu->vm->balloon) && came_back(vcpu))
        return;
    if (unlikely(vcpu->exit.memory.walk || vcpu->exit.memory.fetch || vcpu->exit.memory.delivering) &&
        is_hopeless(vcpu))
        return;
    err = get_insn(vcpu, code, &insn, &fault);
    if (unlikely(err == -EFAULT))
        fetch_raise(vcpu, &fault);
    else if (unlikely(err))
        die_unknown_insn(vcpu);
    else if (likely(code == CODE_64 && is_plain_mov(vcpu, insn)))
        plain_mov(vcpu, insn);
    else
        emulate_insn(vcpu, insn);
}
