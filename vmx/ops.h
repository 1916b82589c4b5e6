/*
 * The border between the neutral core and a back end (vmx/amd, vmx/intel). A back end is one `const struct
 * vmx_ops`; what it has to say about an exit is a `struct vmexit`. Nothing above this line knows a VMCB or a
 * VMCS.
 */
#pragma once

#include "lib/types.h"
#include "vmx/decode.h"
#include "vmx/emulate.h"
#include "vmx/gva.h"

struct cpu;
struct msr_rule;
struct vcpu;
struct vm;

/* Why the guest stopped running. exit.c has one handler for each, in this order. */
enum vmexit_reason {
    EXIT_INTERRUPT, /* a physical interrupt or NMI waits to be taken */
    EXIT_TIMER,     /* the deadline of set_deadline() has come */
    EXIT_CPUID,
    EXIT_MSR_READ,
    EXIT_MSR_WRITE,
    EXIT_IO,
    EXIT_MEMORY, /* access to a guest physical address that has no RAM */
    EXIT_HLT,
    EXIT_HYPERCALL,
    EXIT_APIC,       /* the CPU virtualises the APIC, and has done a part of something: see struct vmexit */
    EXIT_WINDOW,     /* the guest can take the interrupt that it could not before */
    EXIT_EXCEPTION,  /* #DB or #AC, intercepted so that their endless loops end; to be handed back */
    EXIT_IRET,       /* the guest is about to leave its NMI handler */
    EXIT_NMI_WINDOW, /* the guest has left its NMI handler */
    EXIT_TASK_SWITCH,
    EXIT_XSETBV,
    EXIT_DEBUG,      /* the guest is about to use the debug registers: debug_exits() */
    EXIT_SKIP,       /* an instruction that does nothing here: WBINVD, INVD */
    EXIT_PAUSE,      /* a PAUSE, one of many in a short time */
    EXIT_UNDEFINED,  /* an instruction that this PC does not have: #UD */
    EXIT_PROTECTED,  /* an instruction that the policy refuses: #GP(0) */
    EXIT_SHUTDOWN,   /* triple fault */
    EXIT_FPU_FREEZE, /* an x87 exception by the way of IRQ 13 (CR0.NE = 0), which this PC does not have */
    EXIT_INVALID,    /* the CPU refused the guest state */
    EXIT_BACKEND,    /* dealt with by the back end already; for the counts only */
    EXIT_UNKNOWN,    /* an exit that nobody asked for */
    EXIT_REASONS,
};

/* exit_names.c: what each is called in the shell ("msr-read"). */
extern const char *const vmexit_names[EXIT_REASONS];

/* What asks for a task switch. Values as in Intel SDM vol. 3, table 28-2. */
enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };

/* Its first word goes to the flight recorder as it is (kernel/recorder.h), so that one holds what people want
 * to know. */
struct vmexit {
    uint8_t reason; /* enum vmexit_reason */
    uint8_t length; /* of the instruction, in bytes, where it is one that can be skipped */
    union {
        struct {
            uint8_t vcpu, vm;
        };
        uint16_t whose; /* both; never changed */
    };
    union {
        uint32_t msr;         /* EXIT_MSR_READ, EXIT_MSR_WRITE: its number; for the recorder */
        uint32_t address_low; /* EXIT_MEMORY: the low half of memory.at; for the recorder */
        struct {
            uint16_t port;
            uint8_t size; /* 1, 2, 4 */
            bool in, string, rep;
        } io;
        struct {
            bool eoi;       /* `vector` was ended; else the register at `offset` was written */
            uint8_t vector; /* a level-triggered one */
            uint16_t offset;
        } apic;
        struct {
            uint8_t vector;
            uint32_t error;
        } exception;
        /*
         * The CPU has found the new TSS fit, and the rights. TASK_GATE: an event came to a task gate of the
         * IDT. It is in vcpu->event still, but for INT n, INT3 and INTO, whose length is in `length`; that
         * is 0 for others, and RIP is where the old task goes on.
         */
        struct {
            uint16_t selector; /* of the new TSS */
            uint8_t source;    /* enum task_source */
            bool has_error;    /* the event has an error code */
            uint32_t error;
        } task;
    };
    union {
        struct {
            gpa_t at;
            union {
                struct {
                    bool write, fetch;
                    bool walk;       /* the access was the CPU's own, to the guest's page tables */
                    bool delivering; /* while an event was being delivered */
                };
                uint32_t access; /* the four: 0 or 1 if only `write` may be true, as it is mostly */
            };
            uint8_t bytes_count; /* instruction bytes that the CPU has fetched already; 0: none */
            const uint8_t *bytes;
        } memory;
        struct {
            uint64_t code, info1, info2; /* raw, for the log only */
        } raw;
    };
};

/* Events that are injected. Values as in AMD APM vol. 2, 15.20 and Intel SDM vol. 3, 25.8.3. */
enum event_type { EVENT_INTERRUPT = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFTWARE = 4 };

struct vcpu_event {
    bool valid;
    uint8_t type; /* enum event_type */
    uint8_t vector;
    bool has_error;
    uint32_t error;
};

/* A segment register with its hidden part. Attributes: descriptor bits 40-47 and 52-55 packed to 12 (APM vol.
 * 2, 15.5.1). */
struct vcpu_segment {
    uint16_t selector, attributes;
    uint32_t limit;
    uint64_t base;
};

#define SEG_ATTR_TYPE 0x000fu
#define SEG_ATTR_CODE 0x0008u /* in a code or data descriptor */
#define SEG_ATTR_DOWN 0x0004u /* data: expand-down; code: conforming */
#define SEG_ATTR_RW   0x0002u /* data: writable; code: readable */
#define SEG_ATTR_S    0x0010u
#define SEG_ATTR_DPL  0x0060u
#define SEG_ATTR_P    0x0080u
#define SEG_ATTR_L    0x0200u
#define SEG_ATTR_DB   0x0400u
#define SEG_ATTR_G    0x0800u

/* What is not a general register. For reset, boot state, save, task switches and crash reports; not for hot
 * paths. */
struct vcpu_system {
    struct vcpu_segment segment[SEG_COUNT], ldtr, tr;
    struct {
        uint64_t base;
        uint16_t limit;
    } gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, efer, dr6, dr7;
};

typedef bool vmx_exit_fn(struct vcpu *vcpu, void *context);

/*
 * One back end. All functions run on the CPU that owns the vCPU; load, unload, enter and take_interrupts only
 * from vcpu.c.
 */
struct vmx_ops {
    const char *name; /* "AMD-V" */

    /* Whether this CPU is of its kind. */
    bool (*present)(void);

    /* Makes it do without a feature of the CPU, before cpu_enable(), as the command line asks. -EINVAL: it
     * knows none of that name. */
    int (*without)(const char *feature);
    const char *features; /* those that it knows, for a message */

    /*
     * Turns virtualisation on for this CPU, the boot CPU first: what that one has, all others must have, too.
     * -ENODEV, -EPERM, -EIO or -ENOMEM after saying why in the log.
     */
    int (*cpu_enable)(struct cpu *cpu);

    /* The VM's nested page table over its RAM, and the other way. -ENOMEM. */
    int (*memory_create)(struct vm *vm);
    void (*memory_destroy)(struct vm *vm);

    /* The back end's part of a vCPU, in its reset state. -ENOMEM. */
    int (*vcpu_create)(struct vcpu *vcpu);
    void (*vcpu_destroy)(struct vcpu *vcpu);
    void (*vcpu_reset)(
        struct vcpu *vcpu); /* the controls as after create; registers follow by set_system() */

    /* Makes this vCPU's state live on the CPU: from here no interrupt is taken, until unload() restores the
     * hypervisor's. */
    void (*load)(struct vcpu *vcpu);
    void (*unload)(struct vcpu *vcpu);

    /* After unload(): nothing of it stays on the CPU, for another one may be next. */
    void (*put_away)(struct vcpu *vcpu);

    /*
     * Runs the guest, and hands each exit (vcpu->exit says why it came) to exit_handle(), for as long as
     * vcpu_goes_on() or vcpu_prepare() says so. The loop is here so that the hypervisor's own registers are
     * saved once for many exits.
     */
    void (*enter)(struct vcpu *vcpu);

    /* What enter()'s loop does about one exit; it calls vcpu->on_exit, with a context of its own. True: enter
     * the guest again. */
    vmx_exit_fn *exit;

    /* The guest's run ends when the TSC reaches `deadline`: by EXIT_TIMER, or by the interrupt
     * IRQ_VECTOR_TIMER. cpu->timer_programmed says what was asked for last. */
    void (*set_deadline)(struct vcpu *vcpu, uint64_t deadline);

    /* Lets the CPU take what interrupts wait, while a vCPU is loaded. */
    void (*take_interrupts)(struct vcpu *vcpu);

    void (*inject)(struct vcpu *vcpu, const struct vcpu_event *event); /* at the next entry */
    void (*inject_interrupt)(struct vcpu *vcpu, uint8_t vector);       /* the same for an EVENT_INTERRUPT */
    void (*debug_exits)(struct vcpu *vcpu,
                        bool wanted); /* EXIT_DEBUG before an access to DR0 to DR3 or DR7 */
    uint64_t (*dr7)(const struct vcpu *vcpu);
    void (*window)(struct vcpu *vcpu, bool wanted); /* EXIT_WINDOW when an interrupt can be taken */
    void (*nmi_window)(
        struct vcpu *vcpu,
        bool wanted); /* EXIT_IRET before, or EXIT_NMI_WINDOW behind, the IRET of its NMI handler */
    /*
     * Where the CPU can deliver the APIC's interrupts itself (vcpu->virtual_apic; intc.h: attach).
     * has_virtual_apic: it can, and is to. apic_mode: the APIC's mode changed or it was reset. apic_sync:
     * hands over what is requested. NULL in a back end without.
     */
    bool (*has_virtual_apic)(void);
    void (*apic_mode)(struct vcpu *vcpu);
    void (*apic_sync)(struct vcpu *vcpu);

    /* What the TLB holds of the vCPU's translations goes before it is entered again. While it is not loaded.
     */
    void (*flush_tlb)(struct vcpu *vcpu);

    /* The same and more: the VM's nested table has changed. After put_away(). */
    void (*flush_nested)(struct vcpu *vcpu);

    void (*set_cr8)(struct vcpu *vcpu, uint8_t cr8); /* the task priority that the guest reads in CR8 */

    void (*get_system)(const struct vcpu *vcpu, struct vcpu_system *out);
    void (*set_system)(struct vcpu *vcpu, const struct vcpu_system *in);
    unsigned (*cpl)(const struct vcpu *vcpu);
    void (*paging)(const struct vcpu *vcpu, struct gva_mode *out);
    void (*segment)(const struct vcpu *vcpu, enum seg seg, struct emu_segment *out);
    uint64_t (*cr4)(const struct vcpu *vcpu);
    enum code_size (*code_size)(const struct vcpu *vcpu);
    void (*set_cr2)(struct vcpu *vcpu, uint64_t cr2);
    void (*set_dr6)(struct vcpu *vcpu, uint64_t set); /* ORs bits in */

    /* Makes the next entry of a loaded vCPU fail, by a control or by guest state. For tests. */
    void (*spoil)(struct vcpu *vcpu, bool control);

    /* MSRs that only its CPUs have; sorted, none of them in msr.c's own table. */
    const struct msr_rule *msr_rules;
    unsigned msr_rule_count;

    /* The MSRs that the CPU keeps in the guest's state (msr.c names them). -EINVAL if it is none of them. */
    int (*msr_get)(const struct vcpu *vcpu, uint32_t msr, uint64_t *value);
    int (*msr_set)(struct vcpu *vcpu, uint32_t msr, uint64_t value);
};

/* The back end of this machine; NULL when it has none (vm_init said why). */
extern const struct vmx_ops *vmx_ops;
extern const struct vmx_ops vmx_ops_amd, vmx_ops_intel;
