#include "shell/commands.h"
#include "guests/manager.h"
#include "kernel/frames.h"
#include "lib/string.h"
#include "shell/json.h"
#include "shell/output.h"
#include "shell/wire.h"

static_assert(CONFIG_CMDLINE_MAX * JSON_ESCAPE_MAX + CONFIG_PATH_MAX * JSON_ESCAPE_MAX + 256 <= OUTPUT_ITEM,
              "a module and its command line are an item");

static const struct managed *shown; /* by info */

/* Why it does not run; empty while it does. */
static const char *last_stop(const struct managed *vm)
{
    return vm->state == MANAGED_RUNNING || vm->state == MANAGED_PAUSED ? "" : vm->last;
}

/* --- list */

static enum output_more list_row(unsigned at)
{
    const struct managed *vm;

    if (at >= manager_count())
        return OUTPUT_END;
    vm = manager_get(at);
    cell_text("name", 20, vm->config->name);
    cell_text("state", 9, manager_state_name(vm));
    cell_number("vcpus", 5, vm->config->cpus);
    cell_mib("memory", 6, vm->config->memory);
    cell_text("last_stop", 0, last_stop(vm));
    return OUTPUT_MORE;
}

void run_list(int count, char *word[SHELL_ARGS])
{
    static const struct listing list = { "vms", "NAME                 STATE     VCPUS     MEMORY LAST STOP",
                                         list_row };

    (void)count;
    (void)word;
    output_listing(&list);
}

/* --- info: items 0 to 3, then the modules, then the vCPUs, then the end */

static const char *vcpu_state_name(const struct vcpu *vcpu)
{
    static const char *const names[] = { [VCPU_STOPPED] = "stopped",
                                         [VCPU_WAIT_SIPI] = "waits for start-up",
                                         [VCPU_RUNNABLE] = "runnable",
                                         [VCPU_HALTED] = "halted" };

    return vcpu->state < ARRAY_SIZE(names) ? names[vcpu->state] : "unknown";
}

/* One line "label value", or ,"label":"value". */
static void field(const char *label, const char *value)
{
    if (shell_json()) {
        wire_print(",");
        print_json_key(label);
        print_json(value);
    } else if (*value) {
        wire_print("%-11s ", label);
        print_plain(value);
        wire_print("\r\n");
    }
}

static void info_head(const struct managed *vm)
{
    const struct config_vm *config = vm->config;

    if (shell_json()) {
        wire_print("{\"name\":");
        print_json(config->name);
        wire_print(",\"state\":\"%s\",\"memory\":%llu,\"autostart\":%s,\"exits\":%llu",
                   manager_state_name(vm), (unsigned long long)config->memory,
                   config->autostart ? "true" : "false", (unsigned long long)stats_exits(vm));
    } else {
        wire_print("%-11s %s\r\n%-11s %s\r\n%-11s %u\r\n%-11s %llu MiB\r\n%-11s %s\r\n%-11s %llu\r\n", "name",
                   config->name, "state", manager_state_name(vm), "vcpus", config->cpus, "memory",
                   (unsigned long long)(config->memory / MiB), "autostart", config->autostart ? "yes" : "no",
                   "exits", (unsigned long long)stats_exits(vm));
    }
    field("console", config->console[0] ? config->console : "the wire");
    field(shell_json() ? "last_stop" : "last stop", last_stop(vm));
}

static void info_module(const struct config_module *module, bool first)
{
    if (shell_json()) {
        wire_print("%s{\"path\":", first ? "" : ",");
        print_json(module->path);
        wire_print(",\"cmdline\":");
        print_json(module->cmdline);
        wire_print("}");
    } else {
        wire_print("%-11s %s ", "module", module->path);
        print_plain(module->cmdline);
        wire_print("\r\n");
    }
}

static void info_vcpu(const struct vcpu *vcpu)
{
    if (shell_json())
        wire_print("%s{\"state\":\"%s\",\"rip\":\"0x%llx\",\"exits\":%llu}", vcpu->index ? "," : "",
                   vcpu_state_name(vcpu), (unsigned long long)vcpu->rip,
                   (unsigned long long)vcpu_exits(vcpu));
    else
        wire_print("vcpu %-6u %s, rip 0x%llx, %llu exits\r\n", vcpu->index, vcpu_state_name(vcpu),
                   (unsigned long long)vcpu->rip, (unsigned long long)vcpu_exits(vcpu));
}

static enum output_more info_item(unsigned at)
{
    const struct managed *vm = shown;
    const struct config_vm *config = vm->config;
    unsigned modules = config->module_count;

    if (at == 0) {
        info_head(vm);
    } else if (at == 1) {
        field("kernel", config->kernel);
        field("initrd", config->initrd);
    } else if (at == 2) {
        field("cmdline", config->cmdline);
        balloon_print(vm);
    } else if (at == 3) {
        if (shell_json())
            wire_print(",\"modules\":[");
    } else if (at < 4 + modules) {
        info_module(&config->module[at - 4], at == 4);
    } else if (at == 4 + modules) {
        if (shell_json())
            wire_print("],\"vcpus\":[");
    } else if (at - 5 - modules < stats_vcpus(vm)) {
        info_vcpu(vm->machine->vm.vcpu[at - 5 - modules]);
    } else {
        if (shell_json())
            wire_print("]}\r\n");
        return OUTPUT_END;
    }
    return OUTPUT_MORE;
}

void run_info(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = command_vm(count, word);

    if (!vm)
        return;
    shown = vm;
    output_begin(info_item);
}

/* --- mem */

static const struct {
    unsigned owner;
    const char *name, *key;
} owners[] = { { FRAME_FREE, "free", "free" },
               { FRAME_IMAGE, "Plinth's image", "image" },
               { FRAME_FRAMES, "frame records", "frame_records" },
               { FRAME_PTAB, "page tables", "page_tables" },
               { FRAME_HEAP, "heap", "heap" },
               { FRAME_PERCPU, "per-CPU areas", "percpu" },
               { FRAME_MODULE, "boot modules", "modules" } };

static unsigned long long bytes_of(unsigned owner)
{
    return frames_count(owner) * PAGE_SIZE;
}

static void mem_vm_json(unsigned vm)
{
    wire_print("%s", vm ? "," : ",\"vms\":{");
    print_json_key(manager_get(vm)->config->name);
    wire_print("%llu", bytes_of(FRAME_VM + vm));
}

static enum output_more mem_item(unsigned at)
{
    unsigned vm = at - (unsigned)ARRAY_SIZE(owners);

    if (at < ARRAY_SIZE(owners)) {
        if (shell_json())
            wire_print("%s\"%s\":%llu", at ? "," : "{", owners[at].key, bytes_of(owners[at].owner));
        else
            wire_print("%-16s %10llu KiB\r\n", owners[at].name, bytes_of(owners[at].owner) / KiB);
    } else if (vm < manager_count()) {
        if (shell_json())
            mem_vm_json(vm);
        else
            wire_print("vm %-13s %10llu KiB\r\n", manager_get(vm)->config->name,
                       bytes_of(FRAME_VM + vm) / KiB);
    } else {
        if (shell_json())
            wire_print("%s}}\r\n", vm ? "" : ",\"vms\":{");
        return OUTPUT_END;
    }
    return OUTPUT_MORE;
}

void run_mem(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    output_begin(mem_item);
}
