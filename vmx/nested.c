/* A VM's nested page table, whatever its format. */
#include "vmx/nested.h"
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "lib/errno.h"
#include "lib/string.h"

static hpa_t table_alloc(void *context)
{
    const struct vm *vm = context;
    hpa_t page = frames_alloc(FRAME_ORDER_4K, FRAME_VM + vm->index);

    if (page.raw)
        memset(phys_to_virt(page), 0, PAGE_SIZE);
    return page;
}

static void table_free(void *context, hpa_t table)
{
    const struct vm *vm = context;

    frames_free(table, FRAME_ORDER_4K, FRAME_VM + vm->index);
}

static uint64_t *table_pointer(void *context, hpa_t table)
{
    (void)context;
    return phys_to_virt(table);
}

/* Maps chunks of RAM that are neighbours in the host; the walker joins what it can into larger pages only
 * within one call, so give it whole runs. */
static int map_run(struct vm *vm, const struct gmem_slot *slot, uint64_t first, uint64_t count,
                   uint32_t flags)
{
    gpa_t at = gpa(slot->base.raw + first * GMEM_CHUNK);

    return ptab_map(&vm->nested, at.raw, virt_to_phys(slot->chunk[first]), count * GMEM_CHUNK, flags);
}

static int map_slot(struct vm *vm, const struct gmem_slot *slot, uint32_t flags)
{
    uint64_t chunks = slot->size / GMEM_CHUNK, first = 0;

    for (uint64_t i = 1; i <= chunks; i++) {
        int err;

        if (i < chunks && slot->chunk[i] == slot->chunk[i - 1] + GMEM_CHUNK)
            continue;
        err = map_run(vm, slot, first, i - first, flags);
        if (err)
            return err;
        first = i;
    }
    return 0;
}

int nested_create(struct vm *vm, const struct ptab_format *format, uint32_t ram_flags)
{
    int err;

    vm->ram_flags = ram_flags;
    vm->nested_memory = (struct ptab_memory){ table_alloc, table_free, table_pointer, NULL, vm };
    err = ptab_init(&vm->nested, format, &vm->nested_memory);
    if (err)
        return err;
    for (unsigned i = 0; i < vm->mem.count && !err; i++)
        err = map_slot(vm, &vm->mem.slot[i], ram_flags);
    if (!err)
        err = ptab_unmap(&vm->nested, vm->mem.hole_base.raw, vm->mem.hole_size);
    if (err)
        ptab_destroy(&vm->nested);
    return err;
}

void nested_destroy(struct vm *vm)
{
    ptab_destroy(&vm->nested);
}

int nested_unmap_chunk(struct vm *vm, gpa_t at)
{
    return ptab_unmap(&vm->nested, at.raw, GMEM_CHUNK);
}

int nested_map_chunk(struct vm *vm, gpa_t at, const uint8_t *host)
{
    return ptab_map(&vm->nested, at.raw, virt_to_phys(host), GMEM_CHUNK, vm->ram_flags);
}

int nested_map_page(struct vm *vm, gpa_t at, hpa_t page)
{
    return ptab_map(&vm->nested, at.raw, page, PAGE_SIZE, PTAB_READ | PTAB_WRITE | PTAB_USER | PTAB_WB);
}
