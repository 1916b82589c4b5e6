#include "drivers/nvme_queue.h"
#include "arch/x86_64/paging.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Where a request notes on which namespace it ended, until storage_end(). */
#define NUMBER(request) ((request)->driver[1])

void nvme_queue_init(struct nvme_queue *queue)
{
    queue->tail = queue->head = 0;
    queue->phase = NVME_STATUS_PHASE;
    queue->free_count = NVME_SLOTS;
    for (unsigned i = 0; i < NVME_SLOTS; i++) {
        queue->free[i] = (uint8_t)(NVME_SLOTS - 1 - i);
        queue->slot[i] = (struct nvme_slot){ 0 };
    }
}

/* --- Submission */

/* The doorbell tells the controller, which may fetch the command at once: x86 keeps the order of writes. */
static inline void ring_tail(struct nvme_queue *queue)
{
    queue->tail = (queue->tail + 1) % NVME_DEPTH;
    __asm__ volatile("" : : : "memory");
    *queue->tail_bell = queue->tail;
}

static inline struct nvme_command *next_command(struct nvme_queue *queue, unsigned id, uint32_t opcode,
                                                uint32_t nsid)
{
    struct nvme_command *command = &queue->commands[queue->tail];

    *command = (struct nvme_command){ .opcode = opcode | id << 16, .nsid = nsid };
    return command;
}

static inline void set_blocks(struct nvme_command *command, uint64_t block, uint32_t blocks)
{
    command->dword[0] = (uint32_t)block;
    command->dword[1] = (uint32_t)(block >> 32);
    command->dword[2] = blocks - 1;
}

/* By the controller's own buffer, of which there is one. */
__cold static int bounce(struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *command,
                         const struct block_request *request, uint64_t *list, hpa_t list_at)
{
    struct nvme *nvme = queue->nvme;
    struct block_segment whole = { nvme->bounce, request->sectors * BLOCK_SECTOR };

    if (__atomic_exchange_n(&nvme->bounce_busy, true, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&nvme->bounce_refused, true, __ATOMIC_SEQ_CST);
        if (__atomic_exchange_n(&nvme->bounce_busy, true, __ATOMIC_SEQ_CST))
            return -EBUSY; /* who has it sees that we want it */
    }
    slot->bounced = true;
    if (request->op == BLOCK_WRITE)
        storage_bounce(request, nvme->bounce, true);
    return nvme_prps(command, &whole, 1, list, list_at);
}

static inline int start_transfer(struct nvme_queue *queue, unsigned id, const struct block_request *request)
{
    struct nvme_slot *slot = &queue->slot[id];
    const struct nvme_namespace *ns = slot->ns;
    uint64_t *list = (uint64_t *)(void *)(queue->lists + id * NVME_LIST_BYTES);
    hpa_t list_at = hpa(queue->lists_at.raw + id * NVME_LIST_BYTES);
    struct nvme_command *command = next_command(queue, id, request->op == BLOCK_READ ? NVME_READ : NVME_WRITE,
                                                ns->nsid);

    set_blocks(command, request->start >> ns->shift, request->sectors >> ns->shift);
    if (likely(nvme_prps(command, request->segment, request->segments, list, list_at) == 0))
        return 0;
    return bounce(queue, slot, command, request, list, list_at);
}

/* The next part of it; what is left is counted in the slot. */
static void start_zeroes(struct nvme_queue *queue, unsigned id, const struct block_request *request)
{
    struct nvme_slot *slot = &queue->slot[id];
    const struct nvme_namespace *ns = slot->ns;
    uint64_t from = request->start + request->sectors - slot->sectors;
    uint32_t sectors = (uint32_t)min_u64(slot->sectors, (uint64_t)NVME_BLOCKS_MAX << ns->shift);

    slot->sectors -= sectors;
    set_blocks(next_command(queue, id, NVME_WRITE_ZEROES, ns->nsid), from >> ns->shift, sectors >> ns->shift);
}

static void start_discard(struct nvme_queue *queue, unsigned id, const struct block_request *request)
{
    const struct nvme_namespace *ns = queue->slot[id].ns;
    struct nvme_command *command = next_command(queue, id, NVME_DATASET, ns->nsid);
    struct nvme_range *range = (struct nvme_range *)(void *)(queue->lists + id * NVME_LIST_BYTES);

    *range = (struct nvme_range){ .blocks = request->sectors >> ns->shift,
                                  .start = request->start >> ns->shift };
    command->prp1 = queue->lists_at.raw + id * NVME_LIST_BYTES;
    command->dword[1] = (uint32_t)NVME_DATASET_DISCARD; /* dword 10: one range */
}

static inline int start(struct nvme_queue *queue, unsigned id, struct block_request *request)
{
    switch (request->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return start_transfer(queue, id, request);
    case BLOCK_FLUSH:
        (void)next_command(queue, id, NVME_FLUSH, queue->slot[id].ns->nsid);
        return 0;
    case BLOCK_DISCARD:
        start_discard(queue, id, request);
        return 0;
    case BLOCK_WRITE_ZEROES:
        start_zeroes(queue, id, request);
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

static inline int submit(struct nvme_queue *queue, struct nvme_namespace *ns, struct block_request *request)
{
    struct nvme *nvme = queue->nvme;
    struct nvme_slot *slot;
    unsigned id;
    int error;

    if (unlikely(__atomic_load_n(&nvme->state, __ATOMIC_RELAXED) != NVME_WORKS))
        return nvme->state == NVME_LOST ? -ENODEV : -EIO;
    if (unlikely(!queue->free_count)) {
        queue->refused = true;
        return -EBUSY;
    }
    id = queue->free[queue->free_count - 1];
    slot = &queue->slot[id];
    slot->ns = ns;
    slot->sectors = request->sectors;
    slot->bounced = false;
    error = start(queue, id, request);
    if (unlikely(error))
        return error;
    queue->free_count--;
    slot->tick = nvme->watch.tick;
    slot->request = request;
    watch_request(&nvme->watch);
    ring_tail(queue);
    return 0;
}

int nvme_queue_submit(struct nvme_queue *queue, struct nvme_namespace *ns, struct block_request *request)
{
    int error;

    lock_take(&queue->lock);
    error = submit(queue, ns, request);
    lock_release(&queue->lock);
    return error;
}

/* --- Completion */

struct ended {
    struct storage_ended list;
    bool ready; /* there is room, and somebody waits for it */
};

static inline void free_slot(struct nvme_queue *queue, unsigned id, int status, struct ended *ended)
{
    struct nvme_slot *slot = &queue->slot[id];
    struct block_request *request = slot->request;
    struct nvme *nvme = queue->nvme;

    if (unlikely(slot->bounced)) {
        if (request->op == BLOCK_READ && status == 0)
            storage_bounce(request, nvme->bounce, false);
        __atomic_store_n(&nvme->bounce_busy, false, __ATOMIC_SEQ_CST);
        ended->ready |= __atomic_exchange_n(&nvme->bounce_refused, false, __ATOMIC_SEQ_CST);
    }
    slot->request = NULL;
    queue->free[queue->free_count++] = (uint8_t)id;
    NUMBER(request) = slot->ns->number;
    storage_note_end(&ended->list, request, status);
}

/* One completion. What the controller says is not trusted. */
static inline void complete(struct nvme_queue *queue, uint32_t status, struct ended *ended)
{
    unsigned id = NVME_STATUS_ID(status);
    int error = nvme_error(NVME_STATUS_CODE(status));
    struct nvme_slot *slot;

    if (unlikely(id >= NVME_SLOTS || !queue->slot[id].request)) {
        queue->nvme->confused = true;
        return;
    }
    slot = &queue->slot[id];
    if (unlikely(slot->request->op == BLOCK_WRITE_ZEROES && slot->sectors && !error)) {
        start_zeroes(queue, id, slot->request);
        slot->tick = queue->nvme->watch.tick;
        ring_tail(queue);
        return;
    }
    free_slot(queue, id, error, ended);
}

/* Without the lock: a request that ends may bring the next one. */
static inline void tell(struct nvme *nvme, struct ended *ended)
{
    struct block_request *request;

    while ((request = storage_next_end(&ended->list)) != NULL)
        storage_end(&nvme->ns[NUMBER(request)]->disk.block, request, (int)request->driver[0]);
    if (unlikely(ended->ready))
        for (unsigned i = 0; i < nvme->namespaces; i++)
            block_ready(&nvme->ns[i]->disk.block);
}

void nvme_queue_poll(struct nvme_queue *queue)
{
    struct ended ended = { .list.last = &ended.list.first };
    unsigned seen = 0;

    lock_take(&queue->lock);
    for (; seen < NVME_DEPTH; seen++) { /* a controller that is not broken has no more */
        uint32_t status = queue->completions[queue->head].status;

        if ((status & NVME_STATUS_PHASE) != queue->phase)
            break;
        if (++queue->head == NVME_DEPTH) {
            queue->head = 0;
            queue->phase ^= (uint32_t)NVME_STATUS_PHASE;
        }
        complete(queue, status, &ended);
    }
    if (likely(seen))
        *queue->head_bell = queue->head;
    if (unlikely(queue->refused) && queue->free_count) {
        queue->refused = false;
        ended.ready = true;
    }
    lock_release(&queue->lock);
    tell(queue->nvme, &ended);
}

unsigned nvme_queue_load(struct nvme_queue *queue, bool *overdue)
{
    unsigned load;

    lock_take(&queue->lock);
    load = NVME_SLOTS - queue->free_count;
    for (unsigned i = 0; i < NVME_SLOTS; i++)
        if (queue->slot[i].request && watch_overdue(&queue->nvme->watch, queue->slot[i].tick))
            *overdue = true;
    lock_release(&queue->lock);
    return load;
}

void nvme_queue_end(struct nvme_queue *queue, int status)
{
    struct ended ended = { .list.last = &ended.list.first };

    lock_take(&queue->lock);
    for (unsigned i = 0; i < NVME_SLOTS; i++)
        if (queue->slot[i].request)
            free_slot(queue, i, status, &ended);
    queue->refused = false;
    ended.ready = true;
    lock_release(&queue->lock);
    tell(queue->nvme, &ended);
}
