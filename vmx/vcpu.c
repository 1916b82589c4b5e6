/* A virtual CPU's life, and the loop that runs it. */
#include "vmx/vcpu.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/xstate.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/kvm_sched.h"

#define CR0_RESET UINT64_C(0x60000010) /* CD NW ET */
#define DR6_RESET UINT64_C(0xffff0ff0)
#define DR7_RESET UINT64_C(0x400)

/* The registers after INIT: AMD APM vol. 2, table 14-1. */
static void set_reset_state(struct vcpu *vcpu)
{
    struct vcpu_system s = { .cr0 = CR0_RESET, .dr6 = DR6_RESET, .dr7 = DR7_RESET };

    for (unsigned i = 0; i < SEG_COUNT; i++)
        s.segment[i] = (struct vcpu_segment){ 0, 0x93, 0xffff, 0 };
    s.segment[SEG_CS] = (struct vcpu_segment){ 0xf000, 0x9b, 0xffff, 0xffff0000 };
    s.ldtr = (struct vcpu_segment){ 0, 0x82, 0xffff, 0 };
    s.tr = (struct vcpu_segment){ 0, 0x8b, 0xffff, 0 };
    s.gdtr.limit = s.idtr.limit = 0xffff;
    memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
    vcpu->gpr[GPR_RDX] = vcpu->cpuid.basic[1].regs.eax;
    vcpu->rip = 0xfff0;
    vcpu->rflags = RFLAGS_FIXED;
    memset(vcpu->dr, 0, sizeof(vcpu->dr));
    vcpu->dr_used = false;
    vmx_ops->vcpu_reset(vcpu);
    vmx_ops->set_system(vcpu, &s);
}

static void clear_events(struct vcpu *vcpu)
{
    vcpu->event.valid = false;
    vcpu->shadow = 0;
    vcpu->window = vcpu->nmi_masked = vcpu->nmi_stepping = false;
    vcpu->cr8 = 0;
    vcpu->kvm_eoi = 0; /* as intc->reset() does */
    vcpu->code_page.linear = CODE_PAGE_NONE;
    vcpu->fetch_memo.page = 0;
    vcpu->pending = PEND_EVENT;
}

void vcpu_init_reset(struct vcpu *vcpu)
{
    clear_events(vcpu);
    set_reset_state(vcpu);
    vcpu->state = vcpu->index ? VCPU_WAIT_SIPI : VCPU_RUNNABLE;
}

/* CS:IP = vector00h:0000h (APM vol. 2, 16.5). */
static void startup(struct vcpu *vcpu)
{
    struct vcpu_system s;

    if (vcpu->state != VCPU_WAIT_SIPI)
        return;
    vmx_ops->get_system(vcpu, &s);
    s.segment[SEG_CS].selector = (uint16_t)(vcpu->startup_vector << 8);
    s.segment[SEG_CS].base = (uint64_t)vcpu->startup_vector << 12;
    vmx_ops->set_system(vcpu, &s);
    vcpu->rip = 0;
    vcpu->state = VCPU_RUNNABLE;
}

static inline void load(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();

    if (cpu->vcpu == vcpu)
        return;
    if (vcpu->steal_area)
        kvm_show_running(vcpu);
    ASSERT(!cpu->vcpu && (!cpu->xstate || cpu->xstate == vcpu->xstate));
    cpu->vcpu = vcpu;
    vcpu->cpu = cpu;
    recorder_note(cpu, RECORD_LOAD, 0, vcpu->exit.whose, 0, vcpu->rip);
    xstate_switch(cpu, vcpu->xstate, vcpu->xcr0);
    if (unlikely(vcpu->dr_used))
        debug_load(vcpu);
    if (unlikely(cpu->tsc_aux != vcpu->tsc_aux))
        msr_load(vcpu);
    vmx_ops->load(vcpu);
}

static inline void unload_from(struct cpu *cpu, struct vcpu *vcpu)
{
    vmx_ops->unload(vcpu);
    if (unlikely(vcpu->dr_used))
        debug_unload(vcpu);
    cpu->vcpu = NULL;
    if (vcpu->steal_area)
        kvm_show_waiting(vcpu);
}

static inline void unload(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();

    if (cpu->vcpu == vcpu)
        unload_from(cpu, vcpu);
}

static __attribute__((noinline)) void note_leave(struct cpu *cpu, const struct vcpu *vcpu)
{
    recorder_note(cpu, RECORD_LEAVE, vcpu->state == VCPU_HALTED, vcpu->exit.whose, 0, vcpu->rip);
}

static void leave(struct sched_task *task)
{
    struct vcpu *vcpu = container_of(task, struct vcpu, task);
    struct cpu *cpu = this_cpu();

    if (cpu->vcpu != vcpu)
        return;
    note_leave(cpu, vcpu);
    unload_from(cpu, vcpu);
}

static void put_away(struct sched_task *task)
{
    struct vcpu *vcpu = container_of(task, struct vcpu, task);
    struct cpu *cpu = this_cpu();

    if (cpu->vcpu == vcpu) {
        if (vcpu->state != VCPU_RUNNABLE) /* else it is the turn of another, which is noted */
            note_leave(cpu, vcpu);
        unload_from(cpu, vcpu);
    }
    xstate_put_away(cpu, vcpu->xstate);
    vmx_ops->put_away(vcpu);
}

static void take_timer(struct vcpu *vcpu)
{
    vcpu_done(vcpu, PEND_TIMER);
    vcpu->intc->timer_due(vcpu->intc_context);
}

/* The rare bits of the pending word. False: it is to leave the CPU. */
static __attribute__((noinline)) bool change_state(struct vcpu *vcpu, uint64_t pending)
{
    vcpu_done(vcpu, PEND_INIT | PEND_STARTUP | PEND_SPOIL);
    if ((pending & PEND_SPOIL) && vm_spoil != VM_SPOIL_NOTHING) {
        vmx_ops->spoil(vcpu, vm_spoil == VM_SPOIL_CONTROL);
        vm_spoil = VM_SPOIL_NOTHING;
    }
    if (pending & PEND_TIMER)
        take_timer(vcpu);
    if (pending & PEND_INIT) {
        unload(vcpu); /* what the CPU holds of the old state must not come back */
        vcpu_init_reset(vcpu);
        vcpu->intc->reset(vcpu->intc_context);
        load(vcpu);
    }
    if (pending & PEND_STARTUP)
        startup(vcpu);
    if (vcpu->state == VCPU_HALTED && vcpu_wakes(vcpu))
        vcpu_wake_up(vcpu);
    if ((vcpu->pending & PEND_LEAVE) || vcpu->state != VCPU_RUNNABLE || vcpu->vm->dead) {
        vcpu_done(vcpu, PEND_LEAVE);
        return false;
    }
    return true;
}

static __attribute__((noinline)) bool prepare(struct vcpu *vcpu, uint64_t pending)
{
    const struct cpu *cpu = vcpu->cpu;

    if (unlikely(pending & ~(PEND_EVENT | PEND_NMI)) && !change_state(vcpu, pending))
        return false;
    event_deliver(vcpu);
    if (cpu->timers.next != cpu->timer_programmed)
        vmx_ops->set_deadline(vcpu, cpu->timers.next);
    return true;
}

bool vcpu_prepare(struct vcpu *vcpu)
{
    uint64_t pending = __atomic_load_n(&vcpu->pending, __ATOMIC_ACQUIRE);

    if (!pending) { /* then it is the hardware timer: vcpu_goes_on() */
        vmx_ops->set_deadline(vcpu, vcpu->cpu->timers.next);
        return true;
    }
    if (pending == PEND_LEAVE) {
        vcpu_done(vcpu, PEND_LEAVE);
        return false;
    }
    return prepare(vcpu, pending);
}

static void interrupt(struct sched_task *task)
{
    vcpu_note(container_of(task, struct vcpu, task), PEND_LEAVE);
}

static inline bool runs(const struct vcpu *vcpu)
{
    return vcpu->state == VCPU_RUNNABLE && !vcpu->vm->dead;
}

/* It is halted, waits for a start-up IPI, is stopped, or its VM is dead. */
static bool may_run(struct vcpu *vcpu)
{
    if (vcpu->vm->dead)
        return false;
    if (vcpu->pending & PEND_TIMER)
        take_timer(vcpu);
    if (vcpu->state == VCPU_HALTED && vcpu_wakes(vcpu)) {
        vcpu_wake_up(vcpu);
        return true;
    }
    return vcpu->state == VCPU_RUNNABLE ||
           (vcpu->state != VCPU_STOPPED && (vcpu->pending & (PEND_INIT | PEND_STARTUP)));
}

/* Not inline, so that the vCPU's fields are found from its own address. */
static __attribute__((noinline)) bool run_vcpu(struct vcpu *vcpu)
{
    if (!runs(vcpu) && !may_run(vcpu))
        return false;
    load(vcpu);
    if (vcpu_goes_on(vcpu) || vcpu_prepare(vcpu))
        vmx_ops->enter(vcpu);
    return runs(vcpu);
}

static bool run(struct sched_task *task)
{
    return run_vcpu(container_of(task, struct vcpu, task));
}

/* One that is in the middle of an exit on this CPU finds the bits itself. */
void vcpu_post(struct vcpu *vcpu, uint64_t bits)
{
    __atomic_or_fetch(&vcpu->pending, bits, __ATOMIC_SEQ_CST);
    if (this_cpu()->vcpu != vcpu || vcpu->state != VCPU_RUNNABLE)
        sched_wake(&vcpu->task);
}

static void host_cpuid(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out)
{
    struct cpuid r = cpuid_count(leaf, subleaf);

    *out = (struct cpuid_regs){ r.eax, r.ebx, r.ecx, r.edx };
}

/* To the CPUs' time. */
static int admit(struct vcpu *vcpu)
{
    enum share_verdict verdict = sched_task_init(&vcpu->task, &vcpu->vm->share);

    if (verdict == SHARE_OK)
        return 0;
    log_error("vm %s: vCPU %u cannot have its share of the CPUs: %s", vcpu->vm->name, vcpu->index,
              share_verdict_text(verdict));
    return -ENOSPC;
}

int vcpu_create(struct vm *vm, unsigned index, uint32_t apic_hz, struct vcpu **out)
{
    struct cpuid_config config = { .apic_id = index,
                                   .vcpus = vm->vcpu_count,
                                   .tsc_hz = vm->clock.tsc_hz,
                                   .apic_hz = apic_hz,
                                   .pv_eoi = !vmx_ops->has_virtual_apic || !vmx_ops->has_virtual_apic(),
                                   .host = host_cpuid };
    struct vcpu *vcpu = heap_alloc(sizeof(*vcpu));
    int err = -ENOMEM;

    if (!vcpu)
        return -ENOMEM;
    vcpu->vm = vm;
    vcpu->on_exit = vmx_ops->exit;
    vcpu->index = vcpu->exit.vcpu = (uint8_t)index;
    vcpu->exit.vm = (uint8_t)vm->index;
    recorder_name_vm(vm->index, vm->name);
    vcpu->task = (struct sched_task){
        .run = run, .leave = leave, .put_away = put_away, .interrupt = interrupt
    };
    cpuid_build(&vcpu->cpuid, &config);
    vcpu->xstate = xstate_alloc();
    if (!vcpu->xstate)
        goto fail;
    err = vmx_ops->vcpu_create(vcpu);
    if (err)
        goto fail_xstate;
    err = admit(vcpu);
    if (err)
        goto fail_backend;
    vcpu->state = VCPU_STOPPED;
    *out = vcpu;
    return 0;

fail_backend:
    vmx_ops->vcpu_destroy(vcpu);
fail_xstate:
    xstate_free(vcpu->xstate);
fail:
    heap_free(vcpu);
    return err;
}

void vcpu_power_on(struct vcpu *vcpu)
{
    clear_events(vcpu);
    xstate_reset(vcpu->xstate);
    vcpu->xcr0 = 1;
    vcpu->tsc_aux = 0;
    vcpu->kvm_clock = vcpu->kvm_steal = 0;
    vcpu->steal_area = NULL;
    vcpu->unhalted = false;
    set_reset_state(vcpu);
    if (vm_spoil != VM_SPOIL_NOTHING)
        vcpu_note(vcpu, PEND_SPOIL);
    vcpu->state = vcpu->index ? VCPU_WAIT_SIPI : VCPU_STOPPED;
}

void vcpu_start(struct vcpu *vcpu)
{
    if (vcpu->state == VCPU_STOPPED)
        vcpu->state = VCPU_RUNNABLE;
    sched_start(&vcpu->task);
}

void vcpu_stop(struct vcpu *vcpu)
{
    sched_stop(&vcpu->task);
    vcpu->state = VCPU_STOPPED;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    vcpu_stop(vcpu);
    sched_task_exit(&vcpu->task);
    vmx_ops->vcpu_destroy(vcpu);
    xstate_free(vcpu->xstate);
    heap_free(vcpu);
}
