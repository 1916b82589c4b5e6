/* How much of its memory a VM is to keep, and what is to be seen of the rest. */
#include "guests/machine_balloon.h"
#include "guests/manager.h"
#include "shell/commands.h"
#include "shell/json.h"
#include "shell/output.h"
#include "shell/wire.h"

static const char *const stat_name[VIRTIO_BALLOON_S_COUNT] = {
    [VIRTIO_BALLOON_S_SWAP_IN] = "swap_in",        [VIRTIO_BALLOON_S_SWAP_OUT] = "swap_out",
    [VIRTIO_BALLOON_S_MAJFLT] = "major_faults",    [VIRTIO_BALLOON_S_MINFLT] = "minor_faults",
    [VIRTIO_BALLOON_S_MEMFREE] = "memory_free",    [VIRTIO_BALLOON_S_MEMTOT] = "memory_total",
    [VIRTIO_BALLOON_S_AVAIL] = "memory_available", [VIRTIO_BALLOON_S_CACHES] = "disk_caches",
};

static unsigned long long mib(uint64_t bytes)
{
    return bytes / MiB;
}

static void print_stats(const struct machine_balloon_info *info)
{
    bool first = true;

    for (unsigned i = 0; i < VIRTIO_BALLOON_S_COUNT; i++) {
        if (!(info->stat_known & 1u << i))
            continue;
        wire_print("%s\"%s\":%llu", first ? "" : ",", stat_name[i], (unsigned long long)info->stat[i]);
        first = false;
    }
}

static void print_info_json(const struct machine_balloon_info *info)
{
    wire_print(
        ",\"balloon\":{\"driver\":%s,\"wanted\":%llu,\"actual\":%llu,\"returned\":%llu,\"taken_back\":%llu,"
        "\"guest\":{",
        info->driver ? "true" : "false", (unsigned long long)info->target, (unsigned long long)info->actual,
        (unsigned long long)info->away, (unsigned long long)info->came_back);
    print_stats(info);
    wire_print("}}");
}

void balloon_print(const struct managed *vm)
{
    struct machine_balloon_info info;

    if (!vm->machine || !machine_balloon_info(vm->machine, &info))
        return;
    if (shell_json()) {
        print_info_json(&info);
        return;
    }
    wire_print("%-11s %llu MiB returned, %llu MiB taken back; %llu of %llu MiB in the balloon%s\r\n",
               "balloon", mib(info.away), mib(info.came_back), mib(info.actual), mib(info.target),
               info.driver ? "" : "; no driver");
    if (info.stat_known & 1u << VIRTIO_BALLOON_S_MEMFREE)
        wire_print("%-11s %llu MiB free, %llu available, of %llu; disk caches %llu\r\n", "its memory",
                   mib(info.stat[VIRTIO_BALLOON_S_MEMFREE]), mib(info.stat[VIRTIO_BALLOON_S_AVAIL]),
                   mib(info.stat[VIRTIO_BALLOON_S_MEMTOT]), mib(info.stat[VIRTIO_BALLOON_S_CACHES]));
}

/* A number with K, M or G behind it, as in the config; 0: it is none. */
static uint64_t parse_size(const char *text)
{
    uint64_t number = 0, unit;

    for (; *text >= '0' && *text <= '9'; text++)
        number = min_u64(number * 10 + (uint64_t)(*text - '0'), CONFIG_MAX_MEMORY);
    unit = *text == 'K' ? KiB : *text == 'M' ? MiB : *text == 'G' ? GiB : 0;
    return unit && !text[1] ? min_u64(number, CONFIG_MAX_MEMORY / unit) * unit : 0;
}

void run_balloon(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = command_vm(count, word);
    uint64_t size;

    if (!vm)
        return;
    if (count < 3) {
        wire_print("%s: how much is it to keep? usage: %s VM SIZE, such as 256M\r\n", word[0], word[0]);
        return;
    }
    size = parse_size(word[2]);
    if (!vm->config->balloon)
        wire_print("%s: %s has no balloon; `balloon = true` in its config gives it one\r\n", word[0],
                   vm->config->name);
    else if (!vm->machine)
        wire_print("%s: %s was not started\r\n", word[0], vm->config->name);
    else if (size == 0 || size > vm->config->memory)
        wire_print(
            "%s: the size must be a whole number with K, M or G behind it, and at most the VM's %lluM\r\n",
            word[0], mib(vm->config->memory));
    else
        (void)!machine_balloon_set(vm->machine, vm->config->memory - size);
}
