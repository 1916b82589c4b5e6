/* Checks of names across the tables of a config. */
#include "kernel/config_check.h"
#include "kernel/config_share.h"
#include "lib/spell.h"
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
    if (config->attach[0] == '\0' || config_find_vm(config, config->attach))
        return;
    unknown_vm(config, NULL, config->at[HOST_ATTACH], "attach", config->attach);
    config->attach[0] = '\0';
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

void config_check_whole(struct config *config)
{
    check_attach(config);
    for (unsigned i = 0; i < config->vm_count; i++)
        resolve_after(config, &config->vm[i]);
    for (unsigned i = 0; i < config->vm_count; i++)
        check_share(config, &config->vm[i]);
    check_circles(config);
}
