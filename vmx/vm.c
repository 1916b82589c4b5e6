/* A VM's memory, and the choice of the back end. */
#include "vmx/vm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "vmx/guestmap.h"
#include "vmx/reclaim.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmx/vcpu.h"

const struct vmx_ops *vmx_ops;

/* The features of the CPU that the command line takes away: names with commas between. */
static void do_without(const struct vmx_ops *ops, const char *list)
{
    char name[24];

    while ((list = next_name(list, name, sizeof(name))) != NULL)
        if (!ops->without || ops->without(name))
            log_warn("without=%s: %s has no such feature (%s)", name, ops->name,
                     ops->features ? ops->features : "there are none to name");
}

void vm_init(const char *without)
{
    static const struct vmx_ops *const known[] = { &vmx_ops_amd, &vmx_ops_intel };

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        if (!known[i]->present())
            continue;
        do_without(known[i], without);
        if (known[i]->cpu_enable(this_cpu()) == 0)
            vmx_ops = known[i];
        return;
    }
    log_error(
        "virtualisation: this CPU (%s) is of no kind that Plinth knows; virtual machines cannot be started",
        cpu_features.vendor_name);
}

int vm_cpu_enable(struct cpu *cpu)
{
    return vmx_ops ? vmx_ops->cpu_enable(cpu) : 0;
}

enum vm_spoil vm_spoil;

void vm_spoil_entry(const char *what)
{
    vm_spoil = strcmp(what, "state") == 0     ? VM_SPOIL_STATE
               : strcmp(what, "control") == 0 ? VM_SPOIL_CONTROL
                                              : VM_SPOIL_NOTHING;
    if (vm_spoil == VM_SPOIL_NOTHING)
        log_warn("spoil=%s is not understood: state and control are", what);
}

static void free_chunks(struct vm *vm, struct gmem_slot *slot)
{
    for (uint64_t i = 0; i < slot->size / GMEM_CHUNK; i++)
        if (slot->chunk[i])
            frames_free(virt_to_phys(slot->chunk[i]), FRAME_ORDER_2M, FRAME_VM + vm->index);
    heap_free(slot->chunk);
}

static int fill_slot(struct vm *vm, gpa_t base, uint64_t size)
{
    struct gmem_slot *slot = &vm->mem.slot[vm->mem.count];
    uint64_t chunks = size / GMEM_CHUNK;

    *slot = (struct gmem_slot){ .base = base, .size = size, .chunk = heap_alloc(chunks * sizeof(uint8_t *)) };
    if (!slot->chunk)
        return -ENOMEM;
    vm->mem.count++;
    for (uint64_t i = 0; i < chunks; i++) {
        hpa_t block = frames_alloc(FRAME_ORDER_2M, FRAME_VM + vm->index);

        if (!block.raw)
            return -ENOMEM;
        slot->chunk[i] = phys_to_virt(block);
    }
    return 0;
}

static void free_memory(struct vm *vm)
{
    while (vm->mem.count)
        free_chunks(vm, &vm->mem.slot[--vm->mem.count]);
}

int vm_create_memory(struct vm *vm, uint64_t size)
{
    uint64_t low = min_u64(size, GUEST_LOW_MAX);
    int err;

    if (!vmx_ops)
        return -ENODEV;
    vm->mem = (struct gmem){ .hole_base = gpa(GUEST_HOLE_BASE), .hole_size = GUEST_HOLE_SIZE };
    err = fill_slot(vm, gpa(0), low);
    if (!err && size > low)
        err = fill_slot(vm, gpa(GUEST_HIGH_BASE), size - low);
    if (vm->balloon)
        vm->mem.fill = reclaim_on_demand;
    else
        vm->mem.direct = low;
    if (!err)
        err = vmx_ops->memory_create(vm);
    if (err)
        free_memory(vm);
    return err;
}

void vm_destroy_memory(struct vm *vm)
{
    vmx_ops->memory_destroy(vm);
    free_memory(vm);
}

void vm_pause(struct vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        sched_stop(&vm->vcpu[i]->task);
}

/* A vCPU that has nothing to do finds that out itself. */
void vm_resume(struct vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        sched_start(&vm->vcpu[i]->task);
}

void vm_die(struct vm *vm, const char *fmt, ...)
{
    char reason[200];
    va_list args;

    if (vm->dead)
        return;
    vm->dead = true;
    va_start(args, fmt);
    format_text_v(reason, sizeof(reason), fmt, args);
    va_end(args);
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        vcpu_note(vm->vcpu[i], PEND_LEAVE);
    vm->died(vm, reason);
}
