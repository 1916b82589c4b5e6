#include "io/disks.h"
#include "io/disks_find.h"
#include "io/partition.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

/* --- Scans */

/* One disk's; kept in a list while it goes on. */
struct running_scan {
    struct partition_scan scan;
    struct running_scan *next;
};

static struct running_scan *first_scan;

static void begin_scan(struct block_device *disk, struct timer_queue *queue)
{
    struct running_scan *running = heap_alloc(sizeof(*running));
    int err = running ? partition_scan_begin(&running->scan, disk, queue) : -ENOMEM;

    if (err) {
        log_warn("disk %s: its partitions cannot be looked for (error %d)", disk->name, -err);
        heap_free(running);
        return;
    }
    running->next = first_scan;
    first_scan = running;
}

/* Partitions come behind the disks in the list meanwhile. */
void disks_scan(struct timer_queue *queue)
{
    struct block_device *device;

    for (unsigned i = 0; (device = block_device(i)) != NULL; i++)
        if (!device->whole && !disks_is_file(device))
            begin_scan(device, queue);
}

bool disks_scan_step(void)
{
    struct running_scan **at = &first_scan;

    while (*at) {
        struct running_scan *running = *at;

        if (partition_scan_step(&running->scan)) {
            at = &running->next;
            continue;
        }
        *at = running->next;
        heap_free(running);
    }
    return first_scan != NULL;
}

void disks_scan_late(void)
{
    for (const struct running_scan *running = first_scan; running; running = running->next)
        log_warn("disk %s: it does not answer: its partitions are not known",
                 running->scan.user.device->name);
}

/* --- Who may have what */

static uint64_t end_of(const struct block_device *device)
{
    return device->first + device->sectors;
}

static const struct block_device *whole_of(const struct block_device *device)
{
    return device->whole ? device->whole : device;
}

static bool overlap(const struct block_device *a, const struct block_device *b)
{
    return whole_of(a) == whole_of(b) && a->first < end_of(b) && b->first < end_of(a);
}

/* The first user that must not be there when `device` is opened. */
static const struct block_user *in_the_way(const struct block_device *device, bool readonly)
{
    const struct block_device *other;

    for (unsigned i = 0; (other = block_device(i)) != NULL; i++) {
        if (!overlap(device, other))
            continue;
        for (const struct block_user *user = other->users; user; user = user->next)
            if (other == device ? !readonly && !user->readonly : !readonly || !user->readonly)
                return user;
    }
    return NULL;
}

static int say_in_use(const struct block_device *device, const struct block_user *user, char *why)
{
    const struct block_device *theirs = user->opened;

    if (theirs == device)
        format_text(why, DISKS_WHY_MAX,
                    "%s writes to it already; two VMs cannot write to one disk: give one of them "
                    "readonly = true, or a disk of its own",
                    user->name);
    else if (!device->whole)
        format_text(
            why, DISKS_WHY_MAX,
            "it is the whole of %s, and %s %s its partition %s; take one of the two out, or make both "
            "read-only",
            device->name, user->name, user->readonly ? "reads" : "writes to", theirs->name);
    else if (!theirs->whole)
        format_text(why, DISKS_WHY_MAX,
                    "it is a partition of %s, which %s %s as a whole; take one of the two out, or make both "
                    "read-only",
                    theirs->name, user->name, user->readonly ? "reads" : "writes to");
    else
        format_text(why, DISKS_WHY_MAX,
                    "%s and %s overlap in the partition table, and %s %s the second; mend the table",
                    device->name, theirs->name, user->name, user->readonly ? "reads" : "writes to");
    return -EBUSY;
}

static int check_use(const struct block_device *device, bool readonly, char *why)
{
    const struct block_device *whole = whole_of(device);
    const struct block_user *user;

    if (whole->health == BLOCK_GONE) {
        format_text(why, DISKS_WHY_MAX, "%s is gone: it does not answer any more", whole->name);
        return -ENODEV;
    }
    if (!readonly && (device->is_boot_medium || whole->is_boot_medium)) {
        format_text(why, DISKS_WHY_MAX,
                    "%s is the medium that Plinth was started from, which no VM may write to; write "
                    "readonly = true",
                    whole->name);
        return -EROFS;
    }
    if (!readonly && (device->readonly || whole->readonly)) {
        format_text(why, DISKS_WHY_MAX, "%s cannot be written to; write readonly = true", whole->name);
        return -EROFS;
    }
    user = in_the_way(device, readonly);
    return user ? say_in_use(device, user, why) : 0;
}

/* --- One disk of a VM */

static int open_device(struct vm_disk *disk, struct block_device *device, const struct config_disk *config,
                       const struct disk_opener *opener, char *why)
{
    const struct block_limits limits = { config->iops, config->bandwidth };
    int err = check_use(device, config->readonly, why);

    return err ? err : block_open(&disk->user, device, opener->vm, config->readonly, &limits, opener->queue);
}

int disk_open(struct vm_disk *disk, const struct config_disk *config, const struct disk_opener *opener,
              char why[DISKS_WHY_MAX])
{
    struct block_device *device;
    struct ramdisk *copy = NULL;
    int err;

    why[0] = '\0';
    err = disks_find(config, opener, &device, &copy, why);
    if (err)
        return err;
    err = open_device(disk, device, config, opener, why);
    if (err)
        disks_give_back(copy);
    else
        disk->copy = copy;
    return err;
}

void disk_close(struct vm_disk *disk)
{
    if (!disk->user.device)
        return;
    block_close(&disk->user);
    disks_give_back(disk->copy);
    *disk = (struct vm_disk){ .copy = NULL };
}

/* --- All disks of a VM */

int disks_open(struct vm_disk disk[CONFIG_MAX_DISKS], const struct config_vm *config,
               const struct disk_opener *opener, unsigned *which, char why[DISKS_WHY_MAX])
{
    for (unsigned i = 0; i < config->disk_count; i++) {
        int err = disk_open(&disk[i], &config->disk[i], opener, why);

        if (err) {
            *which = i;
            disks_close(disk);
            return err;
        }
    }
    return 0;
}

void disks_close(struct vm_disk disk[CONFIG_MAX_DISKS])
{
    for (unsigned i = 0; i < CONFIG_MAX_DISKS; i++)
        disk_close(&disk[i]);
}

void disks_cancel(struct vm_disk disk[CONFIG_MAX_DISKS])
{
    for (unsigned i = 0; i < CONFIG_MAX_DISKS; i++)
        if (disk[i].user.device)
            block_cancel(&disk[i].user);
}

bool disks_idle(const struct vm_disk disk[CONFIG_MAX_DISKS])
{
    for (unsigned i = 0; i < CONFIG_MAX_DISKS; i++)
        if (disk[i].user.device && !block_user_idle(&disk[i].user))
            return false;
    return true;
}
