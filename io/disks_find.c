#include "io/disks_find.h"
#include "io/partition.h"
#include "kernel/config_disk.h"
#include "kernel/heap.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/spell.h"
#include "lib/string.h"

static struct disks_files boot_files;
static unsigned next_number; /* of disks in memory: never used twice */

void disks_set_files(const struct disks_files *files)
{
    boot_files = *files;
}

/* --- What there is, of each kind */

/* The n-th name (from 0) that a source of this kind could have; NULL: there is none. */
static const char *name_of(enum config_disk_kind kind, unsigned n)
{
    struct block_device *device;

    if (kind == CONFIG_DISK_MODULE)
        return boot_files.name ? boot_files.name(n) : NULL;
    for (unsigned i = 0; (device = block_device(i)) != NULL; i++) {
        const struct partition *part = partition_of(device);
        const char *name = NULL;

        if (kind == CONFIG_DISK_DISK && !part && !disks_is_file(device))
            name = device->serial[0] ? device->serial : device->name;
        else if (kind == CONFIG_DISK_PART && part)
            name = part->label;
        else if (kind == CONFIG_DISK_PARTUUID && part)
            name = part->uuid;
        if (name && *name && n-- == 0)
            return name;
    }
    return NULL;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_uuid(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b))
        a++, b++;
    return *a == '\0' && *b == '\0';
}

static bool fits(struct block_device *device, enum config_disk_kind kind, const char *name)
{
    const struct partition *part = partition_of(device);

    switch (kind) {
    case CONFIG_DISK_PART:
        return part && strcmp(part->label, name) == 0;
    case CONFIG_DISK_PARTUUID:
        return part && same_uuid(part->uuid, name);
    case CONFIG_DISK_DISK:
        return !part && !disks_is_file(device) &&
               (strcmp(device->name, name) == 0 || strcmp(device->serial, name) == 0);
    default:
        return false;
    }
}

/* --- What is said when there is not exactly one */

static const char *const missing[CONFIG_DISK_KINDS] = {
    [CONFIG_DISK_PART] = "no partition has this label",
    [CONFIG_DISK_PARTUUID] = "no partition has this UUID",
    [CONFIG_DISK_DISK] = "no disk has this serial number or name",
    [CONFIG_DISK_MODULE] = "this file is not on the boot medium",
};
static const char *const nothing[CONFIG_DISK_KINDS] = {
    [CONFIG_DISK_PART] = "no partition of this machine has a label",
    [CONFIG_DISK_PARTUUID] = "this machine has no partitions",
    [CONFIG_DISK_DISK] = "this machine has no disks that Plinth can drive",
    [CONFIG_DISK_MODULE] = "the boot medium has no files for VMs",
};

/* "; there are a, b, c and 2 more", as far as there is room. */
static void list_names(enum config_disk_kind kind, char *to, size_t size)
{
    size_t length = (size_t)format_text(to, size, "; there are ");
    unsigned n = 0, left = 0;
    const char *name;

    for (; (name = name_of(kind, n)) != NULL; n++) {
        if (length + strlen(name) + sizeof(", and 999 more") > size)
            break;
        length += (size_t)format_text(to + length, size - length, n ? ", %s" : "%s", name);
    }
    while (name_of(kind, n + left))
        left++;
    if (left)
        format_text(to + length, size - length, n ? " and %u more" : "%u", left);
}

/* The partition with a name such as "nvme0p1". */
static const struct partition *partition_named(const char *name)
{
    struct block_device *device;

    for (unsigned i = 0; (device = block_device(i)) != NULL; i++)
        if (device->whole && strcmp(device->name, name) == 0)
            return partition_of(device);
    return NULL;
}

static int say_missing(enum config_disk_kind kind, const char *name, char *why)
{
    const struct partition *part = kind == CONFIG_DISK_DISK ? partition_named(name) : NULL;
    const char *near;
    size_t length;

    if (part) {
        format_text(why, DISKS_WHY_MAX, "it is a partition and no disk; write partuuid:%s", part->uuid);
        return -ENOENT;
    }
    if (!name_of(kind, 0)) {
        format_text(why, DISKS_WHY_MAX, "%s", nothing[kind]);
        return -ENOENT;
    }
    for (unsigned n = 0; (near = name_of(kind, n)) != NULL; n++) {
        if (spelt_like(name, near)) {
            format_text(why, DISKS_WHY_MAX, "%s; did you mean '%s'?", missing[kind], near);
            return -ENOENT;
        }
    }
    length = (size_t)format_text(why, DISKS_WHY_MAX, "%s", missing[kind]);
    list_names(kind, why + length, DISKS_WHY_MAX - length);
    return -ENOENT;
}

static int say_several(enum config_disk_kind kind, struct block_device *one, struct block_device *two,
                       char *why)
{
    if (kind == CONFIG_DISK_PART)
        format_text(why, DISKS_WHY_MAX,
                    "%s and %s both have this label; write partuuid:%s or partuuid:%s, or change a label",
                    one->name, two->name, partition_of(one)->uuid, partition_of(two)->uuid);
    else if (kind == CONFIG_DISK_PARTUUID)
        format_text(
            why, DISKS_WHY_MAX,
            "%s and %s both have this UUID, as when one disk is a copy of the other; take one out, or "
            "change a UUID",
            one->name, two->name);
    else
        format_text(why, DISKS_WHY_MAX,
                    "it fits both %s and %s; write the name or number of one that fits it alone", one->name,
                    two->name);
    return -EEXIST;
}

/* --- Files */

/* A file that is a disk, shared or a copy. */
struct file_disk {
    struct ramdisk ramdisk;
    struct file_disk *next;
    char path[CONFIG_PATH_MAX];
};

static struct file_disk *first_file;

bool disks_is_file(const struct block_device *device)
{
    for (const struct file_disk *file = first_file; file; file = file->next)
        if (&file->ramdisk.device == device)
            return true;
    return false;
}

static struct file_disk *shared_file(const char *path)
{
    for (struct file_disk *file = first_file; file; file = file->next)
        if (!file->ramdisk.piece && strcmp(file->path, path) == 0)
            return file;
    return NULL;
}

static int create_file(const char *path, bool readonly, const struct disk_opener *opener,
                       struct file_disk **out, char *why)
{
    uint64_t size = 0;
    const void *data = boot_files.find ? boot_files.find(path, &size) : NULL;
    struct file_disk *file = data && size ? heap_alloc(sizeof(*file)) : NULL;
    int err = -ENOMEM;

    if (!data)
        return say_missing(CONFIG_DISK_MODULE, path, why);
    if (!size) {
        format_text(why, DISKS_WHY_MAX, "this file is empty; replace it");
        return -EINVAL;
    }
    if (file)
        err = readonly ? ramdisk_create_shared(&file->ramdisk, data, size)
                       : ramdisk_create_private(&file->ramdisk, data, size, opener->owner);
    if (err) {
        format_text(
            why, DISKS_WHY_MAX,
            "there is no memory for a copy of it (%llu KiB); write readonly = true, or give a VM less "
            "memory",
            (unsigned long long)(size / KiB));
        heap_free(file);
        return err;
    }
    format_text(file->path, sizeof(file->path), "%s", path);
    format_text(file->ramdisk.device.name, BLOCK_NAME_MAX, "ram%u", next_number++);
    format_text(file->ramdisk.device.model, BLOCK_SERIAL_MAX, readonly ? "%s" : "copy of %s", path);
    file->next = first_file;
    first_file = file;
    block_add(&file->ramdisk.device);
    *out = file;
    return 0;
}

void disks_give_back(struct ramdisk *copy)
{
    struct file_disk **at = &first_file, *file;

    if (!copy)
        return;
    while (&(*at)->ramdisk != copy)
        at = &(*at)->next;
    file = *at;
    *at = file->next;
    block_remove(&copy->device);
    ramdisk_destroy(copy);
    heap_free(file);
}

static int find_file(const char *path, bool readonly, const struct disk_opener *opener,
                     struct block_device **device, struct ramdisk **copy, char *why)
{
    struct file_disk *file = readonly ? shared_file(path) : NULL;
    int err = file ? 0 : create_file(path, readonly, opener, &file, why);

    if (err)
        return err;
    *device = &file->ramdisk.device;
    if (!readonly)
        *copy = &file->ramdisk;
    return 0;
}

/* --- */

int disks_find(const struct config_disk *config, const struct disk_opener *opener,
               struct block_device **device, struct ramdisk **copy, char why[DISKS_WHY_MAX])
{
    struct block_device *at, *found = NULL;
    enum config_disk_kind kind;
    const char *name, *fault = config_read_source(config->source, &kind, &name);

    if (fault) {
        format_text(why, DISKS_WHY_MAX, "it %s", fault);
        return -EINVAL;
    }
    if (kind == CONFIG_DISK_MODULE)
        return find_file(name, config->readonly, opener, device, copy, why);
    for (unsigned i = 0; (at = block_device(i)) != NULL; i++) {
        if (!fits(at, kind, name))
            continue;
        if (found)
            return say_several(kind, found, at, why);
        found = at;
    }
    *device = found;
    return found ? 0 : say_missing(kind, name, why);
}
