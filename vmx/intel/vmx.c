/* VT-x: a vCPU's life in its VMCS. Source: Intel SDM vol. 3, chapters 25 to 27. */
#include "vmx/intel/vmx.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/desc.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/paging.h"
#include "hw/apic.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/irq.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/intel/ept.h"
#include "vmx/nested.h"

#define PAT_RESET UINT64_C(0x0007040600070406)

/* TSC ticks: PAUSEs no further apart than this are one loop, which exits when it has lasted that long. */
#define PLE_GAP    128
#define PLE_WINDOW 4096

#define INVEPT_SINGLE  1u
#define INVVPID_SINGLE 1u

/* The live MSRs. */
#define MSR_KERNEL_GS_BASE 0xc0000102u

/* run.asm */
extern const char vmx_exit_entry[];

/* --- Instructions --- */

static inline void vmclear(const hpa_t *vmcs)
{
    __asm__ volatile("vmclear %0" : : "m"(vmcs->raw) : "memory", "cc");
}

static inline void vmptrld(const hpa_t *vmcs)
{
    __asm__ volatile("vmptrld %0" : : "m"(vmcs->raw) : "memory", "cc");
}

static void invept(uint64_t pointer)
{
    const uint64_t descriptor[2] = { pointer, 0 };

    __asm__ volatile("invept %0, %1" : : "m"(descriptor), "r"((uint64_t)INVEPT_SINGLE) : "memory", "cc");
}

static void invvpid(uint16_t vpid)
{
    const uint64_t descriptor[2] = { vpid, 0 };

    __asm__ volatile("invvpid %0, %1" : : "m"(descriptor), "r"((uint64_t)INVVPID_SINGLE) : "memory", "cc");
}

void vmx_flush(const struct vmx_vcpu *vmx)
{
    if (vmx->vpid)
        invvpid(vmx->vpid);
}

static inline struct vmx_vcpu *use_on(struct vmx_cpu *cpu, struct vmx_vcpu *vmx)
{
    struct vmx_vcpu *before = cpu->current;

    if (before != vmx) {
        vmptrld(&vmx->vmcs);
        cpu->current = vmx;
    }
    return before;
}

struct vmx_vcpu *vmx_use(struct vmx_vcpu *vmx)
{
    return use_on(this_cpu()->vmx, vmx);
}

/* The CPU may keep parts of an active VMCS to itself; another one may be the next to use it (25.11.1). */
static void release(struct vmx_vcpu *vmx)
{
    struct vmx_cpu *cpu = this_cpu()->vmx;

    vmclear(&vmx->vmcs);
    vmx->launched = false;
    vmx->cpu = NULL;
    if (cpu->current == vmx)
        cpu->current = NULL;
}

void vmx_give_back(const struct vcpu *vcpu, struct vmx_vcpu *before)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    if (before != vmx && !vcpu_is_here(vcpu))
        release(vmx);
    if (before)
        vmx_use(before);
}

/* --- Memory --- */

static int vmx_memory_create(struct vm *vm)
{
    int err = nested_create(vm, ept_format(vmx_machine.cap.ept_vpid),
                            PTAB_READ | PTAB_WRITE | PTAB_EXEC | PTAB_WB);

    if (!err && vmx_apic_create(vm)) {
        nested_destroy(vm);
        err = -ENOMEM;
    }
    /* The tables may lie where those of a VM that is gone were. */
    if (!err)
        invept(ept_pointer(vm->nested.root, vmx_machine.cap.ept_vpid));
    return err;
}

static void vmx_memory_destroy(struct vm *vm)
{
    vmx_apic_destroy(vm);
    nested_destroy(vm);
}

/* --- A vCPU --- */

/* The hypervisor's own state, as each exit is to find it (25.5). */
static void set_host_state(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr, idtr;
    const uint64_t *gdt;
    uint64_t tss;

    __asm__ volatile("sgdt %0" : "=m"(gdtr));
    __asm__ volatile("sidt %0" : "=m"(idtr));
    gdt = (const uint64_t *)(uintptr_t)gdtr.base;
    tss = gdt[SELECTOR_TSS / 8];
    vmcs_write(VMCS_HOST_CR0, read_cr0() & ~CR0_TS);
    vmcs_write(VMCS_HOST_CR3, read_cr3());
    vmcs_write(VMCS_HOST_CR4, read_cr4());
    vmcs_write(VMCS_HOST_CS_SELECTOR, SELECTOR_CODE);
    vmcs_write(VMCS_HOST_SS_SELECTOR, SELECTOR_DATA);
    vmcs_write(VMCS_HOST_DS_SELECTOR, SELECTOR_DATA);
    vmcs_write(VMCS_HOST_ES_SELECTOR, SELECTOR_DATA);
    vmcs_write(VMCS_HOST_FS_SELECTOR, 0);
    vmcs_write(VMCS_HOST_GS_SELECTOR, 0);
    vmcs_write(VMCS_HOST_TR_SELECTOR, SELECTOR_TSS);
    vmcs_write(VMCS_HOST_FS_BASE, 0);
    vmcs_write(VMCS_HOST_GS_BASE, 0);
    vmcs_write(VMCS_HOST_TR_BASE,
               (tss >> 16 & 0xffffff) | (tss >> 56 & 0xff) << 24 | gdt[SELECTOR_TSS / 8 + 1] << 32);
    vmcs_write(VMCS_HOST_GDTR_BASE, gdtr.base);
    vmcs_write(VMCS_HOST_IDTR_BASE, idtr.base);
    vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
    vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
    vmcs_write(VMCS_HOST_PAT, rdmsr(MSR_PAT));
    vmcs_write(VMCS_HOST_EFER, rdmsr(MSR_EFER));
    vmcs_write(VMCS_HOST_RIP, (uint64_t)(uintptr_t)vmx_exit_entry);
}

/* What does not change over the vCPU's life. Everything that the guest must not do by itself is here. */
static void set_controls(const struct vcpu *vcpu, struct vmx_vcpu *vmx)
{
    const struct vmx_machine *m = &vmx_machine;

    vmx->primary = m->controls.value[CONTROL_PRIMARY] | (uint32_t)PRIMARY_MOV_DR_EXITING;
    if (!vmx->apic_page)
        vmx->primary |= (uint32_t)(PRIMARY_CR8_LOAD | PRIMARY_CR8_STORE);
    vmcs_write(VMCS_PIN_CONTROLS, m->controls.value[CONTROL_PIN] | (m->timer ? PIN_PREEMPTION_TIMER : 0));
    vmcs_write(VMCS_PRIMARY_CONTROLS, vmx->primary);
    vmcs_write(VMCS_SECONDARY_CONTROLS, m->controls.value[CONTROL_SECONDARY]);
    vmcs_write(VMCS_EXIT_CONTROLS, m->controls.value[CONTROL_EXIT]);
    vmcs_write(VMCS_ENTRY_CONTROLS, m->controls.value[CONTROL_ENTRY]);
    vmcs_write(VMCS_EXCEPTION_BITMAP, BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(18));
    vmcs_write(VMCS_PF_ERROR_MASK, 0);
    vmcs_write(VMCS_PF_ERROR_MATCH, 0);
    vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_INTERRUPTION, 0);
    vmcs_write(VMCS_IO_BITMAP_A, m->io_bitmap[0].raw);
    vmcs_write(VMCS_IO_BITMAP_B, m->io_bitmap[1].raw);
    vmcs_write(VMCS_MSR_BITMAP, m->msr_bitmap.raw);
    vmcs_write(VMCS_TSC_OFFSET, 0 - vcpu->vm->clock.origin);
    vmcs_write(VMCS_EPT_POINTER, ept_pointer(vcpu->vm->nested.root, m->cap.ept_vpid));
    vmcs_write(VMCS_LINK_POINTER, UINT64_MAX);
    if (vmx->vpid)
        vmcs_write(VMCS_VPID, vmx->vpid);
    if (m->controls.value[CONTROL_SECONDARY] & SECONDARY_PAUSE_LOOP) {
        vmcs_write(VMCS_PLE_GAP, PLE_GAP);
        vmcs_write(VMCS_PLE_WINDOW, PLE_WINDOW);
    }
    if (vmx->apic_page) {
        vmcs_write(VMCS_VIRTUAL_APIC_ADDRESS, vmx->apic_page_pa.raw);
        vmcs_write(VMCS_TPR_THRESHOLD, 0);
    }
}

/* Guest state that struct vcpu_system does not hold. */
static void set_other_state(void)
{
    vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
    vmcs_write(VMCS_GUEST_PAT, PAT_RESET);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmcs_write(VMCS_GUEST_ACTIVITY, 0);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_CS, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_EIP, 0);
    for (unsigned i = 0; i < 4; i++)
        vmcs_write(vmcs_nth(VMCS_GUEST_PDPTE0, i), 0);
}

/* Brings the back end's part to its state after power-on; the registers follow by set_system(). */
static void vmx_vcpu_reset(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    struct vmx_cpu *cpu = this_cpu()->vmx;
    struct vmx_vcpu *before;

    if (cpu->current == vmx)
        cpu->current = NULL;
    if (cpu->live == vmx)
        cpu->live = NULL;
    memset(vmx->syscall_msr, 0, sizeof(vmx->syscall_msr));
    vmx->kernel_gs_base = 0;
    vmclear(&vmx->vmcs);
    memset(phys_to_virt(vmx->vmcs), 0, PAGE_SIZE);
    *(uint32_t *)phys_to_virt(vmx->vmcs) = (uint32_t)(vmx_machine.cap.basic & VMX_BASIC_REVISION);
    vmclear(&vmx->vmcs);
    vmx->launched = false;
    vmx->interruption = 0;
    vmx->rsp = vmx->rflags = vmx->interruptibility = 0;
    vmx->tpr_shadow = NULL;
    if (vmx->apic_page) {
        memset(vmx->apic_page, 0, PAGE_SIZE);
        vmx->tpr_shadow = &vmx->apic_page[APIC_TPR / 4];
    }
    vcpu->virtual_apic = false;
    vmx->apic_stale = true;
    before = vmx_use(vmx);
    set_controls(vcpu, vmx);
    set_other_state();
    vmx->cpu = NULL;
    vmx_give_back(vcpu, before);
}

static int vmx_vcpu_create(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = heap_alloc(sizeof(*vmx));
    uint32_t owner = FRAME_VM + vcpu->vm->index;

    if (!vmx)
        return -ENOMEM;
    vmx->vmcs = frames_alloc(FRAME_ORDER_4K, owner);
    if (!vmx->vmcs.raw)
        goto fail;
    if (vmx_machine.controls.value[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW) {
        vmx->apic_page_pa = frames_alloc(FRAME_ORDER_4K, owner);
        if (!vmx->apic_page_pa.raw)
            goto fail_vmcs;
        vmx->apic_page = phys_to_virt(vmx->apic_page_pa);
    }
    if (vmx_machine.controls.value[CONTROL_SECONDARY] & SECONDARY_VPID)
        vmx->vpid = (uint16_t)(1 + vcpu->vm->index * VM_MAX_VCPUS + vcpu->index);
    vcpu->backend = vmx;
    vmx_vcpu_reset(vcpu);
    return 0;

fail_vmcs:
    frames_free(vmx->vmcs, FRAME_ORDER_4K, owner);
fail:
    heap_free(vmx);
    return -ENOMEM;
}

static void vmx_vcpu_destroy(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    struct vmx_cpu *cpu = this_cpu()->vmx;
    uint32_t owner = FRAME_VM + vcpu->vm->index;

    if (cpu->current == vmx)
        cpu->current = NULL;
    if (cpu->live == vmx)
        cpu->live = NULL;
    vmclear(&vmx->vmcs);
    if (vmx->apic_page)
        frames_free(vmx->apic_page_pa, FRAME_ORDER_4K, owner);
    frames_free(vmx->vmcs, FRAME_ORDER_4K, owner);
    heap_free(vmx);
    vcpu->backend = NULL;
}

static __cold void write_syscall_msrs(struct vmx_cpu *cpu, const struct vmx_vcpu *vmx)
{
    for (unsigned i = 0; i < VMX_SYSCALL_MSRS; i++) {
        wrmsr(MSR_STAR + i, vmx->syscall_msr[i]);
        cpu->syscall_msr[i] = vmx->syscall_msr[i];
    }
}

/*
 * The hypervisor uses none of these MSRs, so they are swapped only when another vCPU wants the CPU. A guest
 * writes those of SYSCALL once, with an exit (msr.c); KERNEL_GS_BASE changes with each SWAPGS.
 */
static inline void load_msrs(struct vmx_cpu *cpu, struct vmx_vcpu *vmx)
{
    const uint64_t *here = cpu->syscall_msr, *wanted = vmx->syscall_msr;

    if (cpu->live == vmx)
        return;
    if ((here[0] ^ wanted[0]) | (here[1] ^ wanted[1]) | (here[2] ^ wanted[2]) | (here[3] ^ wanted[3]))
        write_syscall_msrs(cpu, vmx);
    wrmsr(MSR_KERNEL_GS_BASE, vmx->kernel_gs_base);
    cpu->live = vmx;
}

static void vmx_vcpu_put_away(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    struct vmx_cpu *cpu = this_cpu()->vmx;

    if (likely(cpu->live == vmx)) {
        vmx->kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE);
        cpu->live = NULL;
    }
    vmclear(&vmx->vmcs);
    vmx->launched = false;
    if (cpu->current == vmx)
        cpu->current = NULL;
}

/*
 * The vCPU was on another CPU, or on none. What this one's TLB still holds of it, or of a VM whose tables lay
 * where its tables are, may be out of date (30.4.3.4).
 */
static __cold void settle(struct vcpu *vcpu, struct vmx_vcpu *vmx)
{
    set_host_state();
    vmx_flush(vmx);
    invept(ept_pointer(vcpu->vm->nested.root, vmx_machine.cap.ept_vpid));
    vmx->cpu = this_cpu();
}

static void vmx_vcpu_load(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    const struct cpu *here = vcpu->cpu;
    struct vmx_cpu *cpu = here->vmx;

    use_on(cpu, vmx);
    if (unlikely(vmx->cpu != here))
        settle(vcpu, vmx);
    load_msrs(cpu, vmx);
    write_cr2(vmx->cr2);
    if (unlikely(vmx->apic_stale))
        vmx_apic_load(vcpu);
    __asm__ volatile("mov %0, %%dr6" : : "r"(vmx->dr6));
    vmx->loaded = true;
}

/* The VMCS stays the CPU's current one, until it is put away. */
static void vmx_vcpu_unload(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    vmx->cr2 = read_cr2();
    __asm__ volatile("mov %%dr6, %0" : "=r"(vmx->dr6));
    vmx->loaded = false;
}

/* The preemption timer looks up the deadline at each entry; the local APIC is left alone. */
static void vmx_set_deadline(struct vcpu *vcpu, uint64_t deadline)
{
    if (vmx_machine.timer) {
        vcpu->cpu->timer_programmed = deadline;
    } else {
        lapic_timer_program(deadline);
    }
}

/* An NMI's exit leaves NMIs blocked, which an IRET ends: that of the handler (28.5.5). */
static void vmx_take_interrupts(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    uint32_t info = vmx->interruption;

    vmx->interruption = 0;
    if (!info)
        cpu_take_interrupts();
    else if ((info & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT == INTERRUPTION_NMI)
        __asm__ volatile("int $2" : : : "memory");
    else
        irq_dispatch(info & INTERRUPTION_VECTOR);
    vcpu->cpu->interrupts_taken = tsc_now();
}

static void vmx_inject_interrupt(struct vcpu *vcpu, uint8_t vector)
{
    (void)vcpu;
    vmcs_write(VMCS_ENTRY_INTERRUPTION,
               INTERRUPTION_VALID | (uint64_t)EVENT_INTERRUPT << INTERRUPTION_TYPE_SHIFT | vector);
}

static void vmx_inject(struct vcpu *vcpu, const struct vcpu_event *event)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    uint32_t info = (uint32_t)INTERRUPTION_VALID | (uint32_t)event->type << INTERRUPTION_TYPE_SHIFT |
                    event->vector;

    /* No error code is pushed in real mode, and none may be asked for there (27.2.1.3). */
    if (event->has_error && (vmx_cr0() & CR0_PE)) {
        info |= (uint32_t)INTERRUPTION_ERROR;
        vmcs_write(VMCS_ENTRY_ERROR_CODE, event->error);
    }
    if (event->type == EVENT_NMI && (vmx->interruptibility & BLOCKING_NMI)) {
        vmx->interruptibility &= ~BLOCKING_NMI;
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmx->interruptibility);
    }
    vmcs_write(VMCS_ENTRY_INTERRUPTION, info);
}

static void set_primary(struct vmx_vcpu *vmx, uint32_t bit, bool on)
{
    uint32_t primary = on ? vmx->primary | bit : vmx->primary & ~bit;

    if (primary == vmx->primary)
        return;
    vmx->primary = primary;
    vmcs_write(VMCS_PRIMARY_CONTROLS, primary);
}

static void vmx_debug_exits(struct vcpu *vcpu, bool wanted)
{
    set_primary(vcpu->backend, (uint32_t)PRIMARY_MOV_DR_EXITING, wanted);
}

static uint64_t vmx_dr7(const struct vcpu *vcpu)
{
    (void)vcpu;
    return vmcs_read(VMCS_GUEST_DR7);
}

/* An exit as soon as interrupts are enabled; for what only the task priority holds back, when that sinks. */
static void vmx_request_window(struct vcpu *vcpu, bool wanted)
{
    struct vmx_vcpu *vmx = vcpu->backend;
    int held = wanted ? vcpu->intc->held(vcpu->intc_context) : -1;

    set_primary(vmx, (uint32_t)PRIMARY_INTERRUPT_WINDOW, wanted && held < 0);
    if (vmx->tpr_shadow)
        vmcs_write(VMCS_TPR_THRESHOLD, held < 0 ? 0 : (uint64_t)held >> 4);
}

static void vmx_nmi_window(struct vcpu *vcpu, bool wanted)
{
    set_primary(vcpu->backend, (uint32_t)PRIMARY_NMI_WINDOW, wanted);
}

/* As if it came from another CPU: settle() has INVEPT. */
static void vmx_flush_nested(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    vmx->cpu = NULL;
}

static void vmx_flush_tlb(struct vcpu *vcpu)
{
    vmx_flush(vcpu->backend);
}

static void vmx_set_cr8(struct vcpu *vcpu, uint8_t cr8)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    if (vmx->tpr_shadow)
        *vmx->tpr_shadow = (uint32_t)cr8 << 4;
}

/* More CR3 targets than any CPU has; CR4 without VMXE. */
static void vmx_spoil(struct vcpu *vcpu, bool control)
{
    (void)vcpu;
    if (control)
        vmcs_write(VMCS_CR3_TARGET_COUNT, UINT32_MAX);
    else
        vmcs_write(VMCS_GUEST_CR4, vmcs_read(VMCS_GUEST_CR4) & ~CR4_VMXE);
}

const struct vmx_ops vmx_ops_intel = {
    .name = "VT-x",
    .present = vmx_present,
    .without = vmx_without,
    .features = "apicv, tpr-shadow, preemption-timer",
    .cpu_enable = vmx_cpu_enable,
    .memory_create = vmx_memory_create,
    .memory_destroy = vmx_memory_destroy,
    .vcpu_create = vmx_vcpu_create,
    .vcpu_destroy = vmx_vcpu_destroy,
    .vcpu_reset = vmx_vcpu_reset,
    .load = vmx_vcpu_load,
    .unload = vmx_vcpu_unload,
    .put_away = vmx_vcpu_put_away,
    .enter = vmx_enter,
    .exit = vmx_exit,
    .set_deadline = vmx_set_deadline,
    .take_interrupts = vmx_take_interrupts,
    .inject = vmx_inject,
    .inject_interrupt = vmx_inject_interrupt,
    .debug_exits = vmx_debug_exits,
    .dr7 = vmx_dr7,
    .window = vmx_request_window,
    .nmi_window = vmx_nmi_window,
    .has_virtual_apic = vmx_apic_is_virtual,
    .apic_mode = vmx_apic_mode,
    .apic_sync = vmx_apic_sync,
    .flush_tlb = vmx_flush_tlb,
    .flush_nested = vmx_flush_nested,
    .set_cr8 = vmx_set_cr8,
    .get_system = vmx_get_system,
    .set_system = vmx_set_system,
    .cpl = vmx_cpl,
    .paging = vmx_paging,
    .segment = vmx_segment,
    .cr4 = vmx_get_cr4,
    .code_size = vmx_code_size,
    .set_cr2 = vmx_set_cr2,
    .set_dr6 = vmx_set_dr6,
    .spoil = vmx_spoil,
    .msr_rules = vmx_msr_rules,
    .msr_rule_count = VMX_MSR_RULES,
    .msr_get = vmx_msr_get,
    .msr_set = vmx_msr_set,
};
