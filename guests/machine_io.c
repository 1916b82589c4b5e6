#include "guests/machine_io.h"
#include "arch/x86_64/entropy.h"
#include "arch/x86_64/percpu.h"
#include "guests/machine.h"
#include "guests/machine_balloon.h"
#include "guests/netports.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/string.h"

/* More than one queue is for VMs of several CPUs, each of which then has its own. */
#define DISK_QUEUES 4

/*
 * What is to be done soon: queues of disks that are to be gone on with (vblk.h: later), a bit for each, and
 * the interrupt pins of the PCI bus (vpci.h: later). It is for a VM's index, not in its machine, which may be
 * gone when the work is done.
 */
static struct later {
    struct sched_work work;
    struct machine *machine; /* NULL: there is none any more */
    uint64_t queues;         /* atomic: CONFIG_MAX_DISKS times VBLK_MAX_QUEUES */
    uint32_t pins;           /* atomic: 1 if they have changed */
} later[CONFIG_MAX_VMS];

static_assert(CONFIG_MAX_DISKS * VBLK_MAX_QUEUES <= 64, "a bit for each");

static bool run_later(struct sched_work *work)
{
    struct later *l = container_of(work, struct later, work);
    uint64_t queues = __atomic_exchange_n(&l->queues, 0, __ATOMIC_ACQUIRE);
    uint32_t pins = __atomic_exchange_n(&l->pins, 0, __ATOMIC_ACQUIRE);

    for (; queues && l->machine; queues &= queues - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(queues);

        vblk_run(&l->machine->disks[bit / VBLK_MAX_QUEUES].vblk, bit % VBLK_MAX_QUEUES);
    }
    if (pins && l->machine) {
        lock_take(&l->machine->vm.devices);
        vpci_update_pins(&l->machine->pci);
        lock_release(&l->machine->vm.devices);
    }
    return false;
}

/* Any CPU. */
static void ask_later(void *context, unsigned queue)
{
    struct machine_disk *disk = context;
    struct later *l = &later[disk->machine->vm.index];
    unsigned bit = (unsigned)(disk - disk->machine->disks) * VBLK_MAX_QUEUES + queue;

    __atomic_fetch_or(&l->queues, BIT(bit), __ATOMIC_RELEASE);
    sched_queue_work(&l->work);
}

static void ask_pins(void *context)
{
    const struct machine *m = context;
    struct later *l = &later[m->vm.index];

    __atomic_store_n(&l->pins, 1, __ATOMIC_RELEASE);
    sched_queue_work(&l->work);
}

/* --- Disks */

/* -EPERM: it cannot have one of them. */
static int open_disks(struct machine *m)
{
    const struct disk_opener opener = { m->vm.name, FRAME_VM + m->vm.index, &this_cpu()->timers };
    const struct config_disk *config = m->config->disk;
    char why[DISKS_WHY_MAX];
    unsigned which;

    if (!disks_open(m->disk, m->config, &opener, &which, why))
        return 0;
    config += which;
    log_error("vm %s: not started: its disk '%s' (plinth.toml:%u:%u): %s", m->vm.name, config->source,
              config->at[DISK_SOURCE].line, config->at[DISK_SOURCE].column, why);
    return -EPERM;
}

/* What the guest sees as the disk's serial number: how the config names it, without the kind of name. */
static const char *serial_of(const struct config_disk *config)
{
    const char *colon = strchr(config->source, ':');

    return colon ? colon + 1 : config->source;
}

static int create_disk(struct machine *m, unsigned i)
{
    struct machine_disk *disk = &m->disks[i];
    unsigned queues = (unsigned)min_u64(m->config->cpus, DISK_QUEUES);

    disk->machine = m;
    disk->queues = heap_alloc(queues * sizeof(*disk->queues));
    if (!disk->queues)
        return -ENOMEM;
    vblk_init(&disk->vblk, &m->disk[i].user, serial_of(&m->config->disk[i]), disk->queues, queues, &m->vm.mem,
              &m->apics, ask_later, disk);
    return vblk_attach(&disk->vblk, &m->pci, MACHINE_DISK_SLOT + i);
}

static int create_disks(struct machine *m)
{
    int err = open_disks(m);

    for (unsigned i = 0; i < m->config->disk_count && !err; i++)
        err = create_disk(m, i);
    return err;
}

/* --- Network cards */

static int create_nics(struct machine *m)
{
    unsigned pairs = (unsigned)min_u64(m->config->cpus, VNET_MAX_PAIRS);
    int err = 0;

    for (unsigned i = 0; i < m->config->nic_count && !err; i++) {
        struct net_port *port = netports_get(m->config, i);

        if (!port)
            continue; /* the log has said why */
        vnet_init(&m->nics[i], &m->vm.mem, &m->apics, &this_cpu()->timers, port, pairs);
        err = vnet_attach(&m->nics[i], &m->pci, i);
    }
    return err;
}

static bool has_nic(const struct machine *m, unsigned i)
{
    return m->nics[i].port;
}

/* --- Entropy */

static int create_rng(struct machine *m)
{
    vrng_init(&m->rng, &m->vm.mem, &m->apics, entropy_seed);
    if (!m->config->rng)
        return 0;
    if (entropy_present())
        return vrng_attach(&m->rng, &m->pci);
    log_warn("vm %s: it has no entropy device: this CPU has neither RDSEED nor RDRAND; `rng = false` in the "
             "config says that it needs none",
             m->vm.name);
    return 0;
}

/* --- Console */

/* The 16550 listens at it so far. */
static int create_hvc(struct machine *m)
{
    vcon_init(&m->hvc, &m->vm.mem, &m->apics, &m->vm.clock, &this_cpu()->timers, &m->console);
    return m->config->hvc ? vcon_attach(&m->hvc, &m->pci) : 0;
}

/* --- All of them */

int machine_io_create(struct machine *m, const struct irq_line line[VPCI_LINES])
{
    struct later *l = &later[m->vm.index];
    int err;

    l->work.step = run_later;
    l->machine = m;
    vpci_connect(&m->pci, line, ask_pins, m);
    err = create_rng(m);
    err = err ? err : create_hvc(m);
    err = err ? err : machine_balloon_create(m);
    err = err ? err : create_nics(m);
    return err ? err : create_disks(m);
}

void machine_io_destroy(struct machine *m)
{
    later[m->vm.index].machine = NULL;
    machine_balloon_destroy(m);
    disks_close(m->disk); /* idle: it did not run since its memory was wiped */
    for (unsigned i = 0; i < m->config->disk_count; i++)
        heap_free(m->disks[i].queues);
}

void machine_io_cancel(struct machine *m)
{
    disks_cancel(m->disk);
}

void machine_io_reset(struct machine *m)
{
    vrng_reset(&m->rng);
    vcon_reset(&m->hvc);
    machine_balloon_reset(m);
    for (unsigned i = 0; i < m->config->nic_count; i++)
        if (has_nic(m, i))
            vnet_reset(&m->nics[i]);
    for (unsigned i = 0; i < m->config->disk_count; i++)
        vblk_reset(&m->disks[i].vblk);
}

bool machine_io_idle(struct machine *m)
{
    if (!disks_idle(m->disk))
        return false;
    for (unsigned i = 0; i < m->config->disk_count; i++)
        if (!vvirtio_is_idle(&m->disks[i].vblk.virtio))
            return false;
    return true;
}
