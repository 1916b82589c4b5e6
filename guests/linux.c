#include "guests/linux.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Low memory, all of it below the hole. Linux copies what it wants to keep before it hands this memory out.
 */
#define STACK_TOP    0x06000 /* the entry needs none, but a fault handler may */
#define GDT_AT       0x06000
#define PARAMS_AT    0x07000
#define TABLES_AT    0x08000 /* one PML4, one PDPT, four page directories */
#define CMDLINE_AT   0x10000
#define CMDLINE_ROOM 0x10000

/* Selectors that boot.rst ("64-bit boot protocol") prescribes. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18

/* Segment descriptors: flat, accessed (Intel SDM vol. 3, 3.4.5). */
#define DESCRIPTOR_CODE64 UINT64_C(0x00af9b000000ffff)
#define DESCRIPTOR_DATA   UINT64_C(0x00cf93000000ffff)

/* Page-table entries (Intel SDM vol. 3, 4.5). */
#define ENTRY_P       BIT(0)
#define ENTRY_RW      BIT(1)
#define ENTRY_PS      BIT(7)
#define TABLE_ENTRIES 512
#define IDENTITY_G    4 /* GiB that are mapped */

/* Where the parts of the file go. */
struct placement {
    const struct linux_setup_header *hdr;
    size_t code_offset; /* of the protected-mode kernel in the file */
    size_t code_size;
    uint64_t kernel_end; /* of the memory it needs from pref_address */
    uint64_t initrd;     /* 0: none */
};

bool linux_probe(const struct image *image)
{
    const struct linux_setup_header *hdr;

    if (image->size < LINUX_HEADER_OFFSET + sizeof(*hdr))
        return false;
    hdr = (const void *)(image->data + LINUX_HEADER_OFFSET);
    return hdr->boot_flag == LINUX_BOOT_FLAG && hdr->header == LINUX_HEADER_MAGIC;
}

static uint64_t to_mib(uint64_t bytes)
{
    return align_up(bytes, MiB) / MiB;
}

/* Checks the file itself. */
static int check_image(const struct image *image, struct placement *place, struct load_error *error)
{
    const struct linux_setup_header *hdr;

    if (!linux_probe(image))
        return load_refuse(error, "%s is no Linux kernel: use a bzImage, often named vmlinuz", image->name);
    hdr = (const void *)(image->data + LINUX_HEADER_OFFSET);
    if (hdr->version < LINUX_PROTOCOL_MIN)
        return load_refuse(error, "%s has boot protocol %u.%02u, Plinth needs 2.12: use Linux 3.8 or later",
                           image->name, hdr->version >> 8, hdr->version & 0xffu);
    if (!(hdr->xloadflags & LINUX_XLF_KERNEL_64))
        return load_refuse(
            error, "%s is a 32-bit kernel: Plinth starts Linux by its 64-bit entry; use an x86-64 bzImage",
            image->name);
    if (!(hdr->loadflags & LINUX_LOADED_HIGH))
        return load_refuse(error, "%s is a zImage, which loads below 1 MiB: use a bzImage", image->name);

    place->hdr = hdr;
    place->code_offset = ((hdr->setup_sects ? hdr->setup_sects : 4u) + 1u) * 512u;
    if (image->size <= place->code_offset + LINUX_ENTRY_64 ||
        align_up(image->size - place->code_offset, 16) < (uint64_t)hdr->syssize * 16)
        return load_refuse(error,
                           "%s is cut short: its header promises more than its %zu bytes; copy it again",
                           image->name, image->size);
    place->code_size = image->size - place->code_offset;
    return 0;
}

/* Finds room for the kernel and the initrd. */
static int place_images(const struct load_request *request, struct placement *place, struct load_error *error)
{
    const struct image *kernel = &request->kernel, *initrd = &request->initrd;
    uint64_t start = place->hdr->pref_address, limit = guest_low_end(request->mem);
    uint64_t size = max_u64(place->hdr->init_size, place->code_size);

    /* A kernel that is loaded lower moves itself up to pref_address: no other place needs less memory. */
    if (start < MiB || !is_aligned(start, PAGE_SIZE) || start >= GUEST_LOW_MAX)
        return load_refuse(error,
                           "%s wants to run at 0x%lx, where a VM has no memory for it: use another kernel",
                           kernel->name, start);
    if (start + size > limit)
        return load_refuse(
            error, "%s needs %lu MiB of memory below 3 GiB to start, the VM has %lu MiB: raise 'memory'",
            kernel->name, to_mib(start + size), limit / MiB);
    place->kernel_end = start + size;
    if (!initrd->size)
        return 0;

    limit = min_u64(limit, (uint64_t)place->hdr->initrd_addr_max + 1);
    if (limit < place->kernel_end ||
        align_up(initrd->size, PAGE_SIZE) > align_down(limit - place->kernel_end, PAGE_SIZE))
        return load_refuse(error, "%s (%lu MiB) does not fit between the kernel and %lu MiB: raise 'memory'",
                           initrd->name, to_mib(initrd->size), limit / MiB);
    place->initrd = align_down(limit - initrd->size, PAGE_SIZE);
    return 0;
}

static int check_request(const struct load_request *request, const struct placement *place,
                         struct load_error *error)
{
    uint64_t longest = min_u64(place->hdr->cmdline_size, CMDLINE_ROOM - 1);

    if (request->module_count)
        return load_refuse(error,
                           "%s is a Linux kernel, which takes no modules: remove 'modules' or use 'initrd'",
                           request->kernel.name);
    if (strlen(request->cmdline) > longest)
        return load_refuse(error,
                           "%s takes a command line of %lu characters at most: shorten 'cmdline' (%zu)",
                           request->kernel.name, longest, strlen(request->cmdline));
    return 0;
}

/* The first 4 GiB one to one in 2M pages, writable and executable. */
static int write_tables(const struct gmem *mem)
{
    uint64_t *pml4 = (void *)gmem_ptr(mem, gpa(TABLES_AT), (2 + IDENTITY_G) * PAGE_SIZE);
    uint64_t *pdpt, *directories;

    if (!pml4)
        return -EFAULT;
    pdpt = pml4 + TABLE_ENTRIES;
    directories = pdpt + TABLE_ENTRIES;
    pml4[0] = (TABLES_AT + PAGE_SIZE) | ENTRY_P | ENTRY_RW;
    for (unsigned i = 0; i < IDENTITY_G; i++)
        pdpt[i] = (TABLES_AT + (2 + i) * PAGE_SIZE) | ENTRY_P | ENTRY_RW;
    for (unsigned i = 0; i < IDENTITY_G * TABLE_ENTRIES; i++)
        directories[i] = i * PAGE_2M | ENTRY_P | ENTRY_RW | ENTRY_PS;
    return 0;
}

static int write_params(const struct load_request *request, const struct placement *place)
{
    struct linux_boot_params *params = (void *)gmem_ptr(request->mem, gpa(PARAMS_AT), sizeof(*params));
    struct e820_entry map[E820_MAX];
    unsigned count = guest_e820(request->mem, map);
    /* boot.rst, "Details of header fields": the header ends where its jump leads. */
    size_t length = offsetof(struct linux_setup_header, header) + place->hdr->header_length;

    if (!params)
        return -EFAULT;
    memset(params, 0, sizeof(*params));
    memcpy(params->hdr_space, place->hdr, min_u64(length, sizeof(params->hdr_space)));
    params->hdr.type_of_loader = LINUX_LOADER_OTHER;
    params->hdr.setup_data = 0;
    params->hdr.cmd_line_ptr = CMDLINE_AT;
    params->hdr.ramdisk_image = (uint32_t)place->initrd;
    params->hdr.ramdisk_size = (uint32_t)request->initrd.size;
    params->acpi_rsdp_addr = request->rsdp.raw;
    params->e820_entries = (uint8_t)count;
    memcpy(params->e820_table, map, count * sizeof(map[0]));
    return 0;
}

static int write_all(const struct load_request *request, const struct placement *place)
{
    static const uint64_t gdt[] = { 0, 0, DESCRIPTOR_CODE64, DESCRIPTOR_DATA };
    const struct gmem *mem = request->mem;
    int error = gmem_write(mem, gpa(GDT_AT), gdt, sizeof(gdt));

    if (!error)
        error = write_tables(mem);
    if (!error)
        error = write_params(request, place);
    if (!error)
        error = gmem_write(mem, gpa(CMDLINE_AT), request->cmdline, strlen(request->cmdline) + 1);
    if (!error)
        error = gmem_write(mem, gpa(place->hdr->pref_address), request->kernel.data + place->code_offset,
                           place->code_size);
    if (!error && place->initrd)
        error = gmem_write(mem, gpa(place->initrd), request->initrd.data, request->initrd.size);
    return error;
}

int linux_load(const struct load_request *request, struct boot_state *state, struct load_error *error)
{
    struct placement place = { 0 };
    int result = check_image(&request->kernel, &place, error);

    if (!result)
        result = check_request(request, &place, error);
    if (!result)
        result = place_images(request, &place, error);
    if (result)
        return result;
    if (write_all(request, &place))
        return load_refuse(error, "%s does not fit into the VM's memory: raise 'memory'",
                           request->kernel.name);

    *state = (struct boot_state){
        .mode = BOOT_MODE_LONG,
        .rip = place.hdr->pref_address + LINUX_ENTRY_64,
        .rsp = STACK_TOP,
        .rsi = PARAMS_AT,
        .cr3 = TABLES_AT,
        .gdt = gpa(GDT_AT),
        .gdt_limit = 4 * sizeof(uint64_t) - 1,
        .cs = BOOT_CS,
        .ds = BOOT_DS,
    };
    return 0;
}
