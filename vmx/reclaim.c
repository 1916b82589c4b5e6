/* Chunks of RAM that are away. */
#include "vmx/reclaim.h"
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/nested.h"
#include "vmx/vcpu.h"

/* Where the chunk's host address is kept; NULL: no RAM begins at `at`. */
static uint8_t **place_of(struct vm *vm, gpa_t at)
{
    for (unsigned i = 0; i < vm->mem.count; i++) {
        struct gmem_slot *slot = &vm->mem.slot[i];
        uint64_t offset = at.raw - slot->base.raw;

        if (offset < slot->size && is_aligned(offset, GMEM_CHUNK))
            return &slot->chunk[offset / GMEM_CHUNK];
    }
    return NULL;
}

/* What a vCPU has told the hypervisor to write to at any time. It is the guest's word that such memory is
 * free, so it need not be believed. */
static bool is_used(const struct vm *vm, const uint8_t *host)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        const struct vcpu *vcpu = vm->vcpu[i];
        const uint8_t *steal = vcpu->steal_area;

        if (steal && (uint64_t)(steal - host) < GMEM_CHUNK)
            return true;
        if (vcpu->intc->uses(vcpu->intc_context, host, GMEM_CHUNK))
            return true;
    }
    return false;
}

uint8_t *reclaim_detach(struct vm *vm, gpa_t at)
{
    uint8_t **place = place_of(vm, at), *host;

    if (!place || gmem_in_hole(&vm->mem, at, GMEM_CHUNK))
        return NULL;
    lock_take(&vm->ram);
    host = *place;
    if (host && (is_used(vm, host) || nested_unmap_chunk(vm, at)))
        host = NULL;
    if (host) {
        __atomic_store_n(place, NULL, __ATOMIC_RELEASE);
        vm->away++;
    }
    lock_release(&vm->ram);
    return host;
}

void reclaim_forget(struct vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *vcpu = vm->vcpu[i];

        vcpu->code_page.linear = CODE_PAGE_NONE;
        vcpu->fetch_memo.page = 0;
        vmx_ops->flush_nested(vcpu);
    }
}

void reclaim_free(struct vm *vm, uint8_t *host)
{
    frames_free(virt_to_phys(host), FRAME_ORDER_2M, FRAME_VM + vm->index);
}

/* vm->ram is held: whoever else wants a chunk of the VM waits while 2 MiB are zeroed. */
static uint8_t *bring_back(struct vm *vm, gpa_t at)
{
    hpa_t block = frames_alloc(FRAME_ORDER_2M, FRAME_VM + vm->index);
    uint8_t *host;

    if (!block.raw)
        return NULL;
    host = phys_to_virt(block);
    memset(host, 0, GMEM_CHUNK);
    if (nested_map_chunk(vm, at, host)) {
        reclaim_free(vm, host);
        return NULL;
    }
    vm->away--;
    vm->refills++;
    return host;
}

/* CPUs keep nothing in their TLBs of an address that was not mapped, so nothing has to be told to them. */
uint8_t *reclaim_fill(struct vm *vm, unsigned slot, uint64_t chunk)
{
    uint8_t **place = &vm->mem.slot[slot].chunk[chunk], *host;

    lock_take(&vm->ram);
    host = *place;
    if (!host) {
        host = bring_back(vm, gpa(vm->mem.slot[slot].base.raw + chunk * GMEM_CHUNK));
        if (host)
            __atomic_store_n(place, host, __ATOMIC_RELEASE);
    }
    lock_release(&vm->ram);
    return host;
}

uint8_t *reclaim_on_demand(const struct gmem *mem, unsigned slot, uint64_t chunk)
{
    struct vm *vm = container_of(mem, struct vm, mem);
    uint8_t *host = reclaim_fill(vm, slot, chunk);

    if (!host)
        vm_die(vm,
               "out of memory: it takes back memory that its balloon had given to others, and %llu MiB of "
               "the machine's are free; stop another VM, or lower its memory",
               (unsigned long long)(frames_count(FRAME_FREE) * PAGE_SIZE / MiB));
    return host;
}
