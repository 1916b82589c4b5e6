/* Any bytes as plinth.toml: what is called good must be good. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/config.h"
#include "kernel/config_disk.h"
#include "kernel/config_net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config config;

static void check_disk(const struct config_disk *disk)
{
    enum config_disk_kind kind;
    const char *name;

    assert(memchr(disk->source, 0, sizeof(disk->source)));
    assert(config_read_source(disk->source, &kind, &name) == NULL && name[0] && kind < CONFIG_DISK_KINDS);
    assert(disk->iops <= CONFIG_MAX_IOPS && disk->bandwidth <= CONFIG_MAX_BANDWIDTH);
    assert(disk->bandwidth == 0 || disk->bandwidth >= CONFIG_MIN_BANDWIDTH);
}

/* Of a VM without an error: its network is there, and its values are in their ranges. */
static void check_nic(const struct config_nic *nic)
{
    unsigned network = 0;

    while (network < config.network_count && strcmp(config.network[network].name, nic->name) != 0)
        network++;
    assert(network < config.network_count);
    assert(!(nic->mac[0] & 1) &&
           (nic->mac[0] | nic->mac[1] | nic->mac[2] | nic->mac[3] | nic->mac[4] | nic->mac[5]));
    assert(nic->vlan <= CONFIG_MAX_VLAN && nic->trunk_count <= CONFIG_MAX_TRUNK);
    for (unsigned i = 0; i < nic->trunk_count; i++)
        assert(nic->trunk[i] >= 1 && nic->trunk[i] <= CONFIG_MAX_VLAN && nic->trunk[i] != nic->vlan);
    assert(nic->rate == 0 || (nic->rate >= CONFIG_MIN_BITRATE && nic->rate <= CONFIG_MAX_BITRATE));
}

static void check_network(const struct config_network *network)
{
    assert(memchr(network->name, 0, sizeof(network->name)) && network->name[0]);
    assert(memchr(network->uplink, 0, sizeof(network->uplink)));
    assert(network->uplink[0] == '\0' || config_read_uplink(network->uplink) == NULL);
    assert(network->mtu >= CONFIG_MIN_MTU && network->mtu <= CONFIG_MAX_MTU &&
           network->storm <= CONFIG_MAX_STORM);
}

static void check_vm(const struct config_vm *vm)
{
    assert(memchr(vm->name, 0, sizeof(vm->name)) && vm->name[0]);
    assert(memchr(vm->kernel, 0, sizeof(vm->kernel)));
    assert(memchr(vm->initrd, 0, sizeof(vm->initrd)));
    assert(memchr(vm->cmdline, 0, sizeof(vm->cmdline)));
    assert(vm->line > 0 && vm->column > 0);
    assert(vm->module_count <= CONFIG_MAX_MODULES);
    assert(vm->cpus >= 1 && vm->cpus <= CONFIG_MAX_VCPUS);
    assert(is_aligned(vm->memory, PAGE_2M) && vm->memory <= CONFIG_MAX_MEMORY);
    assert(vm->after_count <= CONFIG_MAX_AFTER && vm->restart_limit <= CONFIG_MAX_RESTARTS);
    assert(vm->on_crash <= RESTART_YES && vm->on_reboot <= RESTART_YES);
    for (unsigned i = 0; i < vm->after_count; i++)
        assert(vm->after[i].vm < config.vm_count &&
               strcmp(config.vm[vm->after[i].vm].name, vm->after[i].name) == 0);
    assert(vm->disk_count <= CONFIG_MAX_DISKS);
    if (vm->broken)
        return;
    assert(vm->nic_count <= CONFIG_MAX_NICS);
    for (unsigned i = 0; i < vm->nic_count && !vm->broken; i++)
        check_nic(&vm->nic[i]);
    for (unsigned i = 0; i < vm->disk_count; i++)
        check_disk(&vm->disk[i]);
    assert(vm->memory > 0);
    assert(vm->kernel[0] && vm->kernel[0] != '/' && !strstr(vm->kernel, "//"));
    for (unsigned i = 0; i < vm->module_count; i++)
        assert(vm->module[i].path[0] && memchr(vm->module[i].path, 0, CONFIG_PATH_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size); /* exactly: so that a read beyond the end is seen */
    bool broken = false;

    if (size > 0)
        memcpy(copy, data, size);
    int result = config_parse(&config, copy, size);
    free(copy);
    assert((result == 0) == (config.error_count == 0));
    for (unsigned i = 0; i < config.error_count && i < CONFIG_MAX_ERRORS; i++)
        assert(config.error[i].line > 0 && config.error[i].column > 0 && config.error[i].text[0]);
    assert(config.vm_count <= CONFIG_MAX_VMS && config.network_count <= CONFIG_MAX_NETWORKS);
    for (unsigned i = 0; i < config.network_count; i++)
        check_network(&config.network[i]);
    for (unsigned i = 0; i < config.vm_count; i++) {
        check_vm(&config.vm[i]);
        broken |= config.vm[i].broken;
    }
    assert(result != 0 || (config.vm_count > 0 && !broken));
    return 0;
}
