/*
 * Any bytes as a Multiboot kernel: what is accepted must lie in RAM and leave the ACPI area alone. Input: a
 * byte that chooses the form (bit 0: an ELF identification is put in, bit 1: of 64 bits, bit 2: two modules),
 * then the file; a header with the flags that the input has there is put at 0x80.
 */
#include <stdlib.h>
#include <string.h>
#include "guests/elf.h"
#include "guests/multiboot.h"
#include "tests/unit/host/host.h"

#define MEMORY    (4 * MiB)
#define HEADER_AT 0x80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void put_forms(uint8_t *file, uint8_t form)
{
    struct multiboot_header *header = (void *)(file + HEADER_AT);
    struct elf32_header *elf = (void *)file;

    header->magic = MULTIBOOT_HEADER_MAGIC;
    header->checksum = 0u - header->magic - header->flags;
    if (form & 1) {
        elf->ident.magic = ELF_MAGIC;
        elf->ident.class = form & 2 ? ELF_CLASS_64 : ELF_CLASS_32;
        elf->ident.data = ELF_LITTLE;
        elf->machine = form & 2 ? ELF_MACHINE_X64 : ELF_MACHINE_386;
    }
}

static void check_state(const struct gmem *mem, const struct load_request *request,
                        const struct boot_state *boot)
{
    const struct multiboot_info *info = (const void *)gmem_ptr(mem, gpa(boot->rbx), sizeof(*info));
    const uint8_t *acpi = gmem_ptr(mem, gpa(GUEST_ACPI_BASE), GUEST_ACPI_SIZE);
    const struct multiboot_module *module;

    check(info && boot->rip <= UINT32_MAX && info->mods_count == request->module_count);
    check(!strcmp((const char *)gmem_ptr(mem, gpa(info->cmdline), 1), request->cmdline));
    module = (const void *)gmem_ptr(mem, gpa(info->mods_addr), sizeof(*module) * 2);
    for (unsigned i = 0; i < info->mods_count; i++)
        check(module[i].end - module[i].start == request->module[i].size &&
              !memcmp(gmem_ptr(mem, gpa(module[i].start), request->module[i].size), request->module[i].data,
                      request->module[i].size));
    for (size_t i = 0; i < GUEST_ACPI_SIZE; i++)
        check(acpi[i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t text[] = "module";
    static const struct image module[] = { { text, sizeof(text), "one", "words" }, { text, 3, "two", NULL } };
    struct load_request request = { .cmdline = "words for the kernel", .module = module };
    struct load_error error = { "" };
    struct boot_state boot;
    struct gmem mem;
    uint8_t *file;

    if (size < 1 + HEADER_AT + sizeof(struct multiboot_header))
        return 0;
    host_log_quiet = true;
    file = malloc(size - 1); /* of its own, so that a byte too far is found */
    memcpy(file, data + 1, size - 1);
    put_forms(file, data[0]);
    host_gmem_init(&mem, MEMORY);
    request.mem = &mem;
    request.kernel = (struct image){ file, size - 1, "kernel", NULL };
    request.module_count = data[0] & 4 ? 2 : 0;
    if (multiboot_load(&request, &boot, &error) == 0)
        check_state(&mem, &request, &boot);
    else
        check(error.text[0] && memchr(error.text, 0, sizeof(error.text)));
    host_gmem_free(&mem);
    free(file);
    return 0;
}
