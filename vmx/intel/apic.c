/*
 * The local APIC in the CPU's hands: TPR shadow, APIC-register virtualisation, virtual-interrupt delivery.
 * devices/vlapic_page.c is the other half. Source: Intel SDM vol. 3, chapter 30.
 */
#include "arch/x86_64/paging.h"
#include "hw/apic.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/guestmap.h"
#include "vmx/intel/vmx.h"
#include "vmx/nested.h"

#define NEEDED                                                                                               \
    (SECONDARY_APIC_ACCESSES | SECONDARY_X2APIC | SECONDARY_APIC_REGISTERS | SECONDARY_VIRTUAL_INTERRUPTS)
#define XAPIC  (SECONDARY_APIC_ACCESSES | SECONDARY_APIC_REGISTERS | SECONDARY_VIRTUAL_INTERRUPTS)
#define X2APIC (SECONDARY_X2APIC | SECONDARY_APIC_REGISTERS | SECONDARY_VIRTUAL_INTERRUPTS)

/* x2APIC registers that a guest reads from the page. The current count is not in it; EOI and self IPI cannot
 * be read. */
static const struct {
    uint16_t first, last;
} readable[] = {
    { APIC_ID, APIC_VERSION },
    { APIC_TPR, APIC_TPR },
    { APIC_PPR, APIC_PPR },
    { APIC_LDR, APIC_LDR },
    { APIC_SVR, APIC_IRR + 0x70 },
    { APIC_ESR, APIC_ESR },
    { APIC_ICR, APIC_ICR },
    { APIC_LVT_TIMER, APIC_TIMER_INITIAL },
    { APIC_TIMER_DIVIDE, APIC_TIMER_DIVIDE },
};

/* And those that it writes without an exit (30.5). */
static const uint16_t writable[] = { APIC_TPR, APIC_EOI, APIC_SELF_IPI };

static void allow(uint8_t *map, uint32_t reg)
{
    uint32_t msr = MSR_X2APIC(reg);

    map[msr / 8] &= (uint8_t) ~(1u << msr % 8);
}

int vmx_apic_init(void)
{
    struct vmx_machine *m = &vmx_machine;
    uint8_t *map;

    m->apicv = m->controls.value[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW &&
               (m->controls.optional[CONTROL_SECONDARY] & NEEDED) == NEEDED;
    if (!m->apicv)
        return 0;
    m->msr_bitmap_x2apic = frames_alloc(FRAME_ORDER_4K, FRAME_HEAP);
    if (!m->msr_bitmap_x2apic.raw)
        return -ENOMEM;
    map = phys_to_virt(m->msr_bitmap_x2apic);
    memcpy(map, phys_to_virt(m->msr_bitmap), PAGE_SIZE);
    for (unsigned i = 0; i < ARRAY_SIZE(readable); i++)
        for (uint32_t reg = readable[i].first; reg <= readable[i].last; reg += 0x10)
            allow(map, reg);
    for (unsigned i = 0; i < ARRAY_SIZE(writable); i++)
        allow(map + 2048, writable[i]);
    return 0;
}

/*
 * The APIC-access page: accesses to it are what the CPU virtualises in xAPIC mode. In x2APIC mode, where
 * there is nothing on a PC, it is memory, which is why each VM has its own.
 */
int vmx_apic_create(struct vm *vm)
{
    hpa_t page;
    int err;

    if (!vmx_machine.apicv)
        return 0;
    page = frames_alloc(FRAME_ORDER_4K, FRAME_VM + vm->index);
    if (!page.raw)
        return -ENOMEM;
    memset(phys_to_virt(page), 0xff, PAGE_SIZE);
    err = nested_map_page(vm, gpa(GUEST_LAPIC_BASE), page);
    if (err)
        frames_free(page, FRAME_ORDER_4K, FRAME_VM + vm->index);
    return err;
}

static hpa_t access_page(const struct vm *vm)
{
    struct ptab_mapping mapping;

    return ptab_lookup(&vm->nested, GUEST_LAPIC_BASE, &mapping) ? mapping.target : hpa(0);
}

void vmx_apic_destroy(struct vm *vm)
{
    hpa_t page = access_page(vm);

    if (page.raw)
        frames_free(page, FRAME_ORDER_4K, FRAME_VM + vm->index);
}

/* Software keeps the APIC; with TPR shadow CR8 is in the page. */
static void use_software(struct vcpu *vcpu, struct vmx_vcpu *vmx)
{
    vcpu->virtual_apic = false;
    vmx->tpr_shadow = vmx->apic_page ? &vmx->apic_page[APIC_TPR / 4] : NULL;
    if (vmx->tpr_shadow)
        vcpu->cr8 = (uint8_t)(*vmx->tpr_shadow >> 4);
}

static void use_page(struct vcpu *vcpu, struct vmx_vcpu *vmx)
{
    vcpu->virtual_apic = true;
    vmx->tpr_shadow = NULL;
    vcpu->intc->attach(vcpu->intc_context, vmx->apic_page);
    vmx_apic_sync(vcpu);
}

/* The mode that the guest has set, with what the CPU does in it. */
static void choose(struct vcpu *vcpu, struct vmx_vcpu *vmx)
{
    uint32_t secondary = vmx_machine.controls.value[CONTROL_SECONDARY];
    hpa_t bitmap = vmx_machine.msr_bitmap;
    uint64_t base = 0;

    if (vcpu->virtual_apic)
        vcpu->intc->attach(vcpu->intc_context, NULL);
    if (vcpu->intc->msr_read(vcpu->intc_context, MSR_APIC_BASE, &base) || !(base & APIC_BASE_EN)) {
        secondary |= (uint32_t)SECONDARY_APIC_ACCESSES;
        use_software(vcpu, vmx);
    } else {
        secondary |= (uint32_t)(base & APIC_BASE_EXTD ? X2APIC : XAPIC);
        if (base & APIC_BASE_EXTD)
            bitmap = vmx_machine.msr_bitmap_x2apic;
        use_page(vcpu, vmx);
    }
    vmcs_write(VMCS_SECONDARY_CONTROLS, secondary);
    vmcs_write(VMCS_MSR_BITMAP, bitmap.raw);
    vmcs_write(VMCS_APIC_ACCESS_ADDRESS, access_page(vcpu->vm).raw);
    vmx_flush(vmx); /* what is cached says whether an access is to the APIC (30.4.5) */
    vcpu_note(vcpu, PEND_EVENT);
}

void vmx_apic_load(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    vmx->apic_stale = false;
    if (vmx_machine.apicv)
        choose(vcpu, vmx);
}

bool vmx_apic_is_virtual(void)
{
    return vmx_machine.apicv;
}

void vmx_apic_mode(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vcpu->backend;

    vmx->apic_stale = true;
    if (vmx->loaded)
        vmx_apic_load(vcpu);
}

void vmx_apic_sync(struct vcpu *vcpu)
{
    struct vcpu_interrupt_status status;
    uint64_t level[4];

    vcpu->intc->sync(vcpu->intc_context, &status);
    vmcs_write(VMCS_GUEST_INTERRUPT_STATUS, (uint64_t)status.svi << 8 | status.rvi);
    if (likely(!vcpu->intc->level_vectors(vcpu->intc_context, level)))
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(level); i++)
        vmcs_write(vmcs_nth(VMCS_EOI_EXIT_BITMAP_0, i), level[i]);
}

/* --- Exits --- */

/* What the CPU does not virtualise of the page: as any other access to a device. */
void vmx_apic_access(struct vcpu *vcpu, uint64_t qualification)
{
    struct vmexit *exit = &vcpu->exit;
    unsigned type = APIC_ACCESS_TYPE(qualification);

    exit->reason = EXIT_MEMORY;
    exit->memory.at = gpa(GUEST_LAPIC_BASE + APIC_ACCESS_OFFSET(qualification));
    exit->memory.write = type == APIC_ACCESS_WRITE;
    exit->memory.fetch = type == APIC_ACCESS_FETCH;
    exit->memory.walk = type == APIC_ACCESS_PHYSICAL;
    exit->memory.delivering = vcpu->event.valid;
    exit->memory.bytes_count = 0;
}
