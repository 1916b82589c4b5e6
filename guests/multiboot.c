#include "guests/multiboot.h"
#include "guests/elf.h"
#include "lib/errno.h"
#include "lib/string.h"

/* The CPU starts flat; these name segments in a GDT that the kernel must bring along (MB 3.2). */
#define BOOT_CS 0x08
#define BOOT_DS 0x10

/* Low memory between the real-mode structures and the EBDA of a PC: for kernels that link low, and for the
 * information. */
#define LOW_START 0x1000u
#define LOW_END   0x9f000u
#define INFO_MIN  0x10000u /* kernels like to use what is below for their own start-up code */

static const char loader_name[] = "Plinth";

/* One load: what was taken so far. */
struct loading {
    const struct load_request *request;
    struct load_error *error;
    uint64_t limit;   /* end of the RAM below 3 GiB */
    uint64_t low_top; /* ends of what lies below and above 1 MiB */
    uint64_t high_top;
    uint64_t loaded; /* bytes of all segments */
    uint64_t entry;
};

/* A piece of the kernel: `size` bytes at `offset` of the file, then zeroes up to `memory` bytes. */
struct segment {
    uint64_t offset, size;
    uint64_t target, memory;
};

static const struct multiboot_header *find_header(const struct image *image, uint64_t *offset)
{
    uint64_t end = min_u64(image->size, MULTIBOOT_SEARCH);

    for (uint64_t at = 0; at + MULTIBOOT_HEADER_MIN <= end; at += 4) {
        const struct multiboot_header *header = (const void *)(image->data + at);

        if (header->magic != MULTIBOOT_HEADER_MAGIC || header->magic + header->flags + header->checksum != 0)
            continue;
        if ((header->flags & MULTIBOOT_HAS_ADDRESSES) && at + sizeof(*header) > end)
            continue;
        *offset = at;
        return header;
    }
    return NULL;
}

bool multiboot_probe(const struct image *image)
{
    uint64_t offset;

    return find_header(image, &offset) != NULL;
}

static int load_segment(struct loading *load, const struct segment *segment)
{
    const struct load_request *request = load->request;
    const struct image *image = &request->kernel;
    uint64_t end = segment->target + segment->memory;

    if (segment->size > image->size || segment->offset > image->size - segment->size)
        return load_refuse(load->error, "%s is cut short: a segment ends after its %zu bytes; copy it again",
                           image->name, image->size);
    if (segment->size > segment->memory)
        return load_refuse(load->error,
                           "%s is damaged: a segment is larger in the file than in memory; copy it again",
                           image->name);
    if (end < segment->target ||
        (segment->target < MiB ? segment->target < LOW_START || end > LOW_END : end > load->limit))
        return load_refuse(
            load->error,
            "%s loads to 0x%lx-0x%lx, outside of the VM's memory: raise 'memory' or link it elsewhere",
            image->name, segment->target, end);

    /* Segments do not overlap in a sane file; together with the limit this bounds the time that a hostile one
     * takes. */
    load->loaded += segment->memory;
    if (load->loaded > load->limit)
        return load_refuse(load->error, "%s is damaged: its segments overlap; build it again", image->name);
    if (gmem_write(request->mem, gpa(segment->target), image->data + segment->offset, segment->size) ||
        gmem_fill(request->mem, gpa(segment->target + segment->size), 0, segment->memory - segment->size))
        return load_refuse(load->error, "%s does not fit into the VM's memory: raise 'memory'", image->name);

    if (segment->target < MiB)
        load->low_top = max_u64(load->low_top, end);
    else
        load->high_top = max_u64(load->high_top, end);
    return 0;
}

/* The header itself says what goes where (MB 3.1.3). */
static int load_by_header(struct loading *load, const struct multiboot_header *header, uint64_t offset)
{
    const struct image *image = &load->request->kernel;
    uint64_t before = (uint64_t)header->header_addr -
                      header->load_addr; /* bytes of the file to load in front of the header */
    struct segment segment;

    if (header->header_addr < header->load_addr || before > offset)
        return load_refuse(load->error,
                           "%s has a Multiboot header with impossible load addresses: build it again",
                           image->name);
    segment.offset = offset - before;
    segment.target = header->load_addr;
    segment.size = image->size - segment.offset;
    if (header->load_end_addr)
        segment.size = (uint64_t)header->load_end_addr - header->load_addr;
    segment.memory = segment.size;
    if (header->bss_end_addr)
        segment.memory = max_u64(segment.size, (uint64_t)header->bss_end_addr - header->load_addr);
    load->entry = header->entry_addr;
    return load_segment(load, &segment);
}

/* Both classes of ELF in one form. */
struct elf_file {
    uint64_t entry, phoff;
    unsigned phentsize, phnum;
    bool is_64;
};

static bool read_elf(const struct image *image, struct elf_file *elf)
{
    const struct elf32_header *h32 = (const void *)image->data;
    const struct elf64_header *h64 = (const void *)image->data;
    unsigned phdr_size;

    if (image->size < sizeof(*h64) || h32->ident.magic != ELF_MAGIC || h32->ident.data != ELF_LITTLE)
        return false;
    if (h32->ident.class == ELF_CLASS_32 && h32->machine == ELF_MACHINE_386) {
        *elf = (struct elf_file){ h32->entry, h32->phoff, h32->phentsize, h32->phnum, false };
        phdr_size = sizeof(struct elf32_phdr);
    } else if (h64->ident.class == ELF_CLASS_64 && h64->machine == ELF_MACHINE_X64) {
        *elf = (struct elf_file){ h64->entry, h64->phoff, h64->phentsize, h64->phnum, true };
        phdr_size = sizeof(struct elf64_phdr);
    } else {
        return false;
    }
    return elf->phentsize >= phdr_size && elf->phoff <= image->size &&
           (uint64_t)elf->phentsize * elf->phnum <= image->size - elf->phoff;
}

static int load_elf(struct loading *load)
{
    const struct image *image = &load->request->kernel;
    uint64_t entry;
    struct elf_file elf;

    if (!read_elf(image, &elf))
        return load_refuse(
            load->error,
            "%s is no whole x86 ELF file and its Multiboot header has no load addresses: build it as ELF",
            image->name);
    load->entry = entry = elf.entry;
    for (unsigned i = 0; i < elf.phnum; i++) {
        const void *at = image->data + elf.phoff + (uint64_t)i * elf.phentsize;
        const struct elf32_phdr *p32 = at;
        struct elf64_phdr phdr;
        int error;

        if (elf.is_64)
            memcpy(&phdr, at, sizeof(phdr));
        else
            phdr = (struct elf64_phdr){ .type = p32->type,
                                        .offset = p32->offset,
                                        .vaddr = p32->vaddr,
                                        .paddr = p32->paddr,
                                        .filesz = p32->filesz,
                                        .memsz = p32->memsz };
        if (phdr.type != ELF_PT_LOAD || !phdr.memsz)
            continue;
        error = load_segment(load, &(struct segment){ phdr.offset, phdr.filesz, phdr.paddr, phdr.memsz });
        if (error)
            return error;
        /* The kernel is entered without paging, so by the physical address of its virtual entry. */
        if (entry - phdr.vaddr < phdr.memsz)
            load->entry = phdr.paddr + (entry - phdr.vaddr);
    }
    if (!load->loaded)
        return load_refuse(load->error, "%s has nothing to load: link it to an executable", image->name);
    return 0;
}

/* Places bytes of the information in low memory; 0 when it is full. */
static uint32_t place_low(struct loading *load, const void *from, size_t size)
{
    uint64_t at = align_up(load->low_top, 8);

    if (size > LOW_END - at || gmem_write(load->request->mem, gpa(at), from, size))
        return 0;
    load->low_top = at + size;
    return (uint32_t)at;
}

static uint32_t place_string(struct loading *load, const char *s)
{
    return place_low(load, s, strlen(s) + 1);
}

/* Places a module's bytes above the kernel, page-aligned whether the kernel asks for it or not, and describes
 * it. */
static int load_module(struct loading *load, const struct image *image, struct multiboot_module *module)
{
    uint64_t at = align_up(load->high_top, PAGE_SIZE);

    if (at > load->limit || image->size > load->limit - at ||
        gmem_write(load->request->mem, gpa(at), image->data, image->size))
        return load_refuse(load->error,
                           "module %s (%zu KiB) does not fit into the VM's memory: raise 'memory'",
                           image->name, image->size / KiB);
    load->high_top = at + image->size;
    module->start = (uint32_t)at;
    module->end = (uint32_t)load->high_top;
    module->string = place_string(load, image->cmdline ? image->cmdline : "");
    return module->string
               ? 0
               : load_refuse(load->error, "module %s has no room for its words: shorten them", image->name);
}

static int load_modules(struct loading *load, struct multiboot_info *info)
{
    unsigned count = load->request->module_count;
    uint64_t at = align_up(load->low_top, 8);

    if (count * sizeof(struct multiboot_module) > LOW_END - at)
        return load_refuse(load->error, "%s has too many modules: remove some", load->request->kernel.name);
    load->low_top = at + count * sizeof(struct multiboot_module);
    info->mods_count = count;
    info->mods_addr = (uint32_t)at;
    for (unsigned i = 0; i < count; i++, at += sizeof(struct multiboot_module)) {
        struct multiboot_module module = { 0 };
        int error = load_module(load, &load->request->module[i], &module);

        if (error)
            return error;
        if (gmem_write(load->request->mem, gpa(at), &module, sizeof(module)))
            return load_refuse(load->error, "%s has too many modules: remove some",
                               load->request->kernel.name);
    }
    return 0;
}

/* Builds the information structure; its address goes to *at. */
static int place_info(struct loading *load, uint32_t *at)
{
    struct multiboot_info info = {
        .flags = MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_MODULES |
                 MULTIBOOT_INFO_MMAP | MULTIBOOT_INFO_LOADER,
        .mem_lower = GUEST_HOLE_BASE / KiB,
        .mem_upper = (uint32_t)((load->limit - MiB) / KiB),
    };
    struct multiboot_mmap mmap[E820_MAX];
    struct e820_entry map[E820_MAX];
    unsigned count = guest_e820(load->request->mem, map);
    int error = load_modules(load, &info);

    if (error)
        return error;
    for (unsigned i = 0; i < count; i++)
        mmap[i] = (struct multiboot_mmap){ sizeof(mmap[i].entry), map[i] };
    info.mmap_length = (uint32_t)(count * sizeof(mmap[0]));
    info.mmap_addr = place_low(load, mmap, info.mmap_length);
    info.cmdline = place_string(load, load->request->cmdline);
    info.boot_loader_name = place_string(load, loader_name);
    *at = place_low(load, &info, sizeof(info));
    if (!info.mmap_addr || !info.cmdline || !info.boot_loader_name || !*at)
        return load_refuse(load->error,
                           "%s leaves no room below 0x%x for its command line: link it above 1 MiB",
                           load->request->kernel.name, LOW_END);
    return 0;
}

static int load_kernel(struct loading *load)
{
    const struct image *image = &load->request->kernel;
    const struct multiboot_header *header;
    uint64_t offset;

    header = find_header(image, &offset);
    if (!header)
        return load_refuse(
            load->error, "%s has no Multiboot header in its first 8 KiB: use a Multiboot (version 1) kernel",
            image->name);
    if (load->request->initrd.size)
        return load_refuse(load->error, "%s is a Multiboot kernel, which takes no initrd: use 'modules'",
                           image->name);
    if (header->flags & MULTIBOOT_VIDEO_MODE)
        return load_refuse(load->error,
                           "%s asks for a video mode, but a VM has no display: build it for a serial console",
                           image->name);
    if (header->flags & MULTIBOOT_REQUIRED & ~(MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO))
        return load_refuse(load->error,
                           "%s requires Multiboot features 0x%x, which version 0.6.96 does not define",
                           image->name, header->flags & MULTIBOOT_REQUIRED);
    return header->flags & MULTIBOOT_HAS_ADDRESSES ? load_by_header(load, header, offset) : load_elf(load);
}

int multiboot_load(const struct load_request *request, struct boot_state *state, struct load_error *error)
{
    struct loading load = {
        .request = request,
        .error = error,
        .limit = guest_low_end(request->mem),
        .low_top = INFO_MIN,
        .high_top = MiB,
    };
    uint32_t info;
    int result = load_kernel(&load);

    if (!result)
        result = place_info(&load, &info);
    if (result)
        return result;
    if (load.entry > UINT32_MAX)
        return load_refuse(error, "%s starts above 4 GiB, which 32-bit mode cannot reach: link it lower",
                           request->kernel.name);

    *state = (struct boot_state){
        .mode = BOOT_MODE_PROTECTED,
        .rip = load.entry,
        .rax = MULTIBOOT_LOADER_MAGIC,
        .rbx = info,
        .cs = BOOT_CS,
        .ds = BOOT_DS,
    };
    return 0;
}
