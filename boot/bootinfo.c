#include "boot/bootinfo.h"
#include "lib/errno.h"
#include "lib/string.h"

/*
 * Tag types and layouts. Source: Multiboot2 specification 2.0, 3.6;
 * all fields little-endian, tags 8-byte aligned.
 */
enum mb2_tag_type {
    MB2_END = 0,
    MB2_CMDLINE = 1,
    MB2_LOADER = 2,
    MB2_MODULE = 3,
    MB2_MEMORY_MAP = 6,
    MB2_FRAMEBUFFER = 8,
    MB2_EFI32 = 11,
    MB2_EFI64 = 12,
    MB2_ACPI_OLD = 14,
    MB2_ACPI_NEW = 15,
};

struct mb2_block {
    uint32_t total_size;
    uint32_t reserved;
};

struct mb2_tag {
    uint32_t type;
    uint32_t size; /* header included, padding to the next tag not */
};

struct mb2_module {
    uint32_t start, end; /* physical; end is exclusive */
};

struct mb2_memory_map {
    uint32_t entry_size;
    uint32_t entry_version;
};

struct mb2_memory_entry {
    uint64_t base, length;
    uint32_t type;
    uint32_t reserved;
};

enum { MB2_FRAMEBUFFER_RGB = 1, MB2_FRAMEBUFFER_TEXT = 2 };

struct mb2_framebuffer {
    uint64_t address;
    uint32_t pitch, width, height;
    uint8_t bits;
    uint8_t type;
    uint16_t reserved;
};

struct mb2_rgb {
    uint8_t red_shift, red_bits, green_shift, green_bits, blue_shift, blue_bits;
};

static_assert(sizeof(struct mb2_memory_entry) == 24, "3.6.8");
static_assert(sizeof(struct mb2_framebuffer) == 24, "3.6.12");
static_assert(sizeof(struct mb2_rgb) == 6, "3.6.12");

#define RSDP_V1_SIZE 20
#define RSDP_V2_SIZE 36

#define PHYS_LIMIT BIT(52) /* no x86-64 CPU has more physical address bits */

/* One tag's payload while it is read. */
struct payload {
    const uint8_t *data;
    size_t size;
};

/* Copies the first `size` bytes of the payload and moves past them; false if it is shorter. */
static bool take(struct payload *payload, void *to, size_t size)
{
    if (payload->size < size)
        return false;
    memcpy(to, payload->data, size);
    payload->data += size;
    payload->size -= size;
    return true;
}

/* A NUL-terminated string; cut if it is too long, ended where the tag ends if the NUL is missing. */
static void copy_string(char *to, size_t size, const struct payload *payload)
{
    size_t length = strnlen((const char *)payload->data, min_u64(payload->size, size - 1));

    memcpy(to, payload->data, length);
    to[length] = '\0';
}

static const char *parse_module(struct bootinfo *info, struct payload payload)
{
    struct mb2_module raw;

    if (!take(&payload, &raw, sizeof(raw)))
        return "a module tag of the boot loader is too short";
    if (raw.end < raw.start)
        return "a module of the boot loader ends before it starts";
    if (info->module_count == BOOT_MAX_MODULES)
        return "the boot loader passes more than 64 modules: remove some from grub.cfg";

    struct boot_module *module = &info->module[info->module_count++];

    module->start = hpa(raw.start);
    module->size = raw.end - raw.start;
    copy_string(module->name, sizeof(module->name), &payload);
    return NULL;
}

static void parse_framebuffer(struct bootinfo *info, struct payload payload)
{
    struct mb2_framebuffer raw;
    struct mb2_rgb rgb = { 0 };

    if (!take(&payload, &raw, sizeof(raw)) || raw.address == 0 || raw.address >= PHYS_LIMIT)
        return;
    if (raw.type == MB2_FRAMEBUFFER_RGB && !take(&payload, &rgb, sizeof(rgb)))
        return;
    if (raw.type != MB2_FRAMEBUFFER_RGB && raw.type != MB2_FRAMEBUFFER_TEXT)
        return; /* a palette is not worth the code */
    info->framebuffer = (struct boot_framebuffer){
        .start = hpa(raw.address),
        .width = raw.width,
        .height = raw.height,
        .pitch = raw.pitch,
        .bits = raw.bits,
        .text = raw.type == MB2_FRAMEBUFFER_TEXT,
        .red_shift = rgb.red_shift,
        .green_shift = rgb.green_shift,
        .blue_shift = rgb.blue_shift,
        .red_bits = rgb.red_bits,
        .green_bits = rgb.green_bits,
        .blue_bits = rgb.blue_bits,
    };
}

static void parse_rsdp(struct bootinfo *info, struct payload payload, size_t size)
{
    /* ACPI 2.0's replaces 1.0's, never the other way round. */
    if (info->has_rsdp && size == RSDP_V1_SIZE)
        return;
    memset(info->rsdp, 0, sizeof(info->rsdp));
    info->has_rsdp = take(&payload, info->rsdp, size);
}

/* The memory map as the loader gives it: unsorted, maybe overlapping. */
struct raw_map {
    unsigned count;
    struct boot_region region[BOOT_MAX_REGIONS];
};

static enum boot_region_type region_type(uint32_t type)
{
    switch (type) {
    case 1:
        return BOOT_REGION_USABLE;
    case 3:
        return BOOT_REGION_ACPI;
    case 4:
        return BOOT_REGION_NVS;
    case 5:
        return BOOT_REGION_BAD;
    default:
        return BOOT_REGION_RESERVED;
    }
}

static const char *parse_memory_map(struct raw_map *map, struct payload payload)
{
    struct mb2_memory_map head;
    struct mb2_memory_entry entry;

    if (!take(&payload, &head, sizeof(head)) || head.entry_size < sizeof(entry))
        return "the memory map of the boot loader has a bad header";
    while (payload.size >= head.entry_size) {
        struct payload rest = payload;

        if (!take(&rest, &entry, sizeof(entry)))
            break;
        payload.data += head.entry_size;
        payload.size -= head.entry_size;
        if (entry.length == 0 || entry.base >= PHYS_LIMIT)
            continue;
        if (map->count == BOOT_MAX_REGIONS)
            return "the memory map of the boot loader has more than 256 entries";
        map->region[map->count++] = (struct boot_region){
            .start = hpa(entry.base),
            .size = min_u64(entry.length, PHYS_LIMIT - entry.base),
            .type = region_type(entry.type),
        };
    }
    return NULL;
}

/* Which of two claims about the same memory holds: the more careful one. */
static unsigned rank(enum boot_region_type type)
{
    static const uint8_t ranks[] = {
        [BOOT_REGION_USABLE] = 1,   [BOOT_REGION_ACPI] = 2, [BOOT_REGION_NVS] = 3,
        [BOOT_REGION_RESERVED] = 4, [BOOT_REGION_BAD] = 5,
    };

    return ranks[type];
}

/* The strongest claim on `at`, or 0; *end becomes the next address at which any claim starts or ends. */
static unsigned strongest_claim(const struct raw_map *map, uint64_t at, uint64_t *end)
{
    unsigned best = 0;

    for (unsigned i = 0; i < map->count; i++) {
        const struct boot_region *region = &map->region[i];
        uint64_t start = region->start.raw, stop = start + region->size;

        if (start > at)
            *end = min_u64(*end, start);
        if (start > at || stop <= at)
            continue;
        *end = min_u64(*end, stop);
        if (best == 0 || rank(region->type) > rank((enum boot_region_type)best))
            best = region->type;
    }
    return best;
}

/* Walks the address space from claim border to claim border. */
static const char *sort_regions(struct bootinfo *info, const struct raw_map *map)
{
    uint64_t at = 0;

    while (at < PHYS_LIMIT) {
        uint64_t end = PHYS_LIMIT;
        unsigned type = strongest_claim(map, at, &end);
        struct boot_region *last = info->region_count ? &info->region[info->region_count - 1] : NULL;

        if (type != 0 && last && last->type == type && last->start.raw + last->size == at) {
            last->size += end - at;
        } else if (type != 0) {
            if (info->region_count == BOOT_MAX_REGIONS)
                return "the memory map of the boot loader falls into more than 256 parts";
            info->region[info->region_count++] = (struct boot_region){ hpa(at), end - at, type };
        }
        at = end;
    }
    return NULL;
}

/* Whether [start, start + size) lies in one usable region; regions that touch are one. */
static bool inside_usable(const struct bootinfo *info, uint64_t start, uint64_t size)
{
    for (unsigned i = 0; i < info->region_count; i++) {
        const struct boot_region *region = &info->region[i];

        if (region->type == BOOT_REGION_USABLE && start >= region->start.raw &&
            start + size <= region->start.raw + region->size)
            return true;
    }
    return false;
}

static bool touches_usable(const struct bootinfo *info, uint64_t start, uint64_t size)
{
    for (unsigned i = 0; i < info->region_count; i++) {
        const struct boot_region *region = &info->region[i];

        if (region->type == BOOT_REGION_USABLE && start < region->start.raw + region->size &&
            start + size > region->start.raw)
            return true;
    }
    return false;
}

/* What the loader placed, against its own memory map. */
static const char *check_places(struct bootinfo *info)
{
    struct boot_framebuffer *screen = &info->framebuffer;

    for (unsigned i = 0; i < info->module_count; i++) {
        const struct boot_module *module = &info->module[i];

        if (module->size != 0 && !inside_usable(info, module->start.raw, module->size))
            return "a module of the boot loader lies outside usable memory";
    }
    if (touches_usable(info, screen->start.raw, (uint64_t)screen->pitch * screen->height))
        memset(screen, 0, sizeof(*screen));
    return NULL;
}

static const char *parse_tag(struct bootinfo *info, struct raw_map *map, uint32_t type,
                             struct payload payload)
{
    switch (type) {
    case MB2_CMDLINE:
        copy_string(info->cmdline, sizeof(info->cmdline), &payload);
        break;
    case MB2_LOADER:
        copy_string(info->loader, sizeof(info->loader), &payload);
        break;
    case MB2_MODULE:
        return parse_module(info, payload);
    case MB2_MEMORY_MAP:
        return parse_memory_map(map, payload);
    case MB2_FRAMEBUFFER:
        parse_framebuffer(info, payload);
        break;
    case MB2_EFI32:
    case MB2_EFI64:
        info->uefi = true;
        break;
    case MB2_ACPI_OLD:
        parse_rsdp(info, payload, RSDP_V1_SIZE);
        break;
    case MB2_ACPI_NEW:
        parse_rsdp(info, payload, RSDP_V2_SIZE);
        break;
    default:
        break;
    }
    return NULL;
}

static const char *parse_block(struct bootinfo *info, struct raw_map *map, const uint8_t *block, size_t size)
{
    struct mb2_block head;
    struct mb2_tag tag;

    if (size < sizeof(head))
        return "the boot loader's information block is too short";
    memcpy(&head, block, sizeof(head));
    if (head.total_size > size || head.total_size < sizeof(head) + sizeof(tag))
        return "the boot loader's information block has an impossible size";

    for (uint64_t at = sizeof(head); at + sizeof(tag) <= head.total_size;) {
        memcpy(&tag, block + at, sizeof(tag));
        if (tag.size < sizeof(tag) || tag.size > head.total_size - at)
            return "a tag of the boot loader's information block has an impossible size";
        if (tag.type == MB2_END)
            return NULL;

        struct payload payload = { block + at + sizeof(tag), tag.size - sizeof(tag) };
        const char *wrong = parse_tag(info, map, tag.type, payload);

        if (wrong)
            return wrong;
        at += align_up(tag.size, 8);
    }
    return "the boot loader's information block does not end";
}

int bootinfo_parse(struct bootinfo *info, const void *block, size_t size, const char **why)
{
    struct raw_map map = { 0 };

    memset(info, 0, sizeof(*info));
    *why = parse_block(info, &map, block, size);
    if (!*why)
        *why = sort_regions(info, &map);
    if (!*why)
        *why = check_places(info);
    if (!*why && info->region_count == 0)
        *why = "the boot loader gives no memory map";
    return *why ? -EINVAL : 0;
}

bool bootinfo_option(const char *cmdline, const char *key, char *value, size_t size)
{
    size_t key_length = strlen(key);
    bool found = false;

    while (*cmdline != '\0') {
        size_t length = 0;

        while (cmdline[length] != '\0' && cmdline[length] != ' ')
            length++;
        if (length >= key_length && memcmp(cmdline, key, key_length) == 0 &&
            (length == key_length || cmdline[key_length] == '=')) {
            size_t skip = length == key_length ? key_length : key_length + 1;
            size_t copy = min_u64(length - skip, size - 1);

            memcpy(value, cmdline + skip, copy);
            value[copy] = '\0';
            found = true;
        }
        cmdline += length;
        while (*cmdline == ' ')
            cmdline++;
    }
    return found;
}
