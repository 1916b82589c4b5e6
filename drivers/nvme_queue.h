/*
 * A pair of I/O queues of an NVMe controller: requests become commands, completions end requests. Compiles on
 * the host, where a test is the controller.
 */
#pragma once

#include "drivers/nvme_command.h"
#include "drivers/storage.h"

#define NVME_DEPTH      64u               /* entries of each queue */
#define NVME_SLOTS      (NVME_DEPTH - 1u) /* a full submission queue has one entry free (4.1.2) */
#define NVME_NAMESPACES 8u
#define NVME_QUEUES_MAX 64u

struct nvme;

struct nvme_namespace {
    struct disk disk;
    struct nvme *nvme;
    unsigned number; /* nvme->ns[number] is it */
    uint32_t nsid;
    unsigned shift; /* from sectors to blocks: block number = sector >> shift */
};

/* A command that is under way; request NULL: none. The slot's number is the command's identifier. */
struct nvme_slot {
    struct block_request *request;
    struct nvme_namespace *ns;
    uint32_t tick;    /* of the watch, when it began */
    uint32_t sectors; /* of a WRITE_ZEROES that is done in parts: so many are still to come */
    bool bounced;     /* its data is in the controller's bounce buffer */
};

struct nvme_queue {
    struct lock lock; /* guards all of it; under it only the watch's timer queue's is taken */
    struct nvme *nvme;
    struct nvme_command *commands;
    const volatile struct nvme_completion *completions;
    volatile uint32_t *tail_bell, *head_bell;
    uint8_t *lists; /* NVME_LIST_BYTES for each slot */
    hpa_t lists_at;
    uint32_t tail, head, phase; /* phase: what a new completion has in NVME_STATUS_PHASE */
    uint32_t free_count;
    uint8_t free[NVME_SLOTS]; /* numbers of slots */
    bool refused;             /* somebody was told -EBUSY */
    struct nvme_slot slot[NVME_SLOTS];
};

enum nvme_state { NVME_WORKS, NVME_FAILED /* it is being stopped */, NVME_STOPPED, NVME_LOST };

struct nvme {
    volatile uint8_t *registers;
    unsigned queues;
    struct nvme_queue *queue[NVME_QUEUES_MAX];
    unsigned namespaces;
    struct nvme_namespace *ns[NVME_NAMESPACES];
    struct watch watch;
    enum nvme_state state; /* written by the watch and at the start */
    uint8_t *bounce;       /* NVME_MAX_BYTES, for data that PRPs cannot describe */
    bool bounce_busy;      /* atomic */
    bool bounce_refused;
    bool confused; /* the controller ended a command that is not there */
};

/* All slots free, queues empty: the pointers are set. */
void nvme_queue_init(struct nvme_queue *queue);

/* As block_ops.submit, for a chosen queue. Any CPU. */
int nvme_queue_submit(struct nvme_queue *queue, struct nvme_namespace *ns,
                      struct block_request *request) __must_check;

/* Ends what the controller has completed. The interrupt handler; any CPU, no lock held. */
void nvme_queue_poll(struct nvme_queue *queue);

/* How many requests the queue has; *overdue becomes true if one of them is. Takes the lock. */
unsigned nvme_queue_load(struct nvme_queue *queue, bool *overdue);

/* Ends all requests of a controller that touches no memory any more. */
void nvme_queue_end(struct nvme_queue *queue, int status);
