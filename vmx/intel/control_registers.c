/*
 * Control registers. The guest changes most bits of CR0 and CR4 by itself; an exit comes where it changes one
 * that VMX operation needs as it is, or that belongs to the machine. Source: Intel SDM vol. 3, 24.8, 25.6.6,
 * 26.1.3, 26.3; 2.5 and 4.4.1 for what a MOV checks.
 */
#include "vmx/intel/vmx.h"
#include "arch/x86_64/cpu.h"
#include "lib/errno.h"
#include "vmx/gva.h"

#define CR0_VALID                                                                                            \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR0_GUEST (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM | CR0_PG)

/* What cpuid.c may offer. MCE stays set, since a machine check while it is clear shuts the machine down. */
#define CR4_GUEST                                                                                            \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR |             \
     CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)

/* Changes of these reload the PDPTEs of PAE paging (4.4.1), or end translations (4.10.4.1). */
#define CR4_PAGING (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP)

uint64_t vmx_cr0(void)
{
    return (vmcs_read(VMCS_GUEST_CR0) & CR0_GUEST) | (vmcs_read(VMCS_CR0_SHADOW) & ~CR0_GUEST);
}

uint64_t vmx_cr4(void)
{
    return (vmcs_read(VMCS_GUEST_CR4) & CR4_GUEST) | (vmcs_read(VMCS_CR4_SHADOW) & ~CR4_GUEST);
}

/* CD and NW are the machine's: a guest that turns its caches off sees the bits, no more. */
void vmx_set_cr0(uint64_t cr0)
{
    vmcs_write(VMCS_CR0_MASK, ~CR0_GUEST);
    vmcs_write(VMCS_CR0_SHADOW, cr0);
    vmcs_write(VMCS_GUEST_CR0, (cr0 & ~(CR0_CD | CR0_NW)) | CR0_NE | CR0_ET);
}

void vmx_set_cr4(uint64_t cr4)
{
    vmcs_write(VMCS_CR4_MASK, ~CR4_GUEST);
    vmcs_write(VMCS_CR4_SHADOW, cr4);
    vmcs_write(VMCS_GUEST_CR4, cr4 | CR4_VMXE | (vmx_machine.cap.cr4_fixed1 & CR4_MCE));
}

int vmx_load_pdptes(const struct vcpu *vcpu)
{
    uint64_t pdpte[4];

    if (gva_read_pdptes(&vcpu->vm->mem, vmcs_read(VMCS_GUEST_CR3), vcpu->cpuid.phys_bits, pdpte))
        return -EINVAL;
    for (unsigned i = 0; i < 4; i++)
        vmcs_write(vmcs_nth(VMCS_GUEST_PDPTE0, i), pdpte[i]);
    return 0;
}

static void set_lma(uint64_t efer, bool on)
{
    uint64_t entry = vmcs_read(VMCS_ENTRY_CONTROLS);

    vmcs_write(VMCS_GUEST_EFER, on ? efer | EFER_LMA : efer & ~EFER_LMA);
    vmcs_write(VMCS_ENTRY_CONTROLS, on ? entry | ENTRY_IA32E : entry & ~ENTRY_IA32E);
}

/* Paging is turned on or off: what that asks of the rest of the state. False: #GP. */
static bool switch_paging(bool on, uint64_t efer)
{
    bool code_64 = vmcs_read(VMCS_GUEST_CS_ACCESS) & BIT(13);

    if (!(efer & EFER_LME))
        return true;
    if (on && (!(vmcs_read(VMCS_GUEST_CR4) & CR4_PAE) || code_64))
        return false;
    if (!on && code_64)
        return false;
    set_lma(efer, on);
    return true;
}

static bool write_guest_cr0(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = vmx_cr0(), efer = vmcs_read(VMCS_GUEST_EFER);

    if (value >> 32)
        return false;
    value = (value & CR0_VALID) | CR0_ET;
    if (((value & CR0_NW) && !(value & CR0_CD)) || ((value & CR0_PG) && !(value & CR0_PE)))
        return false;
    if ((value & CR0_PG) && !(efer & EFER_LME) && (vmcs_read(VMCS_GUEST_CR4) & CR4_PAE) &&
        ((old ^ value) & (CR0_CD | CR0_NW | CR0_PG)) && vmx_load_pdptes(vcpu))
        return false;
    if (((old ^ value) & CR0_PG) && !switch_paging(value & CR0_PG, efer))
        return false;
    vmx_set_cr0(value);
    if ((old ^ value) & (CR0_PG | CR0_WP))
        vmx_flush(vcpu->backend);
    return true;
}

static bool write_guest_cr4(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = vmx_cr4(), efer = vmcs_read(VMCS_GUEST_EFER);

    if (value & ~((CR4_GUEST | CR4_MCE) & vmx_machine.cap.cr4_fixed1))
        return false;
    if ((efer & EFER_LMA) && !(value & CR4_PAE))
        return false;
    if ((vmx_cr0() & CR0_PG) && !(efer & EFER_LMA) && (value & CR4_PAE) && ((old ^ value) & CR4_PAGING) &&
        vmx_load_pdptes(vcpu))
        return false;
    vmx_set_cr4(value);
    if ((old ^ value) & CR4_PAGING)
        vmx_flush(vcpu->backend);
    return true;
}

/* CR8 exits only where the CPU has no TPR shadow. */
static bool access_cr8(struct vcpu *vcpu, uint64_t *reg, bool to)
{
    if (!to) {
        *reg = vcpu->cr8;
        return true;
    }
    if (*reg >> 4)
        return false;
    vcpu->cr8 = (uint8_t)*reg;
    vcpu->intc->set_cr8(vcpu->intc_context, vcpu->cr8);
    return true;
}

/* The value and everything that its change brings with it. 64-bit operands in 64-bit mode, else 32-bit ones.
 */
void vmx_cr_access(struct vcpu *vcpu, uint64_t qualification)
{
    unsigned type = CR_ACCESS_TYPE(qualification), number = CR_ACCESS_NUMBER(qualification);
    uint64_t *reg = &vcpu->gpr[CR_ACCESS_REGISTER(qualification)], value = *reg;
    bool done = false;

    if (vmx_code_size(vcpu) != CODE_64)
        value = (uint32_t)value;
    if (type == CR_ACCESS_TO && number == 0)
        done = write_guest_cr0(vcpu, value);
    else if (type == CR_ACCESS_TO && number == 4)
        done = write_guest_cr4(vcpu, value);
    else if (type <= CR_ACCESS_FROM && number == 8)
        done = access_cr8(vcpu, reg, type == CR_ACCESS_TO);
    if (done)
        vcpu_advance(vcpu);
    else
        vcpu_raise_gp(vcpu);
}
