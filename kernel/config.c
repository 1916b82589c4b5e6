#include "kernel/config.h"
#include "kernel/config_read.h"
#include "kernel/config_share.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/keyname.h"
#include "lib/spell.h"
#include "lib/string.h"

/* --- the schema --- */

static const char *const stopped_names[] = {
    [ALL_STOPPED_SHELL] = "shell",
    [ALL_STOPPED_POWEROFF] = "poweroff",
    [ALL_STOPPED_REBOOT] = "reboot",
};
static const char *const restart_names[] = { [RESTART_NO] = "stop", [RESTART_YES] = "restart" };
static_assert(sizeof(enum config_all_stopped) == sizeof(unsigned) &&
                  sizeof(enum config_restart) == sizeof(unsigned),
              "set_choice() writes them as unsigned");

static const struct key host_keys[HOST_KEYS] = {
    [HOST_CONSOLE] = { "console", KIND_TEXT, false, STRING(config, console), "\"com1,115200\"", NULL },
    [HOST_ATTACH] = { "attach", KIND_TEXT, false, STRING(config, attach), "\"demo\"", NULL },
    [HOST_WHEN_ALL_STOPPED] = { "when-all-stopped", KIND_CHOICE, false,
                                offsetof(struct config, when_all_stopped), ARRAY_SIZE(stopped_names),
                                "\"poweroff\"", stopped_names },
    [HOST_PREFIX] = { "prefix", KIND_PREFIX, false, offsetof(struct config, prefix), 0, "\"ctrl-a\"", NULL },
    [HOST_ECHO_CONSOLES] = { "echo-consoles", KIND_FLAG, false, offsetof(struct config, echo_consoles), 0,
                             NULL, NULL },
};

static const struct key vm_keys[VM_KEYS] = {
    [VM_CPUS] = { "cpus", KIND_COUNT, false, offsetof(struct config_vm, cpus), CONFIG_MAX_VCPUS, "2", NULL },
    [VM_MEMORY] = { "memory", KIND_MEMORY, true, offsetof(struct config_vm, memory), 0, "\"256M\"", NULL },
    [VM_KERNEL] = { "kernel", KIND_PATH, true, STRING(config_vm, kernel), "\"vmlinuz\"", NULL },
    [VM_INITRD] = { "initrd", KIND_PATH, false, STRING(config_vm, initrd), "\"initrd.img\"", NULL },
    [VM_CMDLINE] = { "cmdline", KIND_WORDS, false, STRING(config_vm, cmdline), "\"console=ttyS0\"", NULL },
    [VM_MODULES] = { "modules", KIND_MODULES, false, 0, 0, "[\"data.img\"]", NULL },
    [VM_AUTOSTART] = { "autostart", KIND_FLAG, false, offsetof(struct config_vm, autostart), 0, NULL, NULL },
    [VM_DEBUG_EXIT] = { "debug-exit", KIND_FLAG, false, offsetof(struct config_vm, debug_exit), 0, NULL,
                        NULL },
    [VM_AFTER] = { "after", KIND_AFTER, false, 0, 0, "[\"db\"]", NULL },
    [VM_ON_CRASH] = { "on-crash", KIND_CHOICE, false, offsetof(struct config_vm, on_crash),
                      ARRAY_SIZE(restart_names), "\"restart\"", restart_names },
    [VM_ON_REBOOT] = { "on-reboot", KIND_CHOICE, false, offsetof(struct config_vm, on_reboot),
                       ARRAY_SIZE(restart_names), "\"restart\"", restart_names },
    [VM_RESTART_LIMIT] = { "restart-limit", KIND_LIMIT, false, offsetof(struct config_vm, restart_limit),
                           CONFIG_MAX_RESTARTS, "5", NULL },
    [VM_WATCHDOG] = { "watchdog", KIND_FLAG, false, offsetof(struct config_vm, watchdog), 0, NULL, NULL },
    [VM_RNG] = { "rng", KIND_FLAG, false, offsetof(struct config_vm, rng), 0, NULL, NULL },
    [VM_BALLOON] = { "balloon", KIND_FLAG, false, offsetof(struct config_vm, balloon), 0, NULL, NULL },
    [VM_HVC] = { "hvc", KIND_FLAG, false, offsetof(struct config_vm, hvc), 0, NULL, NULL },
    [VM_WEIGHT] = { "weight", KIND_COUNT, false, offsetof(struct config_vm, share.weight), CONFIG_MAX_WEIGHT,
                    "100", NULL },
    [VM_CAP] = { "cap", KIND_LIMIT, false, offsetof(struct config_vm, share.cap), 100 * CONFIG_MAX_VCPUS,
                 "50", NULL },
    [VM_PIN] = { "pin", KIND_PIN, false, offsetof(struct config_vm, share.pin), 0, "\"0,2-3\"", NULL },
    [VM_CONSOLE] = { "console", KIND_TEXT, false, STRING(config_vm, console), "\"com2\"", NULL },
    [VM_RESERVE] = { "reserve", KIND_RESERVE, false, offsetof(struct config_vm, share), 0, "\"2ms/10ms\"",
                     NULL },
    [VM_NETWORKS] = { "networks", KIND_NICS, false, 0, 0, "[\"lan0\"]", NULL },
    [VM_DISKS] = { "disks", KIND_DISKS, false, 0, 0, "[{ source = \"part:root\" }]", NULL },
};

static const struct key module_keys[MODULE_KEYS] = {
    [MODULE_PATH] = { "path", KIND_PATH, true, STRING(config_module, path), "\"data.img\"", NULL },
    [MODULE_CMDLINE] = { "cmdline", KIND_WORDS, false, STRING(config_module, cmdline), "\"words\"", NULL },
};

static const struct key disk_keys[DISK_KEYS] = {
    [DISK_SOURCE] = { "source", KIND_SOURCE, true, STRING(config_disk, source), "\"part:root\"", NULL },
    [DISK_READONLY] = { "readonly", KIND_FLAG, false, offsetof(struct config_disk, readonly), 0, NULL, NULL },
    [DISK_IOPS] = { "iops", KIND_COUNT, false, offsetof(struct config_disk, iops), CONFIG_MAX_IOPS, "1000",
                    NULL },
    [DISK_BANDWIDTH] = { "bandwidth", KIND_RATE, false, offsetof(struct config_disk, bandwidth), 0, "\"50M\"",
                         NULL },
};

static const struct table host_table = { host_keys, HOST_KEYS };
static const struct table vm_table = { vm_keys, VM_KEYS };
static const struct table module_table = { module_keys, MODULE_KEYS };
static const struct table disk_table = { disk_keys, DISK_KEYS };

/* An array in a VM's table whose elements are tables, or a string that is their first key's value. */
struct elements {
    const char *name; /* of one */
    const char *form;
    const struct table *table;
    unsigned most;
    size_t count, first, size; /* in struct config_vm: how many, where; of an element */
    size_t at, place;          /* in the element */
};

#define ELEMENTS(type, field, field_count)                                                                   \
    offsetof(struct config_vm, field_count), offsetof(struct config_vm, field), sizeof(struct type),         \
        offsetof(struct type, at), offsetof(struct type, place)

static const struct elements modules = { "module",
                                         "\"data.img\" or { path = \"data.img\", cmdline = \"words\" }",
                                         &module_table, CONFIG_MAX_MODULES,
                                         ELEMENTS(config_module, module, module_count) };
static const struct elements disks = { "disk", "\"part:root\" or { source = \"part:root\", readonly = true }",
                                       &disk_table, CONFIG_MAX_DISKS,
                                       ELEMENTS(config_disk, disk, disk_count) };
static const struct elements nics = { "network", "\"lan0\" or { name = \"lan0\", vlan = 10 }",
                                      &config_nic_table, CONFIG_MAX_NICS,
                                      ELEMENTS(config_nic, nic, nic_count) };

/* --- errors --- */

static bool same_place(struct toml_place a, struct toml_place b)
{
    return a.line == b.line && a.column == b.column;
}

/* True the first time that a step is refused: the tables in it come as events of their own. */
static bool refuse_once(struct reader *r, const struct toml_step *step)
{
    if (same_place(r->refused, step->place))
        return false;
    r->refused = step->place;
    return true;
}

static const struct key *find_key(const struct table *table, const char *name)
{
    for (unsigned i = 0; i < table->count; i++)
        if (strcmp(table->keys[i].name, name) == 0)
            return &table->keys[i];
    return NULL;
}

static void unknown_key(struct reader *r, const struct table *table, struct toml_place *at,
                        const struct toml_step *step)
{
    if (!refuse_once(r, step))
        return;
    for (unsigned i = 0; i < table->count; i++) {
        if (!spelt_like(step->key, table->keys[i].name))
            continue;
        if (at[i].line == 0)
            at[i].line = step->place.line;
        add_error(r, step->place, "unknown key '%s' in %s; did you mean '%s'?", step->key, r->where,
                  table->keys[i].name);
        return;
    }
    if (table != &vm_table && find_key(&vm_table, step->key))
        add_error(r, step->place, "unknown key '%s' in %s; it belongs below [vm.NAME]", step->key, r->where);
    else if (table != &host_table && find_key(&host_table, step->key))
        add_error(r, step->place, "unknown key '%s' in %s; it belongs below [host]", step->key, r->where);
    else if (table != &config_network_table && find_key(&config_network_table, step->key))
        add_error(r, step->place, "unknown key '%s' in %s; it belongs below [network.NAME]", step->key,
                  r->where);
    else
        add_error(r, step->place, "unknown key '%s' in %s; docs/config.md lists the known ones", step->key,
                  r->where);
}

/* What the value of a key must be, and who checks it; NULL: an array, whose elements follow. */
static const struct {
    enum toml_type type;
    value_fn *set;
} kinds[] = {
    [KIND_TEXT] = { TOML_STRING, value_text },
    [KIND_WORDS] = { TOML_STRING, value_text },
    [KIND_PATH] = { TOML_STRING, value_path },
    [KIND_MEMORY] = { TOML_STRING, value_memory },
    [KIND_COUNT] = { TOML_INTEGER, value_count },
    [KIND_FLAG] = { TOML_BOOLEAN, value_flag },
    [KIND_LIMIT] = { TOML_INTEGER, value_count },
    [KIND_CHOICE] = { TOML_STRING, value_choice },
    [KIND_PREFIX] = { TOML_STRING, value_prefix },
    [KIND_MODULES] = { TOML_ARRAY, NULL },
    [KIND_AFTER] = { TOML_ARRAY, NULL },
    [KIND_PIN] = { TOML_STRING, value_cpus },
    [KIND_RESERVE] = { TOML_STRING, value_cpus },
    [KIND_DISKS] = { TOML_ARRAY, NULL },
    [KIND_SOURCE] = { TOML_STRING, value_source },
    [KIND_RATE] = { TOML_STRING, value_rate },
    [KIND_NICS] = { TOML_ARRAY, NULL },
    [KIND_NETWORK] = { TOML_STRING, value_network },
    [KIND_MAC] = { TOML_STRING, value_mac },
    [KIND_BITRATE] = { TOML_STRING, value_bitrate },
    [KIND_UPLINK] = { TOML_STRING, value_uplink },
    [KIND_MTU] = { TOML_INTEGER, value_mtu },
    [KIND_TRUNK] = { TOML_ARRAY, NULL },
};

static void wrong_type(struct reader *r, struct toml_place place, const struct key *key, enum toml_type type)
{
    static const char *const wanted[] = {
        [TOML_STRING] = "a string such as ",
        [TOML_INTEGER] = "an integer such as ",
        [TOML_BOOLEAN] = "true or false",
        [TOML_ARRAY] = "an array such as ",
    };

    add_error(r, place, "%s must be %s%s, not %s", key->name, wanted[kinds[key->kind].type],
              key->example ? key->example : "", toml_type_name(type));
}

/* Checks one value and stores it in its field of `base`, the struct of its table. */
static void set_value(struct reader *r, const struct key *key, void *base, const struct toml_event *event)
{
    if (event->type != kinds[key->kind].type)
        wrong_type(r, event->place, key, event->type);
    else if (kinds[key->kind].set)
        kinds[key->kind].set(r, key, (char *)base + key->offset, event);
}

/* --- tables --- */

static void on_element(struct reader *r, const struct elements *list, unsigned level,
                       const struct toml_event *event);
static void on_after(struct reader *r, unsigned level, const struct toml_event *event);

/*
 * A value at or below the key path[level] of `table`; `base` is the table's struct, `at` where its keys
 * stand. Tells a second `key =` from what is inside the first by the place of the key.
 */
static void on_key(struct reader *r, const struct table *table, void *base, struct toml_place *at,
                   unsigned level, const struct toml_event *event)
{
    const struct toml_step *step = &event->path[level];
    const struct key *key = find_key(table, step->key);
    bool inside = event->depth > level + 1;

    if (!key) {
        unknown_key(r, table, at, step);
        return;
    }
    struct toml_place *first = &at[key - table->keys];
    if (inside && same_place(*first, step->place)) {
        if (key->kind == KIND_MODULES)
            on_element(r, &modules, level + 1, event);
        else if (key->kind == KIND_DISKS)
            on_element(r, &disks, level + 1, event);
        else if (key->kind == KIND_NICS)
            on_element(r, &nics, level + 1, event);
        else if (key->kind == KIND_TRUNK)
            value_trunk(r, base, level + 1, event);
        else if (key->kind == KIND_AFTER)
            on_after(r, level + 1, event);
        return;
    }
    if (first->column != 0) {
        if (refuse_once(r, step))
            add_error(r, step->place, "%s was given already in line %u; keep one of the two", key->name,
                      first->line);
        return;
    }
    *first = step->place;
    if (inside)
        wrong_type(r, step->place, key, TOML_TABLE);
    else
        set_value(r, key, base, event);
}

/* A value at or below the element path[level] of such an array. */
static void on_element(struct reader *r, const struct elements *list, unsigned level,
                       const struct toml_event *event)
{
    const struct toml_step *step = &event->path[level];
    char *vm = (char *)r->vm, *element = vm + list->first + step->index * list->size;
    struct toml_place *at = (void *)(element + list->at);

    if (!step->element)
        return;
    if (step->index >= list->most) {
        if (step->index == list->most && refuse_once(r, step))
            add_error(r, step->place, "a VM takes at most %u %ss", list->most, list->name);
        return;
    }
    if (event->depth > level + 1) {
        format_text(r->where, sizeof(r->where), "a %s of [vm.%s]", list->name, r->vm->name);
        if (!event->path[level + 1].element)
            on_key(r, list->table, element, at, level + 1, event);
        return;
    }
    *(unsigned *)(void *)(vm + list->count) = step->index + 1;
    *(struct toml_place *)(void *)(element + list->place) = step->place;
    if (event->type == TOML_TABLE)
        return;
    at[0] = step->place;
    if (event->type == TOML_STRING)
        set_value(r, &list->table->keys[0], element, event);
    else
        add_error(r, event->place, "a %s must be a string such as %s, not %s", list->name, list->form,
                  toml_type_name(event->type));
}

/* A value at or below the element path[level] of a VM's `after`. */
static void on_after(struct reader *r, unsigned level, const struct toml_event *event)
{
    const struct toml_step *step = &event->path[level];
    struct config_vm *vm = r->vm;

    if (!step->element || event->depth > level + 1)
        return;
    if (step->index >= CONFIG_MAX_AFTER) {
        if (step->index == CONFIG_MAX_AFTER)
            add_error(r, step->place, "a VM waits for at most %d others", CONFIG_MAX_AFTER);
        return;
    }
    struct config_after *after = &vm->after[step->index];
    vm->after_count = step->index + 1;
    after->place = step->place;
    if (event->type != TOML_STRING) {
        add_error(r, event->place, "after must name VMs, such as %s, not %s", vm_keys[VM_AFTER].example,
                  toml_type_name(event->type));
    } else if (toml_string(event, after->name, sizeof(after->name)) >= sizeof(after->name) ||
               !after->name[0]) {
        add_error(r, event->place, "after names no VM here: a name has 1 to %d characters",
                  CONFIG_NAME_MAX - 1);
        after->name[0] = '\0';
    }
}

struct config_vm *config_find_vm(struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->vm_count; i++)
        if (strcmp(config->vm[i].name, name) == 0)
            return &config->vm[i];
    return NULL;
}

bool config_is_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!((*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') || *c == '_' ||
              *c == '-'))
            return false;
    return name[0] != '\0' && strlen(name) < CONFIG_NAME_MAX;
}

/* Adds a VM with its defaults. The name is valid and there is room. */
static struct config_vm *add_vm(struct config *config, const struct toml_step *name)
{
    struct config_vm *vm = &config->vm[config->vm_count++];

    memcpy(vm->name, name->key, strlen(name->key) + 1);
    vm->line = name->place.line;
    vm->column = name->place.column;
    vm->cpus = 1;
    vm->autostart = true;
    vm->rng = true;
    vm->on_reboot = RESTART_YES;
    vm->restart_limit = 5;
    vm->share.weight = SHARE_WEIGHT;
    return vm;
}

/* The VM named by path[1], added if it is new; NULL if that cannot be, which is said once. */
static struct config_vm *vm_of(struct reader *r, const struct toml_step *name)
{
    struct config_vm *vm = config_find_vm(r->config, name->key);

    if (vm)
        return vm;
    if (config_is_name(name->key) && r->config->vm_count < CONFIG_MAX_VMS)
        return add_vm(r->config, name);
    if (!refuse_once(r, name))
        return NULL;
    if (!config_is_name(name->key))
        add_error(r, name->place, "'%s' is no name for a VM: 1 to %d letters, digits, '-' and '_'", name->key,
                  CONFIG_NAME_MAX - 1);
    else
        add_error(r, name->place, "[vm.%s] is one too many: at most %d VMs can be described", name->key,
                  CONFIG_MAX_VMS);
    return NULL;
}

/* The table of a VM begins. */
static bool on_vm_table(struct reader *r, const struct toml_step *name)
{
    r->vm = config_find_vm(r->config, name->key);
    if (!r->vm)
        return vm_of(r, name) != NULL;
    add_error(r, name->place, "[vm.%s] was described already in line %u; each VM needs a name of its own",
              name->key, r->vm->line);
    return false;
}

static bool on_host_table(struct reader *r, const struct toml_step *name)
{
    if (r->config->host.line != 0) {
        add_error(r, name->place, "[host] was given already in line %u; put both together",
                  r->config->host.line);
        return false;
    }
    r->config->host = name->place;
    return true;
}

/* The table of a network begins. */
static bool on_network_table(struct reader *r, const struct toml_step *name)
{
    struct config_network *network = config_make_network(r->config, name->key, name->place);

    if (network && !network->described) {
        network->described = true;
        return true;
    }
    if (network)
        add_error(r, name->place, "[network.%s] was described already in line %u; put both together",
                  name->key, network->place.line);
    else if (!config_is_name(name->key))
        add_error(r, name->place, "'%s' is no name for a network: 1 to %d letters, digits, '-' and '_'",
                  name->key, CONFIG_NAME_MAX - 1);
    else
        add_error(r, name->place, "[network.%s] is one too many: there can be %d networks", name->key,
                  CONFIG_MAX_NETWORKS);
    return false;
}

/* A value below the table of a network, which was there before unless it came as network.NAME.KEY = VALUE. */
static void on_network(struct reader *r, const struct toml_event *event)
{
    const struct toml_step *name = &event->path[1];
    struct config_network *network = config_make_network(r->config, name->key, name->place);

    if (!network) {
        if (refuse_once(r, name))
            (void)on_network_table(r, name); /* says why not */
        return;
    }
    network->described = true;
    format_text(r->where, sizeof(r->where), "[network.%s]", network->name);
    on_key(r, &config_network_table, network, network->at, 2, event);
}

static const struct {
    const char *name, *header;
    unsigned depth; /* of a value below it, at least */
} roots[] = { { "host", "[host]", 2 }, { "vm", "[vm.NAME]", 3 }, { "network", "[network.NAME]", 3 } };
enum root { ROOT_HOST, ROOT_VM, ROOT_NETWORK };

static void unknown_root(struct reader *r, const struct toml_event *event)
{
    const struct toml_step *step = &event->path[0];

    if (!refuse_once(r, step))
        return;
    if (find_key(&vm_table, step->key))
        add_error(r, step->place, "'%s' stands outside of a table; put it below [vm.NAME]", step->key);
    else if (find_key(&host_table, step->key))
        add_error(r, step->place, "'%s' stands outside of a table; put it below [host]", step->key);
    else if (find_key(&config_network_table, step->key))
        add_error(r, step->place, "'%s' stands outside of a table; put it below [network.NAME]", step->key);
    else {
        for (unsigned i = 0; i < ARRAY_SIZE(roots); i++) {
            if (!spelt_like(step->key, roots[i].name))
                continue;
            add_error(r, step->place, "unknown table '%s'; did you mean '%s'?", step->key, roots[i].name);
            return;
        }
        add_error(r, step->place,
                  "unknown table or key '%s'; a VM is described below [vm.NAME], a network below "
                  "[network.NAME], all else below [host]",
                  step->key);
    }
}

/* A table or value. False: a table that nobody knows. */
static bool on_value(struct reader *r, const struct toml_event *event)
{
    const struct toml_step *path = event->path;
    unsigned root = 0;

    r->vm = NULL;
    while (root < ARRAY_SIZE(roots) && strcmp(path[0].key, roots[root].name) != 0)
        root++;
    if (root == ARRAY_SIZE(roots)) {
        unknown_root(r, event);
        return false;
    }
    if (event->type != TOML_TABLE && event->depth < roots[root].depth) {
        add_error(r, event->place, "'%s' must be a table, not %s; write %s on a line of its own",
                  path[event->depth - 1].key, toml_type_name(event->type), roots[root].header);
        return false;
    }
    if (event->depth == 1)
        return root == ROOT_HOST ? on_host_table(r, &path[0]) : true;
    if (root == ROOT_HOST) {
        format_text(r->where, sizeof(r->where), "[host]");
        on_key(r, &host_table, r->config, r->config->at, 1, event);
        return false;
    }
    if (event->depth == 2)
        return root == ROOT_VM ? on_vm_table(r, &path[1]) : on_network_table(r, &path[1]);
    if (root == ROOT_NETWORK) {
        on_network(r, event);
        return false;
    }
    r->vm = vm_of(r, &path[1]);
    if (r->vm) {
        format_text(r->where, sizeof(r->where), "[vm.%s]", r->vm->name);
        on_key(r, &vm_table, r->vm, r->vm->at, 2, event);
    }
    return false;
}

/* A syntax error breaks the VM in whose text it stands; the key it stands in counts as given. */
static void on_syntax_error(struct reader *r, const struct toml_event *event)
{
    const struct toml_step *path = event->path;

    r->vm = NULL;
    if (event->depth >= 2 && strcmp(path[0].key, "vm") == 0 && config_is_name(path[1].key)) {
        r->vm = config_find_vm(r->config, path[1].key);
        if (!r->vm && r->config->vm_count < CONFIG_MAX_VMS)
            r->vm = add_vm(r->config, &path[1]);
    }
    if (r->vm && event->depth == 2) /* its header is wrong: the reader does not report the keys below it */
        for (unsigned i = 0; i < VM_KEYS; i++)
            r->vm->at[i].line = r->vm->at[i].line ? r->vm->at[i].line : path[1].place.line;
    if (r->vm && event->depth >= 3) {
        const struct key *key = find_key(&vm_table, path[2].key);
        if (key && r->vm->at[key - vm_keys].line == 0)
            r->vm->at[key - vm_keys] = path[2].place;
    }
    add_error(r, event->place, "%s", event->error);
}

static void on_event(void *context, const struct toml_event *event)
{
    struct reader *r = context;

    if (event->type == TOML_ERROR) {
        on_syntax_error(r, event);
        return;
    }
    if (event->header)
        r->ignore = false;
    if (r->ignore)
        return;
    bool known = on_value(r, event);
    if (event->header)
        r->ignore = !known;
}

/* --- the whole --- */

static void check_required(struct reader *r, const struct table *table, const struct toml_place *at,
                           struct toml_place place)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->keys[i].required && at[i].line == 0)
            add_error(r, place, "%s has no %s; add a line such as: %s = %s", r->where, table->keys[i].name,
                      table->keys[i].name, table->keys[i].example);
}

static void check_vm(struct reader *r, struct config_vm *vm)
{
    r->vm = vm;
    format_text(r->where, sizeof(r->where), "[vm.%s]", vm->name);
    check_required(r, &vm_table, vm->at, (struct toml_place){ vm->line, vm->column });
    format_text(r->where, sizeof(r->where), "a module of [vm.%s]", vm->name);
    for (unsigned i = 0; i < vm->module_count; i++)
        check_required(r, &module_table, vm->module[i].at, vm->module[i].place);
    format_text(r->where, sizeof(r->where), "a disk of [vm.%s]", vm->name);
    for (unsigned i = 0; i < vm->disk_count; i++)
        check_required(r, &disk_table, vm->disk[i].at, vm->disk[i].place);
    format_text(r->where, sizeof(r->where), "a network of [vm.%s]", vm->name);
    for (unsigned i = 0; i < vm->nic_count; i++)
        check_required(r, &config_nic_table, vm->nic[i].at, vm->nic[i].place);
}

int config_parse(struct config *config, const char *text, size_t size)
{
    struct reader reader = { .config = config };

    memset(config, 0, sizeof(*config));
    config->prefix = KEY_CTRL_A;
    toml_parse(text, size, on_event, &reader);
    for (unsigned i = 0; i < config->vm_count; i++)
        check_vm(&reader, &config->vm[i]);
    config_check_whole(config);
    reader.vm = NULL;
    if (config->vm_count == 0 && config->error_count == 0)
        add_error(&reader, (struct toml_place){ 1, 1 },
                  "no VM is described; write for example: [vm.demo], and below it memory = \"256M\" and "
                  "kernel = \"vmlinuz\"");
    config_sort_errors(config);
    return config->error_count == 0 ? 0 : -EINVAL;
}
