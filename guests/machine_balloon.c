/*
 * Memory goes from a VM to the machine by the work of this file, a batch of chunks (2 MiB) at a time. The
 * order is what matters: a frame is free only when nobody can reach it any more.
 *
 *   1. The vCPUs are taken off the CPUs. What the guest has said of its pages so far is all there is: it can
 * use none of them until it goes on. Only now is the device asked which chunks these are.
 *   2. They vanish from the nested table and from vm->mem. Who asks for one from now on gets other memory.
 *   3. The vCPUs forget addresses, and are entered next with new TLBs.
 *   4. Each CPU leaves the exit, interrupt or timer that it was in: with it goes what gmem_ptr() has told
 * there.
 *   5. Only disks have addresses for longer. A chunk with a request in flight, which a guest in its right
 * mind has not reported, waits until that is over; the others are freed.
 *   6. A report is given back, and the vCPUs go on.
 */
#include "guests/machine_balloon.h"
#include "arch/x86_64/percpu.h"
#include "guests/machine.h"
#include "kernel/heap.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/reclaim.h"

#define DELAY_NS                                                                                             \
    5000000 /* so that a batch comes together, and the vCPUs stand still for little of the time */

/* For a VM's index, as `later` in machine_io.c. */
static struct taker {
    struct sched_work work;
    struct machine *machine; /* NULL: there is none any more */
} takers[CONFIG_MAX_VMS];

/* --- Taking memory away */

/* Returns a bit for each vCPU that ran. */
static uint32_t stop_vcpus(struct machine *m)
{
    uint32_t ran = 0;

    for (unsigned i = 0; i < m->vm.vcpu_count; i++) {
        struct sched_usage usage;

        sched_usage(&m->vm.vcpu[i]->task, &usage);
        if (usage.stopped)
            continue;
        ran |= (uint32_t)BIT(i);
        sched_stop(&m->vm.vcpu[i]->task);
    }
    return ran;
}

static void start_vcpus(struct machine *m, uint32_t ran)
{
    for (unsigned i = 0; i < m->vm.vcpu_count; i++)
        if (ran & BIT(i))
            sched_start(&m->vm.vcpu[i]->task);
}

/* True: there may be more. */
static bool detach_some(struct machine *m)
{
    struct machine_balloon *b = m->balloon;
    gpa_t at[BALLOON_BATCH];
    unsigned room = (unsigned)min_u64(BALLOON_BATCH, ARRAY_SIZE(b->detached) - b->detached_count), count = 0;

    lock_take(&m->vm.devices);
    while (count < room && vballoon_take(&b->device, &at[count]))
        count++;
    lock_release(&m->vm.devices);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *host = reclaim_detach(&m->vm, at[i]);

        if (host)
            b->detached[b->detached_count++] = host;
    }
    return count && count == room;
}

static bool disks_use(struct machine *m, const uint8_t *host)
{
    for (unsigned i = 0; i < m->config->disk_count; i++)
        if (vblk_uses(&m->disks[i].vblk, host, GMEM_CHUNK))
            return true;
    return false;
}

static void free_detached(struct machine *m)
{
    struct machine_balloon *b = m->balloon;
    unsigned kept = 0;

    for (unsigned i = 0; i < b->detached_count; i++) {
        if (disks_use(m, b->detached[i]))
            b->detached[kept++] = b->detached[i];
        else
            reclaim_free(&m->vm, b->detached[i]);
    }
    b->detached_count = kept;
}

static bool take_step(struct sched_work *work)
{
    struct machine *m = container_of(work, struct taker, work)->machine;
    uint32_t ran;
    bool more;

    if (!m || m->stop != MACHINE_RUNS)
        return false;
    ran = stop_vcpus(m);
    more = detach_some(m);
    if (m->balloon->detached_count) {
        reclaim_forget(&m->vm);
        sched_barrier();
        free_detached(m);
    }
    lock_take(&m->vm.devices);
    if (!more)
        vballoon_taken(&m->balloon->device);
    if (m->balloon->detached_count)
        vtimer_arm(&m->balloon->delay, vclock_ns(&m->vm.clock) + DELAY_NS);
    lock_release(&m->vm.devices);
    start_vcpus(m, ran);
    return more;
}

/* On the boot CPU, whose timer it is, or another one. */
static void delay_over(void *context)
{
    const struct machine *m = context;

    sched_queue_work(&takers[m->vm.index].work);
}

/* With vm.devices. */
static void wanted(void *context)
{
    struct machine *m = context;

    if (!vtimer_armed(&m->balloon->delay))
        vtimer_arm(&m->balloon->delay, vclock_ns(&m->vm.clock) + DELAY_NS);
}

/* --- Life */

int machine_balloon_create(struct machine *m)
{
    const struct vballoon_owner owner = { wanted, m };
    uint64_t ram = gmem_size(&m->vm.mem), *pages, *chunks;
    struct machine_balloon *b;

    if (!m->config->balloon)
        return 0;
    b = heap_alloc(sizeof(*b));
    pages = heap_alloc(VBALLOON_PAGE_WORDS(ram) * sizeof(*pages));
    chunks = heap_alloc(VBALLOON_CHUNK_WORDS(ram) * sizeof(*chunks));
    if (!b || !pages || !chunks) {
        heap_free(b);
        heap_free(pages);
        heap_free(chunks);
        return -ENOMEM;
    }
    m->balloon = b;
    takers[m->vm.index].work.step = take_step;
    takers[m->vm.index].machine = m;
    vtimer_init(&b->delay, &m->vm.clock, &this_cpu()->timers, delay_over, m);
    vballoon_init(&b->device, &m->vm.mem, &m->apics, &m->vm.clock, &this_cpu()->timers, pages, chunks,
                  &owner);
    return vballoon_attach(&b->device, &m->pci);
}

void machine_balloon_idle(struct machine *m)
{
    if (!m->balloon)
        return;
    while (m->balloon->detached_count)
        reclaim_free(&m->vm, m->balloon->detached[--m->balloon->detached_count]);
}

void machine_balloon_destroy(struct machine *m)
{
    takers[m->vm.index].machine = NULL;
    if (!m->balloon)
        return;
    machine_balloon_idle(m);
    heap_free(m->balloon->device.pages);
    heap_free(m->balloon->device.chunks);
    heap_free(m->balloon);
    m->balloon = NULL;
}

void machine_balloon_reset(struct machine *m)
{
    if (!m->balloon)
        return;
    vtimer_cancel(&m->balloon->delay);
    vballoon_reset(&m->balloon->device);
}

/* --- For people */

int machine_balloon_set(struct machine *m, uint64_t bytes)
{
    if (!m->balloon)
        return -ENODEV;
    lock_take(&m->vm.devices);
    vballoon_set_target(&m->balloon->device, bytes / PAGE_SIZE);
    lock_release(&m->vm.devices);
    return 0;
}

bool machine_balloon_info(struct machine *m, struct machine_balloon_info *out)
{
    struct vballoon *device;

    if (!m->balloon)
        return false;
    device = &m->balloon->device;
    lock_take(&m->vm.devices);
    *out = (struct machine_balloon_info){
        .target = (uint64_t)device->target * PAGE_SIZE,
        .actual = (uint64_t)device->actual * PAGE_SIZE,
        .away = __atomic_load_n(&m->vm.away, __ATOMIC_RELAXED) * GMEM_CHUNK,
        .came_back = __atomic_load_n(&m->vm.refills, __ATOMIC_RELAXED) * GMEM_CHUNK,
        .stat_known = device->stat_known,
        .driver = device->virtio.s.status & VIRTIO_DRIVER_OK,
    };
    memcpy(out->stat, device->stat, sizeof(out->stat));
    vballoon_ask_stats(device);
    lock_release(&m->vm.devices);
    return true;
}
