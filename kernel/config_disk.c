#include "kernel/config_disk.h"
#include "kernel/config_read.h"
#include "lib/string.h"

static const char *const kind_names[CONFIG_DISK_KINDS] = {
    [CONFIG_DISK_PART] = "part",
    [CONFIG_DISK_PARTUUID] = "partuuid",
    [CONFIG_DISK_DISK] = "disk",
    [CONFIG_DISK_MODULE] = "module",
};

static const char *const source_fault =
    "must be \"part:LABEL\", \"partuuid:UUID\", \"disk:SERIAL\" or \"module:FILE\"";
static const char *const rate_fault = "must be bytes a second with K, M or G behind them, such as \"50M\"";

const char *config_disk_kind_name(enum config_disk_kind kind)
{
    return kind_names[kind];
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Groups of so many digits, with '-' between. */
static bool has_form(const char *text, const unsigned *groups, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned digits = groups[i]; digits; digits--)
            if (!is_hex(*text++))
                return false;
        if (*text++ != (i + 1 < count ? '-' : '\0'))
            return false;
    }
    return true;
}

static bool is_uuid(const char *text)
{
    static const unsigned gpt[] = { 8, 4, 4, 4, 12 }, mbr[] = { 8, 2 };

    return has_form(text, gpt, ARRAY_SIZE(gpt)) || has_form(text, mbr, ARRAY_SIZE(mbr));
}

const char *config_read_source(const char *source, enum config_disk_kind *kind, const char **name)
{
    const char *colon = strchr(source, ':');
    unsigned found = 0;

    if (!colon)
        return source_fault;
    while (found < CONFIG_DISK_KINDS && (strlen(kind_names[found]) != (size_t)(colon - source) ||
                                         strncmp(source, kind_names[found], (size_t)(colon - source)) != 0))
        found++;
    if (found == CONFIG_DISK_KINDS)
        return source_fault;
    *kind = (enum config_disk_kind)found;
    *name = colon + 1;
    if (**name == '\0')
        return "names nothing behind the colon";
    if (*kind == CONFIG_DISK_PARTUUID && !is_uuid(*name))
        return "has no UUID behind the colon, such as 0fc63daf-8483-4772-8e79-3d69d8477de4, or of an MBR "
               "1234abcd-01";
    return *kind == CONFIG_DISK_MODULE ? config_path_fault(*name) : NULL;
}

const char *config_disk_file(const struct config_disk *disk)
{
    enum config_disk_kind kind;
    const char *name;

    if (config_read_source(disk->source, &kind, &name) || kind != CONFIG_DISK_MODULE)
        return NULL;
    return name;
}

const char *config_read_rate(const char *text, uint64_t *rate)
{
    uint64_t number = 0, unit;

    if (*text < '0' || *text > '9')
        return rate_fault;
    for (; *text >= '0' && *text <= '9'; text++)
        number = min_u64(number * 10 + (uint64_t)(*text - '0'), UINT32_MAX);
    unit = *text == 'K' ? KiB : *text == 'M' ? MiB : *text == 'G' ? GiB : 0;
    if (!unit || text[1])
        return rate_fault;
    if (number * unit < CONFIG_MIN_BANDWIDTH || number * unit > CONFIG_MAX_BANDWIDTH)
        return "must be 64K to 1024G bytes a second; for no limit leave the key out";
    *rate = number * unit;
    return NULL;
}
static_assert(CONFIG_MIN_BANDWIDTH == 64 * KiB && CONFIG_MAX_BANDWIDTH == 1024 * GiB, "as the text says");
