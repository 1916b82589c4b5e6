/* VMs' hold on the CPUs: what the machine has for it, and edits while they run. */
#include "arch/x86_64/smp.h"
#include "guests/manager.h"
#include "kernel/config_share.h"
#include "kernel/log.h"
#include "lib/format.h"

static uint64_t cpus_there(void)
{
    unsigned cpus = smp_online();

    return cpus < SHARE_MAX_CPUS ? BIT(cpus) - 1 : UINT64_MAX;
}

bool manager_check_pin(const struct managed *vm)
{
    uint64_t absent = vm->share.pin & ~cpus_there();
    char names[CONFIG_PIN_TEXT];

    if (!absent)
        return true;
    config_pin_text(absent, names);
    if (vm->share.pin & cpus_there()) {
        log_warn("vm %s: its pin names CPU %s; this machine has 0 to %u", vm->config->name, names,
                 smp_online() - 1);
        return true;
    }
    log_error("vm %s: not started: its pin names only CPU %s, and this machine has 0 to %u; change `pin`",
              vm->config->name, names, smp_online() - 1);
    return false;
}

/* All vCPUs or none. The first ones get back what they had, the last of them first: so there is room. */
static enum share_verdict edit_vcpus(const struct machine *machine, const struct share_params *params,
                                     const struct share_params *before, unsigned *refused)
{
    for (unsigned i = 0; i < machine->vm.vcpu_count; i++) {
        enum share_verdict verdict = sched_edit(&machine->vm.vcpu[i]->task, params);

        if (verdict == SHARE_OK)
            continue;
        *refused = i;
        while (i-- > 0)
            if (sched_edit(&machine->vm.vcpu[i]->task, before) != SHARE_OK)
                log_warn("vm %s: vCPU %u keeps the new values: there is no room for its old reserve now",
                         machine->vm.name, i);
        return verdict;
    }
    return SHARE_OK;
}

const char *manager_set_share(struct managed *vm, const struct config_share *share)
{
    static char why[CONFIG_FAULT_TEXT];
    struct share_params params;
    enum share_verdict verdict;
    unsigned refused;

    if (vm->state == MANAGED_BROKEN)
        return "its config has errors";
    if (share->pin && !(share->pin & cpus_there()))
        return share_verdict_text(SHARE_BAD_PIN);
    if (config_share_fault(share, vm->config->cpus, why))
        return why;
    params = config_share_of_vcpu(share, vm->config->cpus);
    if (vm->machine) {
        verdict = edit_vcpus(vm->machine, &params, &vm->machine->vm.share, &refused);
        if (verdict != SHARE_OK) {
            format_text(why, sizeof(why), "vCPU %u: %s", refused, share_verdict_text(verdict));
            return why;
        }
        vm->machine->vm.share = params;
    }
    vm->share = *share;
    (void)manager_check_pin(vm); /* says which CPUs are passed over */
    return NULL;
}
