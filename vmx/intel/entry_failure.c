/* A VM entry that failed: why, in words. The vCPU's VMCS is current. Source: Intel SDM vol. 3, 27.8 and 31.4.
 */
#include "arch/x86_64/paging.h"
#include "kernel/panic.h"
#include "lib/string.h"
#include "vmx/intel/check.h"
#include "vmx/intel/vmx.h"

static uint64_t read_field(void *context, enum vmcs_field field)
{
    (void)context;
    return vmcs_read(field);
}

/* What the VMCS may point to is Plinth's own memory. */
static bool load_word(void *context, hpa_t address, uint32_t *value)
{
    (void)context;
    *value = *(const uint32_t *)phys_to_virt(address);
    return true;
}

/* The VM stops with the first breach of the manual's rules that its VMCS shows. */
static void die(struct vcpu *vcpu, const char *what, uint32_t number)
{
    const struct vmcs_view view = { .read = read_field, .load = load_word, .cap = &vmx_machine.cap };
    char text[140];

    bool sound = vmcs_check(&view, text, sizeof(text));

    vcpu->exits[EXIT_INVALID]++;
    vm_die(vcpu->vm, "VM entry of vCPU %u failed (%s %u): %s", vcpu->index, what, number,
           sound ? "the VMCS breaks no rule that Plinth knows" : text);
}

void vmx_entry_failed(struct vcpu *vcpu, uint32_t reason)
{
    reason &= REASON_MASK;
    if (reason == REASON_ENTRY_MACHINE_CHECK)
        panic(
            "machine check while vm %s was entered: the hardware reported an error that it could not correct",
            vcpu->vm->name);
    die(vcpu, "exit reason", reason);
}

void vmx_entry_refused(struct vcpu *vcpu)
{
    die(vcpu, "VM-instruction error", (uint32_t)vmcs_read(VMCS_INSTRUCTION_ERROR));
}
