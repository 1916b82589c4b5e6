/*
 * Any setup header in an otherwise good bzImage: what is accepted must lie in RAM, in order, and leave the
 * ACPI area alone. Input: a byte for the initrd's size in 16 KiB, one for the command line's length in 257;
 * then bytes that replace the file's from 0x1f1 on.
 */
#include <stdlib.h>
#include <string.h>
#include "guests/linux.h"
#include "tests/unit/host/host.h"

#define MEMORY      (8 * MiB)
#define FILE_SIZE   8192
#define REPLACED    256
#define INITRD_UNIT (16 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t file[FILE_SIZE], initrd[255 * INITRD_UNIT];
static char cmdline[65536];

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_state(const struct gmem *mem, const struct load_request *request,
                        const struct boot_state *boot)
{
    const struct linux_boot_params *params = (const void *)gmem_ptr(mem, gpa(boot->rsi), sizeof(*params));
    const uint8_t *acpi = gmem_ptr(mem, gpa(GUEST_ACPI_BASE), GUEST_ACPI_SIZE);
    uint64_t kernel = boot->rip - LINUX_ENTRY_64;

    check(params != NULL);
    check(kernel >= MiB && kernel < MEMORY && gmem_ptr(mem, gpa(boot->rip), 1));
    check(params->hdr.cmd_line_ptr + strlen(request->cmdline) < GUEST_HOLE_BASE);
    check(params->hdr.ramdisk_size == request->initrd.size);
    if (params->hdr.ramdisk_size) {
        check(params->hdr.ramdisk_image >= kernel + 512);
        check(params->hdr.ramdisk_image + params->hdr.ramdisk_size <= MEMORY);
    }
    for (size_t i = 0; i < GUEST_ACPI_SIZE; i++)
        check(acpi[i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct linux_setup_header *hdr = (void *)(file + LINUX_HEADER_OFFSET);
    struct load_request request = { .kernel = { file, FILE_SIZE, "vmlinuz", NULL }, .cmdline = cmdline };
    struct load_error error = { "" };
    struct boot_state boot;
    struct gmem mem;

    if (size < 2)
        return 0;
    host_log_quiet = true;
    memset(file, 0x90, sizeof(file));
    *hdr = (struct linux_setup_header){ .setup_sects = 1,
                                        .syssize = (FILE_SIZE - 1024) / 16,
                                        .boot_flag = LINUX_BOOT_FLAG,
                                        .header_length = 0x6a,
                                        .header = LINUX_HEADER_MAGIC,
                                        .version = 0x020f,
                                        .loadflags = LINUX_LOADED_HIGH,
                                        .initrd_addr_max = 0x7fffffff,
                                        .xloadflags = LINUX_XLF_KERNEL_64,
                                        .cmdline_size = 2047,
                                        .pref_address = 2 * MiB,
                                        .init_size = MiB };
    memset(cmdline, 'c', sizeof(cmdline));
    cmdline[data[1] * 257] = 0;
    request.initrd = (struct image){ initrd, (size_t)data[0] * INITRD_UNIT, "initrd", NULL };
    memcpy(hdr, data + 2, min_u64(size - 2, REPLACED));

    host_gmem_init(&mem, MEMORY);
    request.mem = &mem;
    if (linux_load(&request, &boot, &error) == 0)
        check_state(&mem, &request, &boot);
    else
        check(error.text[0] && memchr(error.text, 0, sizeof(error.text)));
    host_gmem_free(&mem);
    return 0;
}
