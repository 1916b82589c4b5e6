/* A vCPU's registers in its VMCS, in neutral terms. Source: Intel SDM vol. 3, 25.4. */
#include "arch/x86_64/cpu.h"
#include "lib/errno.h"
#include "vmx/intel/vmx.h"

#define ACCESS_LOW  0x00ffu /* type, S, DPL, P: as in struct vcpu_segment */
#define ACCESS_HIGH 0xf000u /* AVL, L, D/B, G, which lie four bits lower there */
#define ACCESS_P    BIT(7)

/* An unusable segment is one that is not present in neutral terms. */
static uint16_t to_attributes(uint32_t access)
{
    if (access & ACCESS_UNUSABLE)
        access &= ~(uint32_t)ACCESS_P;
    return (uint16_t)((access & ACCESS_LOW) | (access & ACCESS_HIGH) >> 4);
}

static uint32_t to_access(uint16_t attributes)
{
    uint32_t access = (attributes & ACCESS_LOW) | ((uint32_t)attributes << 4 & ACCESS_HIGH);

    return attributes & SEG_ATTR_P ? access : access | (uint32_t)ACCESS_UNUSABLE;
}

static void get_segment(struct vcpu_segment *to, unsigned n)
{
    to->selector = (uint16_t)vmcs_read(vmcs_nth(VMCS_GUEST_ES_SELECTOR, n));
    to->attributes = to_attributes((uint32_t)vmcs_read(vmcs_nth(VMCS_GUEST_ES_ACCESS, n)));
    to->limit = (uint32_t)vmcs_read(vmcs_nth(VMCS_GUEST_ES_LIMIT, n));
    to->base = vmcs_read(vmcs_nth(VMCS_GUEST_ES_BASE, n));
}

static void set_segment(unsigned n, const struct vcpu_segment *from)
{
    vmcs_write(vmcs_nth(VMCS_GUEST_ES_SELECTOR, n), from->selector);
    vmcs_write(vmcs_nth(VMCS_GUEST_ES_ACCESS, n), to_access(from->attributes));
    vmcs_write(vmcs_nth(VMCS_GUEST_ES_LIMIT, n), from->limit);
    vmcs_write(vmcs_nth(VMCS_GUEST_ES_BASE, n), from->base);
}

void vmx_get_system(const struct vcpu *vcpu, struct vcpu_system *out)
{
    struct vmx_vcpu *vmx = vcpu->backend, *before = vmx_use(vmx);

    for (unsigned i = 0; i < SEG_COUNT; i++)
        get_segment(&out->segment[i], i);
    get_segment(&out->ldtr, VMCS_LDTR);
    get_segment(&out->tr, VMCS_TR);
    out->gdtr.base = vmcs_read(VMCS_GUEST_GDTR_BASE);
    out->gdtr.limit = (uint16_t)vmcs_read(VMCS_GUEST_GDTR_LIMIT);
    out->idtr.base = vmcs_read(VMCS_GUEST_IDTR_BASE);
    out->idtr.limit = (uint16_t)vmcs_read(VMCS_GUEST_IDTR_LIMIT);
    out->cr0 = vmx_cr0();
    out->cr2 = vmx->loaded ? read_cr2() : vmx->cr2;
    out->cr3 = vmcs_read(VMCS_GUEST_CR3);
    out->cr4 = vmx_cr4();
    out->efer = vmcs_read(VMCS_GUEST_EFER);
    out->dr6 = vmx->dr6;
    if (vmx->loaded)
        __asm__ volatile("mov %%dr6, %0" : "=r"(out->dr6));
    out->dr7 = vmcs_read(VMCS_GUEST_DR7);
    vmx_give_back(vcpu, before);
}

static void set_efer(uint64_t efer)
{
    uint64_t entry = vmcs_read(VMCS_ENTRY_CONTROLS);

    vmcs_write(VMCS_GUEST_EFER, efer);
    vmcs_write(VMCS_ENTRY_CONTROLS, efer & EFER_LMA ? entry | ENTRY_IA32E : entry & ~ENTRY_IA32E);
}

void vmx_set_system(struct vcpu *vcpu, const struct vcpu_system *in)
{
    struct vmx_vcpu *vmx = vcpu->backend, *before = vmx_use(vmx);

    for (unsigned i = 0; i < SEG_COUNT; i++)
        set_segment(i, &in->segment[i]);
    set_segment(VMCS_LDTR, &in->ldtr);
    set_segment(VMCS_TR, &in->tr);
    vmcs_write(VMCS_GUEST_GDTR_BASE, in->gdtr.base);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, in->gdtr.limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, in->idtr.base);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, in->idtr.limit);
    vmx_set_cr0(in->cr0);
    vmcs_write(VMCS_GUEST_CR3, in->cr3);
    vmx_set_cr4(in->cr4);
    set_efer(in->efer);
    vmcs_write(VMCS_GUEST_DR7, in->dr7);
    vmx->cr2 = in->cr2;
    vmx->dr6 = in->dr6;
    if (vmx->loaded) {
        write_cr2(in->cr2);
        __asm__ volatile("mov %0, %%dr6" : : "r"(in->dr6));
    }
    /* The walk of the guest's own tables found them, or will fault on them. */
    if ((in->cr0 & CR0_PG) && (in->cr4 & CR4_PAE) && !(in->efer & EFER_LMA) && vmx_load_pdptes(vcpu))
        vm_die(vcpu->vm, "vCPU %u has page-directory pointers at 0x%llx with reserved bits set", vcpu->index,
               (unsigned long long)in->cr3);
    vmx_flush(vmx);
    vmx_give_back(vcpu, before);
}

unsigned vmx_cpl(const struct vcpu *vcpu)
{
    (void)vcpu;
    return vmcs_read(VMCS_GUEST_SS_ACCESS) >> 5 & 3;
}

void vmx_paging(const struct vcpu *vcpu, struct gva_mode *out)
{
    out->cr0 = vmcs_read(VMCS_GUEST_CR0);
    out->cr3 = vmcs_read(VMCS_GUEST_CR3);
    out->cr4 = vmx_cr4();
    out->efer = vmcs_read(VMCS_GUEST_EFER);
    out->use_pdpte = (out->cr0 & CR0_PG) && (out->cr4 & CR4_PAE) && !(out->efer & EFER_LMA);
    if (unlikely(out->use_pdpte))
        for (unsigned i = 0; i < 4; i++)
            out->pdpte[i] = vmcs_read(vmcs_nth(VMCS_GUEST_PDPTE0, i));
    out->cpl = (uint8_t)vmx_cpl(vcpu);
    out->rflags_ac = vcpu->rflags & BIT(18);
}

void vmx_segment(const struct vcpu *vcpu, enum seg seg, struct emu_segment *out)
{
    uint32_t access = (uint32_t)vmcs_read(vmcs_nth(VMCS_GUEST_ES_ACCESS, seg));
    uint16_t attributes = to_attributes(access);
    bool code = attributes & SEG_ATTR_CODE, rw = attributes & SEG_ATTR_RW;

    (void)vcpu;
    *out = (struct emu_segment){
        .base = vmcs_read(vmcs_nth(VMCS_GUEST_ES_BASE, seg)),
        .limit = (uint32_t)vmcs_read(vmcs_nth(VMCS_GUEST_ES_LIMIT, seg)),
        .present = attributes & SEG_ATTR_P,
        .writable = !code && rw,
        .readable = !code || rw,
        .code = code,
        .expand_down = !code && (attributes & SEG_ATTR_DOWN),
        .big = attributes & SEG_ATTR_DB,
    };
}

/* CS.L has a meaning in IA-32e mode only, where nothing else may set it. */
enum code_size vmx_code_size(const struct vcpu *vcpu)
{
    uint32_t access = (uint32_t)vmcs_read(VMCS_GUEST_CS_ACCESS);

    (void)vcpu;
    if ((access & BIT(13)) && (vmcs_read(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E))
        return CODE_64;
    return access & BIT(14) ? CODE_32 : CODE_16;
}

uint64_t vmx_get_cr4(const struct vcpu *vcpu)
{
    (void)vcpu;
    return vmx_cr4();
}

void vmx_set_cr2(struct vcpu *vcpu, uint64_t cr2)
{
    (void)vcpu;
    write_cr2(cr2);
}

void vmx_set_dr6(struct vcpu *vcpu, uint64_t set)
{
    uint64_t dr6;

    (void)vcpu;
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    __asm__ volatile("mov %0, %%dr6" : : "r"(dr6 | set));
}

/* EFER and PAT exit since their values need checks; msr.c has done them. LMA does not change here. */
int vmx_msr_get(const struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    (void)vcpu;
    switch (msr) {
    case MSR_EFER:
        *value = vmcs_read(VMCS_GUEST_EFER);
        return 0;
    case MSR_PAT:
        *value = vmcs_read(VMCS_GUEST_PAT);
        return 0;
    default:
        return -EINVAL;
    }
}

int vmx_msr_set(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_EFER:
        vmcs_write(VMCS_GUEST_EFER, value);
        vmx_flush(vcpu->backend); /* NXE may have changed */
        return 0;
    case MSR_PAT:
        vmcs_write(VMCS_GUEST_PAT, value);
        return 0;
    default:
        return -EINVAL;
    }
}
