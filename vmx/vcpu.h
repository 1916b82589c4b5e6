/*
 * A virtual CPU. It is touched only by the CPU that runs it; others post to `pending` (vcpu_post).
 */
#pragma once

#include "lib/types.h"
#include "arch/x86_64/percpu.h"
#include "kernel/recorder.h"
#include "kernel/sched.h"
#include "vmx/cpuid.h"
#include "vmx/decode_cache.h"
#include "vmx/intc.h"
#include "vmx/ops.h"
#include "vmx/timing.h"
#include "vmx/vm.h"

/* What waits for a vCPU: tested as one word before each entry. */
#define PEND_EVENT   BIT(0) /* look for an event to inject: something changed */
#define PEND_NMI     BIT(1)
#define PEND_INIT    BIT(2)
#define PEND_STARTUP BIT(3) /* startup_vector says where */
#define PEND_LEAVE   BIT(4) /* leave the run loop: the VM is to stop, or somebody else should run */
#define PEND_TIMER   BIT(5) /* its local APIC's timer is due */
#define PEND_SPOIL   BIT(6) /* vm_spoil may be for it */

enum vcpu_state {
    VCPU_STOPPED, /* not started, or its VM is stopped */
    VCPU_WAIT_SIPI,
    VCPU_RUNNABLE,
    VCPU_HALTED, /* in HLT */
};

/* Where the bytes of the last instruction that was looked at lie: saves the page walk for the next one
 * (fetch.c). */
#define CODE_PAGE_NONE gva(BIT(63)) /* not canonical, and far from all that is */

struct vcpu_code_page {
    gva_t linear; /* of the page; CODE_PAGE_NONE: none */
    const uint8_t *host;
};

/* The first two lines are what every exit touches; run.asm knows the offset of gpr (offsets.c). */
struct vcpu {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip, rflags;
    uint64_t pending; /* PEND_; atomic */
    void *backend;    /* the back end's own part */
    struct vm *vm;
    struct cpu *cpu;      /* whose state it is; set by load(). One load, where this_cpu() takes two steps */
    vmx_exit_fn *on_exit; /* vmx_ops->exit, or timing_exit(); any CPU may set it */
    uint64_t shadow;      /* bit 0: the interrupt shadow of STI or MOV SS is in force */
    bool nmi_masked;      /* from the injection of an NMI to its IRET */
    bool nmi_stepping;    /* single-stepping over that IRET, since another NMI waits */
    bool window;          /* EXIT_WINDOW is asked for */
    bool virtual_apic;    /* the CPU delivers the APIC's interrupts; set by the back end */
    uint8_t cr8;          /* task priority as the CPU holds it */
    uint8_t state;        /* enum vcpu_state */
    uint8_t startup_vector;
    uint8_t index;
    struct vmexit exit;
    struct vcpu_event event; /* comes before all others: an exception, or a delivery that was interrupted */
    const struct vcpu_intc *intc;
    void *intc_context;
    struct vcpu_code_page code_page;
    struct gva_memo fetch_memo; /* of the last instruction that was fetched */
    struct decode_cache decoded;
    bool fault_known;    /* the one memory operand at hand is where exit.memory says */
    bool unhalted;       /* its next HLT ends at once, as another vCPU asked; any CPU sets it */
    void *steal_area;    /* struct kvm_steal_time in guest memory; NULL: none is wanted */
    uint64_t steal_base; /* waiting that was told there, in ticks */
    uint64_t kvm_steal;  /* MSR_KVM_STEAL_TIME as last written */
    uint64_t kvm_eoi;    /* MSR_KVM_EOI_EN as last written */
    uint64_t kvm_clock;  /* MSR_KVM_SYSTEM_TIME_NEW as last written */
    uint64_t tsc_aux;
    uint64_t xcr0;
    void *xstate;                 /* FPU, SSE, AVX while another vCPU has the CPU */
    uint64_t dr[4];               /* DR0 to DR3 while the CPU does not have them; debug.c */
    bool dr_used;                 /* it does, while the vCPU is loaded; else the CPU's are 0 */
    uint64_t exits[EXIT_REASONS]; /* how many of each kind there were */
    struct timing timing;
    struct sched_task task;
    struct cpuid_table cpuid;
};

#define RFLAGS_FIXED BIT(1)
#define RFLAGS_TF    BIT(8)
#define RFLAGS_IF    BIT(9)
#define RFLAGS_RF    BIT(16)
#define RFLAGS_AC    BIT(18)

#define VECTOR_DB 1
#define VECTOR_UD 6
#define VECTOR_DF 8
#define VECTOR_GP 13
#define VECTOR_PF 14
#define VECTOR_AC 17

/*
 * A vCPU of `vm` (whose vcpu_count and share are set), stopped; apic_hz is its local APIC's timer frequency.
 * -ENOMEM; -ENOSPC after the log has said why there is no such share of the CPUs.
 * Its intc must be set, and vcpu_power_on() called, before it runs.
 */
int vcpu_create(struct vm *vm, unsigned index, uint32_t apic_hz, struct vcpu **out) __must_check;
void vcpu_destroy(struct vcpu *vcpu);

/* All state as after power-on; it is stopped (the first) or waits for a start-up IPI (the others). It must
 * not be queued. */
void vcpu_power_on(struct vcpu *vcpu);

/* Lets it run from the state that is set; one that waits for a start-up IPI goes on waiting. */
void vcpu_start(struct vcpu *vcpu);

/* Puts it in the state after INIT: VCPU_WAIT_SIPI for all but the first, which starts at the reset vector. */
void vcpu_init_reset(struct vcpu *vcpu);

/* Takes it off its CPU; it will not run again until vcpu_start(). */
void vcpu_stop(struct vcpu *vcpu);

/* Posts bits; the vCPU looks at them before it is entered again, which is soon. Any CPU. */
void vcpu_post(struct vcpu *vcpu, uint64_t bits);

/* True if this CPU has the vCPU's state: nobody else can run it meanwhile. */
static inline bool vcpu_is_here(const struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->task.live_on, __ATOMIC_RELAXED) == this_cpu();
}

/* Sets and clears bits of its own pending word; others may post at the same time. The vCPU's CPU only. */
static inline void vcpu_note(struct vcpu *vcpu, uint64_t bits)
{
    __atomic_or_fetch(&vcpu->pending, bits, __ATOMIC_RELAXED);
}

static inline void vcpu_done(struct vcpu *vcpu, uint64_t bits)
{
    __atomic_and_fetch(&vcpu->pending, ~bits, __ATOMIC_SEQ_CST);
}

/* --- For the exit handlers
 * ------------------------------------------------------------------------------------ */

/* Queues an exception for the next entry; a second one becomes #DF or kills the VM, as the CPU would (APM
 * vol. 2, 8.2.9). */
void vcpu_raise(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error);
void vcpu_raise_pf(struct vcpu *vcpu, uint64_t cr2, uint32_t error);

static inline void vcpu_raise_gp(struct vcpu *vcpu)
{
    vcpu_raise(vcpu, VECTOR_GP, true, 0);
}

/* What follows an instruction that was skipped or emulated with TF or RF set: the single-step trap, the end
 * of RF. */
void vcpu_completed(struct vcpu *vcpu);

/* The instruction of this exit is done: go on behind it. */
static inline void vcpu_advance(struct vcpu *vcpu)
{
    vcpu->rip += vcpu->exit.length;
    vcpu->shadow = 0;
    if (unlikely(vcpu->rflags & (RFLAGS_TF | RFLAGS_RF)))
        vcpu_completed(vcpu);
}

/* All that it ever had. */
static inline uint64_t vcpu_exits(const struct vcpu *vcpu)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < EXIT_REASONS; i++)
        sum += vcpu->exits[i];
    return sum;
}

/* For the back end's loop: no event waits and the hardware timer is right, so there is nothing to prepare. */
static inline bool vcpu_goes_on(const struct vcpu *vcpu)
{
    const struct cpu *cpu = vcpu->cpu;
    bool none;

    /* As an atomic load would, which compilers keep apart from the comparison. */
    __asm__ volatile("cmpq $0, %1" : "=@ccz"(none) : "m"(vcpu->pending) : "memory");
    return none && cpu->timers.next == cpu->timer_programmed;
}

/* An event waits that ends a HLT. */
static inline bool vcpu_wakes(const struct vcpu *vcpu)
{
    if (vcpu->event.valid || vcpu->unhalted || (vcpu->pending & PEND_INIT) ||
        ((vcpu->pending & PEND_NMI) && !vcpu->nmi_masked))
        return true;
    return (vcpu->rflags & RFLAGS_IF) && vcpu->intc->pending(vcpu->intc_context);
}

/* Out of HLT. */
static inline void vcpu_wake_up(struct vcpu *vcpu)
{
    vcpu->state = VCPU_RUNNABLE;
    __atomic_store_n(&vcpu->unhalted, false, __ATOMIC_SEQ_CST); /* behind the state: exit.c looks at both */
}

/* Deals with what keeps a vCPU from being entered: events, the hardware timer. False: it is to leave the CPU.
 */
bool vcpu_prepare(struct vcpu *vcpu);

/* event.c: injects what is due; called with PEND_EVENT or PEND_NMI set, clears what it dealt with. */
void event_deliver(struct vcpu *vcpu);
void event_iret(struct vcpu *vcpu);
void event_nmi_window(struct vcpu *vcpu);
bool event_step_done(struct vcpu *vcpu);

/* exit.c: one handler for each reason. */
extern void (*const exit_handlers[EXIT_REASONS])(struct vcpu *);

/* Deals with vcpu->exit. For the back end's loop. */
static inline void exit_handle(struct vcpu *vcpu)
{
    unsigned reason = vcpu->exit.reason;

    vcpu->exits[reason]++;
    recorder_exit(vcpu->cpu, (const uint64_t *)&vcpu->exit, vcpu->rip);
    exit_handlers[reason](vcpu);
}

/* debug.c: for load and unload, of a vCPU with dr_used */
void debug_load(const struct vcpu *vcpu);
void debug_unload(struct vcpu *vcpu);
void exit_debug(struct vcpu *vcpu);

void exit_io(struct vcpu *vcpu);
void exit_memory(struct vcpu *vcpu);
void exit_task_switch(struct vcpu *vcpu);

/* msr.c */
void exit_msr_read(struct vcpu *vcpu);
void exit_msr_write(struct vcpu *vcpu);
void msr_reset(struct vm *vm);
void msr_load(struct vcpu *vcpu); /* puts TSC_AUX into the CPU, if the guest has it */

/* kvm.c */
#define MSR_KVM_WALL_CLOCK      0x11u
#define MSR_KVM_SYSTEM_TIME     0x12u
#define MSR_KVM_WALL_CLOCK_NEW  0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
void exit_hypercall(struct vcpu *vcpu);
#define MSR_KVM_STEAL_TIME 0x4b564d03u
#define MSR_KVM_EOI_EN     0x4b564d04u
int kvm_eoi_write(struct vcpu *vcpu, uint32_t msr, uint64_t value) __must_check;
int kvm_steal_write(struct vcpu *vcpu, uint32_t msr, uint64_t value) __must_check;
int kvm_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value) __must_check;
