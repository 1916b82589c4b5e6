/* Checks of names across the tables of a config. */
#include "kernel/config_check.h"
#include "kernel/config_disk.h"
#include "kernel/config_share.h"
#include "lib/spell.h"
#include "lib/uartspec.h"
#include "lib/string.h"

/* The VM whose name is most like `name`; NULL: none is. */
static const char *name_like(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->vm_count; i++)
        if (spelt_like(name, config->vm[i].name))
            return config->vm[i].name;
    return NULL;
}

static void unknown_vm(struct config *config, struct config_vm *vm, struct toml_place place, const char *key,
                       const char *name)
{
    const char *near = name_like(config, name);

    if (near)
        config_error(config, vm, place, "%s names '%s', which is no VM; did you mean '%s'?", key, name, near);
    else
        config_error(config, vm, place, "%s names '%s', but there is no [vm.%s]", key, name, name);
}

static void check_attach(struct config *config)
{
    const struct config_vm *vm = config->attach[0] ? config_find_vm(config, config->attach) : NULL;

    if (config->attach[0] == '\0' || (vm && vm->console[0] == '\0'))
        return;
    if (vm)
        config_error(config, NULL, config->at[HOST_ATTACH],
                     "attach names '%s', whose console is not on the wire but on %s; take one of the two out",
                     vm->name, vm->console);
    else
        unknown_vm(config, NULL, config->at[HOST_ATTACH], "attach", config->attach);
    config->attach[0] = '\0';
}

/* The first VM before vm[index] whose console is on the port at `base`. */
static const struct config_vm *user_of_port(const struct config *config, unsigned index, uint64_t base)
{
    struct uart_config other;

    for (unsigned i = 0; i < index; i++)
        if (config->vm[i].console[0] && !uart_parse(&other, config->vm[i].console) && other.base == base)
            return &config->vm[i];
    return NULL;
}

/* Whether the port is there, and is not the wire's where [host] does not say that, is seen on the machine. */
static void check_console(struct config *config, unsigned index)
{
    struct config_vm *vm = &config->vm[index];
    const struct config_vm *other;
    struct uart_config port, wire;

    if (vm->console[0] == '\0')
        return;
    if (uart_parse(&port, vm->console)) {
        config_error(
            config, vm, vm->at[VM_CONSOLE],
            "console '%s' is no COM port; write com1 to com4 or a port such as 0x2f8, then a comma and "
            "the speed if it is not 115200",
            vm->console);
        return;
    }
    if (config->console[0] && !uart_parse(&wire, config->console) && wire.base == port.base)
        config_error(config, vm, vm->at[VM_CONSOLE],
                     "console %s is the wire's port, which [host] names; give one of the two another port",
                     vm->console);
    other = user_of_port(config, index, port.base);
    if (other)
        config_error(config, vm, vm->at[VM_CONSOLE],
                     "console %s is the port of '%s'; give each a port of its own", vm->console, other->name);
}

/* Finds the VMs that `after` names; those that are not there are taken out. */
static void resolve_after(struct config *config, struct config_vm *vm)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < vm->after_count; i++) {
        struct config_after after = vm->after[i];
        const struct config_vm *other = after.name[0] ? config_find_vm(config, after.name) : NULL;

        if (!other) {
            if (after.name[0]) /* else it was refused already */
                unknown_vm(config, vm, after.place, "after", after.name);
            continue;
        }
        after.vm = (unsigned)(other - config->vm);
        vm->after[kept++] = after;
    }
    vm->after_count = kept;
}

static_assert(CONFIG_MAX_VMS <= 64, "a set of VMs is one word");

/* Each circle is reported once, at the first of its VMs. */
static void check_circles(struct config *config)
{
    uint64_t before[CONFIG_MAX_VMS] = { 0 }, reported = 0; /* the VMs that must run before each */

    for (unsigned i = 0; i < config->vm_count; i++)
        for (unsigned k = 0; k < config->vm[i].after_count; k++)
            before[i] |= BIT(config->vm[i].after[k].vm);
    for (unsigned via = 0; via < config->vm_count; via++)
        for (unsigned i = 0; i < config->vm_count; i++)
            if (before[i] & BIT(via))
                before[i] |= before[via];
    for (unsigned i = 0; i < config->vm_count; i++) {
        struct config_vm *vm = &config->vm[i];

        if (!(before[i] & BIT(i)) || (reported & BIT(i)))
            continue;
        for (unsigned k = 0; k < vm->after_count; k++) {
            const struct config_after *after = &vm->after[k];

            if (after->vm == i) {
                config_error(config, vm, after->place, "'%s' cannot wait for itself; take it out", vm->name);
                break;
            }
            if (before[after->vm] & BIT(i)) {
                config_error(config, vm, after->place,
                             "'%s' waits for '%s', and that for '%s'; take one of these out of its after",
                             vm->name, after->name, vm->name);
                break;
            }
        }
        for (unsigned j = i; j < config->vm_count; j++)
            if ((before[i] & BIT(j)) && (before[j] & BIT(i)))
                reported |= BIT(j);
    }
}

/* The cap must fit the other values, whichever stand before it. */
static void check_share(struct config *config, struct config_vm *vm)
{
    char fault[CONFIG_FAULT_TEXT];

    if (!vm->broken && config_share_fault(&vm->share, vm->cpus, fault))
        config_error(config, vm, vm->at[VM_CAP], "%s", fault);
}

/* Who else uses a disk is seen on the machine; but a VM that names one twice would not start at all. */
static void check_disks(struct config *config, struct config_vm *vm)
{
    for (unsigned i = 0; i < vm->disk_count; i++) {
        const struct config_disk *disk = &vm->disk[i];

        if (disk->source[0] == '\0' || config_disk_file(disk))
            continue;
        for (unsigned k = 0; k < i; k++)
            if (strcmp(vm->disk[k].source, disk->source) == 0 && !(vm->disk[k].readonly && disk->readonly))
                config_error(config, vm, disk->at[DISK_SOURCE],
                             "'%s' was given already in line %u; a disk that is written to can be given once",
                             disk->source, vm->disk[k].at[DISK_SOURCE].line);
    }
}

void config_check_whole(struct config *config)
{
    check_attach(config);
    for (unsigned i = 0; i < config->vm_count; i++)
        resolve_after(config, &config->vm[i]);
    for (unsigned i = 0; i < config->vm_count; i++)
        check_share(config, &config->vm[i]);
    for (unsigned i = 0; i < config->vm_count; i++)
        check_disks(config, &config->vm[i]);
    for (unsigned i = 0; i < config->vm_count; i++)
        check_console(config, i);
    check_circles(config);
    config_check_networks(config);
}
