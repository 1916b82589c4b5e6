/* A task switch that the CPU leaves to us: task.c does it, on the guest's memory as the switch changes it. */
#include "vmx/fetch.h"
#include "vmx/task.h"
#include "arch/x86_64/cpu.h"
#include "lib/errno.h"

/* Translation during the switch: CR3 changes in the middle of it. */
struct view {
    struct vcpu *vcpu;
    struct gva_mode mode;
    gpa_t lost; /* what was wanted and is not RAM */
};

/* An access in host memory: in two pieces if it crosses a page. */
struct span {
    uint8_t *piece[2];
    unsigned first; /* bytes in piece[0]; piece[1] is NULL if that is all */
};

static uint8_t *locate_piece(struct view *view, gva_t at, unsigned size, unsigned access, int *err,
                             struct emu_fault *fault)
{
    const struct gmem *mem = &view->vcpu->vm->mem;
    uint32_t error;
    uint8_t *host;
    gpa_t found;

    at.raw = (uint32_t)at.raw;
    if (gva_translate(mem, &view->mode, at, access, &found, &error)) {
        *fault = (struct emu_fault){ .vector = VECTOR_PF, .has_error = true, .error = error, .cr2 = at.raw };
        *err = -EFAULT;
        return NULL;
    }
    host = gmem_ptr(mem, found, size);
    if (!host) {
        view->lost = found;
        *err = -EIO;
    }
    return host;
}

/* `size` is at most a page. */
static int locate(struct view *view, gva_t at, unsigned size, unsigned access, struct span *out,
                  struct emu_fault *fault)
{
    int err = 0;

    out->piece[1] = NULL;
    out->first = (unsigned)min_u64(size, PAGE_SIZE - (at.raw & PAGE_MASK));
    out->piece[0] = locate_piece(view, at, out->first, access, &err, fault);
    if (!err && out->first < size)
        out->piece[1] = locate_piece(view, gva(at.raw + out->first), size - out->first, access, &err, fault);
    return err;
}

static int view_read(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault)
{
    struct span span;
    int err = locate(context, at, size, GVA_IMPLICIT, &span, fault);

    if (err)
        return err;
    *value = 0;
    memcpy(value, span.piece[0], span.first);
    if (span.piece[1])
        memcpy((uint8_t *)value + span.first, span.piece[1], size - span.first);
    return 0;
}

static int write_as(struct view *view, gva_t at, unsigned size, uint64_t value, unsigned access,
                    struct emu_fault *fault)
{
    struct span span;
    int err = locate(view, at, size, GVA_WRITE | access, &span, fault);

    if (err)
        return err;
    memcpy(span.piece[0], &value, span.first);
    if (span.piece[1])
        memcpy(span.piece[1], (const uint8_t *)&value + span.first, size - span.first);
    return 0;
}

static int view_write(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault)
{
    return write_as(context, at, size, value, GVA_IMPLICIT, fault);
}

static int view_mark(void *context, gva_t at, uint8_t clear, uint8_t set, struct emu_fault *fault)
{
    struct span span;
    int err = locate(context, at, 1, GVA_WRITE | GVA_IMPLICIT, &span, fault);

    if (err)
        return err;
    if (clear)
        __atomic_and_fetch(span.piece[0], (uint8_t)~clear, __ATOMIC_ACQ_REL);
    if (set)
        __atomic_or_fetch(span.piece[0], set, __ATOMIC_ACQ_REL);
    return 0;
}

static int view_probe(void *context, gva_t at, unsigned size, struct emu_fault *fault)
{
    struct span span;

    return locate(context, at, size, GVA_WRITE | GVA_IMPLICIT, &span, fault);
}

static int view_push(void *context, const struct task_cpu *cpu, gva_t at, unsigned size, uint64_t value,
                     struct emu_fault *fault)
{
    struct view *view = context;

    view->mode.cpl = task_cpl(&cpu->system);
    view->mode.rflags_ac = cpu->rflags & RFLAGS_AC;
    return write_as(view, at, size, value, 0, fault);
}

/* PAE's four entries are loaded with CR3; a CPU does not take reserved bits in them (SDM vol. 3, 4.4.1). */
static int view_cr3(void *context, uint64_t value, bool load, struct emu_fault *fault)
{
    struct view *view = context;
    uint64_t pdpte[4];

    if (view->mode.cr4 & CR4_PAE) {
        if (gva_read_pdptes(&view->vcpu->vm->mem, value, view->vcpu->cpuid.phys_bits, pdpte)) {
            *fault = (struct emu_fault){ .vector = VECTOR_GP, .has_error = true };
            return -EFAULT;
        }
        if (load && view->mode.use_pdpte)
            memcpy(view->mode.pdpte, pdpte, sizeof(pdpte));
    }
    if (load)
        view->mode.cr3 = value;
    return 0;
}

/* The new task becomes the vCPU's state. */
static void enter(struct vcpu *vcpu, const struct task_cpu *cpu)
{
    memcpy(vcpu->gpr, cpu->gpr, sizeof(cpu->gpr));
    vcpu->rip = cpu->rip;
    vcpu->rflags = cpu->rflags;
    vmx_ops->set_system(vcpu, &cpu->system);
}

static int switch_tasks(struct vcpu *vcpu, struct view *view, bool *trap, struct emu_fault *fault)
{
    const struct vmexit *exit = &vcpu->exit;
    const struct task_request request = { .selector = exit->task.selector,
                                          .source = exit->task.source,
                                          .length = exit->length,
                                          .has_error = exit->task.has_error,
                                          .error = exit->task.error };
    const struct task_memory memory = { view_read, view_write, view_mark, view_probe,
                                        view_push, view_cr3,   view };
    struct task_cpu cpu = { .rip = vcpu->rip, .rflags = vcpu->rflags };
    int err;

    memcpy(cpu.gpr, vcpu->gpr, sizeof(cpu.gpr));
    vmx_ops->get_system(vcpu, &cpu.system);
    err = task_switch(&request, &cpu, &memory, fault);
    if (cpu.entered)
        enter(vcpu, &cpu);
    *trap = cpu.trap;
    return err;
}

/*
 * The event that came to a gate is delivered when the new task runs. Until then a fault in the switch is one
 * in its delivery: together they may be a double fault. The old task's single-step trap is not owed: it is
 * the new task's TF that counts from here.
 */
void exit_task_switch(struct vcpu *vcpu)
{
    struct view view = { .vcpu = vcpu };
    struct emu_fault fault;
    bool trap;
    int err;

    vmx_ops->paging(vcpu, &view.mode);
    err = switch_tasks(vcpu, &view, &trap, &fault);
    vcpu->shadow = 0;
    if (err == -EIO) {
        vm_die(
            vcpu->vm,
            "vCPU %u has a task or a descriptor table at guest physical 0x%llx, where there is no RAM (RIP "
            "0x%llx)",
            vcpu->index, (unsigned long long)view.lost.raw, (unsigned long long)vcpu->rip);
    } else if (err) {
        fetch_raise(vcpu, &fault);
    } else {
        vcpu->event.valid = false;
        if (trap)
            vcpu_raise(vcpu, VECTOR_DB, false, 0);
    }
}
