/* The command that shows the machine's disks. */
#include "io/disks.h"
#include "io/disks_find.h"
#include "io/partition.h"
#include "lib/format.h"
#include "lib/string.h"
#include "shell/commands.h"
#include "shell/output.h"
#include "shell/shell.h"
#include "shell/wire.h"

#define USERS_MAX 1024

/* --- All disks and partitions */

static const char *health_name(const struct block_device *device)
{
    static const char *const names[] = {
        [BLOCK_HEALTHY] = "healthy",
        [BLOCK_FAILING] = "failing",
        [BLOCK_GONE] = "gone",
    };

    return names[device->whole ? device->whole->health : device->health];
}

static void size_text(uint64_t sectors, char *to, size_t size)
{
    uint64_t kib = sectors * BLOCK_SECTOR / KiB;

    if (kib < 10 * 1024)
        format_text(to, size, "%llu KiB", (unsigned long long)kib);
    else if (kib < 10 * 1024 * 1024)
        format_text(to, size, "%llu MiB", (unsigned long long)(kib / 1024));
    else
        format_text(to, size, "%llu GiB", (unsigned long long)(kib / 1024 / 1024));
}

/* As the config names it. */
static void source_text(struct block_device *device, char *to, size_t size)
{
    const struct partition *part = partition_of(device);

    if (part && part->label[0])
        format_text(to, size, "part:%s", part->label);
    else if (part)
        format_text(to, size, "partuuid:%s", part->uuid);
    else if (disks_is_file(device))
        format_text(to, size, device->readonly ? "module:%s" : "%s", device->model);
    else
        format_text(to, size, "disk:%s", device->serial[0] ? device->serial : device->name);
}

/* "web, db reads", as far as there is room. */
static void users_text(const struct block_device *device, char *to, size_t size)
{
    size_t length = 0;

    *to = '\0';
    for (const struct block_user *user = device->users; user; user = user->next) {
        if (size - length < BLOCK_NAME_MAX + sizeof(",  reads"))
            return;
        length += (size_t)format_text(to + length, size - length, "%s%s%s", length ? ", " : "", user->name,
                                      user->readonly ? " reads" : "");
    }
}

static const char *note(const struct block_device *device)
{
    if (device->is_boot_medium || (device->whole && device->whole->is_boot_medium))
        return "the boot medium";
    return device->readonly ? "read-only" : "";
}

/* What only programs are told. */
static void json_cells(struct block_device *device, const struct block_counts *counts)
{
    static const char *const requests[] = { "reads", "writes", "flushes", "discards", "zeroes" };
    static const char *const sectors[] = { "read_sectors", "written_sectors", NULL, "discarded_sectors",
                                           "zeroed_sectors" };
    const struct partition *part = partition_of(device);

    cell_text("disk", 0, device->whole ? device->whole->name : device->name);
    cell_text("uuid", 0, part ? part->uuid : "");
    cell_text("serial", 0, device->serial);
    cell_number("first_sector", 0, device->first);
    cell_number("logical_block", 0, device->logical_block);
    cell_number("physical_block", 0, device->physical_block);
    for (unsigned op = 0; op < BLOCK_OPS; op++) {
        cell_number(requests[op], 0, counts->requests[op]);
        if (sectors[op])
            cell_number(sectors[op], 0, counts->sectors[op]);
    }
}

static enum output_more disk_row(unsigned at)
{
    struct block_device *device = block_device(at);
    struct block_counts counts;
    uint64_t requests = 0;
    char text[160], users[USERS_MAX];

    if (!device)
        return OUTPUT_END;
    block_count(device, &counts);
    for (unsigned op = 0; op < BLOCK_OPS; op++)
        requests += counts.requests[op];
    cell_text("name", 10, device->name);
    size_text(device->sectors, text, sizeof(text));
    if (shell_json())
        cell_number("size", 0, device->sectors * BLOCK_SECTOR);
    else
        cell_text("size", 9, text);
    cell_text("health", 7, health_name(device));
    cell_number("requests", 10, requests);
    cell_number("errors", 6, counts.errors);
    source_text(device, text, sizeof(text));
    cell_text("source", 28, text);
    users_text(device, users, sizeof(users));
    cell_text("users", shell_json() ? 0 : 12, users);
    cell_text("note", 0, note(device));
    if (shell_json())
        json_cells(device, &counts);
    cell_below("model", "           ", device->whole || disks_is_file(device) ? "" : device->model);
    return OUTPUT_MORE;
}

/* --- One of them: how long its requests took */

static struct block_counts shown;

static enum output_more latency_row(unsigned bucket)
{
    static const char *const names[BLOCK_OPS] = { "read", "write", "flush", "discard", "zeroes" };
    uint64_t sum = 0;

    if (bucket >= BLOCK_BUCKETS)
        return OUTPUT_END;
    for (unsigned op = 0; op < BLOCK_OPS; op++)
        sum += shown.latency[op][bucket];
    if (!sum)
        return OUTPUT_MORE;
    cell_number("from_us", 8, bucket ? BIT(bucket) : 0);
    for (unsigned op = 0; op < BLOCK_OPS; op++)
        cell_number(names[op], 10, shown.latency[op][bucket]);
    return OUTPUT_MORE;
}

static struct block_device *find(const char *name)
{
    struct block_device *device;

    for (unsigned i = 0; (device = block_device(i)) != NULL; i++)
        if (strcmp(device->name, name) == 0)
            return device;
    return NULL;
}

void run_disks(int count, char *word[SHELL_ARGS])
{
    static const struct listing all = {
        "disks", "NAME       SIZE      HEALTH    REQUESTS ERRORS SOURCE                       USERS", disk_row
    };
    static const struct listing one = { "latencies",
                                        " FROM US       READ      WRITE      FLUSH    DISCARD     ZEROES",
                                        latency_row };
    struct block_device *device = count > 1 ? find(word[1]) : NULL;

    (void)disks_scan_step(); /* a disk that was late may have answered */
    if (count > 1 && !device) {
        wire_print("disks: there is no disk '%s'; 'disks' names them\r\n", word[1]);
    } else if (device) {
        block_count(device, &shown);
        output_listing(&one);
    } else {
        output_listing(&all);
    }
}
