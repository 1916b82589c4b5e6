#include "drivers/nvme.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/tsc.h"
#include "drivers/nvme_queue.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "kernel/post.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define REGISTERS_MAX   (64 * KiB) /* that are mapped: enough for the doorbells of NVME_QUEUES_MAX queues */
#define COMMAND_SECONDS 5
#define HALF_SECOND_US  500000u
#define POLL_US         10u
#define STOP_SECONDS    2 /* a controller that is told to stop gets so long, then its bus mastering is off too \
                           */
#define BOUNCE_ORDER    6 /* NVME_MAX_BYTES */
#define LISTS_ORDER     3 /* of all slots of a queue */

static_assert(PAGE_SIZE << BOUNCE_ORDER == NVME_MAX_BYTES, "the bounce buffer takes any request");
static_assert(PAGE_SIZE << LISTS_ORDER >= NVME_SLOTS * NVME_LIST_BYTES, "a list for each slot");

/* What is known while a controller is set up, and afterwards for stopping it. */
struct controller {
    struct nvme nvme; /* first: one is found from the other */
    struct pci_device pci;
    struct post stop;     /* turns bus mastering off, which the boot CPU has to do */
    uint32_t stopped_for; /* ticks of the watch since it was told to stop */
    uint64_t cap;
    uint32_t stride; /* of the doorbells */
    uint64_t size;   /* of the registers that are mapped */
    struct nvme_queue admin;
    struct nvme_identity identity;
    uint8_t *data; /* a page, for what admin commands answer */
    unsigned number;
};

static unsigned controllers;

/* --- Registers */

static uint32_t read32(const struct nvme *nvme, unsigned at)
{
    return *(const volatile uint32_t *)(nvme->registers + at);
}

static void write32(struct nvme *nvme, unsigned at, uint32_t value)
{
    *(volatile uint32_t *)(nvme->registers + at) = value;
}

static uint64_t read64(const struct nvme *nvme, unsigned at)
{
    return (uint64_t)read32(nvme, at + 4) << 32 | read32(nvme, at);
}

static void write64(struct nvme *nvme, unsigned at, uint64_t value)
{
    write32(nvme, at, (uint32_t)value);
    write32(nvme, at + 4, (uint32_t)(value >> 32));
}

/* Waits until it is ready, or no more, as long as it asks for (3.1.1, TO). */
static int wait_ready(struct controller *c, bool ready)
{
    uint64_t left = (NVME_CAP_TIMEOUT(c->cap) + 1) * (uint64_t)HALF_SECOND_US / POLL_US;

    for (; left; left--) {
        uint32_t status = read32(&c->nvme, NVME_CSTS);

        if (status == NVME_GONE || (ready && (status & NVME_CSTS_FATAL)))
            return -EIO;
        if ((bool)(status & NVME_CSTS_READY) == ready)
            return 0;
        tsc_delay_us(POLL_US);
    }
    return -ETIMEDOUT;
}

/* --- Queues */

static void *pages(unsigned order)
{
    hpa_t at = frames_alloc(order, FRAME_HEAP);

    if (!at.raw)
        return NULL;
    memset(phys_to_virt(at), 0, PAGE_SIZE << order);
    return phys_to_virt(at);
}

/* Memory for a pair of queues; its two rings have a page each. */
static int make_queue(struct controller *c, struct nvme_queue *queue, unsigned number)
{
    volatile uint8_t *registers = c->nvme.registers;
    uint8_t *lists = pages(LISTS_ORDER);
    void *commands = pages(0), *completions = pages(0);

    if (!lists || !commands || !completions)
        return -ENOMEM; /* what there is is lost; so little memory is no state to go on in */
    queue->nvme = &c->nvme;
    queue->commands = commands;
    queue->completions = completions;
    queue->lists = lists;
    queue->lists_at = virt_to_phys(lists);
    queue->tail_bell = (volatile uint32_t *)(registers + NVME_TAIL_BELL(number, c->stride));
    queue->head_bell = (volatile uint32_t *)(registers + NVME_HEAD_BELL(number, c->stride));
    nvme_queue_init(queue);
    return 0;
}

/* An admin command, by polling. Its status (NVME_STATUS_CODE), or a negative error. */
static int admin(struct controller *c, const struct nvme_command *command, uint32_t *result)
{
    struct nvme_queue *queue = &c->admin;
    const volatile struct nvme_completion *answer = &queue->completions[queue->head];
    uint64_t end = tsc_now() + COMMAND_SECONDS * tsc_hz();
    uint32_t status;

    queue->commands[queue->tail] = *command;
    queue->tail = (queue->tail + 1) % NVME_DEPTH;
    __asm__ volatile("" : : : "memory");
    *queue->tail_bell = queue->tail;
    while (((status = answer->status) & NVME_STATUS_PHASE) != queue->phase) {
        if (tsc_now() > end)
            return -ETIMEDOUT;
        cpu_pause();
    }
    if (result)
        *result = answer->result;
    if (++queue->head == NVME_DEPTH) {
        queue->head = 0;
        queue->phase ^= (uint32_t)NVME_STATUS_PHASE;
    }
    *queue->head_bell = queue->head;
    return (int)NVME_STATUS_CODE(status);
}

static int identify(struct controller *c, uint32_t what, uint32_t nsid)
{
    struct nvme_command command = {
        .opcode = NVME_ADMIN_IDENTIFY, .nsid = nsid, .prp1 = virt_to_phys(c->data).raw, .dword = { what }
    };

    memset(c->data, 0, NVME_IDENTIFY_BYTES);
    return admin(c, &command, NULL);
}

/* How many pairs of queues it gives us, at most `wanted`. */
static unsigned ask_for_queues(struct controller *c, unsigned wanted)
{
    struct nvme_command command = { .opcode = NVME_ADMIN_SET_FEATURES,
                                    .dword = { NVME_FEATURE_QUEUES, (wanted - 1) | (wanted - 1) << 16 } };
    uint32_t given = 0;

    if (admin(c, &command, &given) != 0)
        return 1;
    return (unsigned)min_u64(wanted, min_u64(given & 0xffff, given >> 16) + 1);
}

static int create_pair(struct controller *c, unsigned number, unsigned vector)
{
    struct nvme_queue *queue = c->nvme.queue[number - 1];
    struct nvme_command completion = {
        .opcode = NVME_ADMIN_CREATE_CQ,
        .prp1 = virt_to_phys((const void *)(uintptr_t)queue->completions).raw,
        .dword = { (NVME_DEPTH - 1) << 16 | number,
                   vector << 16 | (uint32_t)(NVME_CQ_INTERRUPT | NVME_QUEUE_CONTIGUOUS) },
    };
    struct nvme_command submission = {
        .opcode = NVME_ADMIN_CREATE_SQ,
        .prp1 = virt_to_phys(queue->commands).raw,
        .dword = { (NVME_DEPTH - 1) << 16 | number, number << 16 | (uint32_t)NVME_QUEUE_CONTIGUOUS },
    };

    return admin(c, &completion, NULL) != 0 || admin(c, &submission, NULL) != 0 ? -EIO : 0;
}

static void queue_interrupt(void *queue)
{
    nvme_queue_poll(queue);
}

/* A controller with one vector: every queue is asked. */
static void controller_interrupt(void *context)
{
    struct nvme *nvme = context;

    for (unsigned i = 0; i < nvme->queues; i++)
        nvme_queue_poll(nvme->queue[i]);
}

/* The next pair, for the CPU of that number. 0: it is there; else there are as many as there are. */
static int add_queue(struct controller *c, unsigned index)
{
    struct nvme_queue *queue = heap_alloc(sizeof(*queue));
    int error;

    if (!queue || make_queue(c, queue, index + 1) != 0)
        return -ENOMEM;
    c->nvme.queue[index] = queue;
    error = pci_msix(&c->pci, index + 1, smp_cpu(index)->apic_id, queue_interrupt, queue);
    if (!error)
        error = create_pair(c, index + 1, index + 1);
    return error;
}

static int add_shared_queue(struct controller *c)
{
    struct nvme_queue *queue = heap_alloc(sizeof(*queue));

    if (!queue || make_queue(c, queue, 1) != 0)
        return -ENOMEM;
    c->nvme.queue[0] = queue;
    if (pci_interrupt(&c->pci, controller_interrupt, &c->nvme) != 0)
        log_warn("nvme%u: gives no interrupts: it is asked once a second", c->number);
    return create_pair(c, 1, 0);
}

/* With MSI-X entry 0 being the admin queue's, which is never told to interrupt anyone. */
static int add_queues(struct controller *c)
{
    unsigned bells = (unsigned)((c->size - NVME_BELLS) / (2 * c->stride));
    unsigned most = (unsigned)min_u64(min_u64(smp_online(), NVME_QUEUES_MAX), bells - 1);
    unsigned queues = ask_for_queues(c, most), entries = pci_msix_entries(&c->pci);
    unsigned given = 0;

    queues = (unsigned)min_u64(queues, entries ? entries - 1 : 0);
    while (given < queues && add_queue(c, given) == 0)
        given++;
    c->nvme.queues = given ? given : 1;
    return given ? 0 : add_shared_queue(c);
}

/* --- Requests */

static int submit(struct block_device *device, struct block_request *request)
{
    struct nvme_namespace *ns = device->driver;
    struct nvme *nvme = ns->nvme;
    unsigned index = this_cpu()->index;

    while (unlikely(index >= nvme->queues))
        index -= nvme->queues;
    return nvme_queue_submit(nvme->queue[index], ns, request);
}

static const struct block_ops ops = { submit };

static void poll(struct disk *disk)
{
    struct nvme *nvme = container_of(disk, struct nvme_namespace, disk)->nvme;

    controller_interrupt(nvme);
}

/* --- When it fails */

static void end_all(struct controller *c, enum nvme_state state)
{
    struct nvme *nvme = &c->nvme;

    __atomic_store_n(&nvme->state, state, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < nvme->namespaces; i++)
        nvme->ns[i]->disk.block.health = state == NVME_LOST ? BLOCK_GONE : BLOCK_FAILING;
    for (unsigned i = 0; i < nvme->queues; i++)
        nvme_queue_end(nvme->queue[i], state == NVME_LOST ? -ENODEV : -EIO);
}

static void stop_mastering(struct post *post)
{
    pci_command(&container_of(post, struct controller, stop)->pci, 0, (uint32_t)PCI_COMMAND_MASTER);
}

/* Requests end only when it no more writes to their memory: when it says so, or cannot any more. */
static void fail(struct controller *c, const char *why)
{
    log_error("nvme%u: %s: it is stopped, and its requests fail", c->number, why);
    __atomic_store_n(&c->nvme.state, NVME_FAILED, __ATOMIC_SEQ_CST);
    write32(&c->nvme, NVME_CC, 0);
    post_boot(&c->stop);
    c->stopped_for = 0;
}

static bool look(struct watch *watch)
{
    struct controller *c = container_of(watch, struct controller, nvme.watch);
    struct nvme *nvme = &c->nvme;
    uint32_t status = read32(nvme, NVME_CSTS);
    bool overdue = false;
    unsigned load = 0;

    if (nvme->state == NVME_FAILED && (++c->stopped_for >= STOP_SECONDS || !(status & NVME_CSTS_READY)))
        end_all(c, NVME_STOPPED);
    if (status == NVME_GONE && nvme->state == NVME_WORKS) {
        log_error("nvme%u: is gone", c->number);
        end_all(c, NVME_LOST);
    }
    for (unsigned i = 0; i < nvme->queues; i++) {
        nvme_queue_poll(nvme->queue[i]);
        load += nvme_queue_load(nvme->queue[i], &overdue);
    }
    if (nvme->state == NVME_WORKS && (status & NVME_CSTS_FATAL))
        fail(c, "a fatal error of the controller");
    else if (nvme->state == NVME_WORKS && nvme->confused)
        fail(c, "it ended a command that it was not given");
    else if (nvme->state == NVME_WORKS && overdue)
        fail(c, "a command did not end in time");
    return load != 0;
}

/* --- Finding it */

static int add_namespace(struct controller *c, uint32_t nsid)
{
    struct nvme_namespace *ns = heap_alloc(sizeof(*ns));
    struct block_device *block = &ns->disk.block;
    const struct nvme_identity *identity = &c->identity;
    const char *wrong = "it does not say what it is";
    struct nvme_shape shape;

    if (!ns)
        return -ENOMEM;
    if (identify(c, NVME_IDENTIFY_NAMESPACE, nsid) == 0)
        wrong = nvme_parse_namespace(&shape, c->data);
    if (wrong) {
        log_warn("nvme%u: namespace %u is not used: %s", c->number, nsid, wrong);
        heap_free(ns);
        return -ENODEV;
    }
    *ns = (struct nvme_namespace){ .nvme = &c->nvme,
                                   .number = c->nvme.namespaces,
                                   .nsid = nsid,
                                   .shift = shape.shift - 9,
                                   .disk = { .poll = poll } };
    *block = (struct block_device){ .ops = &ops,
                                    .driver = ns,
                                    .sectors = shape.blocks << ns->shift,
                                    .physical_block = 1u << shape.shift,
                                    .logical_block = 1u << shape.shift,
                                    .max_sectors = identity->max_bytes / BLOCK_SECTOR,
                                    .max_segments = BLOCK_MAX_SEGMENTS,
                                    .segment_align = 4,
                                    .readonly = shape.readonly,
                                    .has_flush = identity->has_cache,
                                    .has_discard = identity->has_dataset,
                                    .has_write_zeroes = identity->has_zeroes };
    memcpy(block->model, identity->model, sizeof(block->model));
    if (nsid == 1) {
        format_text(block->name, sizeof(block->name), "nvme%u", c->number);
        memcpy(block->serial, identity->serial, sizeof(block->serial));
    } else {
        format_text(block->name, sizeof(block->name), "nvme%u.%u", c->number, nsid);
        format_text(block->serial, sizeof(block->serial), "%s-%u", identity->serial, nsid);
    }
    c->nvme.ns[c->nvme.namespaces++] = ns;
    return 0;
}

static void add_namespaces(struct controller *c)
{
    uint32_t nsids[NVME_NAMESPACES + 1] = { 0 };
    unsigned count = 0;

    if (identify(c, NVME_IDENTIFY_LIST, 0) == 0)
        memcpy(nsids, c->data, sizeof(nsids));
    while (count < NVME_NAMESPACES && nsids[count])
        (void)add_namespace(c, nsids[count++]);
    if (nsids[count])
        log_warn("nvme%u: only its first %u namespaces are used", c->number, NVME_NAMESPACES);
    for (unsigned i = 0; i < c->nvme.namespaces; i++)
        storage_add(&c->nvme.ns[i]->disk);
}

/* Stopped, whatever firmware had it do, and started with the admin queue (7.6.1). */
static int start(struct controller *c)
{
    struct nvme *nvme = &c->nvme;
    int error;

    write32(nvme, NVME_CC, 0);
    error = wait_ready(c, false);
    if (!error)
        error = make_queue(c, &c->admin, 0);
    if (error)
        return error;
    write32(nvme, NVME_AQA, (NVME_DEPTH - 1) << 16 | (NVME_DEPTH - 1));
    write64(nvme, NVME_ASQ, virt_to_phys(c->admin.commands).raw);
    write64(nvme, NVME_ACQ, virt_to_phys((const void *)(uintptr_t)c->admin.completions).raw);
    pci_command(&c->pci, (uint32_t)PCI_COMMAND_MASTER, 0);
    write32(nvme, NVME_CC, (uint32_t)NVME_CC_ENABLE | NVME_CC_ENTRIES);
    error = wait_ready(c, true);
    if (!error && identify(c, NVME_IDENTIFY_CONTROLLER, 0) != 0)
        error = -EIO;
    if (!error)
        nvme_parse_controller(&c->identity, c->data, NVME_CAP_PAGE_MIN(c->cap));
    return error ? error : add_queues(c);
}

/* Maps the registers; NULL, or what this driver cannot do with it. */
static const char *map(struct controller *c)
{
    c->size = min_u64(pci_bar(&c->pci, 0).size, REGISTERS_MAX);
    c->nvme.registers = pci_map(&c->pci, 0, max_u64(c->size, 2 * NVME_BELLS));
    if (!c->nvme.registers)
        return "its registers cannot be mapped";
    c->cap = read64(&c->nvme, NVME_CAP);
    c->stride = NVME_CAP_STRIDE(c->cap);
    if (!(c->cap & NVME_CAP_NVM) || NVME_CAP_PAGE_MIN(c->cap) != 0 || NVME_CAP_ENTRIES(c->cap) < NVME_DEPTH)
        return "it has no NVM commands, no pages of 4 KiB or too short queues";
    if (c->size - NVME_BELLS < 4 * c->stride)
        return "its doorbells are too far apart";
    return NULL;
}

static int probe(struct pci_device *pci)
{
    struct controller *c = heap_alloc(sizeof(*c));
    const char *wrong = "there is no memory for it";

    if (!c)
        return -ENOMEM;
    *c = (struct controller){ .pci = *pci, .number = controllers++, .stop = { .run = stop_mastering } };
    watch_init(&c->nvme.watch, look);
    c->data = pages(0);
    c->nvme.bounce = pages(BOUNCE_ORDER);
    if (c->data && c->nvme.bounce)
        wrong = map(c);
    if (!wrong && start(c) != 0)
        wrong = "it does not start";
    if (wrong) {
        log_warn("nvme%u: not used: %s", c->number, wrong);
        pci_command(pci, 0, (uint32_t)PCI_COMMAND_MASTER);
        return -ENODEV; /* its memory is not given back: who knows what the device still does */
    }
    log_info("nvme%u: pci %02x:%02x.%x, %u queues", c->number, pci->at.bus, pci->at.slot, pci->at.function,
             c->nvme.queues);
    add_namespaces(c);
    return 0;
}

const struct pci_driver nvme_driver = { .name = "nvme",
                                        .by_class = true,
                                        .class = PCI_CLASS_NVM,
                                        .interface = 2, /* NVM Express I/O controller */
                                        .interface_mask = 0xff,
                                        .probe = probe };
